//! The engine's door: what goes in and out.
//!
//! Decides: which IKE SA a datagram, a command or an alarm is for. Reads: header, addresses, SPIs.
//! Writes: the tables of SAs. Never: looks into a payload that an SA or a task must judge.

mod setup;
mod shared;
mod pairs;
mod tables;
mod directory;
mod datagram;
mod command;
mod connections;
mod gateways;
mod peers;
mod given;
mod actions;
mod show;
mod survival;

pub(crate) use connections::{NO_ADDRESS, SILENT};
pub(crate) use peers::FromPeer;
pub use setup::{EndpointConfig, Limits, Near, SpiSource, Timers, Transmit, WallClock};
pub(crate) use shared::{Action, Cx};
pub use survival::{Record, Taken};

use crate::command::Command;
use crate::config::{ConnectionId, Realm};
use crate::cookie::Cookies;
use crate::counters::{Counter, Counters};
use crate::event::{Event, IkeSaId};
use crate::ike_sa::{IkeSa, Via};
use crate::snapshot::Snapshot;
use connections::{ConnectionAlarms, Wanted};
use core::fmt;
use core::net::SocketAddr;
use rand_core::CryptoRng;
use shared::Shared;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;
use tables::Tables;

/// All IKE SAs of this gateway. After each `handle_*` drain [`Self::poll_transmit`] and [`Self::poll_event`], then
/// arm a timer for [`Self::poll_alarm`].
pub struct Endpoint {
    shared: Shared,
    sas: BTreeMap<IkeSaId, IkeSa>,
    tables: Tables,
    connections: BTreeMap<ConnectionId, Wanted>,
    connection_alarms: ConnectionAlarms,
    /// Own attempts whose first answers are still due, and connections that wait for one of them to be over.
    starting: BTreeSet<IkeSaId>,
    queued: VecDeque<ConnectionId>,
    /// To be looked at before the current call returns.
    touched: BTreeSet<IkeSaId>,
    dirty: BTreeSet<ConnectionId>,
    cookies: Cookies,
    shutdown: Shutdown,
    records: survival::Records,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shutdown {
    No,
    Until(Instant),
    Done,
}

impl Endpoint {
    pub fn new(config: EndpointConfig, rng: Box<dyn CryptoRng + Send>) -> Self {
        Self {
            shared: Shared::new(config, rng),
            sas: BTreeMap::new(),
            tables: Tables::default(),
            connections: BTreeMap::new(),
            connection_alarms: ConnectionAlarms::default(),
            starting: BTreeSet::new(),
            queued: VecDeque::new(),
            touched: BTreeSet::new(),
            dirty: BTreeSet::new(),
            cookies: Cookies::new(),
            shutdown: Shutdown::No,
            records: survival::Records::default(),
        }
    }

    /// A datagram without the non-ESP marker; `local.port()` tells by which port it came, and `local.ip()` must be the
    /// address it was sent to.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        self.handle_datagram_of(now, Realm::default(), local, remote, bytes);
    }

    /// [`Self::handle_datagram`] where there are several realms.
    pub fn handle_datagram_of(
        &mut self,
        now: Instant,
        realm: Realm,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
    ) {
        self.shared.count(Counter::MessagesIn);
        self.on_datagram(now, Via { local, remote, realm }, bytes);
        self.settle(now);
    }

    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.on_command(now, command);
        self.settle(now);
    }

    /// To be called at or after [`Self::poll_alarm`]; earlier does no harm.
    pub fn handle_alarm(&mut self, now: Instant) {
        for id in self.tables.due(now) {
            if let Some(sa) = self.sas.get_mut(&id) {
                sa.on_alarm(&mut Cx::new(now, &mut self.shared));
                // A pair may have expired.
                self.dirty.insert(sa.connection_id());
            }
            self.touched.insert(id);
        }
        while let Some(id) = self.connection_alarms.pop_due(now) {
            self.dirty.insert(id);
        }
        self.check_shutdown(now);
        self.settle(now);
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.shared.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.next_event()
    }

    /// When to call [`Self::handle_alarm`]; `None`: nothing to wait for.
    pub fn poll_alarm(&self) -> Option<Instant> {
        let connection = self.connection_alarms.first();
        let shutdown = match self.shutdown {
            Shutdown::Until(at) => Some(at),
            Shutdown::No | Shutdown::Done => None,
        };
        [self.tables.next_alarm(), connection, shutdown].into_iter().flatten().min()
    }

    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.show(now)
    }

    /// [`Self::snapshot`] of one connection.
    pub fn snapshot_of(&self, now: Instant, connection: ConnectionId) -> Snapshot {
        self.show_one(now, connection)
    }

    /// Works until no SA asks anything of another one, then brings the tables up to date.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(action) = self.shared.actions.pop_front() {
                self.apply(now, action);
            } else if let Some(id) = self.touched.pop_first() {
                self.refresh(id);
            } else if let Some(id) = self.dirty.pop_first() {
                self.reconcile(now, id);
            } else if let Some(id) = self.next_queued() {
                self.dirty.insert(id);
            } else {
                break;
            }
        }
        self.check_shutdown(now);
    }

    /// Puts the SA's alarm and state into the tables; takes it out when it is gone.
    fn refresh(&mut self, id: IkeSaId) {
        self.changed(id);
        let Some(sa) = self.sas.get(&id) else { return };
        let connection = sa.connection_id();
        if !sa.core.assigned.is_empty() {
            self.shared.given.entry(connection).or_default();
        }
        if !sa.is_starting() {
            self.starting.remove(&id);
        }
        if matches!(sa.state, crate::ike_sa::State::Gone) {
            self.tables.remove(id, sa);
            self.sas.remove(&id);
            self.dirty.insert(connection);
            if self.tables.of_connection(connection).next().is_none() {
                self.shared.peer_gone(connection);
            }
        } else {
            self.tables.update(id, sa, &self.shared.config);
        }
        let up = self
            .tables
            .of_connection(connection)
            .any(|id| self.sas.get(&id).is_some_and(|sa| sa.is_alive() && sa.established().is_some()));
        self.shared.connections.set_up(connection, up);
        self.tell_given(connection);
    }

    fn add(&mut self, sa: IkeSa) -> IkeSaId {
        let id = sa.core.id;
        self.tables.insert(&sa);
        self.sas.insert(id, sa);
        self.touched.insert(id);
        id
    }

    /// Lets one SA work.
    fn with_sa(&mut self, now: Instant, id: IkeSaId, work: impl FnOnce(&mut IkeSa, &mut Cx<'_>)) {
        if let Some(sa) = self.sas.get_mut(&id) {
            work(sa, &mut Cx::new(now, &mut self.shared));
            self.touched.insert(id);
        }
    }

    fn check_shutdown(&mut self, now: Instant) {
        let Shutdown::Until(until) = self.shutdown else { return };
        if now >= until {
            for id in self.sas.keys().copied().collect::<Vec<_>>() {
                self.with_sa(now, id, |sa, cx| sa.forget(cx, "shut down"));
                self.refresh(id);
            }
            self.touched.clear();
            // Their ends are told, and nothing else is done about them.
            while let Some(action) = self.shared.actions.pop_front() {
                self.apply(now, action);
            }
            self.dirty.clear();
        }
        let lingering = |sa: &IkeSa| matches!(sa.state, crate::ike_sa::State::Closed { .. });
        if self.sas.values().all(lingering) {
            self.shutdown = Shutdown::Done;
            self.shared.event(Event::Idle);
        }
    }
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm)]
impl Endpoint {
    pub(crate) fn first_intermediate(
        &mut self,
    ) -> Option<(&mut crate::ike_sa::Core, &mut crate::crypto::keys::IkeKeys)> {
        self.sas.values_mut().find_map(|sa| match &mut sa.state {
            crate::ike_sa::State::IntermediateSent(s) => Some((&mut sa.core, s.keys_mut())),
            _ => None,
        })
    }

    pub(crate) const fn log_keys(&mut self) {
        self.shared.config.key_log = true;
    }

    /// Bytes of messages in pieces: of strangers, of peers.
    pub(crate) fn rooms(&self) -> (usize, usize) {
        (self.shared.strangers_room.used(), self.shared.peers_room.used())
    }

    /// Plays a peer without RFC 7427.
    pub(crate) fn speaks_signatures(&mut self, yes: bool) {
        self.shared.config.signature_negotiation = yes;
    }

    pub(crate) const fn limits(&mut self) -> &mut Limits {
        &mut self.shared.config.limits
    }

    /// For tests that play the peer with its own keys.
    pub(crate) fn first_established(
        &mut self,
    ) -> Option<(&mut crate::ike_sa::Core, &mut crate::ike_sa::Established)> {
        self.sas.values_mut().find_map(IkeSa::parts)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
