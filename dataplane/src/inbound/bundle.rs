//! Bundles: ESP within AH, both of SAs that name each other (RFC 4301 §4.5; the form is RFC 2401's).
//!
//! Decides: that ESP of a bundle comes within its AH, and nothing else does. Reads: which SAs are partners. Writes: AH out
//! of the packet, which goes on with the other ESP packets. Never: runs where there is no bundle; lets through what came
//! by one of the two alone.
//!
//! 1. What came as ESP already and belongs to a bundle is dropped: its AH is missing, 2. the AH of bundles is checked and
//!    taken out, 3. what is in it must be whole ESP with the SPI of the partner.

use super::ah;
use crate::batch::Batch;
use crate::classify::{self, Classes};
use crate::flow::Flows;
use crate::neighbour::Resolver;
use crate::packet::Packet;
use crate::sa::SaDb;
use crate::stats::Stats;
use crate::tables::Tables;
use ravelin_crypto::Engine;
use ravelin_ring::counters::Drop;
use ravelin_wire::protocol;

/// What the stage works with.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    pub(crate) db: &'a mut SaDb,
    pub(crate) tables: &'a Tables,
    pub(crate) flows: &'a Flows,
    pub(crate) engine: &'a Engine,
    pub(crate) stats: &'a mut Stats,
}

/// Before ESP is looked up.
#[cold]
pub(crate) fn run(batch: &mut Batch, classes: &mut Classes, means: &mut Means<'_>, say: &mut Resolver<'_>) {
    let Means { db, tables, flows, .. } = means;
    batch.each(&classes.esp, |packet| match db.is_bundled(packet.meta.spi) {
        true => Err(Drop::AhMissing),
        false => Ok(()),
    });
    let of_bundle = |batch: &Batch, at: &u16| {
        let packet = batch.packets.get(usize::from(*at)).filter(|packet| packet.pending());
        packet.is_some_and(|packet| db.find_ah(packet.meta.spi).is_some_and(|place| db.is_around(place)))
    };
    let (mine, others) = classes.ah.iter().copied().partition(|at| of_bundle(batch, at));
    classes.ah = others;
    let mine: crate::batch::Places = mine;
    for at in mine {
        batch.each(&[at], |packet| take_out(packet, db, means.engine, means.stats, say));
        let pending = |batch: &Batch| batch.packets.get(usize::from(at)).is_some_and(Packet::pending);
        if !pending(batch) {
            continue;
        }
        classify::again(batch, at, tables, classes, db, flows);
        // Not reached: what is left is ESP for the same gateway. Nothing of a bundle goes on in clear.
        if pending(batch) && !classes.esp.contains(&at) {
            classes.clear.retain(|place| *place != at);
            batch.each(&[at], |_| Err(Drop::BundleMismatch));
        }
    }
}

/// As it was before AH came around it: ESP of the partner, as if it had come so.
fn take_out(
    packet: &mut Packet,
    db: &mut SaDb,
    engine: &Engine,
    stats: &mut Stats,
    say: &mut Resolver<'_>,
) -> Result<(), Drop> {
    let (door, tag) = (packet.door, packet.meta.tag);
    let place = db.find_ah(packet.meta.spi).ok_or(Drop::NoSa)?;
    packet.meta.sa = place;
    ah::one(packet, db, engine, stats, say)?;
    (packet.door, packet.meta.tag, packet.meta.opened) = (door, tag, false);
    let whole = packet.meta.ip.protocol == protocol::ESP && !packet.meta.ip.fragment;
    if !whole || !db.are_partners(place, spi(packet)) {
        return Err(Drop::BundleMismatch);
    }
    Ok(())
}

/// Of the ESP packet whose IP header is at the front of the frame.
fn spi(packet: &Packet) -> Option<u32> {
    use ravelin_wire::Bytes;
    use ravelin_wire::extension;
    let bytes = packet.frame.data();
    let at = match packet.meta.ip.v6 {
        true => extension::transport_at(bytes)?.at,
        false => packet.meta.ip.header_len.into(),
    };
    bytes.be32(at)
}
