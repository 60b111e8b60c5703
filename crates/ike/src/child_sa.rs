//! Child SA pairs: what the engine remembers of one, and how one is made.
//!
//! Decides: what the data plane is told to install. Reads: what was negotiated. Writes: [`Event::Install`].
//! Never: keeps the keys after they are handed over.

pub(crate) mod offer;
pub(crate) mod group;

pub(crate) use group::Place;
use offer::Fit;

use crate::config::{Child, ChildId, ConnectionId, EspProposal, Mode};
use crate::counters::Counter;
use crate::crypto::keys::{self, Fresh, IkeKeys};
use crate::endpoint::Cx;
use crate::event::{ChildSa, ChildSaId, Event, IkeSaId, InstallToken};
use crate::ike_sa::Path;
use crate::snapshot::Role;
use ravelin_wire::{Selector, Spi};
use std::time::Instant;

/// What follows when the data plane has the inbound SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// Responder: the answer that waits goes out.
    Answer,
    /// Initiator: send by it.
    Use,
    /// Initiator of a rekey: send by it, and delete the old one.
    Replace(ChildSaId),
    /// Initiator whose exchange lost a collision: delete it.
    Discard,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PairState {
    Installing(Then),
    Installed,
    /// A Delete of ours waits or is on its way.
    Deleting,
}

#[derive(Clone, Debug)]
pub(crate) struct ChildPair {
    pub(crate) id: ChildSaId,
    pub(crate) child: ChildId,
    pub(crate) place: Place,
    pub(crate) inbound: Spi,
    pub(crate) outbound: Spi,
    pub(crate) mode: Mode,
    pub(crate) proposal: EspProposal,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) state: PairState,
    /// A newer pair took its place; whoever made that one deletes this one.
    pub(crate) replaced: bool,
    /// The peer began, and another pair carries the traffic: we send by this one once the peer shows that it has it.
    pub(crate) awaits_proof: bool,
    /// Or from then on: nothing may ever come by the pair of one resource.
    pub(crate) proof_by: Option<Instant>,
    pub(crate) created: Instant,
    pub(crate) rekey_at: Instant,
    pub(crate) expires_at: Instant,
    pub(crate) path: Path,
}

impl ChildPair {
    pub(crate) const fn state_name(&self) -> &'static str {
        match self.state {
            PairState::Installing(_) => "installing",
            PairState::Installed if self.replaced => "rekeyed",
            PairState::Installed => "installed",
            PairState::Deleting => "deleting",
        }
    }

    pub(crate) const fn token(&self) -> InstallToken {
        InstallToken(self.id.0)
    }

    /// Asked for again then, should nothing have come of it.
    pub(crate) fn rekey_before(&mut self, at: Instant) {
        self.rekey_at = at.min(self.expires_at);
    }

    /// Carries traffic, and nothing of ours or the peer's is about to change that.
    pub(crate) fn is_current(&self) -> bool {
        self.state == PairState::Installed && !self.replaced
    }
}

/// All that an exchange agreed on.
#[derive(Debug)]
pub(crate) struct Agreed<'a> {
    /// Who began the exchange, as seen from us.
    pub(crate) role: Role,
    pub(crate) ni: &'a [u8],
    pub(crate) nr: &'a [u8],
    pub(crate) fresh: Fresh<'a>,
    pub(crate) fit: Fit,
    pub(crate) inbound: Spi,
    pub(crate) place: Place,
    pub(crate) replaces: Option<ChildSaId>,
    pub(crate) then: Then,
}

/// Makes the pair, and asks the data plane to install it.
pub(crate) fn make(
    cx: &mut Cx<'_>,
    ike: (IkeSaId, &IkeKeys, &Path),
    connection: ConnectionId,
    child: &Child,
    agreed: Agreed<'_>,
) -> ChildPair {
    let (ike, ike_keys, path) = ike;
    let fit = agreed.fit;
    let proposal = fit.chosen.ours;
    let (first, second) = keys::child_keys(ike_keys, &proposal, agreed.ni, agreed.nr, agreed.fresh);
    let (outbound_keys, inbound_keys) = match agreed.role {
        Role::Initiator => (first, second),
        Role::Responder => (second, first),
    };
    let soft = child.lifetime.saturating_sub(cx.random_up_to(child.jitter));
    let hard = child.hard_lifetime.max(soft);
    let awaits_proof = agreed.role == Role::Responder && cx.is_carried(child.id, agreed.place.resource);
    let beside = awaits_proof && agreed.place.resource > 0 && agreed.replaces.is_none();
    let pair = ChildPair {
        id: ChildSaId(cx.fresh_id()),
        child: child.id,
        place: agreed.place,
        inbound: agreed.inbound,
        outbound: fit.outbound,
        mode: child.mode,
        proposal,
        selectors: fit.selectors,
        state: PairState::Installing(agreed.then),
        replaced: false,
        awaits_proof,
        proof_by: beside.then(|| cx.now + cx.config.timers.proof),
        created: cx.now,
        rekey_at: cx.now + soft,
        expires_at: cx.now + hard,
        path: path.clone(),
    };
    let (local, remote) = path.outer(&cx.config);
    let sa = ChildSa {
        id: pair.id,
        connection,
        child: child.id,
        replaces: agreed.replaces,
        inbound_spi: pair.inbound,
        outbound_spi: pair.outbound,
        inbound_keys,
        outbound_keys,
        mode: pair.mode,
        proposal: pair.proposal,
        selectors: pair.selectors.clone(),
        pads: fit.pads,
        local,
        remote,
        udp: path.udp(),
        soft,
        hard,
    };
    cx.enlist(ike, &pair);
    cx.count(Counter::ChildEstablished);
    cx.event(Event::Install { token: pair.token(), sa: Box::new(sa) });
    pair
}
