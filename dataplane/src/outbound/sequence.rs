//! A sequence number for every packet (RFC 4303 §3.3.3), and the room for its ESP header and trailer.
//!
//! Decides: whether the SA may send one more. Reads and writes: the SA's hot record; `Meta::seq`; the frame's ends.
//! Never: gives a number twice: it rises before the packet exists, and never falls.

use crate::batch::Batch;
use crate::packet::Packet;
use crate::sa::{Events, OutboundSa, SaDb};
use crate::worker::Now;
use ravelin_ring::counters::Drop;

pub(crate) fn run(batch: &mut Batch, protect: &[u16], db: &mut SaDb, events: &mut Events, now: Now) {
    batch.each(protect, |packet| {
        let (hot, sa) = db.outbound.both(packet.meta.sa).ok_or(Drop::NoOutboundSa)?;
        make_room(packet, sa)?;
        let bytes = hot.bytes.saturating_add(packet.meta.ip.total_len.into());
        if hot.sequence >= hot.gates.0 || bytes > hot.gates.1 {
            sa.limits.at_gate(sa.id, (hot.sequence, bytes), &mut hot.gates, events)?;
        }
        hot.bytes = bytes;
        hot.last_ms = now.ms;
        hot.sequence = next(hot.sequence, hot.esn)?;
        packet.meta.seq = hot.sequence;
        packet.meta.spi = hot.spi;
        Ok(())
    });
}

//= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
//# the sender MUST NOT send a packet on an SA if doing so would cause
//# the sequence number to cycle
fn next(sequence: u64, esn: bool) -> Result<u64, Drop> {
    let last = if esn { u64::MAX } else { u64::from(u32::MAX) };
    if sequence >= last { Err(Drop::SequenceExhausted) } else { Ok(sequence + 1) }
}

/// The frame grows to the whole ESP packet; its payload stays where it is.
fn make_room(packet: &mut Packet, sa: &OutboundSa) -> Result<(), Drop> {
    let payload = packet.frame.len();
    let front = sa.algorithms.payload_offset();
    let back = sa.algorithms.sealed_len(payload).saturating_sub(front + payload);
    if packet.frame.extend(back) && packet.frame.push_front(front) {
        Ok(())
    } else {
        Err(Drop::FrameTooSmall)
    }
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
