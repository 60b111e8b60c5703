//! Child SAs of one child side by side, one for each resource (here: a worker) of either side (RFC 9611).
//!
//! Decides: which resource a pair is for; which one is asked for next, and when; that enough is enough.
//! Reads: the pairs of one IKE SA. Writes: its tasks. Never: tells resources apart by what the peer says of them
//! (RFC 9611 §5.1: that is for debugging only).

use super::{ChildPair, PairState};
use crate::config::{Child, ChildId};
use crate::endpoint::{Cx, Near};
use crate::error::{Error, Failure, Incompatible};
use crate::ike_sa::{Core, Established};
use crate::payload::{Notify, Payload, notify};
use crate::task::Task;
use crate::task::child_create::ChildCreate;
use core::time::Duration;
use std::time::Instant;

/// The side that answered for the first pair leaves the others to the one that asked; what that one does not bring
/// within this time it asks for itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which of a child's pairs one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    /// The first pair of a group, and every pair outside of one, is for all resources: 0.
    pub(crate) resource: u16,
    /// Both sides said that it may have others beside it.
    pub(crate) grouped: bool,
}

/// SA_RESOURCE_INFO, where `child` may have several pairs. Its data, our number of the resource, says more than
/// nothing only in traces.
pub(crate) fn info(child: &Child, resource: u16) -> Option<Payload> {
    let data = if resource > 0 { resource.to_be_bytes().to_vec() } else { Vec::new() };
    (child.resources > 1).then(|| Payload::Notify(Notify::with_data(notify::SA_RESOURCE_INFO, data)))
}

impl ChildPair {
    /// Of its own worker.
    pub(crate) const fn beside(&self) -> Near {
        Near { spi: self.inbound, apart: 0 }
    }

    fn counts(&self, child: ChildId) -> bool {
        self.child == child && !self.replaced && self.state != PairState::Deleting
    }
}

impl Established {
    /// What all pairs of the group are like: the first of those in force.
    pub(crate) fn leader(&self, child: ChildId) -> Option<&ChildPair> {
        let grouped = self.children.iter().filter(|p| p.child == child && p.place.grouped);
        grouped.filter(|p| p.is_current()).min_by_key(|p| p.place.resource)
    }

    /// RFC 9611 §4: the properties of the first pair, and no others.
    pub(crate) fn like_leader(&self, child: &Child) -> Option<Child> {
        let leader = self.leader(child.id)?;
        let (proposals, selectors) = (vec![leader.proposal], leader.selectors.clone());
        Some(Child { proposals, selectors, ..child.clone() })
    }

    /// Of a pair that the peer asks for, or answered with: whether it belongs into the group.
    pub(crate) fn fits_group(&self, fit: &super::offer::Fit, child: ChildId) -> Result<(), Error> {
        let leader = self.leader(child).ok_or(Error::Local(Failure::Busy))?;
        let (ours, first) = (fit.chosen.ours, leader.proposal);
        let why = "the SA of a resource is unlike the first of its group";
        if (ours.encryption, ours.integrity, ours.esn) != (first.encryption, first.integrity, first.esn) {
            return Err(Error::Mismatch(Incompatible::Proposal(why.to_owned())));
        }
        if fit.selectors != leader.selectors {
            return Err(Error::Mismatch(Incompatible::Selectors(why.to_owned())));
        }
        Ok(())
    }

    /// Where the peer asks for another pair: of our resources the one with the fewest.
    pub(crate) fn place_for_peer(&self, cx: &Cx<'_>, child: &Child) -> Result<Place, Error> {
        let all = self.children.iter().filter(|p| p.counts(child.id)).count();
        if all >= cx.config.limits.resources || self.children.len() >= cx.config.limits.children {
            return Err(Error::Local(Failure::Queues));
        }
        let load =
            |r: &u16| self.children.iter().filter(|p| p.counts(child.id) && p.place.resource == *r).count();
        let resource = (0..child.resources).min_by_key(load).unwrap_or(0);
        Ok(Place { resource, grouped: true })
    }

    /// The first of our resources that has no pair of its own.
    pub(crate) fn missing(&self, child: &Child) -> Option<u16> {
        let has = |r: u16| self.children.iter().any(|p| p.counts(child.id) && p.place.resource == r);
        (0..child.resources).find(|r| !has(*r))
    }

    /// The worker of a resource is as far from the first one's as its number says.
    pub(crate) fn near(&self, child: &Child, resource: u16) -> Option<Near> {
        let leader = self.leader(child.id)?;
        let apart = (resource + child.resources).saturating_sub(leader.place.resource);
        Some(Near { spi: leader.inbound, apart: apart % child.resources.max(1) })
    }

    /// The first pair of a group is in force, by an exchange of ours or of the peer's.
    pub(crate) fn lead(&mut self, core: &Core, cx: &mut Cx<'_>, pair: crate::event::ChildSaId, ours: bool) {
        let Some(child) = self.pair(pair).filter(|p| p.place.resource == 0).map(|p| p.child) else { return };
        self.enough.retain(|c| *c != child);
        let at = if ours { cx.now } else { cx.now + PATIENCE };
        self.fill(core, cx, child, at);
    }

    /// One pair for each of our resources, one exchange after the other.
    pub(crate) fn fill(&mut self, core: &Core, cx: &mut Cx<'_>, child: ChildId, at: Instant) {
        let Some(config) = core.connection.children.iter().find(|c| c.id == child) else { return };
        let wanted = config.resources > 1 && !self.enough.contains(&child);
        if wanted && self.leader(child).is_some() && self.missing(config).is_some() {
            self.push_at(cx, Task::ChildCreate(ChildCreate::more(child)), at);
        }
    }

    /// Pairs may have ended without the peer's wish: they are made anew.
    pub(crate) fn refill(&mut self, core: &Core, cx: &mut Cx<'_>, at: Instant) {
        for child in core.connection.children.iter().filter(|c| c.resources > 1).map(|c| c.id) {
            self.fill(core, cx, child, at);
        }
    }

    /// The peer has no more of them: it is not asked again before the first pair is another one.
    pub(crate) fn no_more(&mut self, child: ChildId) {
        if !self.enough.contains(&child) {
            self.enough.push(child);
        }
    }
}
