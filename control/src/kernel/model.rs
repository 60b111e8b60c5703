//! What the kernel is known to know, and what of it the data plane was told.
//!
//! Decides: which of several routes to one prefix counts, and which next hop it is for the data plane.
//! Reads: [`Change`]s. Writes: the difference to what was told before, as [`TableCommand`]s.
//! Never: talks to the kernel or the data plane itself.

use super::vrf::{self, Vrfs, single};
use ravelin_ring::msg::{InterfaceId, Neighbour, NextHop, Port, PortId, Route, TableCommand, VrfId};
use ravelin_wire::Prefix;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub up: bool,
}

/// The tables that are mirrored; the kernel asks `local` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Local,
    Main,
    Vrf(VrfId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Of several next hops of one route, those that leave by a port of ours or a tunnel, else the first.
    Device {
        index: u32,
        gateway: Option<IpAddr>,
    },
    Local,
    Blackhole,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    pub prefix: Prefix,
    pub table: Table,
    pub metric: u32,
    pub targets: Vec<Target>,
}

/// One thing that changed in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Link(Link),
    LinkGone(u32),
    Address {
        index: u32,
        addr: IpAddr,
        present: bool,
    },
    /// `replaces`: takes the place of the routes of the same prefix, table and metric.
    RouteAdded {
        route: KernelRoute,
        replaces: bool,
    },
    RouteGone(KernelRoute),
    /// `mac` None: not resolved (any more). `stale`: usable, but the kernel would ask again.
    Neighbour {
        index: u32,
        addr: IpAddr,
        mac: Option<[u8; 6]>,
        stale: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    mac: [u8; 6],
    stale: bool,
}

/// Grows as the kernel's own tables do, which bound themselves.
#[derive(Debug, Default)]
pub struct Model {
    /// Names of the ports, in the order of their ids.
    ports: Vec<String>,
    tun: String,
    /// Devices of route-based tunnels.
    interfaces: BTreeMap<String, InterfaceId>,
    vrfs: Vrfs,
    links: HashMap<u32, Link>,
    addresses: BTreeSet<(u32, IpAddr)>,
    routes: BTreeMap<Prefix, Vec<KernelRoute>>,
    neighbours: BTreeMap<(u32, IpAddr), Known>,
    dirty: BTreeSet<Prefix>,
    dirty_neighbours: BTreeSet<(u32, IpAddr)>,
    /// Devices went or changed names: what was told of neighbours by port may be another device's.
    devices_changed: bool,
    told_routes: BTreeMap<(VrfId, Prefix), NextHop>,
    /// Further next hops of those that have several.
    told_more: BTreeMap<(VrfId, Prefix), Vec<NextHop>>,
    told_neighbours: BTreeMap<(u16, IpAddr), [u8; 6]>,
    told_ports: BTreeMap<u16, Port>,
}

impl Model {
    pub fn new(ports: Vec<String>, tun: String) -> Self {
        Self { ports, tun, ..Self::default() }
    }

    pub fn name_interfaces(&mut self, names: BTreeMap<String, InterfaceId>) {
        if self.interfaces != names {
            self.interfaces = names;
            self.all_dirty();
        }
    }

    /// True: routes of other tables are wanted now than were read.
    pub fn name_vrfs(&mut self, members: BTreeMap<String, VrfId>, tables: BTreeSet<VrfId>) -> bool {
        let more = self.vrfs.follow(members, tables);
        self.all_dirty();
        more
    }

    /// An address of a device that belongs to the VRF: the kernel has all of them in one table, unless it has the VRF, too.
    fn is_own(&self, vrf: VrfId, prefix: &Prefix) -> bool {
        let own = |(index, addr): &(u32, IpAddr)| *addr == prefix.addr() && self.vrf_of(*index) == vrf;
        single(prefix.addr()) == Some(*prefix) && self.addresses.iter().any(own)
    }

    /// Applies one change. True: routes may have gone without a word (a link or address went), a dump is due.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Link(link) => return self.set_link(link),
            Change::LinkGone(index) => {
                self.all_dirty();
                self.devices_changed = true;
                return self.links.remove(&index).is_some();
            }
            Change::Address { index, addr, present: true } => {
                self.dirty.extend(single(addr));
                self.addresses.insert((index, addr));
            }
            Change::Address { index, addr, present: false } => {
                self.dirty.extend(single(addr));
                return self.addresses.remove(&(index, addr));
            }
            Change::RouteAdded { route, .. } if !self.vrfs.has(route.table) => {}
            Change::RouteAdded { route, replaces } => self.add_route(route, replaces),
            Change::RouteGone(route) => {
                self.dirty.insert(route.prefix);
                if let Some(list) = self.routes.get_mut(&route.prefix) {
                    list.retain(|r| *r != route);
                }
            }
            Change::Neighbour { index, addr, mac, stale } => self.set_neighbour(index, addr, mac, stale),
        }
        false
    }

    /// A dump begins: routes and neighbours are forgotten (what the data plane was told is not).
    pub fn begin_dump(&mut self) {
        self.all_dirty();
        self.devices_changed = true;
        self.dirty_neighbours.extend(self.neighbours.keys());
        self.links.clear();
        self.addresses.clear();
        self.routes.clear();
        self.neighbours.clear();
    }

    /// A data plane that was told nothing yet.
    pub fn forget_told(&mut self) {
        self.told_routes.clear();
        self.told_more.clear();
        self.told_neighbours.clear();
        self.told_ports.clear();
        self.all_dirty();
        self.dirty_neighbours.extend(self.neighbours.keys());
    }

    /// What the data plane has to be told, ports first; empty when nothing changed that concerns it.
    pub fn difference(&mut self) -> Vec<TableCommand> {
        let mut out = Vec::new();
        self.tell_ports(&mut out);
        self.tell_routes(&mut out);
        self.tell_neighbours(&mut out);
        out
    }

    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(|(_, addr)| *addr)
    }

    /// Each with its device, and where that belongs.
    pub fn own_addresses(&self) -> impl Iterator<Item = (IpAddr, VrfId, &Link)> {
        let of = |(index, addr): &(u32, IpAddr)| Some((*addr, self.vrf_of(*index), self.links.get(index)?));
        self.addresses.iter().filter_map(of)
    }

    /// Where the device with this index belongs.
    pub fn vrf_of(&self, index: u32) -> VrfId {
        let vrf = self.links.get(&index).and_then(|link| self.vrfs.members.get(&link.name));
        vrf.copied().unwrap_or(VrfId::MAIN)
    }

    /// Where what is for `addr` goes: by the longest prefix that holds it.
    pub fn leads(&self, addr: IpAddr) -> Option<NextHop> {
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        let hops = |len| self.next_hops(VrfId::MAIN, &Prefix::of(addr, len).ok()?).first().copied();
        (0..=longest).rev().find_map(hops)
    }

    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|l| l.name == name)
    }

    /// The kernel's index of a port's device.
    pub fn port_index(&self, port: PortId) -> Option<u32> {
        let name = self.ports.get(usize::from(port.0))?;
        Some(self.link_named(name)?.index)
    }

    /// Neighbours on ports that the kernel would ask again, since it does not see them being used.
    pub fn stale_neighbours(&self) -> Vec<(u32, IpAddr)> {
        self.neighbours
            .iter()
            .filter(|((index, _), known)| known.stale && self.port_of(*index).is_some())
            .map(|(key, _)| *key)
            .collect()
    }

    fn set_link(&mut self, link: Link) -> bool {
        let before = self.links.insert(link.index, link.clone());
        let Some(before) = before else {
            self.all_dirty();
            return false;
        };
        if before.name != link.name {
            self.all_dirty();
            self.devices_changed = true;
        }
        before.up != link.up
    }

    fn add_route(&mut self, route: KernelRoute, replaces: bool) {
        self.dirty.insert(route.prefix);
        let list = self.routes.entry(route.prefix).or_default();
        if replaces {
            list.retain(|r| (r.table, r.metric) != (route.table, route.metric));
        }
        if !list.contains(&route) {
            list.push(route);
        }
    }

    fn set_neighbour(&mut self, index: u32, addr: IpAddr, mac: Option<[u8; 6]>, stale: bool) {
        match mac {
            Some(mac) => self.neighbours.insert((index, addr), Known { mac, stale }),
            None => self.neighbours.remove(&(index, addr)),
        };
        self.dirty_neighbours.insert((index, addr));
    }

    fn all_dirty(&mut self) {
        self.dirty.extend(self.routes.keys());
        self.dirty.extend(self.told_routes.keys().map(|(_, prefix)| *prefix));
        self.dirty.extend(self.addresses.iter().filter_map(|(_, addr)| single(*addr)));
    }

    fn port_of(&self, index: u32) -> Option<PortId> {
        let name = &self.links.get(&index)?.name;
        let at = self.ports.iter().position(|p| p == name)?;
        u16::try_from(at).ok().map(PortId)
    }

    fn hop_of(&self, target: &Target) -> NextHop {
        match *target {
            Target::Local => NextHop::Local,
            Target::Blackhole => NextHop::Blackhole,
            Target::Device { index, gateway } => match self.port_of(index) {
                Some(port) => NextHop::Port { port, gateway },
                None => match self.links.get(&index) {
                    Some(link) if link.name == self.tun => NextHop::Tunnel,
                    Some(link) => {
                        self.interfaces.get(&link.name).map_or(NextHop::Kernel, |id| NextHop::Interface(*id))
                    }
                    None => NextHop::Kernel,
                },
            },
        }
    }

    fn tell_ports(&mut self, out: &mut Vec<TableCommand>) {
        for (at, name) in self.ports.iter().enumerate() {
            let Ok(at) = u16::try_from(at) else { return };
            let id = PortId(at);
            let port = match self.links.values().find(|l| l.name == *name) {
                Some(l) => {
                    Port { port: id, mac: l.mac, mtu: u16::try_from(l.mtu).unwrap_or(u16::MAX), up: l.up }
                }
                // The device is gone: what was told last, but down.
                None => match self.told_ports.get(&at) {
                    Some(told) => Port { up: false, ..*told },
                    None => continue,
                },
            };
            if self.told_ports.insert(at, port) != Some(port) {
                out.push(TableCommand::SetPort(port));
            }
        }
    }

    fn tell_routes(&mut self, out: &mut Vec<TableCommand>) {
        for prefix in std::mem::take(&mut self.dirty) {
            if self.routes.get(&prefix).is_some_and(Vec::is_empty) {
                self.routes.remove(&prefix);
            }
            let told = self.vrfs.tables.iter().chain(&self.vrfs.gone).copied();
            for vrf in core::iter::once(VrfId::MAIN).chain(told).collect::<Vec<_>>() {
                self.tell_route(vrf, prefix, out);
            }
        }
        self.vrfs.gone.clear();
    }

    fn tell_route(&mut self, vrf: VrfId, prefix: Prefix, out: &mut Vec<TableCommand>) {
        let (key, wanted) = ((vrf, prefix), self.next_hops(vrf, &prefix));
        if self.told(&key).eq(wanted.iter().copied()) {
            return;
        }
        let removed = self.told(&key).map(|next_hop| vrf::removal(vrf, Route { prefix, next_hop }));
        out.extend(removed);
        out.extend(wanted.iter().map(|&next_hop| vrf::addition(vrf, Route { prefix, next_hop })));
        self.note_told(key, &wanted);
    }

    fn tell_neighbours(&mut self, out: &mut Vec<TableCommand>) {
        if std::mem::take(&mut self.devices_changed) {
            self.untell_neighbours(out);
        }
        for (index, addr) in std::mem::take(&mut self.dirty_neighbours) {
            let Some(port) = self.port_of(index) else { continue };
            let known = self.neighbours.get(&(index, addr)).map(|k| k.mac);
            let told = self.told_neighbours.get(&(port.0, addr)).copied();
            match known {
                Some(mac) if told != Some(mac) => {
                    self.told_neighbours.insert((port.0, addr), mac);
                    out.push(TableCommand::SetNeighbour(Neighbour { port, addr, mac }));
                }
                None if told.is_some() => {
                    self.told_neighbours.remove(&(port.0, addr));
                    out.push(TableCommand::RemoveNeighbour { port, addr });
                }
                Some(_) | None => {}
            }
        }
    }

    /// Those of devices that are gone: nobody would ask for a link address that seems known.
    fn untell_neighbours(&mut self, out: &mut Vec<TableCommand>) {
        let told: Vec<(u16, IpAddr)> = self.told_neighbours.keys().copied().collect();
        for (port, addr) in told {
            let index = self.port_index(PortId(port));
            match index.filter(|index| self.neighbours.contains_key(&(*index, addr))) {
                // Told again if it differs.
                Some(index) => {
                    self.dirty_neighbours.insert((index, addr));
                }
                None => {
                    self.told_neighbours.remove(&(port, addr));
                    out.push(TableCommand::RemoveNeighbour { port: PortId(port), addr });
                }
            }
        }
    }
}

mod paths;

pub use paths::Uplink;

#[cfg(test)]
mod tests;
