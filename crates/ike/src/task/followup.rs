//! IKE_FOLLOWUP_KE: the additional key exchange that follows a CREATE_CHILD_SA, in both roles (RFC 9370 §2.2.4).
//!
//! Decides: which CREATE_CHILD_SA an exchange belongs to, and how long the peer may keep one waiting.
//! Reads: what that one agreed on. Writes: the series of its IKE SA.
//! Never: makes an SA before both key exchanges are done.

use super::intermediate::{ke_payload, value};
use super::{Reply, Task, child_create, ike_rekey};
use crate::child_sa::{PairState, Then};
use crate::config::{ChildId, Kem};
use crate::counters::Counter;
use crate::crypto::Wiped;
use crate::crypto::kem::{self, KeyPair};
use crate::endpoint::Cx;
use crate::error::{Error, Failure, Misbehaved};
use crate::event::ChildSaId;
use crate::ike_sa::{Core, Established, Phase};
use crate::message::View;
use crate::payload::{Notify, Payload, notify};
use rand_core::Rng;
use std::time::Instant;

/// A peer has one request under way at a time: of more series than these it has given some up.
const MAX_SERIES: usize = 4;
/// Random, so that a series of an earlier process is never taken for one of ours.
const LINK: usize = 16;
/// STATE_NOT_FOUND so often in a row is fatal (RFC 9370 §2.2.4).
const MAX_NOT_FOUND: u8 = 4;

/// As initiator: our half, and the peer's name for the exchange.
#[derive(Debug)]
pub(crate) struct Second {
    pair: KeyPair,
    link: Vec<u8>,
}

impl Second {
    /// The peer chose `kem`, so it has to say how the two exchanges are linked.
    pub(super) fn new(kem: Kem, view: View<'_>, cx: &mut Cx<'_>) -> Result<Self, Error> {
        let why = "an additional key exchange without a link to it";
        let link = view.notify(notify::ADDITIONAL_KEY_EXCHANGE);
        let link = link.ok_or(Error::Peer(Misbehaved::BadAnswer(why)))?.data.clone();
        Ok(Self { pair: KeyPair::new(kem, &mut *cx.rng), link })
    }

    /// `KEi(1), N(ADDITIONAL_KEY_EXCHANGE)(link)`
    pub(super) fn request(&self) -> Vec<Payload> {
        let link = Notify::with_data(notify::ADDITIONAL_KEY_EXCHANGE, self.link.clone());
        vec![ke_payload(self.pair.kem(), self.pair.public.clone()), Payload::Notify(link)]
    }

    /// SK(1), by the peer's `KEr(1)`.
    pub(super) fn secret(&self, view: View<'_>) -> Result<Wiped, Error> {
        view.refuse_errors()?;
        let ciphertext = value(view, self.pair.kem())?;
        self.pair.shared(ciphertext).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))
    }
}

/// As responder: what the peer's CREATE_CHILD_SA began. There is no SA before its second exchange.
#[derive(Debug)]
pub(crate) enum Begun {
    Child(Box<child_create::Begun>),
    Ike(Box<ike_rekey::Begun>),
}

impl Begun {
    /// Both would make the same.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ike(_), Self::Ike(_)) => true,
            (Self::Child(a), Self::Child(b)) => a.is_for(b.child(), b.replaces()) && !b.is_more(),
            (Self::Ike(_), Self::Child(_)) | (Self::Child(_), Self::Ike(_)) => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Series {
    link: Vec<u8>,
    kem: Kem,
    pub(crate) until: Instant,
    begun: Begun,
}

impl Series {
    pub(crate) const fn is_of_ike(&self) -> bool {
        matches!(self.begun, Begun::Ike(_))
    }

    /// A task of ours that the peer would refuse while it is at this, or that would do the same.
    fn holds_back(&self, task: &Task) -> bool {
        match (&self.begun, task) {
            (_, task) if task.second().is_some() => false,
            (_, Task::IkeRekey(_)) => true,
            (Begun::Ike(_), task) => task.is_about_children(),
            (Begun::Child(b), Task::ChildRekey(t)) => b.replaces() == Some(t.old),
            (Begun::Child(b), Task::ChildCreate(t)) => !t.is_more() && b.is_for(t.child, None),
            (Begun::Child(_), _) => false,
        }
    }
}

impl Established {
    /// Remembers what the peer began; the payload that links its next exchange to it.
    pub(super) fn begin_series(&mut self, cx: &mut Cx<'_>, kem: Kem, begun: Begun) -> Payload {
        self.series.retain(|s| !s.begun.is_same(&begun));
        if self.series.len() >= MAX_SERIES {
            self.series.remove(0);
        }
        let mut link = vec![0; LINK];
        cx.rng.fill_bytes(&mut link);
        let until = cx.now + cx.config.timers.followup;
        self.series.push(Series { link: link.clone(), kem, until, begun });
        Payload::Notify(Notify::with_data(notify::ADDITIONAL_KEY_EXCHANGE, link))
    }

    /// Our own exchange for the same child won: the peer does not go on with its own (RFC 9370 §2.2.4).
    pub(super) fn drop_child_series(&mut self, child: ChildId, replaces: Option<ChildSaId>) {
        self.series.retain(|s| !matches!(&s.begun, Begun::Child(b) if b.is_for(child, replaces)));
    }

    pub(super) fn drop_ike_series(&mut self) {
        self.series.retain(|s| !s.is_of_ike());
    }

    pub(crate) fn expire_series(&mut self, now: Instant) {
        self.series.retain(|s| s.until > now);
    }

    #[cfg(test)]
    pub(crate) fn series_links(&self) -> Vec<Vec<u8>> {
        self.series.iter().map(|s| s.link.clone()).collect()
    }

    pub(crate) fn is_held_back(&self, task: &Task) -> bool {
        self.series.iter().any(|s| s.holds_back(task))
    }

    /// The peer has forgotten what its answer began. False: once too often, and the IKE SA ends.
    pub(super) fn may_begin_again(&mut self, core: &Core, cx: &mut Cx<'_>) -> bool {
        self.not_found += 1;
        let again = self.not_found < MAX_NOT_FOUND;
        if !again {
            self.begin_delete(
                core,
                cx,
                "the peer forgets each key exchange before its end (STATE_NOT_FOUND)",
            );
        }
        again
    }
}

/// As responder: makes what the peer's CREATE_CHILD_SA began.
pub(crate) fn respond(
    core: &Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
) -> Result<Reply, Error> {
    if sa.phase != Phase::Live {
        return Err(Error::Local(Failure::Busy));
    }
    let link = view.notify(notify::ADDITIONAL_KEY_EXCHANGE);
    let at = link.and_then(|n| sa.series.iter().position(|s| s.link == n.data));
    let series = sa.series.remove(at.ok_or(Error::Peer(Misbehaved::NoSuchSeries))?);
    let made = kem::encapsulate(series.kem, value(view, series.kem)?, &mut *cx.rng);
    let (ciphertext, secret) = made.map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    cx.count(Counter::Hybrid);
    let answer = vec![ke_payload(series.kem, ciphertext)];
    match series.begun {
        Begun::Child(begun) => begun.go_on(core, sa, cx, &secret, answer),
        Begun::Ike(begun) => begun.go_on(core, sa, cx, &secret, answer),
    }
}

/// Neither on its way out nor replaced: what a rekey of the peer may still take the place of.
pub(super) fn is_replaceable(sa: &Established, old: ChildSaId) -> bool {
    sa.children.iter().any(|p| p.id == old && p.state == PairState::Installed && !p.replaced)
}

/// A pair of ours that is made only to be deleted.
pub(super) fn is_discarded(state: PairState) -> bool {
    state == PairState::Installing(Then::Discard)
}
