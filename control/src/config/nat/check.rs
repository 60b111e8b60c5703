//! What contradicts what in rules of address translation.
//!
//! Decides: which lawful rules do not go together. Reads: the model. Writes: findings. Never: changes the model.

use super::Nat;
use crate::config::diagnostic::Findings;
use crate::config::model::Config;
use core::net::IpAddr;
use ravelin_ring::msg::NatKind;
use ravelin_wire::AddrRange;

pub(crate) fn check(config: &Config, findings: &mut Findings) {
    for rule in &config.nat {
        names(config, rule, findings);
        vrf(config, rule, findings);
        sizes(rule, findings);
        tunnel(config, rule, findings);
    }
    for (n, rule) in config.nat.iter().enumerate() {
        // Addresses of two VRFs are not the same ones.
        let same = |before: &&Nat| config.vrf_of_nat(before) == config.vrf_of_nat(rule);
        for before in config.nat.iter().take(n).filter(same) {
            overlap(rule, before, findings);
        }
    }
}

fn names(config: &Config, rule: &Nat, findings: &mut Findings) {
    if let Some(port) = rule.port.as_ref().filter(|name| !config.ports.iter().any(|p| p.name == **name)) {
        let found = format!("`port`: there is no [[port]] \"{port}\"");
        findings.error(rule.line, found, "the name of a [[port]]", "write the name of one, or add it");
    }
    if let Some(name) = rule.tunnel.as_ref().filter(|name| config.tunnel(name).is_none()) {
        let found = format!("`tunnel`: there is no [[tunnel]] \"{name}\"");
        findings.error(rule.line, found, "the name of a [[tunnel]]", "write the name of one, or add it");
    }
}

/// Sessions are known by addresses, which another VRF may have too.
fn vrf(config: &Config, rule: &Nat, findings: &mut Findings) {
    let (Some(vrf), Some(place)) = (&rule.vrf, config.place_of_nat(rule)) else { return };
    if place == Some(vrf) {
        return;
    }
    let what = match (&rule.port, &rule.tunnel) {
        (Some(port), _) => format!("port \"{port}\""),
        (None, tunnel) => format!("tunnel \"{}\"", tunnel.as_deref().unwrap_or_default()),
    };
    let at = place.map_or_else(|| "the main one".to_owned(), |other| format!("\"{other}\""));
    let found = format!("`vrf` is \"{vrf}\", and {what} is in {at}");
    let cure = "remove `vrf` (it follows from the port or the tunnel), or name one that is in it";
    findings.error(rule.line, found, "a port or a tunnel of that VRF", cure);
}

impl Config {
    /// The VRF in which a rule holds: that of its port or its tunnel; of one without either, the one that it names.
    pub fn vrf_of_nat<'c>(&'c self, rule: &'c Nat) -> Option<&'c str> {
        let place = self.place_of_nat(rule).unwrap_or(rule.vrf.as_ref());
        place.map(String::as_str)
    }

    /// `None`: it names neither port nor tunnel.
    fn place_of_nat(&self, rule: &Nat) -> Option<Option<&String>> {
        let port = rule.port.as_ref().and_then(|name| self.ports.iter().find(|p| p.name == *name));
        let tunnel = || rule.tunnel.as_deref().and_then(|name| self.tunnel(name));
        port.map(|port| port.vrf.as_ref()).or_else(|| tunnel().map(|tunnel| tunnel.vrf.as_ref()))
    }
}

fn sizes(rule: &Nat, findings: &mut Findings) {
    let (Some(pool), [from]) = (rule.target, rule.from.as_slice()) else {
        if rule.kind == NatKind::Static && rule.from.len() > 1 {
            let cure = "write one rule for each network";
            findings.error(rule.line, "several networks in a static rule", "one in `from`", cure);
        }
        return;
    };
    if rule.kind == NatKind::Static && size(from) != size(&pool) {
        let found = format!("a static rule from {from} to {pool}");
        findings.error(rule.line, found, "as many addresses inside as outside", "make both equally long");
    }
    if rule.kind == NatKind::Destination && rule.to.iter().any(|to| to.start() != to.end()) && !rule.own {
        findings.error(
            rule.line,
            "`to` of several addresses",
            "one address",
            "write one rule for each address",
        );
    }
}

fn size(range: &AddrRange) -> u64 {
    match (range.start(), range.end()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u64::from(last.to_bits() - first.to_bits()) + 1,
        _ => 0,
    }
}

/// Selectors speak of translated addresses: what a rule for a tunnel makes must be what the tunnel carries.
fn tunnel(config: &Config, rule: &Nat, findings: &mut Findings) {
    let Some(tunnel) = rule.tunnel.as_ref().and_then(|name| config.tunnel(name)) else { return };
    if !tunnel.is_policy_based() {
        let found = format!(
            "`tunnel`: \"{}\" has an interface, and no selectors that say what goes there",
            tunnel.name
        );
        return findings.error(
            rule.line,
            found,
            "a tunnel with selectors",
            "translate at the other end, or by `port`",
        );
    }
    let outside = if rule.kind == NatKind::Destination { rule.to.first().copied() } else { rule.target };
    let Some(outside) = outside else { return };
    if !tunnel.selectors.iter().any(|s| s.selector.local.covers(&outside)) {
        let found = format!("{outside} is not within `local` of a selector of tunnel \"{}\"", tunnel.name);
        let cure = format!("write local = \"{outside}\" in its selector: it speaks of translated addresses");
        findings.error(rule.line, found, "addresses that the tunnel carries", cure);
    }
}

/// An outside end must tell by which rule it came about.
fn overlap(rule: &Nat, before: &Nat, findings: &mut Findings) {
    let outside = |rule: &Nat| match rule.kind {
        NatKind::Source | NatKind::Static => rule.target,
        NatKind::Destination => rule.to.first().copied().filter(|_| !rule.own),
        NatKind::Exempt => None,
    };
    let both_own = rule.own && before.own && rule.port == before.port;
    let shared = match (outside(rule), outside(before)) {
        (Some(a), Some(b)) => a.intersect(&b).is_some(),
        _ => both_own,
    };
    let ports = |rule: &Nat| if rule.kind == NatKind::Destination { rule.ports } else { rule.target_ports };
    let same_pool = outside(rule) == outside(before) && ports(rule) == ports(before);
    let fine = match (rule.kind, before.kind) {
        (NatKind::Source, NatKind::Source) => same_pool,
        (NatKind::Static, _) | (_, NatKind::Static) => false,
        // Other senders, protocols or ports.
        (NatKind::Destination, NatKind::Destination) => true,
        _ => ports(rule).intersect(&ports(before)).is_none(),
    };
    if shared && !fine {
        let found =
            format!("the addresses outside are those of line {} too, and the ports as well", before.line);
        let cure = match (rule.kind, before.kind) {
            (NatKind::Source, NatKind::Source) => {
                "write the same pool and pool-ports in both, or pools apart"
            }
            (NatKind::Static, _) | (_, NatKind::Static) => "give the static rule addresses of its own",
            _ => "write pool-ports that leave out the forwarded ports",
        };
        findings.error(rule.line, found, "every address and port once", cure);
    }
}
