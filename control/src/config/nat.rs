//! `[[nat]]` and `[translation]`: rules of address translation, in their order, and its bounds.
//!
//! Decides: which keys a kind of rule has, what they default to, what contradicts what. Reads: tables.
//! Writes: the model, findings, the data plane's rules. Never: asks which addresses the machine has.

mod check;
mod compile;
mod text;

pub(crate) use check::check;
pub use text::nat_text;
pub(crate) use text::{kind_text, nat_fields};

use core::time::Duration;
use ravelin_ring::msg::{NatKind, NatRule, NatSettings};
use ravelin_wire::{AddrRange, PortRange};
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::DeviceName;
use super::reader::{Table, report};
use super::value::{Bad, addresses, duration, number32, ports, shown, text, word};

pub(crate) const NAT_KEYS: &[&str] = &[
    "kind",
    "from",
    "to",
    "protocols",
    "ports",
    "port",
    "tunnel",
    "pool",
    "pool-ports",
    "target",
    "target-port",
    "vrf",
];
pub(crate) const TRANSLATION_KEYS: &[&str] = &[
    "flows",
    "flows-per-host",
    "filtering",
    "udp-timeout",
    "tcp-timeout",
    "tcp-transitory-timeout",
    "icmp-timeout",
    "other-timeout",
];
pub(crate) const MAX_NAT: usize = 256;
const MAX_LIST: usize = 64;
/// Of an address that is the host's own, too: above what Linux gives its sockets (`ip_local_port_range`).
const OWN_PORTS: (u16, u16) = (61_000, 65_535);
const POOL_PORTS: (u16, u16) = (1024, 65_535);
const OWN: &str = "port";

/// One rule of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    pub kind: NatKind,
    pub from: Vec<AddrRange>,
    pub to: Vec<AddrRange>,
    pub protocols: u8,
    pub ports: PortRange,
    /// Pool of a source, outside of a static rule, inside host of a destination; `None`: the port's own address.
    pub target: Option<AddrRange>,
    pub target_ports: PortRange,
    /// The outside of a destination is the port's own address.
    pub own: bool,
    pub port: Option<DeviceName>,
    pub tunnel: Option<String>,
    /// As it was written: see [`Config::vrf_of_nat`](super::model::Config::vrf_of_nat).
    pub vrf: Option<String>,
    pub line: u32,
}

const KINDS: &[(&str, NatKind)] = &[
    ("source", NatKind::Source),
    ("destination", NatKind::Destination),
    ("static", NatKind::Static),
    ("exempt", NatKind::Exempt),
];

const PROTOCOLS: &[(&str, u8)] =
    &[("tcp", NatRule::TCP), ("udp", NatRule::UDP), ("icmp", NatRule::ICMP), ("others", NatRule::OTHERS)];

pub(crate) fn nat(table: &Table<'_>, findings: &mut Findings) -> Option<Nat> {
    let what = "what the rule does";
    let kind = table.required("kind", what, "\"source\"", findings, |v| word(v, KINDS))?;
    refuse_keys(table, kind, findings);
    let own = [("pool", NatKind::Source), ("to", NatKind::Destination)]
        .iter()
        .any(|(key, of)| *of == kind && table.get(key).and_then(|v| v.get_ref().as_str()) == Some(OWN));
    let example = "[\"10.1.0.0/24\"]";
    let from = ranges(table, "from", findings);
    if from.is_none() && matches!(kind, NatKind::Source | NatKind::Static) {
        let found = "`from` is missing in [[nat]]";
        findings.error(table.line, found, "the networks inside", format!("add from = {example}"));
    }
    let to = if own && kind == NatKind::Destination { None } else { ranges(table, "to", findings) };
    if to.is_none() && kind == NatKind::Destination && !own {
        let cure = "add to = [\"192.0.2.1\"], or to = \"port\" for the address that the port has";
        findings.error(table.line, "`to` is missing in [[nat]]", "the address outside", cure);
    }
    let protocols = protocols(table, kind, own, findings);
    let ports = match table.optional("ports", findings, ports) {
        Some(ports) => ports,
        None if kind == NatKind::Destination => {
            let cure = "add ports = \"443\"";
            findings.error(table.line, "`ports` is missing in [[nat]]", "the ports outside", cure);
            PortRange::ANY
        }
        None => PortRange::ANY,
    };
    let port = table.optional("port", findings, device);
    let tunnel = table.optional("tunnel", findings, |v| {
        text(v, "the name of a [[tunnel]]", "write it in quotes").map(str::to_owned)
    });
    let vrf = table.optional("vrf", findings, super::vrf::name);
    whereabouts(table, kind, (&port, &tunnel), own, findings);
    let (target, target_ports) = target(table, kind, own, ports, findings);
    Some(Nat {
        kind,
        from: from.unwrap_or_else(|| vec![AddrRange::ANY_V4]),
        to: to.unwrap_or_else(|| vec![AddrRange::ANY_V4]),
        protocols,
        ports,
        target,
        target_ports,
        own,
        port,
        tunnel,
        vrf,
        line: table.line,
    })
}

/// Keys that a rule of this kind has no use for.
fn refuse_keys(table: &Table<'_>, kind: NatKind, findings: &mut Findings) {
    let unused: &[&str] = match kind {
        NatKind::Exempt => &["port", "tunnel", "pool", "pool-ports", "target", "target-port"],
        NatKind::Source => &["target", "target-port"],
        NatKind::Static => &["ports", "pool-ports", "target", "target-port"],
        NatKind::Destination => &["pool", "pool-ports"],
    };
    for key in unused.iter().filter(|key| table.get(key).is_some()) {
        let found = format!("`{key}` in a [[nat]] of kind \"{}\"", kind_text(kind));
        findings.error(table.line_of(key, findings), found, "a key that this kind has", "remove it");
    }
}

fn ranges(table: &Table<'_>, key: &'static str, findings: &mut Findings) -> Option<Vec<AddrRange>> {
    table.list(key, "[\"10.1.0.0/24\"]", MAX_LIST, findings, |element, line, findings| {
        v4(element.get_ref()).map_err(|bad| report(findings, line, key, bad)).ok()
    })
}

/// Addresses of IPv4: that of IPv6 is not translated.
fn v4(value: &DeValue<'_>) -> Result<AddrRange, Bad> {
    let range = addresses(value)?;
    if range.start().is_ipv4() {
        return Ok(range);
    }
    Err(Bad::new(shown(value), "IPv4 addresses", "IPv6 is not translated: route it instead"))
}

fn device(value: &DeValue<'_>) -> Result<DeviceName, Bad> {
    let (expected, cure) = ("the name of a [[port]]", "write it in quotes");
    DeviceName::new(text(value, expected, cure)?).ok_or_else(|| Bad::new(shown(value), expected, cure))
}

fn protocols(table: &Table<'_>, kind: NatKind, own: bool, findings: &mut Findings) -> u8 {
    let all = match kind {
        NatKind::Destination => NatRule::TCP | NatRule::UDP,
        // Of an address that the host has, too, only ports and identifiers can be told apart.
        NatKind::Source if own => NatRule::TCP | NatRule::UDP | NatRule::ICMP,
        NatKind::Source | NatKind::Static | NatKind::Exempt => NatRule::ALL,
    };
    let each = |element: &toml::Spanned<DeValue<'_>>, line, findings: &mut Findings| {
        word(element.get_ref(), PROTOCOLS).map_err(|bad| report(findings, line, "protocols", bad)).ok()
    };
    let list = table.list("protocols", "[\"tcp\", \"udp\"]", 4, findings, each);
    let given = list.map_or(all, |list| list.iter().fold(0, |bits, bit| bits | bit));
    if given & !all != 0 {
        let (what, cure) = match kind {
            NatKind::Destination => {
                ("tcp and udp, which have ports", "write a rule of kind \"static\" for others")
            }
            NatKind::Exempt | NatKind::Source | NatKind::Static => {
                ("tcp, udp and icmp", "translate others by a pool of addresses that the host does not have")
            }
        };
        let line = table.line_of("protocols", findings);
        findings.error(line, "`protocols` that this rule cannot translate", what, cure);
    }
    given
}

/// A rule says where it holds: for what leaves by a port, or goes into a tunnel.
fn whereabouts(
    table: &Table<'_>,
    kind: NatKind,
    (port, tunnel): (&Option<DeviceName>, &Option<String>),
    own: bool,
    findings: &mut Findings,
) {
    if kind == NatKind::Exempt {
        return;
    }
    let (found, cure) = match (port, tunnel) {
        (None, None) => {
            ("neither `port` nor `tunnel` in [[nat]]", "add port = \"wan0\", or tunnel = \"name\"")
        }
        (Some(_), Some(_)) => ("`port` and `tunnel` in one [[nat]]", "write one rule for each"),
        (None, Some(_)) if own => (
            "\"port\" as the address of a tunnel's rule",
            "write the address that the tunnel's selectors have",
        ),
        _ => return,
    };
    findings.error(table.line, found, "the port by which packets leave, or their tunnel", cure);
}

fn target(
    table: &Table<'_>,
    kind: NatKind,
    own: bool,
    ports: PortRange,
    findings: &mut Findings,
) -> (Option<AddrRange>, PortRange) {
    let range = |(first, last)| PortRange::new(first, last).unwrap_or(PortRange::ANY);
    match kind {
        NatKind::Exempt => (None, PortRange::ANY),
        NatKind::Source | NatKind::Static => {
            let what = "the addresses outside, or \"port\" for the address that the port has";
            let parse = |v: &DeValue<'_>| match v.as_str() {
                Some(OWN) if kind == NatKind::Source => Ok(None),
                _ => v4(v).map(Some),
            };
            let pool = table.required("pool", what, "\"192.0.2.8-192.0.2.15\"", findings, parse);
            let default = range(if own { OWN_PORTS } else { POOL_PORTS });
            (pool.flatten(), table.or("pool-ports", default, findings, super::value::ports))
        }
        NatKind::Destination => {
            let target = table.required("target", "the host inside", "\"10.1.0.80\"", findings, v4);
            let one = target.filter(|t| t.start() != t.end());
            if let Some(many) = one {
                let line = table.line_of("target", findings);
                findings.error(
                    line,
                    format!("`target`: {many}"),
                    "one address",
                    "write the address of one host",
                );
            }
            let first = table.optional("target-port", findings, |v| {
                super::value::number16(v, 1..=u16::MAX, "the first port inside")
            });
            let first = first.unwrap_or_else(|| ports.start());
            let last = first.checked_add(ports.end() - ports.start());
            if last.is_none() {
                let line = table.line_of("target-port", findings);
                findings.error(
                    line,
                    "`target-port` leaves no room for as many ports as `ports`",
                    "",
                    "write a lower one",
                );
            }
            (target, range((first, last.unwrap_or(first))))
        }
    }
}

pub(crate) fn translation(table: Option<&Table<'_>>, findings: &mut Findings) -> NatSettings {
    let default = NatSettings::default();
    let Some(table) = table else { return default };
    let mut time = |key, least: u64, default: u32| {
        let range = Duration::from_secs(least)..=Duration::from_secs(7 * 86_400);
        let default = Duration::from_secs(default.into());
        let time = table.or(key, default, findings, |v| duration(v, range, false));
        u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
    };
    // RFC 4787 REQ-5 and RFC 5382 REQ-5 have higher ones; who sets lower ones knows why.
    let udp_s = time("udp-timeout", 5, default.udp_s);
    let tcp_s = time("tcp-timeout", 60, default.tcp_s);
    let tcp_transitory_s = time("tcp-transitory-timeout", 5, default.tcp_transitory_s);
    let icmp_s = time("icmp-timeout", 1, default.icmp_s);
    let other_s = time("other-timeout", 5, default.other_s);
    let flows = |v: &DeValue<'_>| number32(v, 16..=NatSettings::MAX_FLOWS, "sessions");
    NatSettings {
        flows: table.or("flows", default.flows, findings, flows),
        per_host: table.or("flows-per-host", default.per_host, findings, flows),
        udp_s,
        tcp_s,
        tcp_transitory_s,
        icmp_s,
        other_s,
        endpoint_independent_filter: table.or("filtering", false, findings, |v| {
            word(v, &[("endpoint-independent", true), ("address-and-port-dependent", false)])
        }),
    }
}
