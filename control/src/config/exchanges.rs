//! Keys of `[[tunnel]]` about more than one IKE SA at a time: backups of the peer's gateway, reauthentication; and
//! extensions of IKEv2.
//!
//! Decides: their ranges and defaults, and what contradicts the first gateway. Reads: tables. Writes: the model,
//! findings.

use super::diagnostic::Findings;
use super::diff::list;
use super::identity::{IdText, parse_identity};
use super::model::{Backup, Tunnel, TunnelExchanges};
use super::reader::{Table, report};
use super::value::{boolean, duration, gateway_address, number16, number32, text, time_text, word};
use core::net::IpAddr;
use core::time::Duration;
use ravelin_ike::config::{Identity, RedirectAt, RedirectTo};
use toml::Spanned;
use toml::de::DeValue;

pub(crate) const EXCHANGE_KEYS: &[&str] = &[
    "backups",
    "return-to-first",
    "reauthentication",
    "childless",
    "session-resumption",
    "retransmissions",
    "local-backups",
    "mobike",
    "remote-ike-port",
    "redirect",
    "one-way-after",
    "redirect-to",
    "redirect-at",
    "request-address",
    "address-device",
];
const BACKUP_KEYS: &[&str] = &["remote", "remote-id"];
const MAX_BACKUPS: usize = 7;
const EXAMPLE: &str = "[{ remote = \"198.18.0.3\", remote-id = \"c.example\" }]";

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn exchanges(
    table: &Table<'_>,
    ends: (IpAddr, Option<IpAddr>),
    findings: &mut Findings,
) -> TunnelExchanges {
    let list = table.list("backups", EXAMPLE, MAX_BACKUPS, findings, |e, _, f| backup(e, f));
    let backups = list.unwrap_or_default();
    check(&backups, ends, findings);
    let time = |v| duration(v, SECOND..=30 * DAY, true);
    let return_to_first = table.or("return-to-first", Duration::ZERO, findings, time);
    if !return_to_first.is_zero() && backups.is_empty() {
        let line = table.line_of("return-to-first", findings);
        let found = "`return-to-first` without `backups`";
        findings.error(line, found, "other gateways to return from", format!("add backups = {EXAMPLE}"));
    }
    let local_backups =
        table.list("local-backups", "[\"198.18.1.1\"]", MAX_BACKUPS, findings, |e, line, f| {
            gateway_address(e.get_ref()).map_err(|bad| report(f, line, "local-backups", bad)).ok()
        });
    let local_backups = local_backups.unwrap_or_default();
    if let Some(other) = local_backups.iter().find(|a| a.is_ipv4() != ends.0.is_ipv4() || **a == ends.0) {
        let line = table.line_of("local-backups", findings);
        let cure = "write other addresses of this gateway, of the same family";
        findings.error(line, format!("`local-backups` has {other}, `local` is {}", ends.0), "others", cure);
    }
    let addresses = super::request::addresses(table, ends.1, findings);
    TunnelExchanges {
        address_device: super::request::device(table, &addresses, findings),
        addresses,
        local_backups,
        remote_port: remote_port(table, ends.1, findings),
        redirect_to: redirect_to(table, ends.0, findings),
        redirect: table.or("redirect", false, findings, boolean),
        mobike: table.or("mobike", false, findings, boolean),
        backups,
        return_to_first,
        reauthentication: table.or("reauthentication", Duration::ZERO, findings, time),
        childless: table.or("childless", false, findings, boolean),
        resumption: table.or("session-resumption", false, findings, boolean),
        retransmissions: table
            .optional("retransmissions", findings, |v| number32(v, 1..=10, "retransmissions")),
        one_way_after: table.or("one-way-after", 30 * SECOND, findings, |v| duration(v, SECOND..=DAY, true)),
    }
}

/// R174: whoever calls says by which port.
fn remote_port(table: &Table<'_>, remote: Option<IpAddr>, findings: &mut Findings) -> Option<u16> {
    let port = table.optional("remote-ike-port", findings, |v| number16(v, 1..=u16::MAX, "a UDP port"))?;
    if remote.is_none() {
        let line = table.line_of("remote-ike-port", findings);
        let found = "`remote-ike-port`, but `remote` is \"any\"";
        findings.error(line, found, "a peer whom we call", "remove it, or write the peer's address");
    }
    Some(port)
}

/// RFC 5685, as gateway: where peers go, and what they have to show before they are told.
fn redirect_to(table: &Table<'_>, local: IpAddr, findings: &mut Findings) -> Option<RedirectTo> {
    let at = table.optional("redirect-at", findings, |v| {
        word(v, &[("init", RedirectAt::Init), ("auth", RedirectAt::Auth)])
    });
    let Some(gateway) = table.optional("redirect-to", findings, gateway_address) else {
        if at.is_some() && table.get("redirect-to").is_none() {
            let line = table.line_of("redirect-at", findings);
            let cure = "add redirect-to = \"198.18.0.3\"";
            findings.error(line, "`redirect-at` without `redirect-to`", "another gateway's address", cure);
        }
        return None;
    };
    if gateway == local || gateway.is_ipv4() != local.is_ipv4() {
        let line = table.line_of("redirect-to", findings);
        let found = format!("`redirect-to` is {gateway}, `local` is {local}");
        let expected = "another gateway's address, of the same family";
        findings.error(line, found, expected, "write the address of the gateway that serves in our place");
    }
    Some(RedirectTo { gateway, at: at.unwrap_or(RedirectAt::Init) })
}

/// R14: every gateway once, each with an address like the first one's.
fn check(backups: &[Backup], (local, first): (IpAddr, Option<IpAddr>), findings: &mut Findings) {
    let mut seen = vec![first];
    for backup in backups {
        let fault = if first.is_none() {
            let found = "`backups` of a peer with any address".to_owned();
            Some((found, "write the first gateway's address in `remote`"))
        } else if backup.remote.is_ipv4() != local.is_ipv4() {
            let found = format!("`local` is {local}, a backup is {}", backup.remote);
            Some((found, "write both as IPv4 or both as IPv6"))
        } else if seen.contains(&Some(backup.remote)) || backup.remote == local {
            Some((format!("the gateway {} stands twice", backup.remote), "write every gateway once"))
        } else {
            None
        };
        if let Some((found, cure)) = fault {
            let expected = "other gateways of the peer, each with an address of its own";
            findings.error(backup.line, found, expected, cure);
        }
        seen.push(Some(backup.remote));
    }
}

fn backup<'t>(element: &'t Spanned<DeValue<'t>>, findings: &mut Findings) -> Option<Backup> {
    let table = Table::open(element, "a backup", BACKUP_KEYS, findings)?;
    let what = "the address of another gateway of the peer";
    let remote = table.required("remote", what, "\"198.18.0.3\"", findings, gateway_address);
    let id = table.optional("remote-id", findings, |v| {
        parse_identity(text(v, "an identity", "write it in quotes")?, true)
    });
    let remote = remote?;
    Some(Backup { remote, remote_id: id.unwrap_or(Identity::Address(remote)), line: table.line })
}

impl Tunnel {
    /// The tunnel towards each gateway of its peer, the first one first.
    pub fn towards(&self) -> impl Iterator<Item = Self> {
        let backup = |b: &Backup| Self {
            remote: Some(b.remote),
            remote_id: b.remote_id.clone(),
            exchanges: TunnelExchanges { backups: Vec::new(), ..self.exchanges.clone() },
            line: b.line,
            ..self.clone()
        };
        core::iter::once(self.clone()).chain(self.exchanges.backups.iter().map(backup))
    }

    /// What the proofs with the gateway at this address rest on.
    pub fn credential(&self, remote: Option<IpAddr>) -> &str {
        let backup = self.exchanges.backups.iter().position(|b| Some(b.remote) == remote);
        let at = backup.filter(|_| self.remote != remote).map_or(0, |at| at + 1);
        self.credentials.get(at).map_or("", String::as_str)
    }

    /// Its SAs are of AH.
    pub fn is_ah(&self) -> bool {
        self.esp_proposals.iter().any(ravelin_ike::config::EspProposal::is_ah)
    }

    /// Our addresses, in order.
    pub fn locals(&self) -> impl Iterator<Item = IpAddr> {
        core::iter::once(self.local).chain(self.exchanges.local_backups.iter().copied())
    }

    /// One of its peer's gateways has this address.
    pub fn has_gateway(&self, addr: IpAddr) -> bool {
        self.remote.is_none_or(|r| r == addr) || self.exchanges.backups.iter().any(|b| b.remote == addr)
    }
}

/// Each key, and its text.
pub(crate) fn fields(exchanges: &TunnelExchanges) -> [(&'static str, String); 15] {
    let TunnelExchanges {
        backups,
        return_to_first,
        reauthentication,
        childless,
        resumption,
        retransmissions,
        local_backups,
        mobike,
        redirect,
        one_way_after,
        redirect_to,
        remote_port,
        addresses,
        address_device,
    } = exchanges;
    [
        ("backups", list(backups, backup_text)),
        ("return-to-first", time_text(*return_to_first)),
        ("reauthentication", time_text(*reauthentication)),
        ("childless", childless.to_string()),
        ("session-resumption", resumption.to_string()),
        ("retransmissions", retransmissions.map(|n| n.to_string()).unwrap_or_default()),
        ("local-backups", list(local_backups, ToString::to_string)),
        ("mobike", mobike.to_string()),
        ("redirect", redirect.to_string()),
        ("one-way-after", time_text(*one_way_after)),
        ("redirect-to", redirect_to.map(|r| r.gateway.to_string()).unwrap_or_default()),
        ("remote-ike-port", remote_port.map(|port| port.to_string()).unwrap_or_default()),
        ("redirect-at", redirect_to.map(|r| at_text(r.at).to_owned()).unwrap_or_default()),
        ("request-address", list(addresses, super::request::text)),
        ("address-device", address_device.as_ref().map(ToString::to_string).unwrap_or_default()),
    ]
}

const fn at_text(at: RedirectAt) -> &'static str {
    match at {
        RedirectAt::Init => "init",
        RedirectAt::Auth => "auth",
    }
}

fn backup_text(b: &Backup) -> String {
    format!("{} ({})", b.remote, IdText(&b.remote_id))
}
