//! Rules of address translation as `show nat` and reloads say them.

use super::{KINDS, Nat, PROTOCOLS};
use crate::config::model::Config;
use crate::config::value::time_text;
use core::time::Duration;
use ravelin_ring::msg::{NatKind, NatRule, NatSettings};
use ravelin_wire::{AddrRange, PortRange};

pub(crate) fn kind_text(kind: NatKind) -> &'static str {
    KINDS.iter().find(|(_, k)| *k == kind).map_or("", |(name, _)| name)
}

/// A rule on one line, as `show nat` and reloads have it.
pub fn nat_text(config: &Config, rule: &Nat) -> String {
    let vrf = config.vrf_of_nat(rule).map_or_else(String::new, |vrf| format!("vrf {vrf}: "));
    format!("{vrf}{}", text(rule))
}

fn text(rule: &Nat) -> String {
    let list = |ranges: &[AddrRange]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let span = |ports: PortRange| match (ports.start(), ports.end()) {
        (first, last) if first == last => format!(":{first}"),
        _ if ports == PortRange::ANY => String::new(),
        (first, last) => format!(":{first}-{last}"),
    };
    let place = match (&rule.port, &rule.tunnel) {
        (Some(port), _) => format!(" port {port}"),
        (None, Some(tunnel)) => format!(" tunnel {tunnel}"),
        (None, None) => String::new(),
    };
    let target = rule.target.map_or_else(|| "the port's address".to_owned(), |t| t.to_string());
    let names: Vec<&str> =
        PROTOCOLS.iter().filter(|(_, bit)| rule.protocols & bit != 0).map(|(name, _)| *name).collect();
    let protocols =
        if rule.protocols == NatRule::ALL { String::new() } else { format!(" {}", names.join(",")) };
    let (from, to) = (
        list(&rule.from),
        if rule.own && rule.kind == NatKind::Destination {
            "the port's address".to_owned()
        } else {
            list(&rule.to)
        },
    );
    match rule.kind {
        NatKind::Exempt => format!("exempt {from} to {to}{}{protocols}", span(rule.ports)),
        NatKind::Source => {
            format!(
                "source {from} to {to}{}{place}{protocols} -> {target}{}",
                span(rule.ports),
                span(rule.target_ports)
            )
        }
        NatKind::Static => format!("static {from} to {to}{place}{protocols} <-> {target}"),
        NatKind::Destination => {
            format!(
                "destination {to}{} from {from}{place}{protocols} -> {target}{}",
                span(rule.ports),
                span(rule.target_ports)
            )
        }
    }
}

/// What a reload compares, as texts.
pub(crate) fn nat_fields(config: &Config) -> Vec<(String, String)> {
    let rules = config.nat.iter().enumerate();
    let rules = rules.map(|(n, rule)| (format!("rule {}", n + 1), nat_text(config, rule)));
    let NatSettings { flows: _, per_host, udp_s, tcp_s, tcp_transitory_s, icmp_s, other_s, .. } =
        config.translation;
    let open = config.translation.endpoint_independent_filter;
    let filtering = if open { "endpoint-independent" } else { "address-and-port-dependent" };
    let seconds = |s: u32| time_text(Duration::from_secs(s.into()));
    let bounds = [
        ("flows-per-host", per_host.to_string()),
        ("filtering", filtering.to_owned()),
        ("udp-timeout", seconds(udp_s)),
        ("tcp-timeout", seconds(tcp_s)),
        ("tcp-transitory-timeout", seconds(tcp_transitory_s)),
        ("icmp-timeout", seconds(icmp_s)),
        ("other-timeout", seconds(other_s)),
    ];
    rules.chain(bounds.map(|(key, text)| (key.to_owned(), text))).collect()
}
