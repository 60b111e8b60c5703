//! Peers that an earlier process let in, and whose IKE SAs this one goes on with: under the same numbers, by which the data
//! plane knows their SAs and policies.
//!
//! Decides: whether a peer can be what it was. Reads: what a record says of it, the configuration. Writes: the lists of
//! peers and leases. Never: gives a number or an address to two peers.

use super::{FIRST, MAX_CHILDREN, Peer, count_of, own};
use crate::config::{Child, ChildId, Connection, ConnectionId, Start};
use crate::endpoint::shared::Shared;
use crate::error::Malformed;
use crate::event::PeerKey;
use crate::payload::{Id, Reader};
use crate::record::{Out, ip_of};
use core::net::IpAddr;
use std::sync::Arc;

/// What a record says of the peer of a connection for any address, beside its identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FromPeer {
    pub(crate) template: ConnectionId,
    number: u32,
    addresses: Vec<IpAddr>,
}

/// The connection that a peer of `template` has, with numbers from `first` on.
pub(super) fn peer_connection(template: &Connection, first: u32, addresses: &[IpAddr]) -> Connection {
    let child = |(id, c): (u32, &Child)| {
        let selectors = match &template.pool {
            Some(_) => c.selectors.iter().flat_map(|s| own(s, addresses)).collect(),
            None => c.selectors.clone(),
        };
        Child { id: ChildId(id), selectors, ..c.clone() }
    };
    let children = (first..).zip(&template.children).map(child).collect();
    Connection { id: ConnectionId(first), children, start: Start::Respond, ..template.clone() }
}

impl FromPeer {
    pub(crate) fn write(&self, out: &mut Out) -> Option<()> {
        out.u32(self.number);
        out.u8(u8::try_from(self.addresses.len()).ok()?);
        self.addresses.iter().for_each(|ip| out.ip(*ip));
        Some(())
    }

    pub(crate) fn read(r: &mut Reader<'_>, template: ConnectionId) -> Result<Self, Malformed> {
        let number = r.u32()?;
        let addresses = (0..r.u8()?).map(|_| ip_of(r)).collect::<Result<_, _>>()?;
        Ok(Self { template, number, addresses })
    }

    /// `None` when the configuration does not let in such a peer any more.
    pub(crate) fn connection(&self, template: &Connection) -> Option<Connection> {
        let fits = match &template.pool {
            Some(pool) => {
                let inside = |a: &IpAddr| pool.addresses.iter().any(|range| range.contains(*a));
                !self.addresses.is_empty() && self.addresses.iter().all(inside)
            }
            None => self.addresses.is_empty(),
        };
        let numbers = self.number >= FIRST && self.number.checked_add(count_of(template)).is_some();
        (template.remote.is_none() && fits && numbers)
            .then(|| peer_connection(template, self.number, &self.addresses))
    }
}

impl Shared {
    /// For a record of this connection; `None`: it is not of a peer's own.
    pub(crate) fn peer_record(&self, connection: ConnectionId) -> Option<FromPeer> {
        let peer = self.peers.all.get(&connection)?;
        Some(FromPeer { template: peer.template, number: connection.0, addresses: peer.addresses.clone() })
    }

    /// The peer is known again. False: another one has its number or its address.
    pub(crate) fn restore_peer(&mut self, from: &FromPeer, id: &Id, connection: &Arc<Connection>) -> bool {
        let key = PeerKey::of(id);
        let template = from.template;
        let known = self.peers.all.get(&connection.id);
        if let Some(peer) = known {
            return (&peer.key, peer.template, &peer.addresses) == (&key, template, &from.addresses);
        }
        let first = ConnectionId(from.number.saturating_sub(MAX_CHILDREN));
        let around = first..=ConnectionId(from.number.saturating_add(MAX_CHILDREN));
        let lease = self.peers.leases.get(&template).and_then(|leases| leases.get(&key));
        let own = |a: &IpAddr| lease.is_some_and(|l| l.addresses.contains(a));
        let free = |a: &IpAddr| own(a) || !self.peers.taken.contains(&(template, *a));
        if self.peers.all.range(around).next().is_some() || !from.addresses.iter().all(free) {
            return false;
        }
        for address in from.addresses.iter().filter(|a| !own(a)).copied().collect::<Vec<_>>() {
            self.peers.restore(template, key.clone(), address);
        }
        let end = (from.number - FIRST).saturating_add(count_of(connection));
        self.peers.given = self.peers.given.max(end);
        self.peers.by_key.entry((template, key.clone())).or_default().push(connection.id);
        let addresses = from.addresses.clone();
        let peer = Peer { template, key, addresses, connection: connection.clone(), outdated: false };
        self.peers.all.insert(connection.id, peer);
        true
    }
}
