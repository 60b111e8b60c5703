//! Opens a burst of ESP packets in place.
//!
//! Decides: whether a packet is authentic. Reads: keys. Writes: frames, the SA's count of forged packets.
//! Never: touches a window; that takes the proof made here.

use crate::batch::{Batch, MAX_BATCH};
use crate::packet::Packet;
use crate::sa::{Cold, InboundHot, InboundSa, SaDb};
use crate::stats::Stats;
use arrayvec::ArrayVec;
use core::num::NonZero;
use ravelin_crypto::{Engine, OpenError, OpenJob, Opened};
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

    /// For the sibling that checks an ICV too. 0 is no packet's number.
    pub(super) fn new(number: u64) -> Option<Self> {
        NonZero::new(number).map(Self)
    }

    #[cfg(test)]
    pub(crate) fn for_test(number: u64) -> Self {
        Self(NonZero::new(number).unwrap())
    }
}

/// `before` is asked about every packet first, while its SA is at hand, and `after` goes on with every authentic one.
#[inline(always)]
pub(crate) fn run(
    batch: &mut Batch,
    esp: &[u16],
    db: &mut SaDb,
    engine: &Engine,
    stats: &mut Stats,
    before: impl FnMut(&mut Packet, &mut InboundHot) -> Result<(), Drop>,
    after: impl FnMut(
        u16,
        &mut Packet,
        &mut InboundHot,
        Cold<'_, InboundSa>,
        Authentic,
        Opened,
    ) -> Result<(), Drop>,
) {
    if esp.is_empty() {
        return;
    }
    let mut outcomes = Outcomes::new();
    open(batch, esp, db, engine, &mut outcomes, before);
    stats.add(Counter::Decrypted, go_on(batch, esp, db, &outcomes, after));
}

type Outcomes = ArrayVec<Result<Opened, OpenError>, MAX_BATCH>;

/// Returns how many were authentic. On its own, as [`open`] is, so that its registers are its own.
#[inline(never)]
fn go_on(
    batch: &mut Batch,
    esp: &[u16],
    db: &mut SaDb,
    outcomes: &Outcomes,
    mut after: impl FnMut(
        u16,
        &mut Packet,
        &mut InboundHot,
        Cold<'_, InboundSa>,
        Authentic,
        Opened,
    ) -> Result<(), Drop>,
) -> u64 {
    let (hots, _, colds) = db.inbound.rows();
    let mut decrypted = 0;
    // Exactly the packets that had a job are still on their way.
    for ((place, packet), outcome) in batch.pick(esp).zip(outcomes) {
        let at = packet.meta.sa as usize;
        let Some(hot) = hots.get_mut(at) else {
            packet.drop(Drop::NoSa); // cannot be: it had a key
            continue;
        };
        let result = match (*outcome, NonZero::new(packet.meta.seq)) {
            (Ok(opened), Some(number)) => {
                decrypted += 1;
                after(place, packet, hot, Cold::new(colds, at), Authentic(number), opened)
            }
            (Ok(_), None) => Err(Drop::ReplayOld), // cannot be: 0 is refused before
            (Err(error), _) => Err(reason(error)),
        };
        if let Err(why) = result {
            refuse(packet, Cold::new(colds, at), why);
        }
    }
    decrypted
}

#[inline(never)]
fn open(
    batch: &mut Batch,
    esp: &[u16],
    db: &mut SaDb,
    engine: &Engine,
    outcomes: &mut Outcomes,
    mut before: impl FnMut(&mut Packet, &mut InboundHot) -> Result<(), Drop>,
) {
    let (hots, keys, colds) = db.inbound.rows();
    let mut jobs: ArrayVec<OpenJob<'_>, MAX_BATCH> = ArrayVec::new();
    for (_, packet) in batch.pick(esp) {
        let at = packet.meta.sa as usize;
        let (Some(hot), Some(Some(key))) = (hots.get_mut(at), keys.get(at)) else {
            // Cannot be; left pending, it would get the outcome of the packet after it.
            packet.drop(Drop::NoSa);
            continue;
        };
        match before(packet, hot) {
            Ok(()) => jobs.push(OpenJob::new(key, packet.meta.seq, hot.esn, packet.frame.data_mut())),
            Err(why) => refuse(packet, Cold::new(colds, at), why),
        }
    }
    engine.open(&mut jobs);
    outcomes.extend(jobs.iter().map(|job| job.outcome));
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
