//! What one IKE SA asks of others: rekeyed ones, duplicates, ends.
//!
//! Decides: which of two IKE SAs with one peer stays. Never: sends.

use super::{Action, Cx, Endpoint};
use crate::child_sa::ChildPair;
use crate::config::ConnectionId;
use crate::counters::Counter;
use crate::event::{Event, IkeSaId};
use crate::ike_sa::{Authentic, IkeSa, Phase, State, Waiting};
use crate::snapshot::Role;
use crate::task::{Task, ticket};
use std::collections::VecDeque;
use std::time::Instant;

impl Endpoint {
    pub(super) fn apply(&mut self, now: Instant, action: Action) {
        match action {
            Action::Spawn(sa) => {
                self.add(*sa);
            }
            Action::Inherit { from, to, children, queue } => self.inherit(now, from, to, children, queue),
            Action::Claim { from, to, message } => self.claim(now, from, to, &message),
            Action::Redundant(id) => {
                let until = now + self.shared.config.timers.linger;
                self.with_sa(now, id, |sa, _| {
                    if let Some((_, e)) = sa.parts() {
                        e.predecessor = None;
                        e.phase = Phase::Redundant { until };
                    }
                });
            }
            Action::Established { ike, initial_contact } => self.established(now, ike, initial_contact),
            Action::Down { connection, ike, why, announced } => {
                self.went_down(now, connection, ike, why, announced);
            }
            Action::ChildMissing { connection, child, why } => {
                self.child_missing(now, connection, child, why);
            }
            Action::Reconcile(id) => {
                self.dirty.insert(id);
            }
            Action::Redirect { connection, ike, from, to } => {
                self.redirect(now, &connection, ike, (from, to))
            }
            Action::Reauthenticate(id) => self.reauthenticate(now, id),
        }
    }

    fn claim(&mut self, now: Instant, from: IkeSaId, to: IkeSaId, message: &Authentic) {
        self.with_sa(now, from, |sa, cx| {
            if let Some((core, e)) = sa.parts()
                && e.rival.as_ref().is_some_and(|rival| rival.ike == to)
            {
                e.hand_over_to_rival(core, cx);
            }
        });
        // What was handed over has to arrive first.
        while let Some(action) = self.shared.actions.pop_front() {
            self.apply(now, action);
        }
        self.with_sa(now, to, |sa, cx| sa.on_authentic(cx, message));
    }

    /// `to` takes over what `from` had.
    fn inherit(
        &mut self,
        now: Instant,
        from: IkeSaId,
        to: IkeSaId,
        children: Vec<ChildPair>,
        queue: VecDeque<Waiting>,
    ) {
        let live = |sa: &IkeSa| sa.established().is_some_and(|e| e.phase == Phase::Live);
        if !self.sas.get(&to).is_some_and(live) {
            // It ended before it could take over: so do the children.
            let mut cx = Cx::new(now, &mut self.shared);
            children.iter().for_each(|pair| cx.remove_pair(pair, "its IKE SA ended"));
            self.dirty.extend(self.sas.get(&from).map(IkeSa::connection_id));
            return;
        }
        self.announce(now, to);
        self.with_sa(now, to, |sa, cx| {
            let Some((core, e)) = sa.parts() else { return };
            e.predecessor = None;
            if cx.kept.is_of(core.connection.id, from) {
                // The ticket was of the one before.
                e.push(cx, Task::Ticket(ticket::Ask));
            }
            for pair in children {
                cx.relocate(pair.id, to);
                e.children.push(pair);
            }
            for w in queue {
                e.push_at(cx, w.task, w.not_before);
            }
            e.run(core, cx);
        });
    }

    fn announce(&mut self, now: Instant, ike: IkeSaId) {
        let mut up = None;
        self.with_sa(now, ike, |sa, cx| {
            let connection = sa.connection_id();
            let Some((core, e)) = sa.parts() else { return };
            e.announced = true;
            let (remote, peer_id) = (core.path.remote, e.peer_id.to_string());
            cx.event(Event::IkeUp { connection, ike, remote, peer_id });
            up = Some((connection, cx.connections.gateway_of(&core.connection)));
        });
        if let Some((connection, gateway)) = up {
            self.succeeded(now, connection, gateway);
            self.dirty.insert(connection);
        }
    }

    /// A peer has proven itself. Other IKE SAs with it are leftovers, or it and we began at the same time.
    fn established(&mut self, now: Instant, ike: IkeSaId, initial_contact: bool) {
        let Some(sa) = self.sas.get(&ike) else { return };
        let connection = sa.connection_id();
        self.announce(now, ike);
        // The connection may have changed with the peer's identity.
        self.refresh(ike);
        // One that asks for other addresses than before has another connection; it is one peer all the same.
        let all = self.shared.peers.same_peer(connection);
        let others = all.into_iter().flat_map(|of| self.tables.of_connection(of)).filter(|id| *id != ike);
        let others: Vec<IkeSaId> = others.collect();
        for other in others {
            self.judge_duplicate(now, connection, (ike, other), initial_contact);
        }
    }

    fn judge_duplicate(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        (new, old): (IkeSaId, IkeSaId),
        initial_contact: bool,
    ) {
        let (Some(a), Some(b)) = (self.sas.get(&new), self.sas.get(&old)) else { return };
        let Some(verdict) = verdict(a, b, initial_contact) else { return };
        tracing::debug!(connection = connection.0, new = new.0, old = old.0, ?verdict, "two IKE SAs");
        match verdict {
            Verdict::Cancel => self.with_sa(now, old, |sa, _| sa.state = State::Gone),
            Verdict::Forget => {
                self.shared.count(Counter::InitialContact);
                self.with_sa(now, old, |sa, cx| sa.forget(cx, "the peer began anew (INITIAL_CONTACT)"));
            }
            Verdict::Replace => {
                self.carry_on(now, old, new);
                self.with_sa(now, old, IkeSa::supersede);
            }
            Verdict::Collided { loser_is_new } => {
                self.shared.count(Counter::Collisions);
                let loser = if loser_is_new { new } else { old };
                let linger = self.shared.config.timers.linger;
                self.with_sa(now, loser, |sa, cx| {
                    if sa.core.role == Role::Initiator {
                        sa.terminate(cx, "both sides began; the other one stays");
                    } else if let Some((_, e)) = sa.parts() {
                        e.phase = Phase::Redundant { until: cx.now + linger };
                    }
                });
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// Ours is not needed, and has not got so far that the peer would know of it.
    Cancel,
    /// The peer lost it: no word about it.
    Forget,
    /// Both sides may have it; it is older.
    Replace,
    /// Both sides began at once. RFC 7296 has no rule for it; the one for rekeys (§2.8.2) serves: the lower nonce
    /// loses, and its initiator deletes.
    Collided { loser_is_new: bool },
}

fn verdict(new: &IkeSa, old: &IkeSa, initial_contact: bool) -> Option<Verdict> {
    let e = match &old.state {
        State::InitSent(_) | State::ResumeSent(_) if new.core.role == Role::Responder => {
            return Some(Verdict::Cancel);
        }
        State::Established(e) if e.phase == Phase::Live => e,
        State::InitSent(_)
        | State::ResumeSent(_)
        | State::InitAnswered(_)
        | State::LoggingIn(_)
        | State::IntermediateSent(_)
        | State::AuthSent(_)
        | State::Judging(_)
        | State::Established(_)
        | State::Closed { .. }
        | State::Gone => return None,
    };
    // Two gateways of one peer: the newer one is wanted now.
    if new.core.connection.remote != old.core.connection.remote {
        return Some(Verdict::Replace);
    }
    if !new.established()?.peer_id.is_same(&e.peer_id) {
        return None;
    }
    // The new one began before the old one was up: neither side knew of the other's.
    let crossed = e.since >= new.core.created;
    match (crossed, initial_contact) {
        (true, _) if new.core.role != old.core.role => {
            Some(Verdict::Collided { loser_is_new: new.core.lowest_nonce < old.core.lowest_nonce })
        }
        (false, true) => Some(Verdict::Forget),
        _ => Some(Verdict::Replace),
    }
}
