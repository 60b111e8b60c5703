//! `show ports` and `show workers`.

use super::table::{Column, Side::Left, Side::Right, table as draw};
use super::units::or_dash;
use super::{What, nothing};
use crate::api::{PortStatus, WorkerStatus};
use ravelin_ring::counters::{Counter, SocketCounter, XdpCounter};
use std::collections::BTreeMap;

/// Of the XDP program.
const DROPS: [XdpCounter; 3] = [XdpCounter::NoWorker, XdpCounter::Unparsable, XdpCounter::NotAdmitted];

pub(super) fn ports(all: &[PortStatus]) -> String {
    if all.is_empty() {
        return nothing(What::Ports).to_owned();
    }
    let columns = [
        Column("PORT", Left),
        Column("LINK", Left),
        Column("XDP", Left),
        Column("BIND", Left),
        Column("QUEUES", Right),
        Column("MTU", Right),
        Column("MAC", Left),
        Column("PASSED", Right),
        Column("STEERED", Right),
        Column("DROPPED", Right),
        Column("LOST", Right),
    ];
    let rows = all.iter().map(|port| {
        let count = |counter: XdpCounter| of(&port.counters, counter.name());
        vec![
            port.name.clone(),
            if port.up { "up" } else { "down" }.to_owned(),
            or_dash(port.attach.as_deref()),
            or_dash(port.bind.as_deref()),
            port.queues.to_string(),
            port.mtu.to_string(),
            port.mac.clone(),
            count(XdpCounter::Passed).to_string(),
            count(XdpCounter::Steered).to_string(),
            DROPS.iter().fold(0, |sum, why| count(*why).saturating_add(sum)).to_string(),
            lost(port).iter().sum::<u64>().to_string(),
        ]
    });
    let mut text = draw(&columns, rows);
    for port in all {
        let refused = of(&port.counters, XdpCounter::NotAdmitted.name());
        if refused > 0 {
            text.push_str(&format!(
                "{}: dropped, since the port admits the VPN alone: {refused} (not_admitted)\n",
                port.name
            ));
        }
        let [full, no_frame] = lost(port);
        if full + no_frame > 0 {
            text.push_str(&format!(
                "{}: lost before a worker saw them: {full} at a full receive ring, {no_frame} without an empty frame\n",
                port.name
            ));
        }
        if port.attach.as_deref() == Some("generic") {
            text.push_str(&format!(
                "{}: generic XDP: every packet is copied; native mode would be faster\n",
                port.name
            ));
        }
    }
    text
}

/// Frames that no worker saw, by the sockets' own counters.
fn lost(port: &PortStatus) -> [u64; 2] {
    [SocketCounter::RxRingFull, SocketCounter::RxDropped].map(|c| of(&port.counters, c.name()))
}

pub(super) fn workers(all: &[WorkerStatus]) -> String {
    if all.is_empty() {
        return nothing(What::Workers).to_owned();
    }
    let columns = [
        Column("WORKER", Right),
        Column("BY", Right),
        Column("CORE", Right),
        Column("SAS IN", Right),
        Column("SAS OUT", Right),
        Column("RECEIVED", Right),
        Column("ENCRYPTED", Right),
        Column("DECRYPTED", Right),
        Column("FORWARDED", Right),
        Column("PUNTED", Right),
        Column("DROPS", Right),
        Column("ON WAY", Right),
    ];
    let rows = all.iter().map(|worker| {
        let count = |counter: Counter| of(&worker.counters, counter.name()).to_string();
        vec![
            worker.id.to_string(),
            worker.thread.to_string(),
            worker.core.to_string(),
            worker.sas_in.to_string(),
            worker.sas_out.to_string(),
            count(Counter::Received),
            count(Counter::Encrypted),
            count(Counter::Decrypted),
            count(Counter::Forwarded),
            count(Counter::Punted),
            worker.drops.to_string(),
            worker.conservation.difference.to_string(),
        ]
    });
    let mut text = draw(&columns, rows);
    for worker in all {
        if let Some(kernels) = &worker.crypto {
            text.push_str(&format!("worker {} crypto: {kernels}\n", worker.id));
        }
        let [failures, stalls] =
            [Counter::Failures, Counter::Stalls].map(|counter| of(&worker.counters, counter.name()));
        if failures + stalls > 0 {
            let id = worker.id;
            text.push_str(&format!(
                "worker {id} failed {failures} times and stood still {stalls} times (moved to other cores): see its log\n"
            ));
        }
        if worker.thread != worker.id {
            let (id, thread) = (worker.id, worker.thread);
            text.push_str(&format!(
                "worker {id} goes on by the thread of worker {thread}, with all its SAs: its own thread failed repeatedly\n"
            ));
        }
        let [lent, back, helped] = [Counter::Lent, Counter::LentBack, Counter::Helped]
            .map(|counter| of(&worker.counters, counter.name()));
        if lent + helped > 0 {
            let id = worker.id;
            text.push_str(&format!(
                "worker {id} shares crypto: {lent} packets lent, {back} bursts of them done by itself, {helped} packets of others\n"
            ));
        }
    }
    if let Some(pages) = all.iter().find_map(|worker| worker.buffers.as_ref()) {
        text.push_str(&format!("buffers: {pages}\n"));
    }
    text
}

fn of(counters: &BTreeMap<String, u64>, name: &str) -> u64 {
    counters.get(name).copied().unwrap_or(0)
}
