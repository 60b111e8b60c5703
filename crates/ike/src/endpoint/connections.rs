//! What the configuration wants, and bringing it about: again and again, with back-off.
//!
//! Decides: when a connection or a child is tried. Reads: what is up. Writes: new IKE SAs and tasks.
//! Never: gives up on what is to be up immediately.

use super::{Endpoint, Shutdown};
use crate::config::{ChildId, Connection, ConnectionId, Start};
use crate::event::{Event, IkeSaId};
use crate::task::{Task, child_create};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Why an IKE SA ends whose peer does not answer.
pub(crate) const SILENT: &str = "the peer does not answer";
/// Why one ends whose address of ours is gone (R69).
pub(crate) const NO_ADDRESS: &str = "the machine does not have its address any more";

/// A connection's wishes and failures.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// By the operator; until `Initiate`.
    stopped: bool,
    /// None of our addresses for it is there.
    away: bool,
    /// Asked for once, beyond what the configuration wants.
    requested: BTreeSet<ChildId>,
    /// `Initiate` named no child: all.
    requested_all: bool,
    pub(super) retry_at: Option<Instant>,
    /// Which of the peer's gateways is tried next, or is up.
    pub(super) gateway: usize,
    /// When the first gateway is tried again.
    pub(super) return_at: Option<Instant>,
    /// When we were sent to another gateway, lately.
    pub(super) redirects: Vec<Instant>,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    children: BTreeMap<ChildId, (Instant, u32)>,
    /// Waits for its turn to begin.
    queued: bool,
}

/// When which connection is to be looked at again.
#[derive(Debug, Default)]
pub(super) struct ConnectionAlarms {
    by_time: BTreeSet<(Instant, ConnectionId)>,
    /// The earliest of each.
    of: BTreeMap<ConnectionId, Instant>,
}

impl ConnectionAlarms {
    pub(super) fn add(&mut self, at: Instant, id: ConnectionId) {
        let earliest = self.of.get(&id).map_or(at, |before| at.min(*before));
        self.clear_of(id);
        self.of.insert(id, earliest);
        self.by_time.insert((earliest, id));
    }

    fn clear_of(&mut self, id: ConnectionId) {
        if let Some(at) = self.of.remove(&id) {
            self.by_time.remove(&(at, id));
        }
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnectionId> {
        let (_, id) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        self.clear_of(id);
        Some(id)
    }

    pub(super) fn clear(&mut self) {
        (self.by_time, self.of) = Default::default();
    }
}

impl Wanted {
    pub(super) fn initiate(&mut self, child: Option<ChildId>) {
        self.stopped = false;
        self.try_now();
        match child {
            Some(child) => {
                self.requested.insert(child);
            }
            None => self.requested_all = true,
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.forget_requests();
        self.try_now();
    }

    /// The first gateway is the next one to be tried.
    pub(super) const fn restart_at_first(&mut self) {
        self.gateway = 0;
        self.return_at = None;
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped || self.away
    }

    /// Requests are kept: they are met when the address is back.
    pub(super) fn set_away(&mut self, away: bool) {
        self.away = away;
        self.try_now();
    }

    /// Back-off is over.
    pub(super) fn try_now(&mut self) {
        self.retry_at = None;
        self.children.clear();
    }

    fn forget_requests(&mut self) {
        self.requested.clear();
        self.requested_all = false;
    }

    pub(super) fn is_wanted(&self, connection: &Connection) -> bool {
        !self.is_stopped()
            && (connection.start == Start::Immediately || self.requested_all || !self.requested.is_empty())
    }

    /// The children to be up now.
    pub(super) fn children(&self, connection: &Connection) -> Vec<ChildId> {
        if self.is_stopped() {
            return Vec::new();
        }
        let all = connection.start == Start::Immediately || self.requested_all;
        connection.children.iter().map(|c| c.id).filter(|id| all || self.requested.contains(id)).collect()
    }
}

impl Endpoint {
    /// Looks whether all that is wanted of a connection is there or on its way, and starts what is not.
    pub(super) fn reconcile(&mut self, now: Instant, id: ConnectionId) {
        self.connection_alarms.clear_of(id);
        let Some(connection) = self.shared.connections.get(id).cloned() else { return };
        let Some(wanted) = self.connections.get_mut(&id) else { return };
        // What was asked for once and is there is asked for no more.
        let shared = &self.shared;
        wanted.requested.retain(|child| !shared.has_usable(*child));
        if wanted.requested_all && connection.children.iter().all(|c| shared.has_usable(c.id)) {
            wanted.requested_all = false;
        }
        if self.shutdown != Shutdown::No || wanted.is_stopped() {
            return;
        }
        let wants = wanted.is_wanted(&connection);
        let alive: Vec<IkeSaId> = self.tables.of_connection(id).filter(|id| self.is_alive(*id)).collect();
        let up = alive.iter().rev().find(|id| self.sas.get(id).is_some_and(|sa| sa.established().is_some()));
        match up {
            Some(ike) => {
                if wants {
                    self.want_children(now, &connection, *ike);
                }
                if alive.len() == 1 {
                    self.want_first(now, &connection);
                }
            }
            None if wants && alive.is_empty() => self.want_ike(now, &connection),
            None => {}
        }
    }

    pub(super) fn is_alive(&self, id: IkeSaId) -> bool {
        self.sas.get(&id).is_some_and(crate::ike_sa::IkeSa::is_alive)
    }

    fn want_ike(&mut self, now: Instant, connection: &Arc<Connection>) {
        let Some(wanted) = self.connections.get_mut(&connection.id) else { return };
        if let Some(at) = wanted.retry_at.filter(|at| *at > now) {
            self.connection_alarms.add(at, connection.id);
            return;
        }
        if self.starting.len() >= self.shared.config.limits.starting {
            if !wanted.queued {
                wanted.queued = true;
                self.queued.push_back(connection.id);
            }
            return;
        }
        wanted.retry_at = None;
        let (child, gateway) = (wanted.children(connection).first().copied(), wanted.gateway);
        self.begin_again(now, connection.id, gateway, child);
    }

    /// The connection whose turn it is, when another attempt may begin.
    pub(super) fn next_queued(&mut self) -> Option<ConnectionId> {
        if self.starting.len() >= self.shared.config.limits.starting {
            return None;
        }
        let id = self.queued.pop_front()?;
        if let Some(wanted) = self.connections.get_mut(&id) {
            wanted.queued = false;
        }
        Some(id)
    }

    pub(super) fn cannot(&mut self, id: ConnectionId, why: &str) {
        if let Some(wanted) = self.connections.get_mut(&id) {
            wanted.forget_requests();
            if wanted.last_error.as_deref() != Some(why) {
                wanted.last_error = Some(why.to_owned());
                self.shared.event(Event::Failed { connection: id, why: why.to_owned(), retry: None });
            }
        }
    }

    fn want_children(&mut self, now: Instant, connection: &Arc<Connection>, ike: IkeSaId) {
        let Some(wanted) = self.connections.get(&connection.id) else { return };
        let mut missing = Vec::new();
        for child in wanted.children(connection) {
            if self.shared.has_usable(child) {
                continue;
            }
            match wanted.children.get(&child) {
                Some((at, _)) if *at > now => {
                    self.connection_alarms.add(*at, connection.id);
                }
                _ => missing.push(child),
            }
        }
        if missing.is_empty() {
            return;
        }
        self.with_sa(now, ike, |sa, cx| {
            let Some((core, e)) = sa.parts() else { return };
            for child in missing {
                if !e.is_making(child) {
                    e.push(cx, Task::ChildCreate(child_create::ChildCreate::new(child)));
                }
            }
            e.run(core, cx);
        });
    }

    /// An IKE SA is up: failures are forgotten.
    pub(super) fn succeeded(&mut self, now: Instant, id: ConnectionId, gateway: usize) {
        let back = self.shared.connections.get(id).filter(|c| c.start != Start::Respond);
        let back = back.map_or(Duration::ZERO, |c| c.exchanges.return_to_first);
        if let Some(wanted) = self.connections.get_mut(&id) {
            wanted.gateway = gateway;
            wanted.return_at = (gateway > 0 && !back.is_zero()).then(|| now + back);
            wanted.failures = 0;
            wanted.retry_at = None;
            wanted.last_error = None;
        }
    }

    /// An IKE SA went down (`announced`), or an attempt failed.
    pub(super) fn went_down(
        &mut self,
        now: Instant,
        id: ConnectionId,
        ike: IkeSaId,
        why: String,
        announced: bool,
    ) {
        self.dirty.insert(id);
        let others = self.tables.of_connection(id).any(|other| other != ike && self.is_alive(other));
        let retry = if others { None } else { self.plan_retry(now, id, &why, announced) };
        if announced {
            self.shared.event(Event::IkeDown { connection: id, ike, why });
        } else if !others {
            self.shared.event(Event::Failed { connection: id, why, retry });
        }
    }

    pub(super) fn plan_retry(
        &mut self,
        now: Instant,
        id: ConnectionId,
        why: &str,
        announced: bool,
    ) -> Option<Duration> {
        let connection = self.shared.connections.get(id)?.clone();
        let gateways = self.shared.gateways(id);
        let closing = self.shutdown != Shutdown::No;
        let wanted = self.connections.get_mut(&id)?;
        wanted.last_error = Some(why.to_owned());
        if !announced {
            wanted.failures = wanted.failures.saturating_add(1);
        }
        // One that said that it ends may come back; one that is silent, or refuses, gives way to the next (R1, R2).
        let passed_over = !announced || why == SILENT;
        if passed_over {
            wanted.gateway = (wanted.gateway + 1) % gateways;
        }
        if passed_over && wanted.gateway > 0 && !wanted.is_stopped() && !closing {
            // What was up by request is asked for again, until the last gateway has failed too.
            wanted.requested_all |= announced && connection.start == Start::OnTraffic;
            wanted.retry_at = None;
            return wanted.is_wanted(&connection).then_some(Duration::ZERO);
        }
        if !announced {
            wanted.forget_requests();
        }
        if connection.start != Start::Immediately || wanted.is_stopped() || closing {
            return None;
        }
        // With several gateways, a round of all of them is one failure.
        let rounds = wanted.failures / u32::try_from(gateways).unwrap_or(1);
        let pause = self.back_off(rounds.max(1));
        let wanted = self.connections.get_mut(&id)?;
        wanted.retry_at = Some(now + pause);
        Some(pause)
    }

    /// Doubles with each failure; up to a quarter is added at random, so that two ends do not go on in step.
    fn back_off(&mut self, failures: u32) -> Duration {
        let timers = self.shared.config.timers;
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = timers.retry_first.saturating_mul(factor).min(timers.retry_max);
        pause + self.shared.random_up_to(pause / 4)
    }

    /// A child was deleted by the peer, or (then `why`) could not be made.
    pub(super) fn child_missing(
        &mut self,
        now: Instant,
        id: ConnectionId,
        child: ChildId,
        why: Option<String>,
    ) {
        self.dirty.insert(id);
        let Some(connection) = self.shared.connections.get(id).cloned() else { return };
        let before = self.connections.get(&id).and_then(|w| w.children.get(&child)).map_or(0, |(_, n)| *n);
        let failures = if why.is_some() { before.saturating_add(1) } else { 1 };
        let pause = self.back_off(failures);
        let Some(wanted) = self.connections.get_mut(&id) else { return };
        wanted.children.insert(child, (now + pause, failures));
        let Some(why) = why else { return };
        wanted.requested.remove(&child);
        wanted.requested_all = false;
        let name = connection.children.iter().find(|c| c.id == child).map_or("?", |c| c.name.as_str());
        let why = format!("child {name}: {why}");
        wanted.last_error = Some(why.clone());
        let retry = wanted.is_wanted(&connection).then_some(pause);
        self.shared.event(Event::Failed { connection: id, why, retry });
    }
}
