//! What the gathered routes and neighbours say of this host: its addresses, its ports, who is on them; and what is steered
//! because routes lead it into tunnels.
//!
//! Decides: nothing. Reads: what was gathered. Writes: parts of a [`Tables`].

use super::{Link, TableStore, Tables, is_connected};
use crate::neighbour::Neighbours;
use crate::packet::Packet;
use crate::route::{Fib, Hop};
use ravelin_ring::msg::{Behind, NextHop, Port};
use ravelin_ring::paths::Flow;
use ravelin_wire::{MacAddr, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Tables {
    pub(crate) fn locals(&self) -> &[u32] {
        &self.locals
    }

    pub(crate) fn locals_v6(&self) -> &[u128] {
        &self.locals_v6
    }

    /// IPv6 may go by a tunnel.
    pub(crate) fn carries_v6(&self) -> bool {
        self.spd.protects_v6() || !self.interfaces.is_empty()
    }

    /// The next hop of a flow: of several, the one that it takes among those whose ports are up.
    pub(crate) fn way(&self, place: u32, flow: impl FnOnce() -> Flow) -> u32 {
        if !Fib::is_several(place) {
            return place;
        }
        self.fib.choose(place, flow(), |port| self.port(port).is_some_and(|link| link.up))
    }

    /// Where a tunnel's packets leave: all of them by one way, whatever they carry (R59).
    pub(crate) fn way_between(&self, local: IpAddr, remote: IpAddr) -> Hop {
        self.hop(self.way(self.fib.lookup_ip(remote), || Flow::between(local, remote)))
    }

    /// What answers this packet goes into a tunnel by its route.
    pub(crate) fn leads_into_tunnel(&self, packet: &Packet) -> bool {
        matches!(self.hop(self.fib.lookup_ip(packet.source())), Hop::Interface(_))
    }
}

impl TableStore {
    /// For the XDP program: GRE to a gateway address is ours.
    pub fn terminates_gre(&self) -> bool {
        self.devices.list().iter().any(|it| matches!(it.behind, Behind::Gre(_)))
    }

    pub(super) fn fib(&self) -> Fib {
        Fib::build(self.routes.iter().map(|(prefix, hops)| (*prefix, &hops[..])))
    }

    pub(super) fn links(&self) -> Neighbours {
        let list: Vec<_> =
            self.neighbours.iter().map(|((port, addr), mac)| (*port, *addr, MacAddr(*mac))).collect();
        Neighbours::build(list.into_iter())
    }

    pub(super) fn link(&self, port: &Port, locals: &[u32], locals_v6: &[u128]) -> Link {
        let here = NextHop::Port { port: port.port, gateway: None };
        let connected: Vec<&Prefix> =
            self.routes.iter().filter(|(_, hops)| hops.contains(&here)).map(|(p, _)| p).collect();
        let on_port = |addr: &&u32| connected.iter().any(|p| p.contains(Ipv4Addr::from_bits(**addr).into()));
        let on_port_v6 =
            |addr: &&u128| connected.iter().any(|p| p.contains(Ipv6Addr::from_bits(**addr).into()));
        Link {
            mac: MacAddr(port.mac),
            mtu: port.mtu,
            up: port.up,
            reverse_path: self.reverse_paths.get(usize::from(port.port.0)).copied().unwrap_or_default(),
            address: locals.iter().find(on_port).copied(),
            address_v6: locals_v6.iter().find(on_port_v6).copied(),
        }
    }

    /// What the XDP program steers since routes lead it into tunnels, and what of it stays the kernel's: this host's own
    /// addresses and networks, which are not behind a tunnel, and multicast, which routing daemons speak with each other.
    pub fn routed_ranges(&self) -> (Vec<Prefix>, Vec<Prefix>) {
        let steered: Vec<Prefix> = self.devices.routes().iter().copied().collect();
        let mut exempt: Vec<Prefix> = vec![];
        for prefix in &steered {
            let inside = self.routes.range(*prefix..).take_while(|(p, _)| prefix.contains(p.addr()));
            exempt.extend(inside.filter(|(_, hops)| hops.iter().any(is_ours)).map(|(p, _)| *p));
            let multicast = if prefix.addr().is_ipv4() { "224.0.0.0/4" } else { "ff00::/8" };
            exempt.extend(multicast.parse::<Prefix>().ok().filter(|m| prefix.contains(m.addr())));
        }
        exempt.sort_unstable();
        exempt.dedup();
        (steered, exempt)
    }
}

/// An address of this host, or a network that it is in.
fn is_ours(hop: &NextHop) -> bool {
    *hop == NextHop::Local || is_connected(hop)
}
