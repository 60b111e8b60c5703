//! A worker that fails (R74): its SAs, sessions, queues and frames stay together, and go on in the same thread, or in that
//! of another worker.
//!
//! Decides: whether what a panic left can be gone on with, and by whom: who fails repeatedly may have a core that
//! miscomputes, so that another one is tried. Reads: when it failed before. Writes: frames home, counters.
//! Never: sends what was in its hands; goes on for ever: who fails again and again, or amid a question, takes the process
//! with him, and XDP drops what is protected (fail closed).
//!
//! A worker whose core does not run it any more cannot help itself: the main thread moves it ([`super::handle`]).

use super::Runner;
use crate::hygiene;
use std::time::{Duration, Instant};

/// So often in [`LATELY`]; once more is the end.
pub(super) const MAX_FAILURES: usize = 8;
/// So often in one thread: it ends, and the worker goes on by another one.
const MOVES: usize = 3;
const LATELY: Duration = Duration::from_secs(60);

/// What becomes of a worker that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    GoesOn,
    /// Not by this thread any more.
    Leaves,
}

/// Of a thread, as it begins.
pub(super) fn settle_in(core: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        tracing::warn!(core, "cannot pin the worker to its core");
    }
    if let Err(error) = hygiene::renounce() {
        tracing::warn!("{error:#}");
    }
    hygiene::supervise();
}

impl Runner {
    /// After a panic.
    pub(super) fn recover(&mut self) -> Next {
        let clock = Instant::now();
        self.failures.retain(|at| clock.duration_since(*at) < LATELY);
        self.here = if self.failures.is_empty() { 1 } else { self.here + 1 };
        let often = self.failures.try_push(clock).is_err();
        for frame in self.batch.packets.salvage() {
            self.pool.free(frame);
        }
        match self.worker.recover(self.now(clock)) {
            Ok(owner) if !often => {
                let worker = self.tx.me.0;
                tracing::error!(worker, "a worker failed, which is a bug; it goes on without its last batch");
                if let Some(mailbox) = owner.and_then(|owner| self.tx.mesh.mailbox(owner)) {
                    mailbox.wake();
                }
                let alone = self.tx.mesh.0.len() < 2;
                if self.here < MOVES || alone { Next::GoesOn } else { Next::Leaves }
            }
            Ok(_) | Err(_) => {
                tracing::error!("a worker failed and cannot go on; what is protected is dropped from now on");
                std::process::abort();
            }
        }
    }
}

/// What test builds can do to a worker.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It panics amid its next batch.
    Panic,
    /// It stands still amid its next batch, until it is moved to other cores.
    Stall,
}

#[cfg(debug_assertions)]
pub(super) fn fail(fault: &mut Option<Fault>) {
    use nix::sched::sched_getaffinity;
    use nix::unistd::Pid;
    match fault.take() {
        None => {}
        Some(Fault::Panic) => panic!("a failure that was asked for"),
        Some(Fault::Stall) => {
            let (since, place) = (Instant::now(), sched_getaffinity(Pid::from_raw(0)));
            while sched_getaffinity(Pid::from_raw(0)) == place && since.elapsed() < Duration::from_secs(15) {
                std::hint::spin_loop();
            }
        }
    }
}
