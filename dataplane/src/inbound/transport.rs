//! Transport mode (RFC 4301 §4.1): the packet's own header goes before what was protected.
//!
//! Decides: nothing but whether the two fit into one packet. Reads: the header that the packet came with, the next header.
//! Writes: the packet as its sender's IP layer made it, `Meta::ip`. Never: judges addresses; the SA's selectors do.

use crate::classify;
use crate::packet::{Door, Packet};
use crate::sa::InboundSa;
use arrayvec::ArrayVec;
use ravelin_crypto::Opened;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::Mode;
use ravelin_wire::ipv4::{self, Ipv4, Ipv4Mut};
use ravelin_wire::protocol;

/// What `decap` does not take for a tunnel's is the payload of a packet, when the SA is of transport mode.
#[cold]
pub(crate) fn maybe(packet: &mut Packet, sa: &Option<InboundSa>, opened: Opened) -> Result<(), Drop> {
    match sa {
        Some(sa) if sa.mode == Mode::Transport && !packet.meta.ip.v6 => {
            restore(packet, packet.meta.skip.into(), opened)
        }
        _ => Err(Drop::WrongEncapsulation),
    }
}

/// `before`: so many bytes before the frame's front its IP header begins.
pub(super) fn restore(packet: &mut Packet, before: usize, opened: Opened) -> Result<(), Drop> {
    if opened.next_header == protocol::NO_NEXT {
        return Err(Drop::Dummy);
    }
    let len = usize::from(packet.meta.ip.header_len);
    let mut header: ArrayVec<u8, { ipv4::MAX_HEADER }> = ArrayVec::new();
    let start = (before + usize::from(opened.offset)).checked_sub(len).ok_or(Drop::BadInner)?;
    let whole = u16::try_from(len + usize::from(opened.len)).map_err(|_| Drop::BadInner)?;
    if !packet.frame.push_front(before) {
        return Err(Drop::BadInner);
    }
    header
        .try_extend_from_slice(packet.frame.data().get(..len).unwrap_or_default())
        .map_err(|_| Drop::BadInner)?;
    if !packet.frame.pull_front(start) {
        return Err(Drop::BadInner);
    }
    packet.frame.truncate(whole.into());
    // The length is checked against the bytes when the header is parsed, so it goes first.
    header.get_mut(2..4).ok_or(Drop::BadInner)?.copy_from_slice(&whole.to_be_bytes());
    packet.frame.data_mut().get_mut(..len).ok_or(Drop::BadInner)?.copy_from_slice(&header);
    let mut ip = Ipv4Mut::parse(packet.frame.data_mut()).map_err(|_| Drop::BadInner)?;
    ip.set_protocol(opened.next_header);
    ip.fill_checksum();
    let ip = Ipv4::parse(packet.frame.data()).map_err(|_| Drop::BadInner)?;
    packet.meta.ip = classify::fields(&ip);
    packet.meta.tag = None;
    packet.meta.opened = true;
    packet.door = Door::Sa;
    classify::lawful(&packet.meta.ip, Door::Sa)
}
