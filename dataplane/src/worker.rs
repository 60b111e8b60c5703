//! One worker's packet processing, without I/O.

use crate::batch::Batch;
use crate::stats::Stats;
use crate::tables::Tables;
use ravelin_ring::msg::{WorkerCommand, WorkerEvent, WorkerId};
use ravelin_xsk::FramePool;
use std::sync::Arc;

/// Monotonic milliseconds, read once per batch by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now {
    pub ms: u64,
}

#[derive(Clone, Debug)]
pub struct WorkerConfig {
    pub id: WorkerId,
    /// How many workers there are: an inbound SPI belongs to worker `spi % workers`.
    pub workers: u16,
    /// Room for SAs of one direction.
    pub max_sas: u32,
    /// UDP-encapsulated ESP comes to 4500 and to this port.
    pub udp_encap_port: Option<u16>,
}

#[derive(Debug)]
pub struct Worker {
    stats: Stats,
}

impl Worker {
    pub fn new(config: WorkerConfig) -> Self {
        let _ = config;
        Self { stats: Stats::default() }
    }

    /// Takes every packet of the batch to its final verdict. New packets (fragments, ICMP errors) are appended; their
    /// frames come from `pool`. Frames of dropped and consumed packets stay in the batch: the caller sends them home.
    pub fn process(&mut self, batch: &mut Batch, pool: &mut FramePool, now: Now) {
        let _ = (batch, pool, now);
    }

    /// Call between batches. `None`: the answer comes through [`Self::next_event`] (reports).
    pub fn apply(&mut self, command: WorkerCommand, now: Now) -> Option<WorkerEvent> {
        let _ = (command, now);
        None
    }

    /// In force from the next batch on.
    pub fn set_tables(&mut self, tables: Arc<Tables>) {
        let _ = tables;
    }

    /// Drain between batches, as far as the event ring has room.
    pub fn next_event(&mut self, now: Now) -> Option<WorkerEvent> {
        let _ = now;
        None
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// For what the caller counts (see [`Stats`]).
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// The crypto kernels in use.
    pub fn describe(&self) -> String {
        String::new()
    }
}
