//! Changing a table while packets look things up in it: first add what is new, then remove what is old, so that there
//! is no moment in which something that stays protected is not.

use crate::abi;
use crate::error::{Error, os_error};
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, MapError};
use ravelin_wire::{PortRanges, Prefix};
use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};

/// A set kept in a map.
trait Set {
    type Item: Copy + Eq + Hash;
    fn items(&self) -> Result<HashSet<Self::Item>, MapError>;
    fn add(&mut self, item: Self::Item) -> Result<(), MapError>;
    fn take(&mut self, item: Self::Item) -> Result<(), MapError>;

    /// The same entry with another value, if `of` has it: it took the place of `item`, or would.
    fn other(_item: Self::Item, _of: &HashSet<Self::Item>) -> Option<Self::Item> {
        None
    }
}

impl<A: aya::Pod + Copy + Eq + Hash> Set for HashMap<MapData, A, u32> {
    type Item = A;

    fn items(&self) -> Result<HashSet<A>, MapError> {
        self.keys().collect()
    }

    fn add(&mut self, item: A) -> Result<(), MapError> {
        self.insert(item, 1, 0)
    }

    fn take(&mut self, item: A) -> Result<(), MapError> {
        self.remove(&item)
    }
}

/// Length, address and value.
impl<A: aya::Pod + Copy + Eq + Hash> Set for LpmTrie<MapData, A, u32> {
    type Item = (u32, A, u32);

    fn items(&self) -> Result<HashSet<Self::Item>, MapError> {
        self.iter().map(|item| item.map(|(k, value)| (k.prefix_len(), k.data(), value))).collect()
    }

    fn add(&mut self, (len, addr, value): Self::Item) -> Result<(), MapError> {
        self.insert(&Key::new(len, addr), value, 0)
    }

    fn take(&mut self, (len, addr, _): Self::Item) -> Result<(), MapError> {
        self.remove(&Key::new(len, addr))
    }

    fn other((len, addr, value): Self::Item, of: &HashSet<Self::Item>) -> Option<Self::Item> {
        let other = (len, addr, if value == abi::PROTECTED { abi::EXEMPT } else { abi::PROTECTED });
        of.contains(&other).then_some(other)
    }
}

/// Who a change is for, and how the table is called and bounded in errors.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    port: &'a str,
    what: &'static str,
    max: u32,
}

/// Gateway addresses of both families.
pub(crate) fn set_gateways(
    port: &str,
    v4: &mut HashMap<MapData, [u8; 4], u32>,
    v6: &mut HashMap<MapData, [u8; 16], u32>,
    addresses: &[IpAddr],
) -> Result<(), Error> {
    let table = Table { port, what: "gateway addresses", max: abi::MAX_GATEWAYS };
    let (mut want4, mut want6) = (HashSet::new(), HashSet::new());
    for a in addresses {
        match a {
            IpAddr::V4(a) => want4.insert(a.octets()),
            IpAddr::V6(a) => want6.insert(a.octets()),
        };
    }
    replace(table, v4, &want4)?;
    replace(table, v6, &want6)
}

/// Protected prefixes of both families, and what inside of them is exempt.
pub(crate) fn set_protected(
    port: &str,
    v4: &mut LpmTrie<MapData, [u8; 4], u32>,
    v6: &mut LpmTrie<MapData, [u8; 16], u32>,
    prefixes: &[Prefix],
    exempt: &[Prefix],
) -> Result<(), Error> {
    let table = Table { port, what: "protected prefixes", max: abi::MAX_PROTECTED };
    let (mut want4, mut want6) = (HashSet::new(), HashSet::new());
    let protected: HashSet<&Prefix> = prefixes.iter().collect();
    let exempt = exempt.iter().filter(|p| !protected.contains(p)).map(|p| (p, abi::EXEMPT));
    for (p, value) in protected.iter().map(|p| (*p, abi::PROTECTED)).chain(exempt) {
        match p.addr() {
            IpAddr::V4(a) => want4.insert((u32::from(p.len()), a.octets(), value)),
            IpAddr::V6(a) => want6.insert((u32::from(p.len()), a.octets(), value)),
        };
    }
    replace(table, v4, &want4)?;
    replace(table, v6, &want6)
}

/// Prefixes of IPv4 whose sources are translated.
pub(crate) fn set_inside(
    port: &str,
    v4: &mut LpmTrie<MapData, [u8; 4], u32>,
    prefixes: &[Prefix],
) -> Result<(), Error> {
    let table = Table { port, what: "prefixes that are translated", max: abi::MAX_INSIDE };
    let octets = |p: &Prefix| match p.addr() {
        IpAddr::V4(a) => Some((u32::from(p.len()), a.octets(), abi::PROTECTED)),
        IpAddr::V6(_) => None,
    };
    replace(table, v4, &prefixes.iter().filter_map(octets).collect())
}

/// Sources that are admitted where the VPN alone is.
pub(crate) fn set_admitted(
    port: &str,
    v4: &mut LpmTrie<MapData, [u8; 4], u32>,
    v6: &mut LpmTrie<MapData, [u8; 16], u32>,
    prefixes: &[Prefix],
) -> Result<(), Error> {
    let table = Table { port, what: "prefixes in `admit-from`", max: abi::MAX_ADMITTED };
    let (mut want4, mut want6) = (HashSet::new(), HashSet::new());
    for p in prefixes {
        match p.addr() {
            IpAddr::V4(a) => want4.insert((u32::from(p.len()), a.octets(), abi::PROTECTED)),
            IpAddr::V6(a) => want6.insert((u32::from(p.len()), a.octets(), abi::PROTECTED)),
        };
    }
    replace(table, v4, &want4)?;
    replace(table, v6, &want6)
}

/// Ports of the host's own addresses: an address that stays is never without.
pub(crate) fn set_ports(
    port: &str,
    map: &mut HashMap<MapData, [u8; 4], PortRanges>,
    want: &BTreeMap<Ipv4Addr, PortRanges>,
) -> Result<(), Error> {
    if want.len() > abi::MAX_TRANSLATED as usize {
        return Err(Error::TableFull { what: "addresses that are translated", max: abi::MAX_TRANSLATED });
    }
    let have: Result<Vec<[u8; 4]>, MapError> = map.keys().collect();
    let have = have.map_err(Error::bpf(port, "read a table of the XDP program"))?;
    for old in have.into_iter().filter(|old| !want.contains_key(&Ipv4Addr::from(*old))) {
        map.remove(&old).map_err(Error::bpf(port, "empty a table of the XDP program"))?;
    }
    for (addr, ports) in want {
        map.insert(addr.octets(), ports, 0).map_err(Error::bpf(port, "fill a table of the XDP program"))?;
    }
    Ok(())
}

/// 1. what is new goes in, 2. what is old goes out. When 1. fails, the additions are taken back.
fn replace<S: Set>(table: Table<'_>, set: &mut S, want: &HashSet<S::Item>) -> Result<(), Error> {
    let have = set.items().map_err(Error::bpf(table.port, "read a table of the XDP program"))?;
    let mut added = Vec::new();
    for item in want.difference(&have) {
        if let Err(e) = set.add(*item) {
            for item in added {
                // What cannot be taken back stays steered: the safe side.
                let _ = match S::other(item, &have) {
                    Some(before) => set.add(before),
                    None => set.take(item),
                };
            }
            return Err(match os_error(&e) {
                Some(libc::ENOSPC | libc::E2BIG) => Error::TableFull { what: table.what, max: table.max },
                _ => Error::bpf(table.port, "fill a table of the XDP program")(e),
            });
        }
        added.push(*item);
    }
    for item in have.difference(want).filter(|item| S::other(**item, want).is_none()) {
        set.take(*item).map_err(Error::bpf(table.port, "empty a table of the XDP program"))?;
    }
    Ok(())
}
