//! CREATE_CHILD_SA for a new child, in both roles (RFC 7296 §1.3.1), and what the rekey of a child shares with it.
//!
//! Decides: whether the answer is one to what was asked; who wins when both sides created the same child.
//! Never: sends, retransmits, installs.

use super::delete::{Delete, Inbound};
use super::{Collision, Reply, Task, lowest};
use crate::child_sa::offer::{self, Fit};
use crate::child_sa::{self, Agreed, ChildPair, Then};
use crate::config::{Child, ChildId, Group};
use crate::counters::Counter;
use crate::crypto::Wiped;
use crate::crypto::group::KeyExchange;
use crate::endpoint::{Action, Cx};
use crate::error::{Error, Failure, Incompatible, Malformed, Misbehaved};
use crate::event::ChildSaId;
use crate::ike_sa::{Core, Established, count_error, error_payload};
use crate::message::View;
use crate::negotiate::algorithm;
use crate::negotiate::proposal::group_by_number;
use crate::payload::{Payload, notify};
use crate::snapshot::Role;
use ravelin_wire::Spi;

/// How often a peer may ask for another group.
const MAX_GROUPS: u8 = 3;

/// What a request of ours for a child holds until its answer.
#[derive(Debug)]
pub(crate) struct ChildExchange {
    child: Child,
    ke: Option<KeyExchange>,
    nonce: Vec<u8>,
    inbound: Spi,
}

#[derive(Debug)]
pub(crate) struct ChildCreate {
    pub(crate) child: ChildId,
    beside: bool,
    pub(crate) exchange: Exchanged,
}

/// Empty until the request is built.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    running: Option<ChildExchange>,
    pub(crate) collision: Option<Collision>,
    pub(crate) group: Option<Group>,
    pub(crate) groups_tried: u8,
}

/// What the answer to a request of ours leads to.
pub(crate) enum Outcome {
    Made(ChildPair),
    /// Ask again, with the group that the peer wants.
    OtherGroup,
    /// Ask again after a while.
    Later,
    Failed(Error),
}

impl Exchanged {
    /// `SA, Ni, [KEi,] TSi, TSr`; `None` when no key can be made.
    pub(crate) fn request(&mut self, child: Child, cx: &mut Cx<'_>) -> Option<Vec<Payload>> {
        let group = self.group.or_else(|| child.proposals.iter().find_map(|p| p.group));
        let ke = match group {
            Some(group) => Some(KeyExchange::new(group, &mut *cx.rng)?),
            None => None,
        };
        let (nonce, inbound) = (cx.nonce(), cx.inbound_spi(child.id));
        let trigger = cx.trigger(child.id);
        let (sa, ts_i, ts_r) = offer::request(&child, inbound, true, trigger.as_ref());
        let mut payloads: Vec<Payload> = offer::notifies(&child).into_iter().collect();
        payloads.extend([sa, Payload::Nonce(nonce.clone())]);
        payloads.extend(ke.as_ref().map(ke_payload));
        payloads.extend([ts_i, ts_r]);
        self.running = Some(ChildExchange { child, ke, nonce, inbound });
        Some(payloads)
    }

    /// What our request names, so that a pair which only the peer has can be deleted.
    pub(crate) fn inbound(&self) -> Option<Inbound> {
        self.running.as_ref().map(|r| Inbound { spi: r.inbound, ah: r.child.is_ah() })
    }

    /// `replaces` is the old pair of a rekey.
    pub(crate) fn answered(
        &mut self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
        replaces: Option<ChildSaId>,
    ) -> Outcome {
        if let Some(number) = view.wanted_group() {
            return self.other_group(cx, number);
        }
        match self.judge(core, sa, cx, view, replaces) {
            Ok(pair) => Outcome::Made(pair),
            Err(Error::Refused(notify::TEMPORARY_FAILURE)) => {
                cx.count(Counter::TemporaryFailures);
                Outcome::Later
            }
            Err(e) => Outcome::Failed(e),
        }
    }

    fn other_group(&mut self, cx: &mut Cx<'_>, number: u16) -> Outcome {
        cx.count(Counter::InvalidKe);
        let Some(run) = self.running.take() else { return Outcome::Later };
        let groups = run.child.proposals.iter().filter_map(|p| p.group);
        self.groups_tried += 1;
        match group_by_number(groups, number) {
            Some(group) if self.groups_tried <= MAX_GROUPS => {
                self.group = Some(group);
                Outcome::OtherGroup
            }
            _ => Outcome::Failed(Error::Refused(notify::INVALID_KE_PAYLOAD)),
        }
    }

    fn judge(
        &mut self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
        replaces: Option<ChildSaId>,
    ) -> Result<ChildPair, Error> {
        view.refuse_errors()?;
        let run = self.running.take().ok_or(Error::Local(Failure::Key))?;
        offer::still_wanted(&run.child, &core.connection)?;
        let fit = offer::judge_answer(&run.child, &run.child, view, true)?;
        let nr = view.nonce()?;
        let shared = shared_as_initiator(run.ke.as_ref(), fit.chosen.ours.group, view)?;
        let lost = self.collision.as_ref().is_some_and(|c| *lowest(&run.nonce, nr) < *c.lowest_nonce);
        if self.collision.is_some() {
            cx.count(Counter::Collisions);
        }
        let then = match replaces {
            // RFC 7296 §2.8.1: the SA of the exchange with the lowest nonce goes, and its initiator deletes it.
            _ if lost => Then::Discard,
            Some(old) => Then::Replace(old),
            None => Then::Use,
        };
        let agreed = Agreed {
            role: Role::Initiator,
            ni: &run.nonce,
            nr,
            shared: shared.as_ref().map(|s| s.as_slice()),
            fit,
            inbound: run.inbound,
            replaces,
            then,
        };
        let pair =
            child_sa::make(cx, (core.id, &sa.keys, &core.path), core.connection.id, &run.child, agreed);
        // We won: the peer deletes the pair of its own exchange.
        if let Some(c) = self.collision.as_ref().filter(|_| !lost) {
            retire(sa, cx, c.pair);
        }
        Ok(pair)
    }
}

/// The peer is about to delete this pair.
pub(crate) fn retire(sa: &mut Established, cx: &mut Cx<'_>, id: ChildSaId) {
    if let Some(pair) = sa.pair(id) {
        pair.replaced = true;
        cx.set_usable(id, false);
    }
}

impl ChildCreate {
    pub(crate) fn new(child: ChildId) -> Box<Self> {
        Box::new(Self { child, beside: false, exchange: Exchanged::default() })
    }

    /// Though another IKE SA has a pair of it, which is to go.
    pub(crate) fn beside(child: ChildId) -> Box<Self> {
        Box::new(Self { child, beside: true, exchange: Exchanged::default() })
    }

    pub(super) fn build(&mut self, core: &Core, cx: &mut Cx<'_>) -> Option<Vec<Payload>> {
        if !self.beside && cx.has_usable(self.child) {
            return None;
        }
        let child = core.connection.children.iter().find(|c| c.id == self.child)?.clone();
        if child.selectors.is_empty() {
            let why = Some("none of its selectors holds the address that the peer gave".to_owned());
            cx.act(Action::ChildMissing { connection: core.connection.id, child: self.child, why });
            return None;
        }
        self.exchange.request(child, cx)
    }

    pub(super) fn process(
        mut self: Box<Self>,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
    ) {
        let undo = self.exchange.inbound();
        match self.exchange.answered(core, sa, cx, view, None) {
            Outcome::Made(pair) => sa.children.push(pair),
            Outcome::OtherGroup => sa.push(cx, Task::ChildCreate(self)),
            Outcome::Later => {
                let at = retry_at(cx);
                let again = if self.beside { Self::beside(self.child) } else { Self::new(self.child) };
                sa.push_at(cx, Task::ChildCreate(again), at);
            }
            Outcome::Failed(error) => {
                failed(core, sa, cx, &error, undo);
                let why = Some(error.to_string());
                let (connection, child) = (core.connection.id, self.child);
                cx.act(Action::ChildMissing { connection, child, why });
            }
        }
    }
}

/// After TEMPORARY_FAILURE: not at once, and not when the peer tries again too (RFC 7296 §2.25).
pub(crate) fn retry_at(cx: &mut Cx<'_>) -> std::time::Instant {
    let pause = cx.config.timers.temporary_failure;
    cx.now + pause + cx.random_up_to(pause)
}

/// An answer that we cannot use. When the peer believes it made a pair, it is told that there is none.
pub(crate) fn failed(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    error: &Error,
    undo: Option<Inbound>,
) {
    count_error(cx, error);
    tracing::debug!(ike = core.id.0, %error, "child SA failed");
    core.trace(cx, || format!("the child SA failed: {error}"));
    match error {
        Error::Refused(_) | Error::Local(_) => {}
        Error::Malformed(_) => sa.begin_delete(core, cx, &error.to_string()),
        Error::Peer(_) | Error::Mismatch(_) => {
            if let Some(inbound) = undo {
                sa.push(cx, Task::Delete(Delete::child(inbound)));
            }
        }
    }
}

pub(crate) fn ke_payload(ke: &KeyExchange) -> Payload {
    Payload::KeyExchange { group: algorithm::group_number(ke.group()), data: ke.public.clone() }
}

/// As initiator: the peer's public value must be of the group that we offered.
fn shared_as_initiator(
    ours: Option<&KeyExchange>,
    chosen: Option<Group>,
    view: View<'_>,
) -> Result<Option<Wiped>, Error> {
    let Some(chosen) = chosen else { return Ok(None) };
    let ke = ours.filter(|ke| ke.group() == chosen);
    let ke = ke.ok_or(Error::Peer(Misbehaved::BadAnswer("key exchange of another group")))?;
    let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    if number != algorithm::group_number(chosen) {
        return Err(Error::Peer(Misbehaved::BadAnswer("key exchange of another group")));
    }
    let secret = ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    Ok(Some(secret))
}

/// As responder: our public value and the secret, when the chosen proposal asks for one.
fn shared_as_responder(
    chosen: Option<Group>,
    view: View<'_>,
    cx: &mut Cx<'_>,
) -> Result<Option<(KeyExchange, Wiped)>, Error> {
    let Some(chosen) = chosen else { return Ok(None) };
    let wanted = algorithm::group_number(chosen);
    let (number, public) = view.ke()?.ok_or(Error::Mismatch(Incompatible::Group(wanted)))?;
    if number != wanted {
        return Err(Error::Mismatch(Incompatible::Group(wanted)));
    }
    let ke = KeyExchange::new(chosen, &mut *cx.rng).ok_or(Error::Local(Failure::Key))?;
    let secret = ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    Ok(Some((ke, secret)))
}

/// A new child, asked for by the peer.
pub(crate) fn respond(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
) -> Result<Reply, Error> {
    let children = core.connection.clone();
    let (child, fit) = offer::choose(children.children.iter(), view, true)?;
    let (reply, collision) = accept(core, sa, cx, view, child, fit, None)?;
    if let Some(Task::ChildCreate(ours)) = &mut sa.active
        && ours.child == child.id
    {
        ours.exchange.collision = Some(collision);
    }
    Ok(reply)
}

/// Makes the pair that the peer asked for; the answer waits for the data plane.
pub(crate) fn accept(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    child: &Child,
    fit: Fit,
    replaces: Option<ChildSaId>,
) -> Result<(Reply, Collision), Error> {
    if sa.children.len() >= cx.config.limits.children {
        return Err(Error::Local(Failure::Full));
    }
    let ni = view.nonce()?;
    let exchange = shared_as_responder(fit.chosen.ours.group, view, cx)?;
    let (nr, inbound) = (cx.nonce(), cx.inbound_spi(child.id));
    let [answer, ts_i, ts_r] = offer::answer(&fit, inbound, true);
    let mut ok: Vec<Payload> = offer::notifies(child).into_iter().collect();
    ok.extend([answer, Payload::Nonce(nr.clone())]);
    ok.extend(exchange.as_ref().map(|(ke, _)| ke_payload(ke)));
    ok.extend([ts_i, ts_r]);
    let agreed = Agreed {
        role: Role::Responder,
        ni,
        nr: &nr,
        shared: exchange.as_ref().map(|(_, secret)| secret.as_slice()),
        fit,
        inbound,
        replaces,
        then: Then::Answer,
    };
    let pair = child_sa::make(cx, (core.id, &sa.keys, &core.path), core.connection.id, child, agreed);
    let collision = Collision { pair: pair.id, lowest_nonce: lowest(ni, &nr).to_vec() };
    let failed = vec![error_payload(&Error::Local(Failure::Install))];
    let reply = Reply::AfterInstall { pair: pair.id, ok, failed };
    sa.children.push(pair);
    Ok((reply, collision))
}
