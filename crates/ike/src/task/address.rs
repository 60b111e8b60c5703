//! Asking the peer for an address (RFC 7296 §2.19), as initiator.
//!
//! Decides: what is asked for, whether what the peer gave is of use, and what of the children is ours with it.
//! Reads: the answer of IKE_AUTH. Writes: the IKE SA's connection, narrowed. Never: stands with a peer that gave none;
//! takes an address that no one host can have.

use crate::config::{Child, Connection};
use crate::error::{Error, Misbehaved};
use crate::ike_sa::Core;
use crate::message::View;
use crate::payload::Payload;
use crate::payload::cp::{self, Attribute, Cp};
use core::net::{IpAddr, Ipv4Addr};
use ravelin_wire::{AddrRange, Selector};
use std::sync::Arc;

/// Name servers that are kept; more are of no use.
const MAX_DNS: usize = 8;

/// What the peer gave. It goes from an IKE SA to its successor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) dns: Vec<IpAddr>,
}

impl Assigned {
    pub(crate) const fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// One address of each family that was asked for.
    pub(crate) fn of(reply: &Cp, wanted: &[IpAddr]) -> Self {
        let given = || reply.attributes.iter().filter_map(Attribute::given);
        let of_family = |v4: bool| given().find(|a| a.is_ipv4() == v4 && is_hosts(*a));
        let addresses = wanted.iter().filter_map(|w| of_family(w.is_ipv4())).collect();
        let dns = reply.attributes.iter().filter_map(Attribute::name_server).filter(|a| is_hosts(*a));
        Self { addresses, dns: dns.take(MAX_DNS).collect() }
    }

    /// Adds what another IKE SA of the connection has.
    pub(crate) fn add(&mut self, other: &Self) {
        for (all, more) in [(&mut self.addresses, &other.addresses), (&mut self.dns, &other.dns)] {
            let news: Vec<IpAddr> = more.iter().filter(|a| !all.contains(a)).copied().collect();
            all.extend(news);
        }
    }

    /// The connection with what of its children's selectors belongs to the addresses; itself where none were asked
    /// for.
    pub(crate) fn narrow(&self, connection: &Arc<Connection>) -> Arc<Connection> {
        if self.is_empty() {
            return Arc::clone(connection);
        }
        let own = |s: &Selector| -> Vec<Selector> {
            let inside = self.addresses.iter().filter(|a| s.local.contains(**a));
            inside.filter_map(|a| Some(Selector { local: AddrRange::new(*a, *a).ok()?, ..*s })).collect()
        };
        let children = connection.children.iter();
        let children =
            children.map(|c| Child { selectors: c.selectors.iter().flat_map(own).collect(), ..c.clone() });
        Arc::new(Connection { children: children.collect(), ..Connection::clone(connection) })
    }
}

/// CFG_REQUEST: an address of each family that is wanted, rather the one that we `had`.
pub(crate) fn request(connection: &Connection, had: Option<&Assigned>) -> Option<Payload> {
    let wanted = &connection.exchanges.addresses;
    let had = |v4: bool| had.and_then(|h| h.addresses.iter().find(|a| a.is_ipv4() == v4)).copied();
    let attributes: Vec<Attribute> = wanted
        .iter()
        .flat_map(|w| {
            let v4 = w.is_ipv4();
            [Attribute::wanted(had(v4).unwrap_or(*w)), Attribute::any_name_server(v4)]
        })
        .collect();
    (!attributes.is_empty()).then_some(Payload::Cp(Cp { kind: cp::CFG_REQUEST, attributes }))
}

/// What the answer gives, if something was asked for: from here on the children are ours by it.
pub(crate) fn take(core: &mut Core, view: View<'_>) -> Result<(), Error> {
    let wanted = &core.connection.exchanges.addresses;
    if wanted.is_empty() {
        return Ok(());
    }
    let reply = view.cp()?.filter(|cp| cp.kind == cp::CFG_REPLY);
    let assigned = reply.map(|reply| Assigned::of(reply, wanted)).unwrap_or_default();
    if assigned.is_empty() {
        view.refuse_errors()?;
        return Err(Error::Peer(Misbehaved::BadAnswer("it gives no address, which was asked for")));
    }
    core.connection = assigned.narrow(&core.connection);
    core.assigned = assigned;
    Ok(())
}

fn is_hosts(a: IpAddr) -> bool {
    let link_local = matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    !(a.is_unspecified() || a.is_multicast() || a.is_loopback() || link_local || a == Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_lawful_address_of_each_family_that_was_asked_for() {
        let given = ["127.0.0.1", "10.3.0.7", "10.3.0.8", "2001:db8::7"].map(|a| Attribute::address(ip(a)));
        let dns = ["0.0.0.0", "10.1.0.53"].map(|a| Attribute::dns(ip(a)));
        let reply = Cp { kind: cp::CFG_REPLY, attributes: given.into_iter().chain(dns).collect() };
        let both = Assigned::of(&reply, &[ip("::"), ip("0.0.0.0")]);
        assert_eq!(both.addresses, [ip("2001:db8::7"), ip("10.3.0.7")]);
        assert_eq!(both.dns, [ip("10.1.0.53")]);
        assert_eq!(Assigned::of(&reply, &[ip("0.0.0.0")]).addresses, [ip("10.3.0.7")]);
        assert!(Assigned::of(&Cp { kind: cp::CFG_REPLY, attributes: vec![] }, &[ip("::")]).is_empty());
    }

    #[test]
    fn what_we_had_is_asked_for_again() {
        let mut c = crate::tests::any_connection();
        assert_eq!(request(&c, None), None);
        c.exchanges.addresses = vec![ip("0.0.0.0"), ip("::")];
        let had = Assigned { addresses: vec![ip("10.3.0.7")], dns: vec![] };
        let Some(Payload::Cp(asked)) = request(&c, Some(&had)) else { panic!() };
        assert_eq!(asked.kind, cp::CFG_REQUEST);
        let found: Vec<_> = asked.attributes.iter().map(|a| (a.kind, a.value.len())).collect();
        assert_eq!(found, [(1, 4), (3, 0), (8, 0), (10, 0)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_reply_gives_hosts_addresses_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            crate::fuzzing::assigned(&bytes);
        }
    }
}
