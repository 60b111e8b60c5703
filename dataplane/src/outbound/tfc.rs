//! Padding that hides how long packets are (RFC 4303 §2.7): behind the inner packet, whose own length tells the receiver
//! where it ends.
//!
//! Decides: how long each packet becomes: as its SA says, and no longer than its way takes. Reads: the SA's cold record.
//! Writes: the frame's end, `Meta::ip`'s length, which is from here on the payload's. Never: touches a packet of an SA
//! that does not pad; runs where there is none.

use crate::batch::Batch;
use crate::packet::Packet;
use crate::sa::SaDb;
use ravelin_ring::counters::Drop;

pub(crate) fn run(batch: &mut Batch, protect: &[u16], db: &mut SaDb) {
    batch.each(protect, |packet| {
        let Some((hot, sa)) = db.outbound.both(packet.meta.sa) else { return Ok(()) };
        pad(packet, sa.tfc.min(hot.outer.max_inner))
    });
}

fn pad(packet: &mut Packet, to: u16) -> Result<(), Drop> {
    let before = packet.frame.len();
    let Some(missing) = usize::from(to).checked_sub(before).and_then(|n| u16::try_from(n).ok()) else {
        return Ok(());
    };
    // What fits without padding as the largest packet of its way fits with it.
    if !packet.frame.grow(0, missing) {
        return Err(Drop::FrameTooSmall);
    }
    packet.frame.data_mut().get_mut(before..).unwrap_or_default().fill(0);
    packet.meta.ip.total_len = to;
    Ok(())
}
