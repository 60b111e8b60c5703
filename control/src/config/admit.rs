//! `admit` and `admit-from` of `[[port]]`: a port that lets in the VPN alone (R222).
//!
//! Decides: what a port is asked to let in, and which rules cannot work by such a port. Reads: tables, the model. Writes: the
//! model, findings, commands for the data plane. Never: opens a port that another rule would need open.

use core::net::IpAddr;
use ravelin_ring::msg::{NatKind, PortId, TableCommand};
use ravelin_wire::AddrRange;

use super::diagnostic::Findings;
use super::model::{Config, Port, Tunnel};
use super::reader::{Table, report};
use super::value::{addresses, word};

const MAX_FROM: usize = 64;

/// What comes in by a port that lets in the VPN alone, besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Everything from there.
    pub from: Vec<AddrRange>,
}

impl Admission {
    fn holds(&self, addr: IpAddr) -> bool {
        self.from.iter().any(|range| range.contains(addr))
    }
}

/// `None`: everything.
pub(crate) fn read(table: &Table<'_>, findings: &mut Findings) -> Option<Admission> {
    let vpn = table.or("admit", false, findings, |v| word(v, &[("all", false), ("vpn", true)]));
    let from = table.list("admit-from", "[\"192.0.2.53\"]", MAX_FROM, findings, |element, line, findings| {
        addresses(element.get_ref()).map_err(|bad| report(findings, line, "admit-from", bad)).ok()
    });
    if from.is_some() && !vpn {
        let line = table.line_of("admit-from", findings);
        let cure = "add admit = \"vpn\", or remove `admit-from`";
        findings.error(line, "`admit-from` of a port that admits all", "a port with admit = \"vpn\"", cure);
    }
    vpn.then(|| Admission { from: from.unwrap_or_default() })
}

/// What the port lets in, as the difference of two files shows it.
pub(super) fn text(port: &Port) -> String {
    let Some(admission) = &port.admission else { return String::new() };
    let from: Vec<String> = admission.from.iter().map(ToString::to_string).collect();
    if from.is_empty() { "vpn".to_owned() } else { format!("vpn, and from {}", from.join(", ")) }
}

pub(super) fn fields(config: &Config) -> Vec<(String, String)> {
    let all = config.ports.iter().map(|port| (format!("port {}: admit", port.name), text(port)));
    all.filter(|(_, text)| !text.is_empty()).collect()
}

impl Config {
    /// Ports stay as they are over a reload; what they let in does not.
    pub fn admit_as(&self, ports: &mut [Port]) {
        for port in ports {
            if let Some(now) = self.ports.iter().find(|p| p.name == port.name) {
                port.admission.clone_from(&now.admission);
            }
        }
    }

    /// Which ports let in the VPN alone, the list whole.
    pub fn admissions(&self) -> Vec<TableCommand> {
        let mut out = vec![TableCommand::ClearAdmissions];
        let ike_ports = [self.control.ike_port, self.control.natt_port];
        for (port, admission) in
            (0..).zip(&self.ports).filter_map(|(n, p)| Some((PortId(n), p.admission.as_ref()?)))
        {
            out.push(TableCommand::AdmitVpn { port, ike_ports });
            out.extend(admission.from.iter().map(|range| TableCommand::AdmitFrom { port, range: *range }));
        }
        out
    }
}

pub(crate) fn check(config: &Config, findings: &mut Findings) {
    translation(config, findings);
    gre(config, findings);
    inside(config, findings);
}

/// What hosts inside get back comes in clear, and so does what is forwarded to them.
fn translation(config: &Config, findings: &mut Findings) {
    for rule in config.nat.iter().filter(|rule| rule.kind != NatKind::Exempt) {
        let port = rule.port.as_ref().and_then(|name| config.ports.iter().find(|p| p.name == *name));
        let Some(port) = port.filter(|p| p.admission.as_ref().is_some_and(|a| a.from.is_empty())) else {
            continue;
        };
        let found = format!("address translation by port \"{}\", which admits the VPN alone", port.name);
        let cure = format!(
            "remove `admit` (line {}), or write admit-from = [\"192.0.2.0/24\"] there, with whom these hosts speak",
            port.line
        );
        findings.error(rule.line, found, "a port by which answers come in", cure);
    }
}

/// GRE that nothing protects comes in clear.
fn gre(config: &Config, findings: &mut Findings) {
    for gre in config.gre.iter().filter(|gre| gre.protected_by.is_none()) {
        let mut ports = config.ports.iter().filter(|port| port.vrf.is_none()).peekable();
        let lets_in = |port: &Port| port.admission.as_ref().is_none_or(|a| a.holds(gre.remote));
        if ports.peek().is_none() || ports.any(lets_in) {
            continue;
        }
        let found = format!(
            "GRE \"{}\" is not protected, and no port admits anything but the VPN from {}",
            gre.device.name, gre.remote
        );
        let cure = format!(
            "write `protected-by`, or admit-from = [\"{}\"] at the [[port]] by which it comes",
            gre.remote
        );
        findings.error(gre.device.line, found, "a port by which its packets come in", cure);
    }
}

/// A gateway with one port, or one that closed that of its own networks, too: only the machine itself could use tunnels.
fn inside(config: &Config, findings: &mut Findings) {
    let closed = |port: &Port| port.admission.as_ref().is_some_and(|a| a.from.is_empty());
    let Some(port) = config.ports.first().filter(|_| config.ports.iter().all(closed)) else { return };
    let behind = |t: &&Tunnel| t.selectors.iter().any(|s| s.selector.local.start() != s.selector.local.end());
    if let Some(tunnel) = config.tunnels.iter().find(behind) {
        let found = format!(
            "every port admits the VPN alone: what hosts send into tunnel \"{}\" comes in by none of them",
            tunnel.name
        );
        let cure = "leave `admit` out at the port of the inside, or name its networks in `admit-from`";
        findings.warning(port.line, found, cure);
    }
}
