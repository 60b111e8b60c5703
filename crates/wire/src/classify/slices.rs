//! The tables as plain slices.
//!
//! Decides: nothing of its own; the longest match of a prefix. Never: made for speed.

use super::{Features, PortRanges, SteerTables};
use crate::Prefix;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// [`SteerTables`] as plain slices, for `explain` and as the oracle of tests.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tables<'a> {
    pub gateways: &'a [IpAddr],
    pub protected: &'a [Prefix],
    /// Inside of them, but not protected.
    pub exempt: &'a [Prefix],
    pub udp_port: Option<u16>,
    pub inside: &'a [Prefix],
    pub translated: &'a [(Ipv4Addr, PortRanges)],
    pub gre: bool,
    /// The port admits the VPN alone, and what comes from these.
    pub vpn_only: Option<&'a [Prefix]>,
    pub ike_ports: [u16; 2],
}

impl Tables<'_> {
    /// The longest match decides.
    fn covers(&self, addr: IpAddr) -> bool {
        let longest = |list: &[Prefix]| list.iter().filter(|p| p.contains(addr)).map(Prefix::len).max();
        longest(self.protected).is_some_and(|len| longest(self.exempt).is_none_or(|other| len >= other))
    }

    fn admits(&self, addr: IpAddr) -> bool {
        self.vpn_only.is_some_and(|list| list.iter().any(|p| p.contains(addr)))
    }
}

impl SteerTables for Tables<'_> {
    fn is_gateway_v4(&self, addr: Ipv4Addr) -> bool {
        self.gateways.contains(&IpAddr::V4(addr))
    }

    fn is_gateway_v6(&self, addr: Ipv6Addr) -> bool {
        self.gateways.contains(&IpAddr::V6(addr))
    }

    fn is_protected_v4(&self, addr: Ipv4Addr) -> bool {
        self.covers(addr.into())
    }

    fn is_protected_v6(&self, addr: Ipv6Addr) -> bool {
        self.covers(addr.into())
    }

    fn udp_encap_port(&self) -> Option<u16> {
        self.udp_port
    }

    fn features(&self) -> Features {
        let translates = !self.inside.is_empty() || !self.translated.is_empty();
        Features::default()
            .with(Features::TRANSLATES, translates)
            .with(Features::GRE, self.gre)
            .with(Features::VPN_ONLY, self.vpn_only.is_some())
    }

    fn is_admitted_v4(&self, addr: Ipv4Addr) -> bool {
        self.admits(addr.into())
    }

    fn is_admitted_v6(&self, addr: Ipv6Addr) -> bool {
        self.admits(addr.into())
    }

    fn is_ike_port(&self, port: u16) -> bool {
        self.ike_ports.contains(&port)
    }

    fn is_inside(&self, addr: Ipv4Addr) -> bool {
        self.inside.iter().any(|p| p.contains(IpAddr::V4(addr)))
    }

    fn translated_ports(&self, addr: Ipv4Addr) -> Option<PortRanges> {
        self.translated.iter().find(|(a, _)| *a == addr).map(|(_, ports)| *ports)
    }
}
