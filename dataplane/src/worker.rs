//! One worker's packet processing, without I/O: here, and only here, stands the order of the stages.

mod account;
mod between;
mod each;
mod explain;
mod shared;

pub use between::Untrustworthy;
pub use explain::{Handed, Subject};

use crate::batch::{Batch, Places};
use crate::classify::{self, Classes};
use crate::clock::Now;
use crate::flow::{Flows, Sorted, Unknown};
use crate::hold::Hold;
use crate::nat::{Nat, Onward};
use crate::neighbour::{Requests, Resolver};
use crate::outbound::modes::{Means, Pass};
use crate::packet::Packet;
use crate::probe::{Point, Probe, View};
use crate::reassembly::Reassembly;
use crate::sa::{Cold, Events, InboundHot, SaDb, Throttle};
use crate::share::Share;
use crate::stats::Stats;
use crate::tables::Tables;
use crate::{escape, flow, gre, icmp, inbound, mss, outbound, passive, route, source, vrf};
use ravelin_crypto::Engine;
use ravelin_ring::msg::WorkerId;
use ravelin_xsk::FramePool;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct WorkerConfig {
    pub id: WorkerId,
    /// How many workers there are: an inbound SPI belongs to worker `spi % workers`.
    pub workers: u16,
    /// Room for SAs of one direction.
    pub max_sas: u32,
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
    flows: Flows,
    /// Rises with every `set_tables`, from 1.
    epoch: u64,
    engine: Engine,
    events: Events,
    requests: Requests,
    hold: Hold,
    reassembly: Reassembly,
    nat: Nat,
    share: Share,
    unknown_spi: Throttle,
    icmp: icmp::Rate,
    stats: Stats,
    /// A packet is only asked about.
    dry: bool,
}

/// Places of packets, kept here so that no batch has to make room for them.
#[derive(Debug, Default)]
struct Lists {
    classes: Classes,
    protect: Places,
    bypass: Places,
    /// Packets of flows not known yet, and where they turn out to go.
    unknown: Unknown,
    new_protect: Places,
    new_bypass: Places,
    made: Places,
    /// What goes into GRE.
    gre: Places,
    /// Packets of the batch that leave by a port, as far as the stages have counted them.
    gone: usize,
    /// By which port those do that leave in clear, as the tables in force have it.
    leaving: Option<route::Leaving>,
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
            flows: Flows::new(config.max_sas),
            epoch: 1,
            engine,
            events: Events::new(),
            requests: Requests::new(),
            hold: Hold::new(),
            reassembly: Reassembly::default(),
            nat: Nat::new(config.id, config.workers),
            share: Share::new(config.id),
            unknown_spi: Throttle::default(),
            icmp: icmp::Rate::default(),
            stats: Stats::default(),
            dry: false,
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
        lists.gone = 0;
        way.enter(batch);
        probe.look(Point::Received, View { batch, db: &mut way.db, places: (&[], &[]) });
        probe.stage("enter", batch.packets.len());
        classify::run(batch, &way.tables, &mut lists.classes, &way.db, &way.flows);
        if !lists.classes.fragments.is_empty() {
            way.join(batch, pool, lists, now);
        }
        probe.stage("classify", batch.packets.len());
        let places = (&lists.classes.esp[..], &lists.classes.ah[..]);
        probe.look(Point::Sorted, View { batch, db: &mut way.db, places });
        way.inbound(batch, lists, now, probe);
        probe.look(Point::Clear, View { batch, db: &mut way.db, places: (&lists.classes.clear, &[]) });
        way.onward(batch, pool, lists, now, probe);
        // Most batches leave as they came.
        let all = lists.gone == batch.packets.len();
        if !all && batch.packets.iter().any(|packet| !packet.verdict.goes_on()) {
            way.errors(batch, pool, lists, now, probe);
            way.finish(batch);
        }
        probe.look(Point::Done, View { batch, db: &mut way.db, places: (&[], &[]) });
        probe.stage("finish", batch.packets.len());
    }

    /// Call before each batch is filled: puts up to `room` packets into it whose tunnel has an outbound SA now (R172),
    /// and drops those that have waited too long.
    #[inline]
    pub fn release(&mut self, batch: &mut Batch, room: usize, pool: &mut FramePool, now: Now) {
        let Way { hold, reassembly, db, stats, .. } = &mut self.way;
        if !reassembly.is_empty() {
            reassembly.expire(pool, stats, now);
        }
        if !hold.is_empty() {
            hold.expire(pool, &mut db.tunnels, stats, now);
            hold.fill(batch, room, &mut db.tunnels);
        }
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
    /// Outer fragments of ESP and AH become whole packets, or wait; others' are clear.
    #[cold]
    fn join(&mut self, batch: &mut Batch, pool: &mut FramePool, lists: &mut Lists, now: Now) {
        let Self { reassembly, tables, db, flows, stats, .. } = self;
        for at in std::mem::take(&mut lists.classes.fragments) {
            vrf::mark(batch, at, tables);
            if batch.packets.get(usize::from(at)).is_some_and(|p| reassembly.is_foreign(p)) {
                classify::leave(batch, at, &mut lists.classes, db, flows);
            } else {
                batch.each(&[at], |packet| reassembly.take(packet, pool, stats, now));
                classify::again(batch, at, tables, &mut lists.classes, db, flows);
            }
        }
    }

    fn inbound(&mut self, batch: &mut Batch, lists: &mut Lists, now: Now, probe: &mut impl Probe) {
        let Self { db, flows, engine, events, requests, stats, unknown_spi, tables, share, .. } = self;
        vrf::guard(batch, &lists.classes, db, tables);
        if db.has_bundles() {
            let means = &mut inbound::bundle::Means { db, tables, flows, engine, stats };
            inbound::bundle::run(batch, &mut lists.classes, means, &mut Resolver { requests, events, now });
        }
        let Classes { esp, keys, .. } = &mut lists.classes;
        inbound::lookup::run(batch, esp, db, unknown_spi, &mut Resolver { requests, events, now });
        probe.stage("in-lookup", esp.len());
        if db.has_shared() && share.engages(batch.packets.len()) {
            inbound::shared::lend(batch, esp, db, share, stats, now);
        }
        // What one packet needs before and after decryption is done while its records are at hand.
        let before = |packet: &mut Packet, hot: &mut InboundHot| inbound::replay::check(packet, hot);
        let means = inbound::decrypt::Means { engine, flows, keys, now };
        let after =
            |at, packet: &mut Packet, hot: &mut _, mut sa: Cold<'_, _>, proof, opened, keys: &mut _| {
                inbound::replay::commit(packet, hot, &mut sa, proof, opened, events, now)?;
                each::uncovered((at, packet), (hot.transport, sa), tables, opened, flows, keys)
            };
        let whole = inbound::decrypt::run(batch, esp, db, stats, means, before, after);
        probe.stage("in-decrypt", esp.len());
        if !lists.classes.ah.is_empty() {
            let say = &mut Resolver { requests, events, now };
            inbound::ah::run(batch, &lists.classes.ah, db, engine, stats, unknown_spi, say);
        }
        let whole = whole && !db.has_rules();
        if db.has_rules() {
            inbound::rules::run(batch, &lists.classes.esp, db);
            inbound::rules::run(batch, &lists.classes.ah, db);
        }
        classify::join(batch, &mut lists.classes, flows, whole);
        if vrf::any(db, tables) {
            vrf::assign(batch, &lists.classes.clear, db, tables);
        }
        if !tables.gre.is_empty() {
            let Classes { clear, keys, .. } = &mut lists.classes;
            gre::uncover(batch, (clear, keys), db, tables, flows, stats, self.dry);
        }
        mss::inbound(batch, &lists.classes.clear, &mut self.db, &self.tables);
        probe.stage("join", lists.classes.clear.len());
    }

    /// What is clear now: from a port, from the host, or out of an SA. A protected packet may go on by another tunnel.
    fn onward(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        lists: &mut Lists,
        now: Now,
        probe: &mut impl Probe,
    ) {
        let Lists { classes, protect, bypass, unknown, .. } = lists;
        let mut sorted = Sorted { protect, bypass, unknown };
        let clear = (&classes.clear[..], &classes.keys);
        // Who looks on is to see all of them sorted first.
        let leaving = lists.leaving.filter(|_| !probe.looks());
        let (mut large, gone) =
            flow::find(batch, clear, &mut self.flows, &self.db, self.epoch, leaving, &mut sorted);
        lists.gone += gone;
        probe.stage("flow", classes.clear.len());
        if !lists.unknown.places.is_empty() {
            large |= self.decide(batch, lists, now, probe);
        }
        let Self { db, engine, events, stats, tables, share, .. } = self;
        let Lists { classes, protect, bypass, .. } = lists;
        probe.look(Point::Decided, View { batch, db, places: (protect, bypass) });
        mss::outbound(batch, protect, db, tables);
        let special = db.has_special();
        if special {
            // Before anything is cut: some SAs take whole packets.
            let means = &mut Means { engine, pool, stats, events, tables, now };
            outbound::modes::run(batch, protect, db, Pass::Whole, means);
        }
        if large {
            batch.each(&classes.clear, route::age);
            outbound::fragment::allow(batch, protect, db);
            outbound::fragment::run(batch, protect, pool, stats);
            outbound::fragment::run(batch, bypass, pool, stats);
            probe.stage("out-fragment", classes.clear.len());
        }
        if special {
            let means = &mut Means { engine, pool, stats, events, tables, now };
            outbound::modes::run(batch, protect, db, Pass::Parts, means);
            outbound::tfc::run(batch, protect, db);
        }
        probe.look(Point::Seal, View { batch, db, places: (protect, &[]) });
        if db.has_shared() && share.engages(batch.packets.len()) {
            let before =
                |packet: &mut Packet, hot: &mut _, sa: Cold<'_, _>| each::ready(packet, hot, sa, events, now);
            outbound::shared::lend(batch, protect, db, share, stats, now, before);
        }
        lists.gone += outbound::encrypt::run(batch, protect, db, engine, stats, now, |packet, hot, sa| {
            each::ready(packet, hot, sa, events, now)
        });
        probe.stage("out-encrypt", protect.len());
        lists.gone += route::depart(batch, bypass, tables, &mut lists.leaving);
        probe.stage("route-leave", bypass.len());
        if !lists.gre.is_empty() {
            self.enclose(batch, pool, lists, now, probe);
        }
    }

    /// What goes into GRE begins anew as the packet around it.
    #[cold]
    fn enclose(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        lists: &mut Lists,
        now: Now,
        probe: &mut impl Probe,
    ) {
        let mut outer = std::mem::take(&mut lists.gre);
        gre::wrap(batch, &mut outer, &self.tables, pool, &mut self.stats, self.dry);
        probe.stage("gre", outer.len());
        let all = std::mem::replace(&mut lists.classes.clear, outer);
        self.onward(batch, pool, lists, now, probe);
        lists.classes.clear = all;
    }

    /// Where the packets of flows go that are not known yet. True: one is larger than its way takes.
    fn decide(&mut self, batch: &mut Batch, lists: &mut Lists, now: Now, probe: &mut impl Probe) -> bool {
        let Self { db, flows, events, requests, hold, nat, tables, stats, epoch, .. } = self;
        let Lists { protect, bypass, unknown, new_protect, new_bypass, gre, .. } = lists;
        let onward = &mut Onward { protect, bypass };
        let others = nat.others(batch, &unknown.places, (db, tables, *epoch), onward, stats, now);
        let clear = others.as_ref().unwrap_or(&unknown.places);
        inbound::policy::check(batch, clear, db, tables);
        probe.stage("in-policy", clear.len());
        nat.arrive(batch, clear, tables, stats, now);
        route::resolve(batch, clear, tables);
        probe.stage("route-resolve", clear.len());
        nat.depart(batch, clear, tables, stats, now);
        escape::judge(batch, (&unknown.places, clear), &nat.before, db, tables);
        outbound::policy::run(batch, clear, tables, &nat.before, new_protect, new_bypass);
        if db.has_passive() || db.workers > 1 {
            passive::sift(batch, clear, new_protect, db);
        }
        if !tables.gre.is_empty() {
            gre::sift(batch, new_protect, gre, tables);
            source::check(batch, gre, tables, &nat.before);
            gre::guarded(batch, new_protect, new_bypass, tables);
        }
        source::check(batch, new_protect, tables, &nat.before);
        source::check(batch, new_bypass, tables, &nat.before);
        escape::check(batch, new_bypass);
        probe.stage("out-policy", clear.len());
        outbound::select::run(
            batch,
            new_protect,
            db,
            tables,
            *epoch,
            hold,
            &mut Resolver { requests, events, now },
        );
        probe.stage("out-select", new_protect.len());
        route::egress(batch, new_bypass, tables, hold, &mut Resolver { requests, events, now });
        probe.stage("route-egress", new_bypass.len());
        nat.remember(batch, new_protect, new_bypass, db, *epoch);
        let new = (&*new_protect, &*new_bypass);
        flow::learn(batch, new, flows, db, *epoch, &mut Sorted { protect, bypass, unknown })
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
            self.onward(batch, pool, lists, now, probe);
        }
    }
}
