//! `show nat [WORKER]`.

use super::table::{Column, Side::Left, Side::Right, table as draw};
use super::{What, nothing};
use crate::api::NatStatus;

pub(super) fn text(status: &NatStatus) -> String {
    if status.rules.is_empty() {
        return nothing(What::Nat).to_owned();
    }
    let rules = status.rules.iter().map(|rule| vec![rule.line.to_string(), rule.text.clone()]);
    let mut text = draw(&[Column("LINE", Right), Column("RULE", Left)], rules);
    if status.workers.is_empty() {
        return text;
    }
    let columns = [
        Column("WORKER", Right),
        Column("SESSIONS", Right),
        Column("ROOM", Right),
        Column("OPENED", Right),
        Column("EVICTED", Right),
        Column("TRANSLATED", Right),
    ];
    let rows = status.workers.iter().map(|worker| {
        let numbers = [worker.open, worker.room, worker.opened, worker.evicted, worker.translated];
        core::iter::once(worker.worker.to_string()).chain(numbers.map(|n| n.to_string())).collect()
    });
    text.push_str(&draw(&columns, rows));
    for worker in &status.workers {
        for (why, n) in worker.drops.iter().filter(|(_, n)| **n > 0) {
            text.push_str(&format!("worker {}: {n} dropped: {why}\n", worker.worker));
        }
    }
    text
}
