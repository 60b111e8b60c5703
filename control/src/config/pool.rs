//! `pool` and `dns`: addresses for the peers of a tunnel for any address (RFC 7296 §2.19).
//!
//! Decides: what a pool may hold. Reads: tables. Writes: the model, findings. Never: gives an address away.

use core::net::IpAddr;
use ravelin_ike::config::Pool;

use super::diagnostic::Findings;
use super::model::Tunnel;
use super::reader::{Table, report};
use super::value::{addresses, gateway_address};

const MAX_RANGES: usize = 16;
const MAX_DNS: usize = 8;

pub(crate) fn pool(table: &Table<'_>, remote: Option<IpAddr>, findings: &mut Findings) -> Option<Pool> {
    let each = |element: &toml::Spanned<toml::de::DeValue<'_>>, line, findings: &mut Findings| {
        addresses(element.get_ref()).map_err(|bad| report(findings, line, "pool", bad)).ok()
    };
    let ranges = table.list("pool", "[\"10.3.0.0/24\"]", MAX_RANGES, findings, each);
    let each = |element: &toml::Spanned<toml::de::DeValue<'_>>, line, findings: &mut Findings| {
        gateway_address(element.get_ref()).map_err(|bad| report(findings, line, "dns", bad)).ok()
    };
    let dns = table.list("dns", "[\"10.1.0.53\"]", MAX_DNS, findings, each);
    let Some(ranges) = ranges else {
        if dns.is_some() {
            let line = table.line_of("dns", findings);
            findings.error(
                line,
                "`dns` without `pool`",
                "a pool of addresses too",
                "add pool = [\"10.3.0.0/24\"]",
            );
        }
        return None;
    };
    if remote.is_some() {
        let line = table.line_of("pool", findings);
        let cure = "write remote = \"any\", or remove pool";
        findings.error(line, "`pool`, but `remote` is one address", "remote = \"any\"", cure);
    }
    Some(Pool { addresses: ranges, dns: dns.unwrap_or_default() })
}

/// An address that no selector covers would be of no use to its peer.
pub(crate) fn check(tunnel: &Tunnel, findings: &mut Findings) {
    for range in tunnel.pool.iter().flat_map(|pool| &pool.addresses) {
        if !tunnel.selectors.iter().any(|s| s.selector.remote.covers(range)) {
            let found = format!("`pool`: {range} is not within `remote` of a selector");
            let cure = format!("add a selector with remote = \"{range}\"");
            findings.error(tunnel.line, found, "addresses that the tunnel carries", cure);
        }
    }
}
