//! Going on with what the control process before this one had.
//!
//! Decides: which SAs in the data plane belong to which restored pair, and how long those live that belong to none.
//! Reads: records, the installer's tables. Never: negotiates.

use super::core::Core;
use super::own::Addresses;
use super::{Driver, uplink, vault};
use ravelin_ike::command::Command;
use ravelin_ike::config::{Connection, Start};
use ravelin_ike::endpoint::Record;
use ravelin_ring::msg::TunnelId;
use ravelin_wire::Selector;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

impl Driver {
    /// The first time that IKE begins in this process.
    pub(super) fn begin(&mut self, now: Instant, mut connections: Vec<Connection>) {
        let own = Addresses::of(self.mirror.model());
        uplink::localize(&self.core.config, &own, &mut connections);
        self.follow_gateways(now, true);
        let (records, unreadable) = self.vault.as_ref().map(vault::Vault::load).unwrap_or_default();
        if records.is_empty() {
            vault::tell(0, 0, unreadable, &[]);
            self.core.configure_all(now, connections);
        } else {
            self.core.go_on(now, connections, records.iter().map(|r| r.as_slice()), unreadable);
        }
        self.store_records();
        if let Some(vault) = &self.vault {
            vault.sweep();
        }
    }

    /// Before the first tables of this process: those of the one before let peers of tunnels for any address through.
    pub(super) fn expect_peers(&mut self, now: Instant) {
        let Some(mut connections) = self.link.not_begun().map(|c| c.clone()) else { return };
        let own = Addresses::of(self.mirror.model());
        uplink::localize(&self.core.config, &own, &mut connections);
        let (records, _) = self.vault.as_ref().map(vault::Vault::load).unwrap_or_default();
        self.core.expect_peers(now, connections, records.iter().map(|r| r.as_slice()));
    }

    /// Before any datagram leaves: what it was made with must be known to the next process.
    pub(super) fn store_records(&mut self) {
        while let Some(record) = self.core.poll_record() {
            if let Some(vault) = &mut self.vault {
                vault.apply(record, &mut self.core.metrics);
            }
        }
    }
}

impl Core {
    pub(super) fn poll_record(&mut self) -> Option<Record> {
        self.endpoint.poll_record()
    }

    /// Configures all, and goes on with the IKE SAs of these records.
    fn go_on<'r>(
        &mut self,
        now: Instant,
        connections: Vec<Connection>,
        records: impl Iterator<Item = &'r [u8]>,
        unreadable: usize,
    ) {
        self.begin_manual();
        self.connections = connections.iter().map(|c| (c.id, c.clone())).collect();
        let there = self.installer.adopted_pairs();
        let mut connections = connections;
        connections.iter_mut().for_each(|c| self.installer.fit(c));
        let taken = self.endpoint.restore(now, connections, records, |pair| there.in_use(pair));
        vault::tell(taken.ike_sas, taken.pairs.len(), unreadable, &taken.refused);
        self.go_on_with_peers(&taken.peers);
        for pair in &taken.pairs {
            let tunnel = self.peers.tunnel(TunnelId(pair.child.0));
            let window = self.config.child_settings(tunnel).map_or(0, |s| s.replay_window);
            self.installer.bind(&there, pair, window);
        }
        self.settle(now);
        self.rest_again(now);
    }

    /// SAs of an earlier process that no restored IKE SA owns: nobody watches over them. Their tunnels get new ones,
    /// where it is for us to begin; where it is not, the old ones live no longer than new ones would.
    pub(super) fn renew_adopted(&mut self, now: Instant) {
        let old = self.installer.adopted().filter(|h| !h.leaving).map(|h| h.tunnel);
        for tunnel in old.collect::<BTreeSet<_>>() {
            let life = self.config.tunnel_by_id(tunnel).map_or(Duration::ZERO, |t| t.hard_lifetime);
            self.installer.limit_adopted(tunnel, now + life);
            self.acquire(now, tunnel, None);
        }
        self.settle(now);
    }

    /// `packet`: which one asks for it.
    pub(super) fn acquire(&mut self, now: Instant, id: TunnelId, packet: Option<Selector>) {
        self.metrics.count(crate::metrics::Counter::Acquires);
        let Some(tunnel) = self.config.tunnel_by_id(id) else { return };
        let wanted = match tunnel.start {
            Start::Immediately | Start::OnTraffic => true,
            Start::Respond => false,
        };
        let (connection, child) = (tunnel.connection_id(), tunnel.child_id());
        // A failure of the connection is noted with the tunnel whose IKE SA it is.
        let peer = TunnelId(connection.0);
        let early = self.notes.get(&peer).is_some_and(|note| note.backs_off(now));
        if wanted && !early && !self.held.contains(&peer) {
            let command = match packet {
                Some(packet) => Command::Acquire { connection, child, packet },
                None => crate::feedback::initiate(tunnel),
            };
            self.endpoint.handle_command(now, command);
        }
    }
}
