//! Opens a burst of ESP packets in place.
//!
//! Decides: whether a packet is authentic. Reads: keys. Writes: frames, the SA's count of forged packets.
//! Never: touches a window; that takes the proof made here.

use super::plain;
use crate::batch::Batch;
use crate::clock::Now;
use crate::flow::{Flows, Keys};
use crate::packet::Packet;
use crate::sa::{Cold, InboundHot, InboundSa, Rows, SaDb};
use crate::stats::Stats;
use core::num::NonZero;
use ravelin_crypto::{Engine, Found, OpenBurst, OpenError, OpenJob, Opened};
use ravelin_ring::counters::{Counter, Drop};

/// Proof that this number's packet passed its ICV. Only those modules make one that compared it.
#[must_use]
#[derive(Debug)]
pub(crate) struct Authentic(NonZero<u64>);

impl Authentic {
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.0.get()
    }

    /// For this module and the sibling that checks an ICV too. 0 is no packet's number.
    #[inline(always)]
    pub(super) fn new(number: u64) -> Option<Self> {
        NonZero::new(number).map(Self)
    }

    #[cfg(test)]
    pub(crate) fn for_test(number: u64) -> Self {
        Self(NonZero::new(number).unwrap())
    }
}

/// `before` is asked about a packet first, while its SA is at hand, and `after` goes on with every authentic one, each
/// where that takes more than [`plain`]. True: all of `esp` are on their way still.
#[inline(always)]
pub(crate) fn run(
    batch: &mut Batch,
    esp: &[u16],
    db: &mut SaDb,
    stats: &mut Stats,
    means: Means<'_>,
    before: impl FnMut(&mut Packet, &mut InboundHot) -> Result<(), Drop>,
    after: impl FnMut(
        u16,
        &mut Packet,
        &mut InboundHot,
        Cold<'_, InboundSa>,
        Authentic,
        Opened,
        &mut Keys,
    ) -> Result<(), Drop>,
) -> bool {
    if esp.is_empty() {
        return true;
    }
    let Means { engine, flows, keys, now } = means;
    let found = if esp.len() == batch.packets.len() {
        let packets = batch.packets.iter_mut().filter(|packet| packet.pending());
        open(packets, db, engine, before)
    } else {
        open(batch.pick(esp), db, engine, before)
    };
    let run = Run { esp, found, next: 0, flows, keys, now };
    let (authentic, lost) = go_on(batch, run, db, after);
    stats.add(Counter::Decrypted, authentic as u64);
    authentic == esp.len() && lost == 0
}

/// What a burst is opened with, and where its packets' flows are noted.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) flows: &'a Flows,
    pub(crate) keys: &'a mut Keys,
    pub(crate) now: Now,
}

/// What is left of a burst that was opened. Exactly the packets that had a job are still on their way.
struct Run<'a> {
    esp: &'a [u16],
    found: Found,
    /// Place of the next packet's job.
    next: usize,
    flows: &'a Flows,
    keys: &'a mut Keys,
    now: Now,
}

/// Returns how many were authentic, and of how many that was the end.
fn go_on(
    batch: &mut Batch,
    mut run: Run<'_>,
    db: &mut SaDb,
    mut after: impl FnMut(
        u16,
        &mut Packet,
        &mut InboundHot,
        Cold<'_, InboundSa>,
        Authentic,
        Opened,
        &mut Keys,
    ) -> Result<(), Drop>,
) -> (usize, usize) {
    let (mut rows, colds) = db.inbound.rows();
    let (mut decrypted, mut lost) = (0, 0);
    loop {
        let Run { esp, found, next, flows, keys, now } = &mut run;
        let done = plain_run(&mut batch.packets, esp, (*found, *next), &mut rows, flows, keys, *now);
        run.next += done;
        run.esp = run.esp.get(done..).unwrap_or_default();
        decrypted += done;
        let Some((&place, rest)) = run.esp.split_first() else { return (decrypted, lost) };
        run.esp = rest;
        let Some(packet) = batch.packets.get_mut(usize::from(place)).filter(|p| p.pending()) else {
            continue;
        };
        let at = packet.meta.sa as usize;
        let Some((hot, _)) = rows.get_mut(at) else {
            packet.drop(Drop::NoSa); // cannot be: it had a key and a job
            continue;
        };
        let outcome = run.found.outcome(run.next, packet.frame.data(), hot.payload_offset, hot.icv);
        run.next += 1;
        let result = match (outcome, Authentic::new(packet.meta.seq)) {
            (Ok(opened), Some(proof)) => {
                decrypted += 1;
                after(place, packet, hot, Cold::new(colds, at), proof, opened, run.keys)
            }
            (Ok(_), None) => Err(Drop::ReplayOld), // cannot be: 0 is refused before
            (Err(error), _) => Err(reason(error)),
        };
        if let Err(why) = result {
            refuse(packet, Cold::new(colds, at), why);
        }
        lost += usize::from(!packet.pending());
    }
}

/// Goes on with authentic packets up to one that is not plain; returns how many. Without a call in its loop, so that
/// nothing of it has to be kept out of registers.
#[inline(never)]
fn plain_run(
    packets: &mut [Packet],
    esp: &[u16],
    (found, next): (Found, usize),
    rows: &mut Rows<'_, InboundHot>,
    flows: &Flows,
    keys: &mut Keys,
    now: Now,
) -> usize {
    let mut done = 0;
    for &place in esp {
        let Some(packet) = packets.get_mut(usize::from(place)) else { break };
        let Some((hot, _)) = rows.get_mut(packet.meta.sa as usize) else { break };
        if !packet.pending() {
            break;
        }
        let opened = found.opened(next + done, packet.frame.data(), hot.payload_offset, hot.icv);
        let (Some(opened), Some(proof)) = (opened, Authentic::new(packet.meta.seq)) else { break };
        let Some(head) = plain::go_on(packet, hot, proof, &opened, now) else { break };
        flows.note_opened(place, packet, &head, keys);
        done += 1;
    }
    done
}

/// More than a burst holds is never received; it would be dropped for want of an outcome.
fn open<'a>(
    mut packets: impl Iterator<Item = &'a mut Packet>,
    db: &'a mut SaDb,
    engine: &Engine,
    mut before: impl FnMut(&mut Packet, &mut InboundHot) -> Result<(), Drop>,
) -> Found {
    let (mut rows, colds) = db.inbound.rows();
    let mut burst = OpenBurst::default();
    loop {
        let (other, rest) = plain_jobs(packets, &rows, &mut burst);
        packets = rest;
        let Some(packet) = other else { break };
        let at = packet.meta.sa as usize;
        let Some((hot, Some(key))) = rows.get_mut(at) else {
            // Cannot be; left pending, it would get the outcome of the packet after it.
            packet.drop(Drop::NoSa);
            continue;
        };
        match before(packet, hot) {
            Ok(()) => burst.push(OpenJob::new(key, packet.meta.seq, hot.esn, packet.frame.data_mut())),
            Err(why) => refuse(packet, Cold::new(colds, at), why),
        }
    }
    engine.open_burst(&mut burst)
}

/// The jobs of a run of plain packets, up to one that is not, which is returned, and the packets behind it; as
/// [`plain_run`].
#[inline(never)]
fn plain_jobs<'a, I: Iterator<Item = &'a mut Packet>>(
    mut packets: I,
    rows: &Rows<'a, InboundHot>,
    burst: &mut OpenBurst<'a>,
) -> (Option<&'a mut Packet>, I) {
    let other = loop {
        let Some(packet) = packets.next() else { break None };
        let at = packet.meta.sa as usize;
        let Some((hot, Some(key))) = rows.get(at) else { break Some(packet) };
        if !plain::check(packet, hot) {
            break Some(packet);
        }
        burst.push(OpenJob::new(key, packet.meta.seq, hot.esn, packet.frame.data_mut()));
    };
    (other, packets)
}

#[cold]
fn refuse(packet: &mut Packet, mut sa: Cold<'_, InboundSa>, why: Drop) {
    if let Some(sa) = sa.get() {
        sa.refuse(why);
    }
    packet.drop(why);
}

pub(super) fn reason(error: OpenError) -> Drop {
    match error {
        OpenError::BadEsp => Drop::BadEsp,
        OpenError::BadIcv => Drop::BadIcv,
        OpenError::BadPadding => Drop::BadPadding,
    }
}
