//! Longest-prefix match for IPv6: the routes painted onto the line of all addresses, the shorter ones first, leave
//! stretches of one next hop each; a binary search finds the stretch. Only the first packet of a flow asks.
//!
//! Decides: which next hop an address has. Built once per change of the routes, then read only.

use super::fib::NO_ROUTE;

/// Where each stretch begins, and its place in the hops; the first begins at 0.
#[derive(Debug)]
pub(super) struct Fib6 {
    starts: Box<[u128]>,
    places: Box<[u32]>,
}

impl Fib6 {
    /// First address, length of the prefix and place of the next hop; each prefix once.
    pub(super) fn build(mut routes: Vec<(u128, u8, u32)>) -> Self {
        // A prefix comes right after the one that holds it and before those that it holds.
        routes.sort_unstable_by_key(|&(start, len, _)| (start, len));
        let mut line = Line { stretches: vec![(0, NO_ROUTE)] };
        let mut open: Vec<(u128, u32)> = vec![]; // last addresses and places of the prefixes that hold the next one
        for (start, len, place) in routes {
            close(&mut open, &mut line, |last| last < start);
            line.goes_on(start, place);
            open.push((last_of(start, len), place));
        }
        close(&mut open, &mut line, |_| true);
        let (starts, places): (Vec<_>, Vec<_>) = line.stretches.into_iter().unzip();
        Self { starts: starts.into(), places: places.into() }
    }

    pub(super) fn lookup(&self, addr: u128) -> u32 {
        let behind = self.starts.partition_point(|start| *start <= addr);
        self.places.get(behind.wrapping_sub(1)).copied().unwrap_or(NO_ROUTE)
    }
}

/// Prefixes that end before the next one begins; behind each, the one around it goes on.
fn close(open: &mut Vec<(u128, u32)>, line: &mut Line, ended: impl Fn(u128) -> bool) {
    while let Some((last, _)) = open.pop_if(|(last, _)| ended(*last)) {
        let around = open.last().map_or(NO_ROUTE, |(_, place)| *place);
        if let Some(next) = last.checked_add(1) {
            line.goes_on(next, around);
        }
    }
}

struct Line {
    stretches: Vec<(u128, u32)>,
}

impl Line {
    /// From `start` on, which does not lie before the last stretch.
    fn goes_on(&mut self, start: u128, place: u32) {
        match self.stretches.last_mut() {
            Some(last) if last.0 == start => last.1 = place,
            Some(last) if last.1 == place => {}
            _ => self.stretches.push((start, place)),
        }
    }
}

fn last_of(start: u128, len: u8) -> u128 {
    start | u128::MAX.checked_shr(len.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ravelin_wire::Prefix;
    use std::collections::BTreeMap;
    use std::net::Ipv6Addr;

    const NET: u128 = 0x2001_0db8_0000_0000_0000_0000_0000_0000;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn agrees_with_a_linear_search(
            routes in proptest::collection::vec((0u8..4, any::<u128>(), 0u8..=128, 1u32..50), 0..60),
            probes in proptest::collection::vec(any::<u128>(), 20)) {
            let mut table = BTreeMap::new();
            for (near, addr, len, place) in routes {
                // Most of them close together, so that prefixes nest and meet.
                let addr = match near { 0 => addr, 1 => NET | addr & 0x3ff, 2 => NET | addr & 0x3ff << 64, _ => u128::MAX - (addr & 7) };
                table.insert(Prefix::of(Ipv6Addr::from_bits(addr).into(), len).unwrap(), place);
            }
            let list: Vec<_> = table.iter().map(|(p, place)| {
                let std::net::IpAddr::V6(a) = p.addr() else { unreachable!() };
                (a.to_bits(), p.len(), *place)
            }).collect();
            let corners: Vec<u128> = list.iter().flat_map(|(start, len, _)| {
                let last = last_of(*start, *len);
                [*start, last, start.wrapping_sub(1), last.wrapping_add(1)]
            }).collect();
            let fib = Fib6::build(list);
            for addr in corners.into_iter().chain(probes) {
                let expected = table.iter().filter(|(p, _)| p.contains(Ipv6Addr::from_bits(addr).into()))
                    .max_by_key(|(p, _)| p.len()).map_or(NO_ROUTE, |(_, place)| *place);
                prop_assert_eq!(fib.lookup(addr), expected, "{}", Ipv6Addr::from_bits(addr));
            }
        }
    }

    #[test]
    fn without_routes_nothing_has_a_route() {
        assert_eq!(Fib6::build(vec![]).lookup(0), NO_ROUTE);
        assert_eq!(Fib6::build(vec![(0, 0, 7)]).lookup(u128::MAX), 7);
    }
}
