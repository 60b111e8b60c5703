//! SPI to SA.
//!
//! Decides: which SA opens the packet, or which worker has it. Reads: the SPI index. Writes: `Meta::sa`, the verdict.
//! Never: trusts anything of the packet but its SPI; the ICV decides later.
//!
//! ESP and ESP in UDP are both taken whatever the SA sends (RFC 7296 §2.23: all devices must be able to receive both
//! at any time), over either family of addresses.

use crate::batch::{Batch, prefetch_rest};
use crate::escape::Bounds;
use crate::neighbour::Resolver;
use crate::packet::{Origin, Packet};
use crate::sa::{ESP, SaDb, Throttle};
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{WorkerEvent, WorkerId};

pub(crate) fn run(batch: &mut Batch, esp: &[u16], db: &SaDb, unknown: &mut Throttle, say: &mut Resolver<'_>) {
    let mut last = u32::MAX;
    batch.each(esp, |packet| {
        let spi = packet.meta.spi;
        if let Some(place) = db.find(spi) {
            packet.meta.sa = place;
            if place != last {
                db.inbound.prefetch(place, packet.frame.len().saturating_sub(ESP));
                last = place;
            }
            prefetch_rest(packet);
            return Ok(());
        }
        absent(packet, db, unknown, say)
    });
}

/// Another worker's SA, or nobody's.
#[cold]
pub(super) fn absent(
    packet: &mut Packet,
    db: &SaDb,
    unknown: &mut Throttle,
    say: &mut Resolver<'_>,
) -> Result<(), Drop> {
    let spi = packet.meta.spi;
    let owner = db.owner(spi);
    if owner != db.worker && packet.origin.hops() == 0 {
        return hand_off(packet, owner);
    }
    if unknown.pass(say.now) {
        say.events.push(WorkerEvent::UnknownSpi { spi, from: packet.outer_source() });
    }
    Err(Drop::NoSa)
}

/// As it came, from its outer IP header on.
fn hand_off(packet: &mut Packet, worker: WorkerId) -> Result<(), Drop> {
    if !packet.frame.push_front(packet.meta.skip.into()) {
        return Err(Drop::Malformed);
    }
    let hops = packet.origin.hops().saturating_add(1);
    packet.origin = Origin::HandedIn { door: packet.door, hops, bounds: Bounds::NONE };
    packet.verdict = Verdict::HandOff { worker };
    Ok(())
}
