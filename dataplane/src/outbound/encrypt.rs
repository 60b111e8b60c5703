//! Seals a burst of ESP packets in place: the only way out by a tunnel.
//!
//! Decides: the verdict of protected packets. Reads: keys, numbers. Writes: frames. Never: sees a number that `sequence`
//! did not give, or lets a packet go that was not sealed.

use super::encap6;
use crate::batch::{Batch, MAX_BATCH};
use crate::packet::Packet;
use crate::sa::{Cold, OutboundHot, OutboundSa, SaDb};
use crate::stats::Stats;
use crate::verdict::Verdict;
use arrayvec::ArrayVec;
use ravelin_crypto::{Engine, SealJob};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_wire::{Bytes, protocol};

/// `before` makes each packet ready, headers and all, while its SA is at hand.
pub(crate) fn run(
    batch: &mut Batch,
    protect: &[u16],
    db: &mut SaDb,
    engine: &Engine,
    stats: &mut Stats,
    before: impl FnMut(&mut Packet, &mut OutboundHot, Cold<'_, OutboundSa>) -> Result<(), Drop>,
) {
    if protect.is_empty() {
        return;
    }
    let mut jobs = Jobs::new();
    let sums = prepare(batch, protect, db, &mut jobs, before);
    stats.add(Counter::Encrypted, jobs.len() as u64);
    let failed = engine.seal(&mut jobs) > 0;
    drop(jobs);
    if failed {
        for at in protect {
            batch.packets.get_mut(usize::from(*at)).map(refused);
        }
    }
    if sums {
        checksums(batch, protect, db);
    }
}

type Jobs<'a> = ArrayVec<SealJob<'a>, MAX_BATCH>;

/// Makes the jobs; true: one of them may want a checksum afterwards. On its own, so that its registers are its own.
#[inline(never)]
fn prepare<'a>(
    batch: &'a mut Batch,
    protect: &[u16],
    db: &'a mut SaDb,
    jobs: &mut Jobs<'a>,
    mut before: impl FnMut(&mut Packet, &mut OutboundHot, Cold<'_, OutboundSa>) -> Result<(), Drop>,
) -> bool {
    let (hots, keys, colds) = db.outbound.rows();
    let mut sums = false;
    for (_, packet) in batch.pick(protect) {
        let at = packet.meta.sa as usize;
        let (Some(hot), Some(Some(key))) = (hots.get_mut(at), keys.get(at)) else {
            packet.drop(Drop::NoOutboundSa);
            continue;
        };
        if let Err(why) = before(packet, hot, Cold::new(colds, at)) {
            packet.drop(why);
            continue;
        }
        // With this the packet has a job, and nothing comes between the job and its sealing.
        packet.verdict = Verdict::Forward { port: hot.outer.port };
        sums |= hot.v6;
        jobs.push(SealJob {
            key,
            spi: hot.spi,
            seq: packet.meta.seq,
            esn: hot.esn,
            next_header: if packet.meta.ip.v6 { protocol::IPV6 } else { protocol::IPV4 },
            payload_len: packet.meta.ip.total_len.into(),
            packet: packet.frame.data_from_mut(packet.meta.skip),
        });
    }
    sums
}

/// The checksums of UDP over IPv6, which are over what was sealed.
#[inline(never)]
fn checksums(batch: &mut Batch, protect: &[u16], db: &SaDb) {
    for at in protect {
        let Some(packet) = batch.packets.get_mut(usize::from(*at)) else { continue };
        let sums = db.outbound.hot.get(packet.meta.sa as usize).is_some_and(|hot| hot.v6 && hot.udp);
        if sums && matches!(packet.verdict, Verdict::Forward { .. }) {
            encap6::checksum(packet);
        }
    }
}

/// A job whose lengths contradict each other leaves zeros behind (there is none); zeros are not sent.
#[cold]
fn refused(packet: &mut Packet) {
    let sealed = packet.frame.data().be32(packet.meta.skip.into()).is_some_and(|spi| spi != 0);
    if !sealed && matches!(packet.verdict, Verdict::Forward { .. }) {
        packet.drop(Drop::NoOutboundSa);
    }
}
