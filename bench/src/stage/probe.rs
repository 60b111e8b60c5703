//! The clock's hands between two stages.
//!
//! Decides: to which stage clocks belong. Never: counts the time it spends itself.

use crate::instrument::Clock;
use arrayvec::ArrayVec;
use ravelin_dataplane::Probe;

/// More than one way has; what comes after is added to the last one.
const MAX_STAGES: usize = 64;

/// Sums of one stage over one window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) clk: u64,
    /// How often it ran: so often the cost of a reading is in `clk`.
    pub(super) runs: u64,
    /// That it was given.
    pub(super) packets: u64,
}

/// One direction, one window.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    stages: ArrayVec<Stage, MAX_STAGES>,
    /// Of one reading, in clocks.
    cost: f64,
    /// That came in.
    packets: u64,
}

#[derive(Debug)]
pub(super) struct Watch<'c> {
    clock: &'c Clock,
    sums: Sums,
    since: u64,
}

impl<'c> Watch<'c> {
    pub(super) fn new(clock: &'c Clock, cost: f64) -> Self {
        Self { clock, sums: Sums { stages: ArrayVec::new(), cost, packets: 0 }, since: 0 }
    }

    /// A batch begins.
    pub(super) fn begin(&mut self) {
        self.since = self.clock.now();
    }

    pub(super) fn sums(self) -> Sums {
        self.sums
    }
}

impl Probe for Watch<'_> {
    #[inline]
    fn stage(&mut self, stage: &'static str, packets: usize) {
        let now = self.clock.now();
        self.sums.add(stage, now.wrapping_sub(self.since), packets as u64);
        // What was just done belongs to nobody.
        self.since = self.clock.now();
    }
}

impl Sums {
    fn add(&mut self, name: &'static str, clk: u64, packets: u64) {
        if name == "rx" {
            self.packets += packets;
        }
        let place = self.stages.iter().position(|s| s.name == name).unwrap_or(self.stages.len());
        if place == self.stages.len() && !self.stages.is_full() {
            self.stages.push(Stage { name, clk: 0, runs: 0, packets: 0 });
        }
        let last = self.stages.len() - 1;
        let stage = &mut self.stages[place.min(last)];
        (stage.clk, stage.runs, stage.packets) = (stage.clk + clk, stage.runs + 1, stage.packets + packets);
    }

    pub(super) fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter()
    }

    /// Clocks per packet of the direction, without what the readings cost.
    #[allow(clippy::cast_precision_loss)] // sums of one window
    pub(super) fn per_packet(&self, stage: &Stage) -> f64 {
        let own = stage.clk as f64 - stage.runs as f64 * self.cost;
        own.max(0.0) / self.packets as f64
    }

    /// Clocks per packet of all stages.
    pub(super) fn total(&self) -> f64 {
        self.stages().map(|s| self.per_packet(s)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_per_packet_of_the_direction_and_without_the_readings() {
        let mut sums = Sums { stages: ArrayVec::new(), cost: 20.0, packets: 0 };
        for _ in 0..2 {
            sums.add("rx", 120, 10);
            sums.add("protect", 1020, 5);
            sums.add("idle", 10, 0);
        }
        let all: Vec<(&str, f64, u64)> =
            sums.stages().map(|s| (s.name, sums.per_packet(s), s.packets)).collect();
        assert_eq!(all, [("rx", 10.0, 20), ("protect", 100.0, 10), ("idle", 0.0, 0)]);
        assert_eq!(sums.total(), 110.0);
    }

    #[test]
    fn more_stages_than_there_is_room_for_are_not_lost() {
        let names: Vec<&'static str> =
            (0..70).map(|n| &*Box::leak(format!("s{n}").into_boxed_str())).collect();
        let mut sums = Sums { stages: ArrayVec::new(), cost: 0.0, packets: 1 };
        for name in names {
            sums.add(name, 1, 1);
        }
        assert_eq!(sums.stages().count(), MAX_STAGES);
        assert_eq!(sums.total(), 70.0);
    }
}
