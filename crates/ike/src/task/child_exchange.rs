//! A request of ours for a child SA pair, new or in place of another, up to the pair: CREATE_CHILD_SA, and
//! IKE_FOLLOWUP_KE where a second key exchange was agreed on (RFC 7296 §1.3, §2.8.1; RFC 9370 §2.2.4).
//!
//! Decides: whether an answer is one to what was asked; who wins when both sides made the same child.
//! Never: sends, retransmits, installs.

use super::child_keys::{ke_payload, shared_as_initiator};
use super::delete::Inbound;
use super::followup::Second;
use super::{Collision, lowest};
use crate::child_sa::offer::{self, Fit};
use crate::child_sa::{self, Agreed, ChildPair, Place, Then, group};
use crate::config::{Child, Group};
use crate::counters::Counter;
use crate::crypto::Hidden;
use crate::crypto::group::KeyExchange;
use crate::crypto::keys::Fresh;
use crate::endpoint::{Cx, Near};
use crate::error::{Error, Failure};
use crate::event::ChildSaId;
use crate::ike_sa::{Core, Established, count_error};
use crate::message::View;
use crate::negotiate::proposal::group_by_number;
use crate::payload::{Payload, notify};
use crate::snapshot::Role;
use ravelin_wire::Spi;

/// How often a peer may ask for another group.
const MAX_GROUPS: u8 = 3;

/// What a request of ours for a child holds until its answer.
#[derive(Debug)]
struct Running {
    child: Child,
    ke: Option<KeyExchange>,
    nonce: Vec<u8>,
    inbound: Spi,
    place: Place,
}

/// What it holds until the answer to IKE_FOLLOWUP_KE.
#[derive(Debug)]
struct Half {
    run: Running,
    fit: Fit,
    place: Place,
    nr: Vec<u8>,
    first: Hidden,
    second: Second,
}

/// Empty until the request is built.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    running: Option<Running>,
    half: Option<Box<Half>>,
    pub(crate) collision: Option<Collision>,
    pub(crate) group: Option<Group>,
    pub(crate) groups_tried: u8,
}

/// What the answer to a request of ours leads to.
pub(crate) enum Outcome {
    Made(ChildPair),
    /// The second key exchange is next, before anything else.
    GoOn,
    /// The peer's exchange for the same goes on, ours does not.
    Yielded,
    /// Ask again, with the group that the peer wants.
    OtherGroup,
    /// Ask again after a while.
    Later,
    Failed(Error),
}

/// How far one exchange came.
enum Step {
    Pair(ChildPair),
    Half(Box<Half>),
    Lost,
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
        self.running = Some(Running { child, ke, nonce, inbound, place });
        Some(payloads)
    }

    /// What our request names, so that a pair which only the peer has can be deleted.
    pub(crate) fn inbound(&self) -> Option<Inbound> {
        let run = self.running.as_ref().or_else(|| self.half.as_ref().map(|h| &h.run))?;
        Some(Inbound { spi: run.inbound, ah: run.child.is_ah() })
    }

    pub(crate) fn second(&self) -> Option<&Second> {
        self.half.as_ref().map(|h| &h.second)
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
        let step = match self.half.take() {
            Some(half) => half.go_on(core, sa, cx, view, replaces).map(Step::Pair),
            None => match view.wanted_group() {
                Some(number) => return self.other_group(cx, number),
                None => self.judge(core, sa, cx, view, replaces),
            },
        };
        match step {
            Ok(Step::Pair(pair)) => Outcome::Made(pair),
            Ok(Step::Half(half)) => {
                self.half = Some(half);
                Outcome::GoOn
            }
            Ok(Step::Lost) => Outcome::Yielded,
            Err(Error::Refused(notify::TEMPORARY_FAILURE)) => {
                cx.count(Counter::TemporaryFailures);
                Outcome::Later
            }
            Err(e @ Error::Refused(notify::STATE_NOT_FOUND)) => {
                if !sa.may_begin_again(core, cx) {
                    return Outcome::Failed(e);
                }
                count_error(cx, &e);
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
    ) -> Result<Step, Error> {
        view.refuse_errors()?;
        let run = self.running.take().ok_or(Error::Local(Failure::Key))?;
        run.is_wanted(core, replaces)?;
        let fit = offer::judge_answer(&run.child, &run.child, view, true)?;
        if run.is_more(replaces) {
            sa.fits_group(&fit, run.child.id)?;
        }
        let place = Place { grouped: run.place.grouped || fit.grouped, ..run.place };
        let nr = view.nonce()?.to_vec();
        let first = shared_as_initiator(run.ke.as_ref(), fit.chosen.ours.group, view)?;
        let first: Hidden = first.map(Into::into).unwrap_or_default();
        let second = match fit.chosen.ours.kem {
            Some(kem) => Some(Second::new(kem, view, cx)?),
            None => None,
        };
        let lost = self.is_lost(cx, lowest(&run.nonce, &nr));
        if !lost {
            self.won(sa, cx, &run, replaces);
        }
        let Some(second) = second else {
            let parts = Parts { fit, place, nr: &nr, fresh: Fresh { first: &first, second: &[] } };
            return Ok(Step::Pair(run.make(core, sa, cx, parts, replaces, lost)));
        };
        if lost {
            return Ok(Step::Lost);
        }
        Ok(Step::Half(Box::new(Half { run, fit, place, nr, first, second })))
    }

    /// RFC 7296 §2.8.1: the SA of the exchange with the lowest nonce goes, and its initiator deletes it. RFC 9370
    /// §2.2.4: where its second key exchange is still to come, there is nothing to delete, and it stops.
    fn is_lost(&self, cx: &mut Cx<'_>, ours: &[u8]) -> bool {
        let Some(collision) = &self.collision else { return false };
        cx.count(Counter::Collisions);
        *ours < *collision.lowest_nonce
    }

    /// The peer deletes the pair of its own exchange, or does not go on with it.
    fn won(&self, sa: &mut Established, cx: &mut Cx<'_>, run: &Running, replaces: Option<ChildSaId>) {
        match self.collision.as_ref().map(|c| c.pair) {
            Some(Some(pair)) => retire(sa, cx, pair),
            Some(None) => sa.drop_child_series(run.child.id, replaces),
            None => {}
        }
    }
}

struct Parts<'a> {
    fit: Fit,
    place: Place,
    nr: &'a [u8],
    fresh: Fresh<'a>,
}

impl Running {
    /// One more pair of a group (RFC 9611).
    const fn is_more(&self, replaces: Option<ChildSaId>) -> bool {
        self.place.grouped && replaces.is_none()
    }

    fn is_wanted(&self, core: &Core, replaces: Option<ChildSaId>) -> Result<(), Error> {
        if self.is_more(replaces) { Ok(()) } else { offer::still_wanted(&self.child, &core.connection) }
    }

    fn make(
        &self,
        core: &Core,
        sa: &Established,
        cx: &mut Cx<'_>,
        parts: Parts<'_>,
        replaces: Option<ChildSaId>,
        lost: bool,
    ) -> ChildPair {
        let then = match replaces {
            _ if lost => Then::Discard,
            Some(old) => Then::Replace(old),
            None => Then::Use,
        };
        let agreed = Agreed {
            role: Role::Initiator,
            ni: &self.nonce,
            nr: parts.nr,
            fresh: parts.fresh,
            fit: parts.fit,
            inbound: self.inbound,
            place: parts.place,
            replaces,
            then,
        };
        child_sa::make(cx, (core.id, &sa.keys, &core.path), core.connection.id, &self.child, agreed)
    }
}

impl Half {
    /// `KEr(1)`: both secrets are there.
    fn go_on(
        self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
        replaces: Option<ChildSaId>,
    ) -> Result<ChildPair, Error> {
        let secret = self.second.secret(view)?;
        sa.not_found = 0;
        self.run.is_wanted(core, replaces)?;
        let Self { run, fit, place, nr, first, .. } = self;
        let parts = Parts { fit, place, nr: &nr, fresh: Fresh { first: &first, second: &secret } };
        Ok(run.make(core, sa, cx, parts, replaces, false))
    }
}

/// The peer is about to delete this pair.
pub(crate) fn retire(sa: &mut Established, cx: &mut Cx<'_>, id: ChildSaId) {
    if let Some(pair) = sa.pair(id) {
        pair.replaced = true;
        cx.set_usable(id, false);
    }
}
