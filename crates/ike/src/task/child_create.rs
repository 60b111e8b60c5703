//! CREATE_CHILD_SA for a new child, in both roles (RFC 7296 §1.3.1), and what the rekey of a child shares with it as
//! responder.
//!
//! Decides: what becomes of a child that is asked for; which place it has. Never: sends, retransmits, installs.

use super::child_exchange::{Exchanged, Outcome};
use super::child_keys::{ke_payload, shared_as_responder};
use super::delete::{Delete, Inbound};
use super::followup::{self, is_replaceable};
use super::{Collision, Reply, Task, child_rekey, lowest};
use crate::child_sa::offer::{self, Fit};
use crate::child_sa::{self, Agreed, ChildPair, Place, Then, group};
use crate::config::{Child, ChildId};
use crate::counters::Counter;
use crate::crypto::Hidden;
use crate::crypto::keys::Fresh;
use crate::endpoint::{Action, Cx, Near};
use crate::error::{Error, Failure, Misbehaved};
use crate::event::ChildSaId;
use crate::ike_sa::{Core, Established, count_error, error_payload};
use crate::message::View;
use crate::payload::Payload;
use crate::snapshot::Role;
use ravelin_wire::Spi;

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
            Outcome::GoOn => sa.push_next(cx, Task::ChildCreate(self)),
            // Should the peer not come to the end with its own.
            Outcome::Yielded => {
                let at = cx.now + cx.config.timers.followup;
                sa.push_at(cx, Task::ChildCreate(Self::of(self.child, self.kind)), at);
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
        let (reply, _) = accept(core, sa, cx, view, (child, place), fit, For::More)?;
        return Ok(reply);
    }
    // RFC 9370 §2.2.4: the peer knows of ours.
    let ours = |t: &Task| matches!(t, Task::ChildCreate(t) if t.child == child.id && !t.is_more());
    if sa.active.as_ref().is_some_and(|t| t.second().is_some() && ours(t)) {
        return Err(Error::Local(Failure::Busy));
    }
    let place = Place { resource: 0, grouped: fit.grouped };
    let (reply, collision) = accept(core, sa, cx, view, (child, place), fit, For::New)?;
    crossed(sa, child.id, collision);
    Ok(reply)
}

/// The peer's exchange for a new child meets ours.
fn crossed(sa: &mut Established, child: ChildId, collision: Collision) {
    if let Some(Task::ChildCreate(ours)) = &mut sa.active
        && ours.child == child
        && !ours.is_more()
    {
        ours.exchange.collision = Some(collision);
    }
}

/// A successor stays with the worker of the pair before it (RFC 9611 §4).
fn place_near(sa: &Established, child: &Child, place: Place, replaces: Option<ChildSaId>) -> Option<Near> {
    match replaces {
        Some(old) => sa.children.iter().find(|p| p.id == old).map(ChildPair::beside),
        None => sa.near(child, place.resource),
    }
}

/// What the peer asks a pair for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum For {
    New,
    More,
    Rekey(ChildSaId),
}

impl For {
    const fn replaces(self) -> Option<ChildSaId> {
        match self {
            Self::Rekey(old) => Some(old),
            Self::New | Self::More => None,
        }
    }
}

/// What the peer's request and our answer agreed on.
#[derive(Debug)]
pub(crate) struct Begun {
    child: Child,
    place: Place,
    fit: Fit,
    what: For,
    ni: Vec<u8>,
    nr: Vec<u8>,
    first: Hidden,
    inbound: Spi,
}

/// Takes what the peer asks for. Without a second key exchange the pair is made, and the answer waits for the data plane.
pub(crate) fn accept(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    (child, place): (&Child, Place),
    fit: Fit,
    what: For,
) -> Result<(Reply, Collision), Error> {
    is_room(sa, cx)?;
    let ni = view.nonce()?.to_vec();
    let exchange = shared_as_responder(fit.chosen.ours.group, view, cx)?;
    let near = if place.grouped { place_near(sa, child, place, what.replaces()) } else { None };
    let (nr, inbound) = (cx.nonce(), cx.inbound_spi(child.id, near));
    let [answer, ts_i, ts_r] = offer::answer(&fit, inbound, true);
    let mut ok: Vec<Payload> = offer::notifies(child).collect();
    ok.extend(group::info(child, place.resource).filter(|_| fit.grouped));
    ok.extend([answer, Payload::Nonce(nr.clone())]);
    ok.extend(exchange.as_ref().map(|(ke, _)| ke_payload(ke)));
    ok.extend([ts_i, ts_r]);
    let first = exchange.map(|(_, secret)| secret.into()).unwrap_or_default();
    let second = fit.chosen.ours.kem;
    let begun = Begun { child: child.clone(), place, fit, what, ni, nr, first, inbound };
    let Some(kem) = second else { return Ok(begun.make(core, sa, cx, &[], ok)) };
    let collision = begun.collision(None);
    ok.push(sa.begin_series(cx, kem, followup::Begun::Child(Box::new(begun))));
    Ok((Reply::Now(ok), collision))
}

fn is_room(sa: &Established, cx: &Cx<'_>) -> Result<(), Error> {
    if sa.children.len() < cx.config.limits.children { Ok(()) } else { Err(Error::Local(Failure::Full)) }
}

impl Begun {
    pub(super) const fn child(&self) -> ChildId {
        self.child.id
    }

    pub(super) const fn replaces(&self) -> Option<ChildSaId> {
        self.what.replaces()
    }

    pub(super) fn is_more(&self) -> bool {
        self.what == For::More
    }

    /// It makes the child, or what takes the place of this pair of it.
    pub(super) fn is_for(&self, child: ChildId, replaces: Option<ChildSaId>) -> bool {
        match self.what {
            For::More => false,
            For::New => replaces.is_none() && self.child.id == child,
            For::Rekey(old) => replaces == Some(old),
        }
    }

    fn collision(&self, pair: Option<ChildSaId>) -> Collision {
        Collision { pair, lowest_nonce: lowest(&self.ni, &self.nr).to_vec() }
    }

    /// The second key exchange is done.
    pub(super) fn go_on(
        self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        second: &[u8],
        answer: Vec<Payload>,
    ) -> Result<Reply, Error> {
        is_room(sa, cx)?;
        let (what, child) = (self.what, self.child.id);
        if what.replaces().is_some_and(|old| !is_replaceable(sa, old)) {
            return Err(Error::Peer(Misbehaved::NoSuchSeries));
        }
        let (reply, collision) = self.make(core, sa, cx, second, answer);
        match what {
            For::Rekey(old) => child_rekey::crossed(sa, old, collision),
            For::New => crossed(sa, child, collision),
            For::More => {}
        }
        Ok(reply)
    }

    fn make(
        self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        second: &[u8],
        ok: Vec<Payload>,
    ) -> (Reply, Collision) {
        let Self { child, place, fit, what, ni, nr, first, inbound } = &self;
        let agreed = Agreed {
            role: Role::Responder,
            ni,
            nr,
            fresh: Fresh { first, second },
            fit: fit.clone(),
            inbound: *inbound,
            place: *place,
            replaces: what.replaces(),
            then: Then::Answer,
        };
        let pair = child_sa::make(cx, (core.id, &sa.keys, &core.path), core.connection.id, child, agreed);
        if *what == For::More {
            cx.count(Counter::ResourceSas);
        }
        let collision = self.collision(Some(pair.id));
        let failed = vec![error_payload(&Error::Local(Failure::Install))];
        let reply = Reply::AfterInstall { pair: pair.id, ok, failed };
        sa.children.push(pair);
        (reply, collision)
    }
}
