//! The addresses of this host, as its routes tell them; and what lists are gathered with.

use super::{TableError, TableStore, Tables};
use ravelin_ring::msg::NextHop;
use ravelin_wire::Prefix;
use std::net::{IpAddr, Ipv6Addr};

impl Tables {
    /// The gateway's address, where it has one alone, as most have.
    pub(crate) fn only_gateway(&self) -> Option<u32> {
        if let [only] = self.gateways[..] { Some(only) } else { None }
    }
}

impl TableStore {
    pub(super) fn locals(&self) -> Vec<u32> {
        let local = |(prefix, hops): (&Prefix, &Vec<NextHop>)| {
            let addr = v4(&prefix.addr())?;
            (prefix.len() == 32 && hops.contains(&NextHop::Local) && addr >> 24 != 127).then_some(addr)
        };
        self.routes.iter().filter_map(local).collect()
    }

    /// Neither of a link alone, nor the anycast address of the routers in a network (RFC 4291 §2.6.1).
    pub(super) fn locals_v6(&self) -> Vec<u128> {
        let network = |addr: u128| {
            let begins = Ipv6Addr::from_bits(addr).into();
            let networks = (0..127).filter_map(|len| Prefix::new(begins, len).ok());
            networks.filter_map(|p| self.routes.get(&p)).any(|hops| hops.iter().any(is_connected))
        };
        let local = |(prefix, hops): (&Prefix, &Vec<NextHop>)| {
            let addr = v6(&prefix.addr())?;
            let a = Ipv6Addr::from_bits(addr);
            let wide = !a.is_loopback() && !a.is_unicast_link_local() && !a.is_multicast();
            (prefix.len() == 128 && hops.contains(&NextHop::Local) && wide && !network(addr)).then_some(addr)
        };
        self.routes.iter().filter_map(local).collect()
    }
}

pub(super) fn push<T>(list: &mut Vec<T>, item: T, max: usize) -> Result<(), TableError> {
    if list.len() >= max {
        return Err(TableError::TooMany(max));
    }
    list.push(item);
    Ok(())
}

pub(super) fn v4(addr: &IpAddr) -> Option<u32> {
    match addr {
        IpAddr::V4(a) => Some(a.to_bits()),
        IpAddr::V6(_) => None,
    }
}

pub(super) fn v6(addr: &IpAddr) -> Option<u128> {
    match addr {
        IpAddr::V4(_) => None,
        IpAddr::V6(a) => Some(a.to_bits()),
    }
}

pub(super) fn is_connected(hop: &NextHop) -> bool {
    matches!(hop, NextHop::Port { gateway: None, .. })
}

pub(super) fn sorted<A: Ord>(mut list: Vec<A>) -> Vec<A> {
    list.sort_unstable();
    list.dedup();
    list
}
