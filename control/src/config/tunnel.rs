//! `[[tunnel]]` and its selectors.
//!
//! Decides: their keys, ranges and defaults, and what contradicts what within one tunnel.
//! Reads: tables. Writes: the model, findings. Never: looks at another tunnel (see [`super::check`]).

use core::net::IpAddr;
use core::time::Duration;
use ravelin_ike::config::{Identity, Start};
use ravelin_ring::msg::{OuterDf, TunnelId};
use ravelin_wire::{PortRange, Selector};
use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::exchanges::exchanges;
use super::identity::parse_identity;
use super::model::{Encapsulation, Limits, Tunnel, TunnelSelector};
use super::proposal::{ageing, parse_esp, parse_ike};
use super::reader::{Table, report};
use super::value::{
    Bad, addresses, duration, gateway_address, has_ports, number, number16, number32, ports, protocol, shown,
    size, text, time_text, word,
};

pub(crate) const TUNNEL_KEYS: &[&str] = &[
    "name",
    "local",
    "remote",
    "local-id",
    "remote-id",
    "ike-proposals",
    "esp-proposals",
    "selectors",
    "start",
    "encapsulation",
    "replay-window",
    "tunnel-mtu",
    "df",
    "ike-fragment-size",
    "ike-lifetime",
    "lifetime",
    "hard-lifetime",
    "rekey-jitter",
    "lifebytes",
    "hard-lifebytes",
    "lifepackets",
    "hard-lifepackets",
    "dpd",
];
pub(crate) const SELECTOR_KEYS: &[&str] = &["local", "remote", "protocol", "local-port", "remote-port"];

pub(crate) const MAX_TUNNELS: usize = 16_384;
pub(crate) const MAX_SELECTORS: usize = 64;
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
pub(crate) const DEFAULT_ESP: &[&str] =
    &["aes256gcm16", "aes128gcm16", "chacha20poly1305", "aes256-sha256", "aes128-sha256"];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// `None` when a key that has no default is absent or wrong.
pub(crate) fn tunnel(table: &Table<'_>, id: TunnelId, findings: &mut Findings) -> Option<Tunnel> {
    let name = table.required("name", "a name for commands and logs", "\"office\"", findings, name);
    let ends = ends(table, findings);
    let auth = super::auth::auth(table, findings);
    let ike_proposals = proposals(table, "ike-proposals", DEFAULT_IKE, parse_ike, findings);
    let esp_proposals = proposals(table, "esp-proposals", DEFAULT_ESP, parse_esp, findings);
    let selectors = selectors(table, findings);
    let life = Life::read(table, findings);
    let encapsulation = table.or("encapsulation", Encapsulation::Auto, findings, |v| {
        word(v, &[("auto", Encapsulation::Auto), ("udp", Encapsulation::Udp)])
    });
    let replay_window = table.or("replay-window", 1024, findings, replay_window);
    let tunnel_mtu = table
        .or("tunnel-mtu", 1500, findings, |v| number16(v, 576..=3562, "bytes of the largest outer packet"));
    let df = table.or("df", OuterDf::Copy, findings, |v| {
        word(v, &[("copy", OuterDf::Copy), ("clear", OuterDf::Clear), ("set", OuterDf::Set)])
    });
    let ike_fragment_size = table.or("ike-fragment-size", Some(1280), findings, fragment_size);
    let dpd = table.or("dpd", 20 * SECOND, findings, |v| duration(v, SECOND..=DAY, true));
    let (name, ends, selectors) = (name?, ends?, selectors?);
    let start = start(table, ends.remote, findings);
    let exchanges = exchanges(table, (ends.local, ends.remote), findings);
    super::auth::check_eap(table, &auth, start, findings);
    Some(Tunnel {
        id,
        name,
        local: ends.local,
        remote: ends.remote,
        local_id: ends.local_id,
        remote_id: ends.remote_id,
        auth,
        ike_proposals,
        esp_proposals,
        selectors,
        start,
        encapsulation,
        replay_window,
        tunnel_mtu,
        df,
        ike_fragment_size,
        ike_lifetime: life.ike,
        lifetime: life.soft,
        hard_lifetime: life.hard,
        jitter_percent: life.jitter_percent,
        bytes: life.bytes,
        packets: life.packets,
        dpd,
        exchanges,
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

fn name(value: &DeValue<'_>) -> Result<String, Bad> {
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

fn replay_window(value: &DeValue<'_>) -> Result<u32, Bad> {
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
fn proposals<T: PartialEq>(
    table: &Table<'_>,
    key: &'static str,
    default: &[&str],
    parse: fn(&str) -> Result<T, Bad>,
    findings: &mut Findings,
) -> Vec<T> {
    let example = format!("[\"{}\"]", default.first().unwrap_or(&""));
    let mut proposals = Vec::new();
    let given = table.list(key, &example, MAX_PROPOSALS, findings, |element, line, findings| {
        let word = text(element.get_ref(), "a proposal in quotes", &example);
        match word.and_then(|word| parse(word).map(|proposal| (word, proposal))) {
            Ok((word, proposal)) => {
                if let Some(why) = ageing(word) {
                    findings.warning(
                        line,
                        format!("`{key}`: \"{word}\": {why}"),
                        "use sha256 if the peer can",
                    );
                }
                if proposals.contains(&proposal) {
                    findings.warning(line, format!("`{key}`: \"{word}\" stands twice"), "remove one of them");
                } else {
                    proposals.push(proposal);
                }
            }
            Err(bad) => report(findings, line, key, bad),
        }
        Some(())
    });
    match given {
        Some(_) => proposals,
        None => default.iter().filter_map(|word| parse(word).ok()).collect(),
    }
}

/// Lifetimes in time, bytes and packets.
struct Life {
    ike: Duration,
    soft: Duration,
    hard: Duration,
    jitter_percent: u8,
    bytes: Limits,
    packets: Limits,
}

impl Life {
    fn read(table: &Table<'_>, findings: &mut Findings) -> Self {
        let time = |v| duration(v, SECOND..=MONTH, false);
        let ike = table.or("ike-lifetime", 4 * 3600 * SECOND, findings, time);
        let soft = table.or("lifetime", 3600 * SECOND, findings, time);
        let given = table.optional("hard-lifetime", findings, time);
        // Time enough for a rekey with all its retransmissions.
        let hard = given.unwrap_or_else(|| soft + (soft / 10).max(30 * SECOND));
        if hard <= soft {
            let found =
                format!("`hard-lifetime` {} is not after `lifetime` {}", time_text(hard), time_text(soft));
            let line = table.line_of("hard-lifetime", findings);
            let cure = "make it longer, or leave it out: lifetime and a tenth, at least 30 s more";
            findings.error(line, found, "an end after the beginning of the rekey", cure);
        }
        let short = |time: Duration| time < 60 * SECOND;
        for (key, time) in [("ike-lifetime", ike), ("lifetime", soft)] {
            if short(time) {
                let found = format!("`{key}` of {} rekeys all the time", time_text(time));
                findings.warning(table.line_of(key, findings), found, "use 1h or so outside of tests");
            }
        }
        let count = |v: &DeValue<'_>| number(v, 1000..=u64::MAX >> 2, "packets");
        Self {
            ike,
            soft,
            hard,
            jitter_percent: table.or("rekey-jitter", 10, findings, jitter),
            bytes: limits(table, "lifebytes", "hard-lifebytes", findings, size),
            packets: limits(table, "lifepackets", "hard-lifepackets", findings, count),
        }
    }
}

fn jitter(value: &DeValue<'_>) -> Result<u8, Bad> {
    number16(value, 0..=50, "percent").map(|n| u8::try_from(n).unwrap_or(50))
}

/// The hard limit is an eighth above the soft one unless written.
fn limits(
    table: &Table<'_>,
    soft_key: &'static str,
    hard_key: &'static str,
    findings: &mut Findings,
    parse: impl Fn(&DeValue<'_>) -> Result<u64, Bad>,
) -> Limits {
    let soft = table.or(soft_key, 0, findings, &parse);
    let hard = table.optional(hard_key, findings, &parse);
    let line = table.line_of(hard_key, findings);
    match hard {
        None if soft == 0 => Limits::default(),
        None => Limits { soft, hard: soft.saturating_add(soft / 8) },
        Some(_) if soft == 0 && table.get(soft_key).is_none() => {
            let found = format!("`{hard_key}` without `{soft_key}`: the SA would end without a rekey");
            findings.error(line, found, format!("`{soft_key}` too"), format!("add {soft_key}, below it"));
            Limits::default()
        }
        Some(hard) => {
            if hard != 0 && hard <= soft {
                let found = format!("`{hard_key}` is not above `{soft_key}`");
                findings.error(line, found, "an end after the beginning of the rekey", "make it larger");
            }
            Limits { soft, hard }
        }
    }
}

fn selectors(table: &Table<'_>, findings: &mut Findings) -> Option<Vec<TunnelSelector>> {
    let example = "[{ local = \"10.1.0.0/24\", remote = \"10.2.0.0/24\" }]";
    let list = table.list("selectors", example, MAX_SELECTORS, findings, selector);
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
    _: u32,
    findings: &mut Findings,
) -> Option<TunnelSelector> {
    let table = Table::open(element, "a selector", SELECTOR_KEYS, findings)?;
    let what = "addresses behind this gateway";
    let local = table.required("local", what, "\"10.1.0.0/24\"", findings, addresses);
    let what = "addresses behind the peer";
    let remote = table.required("remote", what, "\"10.2.0.0/24\"", findings, addresses);
    let protocol = table.or("protocol", None, findings, protocol);
    let local_ports = table.or("local-port", PortRange::ANY, findings, ports);
    let remote_ports = table.or("remote-port", PortRange::ANY, findings, ports);
    let (local, remote) = (local?, remote?);
    if local.start().is_ipv4() != remote.start().is_ipv4() {
        let found = format!("a selector from {local} to {remote}");
        findings.error(table.line, found, "both sides of one family", "write one selector for each family");
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
    let selector = Selector { local, remote, protocol, local_ports, remote_ports };
    Some(TunnelSelector { selector, line: table.line })
}
