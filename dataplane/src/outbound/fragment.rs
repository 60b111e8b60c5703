//! Packets larger than what may go on: cut before encryption, or refused.
//!
//! Decides: whether a packet fits, is cut (RFC 791 §3.2), or is too big to be cut (DF). Reads: `Meta::limit`.
//! Writes: further packets at the end of the batch; the original becomes the first fragment. Never: cuts what DF
//! forbids; leaves half a packet when frames run out.

use crate::batch::{Batch, Places};
use crate::packet::{Ip, Packet};
use crate::sa::{OutboundHot, SaDb};
use crate::stats::Stats;
use arrayvec::ArrayVec;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::OuterDf;
use ravelin_wire::ipv4::{self, Ipv4, Ipv4Mut};
use ravelin_xsk::{Frame, FramePool};

/// Fragments of one packet; a packet of a whole frame (4,096) over an MTU of 576 has eight.
pub(super) const MAX_FRAGMENTS: usize = 64;

pub(crate) fn run(batch: &mut Batch, places: &mut Places, pool: &mut FramePool, stats: &mut Stats) {
    for at in 0..places.len() {
        let Some(&place) = places.get(at) else { break };
        let room = batch.packets.remaining_capacity();
        let Some(packet) = batch.packets.get_mut(usize::from(place)).filter(|p| p.pending()) else {
            continue;
        };
        if packet.meta.ip.total_len <= packet.meta.limit {
            continue;
        }
        if packet.meta.ip.df {
            packet.drop(Drop::TooBig);
            continue;
        }
        match cut(packet, room, pool) {
            Ok(further) => {
                for packet in further {
                    // Room was counted before; places has as much room as the batch.
                    places.push(u16::try_from(batch.packets.len()).unwrap_or(u16::MAX));
                    if let Err(packet) = batch.packets.push(packet) {
                        pool.free(packet.frame);
                    }
                    stats.count(Counter::Generated);
                }
            }
            Err(why) => packet.drop(why),
        }
    }
}

/// Where the SA clears DF (R84) what is too large may be cut, whatever its sender says. Before [`run`].
pub(crate) fn allow(batch: &mut Batch, protect: &[u16], db: &mut SaDb) {
    batch.each(protect, |packet| {
        let ip = &packet.meta.ip;
        if !ip.df || ip.v6 || ip.total_len <= packet.meta.limit {
            return Ok(());
        }
        let clears = |hot: &&mut OutboundHot| hot.df == OuterDf::Clear;
        let Some(hot) = db.outbound.hot(packet.meta.sa).filter(clears) else { return Ok(()) };
        let mut ip = Ipv4Mut::parse(packet.frame.data_mut()).map_err(|_| Drop::Malformed)?;
        ip.set_df(false);
        // Its sender did not have to tell it from others (RFC 6864 §4.1).
        ip.set_id(hot.next_id());
        packet.meta.ip.df = false;
        Ok(())
    });
}

/// The fragments after the first one, which `packet` becomes. An error leaves `packet` whole, and no frame is lost.
pub(super) fn cut(
    packet: &mut Packet,
    room: usize,
    pool: &mut FramePool,
) -> Result<ArrayVec<Packet, MAX_FRAGMENTS>, Drop> {
    let plan = Plan::of(packet).ok_or(Drop::TooBig)?;
    let count = plan.further();
    if count > room || count > MAX_FRAGMENTS {
        return Err(Drop::NoFrame);
    }
    let mut list: ArrayVec<Packet, MAX_FRAGMENTS> = ArrayVec::new();
    for n in 0..count {
        match further(packet, &plan, n, pool) {
            Ok(fragment) => list.push(fragment),
            Err(why) => {
                list.drain(..).for_each(|p| pool.free(p.frame));
                return Err(why);
            }
        }
    }
    if let Err(why) = shorten(packet, &plan) {
        list.drain(..).for_each(|p| pool.free(p.frame));
        return Err(why);
    }
    Ok(list)
}

/// Where the cuts are.
#[derive(Debug)]
struct Plan {
    header: usize,
    payload: usize,
    /// Payload bytes of the first fragment, whose header keeps all options; a multiple of eight.
    first: usize,
    /// Payload bytes of every other one but the last.
    each: usize,
    /// The header of the others: fixed part and copied options.
    copied: ArrayVec<u8, { ipv4::MAX_HEADER }>,
    /// Of the original, in bytes.
    offset: usize,
    /// The original was a fragment with more behind it.
    more: bool,
}

impl Plan {
    /// `None`: the limit leaves no room for eight bytes of payload.
    fn of(packet: &Packet) -> Option<Self> {
        let ip = Ipv4::parse(packet.frame.data()).ok()?;
        let limit = usize::from(packet.meta.limit);
        let mut copied = ArrayVec::new();
        copied.try_extend_from_slice(ip.header().get(..ipv4::HEADER)?).ok()?;
        copy_options(ip.options(), &mut copied)?;
        let plan = Self {
            header: ip.header_len(),
            payload: ip.payload().len(),
            first: limit.checked_sub(ip.header_len())? & !7,
            each: limit.checked_sub(copied.len())? & !7,
            copied,
            offset: ip.fragment_offset().into(),
            more: ip.mf(),
        };
        (plan.first > 0 && plan.each > 0 && plan.first < plan.payload).then_some(plan)
    }

    fn further(&self) -> usize {
        (self.payload - self.first).div_ceil(self.each)
    }
}

/// Options whose copied bit is set go into every fragment (RFC 791 §3.1); the header is filled up with "end of list".
fn copy_options(mut options: &[u8], out: &mut ArrayVec<u8, { ipv4::MAX_HEADER }>) -> Option<()> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const COPIED: u8 = 0x80;
    while let Some(&kind) = options.first() {
        if kind == END {
            break;
        }
        let len = if kind == NOP { 1 } else { usize::from(*options.get(1)?) };
        if len == 0 || (kind != NOP && len < 2) {
            return None;
        }
        let (option, rest) = options.split_at_checked(len)?;
        if kind & COPIED != 0 {
            out.try_extend_from_slice(option).ok()?;
        }
        options = rest;
    }
    while out.len() % 4 != 0 {
        out.try_push(END).ok()?;
    }
    let words = u8::try_from(out.len() / 4).ok()?;
    *out.first_mut()? = 0x40 | words;
    Some(())
}

/// Fragment `n` of those after the first.
fn further(packet: &Packet, plan: &Plan, n: usize, pool: &mut FramePool) -> Result<Packet, Drop> {
    let start = plan.first + n * plan.each;
    let end = (start + plan.each).min(plan.payload);
    let bytes = packet.frame.data().get(plan.header + start..plan.header + end).ok_or(Drop::Malformed)?;
    let mut frame = pool.alloc().ok_or(Drop::NoFrame)?;
    let more = plan.more || end < plan.payload;
    let Some(len) = fill(&mut frame, plan, bytes, plan.offset + start, more) else {
        pool.free(frame);
        return Err(Drop::FrameTooSmall);
    };
    let mut fragment = Packet::new(frame, packet.origin);
    fragment.door = packet.door;
    fragment.meta = packet.meta.part(len, u8::try_from(plan.copied.len()).unwrap_or(u8::MAX));
    Ok(fragment)
}

fn fill(frame: &mut Frame, plan: &Plan, payload: &[u8], offset: usize, more: bool) -> Option<u16> {
    let len = plan.copied.len() + payload.len();
    if !frame.extend(len) {
        return None;
    }
    let (header, body) = frame.data_mut().split_at_mut_checked(plan.copied.len())?;
    header.copy_from_slice(&plan.copied);
    body.get_mut(..payload.len())?.copy_from_slice(payload);
    finish(frame, len, offset, more)
}

/// Lengths, offset, flag and checksum.
fn finish(frame: &mut Frame, len: usize, offset: usize, more: bool) -> Option<u16> {
    let len = u16::try_from(len).ok()?;
    // The length is checked against the bytes when the header is parsed, so it goes first.
    frame.data_mut().get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
    let mut ip = Ipv4Mut::parse(frame.data_mut()).ok()?;
    ip.set_fragment(u16::try_from(offset).ok()?, more);
    ip.fill_checksum();
    Some(len)
}

/// Makes the original its own first fragment.
fn shorten(packet: &mut Packet, plan: &Plan) -> Result<(), Drop> {
    let len = plan.header + plan.first;
    packet.frame.truncate(len);
    let len = finish(&mut packet.frame, len, plan.offset, true).ok_or(Drop::Malformed)?;
    let ip = Ip { total_len: len, fragment: true, ..packet.meta.ip };
    packet.meta.ip = ip;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // numbers of tests are small
mod tests;
