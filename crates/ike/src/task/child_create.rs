//! CREATE_CHILD_SA for a new child, in both roles (RFC 7296 §1.3.1), and what the rekey of a child shares with it.
//!
//! Decides: whether the answer is one to what was asked; who wins when both sides created the same child.
//! Never: sends, retransmits, installs.

use super::child_keys::{ke_payload, shared_as_initiator, shared_as_responder};
use super::delete::{Delete, Inbound};
use super::{Collision, Reply, Task, lowest};
use crate::child_sa::offer::{self, Fit};
use crate::child_sa::{self, Agreed, ChildPair, Place, Then, group};
use crate::config::{Child, ChildId, Group};
use crate::counters::Counter;
use crate::crypto::group::KeyExchange;
use crate::endpoint::{Action, Cx, Near};
use crate::error::{Error, Failure};
use crate::event::ChildSaId;
use crate::ike_sa::{Core, Established, count_error, error_payload};
use crate::message::View;
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
    place: Place,
}

#[derive(Debug)]
pub(crate) struct ChildCreate {
    pub(crate) child: ChildId,
    kind: Kind,
    pub(crate) exchange: Exchanged,
}

/// What for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// None is in force.
    New,
    /// Though another IKE SA has a pair of it, which is to go.
    Beside,
    /// For a resource of ours that has none of its own (RFC 9611).
    More,
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
    pub(crate) fn request(
        &mut self,
        child: Child,
        place: Place,
        near: Option<Near>,
        cx: &mut Cx<'_>,
    ) -> Option<Vec<Payload>> {
        let group = self.group.or_else(|| child.proposals.iter().find_map(|p| p.group));
        let ke = match group {
            Some(group) => Some(KeyExchange::new(group, &mut *cx.rng)?),
            None => None,
        };
        let (nonce, inbound) = (cx.nonce(), cx.inbound_spi(child.id, near));
        // The selectors of a group are settled.
        let trigger = if place.grouped { None } else { cx.trigger(child.id) };
        let (sa, ts_i, ts_r) = offer::request(&child, inbound, true, trigger.as_ref());
        let mut payloads: Vec<Payload> = offer::notifies(&child).collect();
        payloads.extend(group::info(&child, place.resource));
        payloads.extend([sa, Payload::Nonce(nonce.clone())]);
        payloads.extend(ke.as_ref().map(ke_payload));
        payloads.extend([ts_i, ts_r]);
        self.running = Some(ChildExchange { child, ke, nonce, inbound, place });
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
        let more = run.place.grouped && replaces.is_none();
        if !more {
            offer::still_wanted(&run.child, &core.connection)?;
        }
        let fit = offer::judge_answer(&run.child, &run.child, view, true)?;
        if more {
            sa.fits_group(&fit, run.child.id)?;
        }
        let place = Place { grouped: run.place.grouped || fit.grouped, ..run.place };
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
            place,
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
        Self::of(child, Kind::New)
    }

    /// Though another IKE SA has a pair of it, which is to go.
    pub(crate) fn beside(child: ChildId) -> Box<Self> {
        Self::of(child, Kind::Beside)
    }

    /// For the next resource that has none.
    pub(crate) fn more(child: ChildId) -> Box<Self> {
        Self::of(child, Kind::More)
    }

    fn of(child: ChildId, kind: Kind) -> Box<Self> {
        Box::new(Self { child, kind, exchange: Exchanged::default() })
    }

    pub(crate) fn is_more(&self) -> bool {
        self.kind == Kind::More
    }

    pub(super) fn build(&mut self, core: &Core, sa: &Established, cx: &mut Cx<'_>) -> Option<Vec<Payload>> {
        if self.kind == Kind::New && cx.has_usable(self.child) {
            return None;
        }
        let child = core.connection.children.iter().find(|c| c.id == self.child)?;
        if child.selectors.is_empty() {
            let why = Some("none of its selectors holds the address that the peer gave".to_owned());
            cx.act(Action::ChildMissing { connection: core.connection.id, child: self.child, why });
            return None;
        }
        if self.kind != Kind::More {
            return self.exchange.request(child.clone(), Place::default(), None, cx);
        }
        let (like, resource) = (sa.like_leader(child)?, sa.missing(child)?);
        let near = sa.near(child, resource);
        self.exchange.request(like, Place { resource, grouped: true }, near, cx)
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
            Outcome::Made(pair) => {
                sa.children.push(pair);
                if self.is_more() {
                    cx.count(Counter::ResourceSas);
                    sa.fill(core, cx, self.child, cx.now);
                }
            }
            Outcome::OtherGroup => sa.push(cx, Task::ChildCreate(self)),
            Outcome::Later => {
                let at = retry_at(cx);
                sa.push_at(cx, Task::ChildCreate(Self::of(self.child, self.kind)), at);
            }
            // Whatever it has against it: the first pair serves all, and the peer is not pressed.
            Outcome::Failed(error) if self.is_more() => {
                failed(core, sa, cx, &error, undo);
                sa.no_more(self.child);
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

/// A new child, asked for by the peer.
pub(crate) fn respond(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
) -> Result<Reply, Error> {
    let children = core.connection.clone();
    let (child, fit) = offer::choose(children.children.iter(), view, true)?;
    if fit.grouped && sa.children.iter().any(|p| p.child == child.id && p.place.grouped) {
        sa.fits_group(&fit, child.id)?;
        let place = sa.place_for_peer(cx, child)?;
        // Where both ask at once, both get what they ask for: the SAs of a group do not exclude each other.
        let (reply, _) = accept(core, sa, cx, view, (child, place), fit, None)?;
        cx.count(Counter::ResourceSas);
        return Ok(reply);
    }
    let place = Place { resource: 0, grouped: fit.grouped };
    let (reply, collision) = accept(core, sa, cx, view, (child, place), fit, None)?;
    if let Some(Task::ChildCreate(ours)) = &mut sa.active
        && ours.child == child.id
        && !ours.is_more()
    {
        ours.exchange.collision = Some(collision);
    }
    Ok(reply)
}

/// A successor stays with the worker of the pair before it (RFC 9611 §4).
fn place_near(sa: &Established, child: &Child, place: Place, replaces: Option<ChildSaId>) -> Option<Near> {
    match replaces {
        Some(old) => sa.children.iter().find(|p| p.id == old).map(ChildPair::beside),
        None => sa.near(child, place.resource),
    }
}

/// Makes the pair that the peer asked for; the answer waits for the data plane.
pub(crate) fn accept(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    (child, place): (&Child, Place),
    fit: Fit,
    replaces: Option<ChildSaId>,
) -> Result<(Reply, Collision), Error> {
    if sa.children.len() >= cx.config.limits.children {
        return Err(Error::Local(Failure::Full));
    }
    let ni = view.nonce()?;
    let exchange = shared_as_responder(fit.chosen.ours.group, view, cx)?;
    let near = if place.grouped { place_near(sa, child, place, replaces) } else { None };
    let (nr, inbound) = (cx.nonce(), cx.inbound_spi(child.id, near));
    let [answer, ts_i, ts_r] = offer::answer(&fit, inbound, true);
    let mut ok: Vec<Payload> = offer::notifies(child).collect();
    ok.extend(group::info(child, place.resource).filter(|_| fit.grouped));
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
        place,
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
