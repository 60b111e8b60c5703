//! The main thread's end of a worker: orders to it, and what comes back.
//!
//! Decides: nothing. Writes: the queue of orders, which the worker empties every turn. Never: touches what the worker works with.

use super::Runner;
use crate::handoff::Mesh;
use crate::inspect::Ask;
use crate::tx::{Egress, Ports};
use crossbeam::queue::ArrayQueue;
use ravelin_dataplane::{Tables, Tap, Worker};
use ravelin_ring::Bell;
use ravelin_ring::msg::{InterfaceId, PortId, WorkerId};
use ravelin_ring::server::WorkerLink;
use ravelin_xsk::{FramePool, Socket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    Stop,
}

/// What the main thread and a worker share.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) orders: ArrayQueue<Order>,
    /// Things that the worker is done with and that take a system call to drop.
    pub(super) returns: ArrayQueue<Box<WorkerLink>>,
    pub(super) tables: AtomicU64,
    pub(super) bell: Arc<Bell>,
    pub(super) main: Arc<Bell>,
}

/// The main thread's handle of a worker.
#[derive(Debug)]
pub(crate) struct Handle {
    line: Arc<Line>,
    thread: JoinHandle<Stopped>,
}

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
    /// Waits for a place in the queue, which the worker empties every turn.
    fn order(&self, order: Order) {
        let mut order = order;
        while let Err(back) = self.orders.push(order) {
            order = back;
            self.bell.ring();
            thread::yield_now();
        }
        self.bell.ring();
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
            bell: parts.bell.clone(),
            main: parts.main.clone(),
        });
        let name = format!("worker-{}", parts.id.0);
        let theirs = line.clone();
        let thread = thread::Builder::new().name(name).spawn(move || Runner::new(parts, theirs).run())?;
        Ok(Self { line, thread })
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

    /// Drops what the worker has returned.
    pub(crate) fn clean_up(&self) {
        while self.line.returns.pop().is_some() {}
    }

    pub(crate) fn join(self) -> Option<Stopped> {
        self.thread.join().ok()
    }
}
