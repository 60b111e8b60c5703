//! The next hops, and longest-prefix match for IPv4 in at most three loads: 16, 8 and 8 bits. IPv6 has its own way to
//! find them.
//!
//! Decides: which next hop an address has. Built once per change of the routes, then read only.

use super::fib6::Fib6;
use ravelin_ring::msg::{InterfaceId, NextHop, PortId};
use ravelin_wire::Prefix;
use std::net::IpAddr;

/// Set: the rest names a chunk; else it is a place in `hops`.
const CHUNK: u32 = 1 << 31;
/// Place 0: no route.
pub(crate) const NO_ROUTE: u32 = 0;

#[derive(Debug)]
pub(crate) struct Fib {
    root: Box<[u32]>,
    chunks: Vec<[u32; 256]>,
    v6: Fib6,
    hops: Vec<Hop>,
    /// Places that only the default routes of the families lead to.
    defaults: Vec<u32>,
}

/// A next hop. The gateway of an IPv4 route may be one of IPv6 (RFC 8950): only its link address matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Hop {
    None,
    Port { port: PortId, gateway: Option<IpAddr> },
    Local,
    Tunnel,
    Interface(InterfaceId),
    Kernel,
    Blackhole,
}

impl From<NextHop> for Hop {
    fn from(hop: NextHop) -> Self {
        match hop {
            NextHop::Port { port, gateway } => Self::Port { port, gateway },
            NextHop::Kernel => Self::Kernel,
            NextHop::Local => Self::Local,
            NextHop::Tunnel => Self::Tunnel,
            NextHop::Interface(id) => Self::Interface(id),
            NextHop::Blackhole => Self::Blackhole,
        }
    }
}

impl Fib {
    /// One route per prefix.
    pub(crate) fn build(routes: impl Iterator<Item = (Prefix, NextHop)>) -> Self {
        let mut fib = Self {
            root: vec![NO_ROUTE; 1 << 16].into_boxed_slice(),
            chunks: vec![],
            v6: Fib6::build(vec![]),
            hops: vec![Hop::None],
            defaults: vec![],
        };
        let mut places = std::collections::HashMap::new();
        let mut list: Vec<(u32, u8, u32)> = vec![];
        let mut six: Vec<(u128, u8, u32)> = vec![];
        for (prefix, hop) in routes {
            let hop = Hop::from(hop);
            let mut add = || {
                fib.hops.push(hop);
                u32::try_from(fib.hops.len() - 1).unwrap_or(NO_ROUTE)
            };
            let place = if prefix.len() == 0 {
                let place = add();
                fib.defaults.push(place);
                place
            } else {
                *places.entry(hop).or_insert_with(add)
            };
            match prefix.addr() {
                IpAddr::V4(addr) => list.push((addr.to_bits(), prefix.len(), place)),
                IpAddr::V6(addr) => six.push((addr.to_bits(), prefix.len(), place)),
            }
        }
        // Short ones first, so that longer ones paint over them.
        list.sort_by_key(|&(_, len, _)| len);
        for (addr, len, place) in list {
            fib.paint(addr, len, place);
        }
        fib.v6 = Fib6::build(six);
        fib
    }

    fn paint(&mut self, addr: u32, len: u8, place: u32) {
        let high = (addr >> 16) as usize;
        if len <= 16 {
            self.root[high..high + (1 << (16 - len))].fill(place);
            return;
        }
        let first = Self::chunk_at(&mut self.chunks, &mut self.root[high]);
        let mid = (addr >> 8 & 0xff) as usize;
        if len <= 24 {
            self.chunks[first][mid..mid + (1 << (24 - len))].fill(place);
            return;
        }
        let mut entry = self.chunks[first][mid];
        let second = Self::chunk_at(&mut self.chunks, &mut entry);
        self.chunks[first][mid] = entry;
        let low = (addr & 0xff) as usize;
        self.chunks[second][low..low + (1 << (32 - len))].fill(place);
    }

    /// The chunk behind `entry`; a new one inherits what stood there.
    fn chunk_at(chunks: &mut Vec<[u32; 256]>, entry: &mut u32) -> usize {
        if *entry & CHUNK == 0 {
            chunks.push([*entry; 256]);
            *entry = CHUNK | u32::try_from(chunks.len() - 1).unwrap_or(0);
        }
        (*entry & !CHUNK) as usize
    }

    #[inline]
    pub(crate) fn lookup(&self, addr: u32) -> u32 {
        let mut entry = self.root.get((addr >> 16) as usize).copied().unwrap_or(NO_ROUTE);
        for shift in [8, 0] {
            if entry & CHUNK == 0 {
                break;
            }
            let chunk = self.chunks.get((entry & !CHUNK) as usize);
            entry = chunk.map_or(NO_ROUTE, |c| c[(addr >> shift & 0xff) as usize]);
        }
        entry
    }

    pub(crate) fn lookup_v6(&self, addr: u128) -> u32 {
        self.v6.lookup(addr)
    }

    pub(crate) fn lookup_ip(&self, addr: IpAddr) -> u32 {
        match addr {
            IpAddr::V4(a) => self.lookup(a.to_bits()),
            IpAddr::V6(a) => self.lookup_v6(a.to_bits()),
        }
    }

    /// No longer prefix led there.
    pub(crate) fn is_default(&self, place: u32) -> bool {
        self.defaults.contains(&place)
    }

    #[inline]
    pub(crate) fn hop(&self, place: u32) -> Hop {
        self.hops.get(place as usize).copied().unwrap_or(Hop::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn port(n: u16) -> NextHop {
        NextHop::Port { port: PortId(n), gateway: None }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn agrees_with_a_linear_search(
            routes in proptest::collection::btree_map((0u32..8, any::<u32>(), 0u8..=32), 0u16..50, 1..60),
            probes in proptest::collection::vec(any::<u32>(), 20)) {
            let mut table = std::collections::BTreeMap::new();
            for ((near, addr, len), hop) in routes {
                // Half of them close together, so that prefixes nest.
                let addr = if near < 4 { 0x0a01_0000 | (addr & 0x3ff) } else { addr };
                table.insert(Prefix::of(Ipv4Addr::from_bits(addr).into(), len).unwrap(), port(hop));
            }
            let fib = Fib::build(table.iter().map(|(p, h)| (*p, *h)));
            let corners = table.keys().flat_map(|p| {
                let IpAddr::V4(a) = p.addr() else { unreachable!() };
                [a.to_bits(), a.to_bits().wrapping_sub(1), a.to_bits() | u32::MAX.checked_shr(p.len().into()).unwrap_or(0)]
            }).collect::<Vec<_>>();
            for addr in corners.into_iter().chain(probes) {
                let expected = table.iter().filter(|(p, _)| p.contains(Ipv4Addr::from_bits(addr).into()))
                    .max_by_key(|(p, _)| p.len()).map_or(Hop::None, |(_, h)| Hop::from(*h));
                prop_assert_eq!(fib.hop(fib.lookup(addr)), expected, "{}", Ipv4Addr::from_bits(addr));
            }
        }
    }
}
