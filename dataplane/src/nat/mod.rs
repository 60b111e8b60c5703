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
//!
//! Each VRF has rules, sessions and fragments of its own: addresses of one say nothing in another. What is known of flows is
//! told apart by their doors, each of which is of one VRF.

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
use crate::escape::Bounds;
use crate::packet::{Door, Origin, Packet};
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
use store::{Counts, Store};
use told::Told;

/// One worker's translation.
#[derive(Debug)]
pub(crate) struct Nat {
    me: WorkerId,
    workers: u16,
    /// By VRF, the main one first; each made when its first rules come.
    states: Vec<(VrfId, Box<State>)>,
    quick: Option<Box<Quick>>,
    dry: bool,
    pub(crate) before: Before,
    /// See [`Self::forget_flows`].
    forgetful: bool,
}

#[derive(Debug)]
struct State {
    store: Store,
    fragments: Fragments,
    told: Told,
}

/// What a packet's turn works with.
#[derive(Debug)]
struct Turn<'a> {
    me: WorkerId,
    workers: u16,
    vrf: VrfId,
    rules: &'a Rules,
    state: &'a mut State,
    before: &'a mut Before,
    tables: &'a Tables,
    now: Now,
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
        Self {
            me,
            workers,
            states: vec![],
            quick: None,
            dry: false,
            before: Before::default(),
            forgetful: false,
        }
    }

    /// With the first rules comes the room for sessions; sessions that other rules do not allow end when they are used, and
    /// those of a VRF that is gone at once.
    pub(crate) fn follow(&mut self, tables: &Tables, stats: &mut Stats) {
        self.states.retain_mut(|(vrf, state)| {
            let stays = *vrf == VrfId::MAIN || tables.vrfs.has(*vrf);
            if !stays {
                state.tell(stats);
                stats.add(Counter::NatClosed, state.store.open_sessions());
            }
            stays
        });
        for vrf in std::iter::once(VrfId::MAIN).chain(tables.vrfs.ids()) {
            let (Some(rules), Err(place)) =
                (tables.nat_in(vrf), self.states.binary_search_by_key(&vrf, |(vrf, _)| *vrf))
            else {
                continue;
            };
            let store = Store::new(rules.settings.flows as usize);
            let state = State { store, fragments: Fragments::new(), told: Told::default() };
            self.states.insert(place, (vrf, Box::new(state)));
            self.quick.get_or_insert_with(|| Box::new(Quick::new()));
        }
    }

    /// While it is dry, packets are translated as they would be, and nothing is opened or kept.
    pub(crate) fn dry(&mut self, dry: bool) {
        self.dry = dry;
        self.states.iter_mut().for_each(|(_, state)| state.store.dry = dry);
    }

    /// By which rules the packet was translated that was asked about last; it may not have come that far.
    pub(crate) fn take_told(&mut self) -> Vec<inspect::Nat> {
        self.states.iter_mut().flat_map(|(_, state)| state.told.take()).collect()
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
        self.each(batch, clear, tables, stats, now, |turn, at, packet| turn.arrive(at, packet));
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
        self.each(batch, clear, tables, stats, now, |turn, at, packet| turn.depart(at, packet));
        self.states.iter_mut().for_each(|(_, state)| state.tell(stats));
    }

    /// VRF by VRF, so that each packet meets what is its own's.
    fn each(
        &mut self,
        batch: &mut Batch,
        clear: &[u16],
        tables: &Tables,
        stats: &mut Stats,
        now: Now,
        step: fn(&mut Turn<'_>, u16, &mut Packet) -> Result<bool, Stop>,
    ) {
        let Self { me, workers, states, before, .. } = self;
        for (vrf, state) in states {
            let Some(rules) = tables.nat_in(*vrf) else { continue };
            state.store.expire(now.ms, &rules.settings);
            let turn = &mut Turn { me: *me, workers: *workers, vrf: *vrf, rules, state, before, tables, now };
            each(turn, batch, clear, step, stats);
        }
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
    turn: &mut Turn<'_>,
    batch: &mut Batch,
    clear: &[u16],
    step: fn(&mut Turn<'_>, u16, &mut Packet) -> Result<bool, Stop>,
    stats: &mut Stats,
) {
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { continue };
        let elsewhere = packet.meta.vrf != turn.vrf;
        if !packet.pending() || elsewhere || packet.meta.ip.v6 || passive::is_odd(&packet.meta.ip) {
            continue;
        }
        // Flows are known without identifiers and quoted packets, which decide here.
        packet.meta.fleeting |= packet.meta.ip.protocol == protocol::ICMP;
        turn.state.store.take_touched();
        match step(turn, at, packet) {
            Ok(translated) => stats.add(Counter::Translated, translated.into()),
            Err(Stop::Drop(why)) => packet.drop(why),
            Err(Stop::Hand(worker)) => hand_off(packet, worker),
        }
    }
}

/// As it came; [`crate::escape`] adds the bounds.
fn hand_off(packet: &mut Packet, worker: WorkerId) {
    let hops = packet.origin.hops();
    if hops >= MAX_HOPS {
        return packet.drop(Drop::NatOtherWorker);
    }
    // The SA is not there to tell the VRF.
    let hidden = matches!(packet.door, Door::Sa | Door::Tun) && packet.meta.vrf != VrfId::MAIN;
    let door = if hidden { Door::Vrf(packet.meta.vrf) } else { packet.door };
    packet.origin = Origin::HandedIn { door, hops: hops + 1, bounds: Bounds::NONE };
    packet.verdict = Verdict::HandOff { worker };
}
