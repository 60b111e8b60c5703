//! From worker to worker: packets whose SA another worker owns, frames for ports where only another worker has a
//! socket, and frames that go home.
//!
//! Decides: nothing. Every queue is bounded and lock-free; a full one gives the packet back, to be counted as dropped.
//! Never: waits. A worker that sleeps is woken by its bell.

use crossbeam::queue::ArrayQueue;
use ravelin_dataplane::Origin;
use ravelin_ring::Bell;
use ravelin_ring::msg::{PortId, WorkerId};
use ravelin_xsk::Frame;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Packets that may wait for one worker: some batches of every other one. Beyond that it is overloaded.
const INBOX: usize = 1024;

/// What one worker passes to another.
#[derive(Debug)]
pub(crate) enum Item {
    /// Goes on there, with the origin that `process` gave it.
    Packet { frame: Frame, origin: Origin },
    /// Finished; only to be sent.
    Transmit { frame: Frame, port: PortId },
}

/// One worker, as the others see it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    inbox: ArrayQueue<Item>,
    /// Room for every frame of the UMEM: never full.
    home: ArrayQueue<Frame>,
    asleep: AtomicBool,
    pub(crate) bell: Arc<Bell>,
}

impl Mailbox {
    pub(crate) fn new(frames: usize, bell: Arc<Bell>) -> Self {
        Self {
            inbox: ArrayQueue::new(INBOX),
            home: ArrayQueue::new(frames.max(1)),
            asleep: AtomicBool::new(false),
            bell,
        }
    }

    pub(crate) fn take(&self) -> Option<Item> {
        self.inbox.pop()
    }

    pub(crate) fn take_home(&self) -> Option<Frame> {
        self.home.pop()
    }

    /// Says that the owner is about to sleep; true when it must not, since something came meanwhile.
    pub(crate) fn about_to_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake`: either the sender sees `asleep`, or we see what it sent.
        fence(Ordering::SeqCst);
        !self.inbox.is_empty()
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// True: it slept.
    pub(crate) fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        let slept = self.asleep.swap(false, Ordering::Relaxed);
        if slept {
            self.bell.ring();
        }
        slept
    }
}

/// All workers.
#[derive(Clone, Debug)]
pub(crate) struct Mesh(pub(crate) Arc<[Mailbox]>);

impl Mesh {
    pub(crate) fn mailbox(&self, worker: WorkerId) -> Option<&Mailbox> {
        self.0.get(usize::from(worker.0))
    }

    /// The item comes back when the worker's inbox is full, or there is no such worker.
    #[allow(clippy::result_large_err)] // the frame comes back to its owner
    pub(crate) fn send(&self, to: WorkerId, item: Item) -> Result<(), Item> {
        let Some(mailbox) = self.mailbox(to) else { return Err(item) };
        mailbox.inbox.push(item)?;
        mailbox.wake();
        Ok(())
    }

    /// Wakes up to `count` others that sleep: there is work for them.
    pub(crate) fn wake_others(&self, me: WorkerId, count: usize) {
        let all = self.0.len();
        let others = (1..all).filter_map(|step| self.0.get((usize::from(me.0) + step) % all));
        others.filter(|other| other.wake()).take(count).for_each(drop);
    }

    /// Home needs no wake: the owner looks each turn, and a sleeping one is not short of frames.
    pub(crate) fn send_home(&self, home: u16, frame: Frame) {
        if let Some(mailbox) = self.mailbox(WorkerId(home)) {
            // Never full (room for every frame); if it were, the frame is lost and counted as leaked.
            let _ = mailbox.home.push(frame);
        }
    }
}
