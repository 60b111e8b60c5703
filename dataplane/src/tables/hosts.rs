//! What the gathered routes and neighbours say of this host: its addresses, its ports, who is on them; and what is steered
//! because routes lead it into tunnels.
//!
//! Decides: nothing. Reads: what was gathered. Writes: parts of a [`Tables`].

use super::{Link, TableStore, Tables, is_connected, v4, v6};
use crate::neighbour::Neighbours;
use crate::packet::Packet;
use crate::route::{Fib, Hop};
use ravelin_ring::msg::{Behind, NextHop, Port, PortId};
use ravelin_ring::paths::Flow;
use ravelin_wire::{AddrRange, MacAddr, Prefix};
use std::collections::BTreeMap;
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
        matches!(self.hop(self.way_in_vrf(packet, packet.source())), Hop::Interface(_))
    }
}

impl TableStore {
    /// For the XDP program of each port in another VRF than the main one: what policies and routes there have steered.
    pub fn in_vrfs(&self) -> impl Iterator<Item = (PortId, &[AddrRange], (Vec<Prefix>, Vec<Prefix>))> {
        let ports = self.ports.iter().filter_map(|port| Some((port.port, self.vrfs.of_port(port.port)?)));
        ports.map(|(port, vrf)| (port, self.vrfs.ranges(vrf), self.vrfs.routed(vrf)))
    }

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
        // In another VRF neither networks nor addresses are the main one's.
        let table = self.vrfs.of_port(port.port).map(|vrf| self.vrfs.routes(vrf));
        let own = table.map(|table| (addresses(table, v4), addresses(table, v6)));
        let (locals, locals_v6) = own.as_ref().map_or((locals, locals_v6), |(a, b)| (&a[..], &b[..]));
        let connected: Vec<&Prefix> = table
            .unwrap_or(&self.routes)
            .iter()
            .filter(|(_, hops)| hops.contains(&here))
            .map(|(p, _)| p)
            .collect();
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
        routed(&self.routes, self.devices.routes().iter().copied().collect())
    }
}

/// What routes into tunnels have steered, and what of that stays the kernel's.
pub(crate) type Routed = (Vec<Prefix>, Vec<Prefix>);

/// See [`TableStore::routed_ranges`].
pub(crate) fn routed(
    routes: &BTreeMap<Prefix, Vec<NextHop>>,
    steered: Vec<Prefix>,
) -> (Vec<Prefix>, Vec<Prefix>) {
    let mut exempt: Vec<Prefix> = vec![];
    for prefix in &steered {
        let inside = routes.range(*prefix..).take_while(|(p, _)| prefix.contains(p.addr()));
        exempt.extend(inside.filter(|(_, hops)| hops.iter().any(is_ours)).map(|(p, _)| *p));
        let multicast = if prefix.addr().is_ipv4() { "224.0.0.0/4" } else { "ff00::/8" };
        exempt.extend(multicast.parse::<Prefix>().ok().filter(|m| prefix.contains(m.addr())));
    }
    exempt.sort_unstable();
    exempt.dedup();
    (steered, exempt)
}

/// Single addresses of this host.
fn addresses<A>(routes: &BTreeMap<Prefix, Vec<NextHop>>, of: impl Fn(&IpAddr) -> Option<A>) -> Vec<A> {
    let single = |prefix: &Prefix| prefix.len() == if prefix.addr().is_ipv4() { 32 } else { 128 };
    let local = routes.iter().filter(|(prefix, hops)| single(prefix) && hops.contains(&NextHop::Local));
    local.filter_map(|(prefix, _)| of(&prefix.addr())).collect()
}

/// An address of this host, or a network that it is in.
fn is_ours(hop: &NextHop) -> bool {
    *hop == NextHop::Local || is_connected(hop)
}
