//! `interface` of `[[tunnel]]`: the tunnel is a link of its own, a TUN device that routes lead into (R60).
//!
//! Decides: the keys of the device, and what a tunnel with one may not be. Reads: tables. Writes: the model, findings.
//! Never: asks which devices there are.

use super::diagnostic::Findings;
use super::model::{Config, DeviceName, Tunnel, TunnelSelector};
use super::reader::{Table, report};
use super::sections::device;
use super::value::{Bad, addresses, number16, shown, text, word};
use crate::kernel::prefixes_of;
use core::net::IpAddr;
use ravelin_ike::config::Mode;
use ravelin_ring::setup::ReversePath;
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector};
use std::collections::HashMap;
use toml::de::DeValue;

pub(crate) const INTERFACE_KEYS: &[&str] = &["name", "addresses", "mtu", "reverse-path", "routes"];
const MAX_ADDRESSES: usize = 16;
const MAX_ROUTES: usize = 1024;
/// In all; each costs every worker a descriptor.
const MAX_INTERFACES: usize = 1024;

/// The device of a route-based tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelInterface {
    pub name: DeviceName,
    /// With the lengths of their networks; empty: whoever else gives it some.
    pub addresses: Vec<(IpAddr, u8)>,
    pub mtu: u16,
    pub reverse_path: ReversePath,
    /// What leads into the tunnel, and nowhere when it cannot.
    pub routes: Vec<Prefix>,
    pub line: u32,
}

/// `mtu`: the tunnel's; `local`: its gateway.
pub(crate) fn interface(
    table: &Table<'_>,
    mtu: u16,
    local: Option<IpAddr>,
    findings: &mut Findings,
) -> Option<TunnelInterface> {
    let value = table.get("interface")?;
    let table = Table::open(value, "`interface`", INTERFACE_KEYS, findings)?;
    // What the tunnel takes at the most, in UDP, with the longest IV, padding and ICV.
    let room = mtu - if local.is_none_or(|a| a.is_ipv4()) { 85 } else { 105 };
    device_keys(&table, room, findings)
}

/// `room`: the largest packet by it, as long as no `mtu` is written.
pub(crate) fn device_keys(table: &Table<'_>, room: u16, findings: &mut Findings) -> Option<TunnelInterface> {
    let name = table.required("name", "a name for the tunnel's device", "\"tun-a\"", findings, device);
    let example = "[\"172.16.0.1/30\"]";
    let addresses = table.list("addresses", example, MAX_ADDRESSES, findings, |e, line, f| {
        address(e.get_ref()).map_err(|bad| report(f, line, "addresses", bad)).ok()
    });
    let routes = table.list("routes", "[\"10.2.0.0/16\"]", MAX_ROUTES, findings, |e, line, f| {
        route(e.get_ref()).map_err(|bad| report(f, line, "routes", bad)).ok()
    });
    let reverse_path = table.or("reverse-path", ReversePath::Strict, findings, |v| {
        let words =
            [("strict", ReversePath::Strict), ("loose", ReversePath::Loose), ("off", ReversePath::Off)];
        word(v, &words)
    });
    Some(TunnelInterface {
        mtu: table
            .or("mtu", room, findings, |v| number16(v, 491..=3562, "bytes of the largest inner packet")),
        name: name?,
        addresses: addresses.unwrap_or_default(),
        reverse_path,
        routes: routes.unwrap_or_default(),
        line: table.line,
    })
}

fn address(value: &DeValue<'_>) -> Result<(IpAddr, u8), Bad> {
    let expected = "an address with the length of its network";
    let given = text(value, expected, "write it in quotes")?;
    let parts = given.split_once('/').and_then(|(a, len)| Some((a.parse().ok()?, len.parse().ok()?)));
    let lawful = |(a, len): &(IpAddr, u8)| {
        Prefix::of(*a, *len).is_ok()
            && *len > 0
            && !a.is_unspecified()
            && !a.is_multicast()
            && !a.is_loopback()
    };
    parts
        .filter(lawful)
        .ok_or_else(|| Bad::new(shown(value), expected, "write for example \"172.16.0.1/30\""))
}

fn route(value: &DeValue<'_>) -> Result<Prefix, Bad> {
    let prefixes = prefixes_of(&addresses(value)?);
    let prefix = prefixes.first().copied().filter(|_| prefixes.len() == 1);
    prefix.ok_or_else(|| Bad::new(shown(value), "a prefix", "write for example \"10.2.0.0/16\""))
}

/// Without `selectors` a tunnel with a device carries whatever routes send into it.
pub(crate) fn everything(line: u32) -> Vec<TunnelSelector> {
    let any = |range| Selector {
        local: range,
        remote: range,
        protocol: None,
        local_ports: PortRange::ANY,
        remote_ports: PortRange::ANY,
    };
    [AddrRange::ANY_V4, AddrRange::ANY_V6].map(|range| TunnelSelector { selector: any(range), line }).to_vec()
}

/// What does not go together in one tunnel.
pub(crate) fn check(tunnel: &Tunnel, findings: &mut Findings) {
    let Some(interface) = &tunnel.interface else { return };
    let line = interface.line;
    let mut refuse = |found: &str, expected: &str, cure: &str| findings.error(line, found, expected, cure);
    if tunnel.remote.is_none() {
        let cure = "write the peer's address, or remove `interface`";
        refuse("`interface`, but `remote` is \"any\"", "one peer at the other end of the link", cure);
    }
    if tunnel.mode == Mode::Transport {
        refuse("`interface` with mode = \"transport\"", "tunnel mode", "write mode = \"tunnel\"");
    }
    if tunnel.is_ah() {
        refuse("`interface` with `ah-proposals`", "ESP", "use esp-proposals");
    }
    if !tunnel.exchanges.addresses.is_empty() {
        let cure = "remove `request-address`, or use selectors instead";
        refuse("`interface` with `request-address`", "addresses of its own", cure);
    }
}

/// Every device once, and none that is something else.
pub(crate) fn names(config: &Config, findings: &mut Findings) {
    let mut first = HashMap::new();
    let devices = config.devices();
    for interface in devices.clone() {
        let name = &interface.name;
        let twice = first.insert(name, interface.line).map(|line| format!("that of line {line}"));
        let port = config.ports.iter().find(|p| p.name == *name).map(|_| "a port".to_owned());
        let tun = (*name == config.dataplane.tun).then(|| "the host's own TUN device".to_owned());
        if let Some(other) = twice.or(port).or(tun) {
            let found = format!("the device \"{name}\" of a tunnel is {other} too");
            findings.error(interface.line, found, "a device of its own", "choose another name");
        }
    }
    if let Some(over) = devices.clone().nth(MAX_INTERFACES) {
        findings.error(
            over.line,
            format!("more than {MAX_INTERFACES} tunnels with a device"),
            "fewer",
            "use selectors",
        );
    }
}

impl Config {
    /// Of route-based tunnels, then of GRE.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &TunnelInterface> + Clone {
        let tunnels = self.tunnels.iter().filter_map(|t| t.interface.as_ref());
        tunnels.chain(self.gre.iter().map(|gre| &gre.device))
    }
}

impl Tunnel {
    /// Its selectors are policies of the ports; those of a route-based tunnel bound its SAs only.
    pub fn is_policy_based(&self) -> bool {
        self.interface.is_none()
    }
}

/// As the difference of two files shows it.
pub(crate) fn interface_text(interface: &TunnelInterface) -> String {
    let TunnelInterface { name, addresses, mtu, reverse_path, routes, line: _ } = interface;
    let addresses: Vec<String> = addresses.iter().map(|(a, len)| format!("{a}/{len}")).collect();
    let routes: Vec<String> = routes.iter().map(ToString::to_string).collect();
    let rule = match reverse_path {
        ReversePath::Strict => "strict",
        ReversePath::Loose => "loose",
        ReversePath::Off => "off",
    };
    format!("{name} [{}] mtu={mtu} reverse-path={rule} routes=[{}]", addresses.join(", "), routes.join(", "))
}
