//! `[[tunnel]]` and its selectors.
//!
//! Decides: their keys, ranges and defaults, and what contradicts what within one tunnel.
//! Reads: tables. Writes: the model, findings. Never: looks at another tunnel (see [`super::check`]).

use core::net::IpAddr;
use core::time::Duration;
use ravelin_ike::config::{Identity, Start};
use ravelin_ring::msg::TunnelId;
use toml::de::DeValue;

use super::child::{Part, traffic};
use super::diagnostic::Findings;
use super::exchanges::exchanges;
use super::identity::parse_identity;
use super::life::Life;
use super::model::{Encapsulation, Tunnel, Way};
use super::proposal::{ageing, is_legacy, parse_ike};
use super::reader::{Table, report};
use super::travel::Level;
use super::value::{Bad, duration, gateway_address, number16, number32, shown, text, word};

pub(crate) const TUNNEL_KEYS: &[&str] = &[
    "name",
    "local",
    "remote",
    "local-interface",
    "local-id",
    "remote-id",
    "ike-proposals",
    "allow-legacy",
    "esp-proposals",
    "selectors",
    "filter-decrypted",
    "start",
    "encapsulation",
    "mode",
    "ah-proposals",
    "pfs",
    "child",
    "interface",
    "manual",
    "pool",
    "dns",
    "vrf",
    "outside-vrf",
    "per-worker",
    "shared-crypto",
    "tfc-padding",
    "ike-fragment-size",
    "ike-lifetime",
    "dpd",
];
pub(crate) const MAX_TUNNELS: usize = 16_384;
const MAX_PROPOSALS: usize = 16;
const MAX_NAME: usize = 63;

/// Where neither is written: what a quantum computer does not break first (RFC 9370), then AEAD (RFC 8221, RFC 8247),
/// then what every peer has (R101, R102).
pub(crate) const DEFAULT_IKE: &[&str] = &[
    "aes256gcm16-prfsha384-x25519-mlkem768",
    "aes256gcm16-prfsha384-x25519",
    "aes256gcm16-prfsha384-ecp384",
    "aes128gcm16-prfsha256-x25519",
    "aes128gcm16-prfsha256-ecp256",
    "aes256-sha256-x25519",
    "aes256-sha256-modp2048",
    "aes128-sha256-modp2048",
];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// `None` when a key that has no default is absent or wrong.
pub(crate) fn tunnel(
    table: &Table<'_>,
    id: TunnelId,
    above: Level,
    findings: &mut Findings,
) -> Option<Tunnel> {
    let name = table.required("name", "a name for commands and logs", "\"office\"", findings, name);
    let ends = ends(table, findings);
    let manual = super::manual::manual(table, findings);
    let mut auth = super::auth::auth(table, findings);
    if table.get("manual").is_some() {
        (auth.local, auth.remote) = (Way::Manual, Way::Manual);
    }
    let ike_proposals =
        proposals(table, "ike-proposals", DEFAULT_IKE, |word| Ok(vec![parse_ike(word)?]), findings);
    let mut part = Part::read(table, &ike_proposals, None, above, findings);
    let life = Life::read(table, findings);
    let encapsulation = table.or("encapsulation", Encapsulation::Auto, findings, |v| {
        word(v, &[("auto", Encapsulation::Auto), ("udp", Encapsulation::Udp)])
    });
    let ike_fragment_size = table.or("ike-fragment-size", Some(1280), findings, fragment_size);
    let dpd = table.or("dpd", 20 * SECOND, findings, |v| duration(v, SECOND..=DAY, true));
    let between = ends.as_ref().map(|ends| (ends.local, ends.remote));
    let gateway = ends.as_ref().map(|ends| ends.local);
    let interface = super::interface::interface(table, part.level.tunnel_mtu, gateway, findings);
    let selectors = match (&interface, table.get("selectors")) {
        (Some(interface), None) => Some(super::interface::everything(interface.line)),
        _ => traffic(table, part.mode, between, table.get("request-address").is_some(), findings),
    };
    let ends = ends?;
    let (name, selectors) = (name?, selectors?);
    let start = start(table, ends.remote, findings);
    let mut exchanges = exchanges(table, (ends.local, ends.remote), findings);
    if let Some(inner) = manual.as_ref().and_then(super::manual::Manual::inner) {
        part.proposals = vec![inner.proposal];
        part.level.replay_window = 0;
        exchanges.one_way_after = Duration::ZERO;
    }
    super::auth::check_eap(table, &auth, start, findings);
    Some(Tunnel {
        id,
        parent: None,
        name,
        local: ends.local,
        local_interface: table.optional("local-interface", findings, super::sections::device),
        remote: ends.remote,
        local_id: ends.local_id,
        remote_id: ends.remote_id,
        auth,
        manual,
        ike_proposals,
        mode: part.mode,
        esp_proposals: part.proposals,
        selectors,
        filter: super::selectors::filter(table, findings),
        interface,
        vrf: table.optional("vrf", findings, super::vrf::name),
        outside_vrf: table.optional("outside-vrf", findings, super::vrf::name),
        pool: super::pool::pool(table, ends.remote, findings),
        start,
        encapsulation,
        per_worker: part.per_worker,
        shared: part.shared,
        tfc: part.tfc,
        replay_window: part.level.replay_window,
        tunnel_mtu: part.level.tunnel_mtu,
        df: part.level.df,
        travel: part.level.travel,
        ike_fragment_size,
        ike_lifetime: life.ike,
        lifetime: life.soft,
        hard_lifetime: life.hard,
        jitter_percent: life.jitter_percent,
        bytes: life.bytes,
        packets: life.packets,
        dpd,
        exchanges,
        credentials: Vec::new(),
        line: table.line,
    })
}

/// 0 turns it off; 576 bytes go through every IPv4 path, 1280 through every IPv6 one.
fn fragment_size(value: &DeValue<'_>) -> Result<Option<u16>, Bad> {
    const RANGE: core::ops::RangeInclusive<u16> = 576..=9000;
    match number16(value, 0..=*RANGE.end(), "bytes")? {
        0 => Ok(None),
        n if RANGE.contains(&n) => Ok(Some(n)),
        _ => Err(Bad::new(shown(value), "576 to 9000 bytes, or 0 for off", "write for example 1280")),
    }
}

pub(crate) fn name(value: &DeValue<'_>) -> Result<String, Bad> {
    let expected = "1 to 63 letters, digits, - _ . with a letter or digit first";
    let given = text(value, expected, "write it in quotes")?;
    let first = given.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let lawful = given.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if first && lawful && given.len() <= MAX_NAME {
        return Ok(given.to_owned());
    }
    Err(Bad::new(shown(value), expected, "write for example \"office-2\""))
}

/// Addresses and identities of both gateways.
struct Ends {
    local: IpAddr,
    remote: Option<IpAddr>,
    local_id: Identity,
    remote_id: Identity,
}

/// R67: the local gateway's address is mandatory.
fn ends(table: &Table<'_>, findings: &mut Findings) -> Option<Ends> {
    let what = "the address of this gateway towards the peer (its local gateway)";
    let local = table.required("local", what, "\"198.18.0.1\"", findings, gateway_address);
    let what = "the address of the peer's gateway, or \"any\"";
    let remote = table.required("remote", what, "\"198.18.0.2\"", findings, remote_address);
    let local_id = table.optional("local-id", findings, |v| identity(v, false));
    let remote_id = table.optional("remote-id", findings, |v| identity(v, true));
    let (local, remote) = (local?, remote?);
    if let Some(remote) = remote {
        let line = table.line_of("remote", findings);
        if remote == local {
            let found = format!("`local` and `remote` are both {local}");
            findings.error(line, found, "two gateways", "write the peer's address");
        } else if remote.is_ipv4() != local.is_ipv4() {
            let found = format!("`local` is {local}, `remote` is {remote}");
            findings.error(line, found, "two addresses of one family", "write both as IPv4 or both as IPv6");
        }
    }
    Some(Ends {
        local,
        remote,
        local_id: local_id.unwrap_or(Identity::Address(local)),
        remote_id: remote_id.unwrap_or_else(|| remote.map_or(Identity::Any, Identity::Address)),
    })
}

fn remote_address(value: &DeValue<'_>) -> Result<Option<IpAddr>, Bad> {
    if value.as_str() == Some("any") { Ok(None) } else { gateway_address(value).map(Some) }
}

fn identity(value: &DeValue<'_>, remote: bool) -> Result<Identity, Bad> {
    parse_identity(text(value, "an identity", "write it in quotes")?, remote)
}

/// Without a peer's address there is nobody to begin with.
fn start(table: &Table<'_>, remote: Option<IpAddr>, findings: &mut Findings) -> Start {
    let default = if remote.is_some() { Start::Immediately } else { Start::Respond };
    let words =
        [("immediately", Start::Immediately), ("on-traffic", Start::OnTraffic), ("respond", Start::Respond)];
    let start = table.or("start", default, findings, |v| word(v, &words));
    if remote.is_none() && start != Start::Respond {
        findings.error(
            table.line_of("start", findings),
            "`start` wants to begin, but `remote` is \"any\"",
            "start = \"respond\", or an address in `remote`",
            "write start = \"respond\"",
        );
    }
    start
}

pub(crate) fn replay_window(value: &DeValue<'_>) -> Result<u32, Bad> {
    let what = "packets of the anti-replay window (0: no replay check)";
    let packets = number32(value, 0..=MAX_REPLAY_WINDOW, what)?;
    if packets == 0 || packets >= 32 {
        return Ok(packets);
    }
    Err(Bad::new(shown(value), format!("0, or 32 to {MAX_REPLAY_WINDOW}"), "write 1024"))
}

/// 8 KiB for each SA; what comes later than that is not worth having (R81).
const MAX_REPLAY_WINDOW: u32 = 65_536;

/// Weak or unknown ones are findings; the same one twice is a warning.
pub(crate) fn proposals<T: PartialEq>(
    table: &Table<'_>,
    key: &'static str,
    default: &[&str],
    parse: fn(&str) -> Result<Vec<T>, Bad>,
    findings: &mut Findings,
) -> Vec<T> {
    let example = format!("[\"{}\"]", default.first().unwrap_or(&""));
    let allowed = table.get("allow-legacy").is_some_and(|v| v.get_ref().as_bool() == Some(true));
    let mut proposals = Vec::new();
    let given = table.list(key, &example, MAX_PROPOSALS, findings, |element, line, findings| {
        let word = text(element.get_ref(), "a proposal in quotes", &example);
        match word.and_then(|word| parse(word).map(|parsed| (word, parsed))) {
            Ok((word, parsed)) => {
                if is_legacy(word) && !allowed {
                    let found = format!("`{key}`: \"{word}\" has a group that is too small (RFC 8247 §2.4)");
                    let cure = "use x25519; or write allow-legacy = true, where the peer has nothing better";
                    findings.error(line, found, "a group that holds", cure);
                } else if let Some((why, cure)) = ageing(key, word) {
                    findings.warning(line, format!("`{key}`: \"{word}\": {why}"), cure);
                }
                for proposal in parsed {
                    if proposals.contains(&proposal) {
                        let found = format!("`{key}`: \"{word}\" stands twice");
                        findings.warning(line, found, "remove one of them");
                    } else {
                        proposals.push(proposal);
                    }
                }
            }
            Err(bad) => report(findings, line, key, bad),
        }
        Some(())
    });
    match given {
        Some(_) => proposals,
        None => default.iter().filter_map(|word| parse(word).ok()).flatten().collect(),
    }
}
