//! The connections of the configuration, found by number, by the peer's address and by identities.
//!
//! Decides: which connections a peer at some address may use, and in which order. Reads and writes: its indexes, so
//! that no question costs more with more connections. Never: forgets one index when another changes.

use crate::config::{Connection, ConnectionId, Exchanges, Identity, Realm};
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Our identity and the peer's, as the addresses of one realm know them.
pub(super) type Between = (Realm, Identity, Identity);

#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// Towards each gateway of its peer; the first one always is there.
    all: BTreeMap<ConnectionId, Vec<Arc<Connection>>>,
    /// `None`: any address. First gateways go before backups.
    by_remote: HashMap<Option<IpAddr>, BTreeSet<(usize, ConnectionId)>>,
    by_ids: HashMap<Between, BTreeSet<ConnectionId>>,
    /// With an established IKE SA.
    up: BTreeSet<ConnectionId>,
}

impl Directory {
    /// Returns what it replaces.
    pub(super) fn insert(&mut self, connection: Arc<Connection>) -> Option<Arc<Connection>> {
        let id = connection.id;
        let old = self.take(id);
        let towards = towards(&connection);
        for (n, gateway) in towards.iter().enumerate() {
            self.by_remote.entry(gateway.remote).or_default().insert((n, id));
            self.by_ids.entry(between(gateway)).or_default().insert(id);
        }
        self.all.insert(id, towards);
        old
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.take(id);
    }

    fn take(&mut self, id: ConnectionId) -> Option<Arc<Connection>> {
        let old = self.all.remove(&id)?;
        for (n, gateway) in old.iter().enumerate() {
            forget(&mut self.by_remote, &gateway.remote, &(n, id));
            forget(&mut self.by_ids, &between(gateway), &id);
        }
        old.into_iter().next()
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Arc<Connection>> {
        self.gateways(id).first()
    }

    /// The connection towards each gateway of its peer.
    pub(crate) fn gateways(&self, id: ConnectionId) -> &[Arc<Connection>] {
        self.all.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Which of them this one is.
    pub(crate) fn gateway_of(&self, c: &Connection) -> usize {
        let same = |g: &Arc<Connection>| (g.remote, &g.remote_id) == (c.remote, &c.remote_id);
        self.gateways(c.id).iter().position(same).unwrap_or(0)
    }

    pub(super) fn set_up(&mut self, id: ConnectionId, up: bool) {
        if up {
            self.up.insert(id);
        } else {
            self.up.remove(&id);
        }
    }

    pub(super) fn is_up(&self, id: ConnectionId) -> bool {
        self.up.contains(&id)
    }

    /// Those that a peer at these addresses may use: the ones that name its address first, then the ones for any.
    pub(super) fn candidates(
        &self,
        realm: Realm,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Vec<Arc<Connection>> {
        let ours = |c: &&Arc<Connection>| {
            c.exchanges.realm == realm && (c.local.is_none() || local.is_none() || c.local == local)
        };
        let with = |remote: Option<IpAddr>| {
            let found = self.by_remote.get(&remote).into_iter().flatten();
            found.filter_map(|(n, id)| self.gateways(*id).get(*n)).filter(ours).cloned()
        };
        with(Some(remote)).chain(with(None)).collect()
    }

    /// Some connection is with this very address.
    pub(super) fn names(&self, remote: IpAddr) -> bool {
        self.by_remote.contains_key(&Some(remote))
    }

    /// One between the same two identities is up.
    pub(super) fn is_up_between(&self, of: &Connection) -> bool {
        self.by_ids.get(&between(of)).is_some_and(|all| all.iter().any(|id| self.up.contains(id)))
    }
}

pub(super) fn between(connection: &Connection) -> Between {
    (connection.exchanges.realm, connection.local_id.clone(), connection.remote_id.clone())
}

/// The connection itself, then towards each backup.
fn towards(connection: &Arc<Connection>) -> Vec<Arc<Connection>> {
    let first = Connection { exchanges: Exchanges::default(), ..(**connection).clone() };
    let one = |b: &Connection| Connection {
        id: connection.id,
        children: connection.children.clone(),
        // Seen from there, the first one is another gateway too.
        exchanges: Exchanges { backups: vec![first.clone()], ..connection.exchanges.clone() },
        ..b.clone()
    };
    let backups = connection.exchanges.backups.iter().map(|b| Arc::new(one(b)));
    core::iter::once(Arc::clone(connection)).chain(backups).collect()
}

fn forget<K: core::hash::Hash + Eq, V: Ord>(index: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(all) = index.get_mut(key) {
        all.remove(value);
        if all.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Exchanges, LocalAuth, RemoteAuth, Secret, Start};
    use core::time::Duration;

    fn connection(id: u32, remote: Option<&str>, peer: &str) -> Arc<Connection> {
        Arc::new(Connection {
            id: ConnectionId(id),
            name: format!("c{id}"),
            local: None,
            remote: remote.map(|r| r.parse().unwrap()),
            local_id: Identity::Fqdn("a.lab".into()),
            remote_id: Identity::Fqdn(peer.into()),
            local_auth: LocalAuth::Psk(Secret::new(vec![7; 16])),
            remote_auth: RemoteAuth::Psk(Secret::new(vec![7; 16])),
            ppk: None,
            proposals: vec![],
            children: vec![],
            pool: None,
            lifetime: Duration::from_secs(1),
            jitter: Duration::ZERO,
            dpd_delay: Duration::ZERO,
            start: Start::Respond,
            force_udp: false,
            fragment_size: None,
            exchanges: Exchanges::default(),
        })
    }

    fn found(d: &Directory, at: &str) -> Vec<u32> {
        d.candidates(Realm(0), None, at.parse().unwrap()).iter().map(|c| c.id.0).collect()
    }

    #[test]
    fn the_named_address_goes_before_any_and_a_change_leaves_nothing_behind() {
        let mut d = Directory::default();
        for (id, remote) in [(1, None), (2, Some("10.0.0.2")), (3, Some("10.0.0.3"))] {
            assert!(d.insert(connection(id, remote, "b.lab")).is_none());
        }
        assert_eq!(found(&d, "10.0.0.2"), [2, 1]);
        assert!(d.insert(connection(2, Some("10.0.0.3"), "b.lab")).is_some());
        assert_eq!(found(&d, "10.0.0.2"), [1]);
        assert_eq!(found(&d, "10.0.0.3"), [2, 3, 1]);
        d.remove(ConnectionId(3));
        assert_eq!(found(&d, "10.0.0.3"), [2, 1]);
        assert!(d.get(ConnectionId(3)).is_none());
    }

    #[test]
    fn two_connections_between_the_same_identities_know_of_each_other() {
        let mut d = Directory::default();
        let (one, two) = (connection(1, None, "b.lab"), connection(2, None, "b.lab"));
        let other = connection(3, None, "c.lab");
        for c in [&one, &two, &other] {
            d.insert(c.clone());
        }
        d.set_up(ConnectionId(1), true);
        assert!(d.is_up_between(&two) && !d.is_up_between(&other));
        d.set_up(ConnectionId(1), false);
        assert!(!d.is_up_between(&two));
    }
}
