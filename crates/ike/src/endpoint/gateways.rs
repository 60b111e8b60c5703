//! New IKE SAs towards one of the peer's gateways: the next one, the first one again, or the same one anew.
//!
//! Decides: which gateway, and whether there is room. Reads: the connection. Writes: a new IKE SA beside what is up.
//! Never: ends what is up (the new SA does, once it is), but for an IKE SA whose peer did not prove itself anew in time.

use super::{Cx, Endpoint, Shutdown};
use crate::config::{ChildId, Connection, ConnectionId};
use crate::event::{Event, IkeSaId};
use crate::ike_sa::Path;
use crate::snapshot::Role;
use crate::task::{Task, child_create, ike_init, resume};
use crate::ticket::Held;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

/// RFC 5685 §5: gateways that send us round in circles come to an end.
const MAX_REDIRECTS: usize = 5;
const REDIRECTS_WITHIN: Duration = Duration::from_secs(300);

impl Endpoint {
    /// Begins with the n-th gateway.
    fn begin(&mut self, now: Instant, id: ConnectionId, gateway: usize, child: Option<ChildId>) {
        let all = self.shared.connections.gateways(id);
        let Some(connection) = all.get(gateway).or_else(|| all.first()).cloned() else { return };
        self.begin_with(now, connection, child, None, None);
    }

    /// The same where nothing is up: by the gateway's ticket, if there is one (RFC 5723).
    pub(super) fn begin_again(
        &mut self,
        now: Instant,
        id: ConnectionId,
        gateway: usize,
        child: Option<ChildId>,
    ) {
        let all = self.shared.connections.gateways(id);
        let Some(connection) = all.get(gateway).or_else(|| all.first()).cloned() else { return };
        let held = self.shared.kept.take(now, &connection);
        self.begin_with(now, connection, child, None, held);
    }

    fn begin_with(
        &mut self,
        now: Instant,
        connection: Arc<Connection>,
        child: Option<ChildId>,
        from: Option<IpAddr>,
        held: Option<Held>,
    ) {
        let id = connection.id;
        let Some(remote) = connection.remote else {
            return self.cannot(id, "the peer's address is not configured: it must begin");
        };
        // Without it the peer would find a NAT that is not there (RFC 7296 §2.23).
        if connection.local.is_none() {
            return self.cannot(id, "our address is not configured: the peer must begin");
        }
        if self.sas.len() >= self.shared.config.limits.ike_sas {
            let why = "the limit of IKE SAs is reached".to_owned();
            let retry = self.plan_retry(now, id, &why, false);
            self.dirty.insert(id);
            return self.shared.event(Event::Failed { connection: id, why, retry });
        }
        let port = connection.exchanges.remote_port.unwrap_or(self.shared.config.ike_port);
        let path = Path {
            local: connection.local,
            remote: SocketAddr::new(remote, port),
            natt: false,
            nat_local: false,
            nat_remote: false,
            force_udp: connection.force_udp,
        };
        let mut cx = Cx::new(now, &mut self.shared);
        let begun = match held {
            Some(held) => Some(resume::start(&mut cx, connection, path, child, held)),
            None => ike_init::start(&mut cx, connection, path, child, from),
        };
        match begun {
            Some(sa) => {
                let id = self.add(sa);
                self.starting.insert(id);
            }
            None => self.cannot(id, "no IKE proposal is configured"),
        }
    }

    /// The other gateway must be the same peer, by identity and proof. Where it is not, or there is none, the first
    /// gateway is asked again, like after any failure (RFC 5685 §5).
    pub(super) fn redirect(
        &mut self,
        now: Instant,
        connection: &Arc<Connection>,
        ike: IkeSaId,
        (from, to): (IpAddr, IpAddr),
    ) {
        let id = connection.id;
        let closing = self.shutdown != Shutdown::No;
        let Some(wanted) = self.connections.get_mut(&id).filter(|w| !closing && !w.is_stopped()) else {
            return;
        };
        wanted.redirects.retain(|at| now.saturating_duration_since(*at) < REDIRECTS_WITHIN);
        if wanted.redirects.len() >= MAX_REDIRECTS {
            return self.went_down(now, id, ike, "redirected too often".to_owned(), false);
        }
        wanted.redirects.push(now);
        let child = wanted.children(connection).first().copied();
        let child =
            child.or_else(|| connection.children.iter().map(|c| c.id).find(|c| self.shared.has_usable(*c)));
        let there = Connection { remote: Some(to), ..(**connection).clone() };
        self.begin_with(now, Arc::new(there), child, Some(from), None);
    }

    /// Back from a backup: what is up stays up until the first gateway is.
    pub(super) fn want_first(&mut self, now: Instant, connection: &Arc<Connection>) {
        let Some(wanted) = self.connections.get_mut(&connection.id) else { return };
        let Some(at) = wanted.return_at.filter(|_| wanted.gateway > 0) else { return };
        if at > now {
            return self.connection_alarms.add(at, connection.id);
        }
        wanted.return_at = Some(now + connection.exchanges.return_to_first);
        self.begin_beside(now, connection, 0);
    }

    /// Both sides prove themselves anew (RFC 7296 §2.8.3). The side that only answers has left it to the other one until now.
    pub(super) fn reauthenticate(&mut self, now: Instant, ike: IkeSaId) {
        let Some(sa) = self.sas.get(&ike).filter(|sa| sa.is_alive()) else { return };
        let (connection, answers) = (Arc::clone(&sa.core.connection), sa.core.only_answers());
        if self.tables.of_connection(connection.id).filter(|id| self.is_alive(*id)).count() > 1 {
            return; // The successor is there, or under way.
        }
        if answers {
            self.with_sa(now, ike, |sa, cx| {
                if let Some((core, e)) = sa.parts() {
                    e.begin_delete(core, cx, "the peer did not prove itself anew in time");
                }
            });
        } else if self.shutdown == Shutdown::No {
            let gateway = self.shared.connections.gateway_of(&connection);
            self.begin_beside(now, &connection, gateway);
        }
    }

    /// With a child that is up: its new pair is to take the traffic over.
    fn begin_beside(&mut self, now: Instant, connection: &Connection, gateway: usize) {
        let child = connection.children.iter().map(|c| c.id).find(|c| self.shared.has_usable(*c));
        self.begin(now, connection.id, gateway, child);
    }

    /// What `old` carries and `new` does not yet: asked for there, before `old` goes.
    pub(super) fn carry_on(&mut self, now: Instant, old: IkeSaId, new: IkeSaId) {
        let current = |sa: &crate::ike_sa::IkeSa| -> Vec<ChildId> {
            let pairs = sa.established().into_iter().flat_map(|e| &e.children);
            pairs.filter(|p| p.is_current()).map(|p| p.child).collect()
        };
        let carried = self.sas.get(&old).map(current).unwrap_or_default();
        self.with_sa(now, new, |sa, cx| {
            if sa.core.role == Role::Responder {
                return;
            }
            let Some((core, e)) = sa.parts() else { return };
            for child in carried {
                if !e.is_making(child) && !e.children.iter().any(|p| p.child == child) {
                    e.push(cx, Task::ChildCreate(child_create::ChildCreate::beside(child)));
                }
            }
            e.run(core, cx);
        });
    }
}
