//! Records of IKE SAs, so that the next control process can go on with them.
//!
//! Decides: which records are to be stored or taken away, and which SAs of earlier ones go on. Reads: records.
//! Writes: tables, as if the SAs had been made here. Never: stores anything itself.

use super::pairs::Lane;
use super::shared::Shared;
use super::{Cx, Endpoint};
use crate::child_sa::{ChildPair, PairState};
use crate::config::{Connection, ConnectionId};
use crate::counters::Counter;
use crate::crypto::Wiped;
use crate::event::IkeSaId;
use crate::ike_sa::IkeSa;
use crate::record::{self, PairRef, PeerOf, Refused, Restored};
use crate::task::delete::{Delete, Inbound};
use crate::task::mobike::{Mobility, Update};
use crate::task::{Task, liveness::Liveness, ticket};
use crate::ticket::RECORD;
use core::time::Duration;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// A restored peer is asked whether it lives within this time, at random: there may be thousands.
const FIRST_CHECK: Duration = Duration::from_secs(2);

/// The name of the record of what tickets are sealed with: no IKE SA has this SPI.
const TICKETS: u64 = 0;

/// To be done before anything that [`Endpoint::poll_transmit`] has may leave. `name` is an IKE SA's own SPI, or 0.
#[derive(Debug)]
pub enum Record {
    /// Store it in place of the last one of that name; sealed, since it holds keys.
    Keep {
        name: u64,
        bytes: Wiped,
    },
    Forget {
        name: u64,
    },
}

/// What came of the records.
#[derive(Debug, Default)]
pub struct Taken {
    /// IKE SAs that go on.
    pub ike_sas: usize,
    /// Pairs that go on. The engine tells by events which of them carry outbound traffic.
    pub pairs: Vec<PairRef>,
    /// Whose of them they are, of connections for any address.
    pub peers: Vec<PeerOf>,
    pub refused: Vec<Refused>,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    unsaved: BTreeSet<IkeSaId>,
    /// Names, and digests of the bytes.
    saved: BTreeMap<IkeSaId, (u64, [u8; 32])>,
    ready: VecDeque<Record>,
}

impl Endpoint {
    /// The next change of what is stored; `None`: all that happened is told.
    pub fn poll_record(&mut self) -> Option<Record> {
        if !self.records.unsaved.is_empty() {
            self.collect();
        }
        if self.shared.tickets.is_changed()
            && let Some(clock) = self.shared.config.records
        {
            let bytes = self.shared.tickets.record(&clock);
            return Some(Record::Keep { name: TICKETS, bytes });
        }
        self.records.ready.pop_front()
    }

    pub(super) fn changed(&mut self, id: IkeSaId) {
        if self.shared.config.records.is_some() {
            self.records.unsaved.insert(id);
        }
    }

    /// What goes, goes first: should the process end in between, an SA is lost, and not there twice.
    fn collect(&mut self) {
        let Some(clock) = self.shared.config.records else { return };
        let mut keep = VecDeque::new();
        for id in core::mem::take(&mut self.records.unsaved) {
            let record = |sa: &IkeSa| {
                let peer = self.shared.peer_record(sa.connection_id());
                record::write(sa, &clock, peer.as_ref())
            };
            let Some((sa, bytes)) = self.sas.get(&id).and_then(|sa| Some((sa, record(sa)?))) else {
                if let Some((name, _)) = self.records.saved.remove(&id) {
                    self.records.ready.push_back(Record::Forget { name });
                }
                continue;
            };
            let now = (sa.core.our_spi, Sha256::digest(&bytes).into());
            if self.records.saved.insert(id, now) != Some(now) {
                keep.push_back(Record::Keep { name: now.0, bytes });
            }
        }
        self.records.ready.append(&mut keep);
    }

    /// Peers of connections for any address that [`Self::restore`] will go on with, so that what they may send can be
    /// let through before. Changes nothing.
    pub fn peers_of<'r>(
        &mut self,
        now: Instant,
        connections: &[Connection],
        records: impl Iterator<Item = &'r [u8]>,
    ) -> Vec<PeerOf> {
        let Some(clock) = self.shared.config.records else { return Vec::new() };
        let any = connections.iter().filter(|c| c.remote.is_none()).cloned().map(Arc::new);
        let any: BTreeMap<ConnectionId, [Arc<Connection>; 1]> = any.map(|c| (c.id, [c])).collect();
        let known = |id| any.get(&id).map_or(&[] as &[_], |c| c.as_slice());
        let mut number = 0;
        let fresh = || {
            number += 1;
            number
        };
        let mut fresh = fresh;
        let mut found = Vec::new();
        for record in records {
            let restored = record::read(record, known, &clock, now, &mut fresh);
            let peer = restored.ok().and_then(|r| r.peer_of(known(r.peer.as_ref()?.template).first()?));
            found.extend(peer);
        }
        found
    }

    /// Configures these connections, and goes on with the IKE SAs of an earlier process. To be called once, before
    /// anything else. `in_force` tells whether the data plane has a pair (by child, inbound and outbound SPI), and
    /// then whether the child's outbound traffic goes by it.
    pub fn restore<'r>(
        &mut self,
        now: Instant,
        connections: Vec<Connection>,
        records: impl Iterator<Item = &'r [u8]>,
        in_force: impl Fn(&PairRef) -> Option<bool>,
    ) -> Taken {
        let mut known = BTreeMap::new();
        for connection in connections.into_iter().map(Arc::new) {
            self.connections.entry(connection.id).or_default();
            self.dirty.insert(connection.id);
            let id = connection.id;
            self.shared.connections.insert(connection);
            known.insert(id, self.shared.connections.gateways(id).to_vec());
        }
        let mut taken = Taken::default();
        let mut spis = BTreeSet::new();
        for record in records {
            if let (Some(&RECORD), Some(clock)) = (record.first(), self.shared.config.records) {
                self.shared.tickets.restore(&clock, record);
                continue;
            }
            let restored = self.read_one(now, record, &known, &mut spis);
            match restored.map(|r| {
                let template = r.peer.as_ref().and_then(|p| known.get(&p.template)?.first());
                taken.peers.extend(template.and_then(|t| r.peer_of(t)));
                self.take_on(now, r, &in_force, &mut taken.pairs);
            }) {
                Ok(()) => {
                    taken.ike_sas += 1;
                    self.shared.count(Counter::Restored);
                }
                Err(why) => {
                    taken.refused.push(why);
                    self.shared.count(Counter::RestoreRefused);
                }
            }
        }
        self.choose_outbound(&taken.pairs, &in_force);
        self.settle(now);
        taken
    }

    /// `spis`: inbound ones of the pairs so far.
    fn read_one(
        &mut self,
        now: Instant,
        bytes: &[u8],
        connections: &BTreeMap<ConnectionId, Vec<Arc<Connection>>>,
        spis: &mut BTreeSet<u32>,
    ) -> Result<Restored, Refused> {
        let clock = self.shared.config.records.ok_or(Refused::Version)?;
        let shared = &mut self.shared;
        let known = |id| connections.get(&id).map_or(&[] as &[_], Vec::as_slice);
        let restored = record::read(bytes, known, &clock, now, || shared.fresh_id())?;
        let inbound = |p: &ChildPair| p.inbound.get();
        let children = restored.sa.established().map(|e| &e.children);
        let twice = children.into_iter().flatten().any(|p| spis.contains(&inbound(p)));
        if twice || self.tables.by_spi(restored.sa.core.our_spi).is_some() {
            return Err(Refused::Twice);
        }
        if let (Some(peer), Some(e)) = (&restored.peer, restored.sa.established())
            && !self.shared.restore_peer(peer, &e.peer_id, &restored.sa.core.connection)
        {
            return Err(Refused::Twice);
        }
        spis.extend(children.into_iter().flatten().map(inbound));
        Ok(restored)
    }

    fn take_on(
        &mut self,
        now: Instant,
        Restored { mut sa, mut orphans, .. }: Restored,
        in_force: &impl Fn(&PairRef) -> Option<bool>,
        pairs: &mut Vec<PairRef>,
    ) {
        let id = sa.core.id;
        let check = now + self.shared.random_up_to(FIRST_CHECK);
        let cx = &mut Cx::new(now, &mut self.shared);
        if let Some((core, e)) = sa.parts() {
            e.keys.sealing(core.role).leap(&mut *cx.rng);
            let (there, gone): (Vec<_>, Vec<_>) =
                e.children.drain(..).partition(|p| in_force(&p.into()).is_some());
            orphans.extend(gone.iter().map(Inbound::from));
            e.children = there;
            e.session.ticket.into_iter().for_each(|ticket| cx.tickets.inherit(ticket));
            ticket::refill(core, e, cx, check);
            for pair in &mut e.children {
                cx.enlist(id, pair);
                cx.set_usable(pair.id, pair.is_current());
                pairs.push((&*pair).into());
            }
            let leaving = e.children.iter().filter(|p| p.state == PairState::Deleting).map(Inbound::from);
            for spi in orphans.into_iter().chain(leaving).collect::<Vec<_>>() {
                e.push(cx, Task::Delete(Delete::child(spi)));
            }
            // Does the peer still have it, and know where we are? Its silence shows soon.
            let question = match core.mobility {
                Mobility::Leads => Task::Update(Update::new()),
                Mobility::Off | Mobility::Follows => Task::Liveness(Liveness),
            };
            e.push_at(cx, question, check);
            e.refill(core, cx, check);
        }
        let connection = sa.connection_id();
        let gateway = self.shared.connections.gateway_of(&sa.core.connection);
        self.shared.connections.set_up(connection, true);
        self.add(sa);
        self.with_sa(now, id, |sa: &mut IkeSa, cx| {
            if let Some((core, e)) = sa.parts() {
                e.run(core, cx);
            }
        });
        self.succeeded(now, connection, gateway);
    }

    /// By the data plane's word; where it has none, the newest that may be used.
    fn choose_outbound(&mut self, pairs: &[PairRef], in_force: &impl Fn(&PairRef) -> Option<bool>) {
        let lane = |shared: &Shared, p: &PairRef| shared.locate(p.id).map(|l| (l.child, l.resource));
        let lanes: BTreeSet<Lane> = pairs.iter().filter_map(|p| lane(&self.shared, p)).collect();
        // That of all resources may be one of them only: then it goes by any.
        let all: BTreeSet<Lane> = lanes.iter().map(|(child, _)| (*child, 0)).collect();
        for wanted in lanes.into_iter().chain(all) {
            let of_lane = || pairs.iter().filter(|p| lane(&self.shared, p) == Some(wanted));
            let used = of_lane().find(|p| in_force(p) == Some(true));
            let usable = |p: &&PairRef| self.shared.locate(p.id).is_some_and(|l| l.usable);
            if let Some(pair) = used.or_else(|| of_lane().rfind(usable)) {
                self.shared.use_outbound(wanted, pair.id);
            } else if wanted.1 == 0 {
                let any = |p: &&PairRef| p.child == wanted.0 && usable(p);
                let any = pairs.iter().rfind(any).map(|p| p.id);
                any.into_iter().for_each(|id| self.shared.use_outbound(wanted, id));
            }
        }
    }
}
