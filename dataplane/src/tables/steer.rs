//! What the XDP program is told, and what it would do with a frame by these tables: for `explain`, by the very function that
//! it runs.
//!
//! Decides: nothing of its own. Never: asked for a packet on its way.

use super::admission::{Admission, Admissions};
use super::hosts::Routed;
use super::{TableStore, Tables};
use crate::nat::steer::{NatSteering, port_ranges};
use ravelin_ring::msg::{Interface, PortId};
use ravelin_wire::classify::{Steer, SteerTables, classify};
use ravelin_wire::{AddrRange, Features, PortRanges, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The list before where nothing changed: most commits are about neighbours.
pub(super) fn shared(last: &Arc<[AddrRange]>, now: &[AddrRange]) -> Arc<[AddrRange]> {
    if **last == *now { last.clone() } else { now.into() }
}

impl TableStore {
    /// For the XDP program: addresses at which ESP is ours.
    pub fn gateway_addresses(&self) -> &[IpAddr] {
        &self.gateways
    }

    /// The devices of route-based tunnels, as gathered, and as they were compiled last.
    pub fn interfaces(&self) -> (&[Interface], &[Interface]) {
        (self.devices.list(), self.devices.kept())
    }

    /// For the XDP program: ports that admit the VPN alone.
    pub fn admissions(&self) -> &Admissions {
        self.admissions.all()
    }

    /// For the XDP program: what is steered beside ESP.
    pub fn protected_ranges(&self) -> &[AddrRange] {
        &self.protected
    }
}

impl Tables {
    pub(crate) fn steer(&self, port: PortId, frame: &[u8]) -> Steer {
        let tables = self;
        let at = match self.vrfs.steered_at(port) {
            Some((protected, routed, translated)) => Program { tables, port, protected, translated, routed },
            None => Program {
                tables,
                port,
                protected: &self.protected,
                translated: &self.translated,
                routed: &self.routed,
            },
        };
        classify(frame, &at)
    }
}

/// What the program of one port knows: policies and routes are those of the port's VRF.
struct Program<'t> {
    tables: &'t Tables,
    port: PortId,
    protected: &'t [AddrRange],
    translated: &'t NatSteering,
    /// Into tunnels, and what of that is the kernel's.
    routed: &'t Routed,
}

impl Program<'_> {
    /// The VPN alone, and what else.
    fn admission(&self) -> Option<&Admission> {
        self.tables.admissions.get(&self.port)
    }

    fn admits(&self, addr: IpAddr) -> bool {
        self.admission().is_some_and(|admission| admission.from.iter().any(|range| range.contains(addr)))
    }

    fn protects(&self, addr: IpAddr) -> bool {
        let (steered, exempt) = self.routed;
        let longest = |list: &[Prefix]| list.iter().filter(|p| p.contains(addr)).map(Prefix::len).max();
        self.protected.iter().chain(&self.translated.outside).any(|range| range.contains(addr))
            || longest(steered).is_some_and(|len| longest(exempt).is_none_or(|other| len >= other))
    }
}

impl SteerTables for Program<'_> {
    fn is_gateway_v4(&self, addr: Ipv4Addr) -> bool {
        self.tables.is_gateway(addr.to_bits())
    }

    fn is_gateway_v6(&self, addr: Ipv6Addr) -> bool {
        self.tables.is_gateway_v6(addr.to_bits())
    }

    fn is_protected_v4(&self, addr: Ipv4Addr) -> bool {
        self.protects(addr.into())
    }

    fn is_protected_v6(&self, addr: Ipv6Addr) -> bool {
        self.protects(addr.into())
    }

    fn udp_encap_port(&self) -> Option<u16> {
        self.tables.udp_encap_port
    }

    fn features(&self) -> Features {
        let translated = self.translated;
        Features::default()
            .with(Features::TRANSLATES, !translated.inside.is_empty() || !translated.own.is_empty())
            .with(Features::GRE, !self.tables.gre.is_empty())
            .with(Features::VPN_ONLY, self.admission().is_some())
    }

    fn is_admitted_v4(&self, addr: Ipv4Addr) -> bool {
        self.admits(addr.into())
    }

    fn is_admitted_v6(&self, addr: Ipv6Addr) -> bool {
        self.admits(addr.into())
    }

    fn is_ike_port(&self, port: u16) -> bool {
        self.admission().is_some_and(|admission| admission.ike_ports.contains(&port))
    }

    fn is_inside(&self, addr: Ipv4Addr) -> bool {
        self.translated.inside.iter().any(|range| range.contains(addr.into()))
    }

    fn translated_ports(&self, addr: Ipv4Addr) -> Option<PortRanges> {
        self.translated.own.get(&addr).map(|list| port_ranges(list))
    }
}
