//! The next hops, and longest-prefix match for IPv4 in at most three loads: 16, 8 and 8 bits. IPv6 has its own way to
//! find them.
//!
//! Decides: which next hop an address has. Built once per change of the routes, then read only.

use super::fib6::Fib6;
use arrayvec::ArrayVec;
use ravelin_ring::msg::{InterfaceId, NextHop, PortId};
use ravelin_ring::paths::{Flow, Key};
use ravelin_wire::Prefix;
use std::collections::HashMap;
use std::net::IpAddr;

/// Set: the rest names a chunk; else it is a place in `hops`.
const CHUNK: u32 = 1 << 31;
/// Place 0: no route.
pub(crate) const NO_ROUTE: u32 = 0;
/// Set in a place: the rest names several next hops, of which each flow takes one.
const SEVERAL: u32 = 1 << 30;

#[derive(Debug)]
pub(crate) struct Fib {
    root: Box<[u32]>,
    chunks: Vec<[u32; 256]>,
    v6: Fib6,
    hops: Vec<Hop>,
    several: Vec<Box<[Way]>>,
    /// Of each of `hops`, how long the prefix is that leads there.
    lens: Vec<u8>,
    /// Ports that default routes lead to.
    defaults: Vec<PortId>,
}

/// One of several next hops.
#[derive(Clone, Copy, Debug)]
struct Way {
    place: u32,
    key: Key,
}

/// Of many routes by the same next hops.
#[derive(Default)]
struct Seen {
    hops: HashMap<(Hop, u8), u32>,
    several: HashMap<Box<[u32]>, u32>,
}

/// Next hops of one route.
pub(crate) const MAX_HOPS: usize = 64;

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
    /// The next hops of each prefix. An address of ours goes before all; otherwise those are taken together that are of
    /// ports or tunnels, where the first one is.
    pub(crate) fn build<'r>(routes: impl Iterator<Item = (Prefix, &'r [NextHop])>) -> Self {
        let mut fib = Self {
            root: vec![NO_ROUTE; 1 << 16].into_boxed_slice(),
            chunks: vec![],
            v6: Fib6::build(vec![]),
            hops: vec![Hop::None],
            several: vec![],
            lens: vec![0],
            defaults: vec![],
        };
        let mut seen = Seen::default();
        let mut list: Vec<(u32, u8, u32)> = vec![];
        let mut six: Vec<(u128, u8, u32)> = vec![];
        for (prefix, hops) in routes {
            let place = fib.place(prefix.len(), together(hops), &mut seen);
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

    /// Prefixes of different lengths have places of their own.
    fn place<'r>(&mut self, len: u8, hops: impl Iterator<Item = &'r NextHop>, seen: &mut Seen) -> u32 {
        let (mut places, mut keys) = (ArrayVec::<u32, MAX_HOPS>::new(), ArrayVec::<Key, MAX_HOPS>::new());
        for hop in hops.take(MAX_HOPS) {
            let place = *seen.hops.entry(((*hop).into(), len)).or_insert_with(|| {
                self.hops.push((*hop).into());
                self.lens.push(len);
                u32::try_from(self.hops.len() - 1).unwrap_or(NO_ROUTE)
            });
            if let (0, NextHop::Port { port, .. }) = (len, hop) {
                self.defaults.push(*port);
            }
            places.push(place);
            keys.push(hop.into());
        }
        if let [] | [_] = *places {
            return places.first().copied().unwrap_or(NO_ROUTE);
        }
        if let Some(place) = seen.several.get(&places[..]) {
            return *place;
        }
        let ways = places.iter().zip(keys).map(|(place, key)| Way { place: *place, key });
        self.several.push(ways.collect());
        let place = SEVERAL | u32::try_from(self.several.len() - 1).unwrap_or(0);
        seen.several.insert(places[..].into(), place);
        place
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

    /// How many places there are.
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.hops.len()).unwrap_or(u32::MAX)
    }

    /// How long the prefix is that leads to this one next hop.
    pub(crate) fn prefix_len(&self, place: u32) -> u8 {
        self.lens.get(place as usize).copied().unwrap_or(0)
    }

    /// A default route leads out of the port.
    pub(crate) fn leads_out(&self, port: PortId) -> bool {
        self.defaults.contains(&port)
    }

    /// Each flow takes one of several next hops.
    #[inline]
    pub(crate) const fn is_several(place: u32) -> bool {
        place & SEVERAL != 0
    }

    fn several(&self, place: u32) -> &[Way] {
        let at = (place & !SEVERAL) as usize;
        if Self::is_several(place) { self.several.get(at).map_or(&[], |ways| ways) } else { &[] }
    }

    /// The next hop that this flow takes of them, among those that are up; where none is, the first.
    pub(crate) fn choose(&self, place: u32, flow: Flow, up: impl Fn(PortId) -> bool) -> u32 {
        let ways = self.several(place);
        let usable = |way: &&Way| match self.hop(way.place) {
            Hop::Port { port, .. } => up(port),
            Hop::None | Hop::Local | Hop::Tunnel | Hop::Interface(_) | Hop::Kernel | Hop::Blackhole => true,
        };
        let best = ways.iter().filter(usable).max_by_key(|way| flow.rank(way.key));
        best.or_else(|| ways.first()).map_or(place, |way| way.place)
    }

    /// All next hops there.
    pub(crate) fn hops(&self, place: u32) -> impl Iterator<Item = Hop> {
        let one = (!Self::is_several(place)).then(|| self.hop(place));
        one.into_iter().chain(self.several(place).iter().map(|way| self.hop(way.place)))
    }

    /// Of several the first.
    #[inline]
    pub(crate) fn hop(&self, place: u32) -> Hop {
        self.get(place).unwrap_or(Hop::None)
    }

    #[inline]
    pub(crate) fn get(&self, place: u32) -> Option<Hop> {
        let place =
            if Self::is_several(place) { self.several(place).first().map_or(0, |w| w.place) } else { place };
        self.hops.get(place as usize).copied()
    }
}

fn together(hops: &[NextHop]) -> impl Iterator<Item = &NextHop> {
    let ours = |hop: &&NextHop| matches!(hop, NextHop::Port { .. } | NextHop::Interface(_));
    let local = hops.iter().find(|hop| **hop == NextHop::Local);
    let first = local.or_else(|| hops.first());
    let others = if first.as_ref().is_some_and(ours) { hops.get(1..).unwrap_or_default() } else { &[] };
    first.into_iter().chain(others.iter().filter(ours))
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
            let fib = Fib::build(table.iter().map(|(p, h)| (*p, std::slice::from_ref(h))));
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
