//! The engine's door: what goes in and out.
//!
//! Decides: which IKE SA a datagram, a command or an alarm is for. Reads: header, addresses, SPIs.
//! Writes: the tables of SAs. Never: looks into a payload that an SA or a task must judge.

mod setup;

pub use setup::{EndpointConfig, Limits, SpiSource, Timers, Transmit};

use crate::command::Command;
use crate::counters::Counters;
use crate::event::Event;
use crate::snapshot::Snapshot;
use core::fmt;
use core::net::SocketAddr;
use rand_core::CryptoRng;
use std::time::Instant;

/// All IKE SAs of this gateway. After each `handle_*` drain [`Self::poll_transmit`] and [`Self::poll_event`], then
/// arm a timer for [`Self::poll_alarm`].
pub struct Endpoint {
    config: EndpointConfig,
    _rng: Box<dyn CryptoRng + Send>,
    counters: Counters,
}

impl Endpoint {
    pub fn new(config: EndpointConfig, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self { config, _rng: rng, counters: Counters::default() }
    }

    /// A datagram without the non-ESP marker; `local.port()` tells by which port it came, and `local.ip()` must be the
    /// address it was sent to.
    pub fn handle_datagram(&mut self, _now: Instant, _local: SocketAddr, _remote: SocketAddr, _bytes: &[u8]) {
    }

    pub fn handle_command(&mut self, _now: Instant, _command: Command) {}

    /// To be called at or after [`Self::poll_alarm`]; earlier does no harm.
    pub fn handle_alarm(&mut self, _now: Instant) {}

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        None
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When to call [`Self::handle_alarm`]; `None`: nothing to wait for.
    pub fn poll_alarm(&self) -> Option<Instant> {
        None
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn snapshot(&self, _now: Instant) -> Snapshot {
        Snapshot::default()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("config", &self.config).finish_non_exhaustive()
    }
}
