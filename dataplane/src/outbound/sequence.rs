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
    take(packet, hot, || sa.as_mut(), events, now)
}

/// A number, without room for ESP.
#[inline(always)]
pub(crate) fn take<'a>(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    sa: impl FnOnce() -> Option<&'a mut OutboundSa>,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    let bytes = hot.bytes.wrapping_add(packet.meta.ip.total_len.into());
    // The last number there is, is a gate too.
    if hot.sequence >= hot.gates.0 || bytes > hot.gates.1 {
        attend(hot, bytes, sa().ok_or(Drop::NoOutboundSa)?, events, now)?;
    }
    hot.bytes = bytes;
    hot.last_ms = now.ms;
    hot.sequence += 1;
    packet.meta.seq = hot.sequence;
    Ok(())
}

/// A limit is reached.
#[cold]
fn attend(
    hot: &mut OutboundHot,
    bytes: u64,
    sa: &mut OutboundSa,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    sa.limits.at_gate(sa.id, (hot.sequence, bytes), &mut hot.gates, (events, now))?;
    next(hot.sequence, hot.esn).map(|_| ())
}

//= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
//# the sender MUST NOT send a packet on an SA if doing so would cause
//# the sequence number to cycle
fn next(sequence: u64, esn: bool) -> Result<u64, Drop> {
    let last = if esn { u64::MAX } else { u64::from(u32::MAX) };
    if sequence >= last { Err(Drop::SequenceExhausted) } else { Ok(sequence + 1) }
}

/// The frame grows to the whole ESP packet and `before` bytes more at its front; its payload stays where it is.
#[inline(always)]
pub(super) fn make_room(packet: &mut Packet, hot: &OutboundHot, before: u8) -> Result<(), Drop> {
    const TRAILER: u16 = 2;
    let front = u16::from(before) + u16::from(hot.payload_offset);
    let back = TRAILER + u16::from(padding(packet, hot)) + u16::from(hot.icv);
    if packet.frame.grow(front, back) { Ok(()) } else { Err(Drop::FrameTooSmall) }
}

/// What is missing to a multiple of the block, behind the trailer.
#[inline(always)]
pub(super) fn padding(packet: &Packet, hot: &OutboundHot) -> u8 {
    let [payload, _] = packet.frame.len16().to_le_bytes();
    !payload.wrapping_add(1) & hot.block_mask
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
