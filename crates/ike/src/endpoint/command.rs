//! What the control process asks for.
//!
//! Decides: which SAs a command is for. Never: waits.

use super::{Cx, Endpoint, NO_ADDRESS, Shutdown};
use crate::command::Command;
use crate::config::{Child, Connection, ConnectionId, Exchanges, RemoteAuth};
use crate::event::{ChildSaId, IkeSaId};
use crate::ike_sa::{Core, Established, IkeSa};
use crate::task::mobike::{self, Announce, Mobility};
use crate::task::{Task, ike_rekey};
use std::sync::Arc;
use std::time::Instant;

impl Endpoint {
    pub(super) fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Configure(connection) => self.configure(now, *connection),
            Command::Remove(id) => {
                self.terminate(now, id, "removed from the configuration");
                self.shared.peers.forget(id);
                self.connections.remove(&id);
                self.shared.connections.remove(id);
                self.shared.given.retain(|of, (_, in_use)| *of != id || *in_use);
                self.shared.traced.remove(&id);
                self.shared.kept.forget(id);
            }
            Command::Initiate { connection, child } => {
                if let Some(wanted) = self.connections.get_mut(&connection) {
                    wanted.initiate(child);
                    self.dirty.insert(connection);
                }
            }
            Command::Acquire { connection, child, packet } => {
                if let Some(wanted) = self.connections.get_mut(&connection) {
                    wanted.initiate(Some(child));
                    self.dirty.insert(connection);
                    if !self.shared.has_usable(child) {
                        self.shared.set_trigger(child, packet);
                    }
                }
            }
            Command::Lease { connection, peer, address } => {
                self.shared.peers.restore(connection, peer, address);
            }
            Command::Terminate { connection } => {
                // Before it is configured, too: then it is begun by nobody but the peer.
                self.connections.entry(connection).or_default().stop();
                self.terminate(now, connection, "taken down");
            }
            Command::Away { connection, away } => self.set_away(now, connection, away),
            Command::ClearIke(id) => self.clear_ike(now, id),
            Command::ClearChild(id) => self.with_pair(now, id, |core, e, cx| {
                e.delete_pair(cx, id);
                e.refill(core, cx, now);
            }),
            Command::RekeyIke(id) => self.rekey_ike(now, id),
            Command::Renew { connection } => {
                for id in self.tables.of_connection(connection).collect::<Vec<_>>() {
                    self.reauthenticate(now, id);
                }
            }
            Command::RekeyChild(id) => self.with_pair(now, id, |_, e, cx| e.rekey_pair(cx, id)),
            Command::DeleteChild(id) => {
                self.with_pair(now, id, |core, e, cx| {
                    e.expire_pair(cx, id);
                    e.refill(core, cx, now);
                });
            }
            Command::Installed { token, ok } => {
                let id = ChildSaId(token.0);
                self.with_pair(now, id, |core, e, cx| e.installed(core, cx, id, ok));
            }
            Command::FirstPacket(id) => self.with_pair(now, id, |_, e, cx| e.proven(cx, id)),
            Command::PeerMoved { child, from } => self.with_pair(now, child, |core, e, cx| {
                if core.mobility == Mobility::Off {
                    let natt = core.path.natt;
                    e.move_peer(core, cx, from, natt);
                } else {
                    e.move_children(core, cx, from);
                }
            }),
            Command::Alive(id) => self.with_pair(now, id, |_, e, cx| e.last_heard = cx.now),
            Command::Trace { connection, on: true } => {
                self.shared.traced.insert(connection);
            }
            Command::Trace { connection, on: false } => {
                self.shared.traced.remove(&connection);
            }
            Command::Revocation { token, answers } => {
                self.with_sa(now, IkeSaId(token.ike), |sa, cx| {
                    sa.on_revocation(cx, token.question, &answers)
                });
            }
            Command::Shutdown => self.shut_down(now),
        }
    }

    /// Lets the IKE SA that owns a pair work, then start its tasks.
    fn with_pair(
        &mut self,
        now: Instant,
        pair: ChildSaId,
        work: impl FnOnce(&mut Core, &mut Established, &mut Cx<'_>),
    ) {
        let Some(located) = self.shared.locate(pair) else { return };
        self.with_sa(now, located.ike, |sa, cx| {
            if let Some((core, e)) = sa.parts() {
                work(core, e, cx);
                e.run(core, cx);
            }
        });
        if let Some(sa) = self.sas.get(&located.ike) {
            self.dirty.insert(sa.connection_id());
        }
    }

    fn rekey_ike(&mut self, now: Instant, id: ConnectionId) {
        for id in self.all_of(id) {
            self.with_sa(now, id, |sa, cx| {
                if !sa.is_alive() {
                    return;
                }
                if let Some((core, e)) = sa.parts() {
                    e.push(cx, Task::IkeRekey(ike_rekey::IkeRekey::new(core)));
                    e.run(core, cx);
                }
            });
        }
    }

    /// The IKE SAs of a connection, and those of its peers where it is for any address.
    fn all_of(&self, id: ConnectionId) -> Vec<IkeSaId> {
        let peers = self.shared.peers.of(id);
        core::iter::once(id).chain(peers).flat_map(|id| self.tables.of_connection(id)).collect()
    }

    fn terminate(&mut self, now: Instant, id: ConnectionId, why: &str) {
        // No ticket brings it back, of an IKE SA that silence ended neither.
        self.shared.tickets.end(now, id);
        self.shared.kept.forget(id);
        for id in self.all_of(id) {
            self.with_sa(now, id, |sa, cx| sa.terminate(cx, why));
        }
    }

    /// What is not wanted up waits for traffic, the operator or the peer, as after any end.
    fn clear_ike(&mut self, now: Instant, id: IkeSaId) {
        let Some(of) = self.sas.get(&id).map(IkeSa::connection_id) else { return };
        self.with_sa(now, id, |sa, cx| sa.terminate(cx, "cleared"));
        if let Some(wanted) = self.connections.get_mut(&of) {
            wanted.try_now();
        }
        self.dirty.insert(of);
    }

    /// It may be told before the connection is configured, so that nothing is begun.
    fn set_away(&mut self, now: Instant, id: ConnectionId, away: bool) {
        if !away {
            if let Some(wanted) = self.connections.get_mut(&id) {
                wanted.set_away(false);
                self.dirty.insert(id);
            }
            return;
        }
        self.connections.entry(id).or_default().set_away(true);
        for ike in self.all_of(id) {
            self.with_sa(now, ike, |sa, cx| sa.forget(cx, NO_ADDRESS));
        }
    }

    fn shut_down(&mut self, now: Instant) {
        if self.shutdown == Shutdown::No {
            self.shutdown = Shutdown::Until(now + self.shared.config.timers.shutdown);
            self.connection_alarms.clear();
            for id in self.connections.keys().copied().collect::<Vec<_>>() {
                self.terminate(now, id, "shut down");
            }
        }
    }

    /// What did not change stays up as it is.
    fn configure(&mut self, now: Instant, new: Connection) {
        let id = new.id;
        let new = Arc::new(new);
        let old = self.shared.connections.insert(new.clone());
        match old {
            Some(old) if *old == *new => return,
            // No reason to end anything, not even of peers.
            Some(old) if there(&old, &new) == *new => return self.announce_addresses(now, &new),
            Some(old) if keeps_peers(&old, &new) => self.update_peers(now, &new),
            // What its peers have was made of what it was.
            Some(old) if old.remote.is_none() => {
                self.shared.peers.forget(id);
                self.terminate(now, id, "its configuration changed");
            }
            Some(old) if only_moved(&old, &new) && self.can_move(id) => {
                self.move_local(now, &new);
                self.announce_addresses(now, &new);
            }
            Some(old) if needs_new_sa(&old, &new) || !same_gateways(&old, &new) => {
                self.terminate(now, id, "its configuration changed");
                self.connections.entry(id).or_default().restart_at_first();
            }
            Some(_) => self.update_children(now, &new),
            None => {}
        }
        self.connections.entry(id).or_default().try_now();
        self.dirty.insert(id);
    }

    /// MOBIKE (RFC 4555): all of them were begun by us, with peers that follow.
    fn can_move(&self, id: ConnectionId) -> bool {
        let alive = self.tables.of_connection(id).filter(|id| self.is_alive(*id));
        let mut alive = alive.filter_map(|id| self.sas.get(&id)).peekable();
        alive.peek().is_some()
            && alive.all(|sa| sa.established().is_some() && sa.core.mobility == Mobility::Leads)
    }

    fn move_local(&mut self, now: Instant, new: &Arc<Connection>) {
        let Some(local) = new.local else { return };
        for id in self.tables.of_connection(new.id).collect::<Vec<_>>() {
            self.with_sa(now, id, |sa, cx| {
                let gateways = cx.connections.gateways(new.id);
                let at = cx.connections.gateway_of(&sa.core.connection);
                sa.core.connection = sa.core.assigned.narrow(gateways.get(at).unwrap_or(new));
                if let Some((core, e)) = sa.parts() {
                    e.move_local(core, cx, local);
                    e.run(core, cx);
                }
            });
        }
    }

    /// Our addresses are others than before: peers that speak MOBIKE are told (RFC 4555 §3.6).
    fn announce_addresses(&mut self, now: Instant, new: &Connection) {
        let own = &new.exchanges.own_addresses;
        for id in self.all_of(new.id) {
            self.with_sa(now, id, |sa, cx| {
                if sa.core.connection.exchanges.own_addresses != *own {
                    Arc::make_mut(&mut sa.core.connection).exchanges.own_addresses.clone_from(own);
                }
                if let Some((core, e)) = sa.parts()
                    && core.mobility != Mobility::Off
                    && core.told != mobike::elsewhere(core)
                {
                    core.told = mobike::elsewhere(core);
                    e.push(cx, Task::Announce(Announce));
                    e.run(core, cx);
                }
            });
        }
    }

    /// The connections of its peers are made anew of it, and all that they have goes on.
    fn update_peers(&mut self, now: Instant, new: &Arc<Connection>) {
        for peer in self.shared.peers.of(new.id) {
            let Some(connection) = self.shared.peers.renew(peer, new) else { continue };
            for id in self.tables.of_connection(peer).collect::<Vec<_>>() {
                self.with_sa(now, id, |sa, _| sa.core.connection = Arc::clone(&connection));
            }
        }
    }

    fn update_children(&mut self, now: Instant, new: &Arc<Connection>) {
        for id in self.tables.of_connection(new.id).collect::<Vec<_>>() {
            self.with_sa(now, id, |sa, cx| {
                let gateways = cx.connections.gateways(new.id);
                let towards = gateways.get(cx.connections.gateway_of(&sa.core.connection)).unwrap_or(new);
                let now = sa.core.assigned.narrow(towards);
                let old = core::mem::replace(&mut sa.core.connection, Arc::clone(&now));
                let Some((core, e)) = sa.parts() else { return };
                let same = |id| find(&old, id).zip(find(&now, id)).is_some_and(|(a, b)| same_sa(a, b));
                let changed: Vec<ChildSaId> =
                    e.children.iter().filter(|p| !same(p.child)).map(|p| p.id).collect();
                changed.into_iter().for_each(|id| e.delete_pair(cx, id));
                e.run(core, cx);
            });
        }
    }
}

fn find(connection: &Connection, id: crate::config::ChildId) -> Option<&Child> {
    connection.children.iter().find(|c| c.id == id)
}

/// Lifetimes may differ: they count from the next rekey on.
fn same_sa(a: &Child, b: &Child) -> bool {
    let group = |c: &Child| c.resources.max(1);
    (&a.selectors, &a.proposals, a.mode, group(a)) == (&b.selectors, &b.proposals, b.mode, group(b))
}

/// `a` with the list of our addresses that `b` has.
fn there(a: &Connection, b: &Connection) -> Connection {
    let mut same = a.clone();
    same.exchanges.own_addresses.clone_from(&b.exchanges.own_addresses);
    same
}

/// Only our own address is another one, and perhaps the list of them.
fn only_moved(a: &Connection, b: &Connection) -> bool {
    let at = |c: &Connection, local| {
        let backups = c.exchanges.backups.iter().map(|b| Connection { local, ..b.clone() }).collect();
        let exchanges = Exchanges { backups, ..c.exchanges.clone() };
        Connection { local, exchanges, ..c.clone() }
    };
    let b = at(b, b.local);
    a.local != b.local && b.local.is_some() && at(&there(a, &b), b.local) == b
}

fn same_gateways(a: &Connection, b: &Connection) -> bool {
    let (a, b) = (&a.exchanges.backups, &b.exchanges.backups);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| !needs_new_sa(a, b))
}

/// For any address, and what the peers of `a` have is what `b` would give them.
fn keeps_peers(a: &Connection, b: &Connection) -> bool {
    let ranges = |c: &Connection| c.pool.as_ref().map(|pool| pool.addresses.clone());
    let children = |(a, b): (&Child, &Child)| a.id == b.id && same_sa(a, b);
    a.remote.is_none()
        && !needs_new_sa(a, b)
        && ranges(a) == ranges(b)
        && a.children.len() == b.children.len()
        && a.children.iter().zip(&b.children).all(children)
}

fn needs_new_sa(a: &Connection, b: &Connection) -> bool {
    (a.local, a.remote, a.force_udp) != (b.local, b.remote, b.force_udp)
        || a.local_id != b.local_id
        || a.remote_id != b.remote_id
        || a.local_auth != b.local_auth
        || !outlives(&a.remote_auth, &b.remote_auth)
        || a.ppk != b.ppk
        || a.proposals != b.proposals
        || a.fragment_size.is_some() != b.fragment_size.is_some()
        || (&a.exchanges.addresses, a.exchanges.realm) != (&b.exchanges.addresses, b.exchanges.realm)
        || a.exchanges.remote_port != b.exchanges.remote_port
}

/// Who has proven itself by `a` may stay with `b`: more users, and how they are asked, disturb nobody.
fn outlives(a: &RemoteAuth, b: &RemoteAuth) -> bool {
    match (a, b) {
        (RemoteAuth::Eap(a), RemoteAuth::Eap(b)) => {
            a.tls == b.tls && a.users.iter().all(|(name, password)| b.users.get(name) == Some(password))
        }
        _ => a == b,
    }
}
