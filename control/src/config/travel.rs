//! How packets travel by the SAs of a tunnel: keys that `[defaults]`, `[[tunnel]]` and `[[tunnel.child]]` have alike.
//!
//! Decides: their ranges and defaults, and that each level may say otherwise than the one above it, in either direction
//! (R82, R83, R87, R89). Reads: tables. Writes: findings. Never: looks at another tunnel.

use ravelin_ike::config::Mode;
use ravelin_ring::msg::{NatRule, OuterDf, Rules};
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::{Config, Travel, Tunnel};
use super::reader::Table;
use super::sections::encapsulation_port;
use super::tunnel::replay_window;
use super::value::{Bad, boolean, number16, word};

pub(crate) const TRAVEL_KEYS: &[&str] = &[
    "replay-window",
    "tunnel-mtu",
    "tcp-mss",
    "df",
    "fragment",
    "passive-mode-tunneling",
    "no-tunnel-in-traceroute",
    "header-integrity-check",
    "udp-encapsulate",
];

/// R98: what everybody uses who says no other.
const USUAL_PORT: u16 = 4565;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) replay_window: u32,
    pub(crate) tunnel_mtu: u16,
    pub(crate) df: OuterDf,
    pub(crate) travel: Travel,
}

impl Default for Level {
    fn default() -> Self {
        Self { replay_window: 1024, tunnel_mtu: 1500, df: OuterDf::Copy, travel: Travel::default() }
    }
}

impl Level {
    /// As a tunnel has it, for its further children.
    pub(crate) const fn of(tunnel: &Tunnel) -> Self {
        let Tunnel { replay_window, tunnel_mtu, df, travel, .. } = *tunnel;
        Self { replay_window, tunnel_mtu, df, travel }
    }

    /// What `table` says, and otherwise what holds above it.
    pub(crate) fn read(table: &Table<'_>, above: Self, findings: &mut Findings) -> Self {
        let Rules { passive, keep_ttl, check_headers, fragment_after } = above.travel.rules;
        let level = Self {
            replay_window: table.or("replay-window", above.replay_window, findings, replay_window),
            tunnel_mtu: table.or("tunnel-mtu", above.tunnel_mtu, findings, |v| {
                number16(v, 576..=3562, "bytes of the largest outer packet")
            }),
            df: table.or("df", above.df, findings, |v| {
                word(v, &[("copy", OuterDf::Copy), ("clear", OuterDf::Clear), ("set", OuterDf::Set)])
            }),
            travel: Travel {
                rules: Rules {
                    passive: table.or("passive-mode-tunneling", passive, findings, boolean),
                    keep_ttl: table.or("no-tunnel-in-traceroute", keep_ttl, findings, boolean),
                    check_headers: table.or("header-integrity-check", check_headers, findings, boolean),
                    fragment_after: table.or("fragment", fragment_after, findings, |v| {
                        word(v, &[("before", false), ("after", true)])
                    }),
                },
                multipath: table.or("udp-encapsulate", above.travel.multipath, findings, multipath),
                tcp_mss: table.or("tcp-mss", above.travel.tcp_mss, findings, tcp_mss),
            },
        };
        contradictions(table, &level, findings);
        level
    }
}

/// R96.
fn contradictions(table: &Table<'_>, level: &Level, findings: &mut Findings) {
    let rules = level.travel.rules;
    if !(rules.passive && rules.check_headers) {
        return;
    }
    let keys = ["header-integrity-check", "passive-mode-tunneling"];
    let key = keys.into_iter().find(|key| table.get(key).is_some()).unwrap_or(keys[0]);
    let found = "`header-integrity-check` and `passive-mode-tunneling`, which carries what that would drop";
    let cure = "set one of them to false";
    findings.error(table.line_of(key, findings), found, "one of them", cure);
}

/// `true`, `false`, or the peer's port.
fn multipath(value: &DeValue<'_>) -> Result<u16, Bad> {
    match value.as_bool() {
        Some(on) => Ok(if on { USUAL_PORT } else { 0 }),
        None => encapsulation_port(value),
    }
}

/// A number, "path" (as much as the tunnel takes), or "off".
fn tcp_mss(value: &DeValue<'_>) -> Result<Option<u16>, Bad> {
    match value.as_str() {
        Some("off") => Ok(None),
        Some("path") => Ok(Some(NatRule::MSS_OF_PATH)),
        _ => number16(value, 536..=9000, "bytes of a TCP segment (or \"path\", or \"off\")").map(Some),
    }
}

fn tcp_mss_text(mss: Option<u16>) -> String {
    match mss {
        None => "off".to_owned(),
        Some(NatRule::MSS_OF_PATH) => "path".to_owned(),
        Some(number) => number.to_string(),
    }
}

/// What does not go together within one tunnel.
pub(crate) fn check(config: &Config, tunnel: &Tunnel, findings: &mut Findings) {
    let Travel { rules, multipath, .. } = tunnel.travel;
    let ah = tunnel.is_ah();
    let mut refuse = |found: &str, expected: &str, cure: &str| {
        findings.error(tunnel.line, found.to_owned(), expected.to_owned(), cure.to_owned());
    };
    if tunnel.mode == Mode::Transport && (rules.any() || multipath != 0) {
        let found = "`mode` is \"transport\", with `fragment`, `udp-encapsulate` or rules for inner packets";
        refuse(found, "those keys in tunnels only", "set them to their defaults here, or mode = \"tunnel\"");
    }
    if multipath == 0 {
        return;
    }
    if ah {
        refuse("`ah-proposals` with `udp-encapsulate`", "AH as it is", "write udp-encapsulate = false");
    }
    if config.dataplane.udp_encapsulation_port.is_none() {
        let cure = format!("add udp-encapsulation-port = {multipath} to [dataplane]");
        refuse("`udp-encapsulate`, and no port at which the peer's packets are taken", "that port", &cure);
    }
}

/// For the differences that a reload finds.
pub(crate) fn fields(Travel { rules, multipath, tcp_mss }: Travel) -> [(&'static str, String); 6] {
    [
        ("fragment", if rules.fragment_after { "after" } else { "before" }.to_owned()),
        ("passive-mode-tunneling", rules.passive.to_string()),
        ("no-tunnel-in-traceroute", rules.keep_ttl.to_string()),
        ("header-integrity-check", rules.check_headers.to_string()),
        ("tcp-mss", tcp_mss_text(tcp_mss)),
        ("udp-encapsulate", if multipath == 0 { "off".to_owned() } else { multipath.to_string() }),
    ]
}
