//! What contradicts what across sections.
//!
//! Decides: which combinations of lawful values are errors, which are warnings. Reads: the model.
//! Writes: findings. Never: changes the model.

use ravelin_wire::Selector;
use std::collections::HashMap;

use super::diagnostic::Findings;
use super::identity::IdText;
use super::model::{Config, Tunnel, TunnelSelector};

/// Comparing every selector with every one before it; above this many the check for covered ones is left out.
const MAX_PAIRWISE: usize = 2000;

/// Room that AF_XDP and our own headers need in a frame: the kernel's headroom, ours, Ethernet with two VLAN tags.
const FRAME_OVERHEAD: u32 = 256 + 256 + 22;

pub(crate) fn check(config: &Config, findings: &mut Findings) {
    ports(config, findings);
    memory(config, findings);
    names(config, findings);
    super::interface::names(config, findings);
    super::gre::check(config, findings);
    super::manual::check(config, findings);
    super::vrf::check(config, findings);
    super::admit::check(config, findings);
    peers(config, findings);
    identical_selectors(config, findings);
    covered_selectors(config, findings);
    super::nat::check(config, findings);
    for tunnel in &config.tunnels {
        mtu(config, tunnel, findings);
        ipv6_needs(tunnel, findings);
        super::child::check(tunnel, findings);
        super::travel::check(config, tunnel, findings);
        super::pool::check(tunnel, findings);
        super::request::check(tunnel, findings);
        super::interface::check(tunnel, findings);
        local_interface(config, tunnel, findings);
    }
}

fn ports(config: &Config, findings: &mut Findings) {
    if config.ports.is_empty() {
        findings.error(1, "no [[port]]", "at least one", "add [[port]] and below it name = \"wan0\"");
    }
    let mut first = HashMap::new();
    for port in &config.ports {
        if let Some(line) = first.insert(&port.name, port.line) {
            let found = format!("port \"{}\" stands twice (first in line {line})", port.name);
            findings.error(port.line, found, "every port once", "remove one of them");
        }
        if port.name == config.dataplane.tun {
            let found = format!("port \"{}\" has the name of the TUN device", port.name);
            findings.error(port.line, found, "a device of the machine", "name the device, or change `tun`");
        }
    }
}

fn memory(config: &Config, findings: &mut Findings) {
    let plane = &config.dataplane;
    if plane.ring_size < 2048 {
        let found = format!("`ring-size` {} loses packets in bursts", plane.ring_size);
        findings.warning(plane.line, found, "write 2048 or more");
    }
    let ports = u32::try_from(config.ports.len()).unwrap_or(u32::MAX);
    // One receive ring full of frames and as many on their way out, per port and queue.
    let needed = plane.ring_size.saturating_mul(2).saturating_mul(ports);
    if plane.frames < needed {
        let found = format!("`frames` {} are fewer than {ports} ports need ({needed})", plane.frames);
        findings.warning(
            plane.line,
            found,
            format!("write frames = {needed} or more, or a smaller ring-size"),
        );
    }
    let room = u64::from(plane.max_sas) * plane.cores.len() as u64;
    // Two of a direction while a rekey is on its way.
    if (config.tunnels.len() as u64) * 2 > room {
        let found = format!(
            "`max-sas` leaves room for {room} SAs, {} tunnels need twice as many",
            config.tunnels.len()
        );
        findings.warning(plane.line, found, "raise max-sas in [dataplane]");
    }
}

fn names(config: &Config, findings: &mut Findings) {
    let mut first = HashMap::new();
    for tunnel in &config.tunnels {
        if let Some(line) = first.insert(tunnel.name.as_str(), tunnel.line) {
            let found = format!("tunnel \"{}\" stands twice (first in line {line})", tunnel.name);
            findings.error(tunnel.line, found, "every name once", "rename one of them");
        }
    }
}

/// R70: the device by which a gateway's address counts is one that packets come and go by.
fn local_interface(config: &Config, tunnel: &Tunnel, findings: &mut Findings) {
    let Some(name) = &tunnel.local_interface else { return };
    if !config.ports.iter().any(|port| port.name == *name) {
        let found = format!("`local-interface`: there is no [[port]] \"{name}\"");
        let ports = config.ports.iter().map(|p| format!("\"{}\"", p.name)).collect::<Vec<_>>().join(", ");
        findings.error(tunnel.line, found, format!("a port: {ports}"), "name the port that has `local`");
    }
}

/// A peer sends INITIAL_CONTACT, by which the second IKE SA ends the first. Where the peer may be anybody, nothing tells
/// which of the two is meant (R75, R76).
fn peers(config: &Config, findings: &mut Findings) {
    let mut first: HashMap<_, &Tunnel> = HashMap::new();
    for tunnel in config.tunnels.iter().filter(|t| t.parent.is_none() && t.manual.is_none()) {
        let ids = (IdText(&tunnel.local_id).to_string(), IdText(&tunnel.remote_id).to_string());
        if let Some(other) = first.insert((&tunnel.outside_vrf, tunnel.local, tunnel.remote, ids), tunnel) {
            let found = format!(
                "tunnel \"{}\" has the peer and the identities of \"{}\" (line {})",
                tunnel.name, other.name, other.line
            );
            match tunnel.remote {
                Some(_) => findings.warning(tunnel.line, found, "put the selectors of both into one tunnel"),
                None => {
                    let expected = "one tunnel for any peer with these identities at this `local`";
                    let cure =
                        "give one of them another `remote-id` or `local`, or make it a [[tunnel.child]]";
                    findings.error(tunnel.line, found, expected, cure);
                }
            }
        }
    }
}

fn all(config: &Config) -> impl Iterator<Item = (&Tunnel, &TunnelSelector)> {
    let tunnels = config.tunnels.iter().filter(|t| t.is_policy_based());
    tunnels.flat_map(|tunnel| tunnel.selectors.iter().map(move |s| (tunnel, s)))
}

/// The second one would never carry a packet out, and refuse what comes in by the first.
fn identical_selectors(config: &Config, findings: &mut Findings) {
    let mut first: HashMap<(&Option<String>, Selector), &Tunnel> = HashMap::new();
    for (tunnel, here) in all(config) {
        if let Some(other) = first.insert((&tunnel.vrf, here.selector), tunnel) {
            let found = format!(
                "the selector {} of tunnel \"{}\" is one of tunnel \"{}\" (line {}) too",
                text(&here.selector),
                tunnel.name,
                other.name,
                other.line
            );
            findings.error(here.line, found, "every selector once", "remove one of them, or narrow it");
        }
    }
}

/// The earlier selector wins for every packet.
fn covered_selectors(config: &Config, findings: &mut Findings) {
    let selectors: Vec<_> = all(config).collect();
    if selectors.len() > MAX_PAIRWISE {
        return;
    }
    for (n, (tunnel, here)) in selectors.iter().enumerate() {
        let before = selectors.iter().take(n);
        let cover = before
            .clone()
            .find(|(by, other)| by.vrf == tunnel.vrf && covers(&other.selector, &here.selector));
        if let Some((other, by)) = cover.filter(|(_, by)| by.selector != here.selector) {
            let found = format!(
                "the selector {} of tunnel \"{}\" never matches: {} of tunnel \"{}\" (line {}) stands before it",
                text(&here.selector),
                tunnel.name,
                text(&by.selector),
                other.name,
                by.line
            );
            findings.warning(here.line, found, "put the narrower selector first");
        }
    }
}

fn covers(wide: &Selector, narrow: &Selector) -> bool {
    wide.local.covers(&narrow.local)
        && wide.remote.covers(&narrow.remote)
        && (wide.protocol.is_none() || wide.protocol == narrow.protocol)
        && wide.local_ports.covers(&narrow.local_ports)
        && wide.remote_ports.covers(&narrow.remote_ports)
}

fn mtu(config: &Config, tunnel: &Tunnel, findings: &mut Findings) {
    let size = config.dataplane.frame_size;
    let room = size.saturating_sub(FRAME_OVERHEAD);
    if u32::from(tunnel.tunnel_mtu) > room {
        let found = format!("`tunnel-mtu` {} does not fit into frames of {size} bytes", tunnel.tunnel_mtu);
        let cure = "write frame-size = 4096 in [dataplane], or a smaller tunnel-mtu";
        findings.error(tunnel.line, found, format!("at most {room}"), cure);
    }
}

/// Every link carries IPv6 packets of 1,280 bytes (RFC 8200 §5), and no host may be told to send smaller ones.
fn ipv6_needs(tunnel: &Tunnel, findings: &mut Findings) {
    // The most that a suite adds: SPI and number, IV, padding to 16 with its two bytes, ICV; and UDP before it.
    const ESP: u16 = 8 + 16 + 17 + 16 + 8;
    let least = 1280 + ESP + if tunnel.local.is_ipv4() { 20 } else { 40 };
    let six = tunnel.selectors.iter().find(|s| !s.selector.local.start().is_ipv4());
    if let Some(six) = six.filter(|_| tunnel.tunnel_mtu < least) {
        let mtu = tunnel.tunnel_mtu;
        let found = format!("`tunnel-mtu` {mtu} may leave IPv6 packets less than their 1,280 bytes");
        findings.warning(six.line, found, format!("write {least} or more where the path allows it"));
    }
}

/// As errors and `show` write a selector.
pub fn text(selector: &Selector) -> String {
    use super::value::PROTOCOLS;
    use ravelin_wire::PortRange;
    let icmp = matches!(selector.protocol, Some(1 | 58));
    let side = |range: ravelin_wire::AddrRange, ports: PortRange| match (ports.start(), ports.end()) {
        _ if ports == PortRange::ANY || icmp => range.to_string(),
        (first, last) if first == last => format!("{range}:{first}"),
        (first, last) => format!("{range}:{first}-{last}"),
    };
    let mut out = format!(
        "{} = {}",
        side(selector.local, selector.local_ports),
        side(selector.remote, selector.remote_ports)
    );
    if let Some(number) = selector.protocol {
        let name = PROTOCOLS.iter().find(|(_, n)| *n == number).map(|(name, _)| (*name).to_owned());
        out.push(' ');
        out.push_str(&name.unwrap_or_else(|| format!("protocol {number}")));
        if icmp && selector.local_ports != PortRange::ANY {
            out.push_str(&format!(" {}", super::value::icmp_text(selector.local_ports)));
        }
    }
    out
}
