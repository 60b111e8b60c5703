//! The engine as `ravelin show` sees it.
//!
//! Decides: nothing. Never: shows a secret.

use super::Endpoint;
use crate::child_sa::ChildPair;
use crate::config::ConnectionId;
use crate::ike_sa::{Established, IkeSa};
use crate::payload::Id;
use crate::snapshot::{ChildSaInfo, ConnectionInfo, IkeSaInfo, Snapshot};
use core::time::Duration;
use std::time::Instant;

impl Endpoint {
    pub(super) fn show(&self, now: Instant) -> Snapshot {
        Snapshot {
            connections: self.connections.keys().filter_map(|id| self.show_connection(now, *id)).collect(),
            ike_sas: self.sas.values().map(|sa| self.show_ike(now, sa)).collect(),
            half_open: self.tables.half_open(),
        }
    }

    /// What concerns one connection only: it does not take longer where there are many.
    pub(super) fn show_one(&self, now: Instant, id: ConnectionId) -> Snapshot {
        let sas = self.tables.of_connection(id).filter_map(|sa| self.sas.get(&sa));
        Snapshot {
            connections: self.show_connection(now, id).into_iter().collect(),
            ike_sas: sas.map(|sa| self.show_ike(now, sa)).collect(),
            half_open: self.tables.half_open(),
        }
    }

    fn show_connection(&self, now: Instant, id: ConnectionId) -> Option<ConnectionInfo> {
        let (wanted, config) = (self.connections.get(&id)?, self.shared.connections.get(id)?);
        Some(ConnectionInfo {
            id,
            name: config.name.clone(),
            wanted: wanted.is_wanted(config),
            up: self.shared.has_peer(id),
            last_error: wanted.last_error.clone(),
            retry_in: wanted.retry_at.map(|at| at.saturating_duration_since(now)),
            failures: wanted.failures,
        })
    }

    fn show_ike(&self, now: Instant, sa: &IkeSa) -> IkeSaInfo {
        let (core, e) = (&sa.core, sa.established());
        let known = !sa.is_half_open();
        let (initiator_spi, responder_spi) = core.spis();
        let port = core.path.local_port(&self.shared.config);
        IkeSaInfo {
            id: core.id,
            connection: known.then_some(core.connection.id),
            name: if known { core.connection.name.clone() } else { String::new() },
            state: sa.state_name(),
            role: core.role,
            local: core.path.local.map(|ip| (ip, port).into()),
            remote: core.path.remote,
            initiator_spi,
            responder_spi,
            local_id: Id::of(&core.connection.local_id).map(|id| id.to_string()).unwrap_or_default(),
            remote_id: e.map(|e| e.peer_id.to_string()).unwrap_or_default(),
            proposal: e.map(|e| e.proposal),
            nat_local: core.path.nat_local,
            nat_remote: core.path.nat_remote,
            udp: core.path.udp(),
            resumed: e.is_some_and(|e| e.session.resumed),
            ticket_for: self.ticket_until(sa).map(|at| at.saturating_duration_since(now)),
            age: now.saturating_duration_since(core.created),
            rekey_in: e.map(|e| e.rekey_at.saturating_duration_since(now)),
            idle: e.map_or(Duration::ZERO, |e| now.saturating_duration_since(e.last_heard)),
            retransmits: core.retransmits,
            message_ids: core.window.ids(),
            task: e.and_then(|e| e.active.as_ref()).map(crate::task::Task::name),
            queued_tasks: e.map_or(0, |e| e.queue.len()),
            children: e.map(|e| self.show_children(now, sa, e)).unwrap_or_default(),
        }
    }

    fn ticket_until(&self, sa: &IkeSa) -> Option<Instant> {
        let (kept, id) = (&self.shared.kept, sa.connection_id());
        let given = sa.established()?.session.ticket.map(|(_, until)| until);
        kept.until(id).filter(|_| kept.is_of(id, sa.core.id)).or(given)
    }

    fn show_children(&self, now: Instant, sa: &IkeSa, e: &Established) -> Vec<ChildSaInfo> {
        e.children.iter().map(|pair| self.show_pair(now, sa, pair)).collect()
    }

    fn show_pair(&self, now: Instant, sa: &IkeSa, pair: &ChildPair) -> ChildSaInfo {
        let config = sa.core.connection.children.iter().find(|c| c.id == pair.child);
        let (local, remote) = pair.path.outer(&self.shared.config);
        ChildSaInfo {
            id: pair.id,
            child: pair.child,
            name: config.map(|c| c.name.clone()).unwrap_or_default(),
            state: pair.state_name(),
            inbound_spi: pair.inbound,
            outbound_spi: pair.outbound,
            mode: pair.mode,
            proposal: pair.proposal,
            selectors: pair.selectors.clone(),
            local,
            remote,
            udp: pair.path.udp(),
            outbound_in_use: self.shared.is_sent_by(pair),
            age: now.saturating_duration_since(pair.created),
            rekey_in: pair.is_current().then(|| pair.rekey_at.saturating_duration_since(now)),
            expires_in: pair.expires_at.saturating_duration_since(now),
        }
    }
}
