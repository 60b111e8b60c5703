//! What the XDP program steers for translation.
//!
//! Decides: whole addresses where the address is translation's alone; ports of an address that is the host's too.
//! Reads: rules, the addresses by which the host is reached. Never: takes a port from the host's own sockets but those a rule names.

use ravelin_ring::msg::{NatKind, NatRule, PortId};
use ravelin_wire::{AddrRange, NO_PORTS, PortRange, PortRanges};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NatSteering {
    /// Who is translated: by source, unless it goes to one of these, too.
    pub inside: Vec<AddrRange>,
    /// Addresses that stand for others, whole.
    pub outside: Vec<AddrRange>,
    /// Of the host's own addresses: the ports.
    pub own: BTreeMap<Ipv4Addr, Vec<PortRange>>,
}

/// As the XDP program has them.
pub fn port_ranges(list: &[PortRange]) -> PortRanges {
    let mut all = NO_PORTS;
    for (slot, range) in all.iter_mut().zip(list) {
        *slot = [range.start(), range.end()];
    }
    all
}

impl NatSteering {
    pub(crate) fn of(rules: &[NatRule], shared: &[u32], address: impl Fn(PortId) -> Option<u32>) -> Self {
        let mut all = Self::default();
        for rule in rules {
            match rule.kind {
                NatKind::Exempt => {}
                NatKind::Source => {
                    all.inside.push(rule.from);
                    let address = all.outside_of(rule, rule.target, shared, &address);
                    all.enter(address, rule.target_ports);
                }
                NatKind::Static => {
                    all.inside.push(rule.from);
                    all.outside.push(rule.target);
                }
                NatKind::Destination => {
                    all.inside.push(rule.target);
                    let address = all.outside_of(rule, rule.to, shared, &address);
                    all.enter(address, rule.ports);
                }
            }
        }
        all
    }

    /// The host's own address, of which only ports are steered; any other range is entered whole.
    fn outside_of(
        &mut self,
        rule: &NatRule,
        range: AddrRange,
        shared: &[u32],
        address: &impl Fn(PortId) -> Option<u32>,
    ) -> Option<Ipv4Addr> {
        if rule.own {
            return rule.port.and_then(address).map(Ipv4Addr::from_bits);
        }
        match (range.start(), range.end()) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first == last && shared.contains(&first.to_bits()) => {
                Some(first)
            }
            _ => {
                self.outside.push(range);
                None
            }
        }
    }

    fn enter(&mut self, own: Option<Ipv4Addr>, ports: PortRange) {
        if let Some(addr) = own {
            let list = self.own.entry(addr).or_default();
            if !list.contains(&ports) {
                list.push(ports);
            }
        }
    }
}
