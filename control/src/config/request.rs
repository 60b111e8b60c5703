//! `request-address` and `address-device`: an address from the peer (RFC 7296 §2.19).
//!
//! Decides: what may be asked for. Reads: tables. Writes: the model, findings. Never: gives or takes an address.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::{DeviceName, Tunnel};
use super::reader::{Table, report};
use super::value::{Bad, gateway_address, shown};
use ravelin_ike::config::{Mode, Start};

const EXAMPLE: &str = "[\"ipv4\"]";
/// One of each family.
const MAX: usize = 2;

pub(crate) fn addresses(table: &Table<'_>, remote: Option<IpAddr>, findings: &mut Findings) -> Vec<IpAddr> {
    let each = |e: &toml::Spanned<DeValue<'_>>, line, f: &mut Findings| {
        one(e.get_ref()).map_err(|bad| report(f, line, "request-address", bad)).ok()
    };
    let Some(wanted) = table.list("request-address", EXAMPLE, MAX, findings, each) else { return Vec::new() };
    let line = table.line_of("request-address", findings);
    if let [first, second] = wanted[..]
        && first.is_ipv4() == second.is_ipv4()
    {
        let found = format!("`request-address` asks for {} and {}", text(&first), text(&second));
        findings.error(line, found, "at most one address of each family", "remove one of them");
    }
    if remote.is_none() {
        let cure = "write the peer's address in `remote`, or `pool` to give addresses to peers";
        let found = "`request-address`, but `remote` is \"any\"";
        findings.error(line, found, "a peer that can be asked", cure);
    }
    wanted
}

fn one(value: &DeValue<'_>) -> Result<IpAddr, Bad> {
    match value.as_str() {
        Some("ipv4") => Ok(Ipv4Addr::UNSPECIFIED.into()),
        Some("ipv6") => Ok(Ipv6Addr::UNSPECIFIED.into()),
        _ => gateway_address(value).map_err(|_| {
            Bad::new(shown(value), "\"ipv4\", \"ipv6\" or an address", format!("write for example {EXAMPLE}"))
        }),
    }
}

pub(crate) fn device(table: &Table<'_>, asked: &[IpAddr], findings: &mut Findings) -> Option<DeviceName> {
    let device = table.optional("address-device", findings, super::sections::device)?;
    if asked.is_empty() {
        let line = table.line_of("address-device", findings);
        let cure = format!("add request-address = {EXAMPLE}");
        findings.error(line, "`address-device` without `request-address`", "an address to put there", cure);
    }
    Some(device)
}

/// Who waits for its peer cannot ask it; what is asked for must be of use.
pub(crate) fn check(tunnel: &Tunnel, findings: &mut Findings) {
    let asked = &tunnel.exchanges.addresses;
    if asked.is_empty() {
        return;
    }
    if tunnel.mode == Mode::Transport {
        let cure = "write mode = \"tunnel\", or remove request-address";
        findings.error(tunnel.line, "`request-address` in transport mode", "tunnel mode", cure);
    }
    if tunnel.start == Start::Respond {
        let cure = "write start = \"immediately\" or \"on-traffic\"";
        let found = "`request-address` with start = \"respond\"";
        findings.error(tunnel.line, found, "a tunnel that begins: only who begins can ask", cure);
    }
    for s in &tunnel.selectors {
        let local = s.selector.local;
        let fits = |a: &&IpAddr| {
            if a.is_unspecified() { a.is_ipv4() == local.start().is_ipv4() } else { local.contains(**a) }
        };
        if !asked.iter().any(|a| fits(&a)) {
            let found = format!("a selector with local = \"{local}\", which no requested address can be of");
            let cure = "leave `local` out, or ask for an address of its family";
            findings.error(s.line, found, "a local side that holds the address", cure);
        }
    }
}

/// As the file has it.
pub(crate) fn text(addr: &IpAddr) -> String {
    match addr {
        IpAddr::V4(a) if a.is_unspecified() => "ipv4".to_owned(),
        IpAddr::V6(a) if a.is_unspecified() => "ipv6".to_owned(),
        IpAddr::V4(_) | IpAddr::V6(_) => addr.to_string(),
    }
}
