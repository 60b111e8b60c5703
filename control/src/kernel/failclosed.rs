//! Routes that keep the kernel from forwarding protected traffic in clear, whatever becomes of our processes.
//!
//! Table 4500 leads remote prefixes into the TUN device; a blackhole with a worse metric stands behind each, for the
//! time when the device is missing or down. A rule sends everything there but IKE's own packets (by mark). Where a local
//! prefix lies inside a wider remote one (0.0.0.0/0), a `throw` route hands it back to the main table. What comes *from* a
//! remote prefix is the matter of [`sources`].
//!
//! Decides: which routes stand in the table. Reads: the table as it is. Writes: the difference, additions first.
//! Never: leaves a prefix without any route between two states; touches other tables.

use super::mirror::KernelError;
use super::{IKE_MARK, RULE_PREFERENCE, TABLE, sources};
use futures::StreamExt;
use futures::TryStreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use ravelin_wire::Prefix;
use rtnetlink::{Handle, IpVersion, LinkUnspec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tracing::{info, warn};

const METRIC_TUN: u32 = 100;
/// Worse than the device's, better than none.
const METRIC_BLACKHOLE: u32 = 9999;

/// What one remote prefix needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtectedRoute {
    /// Into the TUN device; the host's own packets get this source address.
    Tunnel { source: Option<IpAddr> },
    /// Back to the main table: ours, though a wider remote prefix covers it.
    Throw,
}

pub type ProtectedRoutes = BTreeMap<Prefix, ProtectedRoute>;

/// One route of the table, as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Device { index: u32, source: Option<IpAddr> },
    Blackhole,
    Throw,
}

type Entries = BTreeSet<(Prefix, Entry)>;

#[derive(Debug)]
pub struct FailClosed {
    handle: Handle,
    ports: Vec<String>,
}

impl FailClosed {
    /// `ports`: names of the devices by which nothing may come in clear.
    pub fn new(handle: Handle, ports: Vec<String>) -> Self {
        Self { handle, ports }
    }

    /// Brings the table to what `wanted` says; additions come before removals. Without `tun` only the blackholes
    /// stand: protected traffic waits for the data plane.
    pub async fn apply(&self, wanted: &ProtectedRoutes, tun: Option<u32>) -> Result<(), KernelError> {
        self.ensure_rules(wanted).await?;
        sources::apply(&self.handle, &self.ports, wanted).await?;
        if let Some(index) = tun.filter(|_| wanted.keys().any(|p| p.addr().is_ipv6())) {
            carry_ipv6(index);
        }
        let wanted = entries(wanted, tun);
        let present = self.present().await?;
        for entry in wanted.difference(&present) {
            self.add(entry).await?;
        }
        // What another front took the place of is gone already, and a removal would hit the new one.
        let fronts: BTreeSet<Prefix> = wanted.iter().filter(|e| is_front(&e.1)).map(|e| e.0).collect();
        for entry in present.difference(&wanted) {
            if !(is_front(&entry.1) && fronts.contains(&entry.0)) {
                self.remove(entry).await?;
            }
        }
        Ok(())
    }

    /// The TUN device goes up, and accepts what the return path check of strict routers would refuse.
    pub async fn raise_tun(&self, name: &str, index: u32, ipv6: bool) -> Result<(), KernelError> {
        set_sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "2");
        if !ipv6 {
            // Router solicitations and MLD of its own would only be dropped by the policies.
            set_sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1");
        }
        let up = LinkUnspec::new_with_index(index).up().build();
        Ok(self.handle.link().set(up).execute().await?)
    }

    /// Removes the rules first (nothing looks into the table any more), then the routes.
    pub(super) async fn remove_all(&self) -> Result<usize, KernelError> {
        let mut removed = sources::remove_all(&self.handle).await?;
        for version in [IpVersion::V4, IpVersion::V6] {
            for rule in self.our_rules(version).await? {
                self.handle.rule().del(rule).execute().await?;
                removed += 1;
            }
        }
        for entry in self.present().await? {
            self.remove(&entry).await?;
            removed += 1;
        }
        Ok(removed)
    }

    async fn ensure_rules(&self, wanted: &ProtectedRoutes) -> Result<(), KernelError> {
        for (version, ipv6) in [(IpVersion::V4, false), (IpVersion::V6, true)] {
            let needed = wanted.keys().any(|p| p.addr().is_ipv6() == ipv6);
            if needed && self.our_rules(version).await?.is_empty() {
                self.add_rule(ipv6).await?;
                info!(
                    table = TABLE,
                    preference = RULE_PREFERENCE,
                    ipv6,
                    "rule for protected traffic installed"
                );
            }
        }
        Ok(())
    }

    async fn our_rules(&self, version: IpVersion) -> Result<Vec<RuleMessage>, KernelError> {
        let mut found = Vec::new();
        let mut rules = self.handle.rule().get(version).execute();
        while let Some(rule) = rules.try_next().await? {
            let ours = rule.attributes.contains(&RuleAttribute::Table(TABLE))
                && rule.attributes.contains(&RuleAttribute::Priority(RULE_PREFERENCE));
            if ours {
                found.push(rule);
            }
        }
        Ok(found)
    }

    /// `ip rule add pref 220 not fwmark 0x52 lookup 4500`.
    async fn add_rule(&self, ipv6: bool) -> Result<(), KernelError> {
        let mut rule =
            self.handle.rule().add().table_id(TABLE).priority(RULE_PREFERENCE).action(RuleAction::ToTable);
        let message = rule.message_mut();
        message.header.family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.table = 0;
        message.header.flags = RuleFlags::Invert;
        message.attributes.push(RuleAttribute::FwMark(IKE_MARK));
        message.attributes.push(RuleAttribute::FwMask(u32::MAX));
        Ok(rule.execute().await?)
    }

    async fn present(&self) -> Result<Entries, KernelError> {
        let mut found = Entries::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut all = RouteMessage::default();
            all.header.address_family = family;
            let mut routes = self.handle.route().get(all).execute();
            while let Some(route) = routes.try_next().await? {
                found.extend(entry_of(&route));
            }
        }
        Ok(found)
    }

    /// One front per prefix: it takes the place of one with the same metric (another source, device or kind).
    async fn add(&self, entry: &(Prefix, Entry)) -> Result<(), KernelError> {
        let flags = NLM_F_CREATE | if is_front(&entry.1) { NLM_F_REPLACE } else { NLM_F_EXCL };
        match request(&self.handle, RouteNetlinkMessage::NewRoute(message(entry)), flags).await {
            // A source address that the host does not have (yet): the route matters more.
            Err(error) => match entry {
                (prefix, Entry::Device { index, source: Some(source) }) => {
                    warn!(%prefix, %source, %error, "route without preferred source: the address is not there");
                    let plain = (*prefix, Entry::Device { index: *index, source: None });
                    request(&self.handle, RouteNetlinkMessage::NewRoute(message(&plain)), flags).await
                }
                (_, Entry::Device { .. } | Entry::Blackhole | Entry::Throw) => exists_is_fine(Err(error)),
            },
            Ok(()) => Ok(()),
        }
    }

    async fn remove(&self, entry: &(Prefix, Entry)) -> Result<(), KernelError> {
        match request(&self.handle, RouteNetlinkMessage::DelRoute(message(entry)), 0).await {
            Err(KernelError::Netlink(rtnetlink::Error::NetlinkError(e))) if e.raw_code() == -libc::ESRCH => {
                Ok(())
            }
            other => other,
        }
    }
}

/// One change, and the kernel's answer to it.
pub(super) async fn request(
    handle: &Handle,
    message: RouteNetlinkMessage,
    flags: u16,
) -> Result<(), KernelError> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            return Err(rtnetlink::Error::NetlinkError(error).into());
        }
    }
    Ok(())
}

/// Stands before the blackhole, all with one metric.
fn is_front(entry: &Entry) -> bool {
    match entry {
        Entry::Device { .. } | Entry::Throw => true,
        Entry::Blackhole => false,
    }
}

fn exists_is_fine(result: Result<(), KernelError>) -> Result<(), KernelError> {
    match result {
        Err(KernelError::Netlink(rtnetlink::Error::NetlinkError(e))) if e.raw_code() == -libc::EEXIST => {
            Ok(())
        }
        other => other,
    }
}

fn entries(wanted: &ProtectedRoutes, tun: Option<u32>) -> Entries {
    let mut out = Entries::new();
    for (prefix, route) in wanted {
        match route {
            ProtectedRoute::Throw => {
                out.insert((*prefix, Entry::Throw));
            }
            ProtectedRoute::Tunnel { source } => {
                out.insert((*prefix, Entry::Blackhole));
                out.extend(tun.map(|index| (*prefix, Entry::Device { index, source: *source })));
            }
        }
    }
    out
}

fn message((prefix, entry): &(Prefix, Entry)) -> RouteMessage {
    let mut m = RouteMessage::default();
    m.header.address_family =
        if prefix.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    m.header.destination_prefix_length = prefix.len();
    m.header.protocol = RouteProtocol::Static;
    m.header.scope = RouteScope::Universe;
    m.attributes.push(RouteAttribute::Table(TABLE));
    if prefix.len() > 0 {
        m.attributes.push(RouteAttribute::Destination(RouteAddress::from(prefix.addr())));
    }
    match entry {
        Entry::Device { index, source } => {
            m.header.kind = RouteType::Unicast;
            m.header.scope = RouteScope::Link;
            m.attributes.push(RouteAttribute::Oif(*index));
            m.attributes.push(RouteAttribute::Priority(METRIC_TUN));
            m.attributes.extend(source.map(|s| RouteAttribute::PrefSource(RouteAddress::from(s))));
        }
        Entry::Blackhole => {
            m.header.kind = RouteType::BlackHole;
            m.attributes.push(RouteAttribute::Priority(METRIC_BLACKHOLE));
        }
        Entry::Throw => {
            m.header.kind = RouteType::Throw;
            m.attributes.push(RouteAttribute::Priority(METRIC_TUN));
        }
    }
    m
}

#[allow(clippy::wildcard_enum_match_arm)] // four of thirty attributes, three of a dozen kinds
fn entry_of(m: &RouteMessage) -> Option<(Prefix, Entry)> {
    let (mut table, mut device, mut source, mut destination) = (u32::from(m.header.table), None, None, None);
    for attribute in &m.attributes {
        match attribute {
            RouteAttribute::Table(t) => table = *t,
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::PrefSource(addr) => source = to_ip(addr),
            RouteAttribute::Destination(addr) => destination = to_ip(addr),
            _ => {}
        }
    }
    if table != TABLE {
        return None;
    }
    let any: IpAddr = match m.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        _ => [0u16; 8].into(),
    };
    let prefix = Prefix::of(destination.unwrap_or(any), m.header.destination_prefix_length).ok()?;
    let entry = match m.header.kind {
        RouteType::Unicast => Entry::Device { index: device?, source },
        RouteType::BlackHole => Entry::Blackhole,
        RouteType::Throw => Entry::Throw,
        _ => return None,
    };
    Some((prefix, entry))
}

#[allow(clippy::wildcard_enum_match_arm)]
fn to_ip(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}

/// A device that was raised for IPv4 alone takes no routes of IPv6: a reload may bring the first ones.
fn carry_ipv6(index: u32) {
    let Ok(name) = nix::net::if_::if_indextoname(index) else { return };
    let key = format!("net/ipv6/conf/{}/disable_ipv6", name.to_string_lossy());
    if std::fs::read_to_string(format!("/proc/sys/{key}")).is_ok_and(|now| now.trim() != "0") {
        set_sysctl(&key, "0");
    }
}

/// A missing or read-only entry (no IPv6, a container) is worth a line, not a failure.
pub(super) fn set_sysctl(name: &str, value: &str) {
    if let Err(error) = std::fs::write(format!("/proc/sys/{name}"), value) {
        warn!(name, value, %error, "could not be set");
    }
}
