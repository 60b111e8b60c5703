//! From a negotiated pair to SAs on workers, and back out again.
//!
//! Decides: ids, owners and order: an inbound SA is in force before the engine may let the peer use it, an outbound one
//! is used after its inbound, what leaves is reported once more before it goes (so that no packet is uncounted).
//! Reads: the engine's events, the workers' answers. Writes: commands for the workers, in order per worker.
//! Never: keeps a key longer than it takes to put it into a command.

mod adopt;
mod half;
mod manual;
mod own;
mod path;
mod specs;
mod view;

pub use adopt::AdoptedPairs;
pub use half::Half;
#[cfg(test)]
pub(crate) use half::suite_of;
pub use manual::{IdSalt, ManualSas};

use crate::config::ChildSettings;
use crate::driver::Spis;
use crate::metrics::Totals;
use half::half_of;
use ravelin_ike::command::Command;
use ravelin_ike::event::{ChildSa, ChildSaId, InstallToken};
use ravelin_ring::msg::{Direction, Outcome, SaId, SaSpec, Token, TunnelId, WorkerCommand, WorkerId};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tracing::warn;

/// A worker that does not answer within this time is taken for unable.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Pair {
    inbound: SaId,
    outbound: SaId,
    tunnel: TunnelId,
    owner: WorkerId,
}

#[derive(Debug)]
struct Installing {
    pair: ChildSaId,
    answer: InstallToken,
    missing: u8,
    ok: bool,
    deadline: Instant,
}

#[derive(Debug)]
enum Waiting {
    Install(ChildSaId),
    Manual(SaId),
    Removal(SaId),
    Report,
    Other,
}

/// Bounded by the SAs that the engine and the data plane allow.
#[derive(Debug)]
pub struct Installer {
    spis: Spis,
    workers: u16,
    /// Random high half, so that ids of an earlier control process are never met again.
    next_sa: u64,
    /// Likewise: a late answer to an earlier process must not be taken for one to ours.
    next_token: u64,
    /// See `begin_at`.
    first_sequence: u64,
    halves: BTreeMap<SaId, Half>,
    /// Those of `halves` that an earlier control process installed.
    adopted: BTreeSet<(TunnelId, SaId)>,
    pairs: BTreeMap<ChildSaId, Pair>,
    installing: Vec<Installing>,
    waiting: HashMap<Token, Waiting>,
    /// The outbound SA each tunnel sends by.
    in_use: BTreeMap<TunnelId, SaId>,
    /// Those that workers have of their own beside it (RFC 9611).
    own: own::Own,
    /// Inbound SAs in their grace time.
    later: Vec<(Instant, SaId)>,
    doomed: Vec<SaId>,
    /// SAs gone, per tunnel.
    gone: BTreeMap<TunnelId, Totals>,
    alive: Vec<ChildSaId>,
    paths: path::Paths,
    manual: manual::Manual,
    reporting: u16,
    out: VecDeque<(WorkerId, WorkerCommand)>,
    answers: VecDeque<Command>,
}

impl Installer {
    pub fn new(workers: u16, spis: Spis) -> Self {
        Self {
            spis,
            workers: workers.max(1),
            next_sa: u64::from(crate::driver::random_u32()) << 32,
            next_token: u64::from(crate::driver::random_u32()) << 32,
            first_sequence: 0,
            halves: BTreeMap::new(),
            adopted: BTreeSet::new(),
            pairs: BTreeMap::new(),
            installing: Vec::new(),
            waiting: HashMap::new(),
            in_use: BTreeMap::new(),
            own: own::Own::default(),
            later: Vec::new(),
            doomed: Vec::new(),
            gone: BTreeMap::new(),
            alive: Vec::new(),
            paths: path::Paths::default(),
            manual: manual::Manual::default(),
            reporting: 0,
            out: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// The data plane is another one: what was installed is gone, the counts stay.
    pub fn reset(&mut self, workers: u16) {
        for id in self.halves.keys().copied().collect::<Vec<_>>() {
            self.forget(id);
        }
        for i in std::mem::take(&mut self.installing) {
            self.answers.push_back(Command::Installed { token: i.answer, ok: false });
        }
        self.workers = workers.max(1);
        self.spis.reset(self.workers);
        self.pairs.clear();
        self.waiting.clear();
        self.in_use.clear();
        self.own = own::Own::default();
        self.later.clear();
        self.doomed.clear();
        self.out.clear();
        self.reporting = 0;
        self.manual_due(true);
    }

    /// Step 1 of `Event::Install`; the answer comes by [`Self::poll_answer`].
    pub fn install(&mut self, now: Instant, answer: InstallToken, sa: &ChildSa, settings: &ChildSettings) {
        match self.specs(sa, settings) {
            Some(specs) => self.put(now, answer, sa, specs),
            None => {
                warn!(spi = %sa.inbound_spi, proposal = ?sa.proposal, "the data plane has no such suite");
                self.answers.push_back(Command::Installed { token: answer, ok: false });
            }
        }
    }

    /// Step 2: the workers that have none of their own learn by which SA the tunnel sends, and who owns it.
    /// Of one resource (RFC 9611): its own worker alone.
    pub fn use_outbound(&mut self, now: Instant, child: ChildSaId, resource: u16) {
        if resource > 0 {
            return self.use_own(child);
        }
        let Some(pair) = self.pairs.get(&child).copied() else {
            return warn!(?child, "use of a pair that is not installed");
        };
        self.in_use.insert(pair.tunnel, pair.outbound);
        for worker in (0..self.workers).map(WorkerId) {
            if !self.own.has(pair.tunnel, worker) {
                self.send_by(worker, pair.tunnel, pair.outbound, pair.owner);
            }
        }
        self.retire_adopted(now, pair.tunnel);
    }

    /// Step 3: the outbound SA at once, the inbound one after `grace`.
    pub fn remove(&mut self, now: Instant, child: ChildSaId, grace: Duration) {
        let Some(pair) = self.pairs.remove(&child) else { return };
        if let Some(at) = self.installing.iter().position(|i| i.pair == child) {
            let i = self.installing.swap_remove(at);
            self.answers.push_back(Command::Installed { token: i.answer, ok: false });
        }
        self.stop_if_used(pair.tunnel, pair.outbound);
        self.doom(pair.outbound);
        if let Some(half) = self.halves.get_mut(&pair.inbound) {
            half.leaving = true;
            self.later.push((now + grace, pair.inbound));
        }
    }

    /// New outer addresses of both directions.
    pub fn moved(&mut self, child: ChildSaId, local: SocketAddr, remote: SocketAddr) {
        let Some(pair) = self.pairs.get(&child).copied() else { return };
        for sa in [pair.inbound, pair.outbound] {
            let token = self.token(Waiting::Other);
            self.push(pair.owner, WorkerCommand::MoveSa { token, sa, local, remote });
        }
    }

    /// Asks every worker for its SAs, unless the last question is still open.
    pub fn ask_reports(&mut self) {
        if self.reporting > 0 {
            return;
        }
        for worker in (0..self.workers).map(WorkerId) {
            self.ask_report(worker);
        }
    }

    /// A worker's answer. True: it concerned something known.
    pub fn done(&mut self, token: Token, outcome: Outcome) -> bool {
        match self.waiting.remove(&token) {
            Some(Waiting::Install(pair)) => self.installed(pair, outcome),
            Some(Waiting::Manual(id)) => self.manual_done(id, outcome),
            Some(Waiting::Removal(id)) => self.forget(id),
            Some(Waiting::Report) => self.reporting = self.reporting.saturating_sub(1),
            Some(Waiting::Other) => {
                if outcome != Outcome::Ok {
                    warn!(?outcome, "a worker refused a command");
                }
            }
            None => return false,
        }
        true
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let grace = self.later.iter().map(|(at, _)| *at).min();
        let install = self.installing.iter().map(|i| i.deadline).min();
        grace.into_iter().chain(install).min()
    }

    /// Grace times that ended, workers that did not answer.
    pub fn expire(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) = self.later.drain(..).partition(|(at, _)| *at <= now);
        self.later = later;
        for (_, id) in due {
            if let Some(tunnel) = self.halves.get(&id).map(|h| h.tunnel) {
                self.stop_if_used(tunnel, id);
            }
            self.doom(id);
        }
        let late: Vec<ChildSaId> =
            self.installing.iter().filter(|i| i.deadline <= now).map(|i| i.pair).collect();
        for pair in late {
            warn!(?pair, "a worker did not answer an installation in time");
            self.give_up(pair);
        }
    }

    /// The next command for a worker. What is doomed leaves here, with one last report before it per worker.
    pub fn poll_command(&mut self) -> Option<(WorkerId, WorkerCommand)> {
        if !self.doomed.is_empty() {
            self.flush_doomed();
        }
        self.out.pop_front()
    }

    /// The next answer for the engine.
    pub fn poll_answer(&mut self) -> Option<Command> {
        self.answers.pop_front()
    }

    fn put(&mut self, now: Instant, answer: InstallToken, sa: &ChildSa, specs: [SaSpec; 2]) {
        let owner = self.spis.owner(sa.inbound_spi);
        self.spis.take(sa.inbound_spi);
        let [inbound, outbound] = [specs[0].id, specs[1].id];
        let tunnel = specs[0].tunnel;
        let way = (specs[0].extras.outside, specs[0].local.ip(), specs[0].remote.ip());
        self.pairs.insert(sa.id, Pair { inbound, outbound, tunnel, owner });
        self.installing.push(Installing {
            pair: sa.id,
            answer,
            missing: 2,
            ok: true,
            deadline: now + PATIENCE,
        });
        for spec in specs {
            self.halves.insert(spec.id, half_of(now, sa.id, owner, &spec));
            for selector in &sa.selectors {
                self.push(owner, WorkerCommand::SaSelector { sa: spec.id, selector: *selector });
            }
            let token = self.token(Waiting::Install(sa.id));
            self.push(owner, WorkerCommand::InstallSa { token, spec: Box::new(spec) });
        }
        self.begin_path(outbound, owner, way);
    }

    fn installed(&mut self, pair: ChildSaId, outcome: Outcome) {
        let Some(at) = self.installing.iter().position(|i| i.pair == pair) else { return };
        let Some(i) = self.installing.get_mut(at) else { return };
        i.missing = i.missing.saturating_sub(1);
        i.ok &= outcome == Outcome::Ok;
        if i.missing > 0 {
            return;
        }
        if !i.ok {
            warn!(?pair, ?outcome, "the data plane did not take an SA");
            return self.give_up(pair);
        }
        let answer = self.installing.swap_remove(at).answer;
        self.answers.push_back(Command::Installed { token: answer, ok: true });
    }

    /// Takes both directions out and tells the engine.
    fn give_up(&mut self, pair: ChildSaId) {
        if let Some(at) = self.installing.iter().position(|i| i.pair == pair) {
            let answer = self.installing.swap_remove(at).answer;
            self.answers.push_back(Command::Installed { token: answer, ok: false });
        }
        if let Some(pair) = self.pairs.remove(&pair) {
            self.stop_if_used(pair.tunnel, pair.outbound);
            self.doom(pair.outbound);
            self.doom(pair.inbound);
        }
    }

    fn doom(&mut self, id: SaId) {
        self.later.retain(|(_, later)| *later != id);
        if let Some(half) = self.halves.get_mut(&id) {
            half.leaving = true;
            if !self.doomed.contains(&id) {
                self.doomed.push(id);
            }
        }
    }

    fn flush_doomed(&mut self) {
        let mut per_worker: BTreeMap<WorkerId, Vec<SaId>> = BTreeMap::new();
        for id in std::mem::take(&mut self.doomed) {
            if let Some(half) = self.halves.get(&id) {
                per_worker.entry(half.worker).or_default().push(id);
            }
        }
        for (worker, ids) in per_worker {
            self.ask_report(worker);
            for sa in ids {
                let token = self.token(Waiting::Removal(sa));
                self.push(worker, WorkerCommand::RemoveSa { token, sa });
            }
        }
    }

    fn ask_report(&mut self, worker: WorkerId) {
        self.reporting += 1;
        let token = self.token(Waiting::Report);
        self.push(worker, WorkerCommand::ReportSas { token });
    }

    /// The SA is gone; what it counted stays with its tunnel.
    fn forget(&mut self, id: SaId) {
        let Some(half) = self.halves.remove(&id) else { return };
        self.adopted.remove(&(half.tunnel, id));
        let around = self.manual.goes_around(id);
        self.manual.forget(id);
        if half.direction == Direction::Inbound {
            self.spis.release(half.spi);
        }
        if let Some(report) = half.report.as_ref().filter(|_| !around) {
            self.gone.entry(half.tunnel).or_default().add(report);
        }
    }

    fn token(&mut self, waiting: Waiting) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiting.insert(token, waiting);
        token
    }

    fn push(&mut self, worker: WorkerId, command: WorkerCommand) {
        self.out.push_back((worker, command));
    }
}

#[cfg(test)]
mod tests;
