//! The main thread's end of a worker: orders to it, and what comes back.
//!
//! Decides: nothing. Writes: the queue of orders, which the worker empties every turn. Never: touches what the worker works with.

use super::Runner;
use super::crew::Crew;
use crate::handoff::Mesh;
use crate::inspect::Ask;
use crate::plane::TICK;
use crate::tx::{Egress, Ports};
use crossbeam::queue::ArrayQueue;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use ravelin_dataplane::{Tables, Tap, Worker};
use ravelin_ring::Bell;
use ravelin_ring::msg::{InterfaceId, PortId, WorkerId};
use ravelin_ring::server::WorkerLink;
use ravelin_xsk::{FramePool, Socket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU16, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Orders that may wait for a worker: all sockets of a large NIC, and then some.
const ORDERS: usize = 256;

/// From the main thread.
#[derive(Debug)]
pub(crate) enum Order {
    /// In force from the next batch; acknowledged by the number.
    Tables {
        number: u64,
        tables: Arc<Tables>,
    },
    /// A new control process: its rings take the place of the old ones.
    Session(Box<WorkerLink>),
    AddSocket {
        port: PortId,
        socket: Box<Socket>,
    },
    RemovePort {
        port: PortId,
    },
    /// What would become of a packet?
    Explain(Box<Ask>),
    /// From the next batch on packets are copied; or no more.
    Tap(Option<Box<Tap>>),
    AddDevice {
        interface: InterfaceId,
        queue: OwnedFd,
    },
    RemoveDevice {
        interface: InterfaceId,
    },
    /// It stood still, and was moved to other cores.
    Moved,
    /// The thread of this one ended: it goes on by that of who is told so.
    Adopt(Box<Runner>),
    #[cfg(debug_assertions)]
    Fail(super::supervise::Fault),
    Stop,
}

/// What the main thread and a worker share.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) orders: ArrayQueue<Order>,
    /// Things that the worker is done with and that take a system call to drop.
    pub(super) returns: ArrayQueue<Box<WorkerLink>>,
    pub(super) tables: AtomicU64,
    /// Rises every turn, ten times a second at least.
    turns: AtomicU64,
    /// The thread that serves the worker, as the kernel numbers it; 0: none, now.
    thread: AtomicI32,
    /// The worker whose thread that is.
    crew: AtomicU16,
    /// Its thread ended: the main thread finds another one.
    orphan: ArrayQueue<Box<Runner>>,
    pub(super) mesh: Mesh,
    pub(super) bell: Arc<Bell>,
    pub(super) main: Arc<Bell>,
}

/// The main thread's handle of a worker.
#[derive(Debug)]
pub(crate) struct Handle {
    line: Arc<Line>,
    thread: JoinHandle<Vec<Stopped>>,
    /// Turns when it was looked at last, and how often there were no more since.
    seen: u64,
    still: u32,
}

/// How a worker does, looked at every [`crate::plane::TICK`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    Moves,
    /// For a second now, which is said once.
    StandsStill,
    /// For so long that it will not come back.
    Hangs,
}

/// Ticks without a turn: more than any device makes a worker wait, and more than any scheduler.
const STILL: u32 = 4;
const HANGS: u32 = 80;

/// What is left of a worker after it stopped; the main thread lets go of it.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(super) _ports: Ports,
    pub(super) _pool: FramePool,
}

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) id: WorkerId,
    pub(crate) core: usize,
    pub(crate) worker: Worker,
    pub(crate) pool: FramePool,
    pub(crate) tun: OwnedFd,
    pub(crate) mesh: Mesh,
    pub(crate) egress: Egress,
    pub(crate) bell: Arc<Bell>,
    pub(crate) main: Arc<Bell>,
    pub(crate) started: Instant,
}

impl Line {
    #[inline]
    pub(super) fn beat(&self) {
        // One writer.
        self.turns.store(self.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Waits for a place in the queue, which the worker empties every turn.
    pub(super) fn order(&self, order: Order) {
        let mut order = order;
        let since = Instant::now();
        while let Err(back) = self.orders.push(order) {
            order = back;
            self.bell.ring();
            thread::yield_now();
            if since.elapsed() > TICK * HANGS {
                tracing::error!("a worker does not take orders any more; the data plane ends");
                std::process::abort();
            }
        }
        self.bell.ring();
    }

    /// By this thread, which is that of worker `crew`.
    pub(super) fn served_by(&self, crew: u16) {
        self.crew.store(crew, Ordering::Relaxed);
        self.thread.store(gettid().as_raw(), Ordering::Release);
    }

    /// This thread does not serve it any more.
    pub(super) fn give_up(&self, runner: Box<Runner>) {
        self.thread.store(0, Ordering::Release);
        let _ = self.orphan.push(runner); // there is one
        self.main.ring();
    }

    pub(crate) fn ask(&self, ask: Box<Ask>) {
        self.order(Order::Explain(ask));
    }

    pub(crate) fn tap(&self, tap: Option<Box<Tap>>) {
        self.order(Order::Tap(tap));
    }
}

impl Handle {
    pub(crate) fn spawn(parts: Parts) -> anyhow::Result<Self> {
        let line = Arc::new(Line {
            orders: ArrayQueue::new(ORDERS),
            returns: ArrayQueue::new(ORDERS),
            tables: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            thread: AtomicI32::new(0),
            crew: AtomicU16::new(parts.id.0),
            orphan: ArrayQueue::new(1),
            mesh: parts.mesh.clone(),
            bell: parts.bell.clone(),
            main: parts.main.clone(),
        });
        let runner = Box::new(Runner::new(parts, line.clone()));
        Ok(Self { line, thread: start(runner)?, seen: 0, still: 0 })
    }

    /// The worker, if its thread ended before it was told to stop.
    pub(crate) fn orphan(&self) -> Option<Box<Runner>> {
        self.line.orphan.pop()
    }

    pub(crate) fn is_served(&self) -> bool {
        self.line.thread.load(Ordering::Acquire) != 0
    }

    /// The worker by whose thread it is served, or was.
    pub(crate) fn crew(&self) -> u16 {
        self.line.crew.load(Ordering::Relaxed)
    }

    /// By a thread of its own again.
    pub(crate) fn restart(&mut self, runner: Box<Runner>) -> std::io::Result<()> {
        self.thread = start(runner)?;
        Ok(())
    }

    pub(crate) fn order(&self, order: Order) {
        self.line.order(order);
    }

    /// For whoever else may ask it.
    pub(crate) fn line(&self) -> Arc<Line> {
        self.line.clone()
    }

    /// Number of the last tables that the worker has taken.
    pub(crate) fn tables(&self) -> u64 {
        self.line.tables.load(Ordering::Acquire)
    }

    /// Call every tick. Looked at by ticks, not by the clock: a machine that was put aside as a whole is no stall.
    pub(crate) fn look(&mut self) -> Life {
        let turns = self.line.turns.load(Ordering::Relaxed);
        self.still = if turns == self.seen { self.still.saturating_add(1) } else { 0 };
        self.seen = turns;
        match self.still {
            STILL => Life::StandsStill,
            HANGS.. => Life::Hangs,
            _ => Life::Moves,
        }
    }

    /// To any of these cores, with all that it has: its own does not run it (R74).
    pub(crate) fn relocate(&self, cores: impl Iterator<Item = usize>) -> nix::Result<()> {
        let thread = self.line.thread.load(Ordering::Acquire);
        if thread == 0 {
            return Ok(()); // it is between two threads
        }
        let mut set = CpuSet::new();
        cores.for_each(|core| _ = set.set(core));
        sched_setaffinity(Pid::from_raw(thread), &set)?;
        // For its counter; a full queue loses the count alone.
        let _ = self.line.orders.push(Order::Moved);
        Ok(())
    }

    /// Drops what the worker has returned.
    pub(crate) fn clean_up(&self) {
        while self.line.returns.pop().is_some() {}
    }

    pub(crate) fn join(self) -> Option<Vec<Stopped>> {
        self.thread.join().ok()
    }
}

fn start(runner: Box<Runner>) -> std::io::Result<JoinHandle<Vec<Stopped>>> {
    let name = format!("worker-{}", runner.id().0);
    thread::Builder::new().name(name).spawn(move || Crew::new(runner).run())
}
