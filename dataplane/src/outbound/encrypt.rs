//! Seals a burst of ESP packets in place: the only way out by a tunnel.
//!
//! Decides: the verdict of protected packets. Reads: keys, numbers. Writes: frames. Never: sees a number that `sequence`
//! did not give, or lets a packet go that was not sealed.

use super::{encap6, plain};
use crate::batch::Batch;
use crate::clock::Now;
use crate::packet::Packet;
use crate::sa::{Cold, OutboundHot, OutboundSa, Rows, SaDb};
use crate::stats::Stats;
use crate::verdict::Verdict;
use ravelin_crypto::{Engine, Key, SealBurst, SealJob};
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
    let means = Means { engine, now };
    let Made { sealed, failed, sums } = if protect.len() == batch.packets.len() {
        seal(batch.packets.iter_mut().filter(|packet| packet.pending()), db, means, before)
    } else {
        seal(batch.pick(protect), db, means, before)
    };
    stats.add(Counter::Encrypted, sealed as u64);
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

#[derive(Clone, Copy)]
struct Means<'a> {
    engine: &'a Engine,
    now: Now,
}

#[derive(Default)]
struct Made {
    /// How many packets had a job.
    sealed: usize,
    /// Not all of them.
    failed: bool,
    /// One may want a checksum afterwards.
    sums: bool,
}

/// Packets become jobs, and bursts of those are sealed.
fn seal<'a>(
    mut packets: impl Iterator<Item = &'a mut Packet>,
    db: &'a mut SaDb,
    Means { engine, now }: Means<'_>,
    mut before: impl FnMut(&mut Packet, &mut OutboundHot, Cold<'_, OutboundSa>) -> Result<(), Drop>,
) -> Made {
    let (mut rows, colds) = db.outbound.rows();
    let (mut burst, mut made) = (SealBurst::default(), Made::default());
    loop {
        let (jobs, other, rest) = plain_run(packets, &mut rows, &mut burst, now);
        packets = rest;
        made.sealed += jobs;
        if burst.is_full() || other.is_none() {
            made.failed |= engine.seal_burst(&mut burst) > 0;
        }
        let Some(packet) = other else { return made };
        let at = packet.meta.sa as usize;
        let Some((hot, Some(key))) = rows.get_mut(at) else {
            packet.drop(Drop::NoOutboundSa);
            continue;
        };
        if let Err(why) = before(packet, hot, Cold::new(colds, at)) {
            packet.drop(why);
            continue;
        }
        made.sums |= hot.v6;
        made.sealed += 1;
        burst.push(job(packet, hot, key));
        if burst.is_full() {
            made.failed |= engine.seal_burst(&mut burst) > 0;
        }
    }
}

/// Jobs of plain packets, up to a packet that is not plain or that finds the burst full, which is returned; how many there
/// were, and the packets behind. Without a call in its loop, so that nothing of it has to be kept out of registers.
#[inline(never)]
fn plain_run<'a, I: Iterator<Item = &'a mut Packet>>(
    mut packets: I,
    rows: &mut Rows<'a, OutboundHot>,
    burst: &mut SealBurst<'a>,
    now: Now,
) -> (usize, Option<&'a mut Packet>, I) {
    let (mut jobs, room) = (0, burst.room());
    let other = loop {
        let Some(packet) = packets.next() else { break None };
        let at = packet.meta.sa as usize;
        let Some((hot, Some(key))) = rows.get_mut(at) else { break Some(packet) };
        let Some(plan) = plain::plan(packet, hot).filter(|_| jobs < room) else { break Some(packet) };
        let Packet { frame, meta, verdict, .. } = packet;
        let payload_len = meta.ip.total_len.into();
        // There was room, so that there is a packet; had there been none, it would be without a verdict, and be dropped
        // for that.
        let Some(esp) = plain::ready(frame, meta, hot, plan, now) else { continue };
        *verdict = Verdict::Forward { port: hot.outer.port };
        burst.push(SealJob {
            key,
            spi: hot.spi,
            seq: hot.sequence,
            esn: hot.esn,
            next_header: protocol::IPV4,
            payload_len,
            packet: esp,
        });
        jobs += 1;
    };
    (jobs, other, packets)
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
        let sums = db.outbound.peek(packet.meta.sa).is_some_and(|hot| hot.v6 && hot.udp);
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
