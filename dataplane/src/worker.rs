//! One worker's packet processing, without I/O: here, and only here, stands the order of the stages.

use crate::batch::{Batch, Places};
use crate::classify::{self, Classes};
use crate::neighbour::{Requests, Resolver};
use crate::packet::Origin;
use crate::sa::{Events, SaDb, Throttle};
use crate::stats::Stats;
use crate::tables::Tables;
use crate::verdict::Verdict;
use crate::{icmp, inbound, outbound, route};
use ravelin_crypto::Engine;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{Outcome, WorkerCommand, WorkerEvent, WorkerId};
use ravelin_xsk::FramePool;
use std::sync::Arc;

/// Monotonic milliseconds, read once per batch by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now {
    pub ms: u64,
}

#[derive(Clone, Debug)]
pub struct WorkerConfig {
    pub id: WorkerId,
    /// How many workers there are: an inbound SPI belongs to worker `spi % workers`.
    pub workers: u16,
    /// Room for SAs of one direction.
    pub max_sas: u32,
}

/// Told of each stage as it ends, for `bench stage`; the data plane itself uses `()`, which costs nothing.
pub trait Probe {
    /// `packets`: how many the stage was given.
    fn stage(&mut self, stage: &'static str, packets: usize);
}

impl Probe for () {
    #[inline(always)]
    fn stage(&mut self, _: &'static str, _: usize) {}
}

#[derive(Debug)]
pub struct Worker {
    way: Way,
    lists: Lists,
}

/// All that the stages work with.
#[derive(Debug)]
struct Way {
    db: SaDb,
    tables: Arc<Tables>,
    /// Rises with every `set_tables`, from 1.
    epoch: u64,
    engine: Engine,
    events: Events,
    requests: Requests,
    unknown_spi: Throttle,
    icmp: icmp::Rate,
    stats: Stats,
}

/// Places of packets, kept here so that no batch has to make room for them.
#[derive(Debug, Default)]
struct Lists {
    classes: Classes,
    protect: Places,
    bypass: Places,
    made: Places,
}

impl Worker {
    /// With the fastest crypto kernels that the CPU has.
    pub fn new(config: WorkerConfig) -> Self {
        Self::with_engine(config, Engine::new())
    }

    /// With an engine of the caller's choice, for benches.
    pub fn with_engine(config: WorkerConfig, engine: Engine) -> Self {
        let way = Way {
            db: SaDb::new(config.id, config.workers, config.max_sas),
            tables: Arc::new(Tables::empty()),
            epoch: 1,
            engine,
            events: Events::new(),
            requests: Requests::new(),
            unknown_spi: Throttle::default(),
            icmp: icmp::Rate::default(),
            stats: Stats::default(),
        };
        Self { way, lists: Lists::default() }
    }

    /// Takes every packet of the batch to its final verdict. New packets (fragments, ICMP errors) are appended; their
    /// frames come from `pool`. Frames of dropped and consumed packets stay in the batch: the caller sends them home.
    pub fn process(&mut self, batch: &mut Batch, pool: &mut FramePool, now: Now) {
        self.process_probed(batch, pool, now, &mut ());
    }

    /// [`Self::process`], watched.
    pub fn process_probed(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        now: Now,
        probe: &mut impl Probe,
    ) {
        let Self { way, lists } = self;
        way.enter(batch);
        probe.stage("enter", batch.packets.len());
        classify::run(batch, &way.tables, &mut lists.classes);
        probe.stage("classify", batch.packets.len());
        way.inbound(batch, lists, now, probe);
        way.outbound(batch, pool, lists, now, probe);
        way.errors(batch, pool, lists, now, probe);
        way.finish(batch);
        probe.stage("finish", batch.packets.len());
    }

    /// Call between batches. `None`: nothing to answer, or the answer comes through [`Self::next_event`] (reports).
    pub fn apply(&mut self, command: WorkerCommand) -> Option<WorkerEvent> {
        let answer = self.way.db.apply(command);
        if let Some(WorkerEvent::Done { outcome: Outcome::Refused, .. }) = answer {
            self.way.stats.count(Counter::BadCommands);
        }
        answer
    }

    /// In force from the next batch on.
    pub fn set_tables(&mut self, tables: Arc<Tables>) {
        self.way.db.tunnels.follow(tables.spd.tunnels());
        self.way.tables = tables;
        self.way.epoch += 1;
    }

    pub fn tables(&self) -> &Arc<Tables> {
        &self.way.tables
    }

    /// Drain between batches, as far as the event ring has room.
    pub fn next_event(&mut self, now: Now) -> Option<WorkerEvent> {
        let delayed = std::mem::take(&mut self.way.events.delayed);
        self.way.stats.add(Counter::EventsDelayed, delayed);
        self.way.db.next_event(&mut self.way.events, now)
    }

    pub fn stats(&self) -> &Stats {
        &self.way.stats
    }

    /// For what the caller counts (see [`Stats`]).
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.way.stats
    }

    /// The crypto kernels in use.
    pub fn describe(&self) -> String {
        self.way.engine.describe()
    }
}

impl Way {
    fn inbound(&mut self, batch: &mut Batch, lists: &mut Lists, now: Now, probe: &mut impl Probe) {
        let Self { db, engine, events, requests, stats, unknown_spi, .. } = self;
        let esp = &lists.classes.esp;
        inbound::lookup::run(batch, esp, db, unknown_spi, &mut Resolver { requests, events, now });
        probe.stage("in-lookup", esp.len());
        inbound::replay::check(batch, esp, db);
        probe.stage("in-replay-check", esp.len());
        inbound::decrypt::run(batch, esp, db, engine, stats);
        probe.stage("in-decrypt", esp.len());
        inbound::replay::commit(batch, esp, db, events, now);
        probe.stage("in-replay-commit", esp.len());
        inbound::decap::run(batch, esp);
        probe.stage("in-decap", esp.len());
        inbound::policy::check(batch, esp, db);
        probe.stage("in-policy", esp.len());
        // NAT of what came out of tunnels belongs here: selectors speak of translated addresses.
        classify::join(batch, &mut lists.classes);
        probe.stage("join", lists.classes.clear.len());
    }

    /// What is clear now: from a port, from the host, or out of an SA. A protected packet may go on by another tunnel.
    fn outbound(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        lists: &mut Lists,
        now: Now,
        probe: &mut impl Probe,
    ) {
        let Self { db, engine, events, requests, stats, tables, epoch, .. } = self;
        let Lists { classes, protect, bypass, .. } = lists;
        let clear = &classes.clear;
        route::resolve(batch, clear, tables);
        probe.stage("route-resolve", clear.len());
        // NAT of what leaves belongs here, before the policies.
        outbound::policy::run(batch, clear, tables, protect, bypass);
        probe.stage("out-policy", clear.len());
        outbound::select::run(batch, protect, db, tables, *epoch, &mut Resolver { requests, events, now });
        probe.stage("out-select", protect.len());
        route::egress(batch, bypass, tables, &mut Resolver { requests, events, now });
        probe.stage("route-egress", bypass.len());
        route::age(batch, clear);
        probe.stage("route-age", clear.len());
        outbound::fragment::run(batch, protect, pool, stats);
        probe.stage("out-fragment", protect.len());
        outbound::fragment::run(batch, bypass, pool, stats);
        probe.stage("out-fragment", bypass.len());
        outbound::sequence::run(batch, protect, db, events, now);
        probe.stage("out-sequence", protect.len());
        outbound::encrypt::run(batch, protect, db, engine, stats);
        probe.stage("out-encrypt", protect.len());
        outbound::encap::run(batch, protect, db);
        probe.stage("out-encap", protect.len());
        route::leave(batch, bypass, tables);
        probe.stage("route-leave", bypass.len());
    }

    /// ICMP errors about what was just dropped, on the same way out. They provoke no others.
    fn errors(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        lists: &mut Lists,
        now: Now,
        probe: &mut impl Probe,
    ) {
        let Self { tables, stats, icmp, .. } = self;
        lists.made.clear();
        let mut sender = icmp::Sender { tables, pool, rate: icmp, stats, now };
        icmp::run(batch, &lists.classes.clear, &mut sender, &mut lists.made);
        probe.stage("icmp", lists.classes.clear.len());
        if !lists.made.is_empty() {
            std::mem::swap(&mut lists.made, &mut lists.classes.clear);
            self.outbound(batch, pool, lists, now, probe);
        }
    }

    fn enter(&mut self, batch: &Batch) {
        let stats = &mut self.stats;
        stats.count(Counter::Batches);
        for packet in batch.packets.iter() {
            stats.count(match packet.origin {
                Origin::Port(_) => Counter::Received,
                Origin::Tun => Counter::Injected,
                Origin::HandedIn { .. } => Counter::HandedIn,
            });
            if matches!(packet.origin, Origin::Port(_)) {
                stats.add(Counter::ReceivedBytes, packet.frame.len() as u64);
            }
        }
    }

    /// Counts the drops; a packet that no stage finished is dropped rather than sent (there is none).
    fn finish(&mut self, batch: &mut Batch) {
        for packet in batch.packets.iter_mut() {
            if packet.verdict == Verdict::Pending {
                debug_assert!(false, "a packet without verdict");
                packet.drop(Drop::Unsupported);
            }
            match packet.verdict {
                Verdict::Drop(why) => self.stats.drop(why),
                Verdict::Consumed => self.stats.count(Counter::Consumed),
                Verdict::Forward { .. } | Verdict::Punt | Verdict::HandOff { .. } | Verdict::Pending => {}
            }
        }
    }
}
