//! The crypto of one SA's packets done by several workers (R301), for peers that have one SA for all of them.
//!
//! Decides: when a worker is loaded enough to share, whose turn a burst has. Reads: how full batches are, the clock of the
//! batch. Writes: bursts of packets with their keys into bounded lock-free queues. Never: shares an SA's numbers or its window:
//! those are its owner's, before a burst leaves and after it came back; lets one burst overtake another of the same worker;
//! waits.
//!
//! A worker puts what it shares on its own desk, and whoever has time takes it from there: the others, and itself when
//! nobody does. So nobody is chosen who has stopped, and only what is in somebody's hands can be lost with him.

mod burst;

pub(crate) use burst::{Burst, Job, Kind};

use crate::clock::Now;
use crate::packet::Packet;
use crate::stats::Stats;
use crate::verdict::Verdict;
use crossbeam::queue::ArrayQueue;
use ravelin_crypto::{Engine, Key};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{SaId, WorkerId};
use ravelin_xsk::FramePool;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bursts of one worker on their way, each of up to 64 packets: as many packets as wait in large receive rings.
const MAX_OUT: usize = 128;
/// Received packets of a batch from which on its worker counts as loaded: half a batch waited while it was busy.
const LOADED: usize = 32;
/// Bursts that wait for one helper before their owner does some itself.
const WAITING: usize = 2;
/// As long a burst may lie on its owner's desk.
const NOBODY_MS: u64 = 2;
/// As long a burst may be in somebody's hands: a thread that was put aside comes back much sooner.
const LOST_MS: u64 = 500;

/// The desks of all workers.
#[derive(Debug)]
pub struct Helpers {
    desks: Box<[Desk]>,
    /// SAs that are shared: while there are none, nobody looks at desks.
    shared: AtomicUsize,
}

/// What one worker shares, and what comes back to it. Both have room for all its bursts.
#[derive(Debug)]
struct Desk {
    work: ArrayQueue<Box<Burst>>,
    done: ArrayQueue<Box<Burst>>,
}

impl Helpers {
    pub fn new(workers: u16) -> Arc<Self> {
        let queue = || ArrayQueue::new(MAX_OUT);
        let desk = |_| Desk { work: queue(), done: queue() };
        Arc::new(Self { desks: (0..workers).map(desk).collect(), shared: AtomicUsize::new(0) })
    }

    /// Puts the burst back on the desk that it came from. Who it belongs to.
    fn give_back(&self, burst: Box<Burst>) -> WorkerId {
        let owner = burst.owner;
        if let Some(desk) = self.desks.get(usize::from(owner.0)) {
            let _ = desk.done.push(burst); // there is room for all there are
        }
        owner
    }
}

/// One worker's end.
#[derive(Debug)]
pub(crate) struct Share {
    me: WorkerId,
    helpers: Option<Arc<Helpers>>,
    /// Bursts in the order in which they go on; the first has the number `first`.
    out: VecDeque<Out>,
    first: u64,
    /// Not given away yet.
    filling: Option<Box<Burst>>,
    spare: Vec<Box<Burst>>,
    /// Somebody else's, while its crypto is done here.
    in_hand: Option<Box<Burst>>,
    /// Bursts given away since that was asked last.
    fresh: usize,
    /// Nothing new is given away.
    pub(crate) paused: bool,
    /// What is only asked about stays here.
    pub(crate) dry: bool,
    threshold: usize,
}

#[derive(Debug)]
enum Out {
    Away { packets: u64, since: u64 },
    Back(Box<Burst>),
}

impl Share {
    pub(crate) fn new(me: WorkerId) -> Self {
        Self {
            me,
            helpers: None,
            out: VecDeque::new(),
            first: 0,
            filling: None,
            spare: vec![],
            in_hand: None,
            fresh: 0,
            paused: false,
            dry: false,
            threshold: LOADED,
        }
    }

    pub(crate) fn join(&mut self, helpers: Arc<Helpers>) {
        self.helpers = (helpers.desks.len() > 1).then_some(helpers);
    }

    /// From so many packets in a batch on.
    pub(crate) fn share_from(&mut self, packets: usize) {
        self.threshold = packets;
    }

    /// Called when SAs came or went: `before` and `now` of them are shared. Room for bursts is made here.
    pub(crate) fn follow(&mut self, before: usize, now: usize) {
        let Some(helpers) = &self.helpers else { return };
        if now > before {
            helpers.shared.fetch_add(now - before, Ordering::Relaxed);
        } else {
            helpers.shared.fetch_sub(before - now, Ordering::Relaxed);
        }
        if now > 0 && self.spare.is_empty() && self.out.is_empty() {
            self.out.reserve(MAX_OUT);
            self.spare.extend((0..MAX_OUT).map(|_| Burst::boxed()));
        }
    }

    /// Whether packets of shared SAs are to be given away, of a batch of so many. While some are, those after them have to
    /// follow.
    #[inline]
    pub(crate) fn engages(&self, batch: usize) -> bool {
        let starts = batch >= self.threshold && !self.paused;
        self.helpers.is_some() && !self.dry && (starts || !self.out.is_empty())
    }

    /// A worker whose batches are that full has no time for others.
    pub(crate) fn is_loaded(&self, batch: usize) -> bool {
        batch >= self.threshold
    }

    /// Bursts that have not gone on yet.
    pub(crate) fn out(&self) -> usize {
        self.out.len()
    }

    /// There is, or was lately, something to share.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.helpers.as_ref().is_some_and(|h| h.shared.load(Ordering::Relaxed) > 0) || !self.out.is_empty()
    }

    /// Whether another packet can be taken: asked before it gets a number.
    pub(crate) fn room(&mut self, now: Now) -> Result<(), Drop> {
        if self.filling.as_ref().is_some_and(|burst| burst.is_full()) {
            self.give(now);
        }
        if self.out.len() >= MAX_OUT { Err(Drop::HelpersBusy) } else { Ok(()) }
    }

    /// Takes the packet out of its batch.
    pub(crate) fn take(
        &mut self,
        kind: Kind,
        packet: &mut Packet,
        key: &Arc<Key>,
        sa: SaId,
        job: Job,
        now: Now,
    ) {
        if self.filling.as_ref().is_some_and(|burst| !burst.takes(kind, sa)) {
            self.give(now);
        }
        let me = self.me;
        let spare = &mut self.spare;
        let burst = self.filling.get_or_insert_with(|| {
            let mut burst = spare.pop().unwrap_or_else(Burst::boxed);
            burst.begin(me, kind);
            burst
        });
        let taken = core::mem::replace(packet, Packet::nothing());
        packet.verdict = Verdict::Held;
        burst.put(taken, key, sa, job);
    }

    /// What was taken from a batch goes onto the desk.
    pub(crate) fn give(&mut self, now: Now) {
        let (Some(mut burst), Some(helpers)) = (self.filling.take(), &self.helpers) else { return };
        burst.number = self.first + self.out.len() as u64;
        let packets = burst.len() as u64;
        let Some(desk) = helpers.desks.get(usize::from(self.me.0)) else { return };
        self.fresh += 1;
        self.out.push_back(match desk.work.push(burst) {
            Ok(()) => Out::Away { packets, since: now.ms },
            Err(burst) => Out::Back(burst), // not reached: there is room for all there are
        });
    }

    /// Bursts given away since this was asked last: so many others may be woken.
    pub(crate) fn take_fresh(&mut self) -> usize {
        core::mem::take(&mut self.fresh)
    }

    /// Something lies there for this worker.
    pub(crate) fn is_wanted(&self) -> bool {
        let Some(helpers) = &self.helpers else { return false };
        let me = usize::from(self.me.0);
        helpers
            .desks
            .iter()
            .enumerate()
            .any(|(at, desk)| !desk.work.is_empty() || at == me && !desk.done.is_empty())
    }

    /// Does the crypto of one burst of another worker, whom it returns.
    pub(crate) fn help(&mut self, engine: &Engine, stats: &mut Stats) -> Option<WorkerId> {
        let helpers = self.helpers.clone()?;
        let (count, me) = (helpers.desks.len(), usize::from(self.me.0));
        let mut others = (1..count).filter_map(|step| helpers.desks.get((me + step) % count));
        let burst = others.find_map(|desk| desk.work.pop())?;
        stats.add(Counter::Helped, burst.len() as u64);
        self.in_hand.insert(burst).run(engine);
        self.in_hand.take().map(|burst| helpers.give_back(burst))
    }

    /// This worker stops amid a burst of another one, who gets it as it is.
    pub(crate) fn abandon(&mut self) -> Option<WorkerId> {
        let (mut burst, helpers) = (self.in_hand.take()?, self.helpers.as_ref()?);
        burst.spoil();
        Some(helpers.give_back(burst))
    }

    /// Does what nobody comes to. `idle`: there is nothing else to do. True: something was done.
    pub(crate) fn work(&mut self, engine: &Engine, stats: &mut Stats, idle: bool, now: Now) -> bool {
        let Some(helpers) = &self.helpers else { return false };
        let Some(desk) = helpers.desks.get(usize::from(self.me.0)) else { return false };
        let late = matches!(self.out.front(), Some(Out::Away { since, .. }) if now.ms >= since + NOBODY_MS);
        let limit = if idle || late { 0 } else { WAITING * (helpers.desks.len() - 1) };
        let mut any = false;
        while desk.work.len() > limit {
            let Some(mut burst) = desk.work.pop() else { break };
            burst.run(engine);
            stats.count(Counter::LentBack);
            helpers.give_back(burst);
            any = true;
            if idle {
                break;
            }
        }
        any
    }

    /// The next burst in turn that is done; [`Self::recycle`] takes its box back.
    pub(crate) fn next(&mut self, pool: &mut FramePool, stats: &mut Stats, now: Now) -> Option<Box<Burst>> {
        self.collect(pool);
        loop {
            match self.out.front()? {
                Out::Back(_) => {}
                Out::Away { since, .. } if now.ms < since + LOST_MS => return None,
                Out::Away { .. } => {}
            }
            self.first += 1;
            match self.out.pop_front()? {
                Out::Back(burst) => return Some(burst),
                Out::Away { packets, .. } => {
                    stats.add(Counter::Released, packets);
                    stats.drop_many(Drop::HelperLost, packets);
                }
            }
        }
    }

    /// What came back finds its place; what was given up already goes home.
    fn collect(&mut self, pool: &mut FramePool) {
        let Some(helpers) = self.helpers.clone() else { return };
        let Some(desk) = helpers.desks.get(usize::from(self.me.0)) else { return };
        while let Some(mut burst) = desk.done.pop() {
            let at = burst.number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
            match at.and_then(|at| self.out.get_mut(at)) {
                Some(place) => *place = Out::Back(burst),
                None => {
                    burst.packets.drain(..).for_each(|packet| pool.free(packet.frame));
                    self.recycle(burst);
                }
            }
        }
    }

    /// The burst's keys are let go.
    pub(crate) fn recycle(&mut self, mut burst: Box<Burst>) {
        burst.clear();
        if self.spare.len() < MAX_OUT {
            self.spare.push(burst);
        }
    }
}

#[cfg(test)]
mod tests;
