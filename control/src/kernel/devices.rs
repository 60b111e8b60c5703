//! The devices of route-based tunnels on the kernel's side: up, with their MTU, addresses and routes.
//!
//! The routes of the configuration stand in the main table, each with a blackhole behind it that has a worse metric: while
//! the device is missing, what is meant for the tunnel goes nowhere. Routing daemons' routes have better metrics.
//!
//! Decides: what of it is missing or too much. Reads: links, addresses, routes of our protocol. Writes: the difference,
//! additions first. Never: touches a route that is not of our protocol, or the addresses of a device for which none are
//! configured.

use super::failclosed::{request, set_sysctl};
use super::mirror::KernelError;
use super::{Model, RULE_MARK};
use futures::TryStreamExt;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use ravelin_ring::msg::VrfId;
use ravelin_wire::Prefix;
use rtnetlink::{Handle, LinkUnspec, new_connection};
use std::collections::BTreeSet;
use std::net::IpAddr;

const TABLE_MAIN: u32 = 254;
/// Behind those of routing daemons (OSPF and BGP have 20 or so), before the blackhole.
const METRIC_DEVICE: u32 = 1000;
const METRIC_BLACKHOLE: u32 = 9999;
/// By this alias of a device `ravelin release` knows it.
pub(super) const ALIAS: &str = "ravelin: tunnel";

/// What one tunnel's device has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelDevice {
    /// Where its routes stand.
    pub vrf: VrfId,
    /// Empty: no device, only routes that lead nowhere.
    pub name: String,
    pub mtu: u16,
    pub addresses: Vec<(IpAddr, u8)>,
    pub routes: Vec<Prefix>,
}

/// Into a device, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Device(u32),
    Blackhole,
}

type Routes = BTreeSet<(u32, Prefix, Way)>;

fn table(vrf: VrfId) -> u32 {
    if vrf == VrfId::MAIN { TABLE_MAIN } else { vrf.0.into() }
}

/// Brings devices and routes to what `wanted` says. Devices that are not there yet have blackholes only.
///
/// By a socket of its own: what the mirror's changes, the kernel answers to that socket instead of announcing it there.
pub async fn apply(wanted: &[TunnelDevice], model: &Model) -> Result<(), KernelError> {
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let done = bring(&handle, wanted, model).await;
    connection.abort();
    done
}

async fn bring(handle: &Handle, wanted: &[TunnelDevice], model: &Model) -> Result<(), KernelError> {
    let mut routes = Routes::new();
    for device in wanted {
        let table = table(device.vrf);
        routes.extend(device.routes.iter().map(|p| (table, *p, Way::Blackhole)));
        let Some(link) = model.link_named(&device.name) else { continue };
        if !link.up || link.mtu != u32::from(device.mtu) {
            raise(handle, device, link.index).await?;
        }
        if !device.addresses.is_empty() {
            set_addresses(handle, device, link.index).await?;
        }
        if link.up {
            routes.extend(device.routes.iter().map(|p| (table, *p, Way::Device(link.index))));
        }
    }
    set_routes(handle, &routes).await
}

/// Takes the device away, with the routes into it.
pub async fn delete(handle: &Handle, index: u32) -> Result<(), KernelError> {
    Ok(handle.link().del(index).execute().await?)
}

/// All routes of ours, and all devices. How many.
pub(super) async fn remove_all(handle: &Handle) -> Result<usize, KernelError> {
    let mut removed = 0;
    for route in present(handle).await? {
        change(handle, &route, false).await?;
        removed += 1;
    }
    let mut links = handle.link().get().execute();
    let mut ours = Vec::new();
    while let Some(link) = links.try_next().await? {
        if link.attributes.contains(&LinkAttribute::IfAlias(ALIAS.to_owned())) {
            ours.push(link.header.index);
        }
    }
    for index in ours {
        delete(handle, index).await?;
        removed += 1;
    }
    Ok(removed)
}

async fn raise(handle: &Handle, device: &TunnelDevice, index: u32) -> Result<(), KernelError> {
    // The data plane looks for the source; a strict kernel would refuse what comes by a second tunnel.
    set_sysctl(&format!("net/ipv4/conf/{}/rp_filter", device.name), "2");
    let up = LinkUnspec::new_with_index(index)
        .mtu(device.mtu.into())
        .append_extra_attribute(LinkAttribute::IfAlias(ALIAS.to_owned()))
        .up()
        .build();
    Ok(handle.link().set(up).execute().await?)
}

async fn set_addresses(handle: &Handle, device: &TunnelDevice, index: u32) -> Result<(), KernelError> {
    let mut found = Vec::new();
    let mut addresses = handle.address().get().set_link_index_filter(index).execute();
    while let Some(m) = addresses.try_next().await? {
        #[allow(clippy::wildcard_enum_match_arm)] // two of a dozen attributes
        let local = m.attributes.iter().find_map(|a| match a {
            AddressAttribute::Local(a) => Some(*a),
            _ => None,
        });
        #[allow(clippy::wildcard_enum_match_arm)]
        let any = m.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(a) => Some(*a),
            _ => None,
        });
        let Some(addr) = local.or(any) else { continue };
        // The kernel's own.
        if matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local()) {
            continue;
        }
        found.push((addr, m.header.prefix_len));
        if !device.addresses.contains(&(addr, m.header.prefix_len)) {
            handle.address().del(m).execute().await?;
        }
    }
    for (addr, len) in device.addresses.iter().filter(|a| !found.contains(a)) {
        handle.address().add(index, *addr, *len).execute().await?;
    }
    Ok(())
}

async fn set_routes(handle: &Handle, wanted: &Routes) -> Result<(), KernelError> {
    let present = present(handle).await?;
    for route in wanted.difference(&present) {
        change(handle, route, true).await?;
    }
    for route in present.difference(wanted) {
        change(handle, route, false).await?;
    }
    Ok(())
}

async fn present(handle: &Handle) -> Result<Routes, KernelError> {
    let mut found = Routes::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut all = RouteMessage::default();
        all.header.address_family = family;
        let mut routes = handle.route().get(all).execute();
        while let Some(route) = routes.try_next().await? {
            found.extend(of(&route));
        }
    }
    Ok(found)
}

/// What is there already, or is gone already, is as it should be.
async fn change(handle: &Handle, route: &(u32, Prefix, Way), add: bool) -> Result<(), KernelError> {
    let (message, flags) = match add {
        true => (RouteNetlinkMessage::NewRoute(message(route)), NLM_F_CREATE | NLM_F_EXCL),
        false => (RouteNetlinkMessage::DelRoute(message(route)), 0),
    };
    let fine = if add { -libc::EEXIST } else { -libc::ESRCH };
    match request(handle, message, flags).await {
        Err(KernelError::Netlink(rtnetlink::Error::NetlinkError(e))) if e.raw_code() == fine => Ok(()),
        other => other,
    }
}

fn message((table, prefix, way): &(u32, Prefix, Way)) -> RouteMessage {
    let mut m = RouteMessage::default();
    m.header.address_family =
        if prefix.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    m.header.destination_prefix_length = prefix.len();
    m.header.protocol = RouteProtocol::Other(RULE_MARK);
    m.header.scope = RouteScope::Universe;
    m.attributes.push(RouteAttribute::Table(*table));
    if prefix.len() > 0 {
        m.attributes.push(RouteAttribute::Destination(RouteAddress::from(prefix.addr())));
    }
    match way {
        Way::Device(index) => {
            m.header.kind = RouteType::Unicast;
            m.header.scope = RouteScope::Link;
            m.attributes.push(RouteAttribute::Oif(*index));
            m.attributes.push(RouteAttribute::Priority(METRIC_DEVICE));
        }
        Way::Blackhole => {
            m.header.kind = RouteType::BlackHole;
            m.attributes.push(RouteAttribute::Priority(METRIC_BLACKHOLE));
        }
    }
    m
}

/// One of ours.
#[allow(clippy::wildcard_enum_match_arm)] // three of thirty attributes, two of a dozen kinds
fn of(m: &RouteMessage) -> Option<(u32, Prefix, Way)> {
    let (mut table, mut device, mut destination) = (u32::from(m.header.table), None, None);
    for attribute in &m.attributes {
        match attribute {
            RouteAttribute::Table(t) => table = *t,
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Destination(RouteAddress::Inet(a)) => destination = Some(IpAddr::from(*a)),
            RouteAttribute::Destination(RouteAddress::Inet6(a)) => destination = Some(IpAddr::from(*a)),
            _ => {}
        }
    }
    if table == super::TABLE || m.header.protocol != RouteProtocol::Other(RULE_MARK) {
        return None;
    }
    let any: IpAddr = match m.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        _ => [0u16; 8].into(),
    };
    let prefix = Prefix::of(destination.unwrap_or(any), m.header.destination_prefix_length).ok()?;
    match m.header.kind {
        RouteType::Unicast => Some((table, prefix, Way::Device(device?))),
        RouteType::BlackHole => Some((table, prefix, Way::Blackhole)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_was_written_and_no_other_is_ours() {
        for prefix in ["10.2.0.0/16", "0.0.0.0/0", "fd00:2::/64", "::/0"] {
            for way in [Way::Device(7), Way::Blackhole] {
                let route = (TABLE_MAIN, prefix.parse().unwrap(), way);
                assert_eq!(of(&message(&route)), Some(route));
                let mut other = message(&route);
                other.header.protocol = RouteProtocol::Static;
                assert_eq!(of(&other), None);
            }
        }
    }
}
