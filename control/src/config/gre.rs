//! `[[gre]]`: tunnels of GRE (RFC 2784, RFC 2890), each a device that routes lead into (R238, R240).
//!
//! Decides: their keys, defaults, and what contradicts what; that GRE which is to be protected has a policy that does it.
//! Reads: tables, the tunnels. Writes: the model, findings. Never: asks which addresses the machine has.

use super::diagnostic::Findings;
use super::interface::{INTERFACE_KEYS, TunnelInterface, device_keys, interface_text};
use super::model::{Config, Tunnel};
use super::reader::Table;
use super::tunnels::Tunnels;
use super::value::{Bad, boolean, gateway_address, number32, shown, text};
use core::net::IpAddr;
use ravelin_ike::config::Mode;
use ravelin_ring::msg::Action;
use ravelin_wire::{AddrRange, PortRange, Selector, gre, ipv4, ipv6, protocol};
use toml::de::DeValue;

pub(crate) const OWN_KEYS: &[&str] =
    &["local", "remote", "key", "checksum", "sequence", "protected-by", "vrf"];
pub(crate) const MAX_GRE: usize = 1024;

/// Keys of the section, the device's among them.
pub(crate) fn keys() -> Vec<&'static str> {
    [INTERFACE_KEYS, OWN_KEYS].concat()
}

/// One tunnel of GRE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gre {
    pub device: TunnelInterface,
    /// Outer addresses, of one family.
    pub local: IpAddr,
    pub remote: IpAddr,
    pub key: Option<u32>,
    pub checksum: bool,
    pub sequence: bool,
    /// Name of the tunnel whose SAs protect it.
    pub protected_by: Option<String>,
    /// Of what goes through it, not of its ends.
    pub vrf: Option<String>,
}

pub(crate) fn gre(table: &Table<'_>, tunnels: &Tunnels, findings: &mut Findings) -> Option<Gre> {
    let address = |key, what, findings: &mut Findings| {
        table.required(key, what, "\"198.18.0.1\"", findings, gateway_address)
    };
    let local = address("local", "the outer address on this side", findings);
    let remote = address("remote", "the outer address on the far side", findings);
    let key = table.optional("key", findings, |v| number32(v, 0..=u32::MAX, "a key (RFC 2890)"));
    let checksum = table.or("checksum", false, findings, boolean);
    let sequence = table.or("sequence", false, findings, boolean);
    let protected_by = table.optional("protected-by", findings, tunnel_name);
    let vrf = table.optional("vrf", findings, super::vrf::name);
    let header = gre::Gre { protocol: 0, checksum, key, sequence: sequence.then_some(0) };
    let outer = if local.is_none_or(|a: IpAddr| a.is_ipv4()) { ipv4::HEADER } else { ipv6::HEADER };
    let by = protected_by.as_deref().and_then(|name: &str| tunnels.by_name(name));
    // Of an Ethernet link, or of what the tunnel takes at the most.
    let room = by.map_or(1500, room);
    let mtu = u16::try_from(usize::from(room).saturating_sub(outer + header.len())).unwrap_or(491);
    let device = device_keys(table, mtu.max(491), findings);
    Some(Gre { device: device?, local: local?, remote: remote?, key, checksum, sequence, protected_by, vrf })
}

/// For the GRE packet, outer header and all: in UDP, with the longest IV, padding and ICV.
fn room(tunnel: &Tunnel) -> u16 {
    const ESP: u16 = 65;
    let header = match (tunnel.mode, tunnel.local.is_ipv4()) {
        (Mode::Transport, _) => 0,
        (Mode::Tunnel, true) => 20,
        (Mode::Tunnel, false) => 40,
    };
    tunnel.tunnel_mtu.saturating_sub(ESP + header)
}

fn tunnel_name(value: &DeValue<'_>) -> Result<String, Bad> {
    let expected = "the name of a tunnel";
    let given = text(value, expected, "write it in quotes")?;
    if given.is_empty() {
        Err(Bad::new(shown(value), expected, "name a [[tunnel]]"))
    } else {
        Ok(given.to_owned())
    }
}

pub(crate) fn check(config: &Config, findings: &mut Findings) {
    for (n, gre) in config.gre.iter().enumerate() {
        let line = gre.device.line;
        let mut refuse =
            |found: String, expected: &str, cure: &str| findings.error(line, found, expected, cure);
        if gre.local.is_ipv4() != gre.remote.is_ipv4() {
            let found = format!("`local` {} and `remote` {} are of two families", gre.local, gre.remote);
            refuse(found, "one family", "write both in IPv4 or both in IPv6");
        } else if gre.local == gre.remote {
            let found = format!("`local` and `remote` are both {}", gre.local);
            refuse(found, "two ends", "write the far gateway's address as `remote`");
        }
        let same = |other: &&Gre| (other.local, other.remote, other.key) == (gre.local, gre.remote, gre.key);
        if let Some(first) = config.gre.iter().take(n).find(same) {
            let found = format!(
                "the ends and the key of GRE \"{}\" are those of line {}",
                gre.device.name, first.device.line
            );
            refuse(found, "another key", "give each tunnel between the same ends a `key` of its own");
        }
        protection(config, gre, &mut refuse);
    }
}

fn protection(config: &Config, gre: &Gre, refuse: &mut impl FnMut(String, &str, &str)) {
    let Some(name) = &gre.protected_by else { return };
    let Some(tunnel) = config.tunnel(name) else {
        let names: Vec<&str> = config.tunnels.iter().map(|t| t.name.as_str()).collect();
        let near = super::value::nearest(name, &names);
        let cure = near.map_or_else(|| "name a [[tunnel]]".to_owned(), |n| format!("did you mean \"{n}\"?"));
        return refuse(
            format!("`protected-by`: there is no tunnel \"{name}\""),
            "the name of a tunnel",
            &cure,
        );
    };
    let covered = tunnel.is_policy_based() && tunnel.selectors.iter().any(|s| covers(&s.selector, gre));
    if !covered {
        let selector =
            format!("{{ local = \"{}\", remote = \"{}\", protocol = \"gre\" }}", gre.local, gre.remote);
        refuse(
            format!(
                "`protected-by`: no selector of tunnel \"{name}\" holds GRE between {} and {}",
                gre.local, gre.remote
            ),
            "a tunnel that carries it",
            &format!("write selectors = [{selector}] in that tunnel, and mode = \"transport\""),
        );
    }
}

fn covers(s: &Selector, gre: &Gre) -> bool {
    s.local.contains(gre.local)
        && s.remote.contains(gre.remote)
        && s.protocol.is_none_or(|p| p == protocol::GRE)
        && s.local_ports == PortRange::ANY
        && s.remote_ports == PortRange::ANY
}

impl Config {
    /// GRE between the ends passes policies that do not ask for protection, whatever the default.
    pub(crate) fn gre_policies(&self) -> impl Iterator<Item = (Selector, Action, bool, u32)> {
        let plain = self.gre.iter().filter(|gre| gre.protected_by.is_none());
        plain.filter_map(|gre| {
            let selector = Selector {
                local: AddrRange::new(gre.local, gre.local).ok()?,
                remote: AddrRange::new(gre.remote, gre.remote).ok()?,
                protocol: Some(protocol::GRE),
                local_ports: PortRange::ANY,
                remote_ports: PortRange::ANY,
            };
            Some((selector, Action::Bypass, false, gre.device.line))
        })
    }
}

/// As the difference of two files shows them, by name.
pub(crate) fn gre_fields(config: &Config) -> Vec<(String, String)> {
    config.gre.iter().map(|gre| (format!("gre {}", gre.device.name), gre_text(gre))).collect()
}

/// What lies between which ends, and how.
pub fn gre_text(gre: &Gre) -> String {
    let Gre { device, local, remote, key, checksum, sequence, protected_by, vrf } = gre;
    let key = key.map(|key| format!(" key={key}")).unwrap_or_default();
    let words = [("checksum", *checksum), ("sequence", *sequence)];
    let words: String = words.iter().filter(|(_, on)| *on).map(|(word, _)| format!(" {word}")).collect();
    let by = protected_by.as_ref().map(|by| format!(" protected-by={by}")).unwrap_or_default();
    let vrf = vrf.as_ref().map(|vrf| format!(" vrf={vrf}")).unwrap_or_default();
    format!("{local} = {remote}{key}{words}{by}{vrf}, {}", interface_text(device))
}
