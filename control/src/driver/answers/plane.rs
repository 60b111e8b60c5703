//! What `show ports`, `show workers` and `show drops` say.
//!
//! Decides: nothing. Reads: counters, the kernel's links. Writes: nothing.

use super::super::core::Core;
use super::super::plane::Plane;
use crate::api::{
    Conservation, DropStatus, NatRuleStatus, NatStatus, NatWorker, PortDrops, PortStatus, WorkerDrops,
    WorkerStatus,
};
use crate::config::nat_text;
use crate::kernel::Model;
use ravelin_ring::counters::{Counter, Drop as Reason, SocketCounter, XdpCounter};
use ravelin_ring::msg::Direction;
use ravelin_ring::{BindMode, PortCounters, WorkerCounters};
use std::collections::{BTreeMap, BTreeSet};

/// Drops of the XDP program itself; its other counters are no drops.
const XDP_DROPS: [XdpCounter; 3] = [XdpCounter::NoWorker, XdpCounter::Unparsable, XdpCounter::NotAdmitted];

pub(in crate::driver) fn ports(plane: &Plane, model: &Model, name: Option<&str>) -> Vec<PortStatus> {
    let reports = (0u16..).zip(&plane.welcome.ports).filter(|(_, p)| name.is_none_or(|n| p.name == n));
    reports
        .map(|(id, p)| {
            let link = model.link_named(&p.name);
            let counters = plane.counters.port(usize::from(id)).unwrap_or_default();
            let mac = link.map_or(p.mac, |l| l.mac);
            PortStatus {
                name: p.name.clone(),
                id,
                ifindex: link.map_or(p.ifindex, |l| l.index),
                mac: mac.map(|b| format!("{b:02x}")).join(":"),
                up: link.is_some_and(|l| l.up),
                mtu: link.map_or(0, |l| l.mtu),
                attach: p.attached.then(|| p.attach.clone()),
                bind: p.attached.then(|| {
                    match p.bind {
                        BindMode::ZeroCopy => "zero-copy",
                        BindMode::Copy => "copy",
                    }
                    .to_owned()
                }),
                queues: p.queues,
                counters: counters_by_name(&counters),
            }
        })
        .collect()
}

fn counters_by_name(counters: &PortCounters) -> BTreeMap<String, u64> {
    let xdp = XdpCounter::ALL.iter().map(|c| (c.name(), counters.get(*c)));
    let sockets = SocketCounter::ALL.iter().map(|c| (c.name(), counters.socket(*c)));
    xdp.chain(sockets).map(|(name, n)| (name.to_owned(), n)).collect()
}

pub(in crate::driver) fn workers(core: &Core, plane: &Plane, name: Option<&str>) -> Vec<WorkerStatus> {
    let mut out = Vec::new();
    for id in 0..plane.workers() {
        let Some(counters) = plane.counters.worker(usize::from(id)) else { continue };
        if name.is_some_and(|n| n != id.to_string()) {
            continue;
        }
        let owned =
            |d| core.installer.halves().filter(|h| h.worker.0 == id && h.direction == d).count() as u64;
        let thread = u16::try_from(counters.get(Counter::Thread)).unwrap_or(id);
        let counts = Counter::ALL.iter().filter(|c| **c != Counter::Thread);
        out.push(WorkerStatus {
            id,
            thread,
            core: core.config.dataplane.cores.get(usize::from(thread)).copied().unwrap_or_default(),
            crypto: Some(plane.welcome.crypto.clone()),
            buffers: Some(plane.welcome.buffers.clone()),
            sas_in: owned(Direction::Inbound),
            sas_out: owned(Direction::Outbound),
            counters: counts.map(|c| (c.name().to_owned(), counters.get(*c))).collect(),
            drops: dropped(&counters),
            conservation: conservation(&[counters]),
        });
    }
    out
}

pub(in crate::driver) fn drops(plane: &Plane) -> DropStatus {
    let workers: Vec<WorkerCounters> =
        (0..plane.counters.workers()).filter_map(|w| plane.counters.worker(w)).collect();
    let by_name = |c: &WorkerCounters| -> BTreeMap<String, u64> {
        Reason::ALL.iter().map(|r| (r.name().to_owned(), c.dropped(*r))).collect()
    };
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    for (name, n) in workers.iter().flat_map(&by_name) {
        *total.entry(name).or_default() += n;
    }
    let mut ports = Vec::new();
    for (id, port) in plane.welcome.ports.iter().enumerate() {
        let counters = plane.counters.port(id).unwrap_or_default();
        let drops: BTreeMap<String, u64> =
            XDP_DROPS.iter().map(|c| (c.name().to_owned(), counters.get(*c))).collect();
        for (name, n) in &drops {
            *total.entry(name.clone()).or_default() += n;
        }
        ports.push(PortDrops { port: port.name.clone(), drops });
    }
    DropStatus {
        workers: (0u16..)
            .zip(&workers)
            .map(|(worker, c)| WorkerDrops { worker, drops: by_name(c) })
            .collect(),
        ports,
        total,
        conservation: conservation(&workers),
    }
}

/// The rules are told without a data plane, too.
pub(in crate::driver) fn nat(core: &Core, plane: Option<&Plane>) -> NatStatus {
    let rules = core.config.nat.iter();
    let rules =
        rules.map(|rule| NatRuleStatus { line: rule.line, text: nat_text(&core.config, rule) }).collect();
    let workers = plane.map_or(0, Plane::workers);
    // Each VRF with rules has a table of its own.
    let vrfs: BTreeSet<_> = core.config.nat.iter().map(|rule| core.config.vrf_of_nat(rule)).collect();
    let vrfs = vrfs.len() as u64;
    let worker = |id: u16| {
        let counters = plane?.counters.worker(usize::from(id))?;
        let reasons = Reason::ALL.iter().filter(|r| r.name().starts_with("nat_"));
        Some(NatWorker {
            worker: id,
            open: counters.get(Counter::NatOpened).saturating_sub(counters.get(Counter::NatClosed)),
            room: u64::from(core.config.translation.flows) * vrfs,
            opened: counters.get(Counter::NatOpened),
            evicted: counters.get(Counter::NatEvicted),
            translated: counters.get(Counter::Translated),
            drops: reasons.map(|r| (r.name().to_owned(), counters.dropped(*r))).collect(),
        })
    };
    NatStatus { rules, workers: (0..workers).filter_map(worker).collect() }
}

fn dropped(counters: &WorkerCounters) -> u64 {
    counters.drops.iter().sum()
}

fn conservation(all: &[WorkerCounters]) -> Conservation {
    let sum = |of: &[Counter]| -> u64 { all.iter().flat_map(|c| of.iter().map(|w| c.get(*w))).sum() };
    use Counter as C;
    let entered = sum(&[C::Received, C::Injected, C::Generated, C::HandedIn, C::Released]);
    let left = sum(&[C::Forwarded, C::Punted, C::HandedOut, C::Consumed, C::Held]);
    Conservation::of(entered, left + all.iter().map(dropped).sum::<u64>())
}
