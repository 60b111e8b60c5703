//! Peers of tunnels for any address: whose SAs are whose, and what each may send.
//!
//! Decides: which tunnel of the configuration stands for a peer's child. Reads: the engine's events. Writes: its lists.
//! Never: lets a later peer's selectors go before an earlier one's.

use super::Core;
use crate::config::ChildSettings;
use crate::driver::{Driver, tables};
use ravelin_ike::command::Command;
use ravelin_ike::config::{ChildId, Connection, ConnectionId};
use ravelin_ike::event::{ChildSa, InstallToken};
use ravelin_ike::record::PeerOf;
use ravelin_ring::msg::{Generation, TunnelId, VrfId};
use ravelin_wire::Selector;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use tracing::warn;

/// Bounded by the IKE SAs that the engine allows.
#[derive(Debug, Default)]
pub(in crate::driver) struct Peers {
    all: BTreeMap<ConnectionId, Peer>,
    /// A peer's child, and the one of the configuration.
    children: BTreeMap<TunnelId, TunnelId>,
    selectors: BTreeMap<TunnelId, Vec<Selector>>,
    /// The policies, and filters with them, are to be published anew.
    pub(super) changed: bool,
    awaited: Vec<Awaited>,
}

/// An SA that lets nothing out before the tables know whose it is. Bounded by the installs under way.
#[derive(Debug)]
struct Awaited {
    token: InstallToken,
    /// In force from here on; `None`: not published yet.
    from: Option<Generation>,
    /// The workers have it.
    done: bool,
}

#[derive(Debug)]
struct Peer {
    template: ConnectionId,
    children: Vec<TunnelId>,
}

impl Peers {
    /// The tunnel of the configuration that this number belongs to.
    pub(in crate::driver) fn tunnel(&self, id: TunnelId) -> TunnelId {
        self.children.get(&id).copied().unwrap_or(id)
    }

    pub(in crate::driver) fn connection(&self, id: ConnectionId) -> ConnectionId {
        self.all.get(&id).map_or(id, |peer| peer.template)
    }

    /// Connections of the peers of a tunnel, in the order in which they came.
    pub(in crate::driver) fn of(&self, template: ConnectionId) -> impl Iterator<Item = ConnectionId> {
        self.all.iter().filter(move |(_, peer)| peer.template == template).map(|(id, _)| *id)
    }

    /// The engine hears that an SA is installed when its packets are let through, too: a peer may send at once.
    pub(super) fn hold_back(&mut self, answer: Command) -> Option<Command> {
        let Command::Installed { token, ok } = answer else { return Some(answer) };
        let Some(at) = self.awaited.iter().position(|awaited| awaited.token == token) else {
            return Some(answer);
        };
        if ok {
            self.awaited[at].done = true;
            return None;
        }
        self.awaited.swap_remove(at);
        Some(answer)
    }

    fn published(&mut self, generation: Generation) {
        self.awaited.iter_mut().for_each(|awaited| awaited.from = awaited.from.or(Some(generation)));
    }

    /// What waited for this generation.
    fn in_force(&mut self, generation: Generation) -> Vec<InstallToken> {
        let (over, left): (Vec<_>, _) = std::mem::take(&mut self.awaited)
            .into_iter()
            .partition(|awaited| awaited.from.is_some_and(|from| from <= generation));
        self.awaited = left;
        over.into_iter().filter(|awaited| awaited.done).map(|awaited| awaited.token).collect()
    }

    /// The data plane went, with all that was asked of it.
    pub(super) fn forget_awaited(&mut self) {
        self.awaited.clear();
    }

    /// What peers have of a tunnel, the first one first.
    pub(in crate::driver) fn selectors(&self) -> BTreeMap<TunnelId, Vec<(TunnelId, Selector)>> {
        let mut out: BTreeMap<TunnelId, Vec<(TunnelId, Selector)>> = BTreeMap::new();
        for (child, selectors) in &self.selectors {
            let of = out.entry(self.tunnel(*child)).or_default();
            of.extend(selectors.iter().map(|s| (*child, *s)));
        }
        out
    }
}

impl Driver {
    /// When peers came or went, the policies anew.
    pub(in crate::driver) fn publish_peers(&mut self) {
        if std::mem::take(&mut self.core.peers.changed) && self.link.plane().is_some() {
            let peers = self.core.peers.selectors();
            let generation = self.publish(tables::policies(&self.core.config, &peers));
            self.core.peers.published(generation);
        }
    }
}

impl Core {
    /// Before the first peer.
    pub(in crate::driver) fn restore_leases(&mut self, now: Instant) {
        for lease in self.leases.commands(&self.config) {
            self.command(now, lease);
        }
    }

    pub(in crate::driver) fn save_leases(&mut self) {
        if let Err(why) = self.leases.save(&self.config) {
            warn!(%why, "the leases of the pools could not be saved");
        }
    }

    pub(super) fn peer_known(
        &mut self,
        template: ConnectionId,
        connection: ConnectionId,
        children: &[(ChildId, ChildId)],
    ) {
        let own: Vec<TunnelId> = children.iter().map(|(_, own)| TunnelId(own.0)).collect();
        for (of, own) in children {
            self.peers.children.insert(TunnelId(own.0), TunnelId(of.0));
        }
        self.peers.all.insert(connection, Peer { template, children: own });
    }

    /// Before the policies of this process take the place of those before: what peers have goes on, if the engine can go
    /// on with them.
    pub(in crate::driver) fn expect_peers<'r>(
        &mut self,
        now: Instant,
        mut connections: Vec<Connection>,
        records: impl Iterator<Item = &'r [u8]>,
    ) {
        connections.iter_mut().for_each(|c| self.installer.fit(c));
        let peers = self.endpoint.peers_of(now, &connections, records);
        self.go_on_with_peers(&peers);
    }

    pub(in crate::driver) fn go_on_with_peers(&mut self, peers: &[PeerOf]) {
        let there: BTreeSet<ConnectionId> = peers.iter().map(|p| p.connection).collect();
        let gone: Vec<ConnectionId> =
            self.peers.all.keys().filter(|id| !there.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.peer_gone(id));
        for peer in peers {
            self.peer_known(peer.template, peer.connection, &peer.children);
            for (child, selectors) in &peer.selectors {
                self.peers.selectors.insert(TunnelId(child.0), selectors.clone());
            }
            self.peers.changed = true;
        }
    }

    /// What it counted stays with its tunnel.
    pub(super) fn peer_gone(&mut self, connection: ConnectionId) {
        let Some(peer) = self.peers.all.remove(&connection) else { return };
        for child in peer.children {
            let tunnel = self.peers.tunnel(child);
            self.installer.hand_totals(child, tunnel);
            self.peers.children.remove(&child);
            self.peers.changed |= self.peers.selectors.remove(&child).is_some();
        }
    }

    pub(super) fn install(&mut self, now: Instant, token: InstallToken, sa: &ChildSa) {
        let own = TunnelId(sa.child.0);
        let tunnel = self.peers.tunnel(own);
        let settings = self.config.child_settings(tunnel).filter(|_| self.connected);
        let Some(settings) = settings.map(|s| ChildSettings { tunnel: own, ..s }) else {
            warn!(tunnel = tunnel.0, "no data plane, or no such tunnel any more: the SA is refused");
            return self.endpoint.handle_command(now, Command::Installed { token, ok: false });
        };
        if sa.replaces.is_some() {
            self.notes.entry(tunnel).or_default().rekeys += 1;
        }
        // Without policies of its own nothing comes out of a VRF's SA, nor through a filter.
        if self.peer_selectors(sa) && (settings.inside != VrfId::MAIN || settings.filtered) {
            self.peers.awaited.push(Awaited { token, from: None, done: false });
        }
        self.installer.install(now, token, sa, &settings);
    }

    /// The tables of this generation are in force, or were refused.
    pub(in crate::driver) fn tables_answered(&mut self, now: Instant, generation: Generation, ok: bool) {
        for token in self.peers.in_force(generation) {
            self.endpoint.handle_command(now, Command::Installed { token, ok });
        }
        self.settle(now);
    }

    /// The selectors of a peer's SA become policies of its own, before those of its tunnel.
    /// True: they have to be published.
    fn peer_selectors(&mut self, sa: &ChildSa) -> bool {
        let child = TunnelId(sa.child.0);
        let new = self.peers.children.contains_key(&child)
            && self.peers.selectors.insert(child, sa.selectors.clone()).as_ref() != Some(&sa.selectors);
        self.peers.changed |= new;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R132, R223: a peer hears that its SA is there when the tables of its policies are, whichever comes first; what failed is
    // said at once.
    #[test]
    fn an_install_is_said_when_its_policies_are_in_force() {
        let mut peers = Peers::default();
        let installed = |n, ok| Command::Installed { token: InstallToken(n), ok };
        let wait = |peers: &mut Peers, n| {
            peers.awaited.push(Awaited { token: InstallToken(n), from: None, done: false });
        };
        wait(&mut peers, 1);
        assert!(peers.hold_back(installed(1, true)).is_none(), "the workers are quicker");
        assert_eq!(peers.in_force(Generation(6)), [], "it is not published yet");
        peers.published(Generation(7));
        wait(&mut peers, 2);
        wait(&mut peers, 3);
        peers.published(Generation(8));
        assert_eq!(peers.in_force(Generation(6)), []);
        assert_eq!(peers.in_force(Generation(7)), [InstallToken(1)]);
        assert!(peers.hold_back(installed(3, false)).is_some());
        assert_eq!(peers.in_force(Generation(8)), [], "the tables are quicker");
        assert!(peers.hold_back(installed(2, true)).is_some());
        assert!(peers.hold_back(installed(9, true)).is_some(), "of another tunnel");
        wait(&mut peers, 4);
        peers.forget_awaited();
        peers.published(Generation(9));
        assert_eq!(peers.in_force(Generation(9)), []);
    }
}
