//! Packets that travel together to whoever does their crypto, with all that takes.
//!
//! Decides: nothing. Reads: its own keys and jobs. Writes: frames, and an outcome for each packet. Never: knows an SA's
//! numbers but those that its packets have, or outlives the keys that it holds.

use crate::outbound;
use crate::packet::Packet;
use arrayvec::ArrayVec;
use ravelin_crypto::{BURST, Engine, Key, OpenError, OpenJob, Opened, SealJob};
use ravelin_ring::msg::{SaId, WorkerId};
use ravelin_wire::{Bytes as _, protocol};
use std::sync::Arc;

/// SAs of one burst.
const KEYS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Seal,
    Open,
}

/// What crypto has to know of a packet besides what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) spi: u32,
    pub(crate) esn: bool,
    /// UDP over IPv6, whose checksum is over what was sealed.
    pub(crate) checksum: bool,
}

#[derive(Debug)]
pub(crate) struct Burst {
    /// Whose, and which of its bursts.
    pub(crate) owner: WorkerId,
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) packets: ArrayVec<Packet, BURST>,
    jobs: ArrayVec<(u8, Job), BURST>,
    keys: ArrayVec<(SaId, Arc<Key>), KEYS>,
    /// Of each packet, in their order, once the crypto is done.
    outcomes: ArrayVec<Outcome, BURST>,
}

/// `None`: nobody came to it, or it could not be done.
type Outcome = Option<Result<Opened, OpenError>>;

/// Of a packet that was sealed: there is nothing to be told.
const SEALED: Outcome = Some(Ok(Opened { offset: 0, len: 0, next_header: 0 }));

impl Burst {
    pub(crate) fn boxed() -> Box<Self> {
        Box::new(Self {
            owner: WorkerId(0),
            number: 0,
            kind: Kind::Seal,
            packets: ArrayVec::new(),
            jobs: ArrayVec::new(),
            keys: ArrayVec::new(),
            outcomes: ArrayVec::new(),
        })
    }

    pub(super) fn begin(&mut self, owner: WorkerId, kind: Kind) {
        self.clear();
        (self.owner, self.kind) = (owner, kind);
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.jobs.clear();
        self.keys.clear();
        self.outcomes.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.packets.is_full()
    }

    /// Another packet of that kind and SA.
    pub(super) fn takes(&self, kind: Kind, sa: SaId) -> bool {
        let known = self.keys.iter().any(|(id, _)| *id == sa);
        self.kind == kind && !self.packets.is_full() && (known || !self.keys.is_full())
    }

    /// There is room: [`Self::takes`] was asked.
    pub(super) fn put(&mut self, packet: Packet, key: &Arc<Key>, sa: SaId, job: Job) {
        let at = self.keys.iter().position(|(id, _)| *id == sa).unwrap_or_else(|| {
            self.keys.push((sa, key.clone()));
            self.keys.len() - 1
        });
        self.jobs.push((u8::try_from(at).unwrap_or(u8::MAX), job));
        self.packets.push(packet);
    }

    /// Seals or opens all.
    pub(super) fn run(&mut self, engine: &Engine) {
        match self.kind {
            Kind::Seal => self.seal(engine),
            Kind::Open => self.open(engine),
        }
    }

    /// Nothing was done, as far as its owner may know.
    pub(super) fn spoil(&mut self) {
        self.outcomes.clear();
    }

    /// Takes all packets out, each with its SA and its outcome.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Packet, SaId, Outcome)> {
        let Self { packets, jobs, keys, outcomes, .. } = self;
        packets.drain(..).zip(jobs.iter()).enumerate().map(|(at, (packet, (key, _)))| {
            let sa = keys.get(usize::from(*key)).map_or(SaId(0), |(id, _)| *id);
            (packet, sa, outcomes.get(at).copied().flatten())
        })
    }

    fn seal(&mut self, engine: &Engine) {
        let Self { packets, jobs, keys, outcomes, .. } = self;
        let mut work: ArrayVec<SealJob<'_>, BURST> = ArrayVec::new();
        for (packet, (key, job)) in packets.iter_mut().zip(jobs.iter()) {
            let Some((_, key)) = keys.get(usize::from(*key)) else { continue };
            work.push(SealJob {
                key,
                spi: job.spi,
                seq: packet.meta.seq,
                esn: job.esn,
                next_header: if packet.meta.ip.v6 { protocol::IPV6 } else { protocol::IPV4 },
                payload_len: packet.meta.ip.total_len.into(),
                packet: packet.frame.data_mut().get_mut(usize::from(packet.meta.skip)..).unwrap_or_default(),
            });
        }
        engine.seal(&mut work);
        drop(work);
        for (packet, (_, job)) in packets.iter_mut().zip(jobs.iter()) {
            // A job whose lengths contradict each other leaves zeros behind (there is none); zeros are not sent.
            let sealed = packet.frame.data().be32(packet.meta.skip.into()).is_some_and(|spi| spi != 0);
            if sealed && job.checksum {
                outbound::checksum(packet);
            }
            outcomes.push(if sealed { SEALED } else { None });
        }
    }

    fn open(&mut self, engine: &Engine) {
        let Self { packets, jobs, keys, outcomes, .. } = self;
        let mut work: ArrayVec<OpenJob<'_>, BURST> = ArrayVec::new();
        for (packet, (key, job)) in packets.iter_mut().zip(jobs.iter()) {
            // Each has its key; were it not so, none would be opened, rather than one by another's outcome.
            let Some((_, key)) = keys.get(usize::from(*key)) else { return };
            work.push(OpenJob::new(key, packet.meta.seq, job.esn, packet.frame.data_mut()));
        }
        engine.open(&mut work);
        outcomes.extend(work.iter().map(|job| Some(job.outcome)));
    }
}
