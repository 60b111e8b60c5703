//! What happens to an IKE SA as time passes.
//!
//! Decides: when to retransmit, rekey, ask for life, keep a NAT open, expire. Reads: the clock it is given.
//! Writes: tasks. Never: sets a timer (the endpoint asks [`IkeSa::alarm`]).

use super::{Core, Due, Established, IkeSa, Phase, State};
use crate::child_sa::{ChildPair, PairState};
use crate::config::Start;
use crate::counters::Counter;
use crate::endpoint::{Action, Cx, EndpointConfig, SILENT, Transmit};
use crate::event::ChildSaId;
use crate::snapshot::Role;
use crate::task::{Task, child_rekey, ike_rekey, liveness, mobike};
use core::time::Duration;
use std::time::Instant;

impl IkeSa {
    /// When [`Self::on_alarm`] has something to do.
    pub(crate) fn alarm(&self, config: &EndpointConfig) -> Option<Instant> {
        let own = match &self.state {
            State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) | State::AuthSent(_) => {
                None
            }
            State::InitAnswered(_) | State::LoggingIn(_) => Some(self.core.created + config.timers.half_open),
            State::Judging(s) => Some(s.until),
            State::Established(e) => e.alarm(&self.core, config),
            State::Closed { until, .. } => return Some(*until),
            State::Gone => return None,
        };
        let core = &self.core;
        own.into_iter().chain(core.window.retransmit_at()).chain(core.fragments.expires_at()).min()
    }

    pub(crate) fn on_alarm(&mut self, cx: &mut Cx<'_>) {
        self.retransmit(cx);
        (0..self.core.fragments.expire(cx.now)).for_each(|_| cx.count(Counter::FragmentsExpired));
        match &mut self.state {
            State::InitAnswered(_) | State::LoggingIn(_) => {
                if cx.now >= self.core.created + cx.config.timers.half_open {
                    cx.count(Counter::HalfOpenExpired);
                    self.state = State::Gone;
                }
            }
            State::Judging(s) => {
                if cx.now >= s.until {
                    self.on_revocation(cx, self.core.questions, &[]);
                }
            }
            State::Established(e) => {
                if let Some(next) = e.on_alarm(&mut self.core, cx) {
                    self.state = next;
                }
            }
            State::Closed { until, .. } => {
                if cx.now >= *until {
                    self.state = State::Gone;
                }
            }
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Gone => {}
        }
    }

    fn retransmit(&mut self, cx: &mut Cx<'_>) {
        let timers = cx.config.timers;
        let jitter = cx.random_up_to(timers.retransmit_first / 10);
        if self.core.window.is_exhausted(cx.now, &timers)
            && let Some((core, e)) = self.parts()
        {
            let _ = e.follow_elsewhere(core, cx) || e.try_other_address(core, cx);
        }
        match self.core.window.due(cx.now, &timers, jitter) {
            Due::Nothing => {}
            Due::Again(datagrams) => {
                cx.count(Counter::Retransmits);
                self.core.retransmits += 1;
                let tries = self.core.retransmits;
                self.core.trace(cx, || format!("out again: retransmission {tries} of this IKE SA"));
                self.core.send(cx, datagrams);
            }
            Due::GiveUp => self.give_up(cx),
        }
    }

    fn give_up(&mut self, cx: &mut Cx<'_>) {
        cx.count(Counter::GaveUp);
        let why = SILENT;
        self.state = match core::mem::replace(&mut self.state, State::Gone) {
            State::Established(mut e) => {
                // The peer's own rekey made a successor: that one finds out by itself.
                if e.active.take().is_some() && e.hand_over_to_rival(&self.core, cx) {
                    self.state = State::Established(e);
                    return;
                }
                if e.phase == Phase::Live {
                    cx.count(Counter::PeerDead);
                }
                e.drop_children(cx, why);
                e.announce_down(&self.core, cx, why);
                cx.count(Counter::IkeClosed);
                State::Gone
            }
            State::InitSent(s) => Self::fail(&self.core, cx, s.refusal.unwrap_or_else(|| why.to_owned())),
            State::ResumeSent(s) => s.unanswered(&self.core, cx),
            State::IntermediateSent(_) | State::AuthSent(_) => Self::fail(&self.core, cx, why.to_owned()),
            other @ (State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::Judging(_)
            | State::Closed { .. }
            | State::Gone) => other,
        };
    }
}

impl Core {
    /// Whose peer alone begins IKE SAs.
    pub(crate) fn only_answers(&self) -> bool {
        let connection = &self.connection;
        connection.remote.is_none() || (connection.start == Start::Respond && self.role == Role::Responder)
    }

    /// When both sides are to have proved themselves anew.
    pub(crate) fn proof_at(&self, cx: &mut Cx<'_>) -> Option<Instant> {
        let every = self.connection.exchanges.reauthentication;
        let early = cx.random_up_to(every / 10);
        let margin = self.proof_margin(&cx.config);
        let after = if margin.is_zero() { every - early } else { every + margin };
        (!every.is_zero()).then(|| cx.now + after)
    }

    /// Whoever only answers gives the other one, which may count as long, time to do it; then it ends what nobody proved.
    pub(crate) fn proof_margin(&self, config: &EndpointConfig) -> Duration {
        if !self.only_answers() {
            return Duration::ZERO;
        }
        self.connection.exchanges.reauthentication / 10 + config.timers.retry_max
    }
}

impl Established {
    fn alarm(&self, core: &Core, config: &EndpointConfig) -> Option<Instant> {
        let task = match self.active {
            None => {
                let free = self.queue.iter().filter(|w| !self.is_held_back(&w.task));
                free.map(|w| w.not_before).min()
            }
            Some(_) => None,
        };
        let series = self.series.iter().map(|s| s.until).min();
        let phase = match self.phase {
            Phase::Live => {
                let proof = self.reauthenticate_at.unwrap_or(self.expires_at);
                Some(self.expires_at.min(self.rekey_at).min(proof))
            }
            Phase::Rekeyed { until } | Phase::Redundant { until } => Some(until),
            Phase::Deleting => None,
        };
        let pairs = self.children.iter().filter(|p| p.state != PairState::Deleting);
        let pairs = pairs.map(|p| {
            let end = if p.is_current() { p.rekey_at.min(p.expires_at) } else { p.expires_at };
            p.proof_by.filter(|_| p.is_current()).map_or(end, |by| end.min(by))
        });
        [task, series, phase, self.liveness_at(core), self.keepalive_at(core, config)]
            .into_iter()
            .flatten()
            .chain(pairs)
            .min()
    }

    fn liveness_at(&self, core: &Core) -> Option<Instant> {
        let delay = core.connection.dpd_delay;
        let idle = self.active.is_none() && self.queue.is_empty();
        let live = self.phase == Phase::Live && idle;
        let check = (delay > Duration::ZERO).then(|| self.last_heard + delay);
        check.into_iter().chain(mobike::ask_mapping_at(core, self.since)).min().filter(|_| live)
    }

    /// RFC 3948 §4: only a host behind a NAT sends them.
    fn keepalive_at(&self, core: &Core, config: &EndpointConfig) -> Option<Instant> {
        (self.phase == Phase::Live && core.path.nat_local && core.path.natt)
            .then(|| core.last_sent + config.timers.keepalive)
    }

    fn on_alarm(&mut self, core: &mut Core, cx: &mut Cx<'_>) -> Option<State> {
        match self.phase {
            Phase::Live if cx.now >= self.expires_at => {
                self.begin_delete(core, cx, "its lifetime is over");
            }
            Phase::Live if self.reauthenticate_at.is_some_and(|at| cx.now >= at) => {
                // Should it fail, it is tried again; what is up goes on meanwhile, but where the peer should have begun.
                self.reauthenticate_at = Some(cx.now + cx.config.timers.retry_max);
                cx.act(Action::Reauthenticate(core.id));
            }
            Phase::Live if cx.now >= self.rekey_at => {
                // Until the answer, or the end.
                self.rekey_at = self.expires_at;
                self.push(cx, Task::IkeRekey(ike_rekey::IkeRekey::new(core)));
            }
            Phase::Rekeyed { until } | Phase::Redundant { until } if cx.now >= until => {
                // The peer should have deleted it long ago.
                self.drop_children(cx, "its successor is in use");
                self.announce_down(core, cx, "rekeyed");
                cx.count(Counter::IkeClosed);
                return Some(State::Gone);
            }
            Phase::Live | Phase::Rekeyed { .. } | Phase::Redundant { .. } | Phase::Deleting => {}
        }
        self.expire_series(cx.now);
        self.check_pairs(core, cx);
        if self.liveness_at(core).is_some_and(|at| cx.now >= at) {
            self.push(cx, Task::Liveness(liveness::Liveness));
        }
        self.keep_alive(core, cx);
        self.run(core, cx);
        None
    }

    fn check_pairs(&mut self, core: &Core, cx: &mut Cx<'_>) {
        let due = |at: Instant| cx.now >= at;
        let live = self.children.iter().filter(|p| p.state != PairState::Deleting);
        let expired: Vec<ChildSaId> = live.filter(|p| due(p.expires_at)).map(|p| p.id).collect();
        let soft: Vec<ChildSaId> =
            self.children.iter().filter(|p| p.is_current() && due(p.rekey_at)).map(|p| p.id).collect();
        let waits = |p: &&ChildPair| p.is_current() && p.proof_by.is_some_and(due);
        let taken: Vec<ChildSaId> = self.children.iter().filter(waits).map(|p| p.id).collect();
        for id in expired {
            self.expire_pair(cx, id);
            self.refill(core, cx, cx.now);
        }
        for id in taken {
            self.proven(cx, id);
        }
        for id in soft {
            self.rekey_pair(cx, id);
        }
    }

    pub(crate) fn rekey_pair(&mut self, cx: &mut Cx<'_>, id: ChildSaId) {
        let Some(pair) = self.pair(id).filter(|p| p.is_current()) else { return };
        // Until the answer, or the end.
        pair.rekey_at = pair.expires_at;
        self.push(cx, Task::ChildRekey(child_rekey::ChildRekey::new(id)));
    }

    fn keep_alive(&self, core: &mut Core, cx: &mut Cx<'_>) {
        if self.keepalive_at(core, &cx.config).is_none_or(|at| cx.now < at) {
            return;
        }
        cx.count(Counter::Keepalives);
        core.last_sent = cx.now;
        cx.transmit(Transmit {
            local: core.path.local,
            remote: core.path.remote,
            natt: true,
            keepalive: true,
            realm: core.realm(),
            bytes: vec![0xff],
        });
    }
}
