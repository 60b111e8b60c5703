//! Seals a burst of ESP packets in place: the only way out by a tunnel.
//!
//! Decides: the verdict of protected packets. Reads: keys, numbers. Writes: frames. Never: sees a number that `sequence`
//! did not give, or lets a packet go that was not sealed.

use super::{encap6, plain};
use crate::batch::{Batch, MAX_BATCH};
use crate::clock::Now;
use crate::packet::Packet;
use crate::sa::{Cold, OutboundHot, OutboundSa, SaDb};
use crate::stats::Stats;
use crate::verdict::Verdict;
use arrayvec::ArrayVec;
use ravelin_crypto::{Engine, Key, SealJob};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_wire::{Bytes, protocol};

/// `before` makes a packet ready, headers and all, while its SA is at hand, where that takes more than [`plain`].
/// Returns how many go on.
pub(crate) fn run(
    batch: &mut Batch,
    protect: &[u16],
    db: &mut SaDb,
    engine: &Engine,
    stats: &mut Stats,
    now: Now,
    before: impl FnMut(&mut Packet, &mut OutboundHot, Cold<'_, OutboundSa>) -> Result<(), Drop>,
) -> usize {
    if protect.is_empty() {
        return 0;
    }
    let mut jobs = Jobs::new();
    let sums = if protect.len() == batch.packets.len() {
        prepare(batch.packets.iter_mut().filter(|packet| packet.pending()), db, &mut jobs, now, before)
    } else {
        prepare(batch.pick(protect), db, &mut jobs, now, before)
    };
    let sealed = jobs.len();
    stats.add(Counter::Encrypted, sealed as u64);
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
    if failed { 0 } else { sealed }
}

type Jobs<'a> = ArrayVec<SealJob<'a>, MAX_BATCH>;

/// Makes the jobs; true: one of them may want a checksum afterwards.
fn prepare<'a>(
    mut packets: impl Iterator<Item = &'a mut Packet>,
    db: &'a mut SaDb,
    jobs: &mut Jobs<'a>,
    now: Now,
    mut before: impl FnMut(&mut Packet, &mut OutboundHot, Cold<'_, OutboundSa>) -> Result<(), Drop>,
) -> bool {
    let (hots, keys, colds) = db.outbound.rows();
    let mut sums = false;
    while let Some(packet) = plain_run(&mut packets, hots, keys, jobs, now) {
        let at = packet.meta.sa as usize;
        let (Some(hot), Some(Some(key))) = (hots.get_mut(at), keys.get(at)) else {
            packet.drop(Drop::NoOutboundSa);
            continue;
        };
        if let Err(why) = before(packet, hot, Cold::new(colds, at)) {
            packet.drop(why);
            continue;
        }
        sums |= hot.v6;
        jobs.push(job(packet, hot, key));
    }
    sums
}

/// The jobs of a run of plain packets, up to one that is not, which is returned. Without a call in its loop, so that
/// nothing of it has to be kept out of registers.
#[inline(never)]
fn plain_run<'a>(
    packets: &mut impl Iterator<Item = &'a mut Packet>,
    hots: &mut [OutboundHot],
    keys: &'a [Option<Key>],
    jobs: &mut Jobs<'a>,
    now: Now,
) -> Option<&'a mut Packet> {
    let mut other = None;
    // One length, said to the compiler.
    let len = hots.len().min(keys.len());
    let (hots, keys) = (hots.get_mut(..len)?, keys.get(..len)?);
    jobs.extend(packets.map_while(|packet| {
        let at = packet.meta.sa as usize;
        let (Some(hot), Some(Some(key))) = (hots.get_mut(at), keys.get(at)) else {
            other = Some(packet);
            return None;
        };
        let Some(plan) = plain::plan(packet, hot) else {
            other = Some(packet);
            return None;
        };
        let Packet { frame, meta, verdict, .. } = packet;
        let payload_len = meta.ip.total_len.into();
        // There was room, so that there is a packet; had there been none, this one and those behind it would be without a
        // verdict, and be dropped for that.
        let esp = plain::ready(frame, meta, hot, plan, now)?;
        *verdict = Verdict::Forward { port: hot.outer.port };
        Some(SealJob {
            key,
            spi: hot.spi,
            seq: hot.sequence,
            esn: hot.esn,
            next_header: protocol::IPV4,
            payload_len,
            packet: esp,
        })
    }));
    other
}

/// With this the packet has a job, and nothing comes between the job and its sealing.
#[inline(always)]
fn job<'a>(packet: &'a mut Packet, hot: &OutboundHot, key: &'a Key) -> SealJob<'a> {
    packet.verdict = Verdict::Forward { port: hot.outer.port };
    SealJob {
        key,
        spi: hot.spi,
        seq: packet.meta.seq,
        esn: hot.esn,
        next_header: if packet.meta.ip.v6 { protocol::IPV6 } else { protocol::IPV4 },
        payload_len: packet.meta.ip.total_len.into(),
        packet: packet.frame.data_from_mut(packet.meta.skip),
    }
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
