//! The end: SIGTERM, Deletes, SAs out of the data plane.
//!
//! Decides: how long peers and workers are waited for. Never: takes policies out; what they cover is dropped from then on.

use super::Driver;
use ravelin_ike::command::Command;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// For the peers' answers to our Deletes when the process ends.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// For the workers to take the SAs out after that.
const SHUTDOWN_REMOVAL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub(super) enum Stopping {
    /// Waits for the peers until then.
    Peers(Instant),
    /// Waits for the workers until then.
    Workers(Instant),
    Done,
}

impl Driver {
    pub(super) fn stop(&mut self, now: Instant) {
        if self.stopping.is_none() {
            info!("stopping: tunnels are taken down");
            self.stopping = Some(Stopping::Peers(now + SHUTDOWN));
            self.core.command(now, Command::Shutdown);
        }
    }

    pub(super) fn stop_deadline(&self) -> Option<Instant> {
        match self.stopping {
            Some(Stopping::Peers(at) | Stopping::Workers(at)) => Some(at),
            Some(Stopping::Done) | None => None,
        }
    }

    /// Peers first, then our own SAs; policies stay in force in the data plane (fail closed).
    pub(super) fn progress_stop(&mut self, now: Instant) {
        match self.stopping {
            Some(Stopping::Peers(until)) if self.core.is_idle() || until <= now => {
                self.core.installer.remove_everything(now);
                self.stopping = Some(Stopping::Workers(now + SHUTDOWN_REMOVAL));
                self.flush();
                if self.link.plane().is_none() {
                    self.stopping = Some(Stopping::Done);
                }
            }
            Some(Stopping::Workers(until)) if self.core.installer.is_quiet() || until <= now => {
                self.stopping = Some(Stopping::Done);
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        self.flush();
        // Whoever was not told that their IKE SAs end is gone on with by the next process.
        if let (Some(Stopping::Done), Some(vault)) = (self.stopping, &mut self.vault) {
            vault.clear();
        }
        for (counter, n) in self.core.metrics.iter().filter(|(_, n)| *n > 0) {
            debug!(counter = counter.name(), n, "counted");
        }
        for (counter, n) in self.core.engine_counters().iter().filter(|(_, n)| *n > 0) {
            debug!(counter = counter.name(), n, "counted by the engine");
        }
        debug!(counts = ?self.sockets.counts, "counted by the sockets");
        info!("stopped; routes into the tunnel and policies stay in force (`ravelin release` removes them)");
    }
}
