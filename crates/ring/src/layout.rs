//! Where everything lies in the shared memory, and the encoding of every message. Both processes compute the same plan
//! from the number of workers and ports; [`VERSION`] rises with every change of this module, of `msg` or `counters`.

mod table;
mod worker;

use crate::counters::{Counter, Drop, SocketCounter, XdpCounter};
use crate::msg::{TableCommand, TableEvent, WorkerCommand, WorkerEvent};
use crate::spsc::{Message, ring_words};

/// Two processes with different versions do not talk.
pub const VERSION: u32 = 21;

/// First word of the memory: "RAVELIN1".
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"RAVELIN1");

/// Bounds of what can be configured, which also bound the memory (about 0.4 MiB per worker).
pub const MAX_WORKERS: usize = 64;
pub const MAX_PORTS: usize = 64;

/// Slots per ring: a burst of installs of some hundred tunnels fits; beyond that the sender waits.
pub const WORKER_COMMANDS: usize = 1024;
pub const WORKER_EVENTS: usize = 1024;
/// Routes and policies come by the thousand.
pub const TABLE_COMMANDS: usize = 4096;
pub const TABLE_EVENTS: usize = 256;

const HEADER_WORDS: usize = 512;
/// Counters of different writers share no cache line (nor its prefetched neighbour).
const BLOCK_ALIGN: usize = 16;
const WORKER_BLOCK: usize = (Counter::COUNT + Drop::COUNT).next_multiple_of(BLOCK_ALIGN);
const PORT_BLOCK: usize = (XdpCounter::COUNT + SocketCounter::COUNT).next_multiple_of(BLOCK_ALIGN);

/// Word offsets of all parts for so many workers and ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) ports: usize,
}

impl Plan {
    /// `None` when a number is out of bounds.
    pub(crate) fn new(workers: usize, ports: usize) -> Option<Self> {
        let lawful = (1..=MAX_WORKERS).contains(&workers) && (1..=MAX_PORTS).contains(&ports);
        lawful.then_some(Self { workers, ports })
    }

    const PAIR: usize =
        ring_words::<WorkerCommand>(WORKER_COMMANDS) + ring_words::<WorkerEvent>(WORKER_EVENTS);

    pub(crate) fn worker_commands(self, worker: usize) -> usize {
        HEADER_WORDS + worker * Self::PAIR
    }

    pub(crate) fn worker_events(self, worker: usize) -> usize {
        self.worker_commands(worker) + ring_words::<WorkerCommand>(WORKER_COMMANDS)
    }

    pub(crate) fn table_commands(self) -> usize {
        self.worker_commands(self.workers)
    }

    pub(crate) fn table_events(self) -> usize {
        self.table_commands() + ring_words::<TableCommand>(TABLE_COMMANDS)
    }

    /// [`Counter`]s, then [`Drop`]s.
    pub(crate) fn worker_counters(self, worker: usize) -> usize {
        let start = self.table_events() + ring_words::<TableEvent>(TABLE_EVENTS);
        start.next_multiple_of(BLOCK_ALIGN) + worker * WORKER_BLOCK
    }

    /// [`XdpCounter`]s, then [`SocketCounter`]s.
    pub(crate) fn port_counters(self, port: usize) -> usize {
        self.worker_counters(self.workers) + port * PORT_BLOCK
    }

    pub(crate) fn words(self) -> usize {
        self.port_counters(self.ports)
    }

    /// What the first words of the memory must say.
    pub(crate) fn header(self) -> [u64; 5] {
        [MAGIC, VERSION.into(), self.workers as u64, self.ports as u64, self.words() as u64]
    }
}

const _: () = assert!(<WorkerCommand as Message>::WORDS <= crate::codec::MAX_WORDS);
const _: () = assert!(<TableCommand as Message>::WORDS <= crate::codec::MAX_WORDS);
const _: () = assert!(<WorkerEvent as Message>::WORDS <= crate::codec::MAX_WORDS);

#[cfg(test)]
mod tests;
