//! Protected packets of IPv6 that are too large: their source, which the gateway is, may cut them (RFC 8200 §4.5).
//!
//! Decides: where the cuts are. Reads: `Meta::limit`, the packet. Writes: further packets; the original becomes the first
//! fragment. Never: cuts what it forwards in clear, as no router may; leaves half a packet when frames run out.

use super::fragment::MAX_FRAGMENTS;
use super::front::MAX_FRONT;
use crate::packet::{Ip, Packet};
use arrayvec::ArrayVec;
use ravelin_ring::counters::Drop;
use ravelin_wire::extension;
use ravelin_wire::{ipv6, protocol};
use ravelin_xsk::{Frame, FramePool};

const FRAGMENT_HEADER: usize = 8;

/// What every fragment begins with.
struct Plan {
    /// The headers for routers, which name the fragment header behind them.
    head: ArrayVec<u8, { MAX_FRONT + FRAGMENT_HEADER }>,
    payload: usize,
    /// Payload bytes of every fragment but the last; a multiple of eight.
    each: usize,
}

/// The fragments after the first one, which `packet` becomes. `id`: not used for another packet between the two ends for a
/// while. An error leaves `packet` whole, and no frame is lost.
pub(super) fn cut(
    packet: &mut Packet,
    room: usize,
    pool: &mut FramePool,
    id: u32,
) -> Result<ArrayVec<Packet, MAX_FRAGMENTS>, Drop> {
    let plan = Plan::of(packet, id).ok_or(Drop::TooBig)?;
    let count = plan.payload.div_ceil(plan.each).saturating_sub(1);
    if count == 0 || count > room || count > MAX_FRAGMENTS {
        return Err(Drop::NoFrame);
    }
    let mut list: ArrayVec<Packet, MAX_FRAGMENTS> = ArrayVec::new();
    for n in 1..=count {
        match plan.further(packet, n, pool) {
            Ok(fragment) => list.push(fragment),
            Err(why) => {
                list.drain(..).for_each(|p| pool.free(p.frame));
                return Err(why);
            }
        }
    }
    if let Err(why) = plan.shorten(packet) {
        list.drain(..).for_each(|p| pool.free(p.frame));
        return Err(why);
    }
    Ok(list)
}

impl Plan {
    /// `None`: the limit leaves no room for eight bytes of payload.
    fn of(packet: &Packet, id: u32) -> Option<Self> {
        let data = packet.frame.data();
        let rest = extension::transport_at(data)?;
        let mut head = ArrayVec::new();
        head.try_extend_from_slice(data.get(..rest.at)?).ok()?;
        *head.get_mut(rest.named_at)? = protocol::FRAGMENT;
        head.try_extend_from_slice(&[rest.protocol, 0, 0, 0]).ok()?;
        head.try_extend_from_slice(&id.to_be_bytes()).ok()?;
        let each = usize::from(packet.meta.limit).checked_sub(head.len())? & !7;
        (each > 0).then_some(Self { head, payload: data.len() - rest.at, each })
    }

    /// Fragment `n`, not the first one.
    fn further(&self, packet: &Packet, n: usize, pool: &mut FramePool) -> Result<Packet, Drop> {
        let (from, to) = (n * self.each, ((n + 1) * self.each).min(self.payload));
        let before = self.head.len() - FRAGMENT_HEADER;
        let bytes = packet.frame.data().get(before + from..before + to).ok_or(Drop::Malformed)?;
        let mut frame = pool.alloc().ok_or(Drop::NoFrame)?;
        let Some(len) = self.fill(&mut frame, bytes, from, to < self.payload) else {
            pool.free(frame);
            return Err(Drop::FrameTooSmall);
        };
        let mut fragment = Packet::new(frame, packet.origin);
        fragment.door = packet.door;
        fragment.meta = packet.meta.part(len, packet.meta.ip.header_len);
        Ok(fragment)
    }

    fn fill(&self, frame: &mut Frame, payload: &[u8], from: usize, more: bool) -> Option<u16> {
        if !frame.extend(self.head.len() + payload.len()) {
            return None;
        }
        frame.data_mut().get_mut(self.head.len()..)?.copy_from_slice(payload);
        self.write(frame, from, more)
    }

    /// The original is its own first fragment.
    fn shorten(&self, packet: &mut Packet) -> Result<(), Drop> {
        packet.frame.truncate(self.head.len() - FRAGMENT_HEADER + self.each);
        if !packet.frame.push_front(FRAGMENT_HEADER) {
            return Err(Drop::FrameTooSmall);
        }
        let len = self.write(&mut packet.frame, 0, true).ok_or(Drop::Malformed)?;
        packet.meta.ip = Ip { total_len: len, fragment: true, ..packet.meta.ip };
        Ok(())
    }

    /// The headers, with the length and the place that they have in this fragment.
    fn write(&self, frame: &mut Frame, from: usize, more: bool) -> Option<u16> {
        let total = frame.len();
        let payload_len = u16::try_from(total.checked_sub(ipv6::HEADER)?).ok()?;
        let field = u16::try_from(from).ok()? | u16::from(more);
        let (at, bytes) = (self.head.len(), frame.data_mut());
        bytes.get_mut(..at)?.copy_from_slice(&self.head);
        bytes.get_mut(4..6)?.copy_from_slice(&payload_len.to_be_bytes());
        bytes.get_mut(at - 6..at - 4)?.copy_from_slice(&field.to_be_bytes());
        u16::try_from(total).ok()
    }
}
