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
use core::net::{IpAddr, SocketAddr};
use rand_core::Rng;

/// RFC 4555 §4.2.5: 8 to 64 bytes.
const COOKIE: core::ops::RangeInclusive<usize> = 8..=64;

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

    pub(crate) fn offer(core: &Core) -> Option<Payload> {
        let wanted = core.connection.exchanges.mobike;
        wanted.then(|| Payload::Notify(Notify::new(notify::MOBIKE_SUPPORTED)))
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
        sa.follow_path(core, cx);
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
    if core.path == before {
        return;
    }
    tracing::debug!(ike = core.id.0, from = %before.remote, to = %via.remote, "peer moved (MOBIKE)");
    sa.follow_path(core, cx);
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

    /// The children go by the path of their IKE SA.
    pub(crate) fn follow_path(&mut self, core: &Core, cx: &mut Cx<'_>) {
        let (local, remote) = core.path.outer(&cx.config);
        let mut moved = false;
        for pair in self.children.iter_mut().filter(|pair| pair.path != core.path) {
            pair.path = core.path.clone();
            moved = true;
            cx.event(Event::Moved { sa: pair.id, local, remote });
        }
        if moved {
            cx.count(Counter::PeerMoved);
        }
    }
}
