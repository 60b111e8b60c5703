//! Crypto that workers share: the owner's end of a burst, and the helper's.
//!
//! Decides: nothing; `share` says whose turn it is. Writes: batches, as [`Worker::process`] does.

use super::{Lists, Way, Worker};
use crate::batch::Batch;
use crate::classify::Classes;
use crate::clock::Now;
use crate::packet::Packet;
use crate::share::{Helpers, Kind};
use crate::{classify, gre, inbound, mss, outbound, vrf};
use ravelin_ring::counters::Counter;
use ravelin_ring::msg::WorkerId;
use ravelin_xsk::FramePool;
use std::sync::Arc;

impl Worker {
    /// The workers with whom the crypto of SAs is shared that are installed so.
    pub fn join(&mut self, helpers: Arc<Helpers>) {
        self.way.share.join(helpers);
    }

    /// Shares from so many packets in a batch on.
    #[doc(hidden)]
    pub fn share_from(&mut self, packets: usize) {
        self.way.share.share_from(packets);
    }

    /// Nothing is given away any more, until it is told otherwise; what is away comes back.
    pub fn pause_sharing(&mut self, paused: bool) {
        self.way.share.paused = paused;
    }

    /// Somebody shares crypto: the other calls of this kind are due every turn.
    #[inline]
    pub fn shares(&self) -> bool {
        self.way.share.is_on()
    }

    /// Bursts of this worker that have not gone on yet.
    pub fn away(&self) -> usize {
        self.way.share.out()
    }

    /// Bursts given away since this was asked last: so many others may be woken.
    pub fn take_lent(&mut self) -> usize {
        self.way.share.take_fresh()
    }

    /// There is work of this kind: do not sleep.
    pub fn is_wanted(&self) -> bool {
        self.way.share.is_wanted()
    }

    /// A worker with so many packets in a batch has no time to [`Self::help`].
    pub fn is_loaded(&self, batch: usize) -> bool {
        self.way.share.is_loaded(batch)
    }

    /// Does the crypto of one burst of another worker, which is to be woken.
    pub fn help(&mut self) -> Option<WorkerId> {
        self.way.share.help(&self.way.engine, &mut self.way.stats)
    }

    /// Does what this worker gave away and nobody came to. `idle`: it has nothing else to do.
    pub fn work_alone(&mut self, idle: bool, now: Now) -> bool {
        self.way.share.work(&self.way.engine, &mut self.way.stats, idle, now)
    }

    /// Takes the next burst that is done to the final verdicts of its packets, in an empty batch. False: there is none.
    pub fn resume(&mut self, batch: &mut Batch, pool: &mut FramePool, now: Now) -> bool {
        let Self { way, lists } = self;
        let Some(mut burst) = way.share.next(pool, &mut way.stats, now) else { return false };
        way.stats.add(Counter::Released, burst.len() as u64);
        lists.classes.clear();
        match burst.kind {
            Kind::Seal => outbound::shared::resume(batch, &mut burst, &mut way.stats),
            Kind::Open => {
                let Way { db, tables, stats, events, .. } = way;
                inbound::shared::resume(batch, &mut burst, db, tables, stats, events, now);
                way.resumed(batch, pool, lists, now);
            }
        }
        way.share.recycle(burst);
        if batch.packets.iter().any(|packet| !packet.verdict.goes_on()) {
            way.errors(batch, pool, lists, now, &mut ());
            way.finish(batch);
        }
        true
    }
}

impl Way {
    /// The rest of the way of what came out of an SA.
    fn resumed(&mut self, batch: &mut Batch, pool: &mut FramePool, lists: &mut Lists, now: Now) {
        for (at, packet) in (0u16..).zip(batch.packets.iter_mut()).filter(|(_, p)| Packet::pending(p)) {
            self.flows.note(at, packet, &mut lists.classes.keys);
            lists.classes.esp.push(at);
        }
        classify::join(batch, &mut lists.classes, &self.flows, false);
        if vrf::any(&self.db, &self.tables) {
            vrf::assign(batch, &lists.classes.clear, &mut self.db, &self.tables);
        }
        if !self.tables.gre.is_empty() {
            let Self { db, tables, flows, stats, dry, .. } = self;
            let Classes { clear, keys, .. } = &mut lists.classes;
            gre::uncover(batch, (clear, keys), db, tables, flows, stats, *dry);
        }
        mss::inbound(batch, &lists.classes.clear, &mut self.db, &self.tables);
        self.onward(batch, pool, lists, now, &mut ());
    }
}
