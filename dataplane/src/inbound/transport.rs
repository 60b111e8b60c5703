//! Transport mode (RFC 4301 §4.1): the packet's own header goes before what was protected.
//!
//! Decides: nothing but whether the two fit into one packet. Reads: the header that the packet came with, the next header.
//! Writes: the packet as its sender's IP layer made it, but for what a NAT on the
//! way changes, and `Meta::ip`. Never: judges addresses; the SA's selectors do.

use super::checksums;
use crate::classify;
use crate::outbound::front::MAX_FRONT;
use crate::packet::{Door, Packet};
use arrayvec::ArrayVec;
use ravelin_crypto::Opened;
use ravelin_ring::counters::Drop;
use ravelin_wire::extension::Extensions;
use ravelin_wire::ipv4::{Ipv4, Ipv4Mut};
use ravelin_wire::ipv6::{self, Ipv6};
use ravelin_wire::{protocol, udp};

/// Whatever came out of an SA of transport mode is the payload of a packet, IP in IP too.
#[cold]
pub(crate) fn uncover(packet: &mut Packet, opened: Opened) -> Result<(), Drop> {
    let before = usize::from(packet.meta.skip);
    let headers = before.checked_sub(if packet.meta.udp { udp::HEADER } else { 0 });
    restore(packet, before, headers.ok_or(Drop::BadInner)?, opened)?;
    if packet.meta.udp {
        checksums::renew(packet);
    }
    Ok(())
}

/// `before`: so many bytes before the frame's front its IP header begins, which with what follows it is `len` long.
pub(super) fn restore(packet: &mut Packet, before: usize, len: usize, opened: Opened) -> Result<(), Drop> {
    if opened.next_header == protocol::NO_NEXT {
        return Err(Drop::Dummy);
    }
    let v6 = packet.meta.ip.v6;
    let mut header: ArrayVec<u8, MAX_FRONT> = ArrayVec::new();
    let start = (before + usize::from(opened.offset)).checked_sub(len).ok_or(Drop::BadInner)?;
    let whole = len + usize::from(opened.len);
    if !packet.frame.push_front(before) {
        return Err(Drop::BadInner);
    }
    header
        .try_extend_from_slice(packet.frame.data().get(..len).unwrap_or_default())
        .map_err(|_| Drop::BadInner)?;
    name(&mut header, v6, whole, opened.next_header).ok_or(Drop::BadInner)?;
    if !packet.frame.pull_front(start) {
        return Err(Drop::BadInner);
    }
    packet.frame.truncate(whole);
    packet.frame.data_mut().get_mut(..len).ok_or(Drop::BadInner)?.copy_from_slice(&header);
    packet.meta.tag = None;
    packet.meta.opened = true;
    packet.door = Door::Sa;
    if v6 {
        let ip = Ipv6::parse(packet.frame.data()).map_err(|_| Drop::BadInner)?;
        packet.meta.ip = classify::v6::fields(&ip)?;
        return classify::v6::lawful(&ip, Door::Sa);
    }
    let mut ip = Ipv4Mut::parse(packet.frame.data_mut()).map_err(|_| Drop::BadInner)?;
    ip.fill_checksum();
    let ip = Ipv4::parse(packet.frame.data()).map_err(|_| Drop::BadInner)?;
    packet.meta.ip = classify::fields(&ip);
    classify::lawful(&packet.meta.ip, Door::Sa)
}

/// In the headers before ESP or AH: the new length of all, and the name of what follows now.
fn name(header: &mut [u8], v6: bool, whole: usize, next: u8) -> Option<()> {
    let (at, len, named_at) = if v6 {
        let mut extensions = Extensions::of(header)?;
        while extensions.next().is_some() {}
        let rest = extensions.rest();
        if rest.at != header.len() {
            return None;
        }
        (4, whole.checked_sub(ipv6::HEADER)?, rest.named_at)
    } else {
        (2, whole, 9)
    };
    header.get_mut(at..at + 2)?.copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    *header.get_mut(named_at)? = next;
    Some(())
}
