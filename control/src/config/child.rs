//! What `[[tunnel]]` says of its child SA, and `[[tunnel.child]]` of further ones under the same IKE SA (RFC 7296 §1.3.1).
//!
//! Decides: mode, proposals of ESP or AH with or without key exchange, limits, and what a further child takes from its
//! tunnel. Reads: tables. Writes: the model, findings. Never: looks at another tunnel.

use ravelin_ike::config::{EspProposal, IkeProposal, Mode};
use ravelin_ring::msg::TunnelId;
use ravelin_wire::{AddrRange, PortRange, Selector};
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::life::{LIFE_KEYS, Life};
use super::model::{Encapsulation, Tunnel, TunnelSelector};
use super::proposal::{parse_ah, parse_esp};
use super::reader::{Table, tables};
use super::selectors::selectors;
use super::travel::{Level, TRAVEL_KEYS};
use super::tunnel::{name, proposals};
use super::value::{Bad, boolean, number16, shown, word};

pub(crate) const CHILD_KEYS: &[&str] = &[
    "name",
    "selectors",
    "filter-decrypted",
    "mode",
    "allow-legacy",
    "esp-proposals",
    "ah-proposals",
    "pfs",
    "per-worker",
    "shared-crypto",
    "tfc-padding",
];

/// Further children of one tunnel.
const MAX_CHILDREN: usize = 16;
/// After `pfs` has multiplied them: the number of a proposal is one byte.
const MAX_OFFERED: usize = 64;

pub(crate) const DEFAULT_ESP: &[&str] =
    &["aes256gcm16", "aes128gcm16", "chacha20poly1305", "aes256-sha256", "aes128-sha256"];

/// Whether a new key exchange goes with each new child SA (RFC 7296 §1.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pfs {
    /// As each proposal says.
    Proposals,
    Required,
    /// Offered and preferred; a peer without it is taken too.
    Optional,
    Off,
}

/// One child, as the keys of one table say.
pub(crate) struct Part {
    pub(crate) mode: Mode,
    pub(crate) proposals: Vec<EspProposal>,
    pub(crate) per_worker: bool,
    pub(crate) shared: bool,
    pub(crate) tfc: u16,
    pub(crate) level: Level,
}

impl Part {
    /// `base`: what it takes where a key is not there.
    pub(crate) fn read(
        table: &Table<'_>,
        ike: &[IkeProposal],
        base: Option<&Tunnel>,
        above: Level,
        findings: &mut Findings,
    ) -> Self {
        let mode = table.or("mode", base.map_or(Mode::Tunnel, |b| b.mode), findings, |v| {
            word(v, &[("tunnel", Mode::Tunnel), ("transport", Mode::Transport)])
        });
        let per_worker = table.or("per-worker", base.is_some_and(|b| b.per_worker), findings, boolean);
        // What it allows is looked up where proposals are read; here a wrong value is said.
        let _ = table.or("allow-legacy", false, findings, boolean);
        let shared = table.or("shared-crypto", base.is_some_and(|b| b.shared), findings, boolean);
        let tfc = table.or("tfc-padding", base.map_or(0, |b| b.tfc), findings, padding);
        let level = Level::read(table, above, findings);
        Self { mode, proposals: offered(table, ike, base, findings), per_worker, shared, tfc, level }
    }
}

/// ESP unless AH is asked for.
fn offered(
    table: &Table<'_>,
    ike: &[IkeProposal],
    base: Option<&Tunnel>,
    findings: &mut Findings,
) -> Vec<EspProposal> {
    let pfs = table.or("pfs", Pfs::Proposals, findings, |v| {
        let words = [
            ("proposals", Pfs::Proposals),
            ("required", Pfs::Required),
            ("optional", Pfs::Optional),
            ("off", Pfs::Off),
        ];
        word(v, &words)
    });
    let (esp, ah) = (table.get("esp-proposals").is_some(), table.get("ah-proposals").is_some());
    if esp && ah {
        let line = table.line_of("ah-proposals", findings);
        let cure = "remove one of them: ESP has integrity of its own";
        findings.error(line, "`ah-proposals` and `esp-proposals`", "either ESP or AH", cure);
    }
    let given = match base {
        Some(base) if !esp && !ah => base.esp_proposals.clone(),
        _ if ah => proposals(table, "ah-proposals", &["sha256"], parse_ah, findings),
        _ => proposals(table, "esp-proposals", DEFAULT_ESP, parse_esp, findings),
    };
    exchanging(given, ike, pfs)
}

/// The proposals with and without key exchange that `pfs` asks for, each once. Where one names no group, those of the
/// IKE SA serve (R15).
fn exchanging(given: Vec<EspProposal>, ike: &[IkeProposal], pfs: Pfs) -> Vec<EspProposal> {
    let mut out: Vec<EspProposal> = Vec::new();
    let mut add = |p: EspProposal| {
        if !out.contains(&p) && out.len() < MAX_OFFERED {
            out.push(p);
        }
    };
    let bare = |p: &EspProposal| EspProposal { group: None, kem: None, ..*p };
    let as_ike = |p: &EspProposal, i: &IkeProposal| EspProposal { group: Some(i.group), kem: i.kem, ..*p };
    match pfs {
        Pfs::Proposals => return given,
        Pfs::Off => given.iter().map(bare).for_each(add),
        Pfs::Required | Pfs::Optional => {
            for p in &given {
                match p.group {
                    Some(_) => add(*p),
                    None => ike.iter().for_each(|i| add(as_ike(p, i))),
                }
            }
            if pfs == Pfs::Optional {
                given.iter().map(bare).for_each(add);
            }
        }
    }
    out
}

/// How long packets are made (RFC 4303 §2.7): by a number of bytes, or as long as the way takes.
fn padding(value: &DeValue<'_>) -> Result<u16, Bad> {
    match value.as_str() {
        Some("mtu") => Ok(u16::MAX),
        Some("off") => Ok(0),
        Some(_) => Err(Bad::new(shown(value), "\"off\", \"mtu\" or a number of bytes", "write \"mtu\"")),
        None => number16(value, 0..=9000, "bytes of the shortest inner packet"),
    }
}

/// In transport mode the ends of the packets are the gateways: without `selectors`, all between them.
pub(crate) fn traffic(
    table: &Table<'_>,
    mode: Mode,
    ends: Option<(core::net::IpAddr, Option<core::net::IpAddr>)>,
    asks: bool,
    findings: &mut Findings,
) -> Option<Vec<TunnelSelector>> {
    if mode == Mode::Transport
        && table.get("selectors").is_none()
        && let Some((local, Some(remote))) = ends
    {
        let one = |a| AddrRange::new(a, a).ok();
        let selector = Selector {
            local: one(local)?,
            remote: one(remote)?,
            protocol: None,
            local_ports: PortRange::ANY,
            remote_ports: PortRange::ANY,
        };
        return Some(vec![TunnelSelector { selector, line: table.line }]);
    }
    selectors(table, asks, findings)
}

/// The further children, numbered from `first` on: tunnels of their own with the IKE SA of `parent`.
pub(crate) fn children(
    table: &Table<'_>,
    parent: &Tunnel,
    first: u32,
    findings: &mut Findings,
) -> Vec<Tunnel> {
    let keys = [CHILD_KEYS, LIFE_KEYS, TRAVEL_KEYS, &["vrf"]].concat();
    let list = tables(table, "child", "[[tunnel.child]]", MAX_CHILDREN, &keys, findings);
    (first..).zip(&list).filter_map(|(id, table)| child(table, parent, TunnelId(id), findings)).collect()
}

fn child(table: &Table<'_>, parent: &Tunnel, id: TunnelId, findings: &mut Findings) -> Option<Tunnel> {
    let own = table.required("name", "a name for the child", "\"voice\"", findings, name);
    let part = Part::read(table, &parent.ike_proposals, Some(parent), Level::of(parent), findings);
    let asks = !parent.exchanges.addresses.is_empty();
    let selectors = traffic(table, part.mode, Some((parent.local, parent.remote)), asks, findings);
    if table.get("vrf").is_some() {
        let cure = "remove it here, or make another [[tunnel]]";
        let expected = "all children of a tunnel in one VRF, that of the tunnel";
        findings.error(table.line_of("vrf", findings), "`vrf` of a child", expected, cure);
    }
    let life = if Life::is_given(table) { Life::read(table, findings) } else { Life::of(parent) };
    Some(Tunnel {
        id,
        parent: Some(parent.id),
        name: format!("{}/{}", parent.name, own?),
        selectors: selectors?,
        filter: super::selectors::filter(table, findings),
        interface: None,
        manual: None,
        mode: part.mode,
        esp_proposals: part.proposals,
        per_worker: part.per_worker,
        shared: part.shared,
        tfc: part.tfc,
        replay_window: part.level.replay_window,
        tunnel_mtu: part.level.tunnel_mtu,
        df: part.level.df,
        travel: part.level.travel,
        lifetime: life.soft,
        hard_lifetime: life.hard,
        jitter_percent: life.jitter_percent,
        bytes: life.bytes,
        packets: life.packets,
        line: table.line,
        ..parent.clone()
    })
}

pub const fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Tunnel => "tunnel",
        Mode::Transport => "transport",
    }
}

pub(crate) const fn encapsulation_text(encapsulation: Encapsulation) -> &'static str {
    match encapsulation {
        Encapsulation::Auto => "auto",
        Encapsulation::Udp => "udp",
    }
}

/// What does not go together within one child.
pub(crate) fn check(tunnel: &Tunnel, findings: &mut Findings) {
    let ah = tunnel.is_ah();
    if ah && tunnel.encapsulation == Encapsulation::Udp {
        let cure = "use esp-proposals, or remove encapsulation";
        findings.error(tunnel.line, "`ah-proposals` with encapsulation = \"udp\"", "AH as it is", cure);
    }
    if tunnel.tfc != 0 && (ah || tunnel.mode == Mode::Transport || tunnel.travel.rules.any()) {
        let cure = "remove it, or use ESP in tunnel mode, without keys that change how packets travel";
        let found = "`tfc-padding` with AH, in transport mode, or with rules of how packets travel";
        findings.error(tunnel.line, found, "no padding", cure);
    }
    if tunnel.shared && (ah || tunnel.mode == Mode::Transport || tunnel.travel.rules.any()) {
        let cure = "remove it, or use ESP in tunnel mode, without keys that change how packets travel";
        let found = "`shared-crypto` with AH, in transport mode, or with rules of how packets travel";
        findings.error(tunnel.line, found, "crypto by the worker that has the SA", cure);
    }
    if tunnel.mode == Mode::Tunnel {
        return;
    }
    let Some(remote) = tunnel.remote else {
        let cure = "write the peer's address, or mode = \"tunnel\"";
        let found = "`mode` is \"transport\", but `remote` is \"any\"";
        return findings.error(tunnel.line, found, "an address in `remote`", cure);
    };
    let is = |range: AddrRange, addr| range.start() == addr && range.end() == addr;
    for s in &tunnel.selectors {
        if !is(s.selector.local, tunnel.local) || !is(s.selector.remote, remote) {
            let found = "a selector of other addresses than the gateways' in transport mode";
            let expected = format!("local = \"{}\", remote = \"{remote}\"", tunnel.local);
            findings.error(s.line, found, expected, "leave `selectors` out for all traffic between them");
        }
    }
}
