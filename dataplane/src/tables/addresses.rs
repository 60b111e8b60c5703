//! The addresses of this host, as its routes tell them.

use super::{TableStore, is_connected, v4, v6};
use ravelin_ring::msg::NextHop;
use ravelin_wire::Prefix;
use std::net::Ipv6Addr;

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
