//! What a worker is told, and asked, between two batches.
//!
//! Decides: nothing about packets. Writes: SAs and tables, as they are told; the events it is asked for.

use super::{Lists, Worker};
use crate::clock::Now;
use crate::flow::Flows;
use crate::tables::Tables;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{Outcome, WorkerCommand, WorkerEvent, WorkerId};
use std::sync::Arc;

/// A packet was being asked about as the worker failed: made-up keys may stand where SAs have theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Untrustworthy;

impl Worker {
    /// Call between batches. `None`: nothing to answer, or the answer comes through [`Self::next_event`] (reports).
    pub fn apply(&mut self, command: WorkerCommand) -> Option<WorkerEvent> {
        let leaves =
            if let WorkerCommand::UseOutbound { tunnel, .. } = command { Some(tunnel) } else { None };
        let shared = self.way.db.shared();
        let answer = self.way.db.apply(command);
        if self.way.db.shared() != shared {
            self.way.share.follow(shared, self.way.db.shared());
        }
        if let (Some(tunnel), Some(WorkerEvent::Done { outcome: Outcome::Ok, .. })) = (leaves, &answer) {
            self.way.hold.release(tunnel);
        }
        if let Some(WorkerEvent::Done { outcome: Outcome::Refused, .. }) = answer {
            self.way.stats.count(Counter::BadCommands);
        }
        answer
    }

    /// In force from the next batch on.
    pub fn set_tables(&mut self, tables: Arc<Tables>) {
        self.way.db.tunnels.follow(tables.spd.tunnels(), tables.vrfs.tunnels());
        self.way.flows.carry_v6(self.way.db.max_sas(), tables.carries_v6());
        self.way.nat.follow(&tables, &mut self.way.stats);
        self.way.hold.resolved(&tables.neighbours);
        self.lists.leaving = None;
        self.way.tables = tables;
        self.way.epoch += 1;
        if self.way.epoch.is_multiple_of(1 << 32) {
            self.way.flows.forget(); // they know the low half of an epoch
        }
    }

    /// From now on every packet is decided about by itself: the oracle for what is known of flows.
    #[doc(hidden)]
    pub fn without_flows(&mut self) {
        self.way.flows = Flows::none();
        self.way.nat.forget_flows();
    }

    /// Translated flows that are known, of these tables.
    #[doc(hidden)]
    pub fn known_translations(&self) -> usize {
        self.way.nat.known(self.way.epoch)
    }

    pub fn tables(&self) -> &Arc<Tables> {
        &self.way.tables
    }

    /// After a panic amid a batch, whose frames the caller has taken home: what was in this worker's hands is lost, and
    /// counted. Numbers rise before packets exist and windows move after them, so neither is set back. Returns who is to be
    /// woken, if anybody: his burst came back undone.
    pub fn recover(&mut self, now: Now) -> Result<Option<WorkerId>, Untrustworthy> {
        if self.way.share.dry {
            return Err(Untrustworthy);
        }
        self.lists = Lists::default();
        let owner = self.way.share.abandon();
        self.way.share.give(now);
        let (entered, ended) = self.way.stats.balance();
        self.way.stats.drop_many(Drop::WorkerFailed, entered.saturating_sub(ended));
        self.way.stats.count(Counter::Failures);
        Ok(owner)
    }

    /// Drain between batches, as far as the event ring has room.
    pub fn next_event(&mut self, now: Now) -> Option<WorkerEvent> {
        let delayed = std::mem::take(&mut self.way.events.delayed);
        self.way.stats.add(Counter::EventsDelayed, delayed);
        self.way.db.next_event(&mut self.way.events, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::WorkerConfig;

    // R74
    #[test]
    fn a_failure_amid_a_question_is_the_end() {
        let mut worker = Worker::new(WorkerConfig { id: WorkerId(0), workers: 1, max_sas: 8 });
        assert_eq!(worker.recover(Now { ms: 1 }), Ok(None));
        worker.way.share.dry = true;
        assert_eq!(worker.recover(Now { ms: 1 }), Err(Untrustworthy));
    }
}
