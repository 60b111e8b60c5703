//! The directory of pairs: where each is, and which one sends.
//!
//! Decides: by which pair a child is sent, for all resources and for those with one of their own (RFC 9611).
//! Reads and writes: the tables of [`Shared`]; events. Never: touches an IKE SA.

use super::shared::Shared;
use crate::child_sa::ChildPair;
use crate::config::ChildId;
use crate::counters::Counter;
use crate::event::{ChildSaId, Event, IkeSaId};
use core::time::Duration;
use ravelin_wire::Spi;

/// Where a pair is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) ike: IkeSaId,
    pub(crate) child: ChildId,
    /// Which of our resources it is for; 0: all (RFC 9611).
    pub(crate) resource: u16,
    pub(crate) inbound: Spi,
    /// In force in the data plane, and nobody is about to delete it.
    pub(crate) usable: bool,
}

/// A child and the resource that sends by one of its pairs; 0: all that have none of their own.
pub(crate) type Lane = (ChildId, u16);

impl Shared {
    pub(crate) fn locate(&self, pair: ChildSaId) -> Option<Located> {
        self.pairs.get(&pair).copied()
    }

    pub(crate) fn enlist(&mut self, ike: IkeSaId, pair: &ChildPair) {
        let (child, resource) = (pair.child, pair.place.resource);
        let located = Located { ike, child, resource, inbound: pair.inbound, usable: false };
        self.pairs.insert(pair.id, located);
        self.inbound.insert(pair.inbound);
        self.by_child.insert(((child, resource), pair.id));
    }

    pub(crate) fn relocate(&mut self, pair: ChildSaId, ike: IkeSaId) {
        if let Some(located) = self.pairs.get_mut(&pair) {
            located.ike = ike;
        }
    }

    pub(crate) fn set_usable(&mut self, pair: ChildSaId, usable: bool) {
        if let Some(located) = self.pairs.get_mut(&pair) {
            located.usable = usable;
        }
    }

    /// Some resource of ours sends by this pair.
    pub(crate) fn is_sent_by(&self, pair: &ChildPair) -> bool {
        lanes(pair).iter().any(|lane| self.outbound.get(lane) == Some(&pair.id))
    }

    /// The child has a pair in force that is not on its way out.
    pub(crate) fn has_usable(&self, child: ChildId) -> bool {
        self.outbound.contains_key(&(child, 0))
    }

    /// The resource sends by some pair of the child, its own or the one for all.
    pub(crate) fn is_carried(&self, child: ChildId, resource: u16) -> bool {
        self.outbound.contains_key(&(child, resource)) || self.has_usable(child)
    }

    pub(crate) fn use_outbound(&mut self, lane: Lane, sa: ChildSaId) {
        let before = self.outbound.insert(lane, sa);
        if before == Some(sa) {
            return;
        }
        let (child, resource) = lane;
        self.event(Event::UseOutbound { child, sa, resource });
        if before.is_none() && resource == 0 {
            self.event(Event::ChildUp { child, sa });
        }
    }

    /// Of the lane's own; where all are served, of any.
    fn newest_usable(&self, (child, resource): Lane) -> Option<ChildSaId> {
        let usable = |id: &ChildSaId| self.pairs.get(id).is_some_and(|p| p.usable);
        let newest = |from: Lane, to: Lane| {
            let all = self.by_child.range((from, ChildSaId(0))..=(to, ChildSaId(u64::MAX)));
            all.rev().map(|(_, id)| *id).find(usable)
        };
        let own = newest((child, resource), (child, resource));
        own.or_else(|| if resource == 0 { newest((child, 0), (child, u16::MAX)) } else { None })
    }

    /// The lane goes by another pair, if there is one; that of one resource else by the one for all.
    fn give_way(&mut self, lane: Lane) -> bool {
        let (child, resource) = lane;
        match self.newest_usable(lane) {
            Some(other) => self.use_outbound(lane, other),
            None if resource > 0 && self.has_usable(child) => {
                if let Some(sa) = self.outbound.remove(&lane) {
                    self.event(Event::StopOutbound { child, sa });
                }
            }
            None => return false,
        }
        true
    }

    /// The pair's IKE SA is about to be deleted in favour of another: what the pair sends goes by that one's now.
    pub(crate) fn step_aside(&mut self, pair: &ChildPair) {
        self.set_usable(pair.id, false);
        for lane in lanes(pair) {
            if self.outbound.get(&lane) == Some(&pair.id) {
                self.give_way(lane);
            }
        }
    }

    /// Takes a pair out of the data plane. If it carried the outbound traffic, the newest of the child's other pairs
    /// does so first.
    pub(crate) fn remove_pair(&mut self, pair: &ChildPair, why: &str) {
        if let Some(gone) = self.pairs.remove(&pair.id) {
            self.inbound.remove(&gone.inbound);
            self.by_child.remove(&((gone.child, gone.resource), pair.id));
        }
        self.count(Counter::ChildClosed);
        let child = pair.child;
        for lane in lanes(pair) {
            if self.outbound.get(&lane) != Some(&pair.id) || self.give_way(lane) {
                continue;
            }
            self.outbound.remove(&lane);
            let sa = pair.id;
            self.event(match lane.1 {
                0 => Event::ChildDown { child, sa, why: why.to_owned() },
                _ => Event::StopOutbound { child, sa },
            });
        }
        let carried = self.is_carried(child, pair.place.resource);
        let grace = if carried { self.config.timers.grace } else { Duration::ZERO };
        self.event(Event::Remove { child, sa: pair.id, grace });
    }
}

/// Those that may go by the pair: first that of all, so that what is left of its own has somewhere to go.
const fn lanes(pair: &ChildPair) -> [Lane; 2] {
    [(pair.child, 0), (pair.child, pair.place.resource)]
}
