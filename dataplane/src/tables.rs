//! The tables that the control process compiles: gathered here command by command, published as one snapshot.
//!
//! Decides: whether what was gathered can be published. Reads: table commands. Writes: a new [`Tables`] per commit;
//! what did not change since the last one is shared with it. Never: touches packets. `TableStore` lives on the main
//! thread; a `Tables` is immutable and shared by all workers.

mod addresses;
pub(crate) mod admission;
mod filters;
mod nat;
mod steer;
pub(crate) mod hosts;

use crate::gre;
use crate::interface::{self, Interfaces};
use crate::nat::{NatSteering, Rules};
use crate::neighbour::Neighbours;
use crate::route::{self, Fib, Hop};
use crate::spd::Spd;
use crate::vrf::{self, Vrfs};
use addresses::{is_connected, push, sorted, v4, v6};
use ravelin_ring::msg::{Generation, Neighbour, NextHop, Policy, Port, PortId, Route, TableCommand, VrfId};
use ravelin_ring::setup::ReversePath;
use ravelin_wire::{AddrRange, MacAddr, Prefix, udp};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One generation of policies, routes, neighbours, ports and addresses.
#[derive(Debug)]
pub struct Tables {
    pub generation: Generation,
    pub(crate) spd: Arc<Spd>,
    pub(crate) fib: Arc<Fib>,
    pub(crate) neighbours: Arc<Neighbours>,
    pub(crate) nat: Rules,
    pub(crate) filters: filters::Filters,
    translated: NatSteering,
    pub(crate) interfaces: Interfaces,
    pub(crate) gre: gre::Tunnels,
    pub(crate) vrfs: Vrfs,
    ports: Vec<Link>,
    /// Sorted, in host order.
    gateways: Vec<u32>,
    gateways_v6: Vec<u128>,
    /// Every IPv4 address of this host that is not loopback.
    locals: Vec<u32>,
    /// Every IPv6 address of this host that is good beyond its link.
    locals_v6: Vec<u128>,
    udp_encap_port: Option<u16>,
    /// What the XDP program steers here beside IPsec: for [`Self::steer`].
    protected: Arc<[AddrRange]>,
    /// See [`TableStore::routed_ranges`].
    routed: Arc<(Vec<Prefix>, Vec<Prefix>)>,
    admissions: Arc<admission::Admissions>,
}

/// A port as packets see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u16,
    pub(crate) up: bool,
    pub(crate) reverse_path: ReversePath,
    /// An address of ours in a network that this port is connected to.
    pub(crate) address: Option<u32>,
    pub(crate) address_v6: Option<u128>,
}

impl Tables {
    /// Before the first commit: no policy, no route. Everything is dropped as `no_route`.
    pub fn empty() -> Self {
        Self {
            generation: Generation(0),
            spd: Arc::default(),
            fib: Arc::new(Fib::build(std::iter::empty())),
            neighbours: Arc::new(Neighbours::build(std::iter::empty())),
            nat: Rules::default(),
            filters: filters::Filters::default(),
            translated: NatSteering::default(),
            interfaces: Interfaces::default(),
            gre: gre::Tunnels::default(),
            vrfs: Vrfs::default(),
            ports: vec![],
            gateways: vec![],
            gateways_v6: vec![],
            locals: vec![],
            locals_v6: vec![],
            udp_encap_port: None,
            protected: Arc::default(),
            routed: Arc::default(),
            admissions: Arc::default(),
        }
    }

    #[inline]
    pub(crate) fn is_gateway(&self, addr: u32) -> bool {
        self.gateways.binary_search(&addr).is_ok()
    }

    pub(crate) fn is_gateway_v6(&self, addr: u128) -> bool {
        self.gateways_v6.binary_search(&addr).is_ok()
    }

    #[inline]
    pub(crate) fn is_natt_port(&self, port: u16) -> bool {
        port == udp::NATT_PORT || Some(port) == self.udp_encap_port
    }

    #[inline]
    pub(crate) fn port(&self, port: PortId) -> Option<&Link> {
        self.ports.get(usize::from(port.0))
    }
}

/// Why a command or the whole gathering cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    #[error("port {0} is not configured")]
    UnknownPort(u16),
    #[error("more than {0} entries")]
    TooMany(usize),
    #[error("interface {0} stands twice, or is one too many")]
    Interface(u16),
    #[error("VRF {0} is the main one, one too many, or has too much")]
    Vrf(u16),
}

/// Bounds of what one gathering may hold, against a control process gone wild: a full Internet table fits.
const MAX_POLICIES: usize = 1 << 20;
const MAX_ROUTES: usize = 1 << 21;
const MAX_NEIGHBOURS: usize = 1 << 17;
const MAX_ADDRESSES: usize = 1 << 16;

#[derive(Debug)]
pub struct TableStore {
    policies: Vec<Policy>,
    /// What several next hops of one prefix are together says [`Fib::build`].
    routes: BTreeMap<Prefix, Vec<NextHop>>,
    neighbours: BTreeMap<(PortId, IpAddr), [u8; 6]>,
    ports: Vec<Port>,
    reverse_paths: Vec<ReversePath>,
    gateways: Vec<IpAddr>,
    protected: Vec<AddrRange>,
    nat: nat::Gathered,
    filters: filters::Gathered,
    devices: interface::Store,
    gre: gre::Numbers,
    vrfs: vrf::Store,
    admissions: admission::Gathered,
    udp_encap_port: Option<u16>,
    changed: Changed,
    last: Arc<Tables>,
    kept: Kept,
}

/// What `last` was made of, as far as a gathering replaces it whole.
#[derive(Debug, Default)]
struct Kept {
    policies: Vec<Policy>,
    gateways: Vec<IpAddr>,
    protected: Vec<AddrRange>,
}

/// What has to be compiled anew.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    policies: bool,
    routes: bool,
    neighbours: bool,
}

impl TableStore {
    /// `ports`: how many are configured. A port is down until `SetPort` says otherwise, and its reverse path is checked
    /// strictly.
    pub fn new(ports: usize, udp_encap_port: Option<u16>) -> Self {
        Self::with_ports(vec![ReversePath::Strict; ports], udp_encap_port)
    }

    /// One rule for each configured port.
    pub fn with_ports(reverse_paths: Vec<ReversePath>, udp_encap_port: Option<u16>) -> Self {
        let port = |n| Port { port: PortId(n), mac: [0; 6], mtu: 1500, up: false };
        Self {
            policies: vec![],
            routes: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            ports: (0..u16::try_from(reverse_paths.len()).unwrap_or(u16::MAX)).map(port).collect(),
            reverse_paths,
            gateways: vec![],
            protected: vec![],
            nat: nat::Gathered::default(),
            filters: filters::Gathered::default(),
            devices: interface::Store::default(),
            gre: gre::Numbers::default(),
            vrfs: vrf::Store::default(),
            admissions: admission::Gathered::default(),
            udp_encap_port,
            changed: Changed::default(),
            last: Arc::new(Tables::empty()),
            kept: Kept::default(),
        }
    }

    /// Takes back what a refused gathering did to policies, gateway addresses and protected ranges: the next commit must
    /// not publish half of them. Changes of routes, neighbours and ports stand each for itself, and stay.
    pub fn restore(&mut self) {
        self.policies.clone_from(&self.kept.policies);
        self.gateways.clone_from(&self.kept.gateways);
        self.protected.clone_from(&self.kept.protected);
        self.nat.restore();
        self.filters.restore();
        self.devices.restore();
        self.vrfs.restore();
        self.admissions.restore();
        self.changed.policies = false;
    }

    /// A new control process tells all neighbours again in its first generation; until then the ones of the process
    /// before stay in force, but none of them outlives it.
    pub fn begin_session(&mut self) {
        self.restore();
        self.neighbours.clear();
        self.changed.neighbours = true;
    }

    fn keep(&mut self, policies: bool) {
        if policies {
            self.kept.policies.clone_from(&self.policies);
        }
        if self.kept.gateways != self.gateways {
            self.kept.gateways.clone_from(&self.gateways);
        }
        if self.kept.protected != self.protected {
            self.kept.protected.clone_from(&self.protected);
        }
        self.nat.keep();
    }

    /// Gathers one change. `Some(generation)` when the command was `Commit`: call [`Self::compile`] then.
    pub fn apply(&mut self, command: &TableCommand) -> Result<Option<Generation>, TableError> {
        match *command {
            TableCommand::ClearPolicies => {
                self.changed.policies = true;
                self.policies.clear();
                self.filters.clear();
                self.vrfs.clear_policies();
            }
            TableCommand::AddPolicy(policy) => {
                self.changed.policies = true;
                push(&mut self.policies, policy, MAX_POLICIES)?;
            }
            TableCommand::ClearRoutes => {
                self.changed.routes = true;
                self.routes.clear();
                self.devices.forget_routes();
                self.vrfs.clear_routes();
            }
            TableCommand::AddRoute(route) => self.add_route(route)?,
            TableCommand::RemoveRoute(route) => self.remove_route(route),
            TableCommand::SetNeighbour(neighbour) => self.set_neighbour(neighbour)?,
            TableCommand::RemoveNeighbour { port, addr } => {
                self.changed.neighbours |= self.neighbours.remove(&(port, addr)).is_some();
            }
            TableCommand::SetPort(port) => *self.port(port.port)? = port,
            TableCommand::AddGatewayAddress(addr) => push(&mut self.gateways, addr, MAX_ADDRESSES)?,
            TableCommand::ClearGatewayAddresses => self.gateways.clear(),
            TableCommand::AddProtectedRange(range) => push(&mut self.protected, range, MAX_POLICIES)?,
            TableCommand::ClearProtectedRanges => {
                self.protected.clear();
                self.vrfs.clear_ranges();
            }
            TableCommand::AddFilter { tunnel, selector } => self.filters.add(tunnel, selector)?,
            TableCommand::ClearNat => {
                self.nat.clear();
                self.vrfs.clear_nat();
            }
            TableCommand::AddNat(rule) => {
                rule.port.map_or(Ok(()), |port| self.port(port).map(|_| ()))?;
                self.nat.add(rule)?;
            }
            TableCommand::SetNat(settings) => self.nat.set(settings),
            TableCommand::AddMss { tunnel, mss } => self.nat.bound(tunnel, mss)?,
            TableCommand::ClearAdmissions => self.admissions.clear(),
            TableCommand::AdmitVpn { port, ike_ports } => {
                self.port(port)?;
                self.admissions.close(port, ike_ports);
            }
            TableCommand::AdmitFrom { port, range } => {
                self.port(port)?;
                self.admissions.admit(port, range)?;
            }
            TableCommand::ClearInterfaces => {
                self.devices.clear();
                self.vrfs.clear_members();
            }
            TableCommand::InVrf { vrf, part } if self.vrfs.add(vrf, part) => {}
            TableCommand::InVrf { vrf, .. } => return Err(TableError::Vrf(vrf.0)),
            TableCommand::AddInterface(it) if self.devices.add(it) => {}
            TableCommand::AddInterface(it) => return Err(TableError::Interface(it.id.0)),
            TableCommand::Commit { generation } => return Ok(Some(generation)),
        }
        Ok(None)
    }

    fn port(&mut self, port: PortId) -> Result<&mut Port, TableError> {
        self.ports.get_mut(usize::from(port.0)).ok_or(TableError::UnknownPort(port.0))
    }

    fn add_route(&mut self, route: Route) -> Result<(), TableError> {
        if let NextHop::Port { port, .. } = route.next_hop {
            self.port(port)?;
        }
        if self.routes.len() >= MAX_ROUTES {
            return Err(TableError::TooMany(MAX_ROUTES));
        }
        let hops = self.routes.entry(route.prefix).or_default();
        if !hops.contains(&route.next_hop) && hops.len() < route::MAX_HOPS {
            hops.push(route.next_hop);
            self.changed.routes = true;
            self.route_changed(route.prefix);
        }
        Ok(())
    }

    fn remove_route(&mut self, route: Route) {
        if let Some(hops) = self.routes.get_mut(&route.prefix) {
            hops.retain(|h| *h != route.next_hop);
            if hops.is_empty() {
                self.routes.remove(&route.prefix);
            }
            self.changed.routes = true;
            self.route_changed(route.prefix);
        }
    }

    fn route_changed(&mut self, prefix: Prefix) {
        let first = self.routes.get(&prefix).and_then(|hops| hops.first());
        self.devices.route(prefix, matches!(first, Some(NextHop::Interface(_))));
    }

    fn set_neighbour(&mut self, n: Neighbour) -> Result<(), TableError> {
        self.port(n.port)?;
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            return Err(TableError::TooMany(MAX_NEIGHBOURS));
        }
        self.changed.neighbours |= self.neighbours.insert((n.port, n.addr), n.mac) != Some(n.mac);
        Ok(())
    }

    /// The snapshot for the workers. An error leaves the one before in force.
    pub fn compile(&mut self, generation: Generation) -> Result<Arc<Tables>, TableError> {
        let changed = std::mem::take(&mut self.changed);
        let (locals, locals_v6) = (self.locals(), self.locals_v6());
        let spd =
            if changed.policies { Arc::new(Spd::compile(&self.policies)) } else { self.last.spd.clone() };
        let fib = if changed.routes { Arc::new(self.fib()) } else { self.last.fib.clone() };
        let interfaces = Interfaces::compile(self.devices.list(), spd.tunnels().len());
        let tables = Tables {
            generation,
            vrfs: self.vrfs.compile((&fib, &spd), &interfaces, |vrf| self.nat_of(vrf)),
            nat: self.nat.compile(|port| self.address(port, &locals)),
            filters: self.filters.compile(),
            translated: self.nat_steering(VrfId::MAIN),
            interfaces,
            spd,
            gre: self.gre.compile(self.devices.list(), &fib, &self.ports),
            fib,
            neighbours: if changed.neighbours {
                Arc::new(self.links())
            } else {
                self.last.neighbours.clone()
            },
            ports: self.ports.iter().map(|p| self.link(p, &locals, &locals_v6)).collect(),
            gateways: sorted(self.gateways.iter().filter_map(v4).collect()),
            gateways_v6: sorted(self.gateways.iter().filter_map(v6).collect()),
            locals,
            locals_v6,
            udp_encap_port: self.udp_encap_port,
            protected: steer::shared(&self.last.protected, &self.protected),
            admissions: self.admissions.compile(),
            routed: if changed.routes { Arc::new(self.routed_ranges()) } else { self.last.routed.clone() },
        };
        self.keep(changed.policies);
        self.devices.keep();
        self.vrfs.keep();
        self.last = Arc::new(tables);
        Ok(self.last.clone())
    }
}

impl Tables {
    #[inline]
    pub(crate) fn hop(&self, place: u32) -> Hop {
        self.fib.get(place).unwrap_or_else(|| self.hop_of_vrf(place))
    }
}
