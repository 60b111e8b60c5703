//! An IKE SA whose peer has proven its identity: children, tasks, and what a request of the peer does.
//!
//! Decides: which task runs, when the SA ends. Reads: messages through its tasks. Writes: its children and tasks.
//! Never: knows the payloads of an exchange (that is for `task`).

use super::{Asked, Core, State, Via, count_error, error_payload};
use crate::child_sa::{ChildPair, PairState, Then};
use crate::config::{ChildId, IkeProposal};
use crate::counters::Counter;
use crate::crypto::keys::IkeKeys;
use crate::endpoint::{Action, Cx};
use crate::event::{ChildSaId, IkeSaId};
use crate::header::Exchange;
use crate::message::View;
use crate::payload::{Id, Payload, notify};
use crate::task::{self, Reply, Task, delete, followup, mobike};
use crate::ticket::Given;
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Live,
    /// Its children have gone to a newer one; the peer, who made that one, deletes this one.
    Rekeyed {
        until: Instant,
    },
    /// It lost a collision; the peer, who made it, deletes it.
    Redundant {
        until: Instant,
    },
    /// Our Delete waits or is on its way.
    Deleting,
}

impl Phase {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Live => "established",
            Self::Rekeyed { .. } => "rekeyed",
            Self::Redundant { .. } => "redundant",
            Self::Deleting => "deleting",
        }
    }
}

/// The IKE SA that a rekey of the peer made while ours was under way (RFC 7296 §2.8.2).
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) ike: IkeSaId,
    pub(crate) lowest_nonce: Vec<u8>,
}

/// An answer that waits until the data plane has the inbound SA.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) asked: Asked,
    pub(crate) pair: ChildSaId,
    pub(crate) ok: Vec<Payload>,
    pub(crate) failed: Vec<Payload>,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) task: Task,
    pub(crate) not_before: Instant,
}

#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) keys: IkeKeys,
    pub(crate) proposal: IkeProposal,
    pub(crate) peer_id: Id,
    pub(crate) phase: Phase,
    pub(crate) children: Vec<ChildPair>,
    pub(crate) queue: VecDeque<Waiting>,
    /// Our request that waits for its answer.
    pub(crate) active: Option<Task>,
    pub(crate) held: Option<Held>,
    pub(crate) rival: Option<Rival>,
    /// Exchanges of the peer's whose second half is to come (RFC 9370 §2.2.4).
    pub(crate) series: Vec<followup::Series>,
    /// How often in a row the peer had forgotten one of ours.
    pub(crate) not_found: u8,
    /// This one is such a rival: the IKE SA that still has what it may come to own.
    pub(crate) predecessor: Option<IkeSaId>,
    pub(crate) since: Instant,
    pub(crate) last_heard: Instant,
    pub(crate) rekey_at: Instant,
    pub(crate) expires_at: Instant,
    /// When both sides are to prove themselves anew: counted from when they last did, across rekeys.
    pub(crate) reauthenticate_at: Option<Instant>,
    pub(crate) session: Given,
    /// Children of which the peer takes no more pairs (RFC 9611).
    pub(crate) enough: Vec<ChildId>,
    /// `IkeUp` was told, `IkeDown` was not.
    pub(crate) announced: bool,
}

impl Established {
    pub(crate) fn new(
        cx: &mut Cx<'_>,
        core: &Core,
        keys: IkeKeys,
        proposal: IkeProposal,
        peer_id: Id,
    ) -> Self {
        let lifetime = core.connection.lifetime;
        let soft = lifetime.saturating_sub(cx.random_up_to(core.connection.jitter));
        // The configuration names when the rekey begins; a tenth more, and at least a minute, is left for it.
        let hard = lifetime + (lifetime / 10).max(core::time::Duration::from_secs(60));
        let reauthenticate_at = core.proof_at(cx);
        cx.count(Counter::IkeEstablished);
        Self {
            keys,
            proposal,
            peer_id,
            phase: Phase::Live,
            children: Vec::new(),
            queue: VecDeque::new(),
            active: None,
            held: None,
            rival: None,
            series: Vec::new(),
            not_found: 0,
            predecessor: None,
            since: cx.now,
            last_heard: cx.now,
            rekey_at: cx.now + soft,
            expires_at: cx.now + hard,
            reauthenticate_at,
            session: Given::default(),
            enough: Vec::new(),
            announced: false,
        }
    }

    /// An authentic, new message came: the peer lives, and is where it came from (RFC 7296 §2.23).
    pub(crate) fn heard(&mut self, core: &mut Core, cx: &mut Cx<'_>, via: Via) {
        self.last_heard = cx.now;
        core.others_tried = 0;
        core.path.local.get_or_insert_with(|| via.local.ip());
        // RFC 4555 §3.8: with MOBIKE it has to say so.
        if core.mobility == mobike::Mobility::Off {
            let natt = via.local.port() == cx.config.natt_port;
            self.move_peer(core, cx, via.remote, natt);
        }
    }

    /// Follows the peer to another address or port: only when a NAT is on its side, and none on ours.
    pub(crate) fn move_peer(&mut self, core: &mut Core, cx: &mut Cx<'_>, remote: SocketAddr, natt: bool) {
        if (core.path.remote, core.path.natt) == (remote, natt)
            || !core.path.nat_remote
            || core.path.nat_local
        {
            return;
        }
        tracing::debug!(ike = core.id.0, from = %core.path.remote, to = %remote, "peer moved");
        core.path.remote = remote;
        core.path.natt = natt;
        self.follow_path(core, cx);
    }

    // Children

    pub(crate) fn pair(&mut self, id: ChildSaId) -> Option<&mut ChildPair> {
        self.children.iter_mut().find(|p| p.id == id)
    }

    pub(crate) fn take_pair(&mut self, at: impl Fn(&ChildPair) -> bool) -> Option<ChildPair> {
        let index = self.children.iter().position(at)?;
        Some(self.children.remove(index))
    }

    pub(crate) fn drop_children(&mut self, cx: &mut Cx<'_>, why: &str) {
        self.held = None;
        for pair in core::mem::take(&mut self.children) {
            cx.remove_pair(&pair, why);
        }
    }

    /// Takes the pair out of use and tells the peer.
    pub(crate) fn delete_pair(&mut self, cx: &mut Cx<'_>, id: ChildSaId) {
        let Some(pair) = self.pair(id) else { return };
        match pair.state {
            PairState::Deleting => return,
            // An answer may wait for it: it goes when the data plane has answered.
            PairState::Installing(_) => {
                pair.state = PairState::Installing(Then::Discard);
                return;
            }
            PairState::Installed => {}
        }
        pair.state = PairState::Deleting;
        let delete = delete::Delete::child(&*pair);
        cx.set_usable(id, false);
        self.push(cx, Task::Delete(delete));
    }

    /// Its time is over: nothing more is sent or received by it, whether or not the peer answers.
    pub(crate) fn expire_pair(&mut self, cx: &mut Cx<'_>, id: ChildSaId) {
        let Some(pair) = self.take_pair(|p| p.id == id) else { return };
        cx.remove_pair(&pair, "its lifetime is over");
        self.push(cx, Task::Delete(delete::Delete::child(&pair)));
    }

    /// The data plane answered.
    pub(crate) fn installed(&mut self, core: &mut Core, cx: &mut Cx<'_>, id: ChildSaId, ok: bool) {
        let Some(pair) = self.pair(id) else { return };
        let PairState::Installing(then) = pair.state else { return };
        if !ok {
            return self.install_failed(core, cx, id);
        }
        pair.state = PairState::Installed;
        let (child, waits, replaced) = (pair.child, pair.awaits_proof, pair.replaced);
        let lane = (child, pair.place.resource);
        cx.set_usable(id, !replaced);
        match then {
            Then::Answer => {
                self.release(core, cx, id, true);
                if !waits || !cx.is_carried(child, lane.1) {
                    cx.use_outbound(lane, id);
                }
                self.lead(core, cx, id, false);
            }
            Then::Use => {
                cx.use_outbound(lane, id);
                self.lead(core, cx, id, true);
            }
            Then::Replace(old) => {
                cx.count(Counter::ChildRekeyed);
                cx.use_outbound(lane, id);
                self.delete_pair(cx, old);
                self.lead(core, cx, id, true);
            }
            Then::Discard => {
                self.release(core, cx, id, true);
                self.delete_pair(cx, id);
            }
        }
    }

    fn install_failed(&mut self, core: &mut Core, cx: &mut Cx<'_>, id: ChildSaId) {
        cx.count(Counter::InstallFailed);
        let Some(pair) = self.take_pair(|p| p.id == id) else { return };
        cx.remove_pair(&pair, "the data plane could not take it");
        task::forget_collision(self, id);
        if self.held.as_ref().is_some_and(|h| h.pair == id) {
            self.release(core, cx, id, false);
        } else {
            self.push(cx, Task::Delete(delete::Delete::child(&pair)));
            if pair.place.resource > 0 {
                return self.no_more(pair.child);
            }
            cx.act(Action::ChildMissing {
                connection: core.connection.id,
                child: pair.child,
                why: Some("the data plane could not take the SA".to_owned()),
            });
        }
    }

    /// Sends the answer that waited for this pair.
    fn release(&mut self, core: &mut Core, cx: &mut Cx<'_>, id: ChildSaId, ok: bool) {
        if let Some(held) = self.held.take_if(|h| h.pair == id) {
            core.answer(cx, &mut self.keys, held.asked, if ok { &held.ok } else { &held.failed });
        }
    }

    /// The peer showed that it has the newest pair: send by it too.
    pub(crate) fn proven(&mut self, cx: &mut Cx<'_>, id: ChildSaId) {
        if let Some(pair) = self.pair(id)
            && pair.is_current()
            && pair.awaits_proof
        {
            (pair.awaits_proof, pair.proof_by) = (false, None);
            let lane = (pair.child, pair.place.resource);
            cx.use_outbound(lane, id);
        }
    }

    /// The peer asks again, so it has no answer yet: what was made for it is not to be sent by.
    pub(crate) fn repeated(&mut self, cx: &Cx<'_>) {
        let at = cx.now + cx.config.timers.proof;
        self.children.iter_mut().filter_map(|p| p.proof_by.as_mut()).for_each(|by| *by = at);
    }

    // Tasks

    pub(crate) fn push(&mut self, cx: &mut Cx<'_>, task: Task) {
        self.push_at(cx, task, cx.now);
    }

    /// Nothing waits twice.
    pub(crate) fn push_at(&mut self, cx: &mut Cx<'_>, task: Task, not_before: Instant) {
        let same = |t: &Task| t.is_same(&task);
        if self.queue.iter().any(|w| same(&w.task)) || self.active.as_ref().is_some_and(same) {
            return;
        }
        if self.queue.len() >= cx.config.limits.tasks {
            return cx.count(Counter::QueueFull);
        }
        self.queue.push_back(Waiting { task, not_before });
    }

    /// Before all that waits: the peer waits for it.
    pub(crate) fn push_next(&mut self, cx: &Cx<'_>, task: Task) {
        self.queue.push_front(Waiting { task, not_before: cx.now });
    }

    pub(crate) fn has_task(&self, is: impl Fn(&Task) -> bool) -> bool {
        self.active.as_ref().is_some_and(&is) || self.queue.iter().any(|w| is(&w.task))
    }

    /// On its way by a task or an installation of ours.
    pub(crate) fn is_making(&self, child: ChildId) -> bool {
        let installing = |p: &ChildPair| matches!(p.state, PairState::Installing(_)) && p.place.resource == 0;
        self.has_task(|t| matches!(t, Task::ChildCreate(c) if c.child == child && !c.is_more()))
            || self.children.iter().any(|p| p.child == child && installing(p))
    }

    /// Starts the next task when the window is free.
    pub(crate) fn run(&mut self, core: &mut Core, cx: &mut Cx<'_>) {
        while self.active.is_none() && core.window.is_free() {
            let ready = |w: &Waiting| w.not_before <= cx.now && !self.is_held_back(&w.task);
            let Some(at) = self.queue.iter().position(ready) else { return };
            let Some(Waiting { mut task, .. }) = self.queue.remove(at) else { return };
            let Some(payloads) = task.build(core, self, cx) else { continue };
            let exchange = task.exchange();
            if core.request_sealed(cx, &mut self.keys, exchange, &payloads) {
                self.active = Some(task);
            }
        }
    }

    /// `None`: it stays established.
    pub(crate) fn on_response(
        &mut self,
        core: &mut Core,
        cx: &mut Cx<'_>,
        asked: Asked,
        view: View<'_>,
    ) -> Option<State> {
        let task = self.active.take()?;
        if asked.exchange != task.exchange() {
            cx.count(Counter::MalformedAuthentic);
            self.begin_delete(core, cx, "the peer answered with another exchange");
            return None;
        }
        task.process(core, self, cx, view)
    }

    /// `None`: it stays established.
    pub(crate) fn on_request(
        &mut self,
        core: &mut Core,
        cx: &mut Cx<'_>,
        asked: Asked,
        view: View<'_>,
    ) -> Option<State> {
        let reply = match asked.exchange {
            Exchange::CreateChildSa => task::respond_create(core, self, cx, view),
            Exchange::IkeFollowupKe => followup::respond(core, self, cx, view),
            Exchange::Informational => return delete::respond_informational(core, self, cx, asked, view),
            Exchange::IkeSaInit
            | Exchange::IkeSessionResume
            | Exchange::IkeAuth
            | Exchange::IkeIntermediate
            | Exchange::Other(_) => Err(crate::error::Malformed::Value("exchange type").into()),
        };
        match reply {
            Ok(Reply::Now(payloads)) => core.answer(cx, &mut self.keys, asked, &payloads),
            Ok(Reply::AfterInstall { pair, ok, failed }) => {
                self.held = Some(Held { asked, pair, ok, failed })
            }
            Err(error) => return self.refuse(core, cx, asked, &error),
        }
        None
    }

    /// Answers with the error; one that breaks the format ends the SA (RFC 7296 §2.21.3).
    fn refuse(
        &mut self,
        core: &mut Core,
        cx: &mut Cx<'_>,
        asked: Asked,
        error: &crate::error::Error,
    ) -> Option<State> {
        count_error(cx, error);
        tracing::debug!(ike = core.id.0, %error, "request refused");
        core.answer(cx, &mut self.keys, asked, &[error_payload(error)]);
        if matches!(error, crate::error::Error::Mismatch(_)) {
            cx.rejected(Some(core.connection.id), asked.via.remote, error.to_string());
        }
        (error.notify() == notify::INVALID_SYNTAX).then(|| self.close(core, cx, &error.to_string()))
    }
}
