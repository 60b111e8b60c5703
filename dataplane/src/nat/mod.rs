//! Network address translation of IPv4 (RFC 3022, 4787, 5382, 5508; R53 to R59, R149, R150).
//!
//! Decides: which addresses and ports a packet goes on with; that it may not. Two stages: `arrive`, after decapsulation
//! and its policy, gives back destinations that stand for others; `depart`, before the policies of what leaves, gives
//! sources others. Reads: the rules, routes and policies of the snapshot, the clock of the batch.
//! Writes: addresses, ports and checksums, `Meta::{ip, translated, fleeting}`, sessions, [`Before`].
//! Never: takes memory on a packet's account; touches IPv6; translates what a PROTECT policy covers as it is, unless the
//! rule was made for a tunnel.
//!
//! A session belongs to one worker: that which the inside host's address names, whose part of the ports it uses, so that
//! the answer's port names the same worker. What comes to another one is handed over.

mod tuple;
mod rewrite;
mod rules;
mod store;
mod quote;
mod fragments;
mod before;
mod stage;
mod quick;
mod told;
pub(crate) mod steer;

pub(crate) use before::Before;
pub(crate) use quick::Onward;
pub(crate) use rules::Rules;
pub use steer::{NatSteering, port_ranges};

use crate::batch::Batch;
use crate::clock::Now;
use crate::packet::{Origin, Packet};
use crate::passive;
use crate::stats::Stats;
use crate::tables::Tables;
use crate::verdict::Verdict;
use fragments::Fragments;
use quick::Quick;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::inspect;
use ravelin_ring::msg::{VrfId, WorkerId};
use ravelin_wire::protocol;
use stage::Turn;
use store::{Counts, Store};
use told::Told;

/// One worker's translation.
#[derive(Debug)]
pub(crate) struct Nat {
    me: WorkerId,
    workers: u16,
    /// Made when the first rules come.
    state: Option<Box<State>>,
    pub(crate) before: Before,
    /// See [`Self::forget_flows`].
    forgetful: bool,
}

#[derive(Debug)]
struct State {
    store: Store,
    fragments: Fragments,
    told: Told,
    quick: Quick,
}

/// Why a packet goes no further here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Drop(Drop),
    Hand(WorkerId),
}

impl From<Drop> for Stop {
    fn from(why: Drop) -> Self {
        Self::Drop(why)
    }
}

/// How often a packet may change workers.
const MAX_HOPS: u8 = 4;

impl Nat {
    pub(crate) fn new(me: WorkerId, workers: u16) -> Self {
        Self { me, workers, state: None, before: Before::default(), forgetful: false }
    }

    /// With the first rules comes the room for sessions; sessions that other rules do not allow end when they are used.
    pub(crate) fn follow(&mut self, rules: &Rules) {
        if rules.is_on() && self.state.is_none() {
            let store = Store::new(rules.settings.flows as usize);
            let (fragments, told, quick) = (Fragments::new(), Told::default(), Quick::new());
            self.state = Some(Box::new(State { store, fragments, told, quick }));
        }
    }

    /// While it is dry, packets are translated as they would be, and nothing is opened or kept.
    pub(crate) fn dry(&mut self, dry: bool) {
        if let Some(state) = self.state.as_deref_mut() {
            state.store.dry = dry;
        }
    }

    /// By which rules the packet was translated that was asked about last; it may not have come that far.
    pub(crate) fn take_told(&mut self) -> Vec<inspect::Nat> {
        self.state.as_deref_mut().map(|state| state.told.take()).unwrap_or_default()
    }

    /// Destinations, of what came clear and what came out of SAs, which have judged it.
    pub(crate) fn arrive(
        &mut self,
        batch: &mut Batch,
        clear: &[u16],
        tables: &Tables,
        stats: &mut Stats,
        now: Now,
    ) {
        self.before.clear();
        let Some(state) = self.state.as_deref_mut().filter(|_| tables.nat.is_on()) else { return };
        state.store.expire(now.ms, &tables.nat.settings);
        let (me, workers, before) = (self.me, self.workers, &mut self.before);
        let mut turn = Turn { me, workers, state, before, tables, now };
        let step = |at, packet: &mut Packet| {
            turn.state.store.take_touched();
            turn.arrive(at, packet)
        };
        each(batch, clear, step, stats);
    }

    /// Sources, once it is known which way the packet leaves.
    pub(crate) fn depart(
        &mut self,
        batch: &mut Batch,
        clear: &[u16],
        tables: &Tables,
        stats: &mut Stats,
        now: Now,
    ) {
        let Some(state) = self.state.as_deref_mut().filter(|_| tables.nat.is_on()) else { return };
        let (me, workers, before) = (self.me, self.workers, &mut self.before);
        let mut turn = Turn { me, workers, state, before, tables, now };
        let step = |at, packet: &mut Packet| {
            turn.state.store.take_touched();
            turn.depart(at, packet)
        };
        each(batch, clear, step, stats);
        state.tell(stats);
    }
}

impl State {
    /// What became of sessions since it was last told.
    fn tell(&mut self, stats: &mut Stats) {
        let Counts { opened, closed, evicted } = std::mem::take(&mut self.store.counts);
        stats.add(Counter::NatOpened, opened);
        stats.add(Counter::NatClosed, closed);
        stats.add(Counter::NatEvicted, evicted);
    }
}

fn each(
    batch: &mut Batch,
    clear: &[u16],
    mut step: impl FnMut(u16, &mut Packet) -> Result<bool, Stop>,
    stats: &mut Stats,
) {
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { continue };
        // Sessions are told apart by addresses, which another VRF may have too.
        let elsewhere = packet.meta.vrf != VrfId::MAIN;
        if !packet.pending() || elsewhere || packet.meta.ip.v6 || passive::is_odd(&packet.meta.ip) {
            continue;
        }
        // Flows are known without identifiers and quoted packets, which decide here.
        packet.meta.fleeting |= packet.meta.ip.protocol == protocol::ICMP;
        match step(at, packet) {
            Ok(translated) => stats.add(Counter::Translated, translated.into()),
            Err(Stop::Drop(why)) => packet.drop(why),
            Err(Stop::Hand(worker)) => hand_off(packet, worker),
        }
    }
}

fn hand_off(packet: &mut Packet, worker: WorkerId) {
    let hops = packet.origin.hops();
    if hops >= MAX_HOPS {
        return packet.drop(Drop::NatOtherWorker);
    }
    packet.origin = Origin::HandedIn { door: packet.door, hops: hops + 1 };
    packet.verdict = Verdict::HandOff { worker };
}
