//! Peers of a connection for any address: each has a connection of its own, with numbers and, from the pool, an
//! address of its own, so that one's SAs never carry another's packets.
//!
//! Decides: the numbers, the addresses, what of the selectors is the peer's, and which spellings name one peer. Reads: the
//! connection, what the peer asks for. Writes: the lists of peers and leases, events. Never: keeps a peer whose last IKE
//! SA is gone; gives one address to two peers.

mod restored;

pub(crate) use restored::FromPeer;
use restored::peer_connection;

use super::shared::Shared;
use crate::config::{ChildId, Connection, ConnectionId, Pool};
use crate::error::{Error, Incompatible};
use crate::event::{Event, PeerKey};
use crate::message::View;
use crate::payload::cp::{self, Attribute, Cp};
use crate::payload::{Id, Payload};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ravelin_wire::{AddrRange, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Numbers from here on are peers'; the configuration's stay far below.
const FIRST: u32 = 0x8000_0000;
/// Far more children than a connection has: their numbers follow that of their connection.
const MAX_CHILDREN: u32 = 1024;
/// Leases that are remembered, of each connection. Beyond that a peer that is away loses its own.
const MAX_LEASES: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Peers {
    all: BTreeMap<ConnectionId, Peer>,
    /// Whoever is here. A peer that asks for other addresses than before has several, the newest last, until the
    /// newest has taken the place of the others.
    by_key: BTreeMap<(ConnectionId, PeerKey), Vec<ConnectionId>>,
    leases: BTreeMap<ConnectionId, BTreeMap<PeerKey, Lease>>,
    taken: BTreeSet<(ConnectionId, IpAddr)>,
    /// How many numbers were given.
    given: u32,
    /// Rises with each lease that is used.
    used: u64,
}

#[derive(Debug)]
struct Peer {
    template: ConnectionId,
    key: PeerKey,
    addresses: Vec<IpAddr>,
    connection: Arc<Connection>,
    /// Of a configuration that is another one by now: it goes on, and nobody comes by it.
    outdated: bool,
}

#[derive(Clone, Debug, Default)]
struct Lease {
    addresses: Vec<IpAddr>,
    used: u64,
}

impl Peers {
    /// Connections of the peers of `template`.
    pub(crate) fn of(&self, template: ConnectionId) -> Vec<ConnectionId> {
        self.all.iter().filter(|(_, p)| p.template == template).map(|(id, _)| *id).collect()
    }

    /// The configuration changed: peers that come from now on are treated by it.
    pub(crate) fn forget(&mut self, template: ConnectionId) {
        self.all.values_mut().filter(|peer| peer.template == template).for_each(|peer| peer.outdated = true);
    }

    /// The peer's connection, made anew of its template.
    pub(crate) fn renew(&mut self, id: ConnectionId, template: &Connection) -> Option<Arc<Connection>> {
        let peer = self.all.get_mut(&id).filter(|peer| !peer.outdated)?;
        peer.connection = Arc::new(peer_connection(template, id.0, &peer.addresses));
        Some(Arc::clone(&peer.connection))
    }

    /// All connections of the peer that this one is of, itself among them.
    pub(crate) fn same_peer(&self, connection: ConnectionId) -> Vec<ConnectionId> {
        let of = self.all.get(&connection).map(|peer| (peer.template, peer.key.clone()));
        of.and_then(|at| self.by_key.get(&at)).cloned().unwrap_or_else(|| vec![connection])
    }

    /// `count` numbers in a row that nobody has.
    fn numbers(&mut self, count: u32) -> u32 {
        loop {
            let first = FIRST | self.given;
            let room = self.given.checked_add(count).is_some_and(|end| end < FIRST);
            self.given = if room { self.given + count } else { 0 };
            let last = ConnectionId(first.saturating_add(count));
            if room && self.all.range(ConnectionId(first.saturating_sub(MAX_CHILDREN))..last).next().is_none()
            {
                return first;
            }
        }
    }

    /// Known from an earlier process. What another peer has already is not given twice.
    pub(crate) fn restore(&mut self, template: ConnectionId, key: PeerKey, address: IpAddr) {
        let leases = self.leases.entry(template).or_default();
        if leases.len() < MAX_LEASES && self.taken.insert((template, address)) {
            leases.entry(canonical(key)).or_default().addresses.push(address);
        }
    }

    /// The peer's address of this family: the one it had, a free one, or one whose owner has been away the longest.
    fn lease(&mut self, template: ConnectionId, key: &PeerKey, pool: &Pool, v4: bool) -> Option<IpAddr> {
        self.used += 1;
        let in_pool = |a: &IpAddr| a.is_ipv4() == v4 && pool.addresses.iter().any(|r| r.contains(*a));
        let leases = self.leases.entry(template).or_default();
        let had = leases.get(key).and_then(|l| l.addresses.iter().copied().find(in_pool));
        let full = leases.len() >= MAX_LEASES && !leases.contains_key(key);
        let free = || pool.free(v4, |a| self.taken.contains(&(template, a)));
        let address =
            had.or_else(|| if full { None } else { free() }).or_else(|| self.reclaim(template, in_pool))?;
        self.taken.insert((template, address));
        let lease = self.leases.entry(template).or_default().entry(key.clone()).or_default();
        lease.used = self.used;
        if !lease.addresses.contains(&address) {
            lease.addresses.push(address);
        }
        Some(address)
    }

    fn reclaim(&mut self, template: ConnectionId, in_pool: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let leases = self.leases.get_mut(&template)?;
        let away = |key: &PeerKey| !self.by_key.contains_key(&(template, key.clone()));
        let of = leases.iter().filter(|(key, l)| l.addresses.iter().any(&in_pool) && away(key));
        let (_, key) = of.map(|(key, l)| (l.used, key)).min()?;
        let key = key.clone();
        let gone = leases.remove(&key)?;
        for address in &gone.addresses {
            self.taken.remove(&(template, *address));
        }
        gone.addresses.into_iter().find(in_pool)
    }
}

impl PeerKey {
    pub(crate) fn of(id: &Id) -> Self {
        let Id { kind, data } = id.canonical();
        Self { kind, data }
    }
}

fn canonical(key: PeerKey) -> PeerKey {
    PeerKey::of(&Id { kind: key.kind, data: key.data })
}

impl Pool {
    /// The first address of the family that is not taken.
    fn free(&self, v4: bool, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let of_family = self.addresses.iter().filter(|r| r.start().is_ipv4() == v4);
        // More addresses than leases need not be looked at.
        of_family.flat_map(|r| addresses(*r).take(MAX_LEASES + 1)).find(|a| !taken(*a))
    }
}

fn addresses(range: AddrRange) -> impl Iterator<Item = IpAddr> {
    let (first, last, v4) = match (range.start(), range.end()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), true),
        (a, b) => (bits6(a), bits6(b), false),
    };
    (first..=last).map(move |bits: u128| match u32::try_from(bits) {
        Ok(low) if v4 => Ipv4Addr::from_bits(low).into(),
        _ => Ipv6Addr::from_bits(bits).into(),
    })
}

fn bits6(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => a.to_bits().into(),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// How a peer that has proven who it is is let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) connection: Arc<Connection>,
    /// CFG_REPLY (RFC 7296 §2.19).
    pub(crate) reply: Option<Payload>,
    /// Why there is no child SA for it.
    pub(crate) refused: Option<Error>,
}

impl Shared {
    /// The connection that a peer of `template` has: itself, unless it is for any address.
    pub(crate) fn admit(&mut self, template: &Arc<Connection>, id: &Id, view: View<'_>) -> Admitted {
        if template.remote.is_some() {
            return Admitted { connection: template.clone(), reply: None, refused: None };
        }
        let key = PeerKey::of(id);
        let mut addresses = Vec::new();
        let (mut reply, mut refused) = (None, None);
        if let Some(pool) = &template.pool {
            match self.configure(template.id, &key, pool, view) {
                Ok(found) => {
                    let attributes = found.iter().copied().map(Attribute::address);
                    let dns = pool.dns.iter().copied().map(Attribute::dns);
                    let attributes = attributes.chain(dns).collect();
                    reply = Some(Payload::Cp(Cp { kind: cp::CFG_REPLY, attributes }));
                    addresses = found;
                }
                Err(why) => refused = Some(why),
            }
        }
        let all = self.peers.by_key.get(&(template.id, key.clone())).into_iter().flatten().rev();
        let same = |peer: &&Peer| !peer.outdated && peer.addresses == addresses;
        let connection = match all.filter_map(|id| self.peers.all.get(id)).find(same) {
            Some(peer) => peer.connection.clone(),
            None => self.new_peer(template, key, id.to_string(), addresses),
        };
        Admitted { connection, reply, refused }
    }

    fn configure(
        &mut self,
        template: ConnectionId,
        key: &PeerKey,
        pool: &Pool,
        view: View<'_>,
    ) -> Result<Vec<IpAddr>, Error> {
        let request = view.cp()?;
        let asks = |kind| request.is_some_and(|cp| cp.asks_for(kind));
        let (v4, v6) = (asks(cp::INTERNAL_IP4_ADDRESS), asks(cp::INTERNAL_IP6_ADDRESS));
        if !v4 && !v6 {
            return Err(Error::Mismatch(Incompatible::NotConfigured));
        }
        let mut found = Vec::new();
        for family_v4 in [(v4, true), (v6, false)].into_iter().filter_map(|(asked, f)| asked.then_some(f)) {
            found.extend(self.peers.lease(template, key, pool, family_v4));
        }
        if found.is_empty() {
            return Err(Error::Mismatch(Incompatible::NoAddress));
        }
        let (peer, addresses) = (key.clone(), found.clone());
        self.event(Event::Leased { connection: template, peer, addresses });
        Ok(found)
    }

    fn new_peer(
        &mut self,
        template: &Arc<Connection>,
        key: PeerKey,
        name: String,
        addresses: Vec<IpAddr>,
    ) -> Arc<Connection> {
        let first = self.peers.numbers(count_of(template));
        let connection = Arc::new(peer_connection(template, first, &addresses));
        let (id, numbers) = (connection.id, numbers_of(template, &connection));
        self.peers.by_key.entry((template.id, key.clone())).or_default().push(id);
        let peer =
            Peer { template: template.id, key, addresses, connection: connection.clone(), outdated: false };
        self.peers.all.insert(id, peer);
        if self.traced.contains(&template.id) {
            self.traced.insert(id);
        }
        self.event(Event::PeerKnown { template: template.id, connection: id, children: numbers, peer: name });
        connection
    }

    /// The last IKE SA of a connection is gone.
    pub(crate) fn peer_gone(&mut self, connection: ConnectionId) {
        let Some(Peer { template, key, .. }) = self.peers.all.remove(&connection) else { return };
        let at = (template, key);
        if let Some(all) = self.peers.by_key.get_mut(&at) {
            all.retain(|id| *id != connection);
            if all.is_empty() {
                self.peers.by_key.remove(&at);
            }
        }
        self.traced.remove(&connection);
        self.event(Event::PeerGone { connection });
    }
}

/// How many numbers a peer of it takes.
fn count_of(template: &Connection) -> u32 {
    u32::try_from(template.children.len()).unwrap_or(u32::MAX).max(1)
}

/// The children of the configuration, and the peer's.
fn numbers_of(template: &Connection, connection: &Connection) -> Vec<(ChildId, ChildId)> {
    template.children.iter().map(|c| c.id).zip(connection.children.iter().map(|c| c.id)).collect()
}

/// What of a selector concerns a peer with these addresses.
fn own(selector: &Selector, addresses: &[IpAddr]) -> Vec<Selector> {
    let inside = addresses.iter().filter(|a| selector.remote.contains(**a));
    inside.filter_map(|a| Some(Selector { remote: AddrRange::new(*a, *a).ok()?, ..*selector })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::EndpointConfig;
    use crate::tests::{Spis, any_connection};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn shared() -> Shared {
        Shared::new(EndpointConfig::new(Box::new(Spis(1))), Box::new(ChaCha20Rng::seed_from_u64(1)))
    }

    fn template(pool: &[&str]) -> Arc<Connection> {
        let one = |text: &&str| text.parse::<ravelin_wire::Prefix>().unwrap().into();
        let pool =
            Pool { addresses: pool.iter().map(one).collect(), dns: vec!["10.1.0.53".parse().unwrap()] };
        let mut c = any_connection();
        c.pool = Some(pool);
        c.children[0].selectors = vec![
            ravelin_testkit::selector("10.1.0.0/24", "10.3.0.0/24"),
            ravelin_testkit::selector("2001:db8:1::/64", "2001:db8:3::/64"),
        ];
        Arc::new(c)
    }

    fn id(n: usize) -> Id {
        Id { kind: 2, data: format!("p{n}").into_bytes() }
    }

    fn ask(kinds: &[u16]) -> [Payload; 1] {
        let attributes = kinds.iter().map(|&kind| Attribute { kind, value: vec![] }).collect();
        [Payload::Cp(Cp { kind: cp::CFG_REQUEST, attributes })]
    }

    const V4: &[u16] = &[cp::INTERNAL_IP4_ADDRESS];

    fn remotes(a: &Admitted) -> Vec<IpAddr> {
        a.connection.children[0].selectors.iter().map(|s| s.remote.start()).collect()
    }

    // RFC 7296 §2.19, R33: one address for each peer, the same one again, and nothing of the others
    #[test]
    fn each_peer_has_its_own_address() {
        let (mut shared, template) = (shared(), template(&["10.3.0.0/24", "2001:db8:3::/120"]));
        let first = shared.admit(&template, &id(1), View(&ask(V4)));
        let second = shared.admit(&template, &id(2), View(&ask(&[1, 3, 8])));
        let address = |s: &str| s.parse::<IpAddr>().unwrap();
        assert_eq!(remotes(&first), [address("10.3.0.0")]);
        assert_eq!(remotes(&second), [address("10.3.0.1"), address("2001:db8:3::")]);
        assert_ne!(first.connection.id, second.connection.id);
        assert_ne!(first.connection.children[0].id, second.connection.children[0].id);
        let Some(Payload::Cp(reply)) = &second.reply else { panic!() };
        let wanted = [
            Attribute::address(address("10.3.0.1")),
            Attribute::address(address("2001:db8:3::")),
            Attribute::dns(address("10.1.0.53")),
        ];
        assert_eq!((reply.kind, &reply.attributes[..]), (cp::CFG_REPLY, &wanted[..]));
        // It comes back while it is here, and after it was away.
        assert_eq!(shared.admit(&template, &id(1), View(&ask(V4))).connection.id, first.connection.id);
        shared.peer_gone(first.connection.id);
        let again = shared.admit(&template, &id(1), View(&ask(V4)));
        assert_eq!(remotes(&again), remotes(&first));
        assert_ne!(again.connection.id, first.connection.id);
    }

    #[test]
    fn who_asks_for_none_and_who_comes_too_late_get_no_child() {
        let (mut shared, template) = (shared(), template(&["10.3.0.4/31"]));
        let silent = shared.admit(&template, &id(0), View(&[]));
        assert_eq!(silent.refused, Some(Error::Mismatch(Incompatible::NotConfigured)));
        assert!(remotes(&silent).is_empty() && silent.reply.is_none());
        let taken: Vec<_> = (1..3).map(|n| shared.admit(&template, &id(n), View(&ask(V4)))).collect();
        let third = shared.admit(&template, &id(3), View(&ask(V4)));
        assert_eq!(third.refused, Some(Error::Mismatch(Incompatible::NoAddress)));
        // Who is away longest makes room.
        shared.peer_gone(taken[1].connection.id);
        assert_eq!(remotes(&shared.admit(&template, &id(3), View(&ask(V4)))), remotes(&taken[1]));
        let late = shared.admit(&template, &id(2), View(&ask(V4)));
        assert_eq!(late.refused, Some(Error::Mismatch(Incompatible::NoAddress)), "1 and 3 are here");
    }

    // Whoever opens another IKE SA, without an address, and ends that one, is here still.
    #[test]
    fn an_address_is_nobody_elses_while_its_peer_has_any_connection() {
        let (mut shared, template) = (shared(), template(&["10.3.0.7/32"]));
        let first = shared.admit(&template, &id(1), View(&ask(V4)));
        let second = shared.admit(&template, &id(1), View(&[]));
        assert_ne!(first.connection.id, second.connection.id);
        assert_eq!(shared.peers.same_peer(first.connection.id).len(), 2);
        shared.peer_gone(second.connection.id);
        let other = shared.admit(&template, &id(2), View(&ask(V4)));
        assert_eq!(other.refused, Some(Error::Mismatch(Incompatible::NoAddress)));
        assert_eq!(shared.admit(&template, &id(1), View(&ask(V4))).connection.id, first.connection.id);
        // Nor does a change of the configuration make it away.
        shared.peers.forget(template.id);
        let other = shared.admit(&template, &id(3), View(&ask(V4)));
        assert_eq!(other.refused, Some(Error::Mismatch(Incompatible::NoAddress)));
        shared.peer_gone(first.connection.id);
        assert!(shared.admit(&template, &id(3), View(&ask(V4))).refused.is_none());
    }

    // RFC 4343, RFC 5280 §7.1: names that compare equal are one peer's, with one address
    #[test]
    fn one_name_is_one_peer_however_it_is_spelled() {
        let (mut shared, template) = (shared(), template(&["10.3.0.0/24"]));
        let dn = |text: &str| crate::cert::DnPattern::parse(text).unwrap().der().unwrap();
        let spellings = [
            (2, b"van.lab".to_vec(), b"VAN.Lab".to_vec()),
            (3, b"carol@van.lab".to_vec(), b"Carol@van.LAB".to_vec()),
            (9, dn("C=DE, CN=van  one"), dn("C=de, CN=Van One")),
        ];
        for (kind, one, other) in spellings {
            let mut come = |data: &[u8]| {
                shared.admit(&template, &Id { kind, data: data.to_vec() }, View(&ask(V4))).connection.id
            };
            assert_eq!(come(&one), come(&other), "kind {kind}");
        }
        assert_eq!(shared.peers.all.len(), 3);
        // Bytes are bytes.
        let of = |data: &[u8]| PeerKey::of(&Id { kind: 11, data: data.to_vec() });
        assert_ne!(of(b"a"), of(b"A"));
    }

    #[test]
    fn leases_of_an_earlier_process_hold() {
        let (mut shared, template) = (shared(), template(&["10.3.0.0/24"]));
        let key = |n| PeerKey { kind: 2, data: id(n).data };
        shared.peers.restore(template.id, key(7), "10.3.0.0".parse().unwrap());
        shared.peers.restore(template.id, key(8), "10.3.0.0".parse().unwrap());
        assert_eq!(
            remotes(&shared.admit(&template, &id(1), View(&ask(V4)))),
            ["10.3.0.1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            remotes(&shared.admit(&template, &id(7), View(&ask(V4)))),
            ["10.3.0.0".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            remotes(&shared.admit(&template, &id(8), View(&ask(V4)))),
            ["10.3.0.2".parse::<IpAddr>().unwrap()]
        );
    }
}
