//! Tasks: one elementary operation each, one file each. A task knows payloads; it knows no sockets, no retransmission.
//!
//! Decides: what a request says and what its answer means. Reads: messages. Writes: the IKE SA it works for.
//! Never: sends.

pub(crate) mod ike_init;
pub(crate) mod resume;
pub(crate) mod intermediate;
pub(crate) mod ike_auth;
pub(crate) mod address;
pub(crate) mod child_exchange;
pub(crate) mod child_create;
pub(crate) mod child_keys;
pub(crate) mod child_rekey;
pub(crate) mod ike_rekey;
pub(crate) mod followup;
pub(crate) mod delete;
pub(crate) mod liveness;
pub(crate) mod mobike;
pub(crate) mod redirect;
pub(crate) mod ticket;
pub(crate) mod lost;

use crate::endpoint::Cx;
use crate::error::{Error, Failure};
use crate::event::ChildSaId;
use crate::header::Exchange;
use crate::ike_sa::{Core, Established, Phase, State};
use crate::message::View;
use crate::payload::sa::PROTOCOL_IKE;
use crate::payload::{Payload, notify};

/// One request of ours on an established IKE SA.
#[derive(Debug)]
pub(crate) enum Task {
    ChildCreate(Box<child_create::ChildCreate>),
    ChildRekey(Box<child_rekey::ChildRekey>),
    IkeRekey(Box<ike_rekey::IkeRekey>),
    Delete(delete::Delete),
    Liveness(liveness::Liveness),
    Lost(lost::Lost),
    Update(mobike::Update),
    Announce(mobike::Announce),
    Probe(mobike::Probe),
    Ticket(ticket::Ask),
}

/// What answers a CREATE_CHILD_SA request.
#[derive(Debug)]
pub(crate) enum Reply {
    Now(Vec<Payload>),
    /// Not before the data plane has the pair.
    AfterInstall {
        pair: ChildSaId,
        ok: Vec<Payload>,
        failed: Vec<Payload>,
    },
}

impl Task {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::ChildCreate(_) => "child create",
            Self::ChildRekey(_) => "child rekey",
            Self::IkeRekey(_) => "IKE rekey",
            Self::Delete(_) => "delete",
            Self::Liveness(_) => "liveness check",
            Self::Lost(_) => "child of an earlier process",
            Self::Update(_) => "change of address",
            Self::Announce(_) => "list of our addresses",
            Self::Probe(_) => "check of the peer's address",
            Self::Ticket(_) => "request for a ticket",
        }
    }

    pub(crate) fn exchange(&self) -> Exchange {
        match self {
            Self::ChildCreate(_) | Self::ChildRekey(_) | Self::IkeRekey(_) if self.second().is_some() => {
                Exchange::IkeFollowupKe
            }
            Self::ChildCreate(_) | Self::ChildRekey(_) | Self::IkeRekey(_) => Exchange::CreateChildSa,
            Self::Lost(t) => t.exchange(),
            Self::Delete(_)
            | Self::Liveness(_)
            | Self::Update(_)
            | Self::Announce(_)
            | Self::Probe(_)
            | Self::Ticket(_) => Exchange::Informational,
        }
    }

    /// The request's payloads; `None`: there is nothing to do any more.
    pub(crate) fn build(
        &mut self,
        core: &Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
    ) -> Option<Vec<Payload>> {
        if let Some(second) = self.second() {
            return Some(second.request());
        }
        match self {
            Self::ChildCreate(t) => t.build(core, sa, cx),
            Self::ChildRekey(t) => t.build(core, sa, cx),
            Self::IkeRekey(t) => t.build(core, sa, cx),
            Self::Delete(t) => Some(t.build(sa, cx)),
            Self::Liveness(t) => Some(t.build(core, cx)),
            Self::Lost(_) => None,
            Self::Update(t) => Some(t.build(core, cx)),
            Self::Announce(t) => Some(t.build(core)),
            Self::Probe(t) => Some(t.build()),
            Self::Ticket(t) => t.build(core),
        }
    }

    /// The second key exchange, where it is next.
    pub(crate) fn second(&self) -> Option<&followup::Second> {
        match self {
            Self::ChildCreate(t) => t.exchange.second(),
            Self::ChildRekey(t) => t.exchange.second(),
            Self::IkeRekey(t) => t.second(),
            Self::Delete(_)
            | Self::Liveness(_)
            | Self::Lost(_)
            | Self::Update(_)
            | Self::Announce(_)
            | Self::Probe(_)
            | Self::Ticket(_) => None,
        }
    }

    /// `None`: the IKE SA stays established.
    pub(crate) fn process(
        self,
        core: &mut Core,
        sa: &mut Established,
        cx: &mut Cx<'_>,
        view: View<'_>,
    ) -> Option<State> {
        match self {
            Self::ChildCreate(t) => t.process(core, sa, cx, view),
            Self::ChildRekey(t) => t.process(core, sa, cx, view),
            Self::IkeRekey(t) => t.process(core, sa, cx, view),
            Self::Delete(t) => return t.process(core, sa, cx),
            // Any answer proves life.
            Self::Liveness(t) => t.process(core, sa, cx, view),
            // Whatever the peer makes of it.
            Self::Announce(_) => {}
            Self::Lost(t) => t.process(core, sa, cx, view),
            Self::Update(t) => t.process(core, sa, cx, view),
            Self::Probe(t) => t.process(core, sa, cx, view),
            Self::Ticket(t) => t.process(core, sa, cx, view),
        }
        None
    }

    /// The two would do the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ChildCreate(a), Self::ChildCreate(b)) => a.child == b.child && a.is_more() == b.is_more(),
            (Self::ChildRekey(a), Self::ChildRekey(b)) => a.old == b.old,
            (Self::IkeRekey(_), Self::IkeRekey(_))
            | (Self::Liveness(_), Self::Liveness(_))
            | (Self::Update(_), Self::Update(_))
            | (Self::Announce(_), Self::Announce(_))
            | (Self::Ticket(_), Self::Ticket(_)) => true,
            (Self::Delete(a), Self::Delete(b)) => a == b,
            _ => false,
        }
    }

    /// It works on child SAs: an IKE rekey must wait for it (RFC 7296 §2.25.2).
    pub(crate) const fn is_about_children(&self) -> bool {
        match self {
            Self::ChildCreate(_) | Self::ChildRekey(_) | Self::Lost(_) => true,
            Self::Delete(d) => d.is_child(),
            Self::IkeRekey(_)
            | Self::Liveness(_)
            | Self::Update(_)
            | Self::Announce(_)
            | Self::Probe(_)
            | Self::Ticket(_) => false,
        }
    }
}

/// What the peer's exchange made while ours for the same child was under way (RFC 7296 §2.8.1).
#[derive(Clone, Debug)]
pub(crate) struct Collision {
    /// `None`: its second key exchange is still to come (RFC 9370 §2.2.4).
    pub(crate) pair: Option<ChildSaId>,
    pub(crate) lowest_nonce: Vec<u8>,
}

/// The lower nonce of an exchange.
pub(crate) fn lowest<'n>(ni: &'n [u8], nr: &'n [u8]) -> &'n [u8] {
    ni.min(nr)
}

/// The pair of a collision could not be installed: there is no collision.
pub(crate) fn forget_collision(sa: &mut Established, pair: ChildSaId) {
    let collision = match &mut sa.active {
        Some(Task::ChildCreate(t)) => &mut t.exchange.collision,
        Some(Task::ChildRekey(t)) => &mut t.exchange.collision,
        Some(
            Task::IkeRekey(_)
            | Task::Delete(_)
            | Task::Liveness(_)
            | Task::Lost(_)
            | Task::Update(_)
            | Task::Announce(_)
            | Task::Probe(_)
            | Task::Ticket(_),
        )
        | None => return,
    };
    collision.take_if(|c| c.pair == Some(pair));
}

/// A CREATE_CHILD_SA request is one of three (RFC 7296 §1.3).
pub(crate) fn respond_create(
    core: &mut Core,
    sa: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
) -> Result<Reply, Error> {
    if sa.phase != Phase::Live {
        return Err(Error::Local(Failure::Busy));
    }
    if view.sa()?.iter().any(|p| p.protocol == PROTOCOL_IKE) {
        return ike_rekey::respond(core, sa, cx, view);
    }
    // RFC 7296 §2.25.2: children wait while the IKE SA is being rekeyed.
    let rekeyed = sa.rival.is_some() || sa.series.iter().any(followup::Series::is_of_ike);
    if rekeyed || matches!(sa.active, Some(Task::IkeRekey(_))) {
        return Err(Error::Local(Failure::Busy));
    }
    match view.notify(notify::REKEY_SA) {
        Some(which) => child_rekey::respond(core, sa, cx, view, which),
        None => child_create::respond(core, sa, cx, view),
    }
}
