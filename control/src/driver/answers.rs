//! `ravelin show`: the state of all parts, as the API's types.
//!
//! Decides: a tunnel's one-word state. Reads: the engine's snapshot, the installer, counters, the kernel's links.
//! Writes: nothing.

mod plane;
mod gre;
mod manual;
mod policy;
mod certificates;

pub(super) use certificates::certificates;
pub(super) use gre::gre;
pub(super) use plane::{drops, nat, ports, workers};
pub(super) use policy::proposals;

use super::core::Core;
use crate::api::{Answer, PeerStatus, SaDirection, SaStatus, Traffic, TunnelState, TunnelStatus};
use crate::config::{IdText, Tunnel, esp_text, ike_text, mode_text, selector_text};
use crate::install::Half;
use crate::metrics::Totals;
use ravelin_ike::config::{ConnectionId, EspProposal, Start};
use ravelin_ike::event::ChildSaId;
use ravelin_ike::snapshot::{ChildSaInfo, ConnectionInfo, IkeSaInfo, Role, Snapshot};
use ravelin_ring::msg::{Direction, SaReport, Suite, TunnelId};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

pub(super) fn tunnels(core: &Core, now: Instant, name: Option<&str>) -> Vec<TunnelStatus> {
    let snapshot = match name.map(|name| core.config.tunnel(name)) {
        None => core.snapshot(now),
        // Those of its peers are connections of their own.
        Some(Some(tunnel)) if tunnel.remote.is_none() => core.snapshot(now),
        Some(tunnel) => tunnel.map(|t| core.snapshot_of(now, t.id)).unwrap_or_default(),
    };
    let index = Index::of(&snapshot);
    let wanted = name.and_then(|name| core.config.tunnel(name));
    let idle = Idle::of(core, |tunnel| wanted.is_none_or(|t| t.id == tunnel));
    let one = |t: &Tunnel, totals| tunnel(core, &index, now, t, totals, &idle);
    if let Some(only) = wanted.filter(|t| t.remote.is_some()) {
        return vec![one(only, core.installer.totals(only.id))];
    }
    let totals = totals(core);
    let all = core.config.tunnels.iter().filter(|t| name.is_none_or(|n| t.name == n));
    all.map(|t| one(t, totals.get(&t.id).copied().unwrap_or_default())).collect()
}

/// Of each tunnel of the configuration, with those of its peers.
fn totals(core: &Core) -> BTreeMap<TunnelId, Totals> {
    let mut all: BTreeMap<TunnelId, Totals> = BTreeMap::new();
    for (id, counted) in core.installer.all_totals() {
        all.entry(core.peers.tunnel(id)).or_default().merge(counted);
    }
    all
}

/// A snapshot whose parts are found by connection: with many tunnels nothing is searched for tunnel by tunnel.
pub(super) struct Index<'a> {
    connections: HashMap<ConnectionId, &'a ConnectionInfo>,
    ike_sas: HashMap<ConnectionId, Vec<&'a IkeSaInfo>>,
    children: HashMap<ChildSaId, &'a ChildSaInfo>,
}

impl<'a> Index<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut ike_sas: HashMap<_, Vec<_>> = HashMap::new();
        for sa in &snapshot.ike_sas {
            if let Some(id) = sa.connection {
                ike_sas.entry(id).or_default().push(sa);
            }
        }
        Self {
            connections: snapshot.connections.iter().map(|c| (c.id, c)).collect(),
            ike_sas,
            children: snapshot.ike_sas.iter().flat_map(|s| &s.children).map(|c| (c.id, c)).collect(),
        }
    }

    fn of_connection(&self, id: ConnectionId) -> &[&'a IkeSaInfo] {
        self.ike_sas.get(&id).map_or(&[], Vec::as_slice)
    }

    fn view(&self, tunnel: &Tunnel) -> View<'a> {
        let (id, child) = (tunnel.connection_id(), tunnel.child_id());
        let mine = self.of_connection(id);
        let ike = mine.iter().find(|s| s.state == "established").or_else(|| mine.first());
        let child = mine.iter().flat_map(|s| &s.children).find(|c| c.outbound_in_use && c.child == child);
        View { connection: self.connections.get(&id).copied(), ike: ike.copied(), child }
    }
}

/// The engine's view of one tunnel.
struct View<'a> {
    connection: Option<&'a ConnectionInfo>,
    ike: Option<&'a IkeSaInfo>,
    child: Option<&'a ChildSaInfo>,
}

/// Seconds since the SAs of a tunnel last carried a packet, the least of each direction.
struct Idle(HashMap<(TunnelId, Direction), u64>);

impl Idle {
    fn of(core: &Core, wanted: impl Fn(TunnelId) -> bool) -> Self {
        let mut least: HashMap<_, u64> = HashMap::new();
        for half in core.installer.halves().filter(|half| wanted(core.peers.tunnel(half.tunnel))) {
            if let Some(s) = half.report.as_ref().and_then(idle_seconds) {
                let entry = least.entry((core.peers.tunnel(half.tunnel), half.direction)).or_insert(s);
                *entry = s.min(*entry);
            }
        }
        Self(least)
    }
}

pub(super) fn state(core: &Core, index: &Index<'_>, tunnel: &Tunnel) -> TunnelState {
    state_of(core, &index.view(tunnel), tunnel)
}

fn state_of(core: &Core, view: &View<'_>, tunnel: &Tunnel) -> TunnelState {
    if core.gateways.why(tunnel).is_some() {
        return TunnelState::NoAddress;
    }
    // Also by what an earlier control process left: the tunnel carries traffic.
    let peers = || core.peers.of(tunnel.connection_id());
    if core.installer.in_use(tunnel.id).is_some()
        || peers().any(|p| core.installer.in_use(TunnelId(p.0)).is_some())
    {
        return TunnelState::Up;
    }
    match view.ike.map(|i| i.state) {
        Some("established") => return TunnelState::IkeOnly,
        Some("IKE_SA_INIT sent" | "IKE_SA_INIT answered" | "IKE_INTERMEDIATE sent" | "IKE_AUTH sent") => {
            return TunnelState::Connecting;
        }
        Some(_) | None => {}
    }
    if view.connection.is_some_and(|c| c.retry_in.is_some()) {
        return TunnelState::Retrying;
    }
    match tunnel.start {
        Start::OnTraffic | Start::Respond if !core.is_held(tunnel) => TunnelState::Waiting,
        Start::Immediately | Start::OnTraffic | Start::Respond => TunnelState::Down,
    }
}

/// Whether anything of the tunnel's IKE SA is left that is not on its way out.
pub(super) fn has_ike(index: &Index<'_>, tunnel: &Tunnel) -> bool {
    let leaving = |s: &IkeSaInfo| matches!(s.state, "deleting" | "closed" | "rekeyed");
    index.of_connection(tunnel.connection_id()).iter().any(|s| !leaving(s))
}

fn tunnel(
    core: &Core,
    index: &Index<'_>,
    now: Instant,
    t: &Tunnel,
    totals: Totals,
    idle: &Idle,
) -> TunnelStatus {
    let view = index.view(t);
    let state = state_of(core, &view, t);
    let View { connection, ike, child } = view;
    let note = core.note(t.id);
    let totals = totals.since(note.counted_before);
    let idle = |d| idle.0.get(&(t.id, d)).copied();
    let spi = |i: &IkeSaInfo, ours: bool| {
        let value = if ours == (i.role == Role::Initiator) { i.initiator_spi } else { i.responder_spi };
        format!("{value:016x}")
    };
    let text = |a: Option<std::net::SocketAddr>, udp: bool| {
        a.map(|a| if udp { a.to_string() } else { a.ip().to_string() })
    };
    let udp = ike.is_some_and(|i| i.udp);
    let remote = || t.remote.map_or_else(|| "any".to_owned(), |a| a.to_string());
    let last_error = note.last_error.as_ref();
    let given = core.given.of(t.connection_id());
    let status = TunnelStatus {
        name: t.name.clone(),
        id: t.id.0,
        state,
        local: text(ike.and_then(|i| i.local), udp).unwrap_or_else(|| t.local.to_string()),
        remote: text(ike.map(|i| i.remote), udp).unwrap_or_else(remote),
        local_id: IdText(&t.local_id).to_string(),
        remote_id: match ike.filter(|i| !i.remote_id.is_empty()) {
            Some(i) => i.remote_id.clone(),
            None => IdText(&t.remote_id).to_string(),
        },
        encapsulation: child.map(|c| encapsulation(c).to_owned()),
        ike_spi_local: ike.map(|i| spi(i, true)),
        ike_spi_remote: ike.map(|i| spi(i, false)),
        ike_suite: ike.and_then(|i| i.proposal.as_ref()).map(ike_text),
        ike_age_s: ike.map(|i| i.age.as_secs()),
        ike_rekey_in_s: ike.and_then(|i| i.rekey_in).as_ref().map(Duration::as_secs),
        credential: t.credential(ike.map(|i| i.remote.ip())).to_owned(),
        ike_exchange: ike.and_then(|i| i.task).map(str::to_owned),
        ike_message_ids: ike.map(|i| i.message_ids),
        ike_resumed: ike.is_some_and(|i| i.resumed),
        ike_ticket_for_s: ike.and_then(|i| i.ticket_for).as_ref().map(Duration::as_secs),
        spi_in: child.map(|c| format!("{:08x}", c.inbound_spi.get())),
        spi_out: child.map(|c| format!("{:08x}", c.outbound_spi.get())),
        suite: child.map(|c| suite_of(&c.proposal)),
        mode: child.map(|c| mode_text(c.mode).to_owned()),
        age_s: child.map(|c| c.age.as_secs()),
        rekey_in_s: child.and_then(|c| c.rekey_in).as_ref().map(Duration::as_secs),
        traffic_in: Traffic { packets: totals.packets_in, bytes: totals.bytes_in },
        traffic_out: Traffic { packets: totals.packets_out, bytes: totals.bytes_out },
        idle_in_s: idle(Direction::Inbound),
        idle_out_s: idle(Direction::Outbound),
        one_way_s: core.watch.one_way(now, t.id).as_ref().map(Duration::as_secs),
        interface: t.interface.as_ref().map(|it| it.name.to_string()),
        vrf: t.vrf.clone(),
        outside_vrf: t.outside_vrf.clone(),
        selectors: match child {
            Some(c) => c.selectors.iter().map(selector_text).collect(),
            None => t.selectors.iter().map(|s| selector_text(&s.selector)).collect(),
        },
        addresses: given.iter().flat_map(|g| &g.addresses).map(ToString::to_string).collect(),
        dns: given.iter().flat_map(|g| &g.dns).map(ToString::to_string).collect(),
        rekeys: note.rekeys,
        last_error: last_error.map(|(why, _)| why.clone()),
        last_error_age_s: last_error.map(|(_, at)| now.saturating_duration_since(*at).as_secs()),
        retry_in_s: connection.and_then(|c| c.retry_in).as_ref().map(Duration::as_secs),
        peers: peers(core, index, t),
    };
    manual::fill(core, t, status)
}

/// Those of a tunnel for any address that are up.
fn peers(core: &Core, index: &Index<'_>, t: &Tunnel) -> Vec<PeerStatus> {
    let sas = core.peers.of(t.connection_id()).flat_map(|id| index.of_connection(id));
    let up = sas.filter(|sa| sa.state == "established");
    up.map(|sa| {
        let child = sa.children.iter().find(|c| c.outbound_in_use);
        PeerStatus {
            id: sa.remote_id.clone(),
            remote: sa.remote.to_string(),
            age_s: sa.age.as_secs(),
            spi_in: child.map(|c| format!("{:08x}", c.inbound_spi.get())),
            spi_out: child.map(|c| format!("{:08x}", c.outbound_spi.get())),
            selectors: child.iter().flat_map(|c| &c.selectors).map(selector_text).collect(),
        }
    })
    .collect()
}

pub(super) fn sas(core: &Core, now: Instant, name: Option<&str>) -> Vec<SaStatus> {
    let wanted = name.and_then(|name| core.config.tunnel(name));
    let snapshot = wanted.map_or_else(|| core.snapshot(now), |t| core.snapshot_of(now, t.id));
    let index = Index::of(&snapshot);
    let mut out: Vec<SaStatus> = core
        .installer
        .halves()
        .filter(|half| wanted.is_none_or(|t| t.id == half.tunnel))
        .filter_map(|half| {
            let tunnel = core
                .config
                .tunnel_by_id(core.peers.tunnel(half.tunnel))
                .map_or("(removed)", |t| t.name.as_str());
            name.is_none_or(|n| n == tunnel).then(|| sa(core, &index, now, half, tunnel))
        })
        .collect();
    out.sort_by(|a, b| (&a.tunnel, a.id).cmp(&(&b.tunnel, b.id)));
    out
}

fn sa(core: &Core, index: &Index<'_>, now: Instant, half: &Half, tunnel: &str) -> SaStatus {
    let child = half.pair.and_then(|pair| index.children.get(&pair).copied());
    let report = half.report.as_ref();
    let count = |f: fn(&SaReport) -> u64| report.map_or(0, f);
    let addr = |of_report: fn(&SaReport) -> std::net::SocketAddr,
                of_child: fn(&ChildSaInfo) -> std::net::SocketAddr| {
        let addr = report.map(of_report).or_else(|| child.map(of_child));
        addr.map_or_else(String::new, |a| if a.port() == 0 { a.ip().to_string() } else { a.to_string() })
    };
    let suite =
        report.map(|r| suite_text(r.suite).to_owned()).or_else(|| child.map(|c| suite_of(&c.proposal)));
    SaStatus {
        tunnel: tunnel.to_owned(),
        direction: match half.direction {
            Direction::Inbound => SaDirection::In,
            Direction::Outbound => SaDirection::Out,
        },
        spi: half.spi.to_string(),
        id: half.id.0,
        worker: half.worker.0,
        suite: suite.unwrap_or_default(),
        esn: half.esn,
        local: addr(|r| r.local, |c| c.local),
        remote: addr(|r| r.remote, |c| c.remote),
        state: if half.leaving {
            "expiring"
        } else if core.installer.is_used(half.tunnel, half.id) {
            "in-use"
        } else {
            "installed"
        }
        .to_owned(),
        sequence: count(|r| r.sequence),
        replay_window: half.replay_window,
        packets: count(|r| r.packets),
        bytes: count(|r| r.bytes),
        age_s: now.saturating_duration_since(half.since).as_secs(),
        idle_s: report.and_then(idle_seconds),
        rekey_in_s: child.and_then(|c| c.rekey_in).as_ref().map(Duration::as_secs),
        expires_in_s: child.map(|c| c.expires_in.as_secs()),
        replay_drops: count(|r| r.replay_drops),
        icv_drops: count(|r| r.icv_drops),
        selector_drops: count(|r| r.selector_drops),
    }
}

const fn encapsulation(child: &ChildSaInfo) -> &'static str {
    match (child.proposal.is_ah(), child.udp) {
        (true, _) => "ah",
        (false, true) => "esp-in-udp",
        (false, false) => "esp",
    }
}

fn suite_of(proposal: &EspProposal) -> String {
    if proposal.is_ah() { format!("ah-{}", esp_text(proposal)) } else { esp_text(proposal) }
}

fn suite_text(suite: Suite) -> &'static str {
    match suite {
        Suite::Aes128Gcm16 => "aes128gcm16",
        Suite::Aes256Gcm16 => "aes256gcm16",
        Suite::ChaCha20Poly1305 => "chacha20poly1305",
        Suite::Aes128CbcSha1 => "aes128-sha1",
        Suite::Aes256CbcSha1 => "aes256-sha1",
        Suite::Aes128CbcSha256 => "aes128-sha256",
        Suite::Aes256CbcSha256 => "aes256-sha256",
        Suite::Aes128Gmac => "aes128gmac",
        Suite::Aes192Gmac => "aes192gmac",
        Suite::Aes256Gmac => "aes256gmac",
        Suite::Aes128CbcSha384 => "aes128-sha384",
        Suite::Aes256CbcSha384 => "aes256-sha384",
        Suite::Aes128CbcSha512 => "aes128-sha512",
        Suite::Aes256CbcSha512 => "aes256-sha512",
        Suite::Aes128CtrSha1 => "aes128ctr-sha1",
        Suite::Aes192CtrSha1 => "aes192ctr-sha1",
        Suite::Aes256CtrSha1 => "aes256ctr-sha1",
        Suite::Aes128CtrSha256 => "aes128ctr-sha256",
        Suite::Aes192CtrSha256 => "aes192ctr-sha256",
        Suite::Aes256CtrSha256 => "aes256ctr-sha256",
        Suite::Aes256CtrSha384 => "aes256ctr-sha384",
        Suite::Aes256CtrSha512 => "aes256ctr-sha512",
        Suite::AhSha1 => "ah-sha1",
        Suite::AhSha256 => "ah-sha256",
        Suite::AhSha384 => "ah-sha384",
        Suite::AhSha512 => "ah-sha512",
        Suite::AhGmac128 => "ah-aes128gmac",
        Suite::AhGmac192 => "ah-aes192gmac",
        Suite::AhGmac256 => "ah-aes256gmac",
    }
}

fn idle_seconds(report: &SaReport) -> Option<u64> {
    (report.idle_ms != u64::MAX).then_some(report.idle_ms / 1000)
}

pub(super) fn no_plane() -> Answer {
    Answer::refused(
        "no data plane is connected: start `ravelin-dataplane` with the same --run-dir; \
         until then nothing that a policy covers passes",
    )
}
