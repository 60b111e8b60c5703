//! `selectors`: which packets a child carries.
//!
//! Decides: the keys of a selector and what goes together in it. Reads: tables. Writes: the model, findings.
//! Never: compares selectors with each other (see [`super::check`]).

use ravelin_wire::{AddrRange, PortRange, Selector};
use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::TunnelSelector;
use super::reader::Table;
use super::value::{addresses, has_ports, icmp, ports, protocol};

pub(crate) const SELECTOR_KEYS: &[&str] =
    &["local", "remote", "protocol", "local-port", "remote-port", "icmp"];
pub(crate) const MAX_SELECTORS: usize = 64;

const EXAMPLE: &str = "[{ local = \"10.1.0.0/24\", remote = \"10.2.0.0/24\" }]";

/// What may come out of the tunnel, beside what its SAs allow (R223); none: all of that.
pub(crate) fn filter(table: &Table<'_>, findings: &mut Findings) -> Vec<TunnelSelector> {
    let list =
        table.list("filter-decrypted", EXAMPLE, MAX_SELECTORS, findings, |e, _, f| selector(e, false, f));
    list.unwrap_or_default()
}

/// `asks`: the tunnel asks its peer for an address, which is the local side where none is written.
pub(crate) fn selectors(
    table: &Table<'_>,
    asks: bool,
    findings: &mut Findings,
) -> Option<Vec<TunnelSelector>> {
    let example = EXAMPLE;
    let list = table.list("selectors", example, MAX_SELECTORS, findings, |e, _, f| selector(e, asks, f));
    if list.is_none() {
        let what = "which traffic the tunnel protects";
        findings.error(
            table.line,
            "`selectors` is missing in [[tunnel]]",
            what,
            format!("add selectors = {example}"),
        );
    }
    list
}

fn selector<'t>(
    element: &'t Spanned<DeValue<'t>>,
    asks: bool,
    findings: &mut Findings,
) -> Option<TunnelSelector> {
    let table = Table::open(element, "a selector", SELECTOR_KEYS, findings)?;
    let what = "addresses behind this gateway";
    let unwritten = asks && table.get("local").is_none();
    let local = match unwritten {
        true => None,
        false => table.required("local", what, "\"10.1.0.0/24\"", findings, addresses),
    };
    let what = "addresses behind the peer";
    let remote = table.required("remote", what, "\"10.2.0.0/24\"", findings, addresses);
    let any = |r: &AddrRange| if r.start().is_ipv4() { AddrRange::ANY_V4 } else { AddrRange::ANY_V6 };
    let local = local.or_else(|| remote.as_ref().filter(|_| unwritten).map(any));
    let protocol = table.or("protocol", None, findings, protocol);
    let local_ports = table.or("local-port", PortRange::ANY, findings, ports);
    let remote_ports = table.or("remote-port", PortRange::ANY, findings, ports);
    let (local, remote) = (local?, remote?);
    if local.start().is_ipv4() != remote.start().is_ipv4() {
        let found = format!("a selector from {local} to {remote}");
        findings.error(table.line, found, "both sides of one family", "write one selector for each family");
    }
    let icmp = table.optional("icmp", findings, icmp);
    if icmp.is_some() && !matches!(protocol, Some(1 | 58)) {
        let cure = "add protocol = \"icmp\"";
        findings.error(
            table.line,
            "a selector with `icmp`, but of another protocol",
            "protocol icmp or icmpv6",
            cure,
        );
    }
    let any_ports = local_ports == PortRange::ANY && remote_ports == PortRange::ANY;
    if !any_ports && !protocol.is_some_and(has_ports) {
        findings.error(
            table.line,
            "a selector with ports, but without a protocol that has them",
            "protocol tcp, udp, sctp, dccp or udplite",
            "add protocol = \"tcp\"",
        );
    }
    // RFC 4301 §4.4.1.1: type and code stand where the ports stand, on both sides.
    let (local_ports, remote_ports) = icmp.map_or((local_ports, remote_ports), |word| (word, word));
    let selector = Selector { local, remote, protocol, local_ports, remote_ports };
    Some(TunnelSelector { selector, line: table.line })
}
