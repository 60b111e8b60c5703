//! A sequence number for every packet (RFC 4303 §3.3.3), and the room for its headers and trailer.
//!
//! Decides: whether the SA may send one more. Reads and writes: the SA's hot record; `Meta::seq`; the frame's ends.
//! Never: gives a number twice: it rises before the packet exists, and never falls.

use crate::clock::Now;
use crate::packet::Packet;
use crate::sa::{Events, OutboundHot, OutboundSa};
use ravelin_ring::counters::Drop;

pub(super) fn number(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    sa: &mut Option<OutboundSa>,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    make_room(packet, hot, 0)?;
    take(packet, hot, sa, events, now)
}

/// A number, without room for ESP.
#[inline]
pub(crate) fn take(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    sa: &mut Option<OutboundSa>,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    let bytes = hot.bytes.saturating_add(packet.meta.ip.total_len.into());
    if hot.sequence >= hot.gates.0 || bytes > hot.gates.1 {
        let sa = sa.as_mut().ok_or(Drop::NoOutboundSa)?;
        sa.limits.at_gate(sa.id, (hot.sequence, bytes), &mut hot.gates, (events, now))?;
    }
    hot.bytes = bytes;
    hot.last_ms = now.ms;
    hot.sequence = next(hot.sequence, hot.esn)?;
    packet.meta.seq = hot.sequence;
    Ok(())
}

//= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
//# the sender MUST NOT send a packet on an SA if doing so would cause
//# the sequence number to cycle
#[inline]
fn next(sequence: u64, esn: bool) -> Result<u64, Drop> {
    let last = if esn { u64::MAX } else { u64::from(u32::MAX) };
    if sequence >= last { Err(Drop::SequenceExhausted) } else { Ok(sequence + 1) }
}

/// The frame grows to the whole ESP packet and `before` bytes more at its front; its payload stays where it is.
#[inline]
pub(super) fn make_room(packet: &mut Packet, hot: &OutboundHot, before: usize) -> Result<(), Drop> {
    const TRAILER: usize = 2;
    let payload = packet.frame.len();
    let mask = usize::from(hot.block_mask);
    let body = (payload + TRAILER + mask) & !mask;
    let (front, back) = (before + usize::from(hot.payload_offset), body - payload + usize::from(hot.icv));
    if packet.frame.grow(front, back) { Ok(()) } else { Err(Drop::FrameTooSmall) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end() {
        assert_eq!(next(0, false), Ok(1));
        assert_eq!(next(u64::from(u32::MAX) - 1, false), Ok(u64::from(u32::MAX)));
        assert_eq!(next(u64::from(u32::MAX), false), Err(Drop::SequenceExhausted));
        assert_eq!(next(u64::from(u32::MAX), true), Ok(1 << 32));
        assert_eq!(next(u64::MAX, true), Err(Drop::SequenceExhausted));
    }
}
