//! Kernel messages as [`Change`]s; what does not concern the data plane is `None`.

use super::model::{Change, KernelRoute, Link, Table, Target};
use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use ravelin_ring::msg::VrfId;
use ravelin_wire::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

/// `flags` are those of the netlink header.
#[allow(clippy::wildcard_enum_match_arm)] // dozens of kinds of messages that do not concern us
pub(super) fn change(message: &RouteNetlinkMessage, flags: u16) -> Option<Change> {
    match message {
        RouteNetlinkMessage::NewLink(m) => link(m).map(Change::Link),
        RouteNetlinkMessage::DelLink(m) => Some(Change::LinkGone(m.header.index)),
        RouteNetlinkMessage::NewAddress(m) => address(m, true),
        RouteNetlinkMessage::DelAddress(m) => address(m, false),
        RouteNetlinkMessage::NewRoute(m) => {
            let route = route(m)?;
            Some(Change::RouteAdded { route, replaces: flags & NLM_F_REPLACE != 0 })
        }
        RouteNetlinkMessage::DelRoute(m) => route(m).map(Change::RouteGone),
        RouteNetlinkMessage::NewNeighbour(m) => neighbour(m, true),
        RouteNetlinkMessage::DelNeighbour(m) => neighbour(m, false),
        _ => None,
    }
}

/// Bridges report their ports in messages of a family of their own; those are not links.
fn link(m: &LinkMessage) -> Option<Link> {
    if m.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = Link { index: m.header.index, name: String::new(), mac: [0; 6], mtu: 0, up: false };
    // Without a carrier nothing can be sent, administratively up or not.
    link.up = m.header.flags.contains(LinkFlags::Up) && m.header.flags.contains(LinkFlags::LowerUp);
    for attribute in &m.attributes {
        #[allow(clippy::wildcard_enum_match_arm)] // three of a hundred attributes
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = mac(bytes).unwrap_or_default(),
            _ => {}
        }
    }
    Some(link)
}

fn mac(bytes: &[u8]) -> Option<[u8; 6]> {
    bytes.try_into().ok()
}

/// On point-to-point links `Address` is the peer's and `Local` is ours.
fn address(m: &AddressMessage, present: bool) -> Option<Change> {
    let mut found = None;
    for attribute in &m.attributes {
        #[allow(clippy::wildcard_enum_match_arm)] // two of a dozen attributes
        match attribute {
            AddressAttribute::Local(addr) => found = Some(*addr),
            AddressAttribute::Address(addr) => found = found.or(Some(*addr)),
            _ => {}
        }
    }
    Some(Change::Address { index: m.header.index, addr: found?, present })
}

fn route(m: &RouteMessage) -> Option<KernelRoute> {
    // Clones of routes that the kernel makes for single destinations (path MTU, redirects), and routes by type of
    // service or source, are no part of a forwarding table by destination.
    if m.header.flags.contains(RouteFlags::Cloned) || m.header.tos != 0 || m.header.source_prefix_length != 0
    {
        return None;
    }
    let mut parts = Parts { table: u32::from(m.header.table), ..Parts::default() };
    m.attributes.iter().for_each(|a| parts.take(a));
    let table = match parts.table {
        TABLE_MAIN => Table::Main,
        TABLE_LOCAL => Table::Local,
        other => Table::Vrf(VrfId(u16::try_from(other).ok().filter(|n| *n > 0)?)),
    };
    #[allow(clippy::wildcard_enum_match_arm)] // MPLS, bridges, and thirty others
    let any = match m.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let prefix = Prefix::of(parts.destination.unwrap_or(any), m.header.destination_prefix_length).ok()?;
    #[allow(clippy::wildcard_enum_match_arm)] // throw, multicast, nat: nothing to forward by
    let targets = match m.header.kind {
        RouteType::Unicast => parts.devices(),
        // A packet for a directed broadcast address is the host's own affair: never forwarded (RFC 2644).
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast => vec![Target::Local],
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => vec![Target::Blackhole],
        _ => return None,
    };
    (!targets.is_empty()).then_some(KernelRoute { prefix, table, metric: parts.metric, targets })
}

#[derive(Default)]
struct Parts {
    table: u32,
    metric: u32,
    destination: Option<IpAddr>,
    gateway: Option<IpAddr>,
    device: Option<u32>,
    hops: Vec<Target>,
}

impl Parts {
    #[allow(clippy::wildcard_enum_match_arm)] // seven of thirty attributes
    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Table(table) => self.table = *table,
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::Destination(addr) => self.destination = ip(addr),
            RouteAttribute::Gateway(addr) => self.gateway = ip(addr),
            RouteAttribute::Via(via) => self.gateway = ip_of_via(via),
            RouteAttribute::Oif(index) => self.device = Some(*index),
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    let mut inner = Self::default();
                    hop.attributes.iter().for_each(|a| inner.take(a));
                    self.hops.push(Target::Device { index: hop.interface_index, gateway: inner.gateway });
                }
            }
            _ => {}
        }
    }

    fn devices(&self) -> Vec<Target> {
        match self.device {
            Some(index) => vec![Target::Device { index, gateway: self.gateway }],
            None => self.hops.clone(),
        }
    }
}

fn ip(addr: &RouteAddress) -> Option<IpAddr> {
    #[allow(clippy::wildcard_enum_match_arm)] // MPLS labels
    match addr {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

fn ip_of_via(via: &RouteVia) -> Option<IpAddr> {
    #[allow(clippy::wildcard_enum_match_arm)]
    match via {
        RouteVia::Inet(a) => Some(IpAddr::V4(*a)),
        RouteVia::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

fn neighbour(m: &NeighbourMessage, present: bool) -> Option<Change> {
    let (mut addr, mut link) = (None, None);
    for attribute in &m.attributes {
        #[allow(clippy::wildcard_enum_match_arm)] // two of a dozen attributes
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => addr = Some(IpAddr::V4(*a)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => addr = Some(IpAddr::V6(*a)),
            NeighbourAttribute::LinkLayerAddress(bytes) => link = mac(bytes),
            _ => {}
        }
    }
    let addr = addr?;
    if addr.is_multicast() {
        return None;
    }
    #[allow(clippy::wildcard_enum_match_arm)] // incomplete, failed, none: not usable
    let usable = match m.header.state {
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Noarp
        | NeighbourState::Permanent => present,
        _ => false,
    };
    let stale = m.header.state == NeighbourState::Stale;
    Some(Change::Neighbour { index: m.header.ifindex, addr, mac: link.filter(|_| usable), stale })
}
