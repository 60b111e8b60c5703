//! MOBIKE (RFC 4555): an IKE SA and its children go to other addresses without being made anew.
//!
//! Decides: when an address is believed, and what is asked before. Reads: authentic messages only. Writes: the path of
//! the IKE SA and its children. Never: moves an SA whose peer did not agree to it in IKE_AUTH; lets the side move it
//! that did not begin (§3.5: only the initiator decides).

use super::Task;
use crate::counters::Counter;
use crate::endpoint::Cx;
use crate::event::Event;
use crate::ike_sa::{Core, Established, Path, Via};
use crate::message::View;
use crate::payload::{Notify, Payload, notify};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use rand_core::Rng;
use std::collections::VecDeque;
use std::time::Instant;

/// RFC 4555 §4.2.5: 8 to 64 bytes.
const COOKIE: core::ops::RangeInclusive<usize> = 8..=64;

/// SHA-1.
const HASH: usize = 20;
/// What the mapping of the beginning is, is asked this long after it.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Far more than a gateway has.
const MAX_OTHERS: usize = 8;

/// What both sides agreed on in IKE_AUTH; rekeys do not change it, though they may change who is the initiator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Mobility {
    #[default]
    Off,
    /// We began: the addresses are ours to change.
    Leads,
    /// The peer began.
    Follows,
}

impl Mobility {
    /// By IKE_AUTH.
    pub(crate) fn agreed(core: &Core, view: View<'_>, leads: bool) -> Self {
        let both = core.connection.exchanges.mobike && view.notify(notify::MOBIKE_SUPPORTED).is_some();
        match (both, leads) {
            (false, _) => Self::Off,
            (true, true) => Self::Leads,
            (true, false) => Self::Follows,
        }
    }

    /// And where else we are (§3.4).
    pub(crate) fn offer(core: &Core) -> Vec<Payload> {
        let exchanges = &core.connection.exchanges;
        if !exchanges.mobike {
            return Vec::new();
        }
        let supported = core::iter::once(Notify::new(notify::MOBIKE_SUPPORTED));
        supported.chain(elsewhere(core).into_iter().map(named)).map(Payload::Notify).collect()
    }
}

/// Where we are besides where this IKE SA is.
pub(crate) fn elsewhere(core: &Core) -> Vec<IpAddr> {
    let own = core.connection.exchanges.own_addresses.iter().copied();
    own.filter(|own| Some(*own) != core.path.local).take(MAX_OTHERS).collect()
}

fn named(own: IpAddr) -> Notify {
    match own {
        IpAddr::V4(a) => Notify::with_data(notify::ADDITIONAL_IP4_ADDRESS, a.octets().to_vec()),
        IpAddr::V6(a) => Notify::with_data(notify::ADDITIONAL_IP6_ADDRESS, a.octets().to_vec()),
    }
}

/// `HDR, SK { N(ADDITIONAL_*_ADDRESS), … }`, or `N(NO_ADDITIONAL_ADDRESSES)`: the whole list, in place of the one before
/// (§3.6). Either side may say so.
#[derive(Debug)]
pub(crate) struct Announce;

impl Announce {
    #[allow(clippy::unused_self)] // the shape of all tasks
    pub(super) fn build(&self, core: &Core) -> Vec<Payload> {
        let mut list: Vec<Notify> = elsewhere(core).into_iter().map(named).collect();
        if list.is_empty() {
            list.push(Notify::new(notify::NO_ADDITIONAL_ADDRESSES));
        }
        list.into_iter().map(Payload::Notify).collect()
    }
}

/// Where else a peer says that it is; `None`: it says nothing of it. Such an address is only ever asked whether the peer
/// is there, and by messages that nobody else can answer.
pub(crate) fn others(core: &Core, view: View<'_>) -> Option<VecDeque<IpAddr>> {
    let about =
        [notify::ADDITIONAL_IP4_ADDRESS, notify::ADDITIONAL_IP6_ADDRESS, notify::NO_ADDITIONAL_ADDRESSES];
    view.notifies().find(|n| about.contains(&n.kind))?;
    let remote = core.path.remote.ip();
    let read = view.notifies().filter_map(address).filter(|a| {
        let host = !(a.is_unspecified() || a.is_multicast() || a.is_loopback());
        host && *a != IpAddr::V4(Ipv4Addr::BROADCAST) && a.is_ipv4() == remote.is_ipv4() && *a != remote
    });
    Some(read.take(MAX_OTHERS).collect())
}

fn address(n: &Notify) -> Option<IpAddr> {
    match n.kind {
        notify::ADDITIONAL_IP4_ADDRESS => <[u8; 4]>::try_from(n.data.as_slice()).ok().map(IpAddr::from),
        notify::ADDITIONAL_IP6_ADDRESS => <[u8; 16]>::try_from(n.data.as_slice()).ok().map(IpAddr::from),
        _ => None,
    }
}

/// `HDR, SK { N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_SOURCE_IP), N(NAT_DETECTION_DESTINATION_IP) }`
#[derive(Debug)]
pub(crate) struct Update {
    /// By which it went.
    path: Option<Path>,
}

impl Update {
    pub(crate) const fn new() -> Self {
        Self { path: None }
    }

    pub(super) fn build(&mut self, core: &Core, cx: &Cx<'_>) -> Vec<Payload> {
        self.path = Some(core.path.clone());
        let mut payloads = vec![Payload::Notify(Notify::new(notify::UPDATE_SA_ADDRESSES))];
        payloads.extend(core.path.detection(&cx.config, core.spis()));
        payloads
    }

    /// The peer follows. Whether there is a NAT on the new way is known now.
    pub(super) fn process(self, core: &mut Core, sa: &mut Established, cx: &mut Cx<'_>, view: View<'_>) {
        if let Some(n) = view.error() {
            tracing::debug!(ike = core.id.0, kind = n.kind, "the peer does not follow");
            return;
        }
        let here = |p: &Path| (p.local, p.remote);
        if self.path.as_ref().map(here) != Some(here(&core.path)) {
            // We moved on meanwhile (§3.5: the answer says nothing about the way we are on now).
            return sa.push(cx, Task::Update(Self::new()));
        }
        let Some(local) = core.path.local else { return };
        let local = SocketAddr::new(local, core.path.local_port(&cx.config));
        let (spis, remote) = (core.spis(), core.path.remote);
        let _ = core.path.detect(view, spis, local, remote);
        core.seen_as = Some(mapping(view));
        sa.follow_path(core, cx);
    }
}

/// §3.8: we lead, and a NAT stands before us. What it makes of our address is for us to find out.
pub(super) fn watches_mapping(core: &Core) -> bool {
    core.mobility == Mobility::Leads && core.path.nat_local
}

/// When the peer has to be asked for the first time, so that a change is one.
pub(crate) fn ask_mapping_at(core: &Core, since: Instant) -> Option<Instant> {
    (watches_mapping(core) && core.seen_as.is_none()).then(|| since + FIRST_LOOK)
}

fn mapping(view: View<'_>) -> Vec<u8> {
    let hash = view.notify(notify::NAT_DETECTION_DESTINATION_IP).map(|n| n.data.as_slice());
    hash.filter(|hash| hash.len() == HASH).unwrap_or_default().to_vec()
}

/// The peer answered: where it sees us. Another mapping than before, and it is told to send there.
pub(super) fn mapped(core: &mut Core, sa: &mut Established, cx: &mut Cx<'_>, view: View<'_>) {
    if !watches_mapping(core) {
        return;
    }
    let now = mapping(view);
    let before = core.seen_as.replace(now.clone());
    if before.is_some_and(|before| !before.is_empty() && !now.is_empty() && before != now) {
        cx.count(Counter::NewMappings);
        core.trace(cx, || "the NAT before us has another mapping".to_owned());
        sa.push(cx, Task::Update(Update::new()));
    }
}

/// `HDR, SK { N(COOKIE2) }`: is the peer where it says (§3.7)?
#[derive(Debug)]
pub(crate) struct Probe {
    cookie: [u8; 16],
}

impl Probe {
    pub(crate) fn new(cx: &mut Cx<'_>) -> Self {
        let mut cookie = [0; 16];
        cx.rng.fill_bytes(&mut cookie);
        Self { cookie }
    }

    pub(super) fn build(&self) -> Vec<Payload> {
        vec![Payload::Notify(Notify::with_data(notify::COOKIE2, self.cookie.to_vec()))]
    }

    /// §3.7: with another cookie the IKE SA must be closed. Without an answer it is given up like any dead one.
    pub(super) fn process(self, core: &Core, sa: &mut Established, cx: &mut Cx<'_>, view: View<'_>) {
        if view.notify(notify::COOKIE2).is_none_or(|n| n.data != self.cookie) {
            cx.count(Counter::MalformedAuthentic);
            sa.begin_delete(core, cx, "the peer does not show that it is where it moved to");
        }
    }
}

/// What an INFORMATIONAL request of the peer says about addresses: acted on, and what the answer must say.
pub(crate) fn respond(
    core: &mut Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    via: Via,
) -> Vec<Payload> {
    let mut answer = Vec::new();
    if let Some(n) = view.notify(notify::COOKIE2).filter(|n| COOKIE.contains(&n.data.len())) {
        answer.push(Payload::Notify(n.clone()));
    }
    if core.mobility == Mobility::Off {
        return answer;
    }
    if let Some(others) = others(core, view) {
        core.others = others;
    }
    if view.notify(notify::UPDATE_SA_ADDRESSES).is_some() && core.mobility == Mobility::Follows {
        if !allowed(view, via) {
            answer.push(Payload::Notify(Notify::new(notify::UNEXPECTED_NAT_DETECTED)));
            return answer;
        }
        follow(core, sa, cx, view, via);
    }
    // §3.8: they are answered whatever else the message is about.
    if view.notify(notify::NAT_DETECTION_SOURCE_IP).is_some() {
        let here = Path { local: Some(via.local.ip()), remote: via.remote, ..core.path.clone() };
        answer.extend(here.detection(&cx.config, core.spis()));
    }
    answer
}

/// §3.9: the addresses that the peer names are those that the message has, or it wants none of it.
fn allowed(view: View<'_>, via: Via) -> bool {
    let Some(n) = view.notify(notify::NO_NATS_ALLOWED) else { return true };
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (from, to) = (via.remote, via.local);
    let named = [
        octets(from.ip()),
        octets(to.ip()),
        from.port().to_be_bytes().to_vec(),
        to.port().to_be_bytes().to_vec(),
    ];
    n.data == named.concat()
}

/// The peer is at another address, by its own authentic word.
fn follow(core: &mut Core, sa: &mut Established, cx: &mut Cx<'_>, view: View<'_>, via: Via) {
    let before = core.path.clone();
    core.path.local = Some(via.local.ip());
    core.path.remote = via.remote;
    core.path.natt = via.local.port() == cx.config.natt_port;
    let _ = core.path.detect(view, core.spis(), via.local, via.remote);
    // Children that went by what ESP showed come back.
    sa.follow_path(core, cx);
    if core.path == before {
        return;
    }
    tracing::debug!(ike = core.id.0, from = %before.remote, to = %via.remote, "peer moved (MOBIKE)");
    // It said so under its keys; that it hears there is to be shown, lest our traffic be turned on somebody else.
    let probe = Probe::new(cx);
    sa.queue.retain(|w| !matches!(w.task, Task::Probe(_)));
    sa.push(cx, Task::Probe(probe));
}

impl Established {
    /// Our own address is another one now (we lead): all goes by it from here on, and the peer is told.
    pub(crate) fn move_local(&mut self, core: &mut Core, cx: &mut Cx<'_>, local: IpAddr) {
        if core.path.local == Some(local) {
            return;
        }
        tracing::debug!(ike = core.id.0, to = %local, "our address changed (MOBIKE)");
        core.path.local = Some(local);
        self.follow_path(core, cx);
        // What waits for its answer goes out again by the new way.
        self.queue.retain(|w| !matches!(w.task, Task::Update(_)));
        self.queue
            .push_front(crate::ike_sa::Waiting { task: Task::Update(Update::new()), not_before: cx.now });
        core.window.hurry(cx.now);
    }

    /// The peer does not answer where it was (we lead): the next of its other addresses is tried, each once. False: there
    /// is none left.
    pub(crate) fn try_other_address(&mut self, core: &mut Core, cx: &mut Cx<'_>) -> bool {
        if core.mobility != Mobility::Leads || self.phase != crate::ike_sa::Phase::Live {
            return false;
        }
        if usize::from(core.others_tried) >= core.others.len() {
            return false;
        }
        let Some(to) = core.others.pop_front() else { return false };
        core.others.push_back(core.path.remote.ip());
        core.others_tried = core.others_tried.saturating_add(1);
        cx.count(Counter::OtherAddress);
        core.trace(cx, || format!("the peer does not answer: its address {to} is tried"));
        core.path.remote.set_ip(to);
        self.follow_path(core, cx);
        self.queue.retain(|w| !matches!(w.task, Task::Update(_)));
        self.queue
            .push_front(crate::ike_sa::Waiting { task: Task::Update(Update::new()), not_before: cx.now });
        core.window.hurry(cx.now);
        true
    }

    /// The children go by the path of their IKE SA.
    pub(crate) fn follow_path(&mut self, core: &Core, cx: &mut Cx<'_>) {
        self.children_go_by(&core.path, cx);
    }

    /// ESP came from another address or port of a NAT: it may be answered there (§3.8). IKE goes where the peer says
    /// that it is, and the children with it.
    pub(crate) fn move_children(&mut self, core: &Core, cx: &mut Cx<'_>, remote: SocketAddr) {
        if core.path.nat_remote && !core.path.nat_local {
            self.children_go_by(&Path { remote, ..core.path.clone() }, cx);
        }
    }

    fn children_go_by(&mut self, path: &Path, cx: &mut Cx<'_>) {
        let (local, remote) = path.outer(&cx.config);
        let mut moved = false;
        for pair in self.children.iter_mut().filter(|pair| pair.path != *path) {
            pair.path = path.clone();
            moved = true;
            cx.event(Event::Moved { sa: pair.id, local, remote });
        }
        if moved {
            cx.count(Counter::PeerMoved);
        }
    }
}
