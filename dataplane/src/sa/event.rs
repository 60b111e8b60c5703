//! What a worker has to say to the control process: a bounded queue, and brakes for what packets can provoke.
//!
//! Decides: whether an event is said now. What finds no room is counted and said again at its next occasion.

use crate::clock::Now;
use ravelin_ring::msg::WorkerEvent;
use std::collections::VecDeque;

/// Events that wait for room in the ring: a limit of every SA of a large gateway may come at once, and is retried.
const MAX_EVENTS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<WorkerEvent>,
    /// Occasions that found no room since they were last counted.
    pub(crate) delayed: u64,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::with_capacity(MAX_EVENTS), delayed: 0 }
    }

    /// False: no room, say it again later.
    pub(crate) fn push(&mut self, event: WorkerEvent) -> bool {
        if self.queue.len() >= MAX_EVENTS {
            self.delayed += 1;
            return false;
        }
        self.queue.push_back(event);
        true
    }

    pub(crate) fn pop(&mut self) -> Option<WorkerEvent> {
        self.queue.pop_front()
    }
}

/// At most once per second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Throttle {
    /// Next time it may happen.
    next: u64,
}

impl Throttle {
    const PERIOD_MS: u64 = 1000;

    /// Whether it may happen now; if so, not again for a second.
    #[inline]
    pub(crate) fn pass(&mut self, now: Now) -> bool {
        if now.ms < self.next {
            return false;
        }
        self.next = now.ms.saturating_add(Self::PERIOD_MS);
        true
    }
}
