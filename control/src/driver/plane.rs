//! The connection to the data plane: its rings, its bell, its end.
//!
//! Decides: nothing. Reads: event rings. Writes: command rings, in order, as they have room.
//! Never: blocks, but for the connecting itself, which runs on a thread of its own.

use crate::metrics::{Counter, Metrics};
use ravelin_ring::client::{self, Rings, Session};
use ravelin_ring::msg::{TableEvent, WorkerCommand, WorkerEvent, WorkerId};
use ravelin_ring::setup::Setup;
use ravelin_ring::{Bell, CounterView, Welcome};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tracing::warn;

use super::tables::Queue;

/// Events taken from one ring in one turn, so that no worker keeps IKE waiting.
const PER_TURN: usize = 1024;

pub(super) struct Plane {
    rings: Rings,
    pub welcome: Welcome,
    pub counters: CounterView,
    bell: AsyncFd<Bell>,
    stream: UnixStream,
    /// Commands that found their ring full.
    outbox: Vec<VecDeque<WorkerCommand>>,
    table_anomalies: u64,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("welcome", &self.welcome).finish_non_exhaustive()
    }
}

/// Begins to connect; the thread ends with its answer.
pub(super) fn connect(socket: PathBuf, setup: Setup) -> JoinHandle<Result<Session, ravelin_ring::Error>> {
    tokio::task::spawn_blocking(move || client::connect(&socket, &setup))
}

impl Plane {
    pub(super) fn new(session: Session) -> io::Result<Self> {
        // The constructor that replaces this one is unsafe, for descriptors that could be closed behind its back. A
        // Bell owns its descriptor and gives it to nobody.
        #[allow(deprecated)]
        let bell = AsyncFd::with_interest(session.bell, Interest::READABLE)?;
        let stream = UnixStream::from_std(session.stream)?;
        let outbox = session.rings.workers.iter().map(|_| VecDeque::new()).collect();
        let (rings, welcome, counters) = (session.rings, session.welcome, session.counters);
        Ok(Self { rings, welcome, counters, bell, stream, outbox, table_anomalies: 0 })
    }

    pub(super) fn workers(&self) -> u16 {
        self.welcome.workers
    }

    /// Waits for events or the end: false at the end.
    pub(super) async fn heard(&self) -> bool {
        tokio::select! {
            ready = self.bell.readable() => {
                if let Ok(mut ready) = ready {
                    // Cleared before the rings are drained: what comes in between rings again.
                    self.bell.get_ref().clear();
                    ready.clear_ready();
                }
                true
            }
            alive = self.alive() => alive,
        }
    }

    /// Returns only when the data plane is gone (or sends what it must not).
    async fn alive(&self) -> bool {
        loop {
            if self.stream.readable().await.is_err() {
                return false;
            }
            match self.stream.try_read(&mut [0; 64]) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return false,
                Ok(_) => warn!("the data plane wrote to its socket, which it has no reason to"),
            }
        }
    }

    pub(super) fn worker_events(
        &mut self,
        metrics: &mut Metrics,
        out: &mut Vec<(WorkerId, WorkerEvent)>,
    ) -> bool {
        let mut more = false;
        for (worker, rings) in (0..).map(WorkerId).zip(&mut self.rings.workers) {
            for taken in 0.. {
                if taken == PER_TURN {
                    more = true;
                    break;
                }
                match rings.events.pop() {
                    Some(Ok(event)) => out.push((worker, event)),
                    Some(Err(why)) => malformed(metrics, &why),
                    None => break,
                }
            }
        }
        more
    }

    pub(super) fn table_events(&mut self, metrics: &mut Metrics, out: &mut Vec<TableEvent>) {
        for _ in 0..PER_TURN {
            match self.rings.tables.events.pop() {
                Some(Ok(event)) => out.push(event),
                Some(Err(why)) => malformed(metrics, &why),
                None => return,
            }
        }
    }

    pub(super) fn queue(&mut self, worker: WorkerId, command: WorkerCommand) {
        match self.outbox.get_mut(usize::from(worker.0)) {
            Some(outbox) => outbox.push_back(command),
            None => warn!(worker = worker.0, "a command for a worker that is not there"),
        }
    }

    /// Puts into the rings what they have room for. False: something is left, come again soon.
    pub(super) fn flush(&mut self, tables: &mut Queue, metrics: &mut Metrics) -> bool {
        let mut all = true;
        for (rings, outbox) in self.rings.workers.iter_mut().zip(&mut self.outbox) {
            while let Some(command) = outbox.front() {
                if rings.commands.push(command).is_err() {
                    break;
                }
                metrics.count(Counter::WorkerCommands);
                outbox.pop_front();
            }
            rings.commands.notify();
            all &= outbox.is_empty();
        }
        while let Some(command) = tables.front() {
            if self.rings.tables.commands.push(command).is_err() {
                break;
            }
            metrics.count(Counter::TableCommands);
            tables.pop();
        }
        self.rings.tables.commands.notify();
        let anomalies = self.rings.tables.commands.anomalies();
        if anomalies > self.table_anomalies {
            warn!(anomalies, "the data plane wrote nonsense into the ring's indices");
            self.table_anomalies = anomalies;
        }
        all && tables.front().is_none()
    }
}

fn malformed(metrics: &mut Metrics, why: &ravelin_ring::Malformed) {
    metrics.count(Counter::MalformedEvents);
    warn!(%why, "an event of the data plane could not be read");
}
