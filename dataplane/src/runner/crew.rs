//! A worker's thread, and whom it serves: its own worker, and those whose threads ended (R74).
//!
//! Decides: who is in turn, and when all of them rest. A worker is one value, with its queues, SAs, sessions and frames: who
//! has it serves it, nobody else can, so that what it counted in one thread goes on in the next one without a gap.
//! Never: keeps a worker that failed here again and again; ends while it has one that was not told to stop.

use super::Runner;
use super::handle::Stopped;
use super::supervise::{self, Next};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ravelin_ring::counters::Counter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long a thread without work goes on looking before it sleeps. On few cores spinning takes time from others.
const SPIN: Duration = Duration::from_micros(50);
/// Longest sleep: rate limits and coalesced events are looked at this often.
const SLEEP_MS: u16 = 100;
/// While frames are on their way out, look sooner for their return.
const SLEEP_IN_FLIGHT_MS: u16 = 5;

pub(super) struct Crew {
    all: Vec<Box<Runner>>,
    /// Who is in turn.
    at: usize,
    /// The worker whose thread it is, and its core.
    own: u16,
    core: usize,
}

impl Crew {
    pub(super) fn new(runner: Box<Runner>) -> Self {
        Self { own: runner.id().0, core: runner.core, all: vec![runner], at: 0 }
    }

    /// Until it is told to stop, or has nobody left. A panic costs the batch that it comes with.
    pub(super) fn run(mut self) -> Vec<Stopped> {
        supervise::settle_in(self.core);
        self.all.iter_mut().for_each(|runner| runner.settle(self.own));
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            self.recover(); // or ends the process
        }
        self.all.into_iter().map(|runner| runner.stopped()).collect()
    }

    fn serve(&mut self) {
        let mut last_work = Instant::now();
        while !self.all.is_empty() {
            let clock = Instant::now();
            let mut busy = false;
            for (at, runner) in self.all.iter_mut().enumerate() {
                self.at = at;
                busy |= runner.turn(clock);
            }
            if self.all.iter().any(|runner| !runner.adopted.is_empty()) {
                self.welcome();
            }
            if busy {
                last_work = clock;
            } else if self.all.iter().all(|runner| runner.stop) {
                return;
            } else if clock.duration_since(last_work) > SPIN {
                self.sleep();
                last_work = Instant::now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// From now on they have their turns here.
    #[cold]
    fn welcome(&mut self) {
        let new: Vec<_> =
            self.all.iter_mut().flat_map(|runner| std::mem::take(&mut runner.adopted)).collect();
        for mut runner in new {
            runner.settle(self.own);
            runner.worker.stats_mut().count(Counter::Moves);
            tracing::error!(worker = runner.id().0, thread = self.own, "goes on by another worker's thread");
            self.all.push(runner);
        }
    }

    /// After a panic in the turn of one of them.
    fn recover(&mut self) {
        let Some(runner) = self.all.get_mut(self.at) else { return };
        match runner.recover() {
            Next::GoesOn => {}
            Next::Leaves => {
                let runner = self.all.remove(self.at);
                let line = runner.line.clone();
                line.give_up(runner);
            }
        }
    }

    fn sleep(&mut self) {
        let mut rest = true;
        for runner in &self.all {
            runner.show();
            rest &= runner.may_rest();
        }
        if rest {
            self.wait();
        }
        self.all.iter().for_each(|runner| runner.is_up());
    }

    /// Until there is something to do.
    fn wait(&mut self) {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(8);
        let mut ends = Vec::with_capacity(1);
        for runner in &self.all {
            runner.fds(&mut fds);
            ends.push(fds.len());
        }
        let waiting = self.all.iter().any(|runner| runner.waits_for_others());
        let timeout = PollTimeout::from(if waiting { SLEEP_IN_FLIGHT_MS } else { SLEEP_MS });
        if poll(&mut fds, timeout).is_err() {
            return; // interrupted: look around
        }
        let mut events = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut from = 0;
        let mut woken = Vec::with_capacity(ends.len());
        for (runner, end) in self.all.iter().zip(ends) {
            woken.push(runner.woken(events.by_ref().take(end - from)));
            from = end;
        }
        for (runner, woken) in self.all.iter_mut().zip(woken) {
            runner.wake(woken);
        }
    }
}

impl Runner {
    /// In the thread that serves it from now on.
    fn settle(&mut self, crew: u16) {
        self.here = 0;
        self.worker.stats_mut().set(Counter::Thread, crew.into());
        self.line.served_by(crew);
    }

    /// It is about to sleep; false: something came meanwhile.
    fn may_rest(&self) -> bool {
        let came = self.line.mesh.mailbox(self.id()).is_some_and(|mailbox| mailbox.about_to_sleep());
        !(came || self.worker.shares() && self.worker.is_wanted())
    }

    fn is_up(&self) {
        if let Some(mailbox) = self.line.mesh.mailbox(self.id()) {
            mailbox.awake();
        }
    }

    fn waits_for_others(&self) -> bool {
        self.ports.in_flight() > 0 || self.worker.away() > 0
    }
}
