//! Opens a burst of ESP packets in place.
//!
//! Decides: whether a packet is authentic. Reads: keys. Writes: frames, `Meta::{inner, next_header, proof}`.
//! Never: touches a window; that takes the proof made here.

use crate::batch::{Batch, MAX_BATCH};
use crate::sa::SaDb;
use crate::stats::Stats;
use arrayvec::ArrayVec;
use core::num::NonZero;
use ravelin_crypto::{Engine, OpenError, OpenJob, Opened};
use ravelin_ring::counters::{Counter, Drop};

/// Proof that this number's packet passed its ICV. Only this module makes one.
#[must_use]
#[derive(Debug)]
pub(crate) struct Authentic(NonZero<u64>);

impl Authentic {
    pub(crate) fn number(&self) -> u64 {
        self.0.get()
    }

    #[cfg(test)]
    pub(crate) fn for_test(number: u64) -> Self {
        Self(NonZero::new(number).unwrap())
    }
}

pub(crate) fn run(batch: &mut Batch, esp: &[u16], db: &mut SaDb, engine: &mut Engine, stats: &mut Stats) {
    let outcomes = open(batch, esp, db, engine);
    for (packet, outcome) in batch.pick(esp).zip(&outcomes) {
        match outcome {
            Ok(opened) => {
                stats.count(Counter::Decrypted);
                packet.meta.inner = (short(opened.offset), short(opened.len));
                packet.meta.next_header = opened.next_header;
                packet.meta.proof = NonZero::new(packet.meta.seq).map(Authentic);
            }
            Err(error) => {
                if let Some((_, sa)) = db.inbound.both(packet.meta.sa) {
                    sa.icv_drops += u64::from(*error == OpenError::BadIcv);
                }
                packet.drop(reason(*error));
            }
        }
    }
}

type Outcomes = ArrayVec<Result<Opened, OpenError>, MAX_BATCH>;

fn open(batch: &mut Batch, esp: &[u16], db: &SaDb, engine: &mut Engine) -> Outcomes {
    let mut jobs: ArrayVec<OpenJob<'_>, MAX_BATCH> = ArrayVec::new();
    for packet in batch.pick(esp) {
        let hot = db.inbound.hot.get(packet.meta.sa as usize);
        let Some((hot, key)) = hot.zip(db.inbound.key(packet.meta.sa)) else {
            // Cannot be; left pending, it would get the outcome of the packet after it.
            packet.drop(Drop::NoSa);
            continue;
        };
        jobs.push(OpenJob::new(key, packet.meta.seq, hot.esn, packet.frame.data_mut()));
    }
    engine.open(&mut jobs);
    jobs.iter().map(|job| job.outcome).collect()
}

fn reason(error: OpenError) -> Drop {
    match error {
        OpenError::BadEsp => Drop::BadEsp,
        OpenError::BadIcv => Drop::BadIcv,
        OpenError::BadPadding => Drop::BadPadding,
    }
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}
