//! By which outbound SA each worker sends: its own where it has one (RFC 9611), else the one for all.
//!
//! Decides: by which SA a worker goes on when its own is gone. Writes: commands for workers. Never: lets two
//! workers send by one SA (the sequence numbers are its owner's).

use super::{Installer, Waiting};
use ravelin_ike::config::Connection;
use ravelin_ike::event::ChildSaId;
use ravelin_ring::msg::{SaId, TunnelId, WorkerCommand, WorkerId};
use std::collections::BTreeMap;
use tracing::warn;

/// No larger than the number of outbound SAs.
#[derive(Debug, Default)]
pub(super) struct Own(BTreeMap<(TunnelId, WorkerId), SaId>);

impl Own {
    pub(super) fn has(&self, tunnel: TunnelId, worker: WorkerId) -> bool {
        self.0.contains_key(&(tunnel, worker))
    }
}

impl Installer {
    /// As many SAs of a child as there are workers, where it is to have several.
    pub fn fit(&self, connection: &mut Connection) {
        let backups = connection.exchanges.backups.iter_mut().flat_map(|b| &mut b.children);
        let all = connection.children.iter_mut().chain(backups);
        all.for_each(|child| child.resources = child.resources.min(self.workers));
    }

    /// The worker that owns the pair sends by it, and no other one does.
    pub(super) fn use_own(&mut self, child: ChildSaId) {
        let Some(pair) = self.pairs.get(&child).copied() else {
            return warn!(?child, "use of a pair that is not installed");
        };
        self.own.0.insert((pair.tunnel, pair.owner), pair.outbound);
        self.send_by(pair.owner, pair.tunnel, pair.outbound, pair.owner);
    }

    /// Its worker goes by the SA for all again.
    pub fn leave_own(&mut self, child: ChildSaId) {
        if let Some(pair) = self.pairs.get(&child).copied() {
            self.stop_own(pair.tunnel, pair.outbound);
        }
    }

    /// Some worker sends by it.
    pub fn is_used(&self, tunnel: TunnelId, sa: SaId) -> bool {
        self.in_use(tunnel) == Some(sa) || self.owners(tunnel).any(|(_, own)| own == sa)
    }

    pub(super) fn stop_if_used(&mut self, tunnel: TunnelId, outbound: SaId) {
        self.stop_own(tunnel, outbound);
        if self.in_use.get(&tunnel) != Some(&outbound) {
            return;
        }
        self.in_use.remove(&tunnel);
        for worker in (0..self.workers).map(WorkerId) {
            if !self.own.has(tunnel, worker) {
                self.stop(worker, tunnel);
            }
        }
    }

    pub(super) fn send_by(&mut self, worker: WorkerId, tunnel: TunnelId, sa: SaId, owner: WorkerId) {
        let token = self.token(Waiting::Other);
        self.push(worker, WorkerCommand::UseOutbound { token, tunnel, sa, owner });
    }

    fn stop(&mut self, worker: WorkerId, tunnel: TunnelId) {
        let token = self.token(Waiting::Other);
        self.push(worker, WorkerCommand::StopOutbound { token, tunnel });
    }

    fn stop_own(&mut self, tunnel: TunnelId, outbound: SaId) {
        let of_it: Vec<WorkerId> =
            self.owners(tunnel).filter(|(_, own)| *own == outbound).map(|(worker, _)| worker).collect();
        for worker in of_it {
            self.own.0.remove(&(tunnel, worker));
            let all = self.in_use(tunnel).filter(|sa| *sa != outbound);
            match all.and_then(|sa| Some((sa, self.halves.get(&sa)?.worker))) {
                Some((sa, owner)) => self.send_by(worker, tunnel, sa, owner),
                None => self.stop(worker, tunnel),
            }
        }
    }

    fn owners(&self, tunnel: TunnelId) -> impl Iterator<Item = (WorkerId, SaId)> {
        let all = self.own.0.range((tunnel, WorkerId(0))..=(tunnel, WorkerId(u16::MAX)));
        all.map(|((_, worker), sa)| (*worker, *sa))
    }
}
