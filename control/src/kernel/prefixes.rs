//! Ranges of addresses as prefixes: routes know nothing else.

use ravelin_wire::{AddrRange, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The fewest prefixes that together are exactly `range`, in ascending order: at most 62 for IPv4, 254 for IPv6.
pub fn prefixes_of(range: &AddrRange) -> Vec<Prefix> {
    let (width, mut start, end) = match (range.start(), range.end()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (32, u128::from(a.to_bits()), u128::from(b.to_bits())),
        (IpAddr::V6(a), IpAddr::V6(b)) => (128, a.to_bits(), b.to_bits()),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    loop {
        let host = largest_block(start, end, width);
        found.extend(prefix(start, width - host, width));
        let last = start | mask(host);
        if last >= end {
            return found;
        }
        start = last + 1;
    }
}

/// Host bits of the largest aligned block that begins at `start` and does not pass `end`.
fn largest_block(start: u128, end: u128, width: u32) -> u32 {
    let aligned = start.trailing_zeros().min(width);
    (0..=aligned).rev().find(|host| start | mask(*host) <= end).unwrap_or(0)
}

/// The lowest `bits` bits set.
fn mask(bits: u32) -> u128 {
    1u128.checked_shl(bits).map_or(u128::MAX, |bit| bit - 1)
}

fn prefix(start: u128, len: u32, width: u32) -> Option<Prefix> {
    let addr = if width == 32 {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(start).ok()?))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(start))
    };
    Prefix::new(addr, u8::try_from(len).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(bits: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    }

    #[test]
    fn the_whole_of_each_family_is_one_prefix() {
        assert_eq!(prefixes_of(&AddrRange::ANY_V4), ["0.0.0.0/0".parse().unwrap()]);
        assert_eq!(prefixes_of(&AddrRange::ANY_V6), ["::/0".parse().unwrap()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn the_prefixes_hold_what_the_range_holds(a: u32, b: u32, probe: u32) {
            let range = AddrRange::new(v4(a.min(b)), v4(a.max(b))).unwrap();
            let prefixes = prefixes_of(&range);
            prop_assert!(prefixes.len() <= 62);
            for probe in [probe, a, b, a.wrapping_sub(1), b.wrapping_add(1)] {
                let inside = prefixes.iter().filter(|p| p.contains(v4(probe))).count();
                prop_assert_eq!(inside, usize::from(range.contains(v4(probe))), "each address once");
            }
        }
    }
}
