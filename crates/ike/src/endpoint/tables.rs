//! Finding IKE SAs: by SPI, by the peer's SPI, by connection, by alarm; and how many are half open.
//!
//! Decides: nothing. Never: disagrees with the SAs it speaks of (each change of one goes through `update`).

use super::setup::EndpointConfig;
use crate::config::{ConnectionId, Realm};
use crate::event::IkeSaId;
use crate::ike_sa::IkeSa;
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A peer's address, in its realm.
pub(super) type From = (Realm, IpAddr);

#[derive(Debug, Default)]
pub(super) struct Tables {
    by_spi: BTreeMap<u64, IkeSaId>,
    /// SAs that peers began, by their address and SPI at that time.
    by_peer: BTreeMap<(From, u64), IkeSaId>,
    by_connection: BTreeMap<ConnectionId, BTreeSet<IkeSaId>>,
    entries: BTreeMap<IkeSaId, Entry>,
    alarms: BTreeSet<(Instant, IkeSaId)>,
    half_open: usize,
    half_open_at: BTreeMap<From, usize>,
    half_open_in: BTreeMap<From, usize>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    connection: ConnectionId,
    alarm: Option<Instant>,
    half_open: bool,
    /// Where it came from when it began.
    from: From,
}

impl Tables {
    pub(super) fn insert(&mut self, sa: &IkeSa) {
        let (id, core) = (sa.core.id, &sa.core);
        let from = (core.realm(), core.path.remote.ip());
        self.by_spi.insert(core.our_spi, id);
        if sa.is_half_open() {
            self.by_peer.insert((from, core.peer_spi), id);
            self.half_open += 1;
            *self.half_open_at.entry(from).or_default() += 1;
            *self.half_open_in.entry(network(from)).or_default() += 1;
        }
        self.by_connection.entry(sa.connection_id()).or_default().insert(id);
        let entry = Entry { connection: sa.connection_id(), alarm: None, half_open: sa.is_half_open(), from };
        self.entries.insert(id, entry);
    }

    pub(super) fn update(&mut self, id: IkeSaId, sa: &IkeSa, config: &EndpointConfig) {
        let Some(mut entry) = self.entries.get(&id).copied() else { return };
        if entry.half_open && !sa.is_half_open() {
            entry.half_open = false;
            self.no_more_half_open(entry.from);
        }
        let alarm = sa.alarm(config);
        if alarm != entry.alarm {
            if let Some(at) = entry.alarm {
                self.alarms.remove(&(at, id));
            }
            self.alarms.extend(alarm.map(|at| (at, id)));
            entry.alarm = alarm;
        }
        if entry.connection != sa.connection_id() {
            self.forget_connection(id, entry.connection);
            self.by_connection.entry(sa.connection_id()).or_default().insert(id);
            entry.connection = sa.connection_id();
        }
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: IkeSaId, sa: &IkeSa) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if entry.half_open {
            self.no_more_half_open(entry.from);
        }
        if let Some(at) = entry.alarm {
            self.alarms.remove(&(at, id));
        }
        self.by_spi.remove(&sa.core.our_spi);
        let peer = (entry.from, sa.core.peer_spi);
        if self.by_peer.get(&peer) == Some(&id) {
            self.by_peer.remove(&peer);
        }
        self.forget_connection(id, entry.connection);
    }

    fn forget_connection(&mut self, id: IkeSaId, connection: ConnectionId) {
        if let Some(ids) = self.by_connection.get_mut(&connection) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }

    fn no_more_half_open(&mut self, from: From) {
        self.half_open -= 1;
        one_less(&mut self.half_open_at, from);
        one_less(&mut self.half_open_in, network(from));
    }

    pub(super) fn by_spi(&self, spi: u64) -> Option<IkeSaId> {
        self.by_spi.get(&spi).copied()
    }

    pub(super) fn by_peer(&self, from: From, spi: u64) -> Option<IkeSaId> {
        self.by_peer.get(&(from, spi)).copied()
    }

    pub(super) fn of_connection(&self, id: ConnectionId) -> impl Iterator<Item = IkeSaId> {
        self.by_connection.get(&id).into_iter().flatten().copied()
    }

    pub(super) const fn half_open(&self) -> usize {
        self.half_open
    }

    pub(super) fn half_open_at(&self, from: From) -> usize {
        self.half_open_at.get(&from).copied().unwrap_or(0)
    }

    /// In the network that one host may have for itself.
    pub(super) fn half_open_near(&self, from: From) -> usize {
        self.half_open_in.get(&network(from)).copied().unwrap_or(0)
    }

    pub(super) fn next_alarm(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    pub(super) fn due(&self, now: Instant) -> Vec<IkeSaId> {
        self.alarms.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }
}

/// Of IPv6 the first 64 bits: the rest any host chooses as it likes.
fn network((realm, addr): From) -> From {
    match addr {
        IpAddr::V4(_) => (realm, addr),
        IpAddr::V6(v6) => (realm, IpAddr::V6((v6.to_bits() >> 64 << 64).into())),
    }
}

fn one_less(counts: &mut BTreeMap<From, usize>, from: From) {
    if let Some(n) = counts.get_mut(&from) {
        *n -= 1;
        if *n == 0 {
            counts.remove(&from);
        }
    }
}
