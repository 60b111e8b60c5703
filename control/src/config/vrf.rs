//! `[[vrf]]`: routes and policies of their own for some ports and tunnels (R132, R133), and the key `vrf` that names one.
//!
//! Decides: which kernel table a VRF is; what contradicts what. Reads: tables. Writes: the model, findings.
//! Never: asks which tables the kernel has.

use super::diagnostic::{Errors, Findings};
use super::gre::Gre;
use super::model::{Config, Port, Tunnel};
use super::reader::Table;
use super::value::{Bad, nearest, number32, shown, text};
use ravelin_ike::config::Mode;
use ravelin_ring::msg::VrfId;
use std::path::Path;
use toml::de::DeValue;

pub(crate) const VRF_KEYS: &[&str] = &["name", "table"];
pub(crate) const MAX_VRFS: usize = 64;
/// Of the kernel: default, main and local; and the one that leads the host's own traffic into tunnels.
const TAKEN: [u32; 4] = [253, 254, 255, 4500];

/// One table of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrf {
    pub name: String,
    pub table: u16,
    pub line: u32,
}

impl Vrf {
    /// The data plane knows it by the number of its table.
    pub fn id(&self) -> VrfId {
        VrfId(self.table)
    }
}

pub(crate) fn vrf(table: &Table<'_>, findings: &mut Findings) -> Option<Vrf> {
    let name = table.required("name", "a name for ports and tunnels", "\"red\"", findings, name);
    let number = table.required("table", "the number of a routing table", "101", findings, |v| {
        let number = number32(v, 1..=65_535, "a routing table")?;
        let expected = "a table of its own";
        let cure = "write another number; `ip route show table all` lists those in use";
        let number = u16::try_from(number).ok().filter(|_| !TAKEN.contains(&number));
        number.ok_or_else(|| Bad::new(shown(v), expected, cure))
    });
    Some(Vrf { name: name?, table: number?, line: table.line })
}

/// Also the value of the key `vrf`.
pub(crate) fn name(value: &DeValue<'_>) -> Result<String, Bad> {
    let expected = "the name of a VRF: 1 to 63 letters, digits, - and _";
    let given = text(value, expected, "write it in quotes")?;
    let lawful = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=63).contains(&given.len()) && given.chars().all(lawful);
    if fits {
        Ok(given.to_owned())
    } else {
        Err(Bad::new(shown(value), expected, "write for example \"red\""))
    }
}

impl Config {
    /// [`VrfId::MAIN`] for what names none. Names were checked as the file was read, and over a reload by [`Self::keeps_vrfs_of`].
    pub fn vrf(&self, name: Option<&str>) -> VrfId {
        let found = self.vrfs.iter().find(|vrf| Some(vrf.name.as_str()) == name);
        found.map_or(VrfId::MAIN, Vrf::id)
    }

    /// `ports` stay as they are over a reload, and so must the VRFs that they are in: what came by them would be of the
    /// main one, with its policies.
    pub fn keeps_vrfs_of(&self, ports: &[Port], file: &Path) -> Result<(), Errors> {
        let mut findings = Findings::of(file);
        for port in ports {
            let Some(name) = port.vrf.as_ref().filter(|name| self.vrfs.iter().all(|v| v.name != **name))
            else {
                continue;
            };
            let found = format!("no [[vrf]] is named \"{name}\", and port \"{}\" is in it", port.name);
            let cure = format!("write [[vrf]] \"{name}\" again, or stop both processes and start them anew");
            let line = self.ports.iter().find(|p| p.name == port.name).map_or(0, |p| p.line);
            findings.error(line, found, "the VRFs of the ports, which a reload cannot change", cure);
        }
        findings.finish().map(drop)
    }

    /// Where the addresses of a tunnel's gateways belong (R68).
    pub fn outside(&self, tunnel: &Tunnel) -> VrfId {
        self.vrf(tunnel.outside_vrf.as_deref())
    }
}

pub(crate) fn check(config: &Config, findings: &mut Findings) {
    for (n, vrf) in config.vrfs.iter().enumerate() {
        let same = |other: &&Vrf| other.name == vrf.name || other.table == vrf.table;
        if let Some(first) = config.vrfs.iter().take(n).find(same) {
            let found = format!("VRF \"{}\" has the name or the table of line {}", vrf.name, first.line);
            findings.error(
                vrf.line,
                found,
                "every VRF with a name and a table of its own",
                "change one of them",
            );
        }
    }
    let ports = config.ports.iter().map(|port| (&port.vrf, port.line));
    let tunnels = config.tunnels.iter().map(|tunnel| (&tunnel.vrf, tunnel.line));
    let outsides = config.tunnels.iter().map(|tunnel| (&tunnel.outside_vrf, tunnel.line));
    let of_nat = config.nat.iter().map(|rule| (&rule.vrf, rule.line));
    let of_gre = config.gre.iter().map(|gre| (&gre.vrf, gre.device.line));
    let names: Vec<&str> = config.vrfs.iter().map(|vrf| vrf.name.as_str()).collect();
    for (name, line) in ports
        .chain(tunnels)
        .chain(outsides)
        .chain(of_gre)
        .chain(of_nat)
        .filter_map(|(name, line)| Some((name.as_ref()?, line)))
    {
        if !names.contains(&name.as_str()) {
            let cure = nearest(name, &names).map(|near| format!("did you mean \"{near}\"?"));
            let cure = cure.unwrap_or_else(|| format!("add [[vrf]] with name = \"{name}\""));
            findings.error(line, format!("`vrf`: there is no VRF \"{name}\""), "the name of a [[vrf]]", cure);
        }
    }
    outside(config, findings);
    one_vrf(config, findings);
    gre(config, findings);
}

/// IKE and ESP of a tunnel come and go by ports of its `outside-vrf` (R68, R78).
fn outside(config: &Config, findings: &mut Findings) {
    for tunnel in config.tunnels.iter().filter(|t| t.parent.is_none()) {
        let there = config.ports.is_empty() || config.ports.iter().any(|port| port.vrf == tunnel.outside_vrf);
        let Some(name) = &tunnel.outside_vrf else {
            if !there {
                let found =
                    format!("all ports are in VRFs, and the outside of tunnel \"{}\" in none", tunnel.name);
                let cure =
                    "write `outside-vrf`, or remove `vrf` from the [[port]] by which the peer is reached";
                findings.error(tunnel.line, found, "a port of the main VRF", cure);
            }
            continue;
        };
        if !there {
            let found = format!("`outside-vrf`: no port is in VRF \"{name}\"");
            let cure = format!("write vrf = \"{name}\" into the [[port]] by which the peer is reached");
            findings.error(tunnel.line, found, "a port of that VRF", cure);
        }
        if !tunnel.exchanges.addresses.is_empty() {
            let found = "`outside-vrf` with `request-address`";
            findings.error(tunnel.line, found, "addresses of the main VRF", "remove one of them");
        }
    }
    for tunnel in config.tunnels.iter().filter(|t| t.outside_vrf.is_some() && t.mode == Mode::Transport) {
        let found = "`outside-vrf` in transport mode, which protects the host's own packets";
        let cure = "remove `outside-vrf`, or write mode = \"tunnel\"";
        findings.error(tunnel.line, found, "gateways of the main VRF", cure);
    }
}

/// All inside interfaces of a tunnel are in one VRF (R77).
fn one_vrf(config: &Config, findings: &mut Findings) {
    for (n, gre) in config.gre.iter().enumerate().filter(|(_, gre)| gre.protected_by.is_some()) {
        let other = |it: &&Gre| it.protected_by == gre.protected_by && it.vrf != gre.vrf;
        if let Some(first) = config.gre.iter().take(n).find(other) {
            let of = |it: &Gre| {
                it.vrf.as_ref().map_or_else(|| "the main one".to_owned(), |vrf| format!("\"{vrf}\""))
            };
            let found = format!(
                "GRE \"{}\" is in VRF {}, \"{}\" (line {}) in {}, and one tunnel protects both",
                gre.device.name,
                of(gre),
                first.device.name,
                first.device.line,
                of(first)
            );
            let cure = "give both the same `vrf`, or each a tunnel of its own in `protected-by`";
            findings.error(gre.device.line, found, "all inside interfaces of a tunnel in one VRF", cure);
        }
    }
}

/// The ends of GRE are reached by the main VRF.
fn gre(config: &Config, findings: &mut Findings) {
    for gre in &config.gre {
        let by = gre.protected_by.as_deref().and_then(|name| config.tunnel(name));
        if by.is_some_and(|tunnel| tunnel.vrf.is_some()) {
            let found = format!("GRE \"{}\" is protected by a tunnel with `vrf`", gre.device.name);
            let cure = "remove `vrf` from the tunnel; that of [[gre]] says where its packets belong";
            findings.error(gre.device.line, found, "a tunnel of the main VRF", cure);
        }
    }
    for tunnel in config.tunnels.iter().filter(|t| t.vrf.is_some() && !t.exchanges.addresses.is_empty()) {
        let found = "`vrf` with `request-address`";
        findings.error(tunnel.line, found, "addresses of the main VRF", "remove one of them");
    }
}

/// As the difference of two files shows them.
pub(crate) fn vrf_fields(config: &Config) -> Vec<(String, String)> {
    config.vrfs.iter().map(|vrf| (format!("vrf {}", vrf.name), format!("table={}", vrf.table))).collect()
}
