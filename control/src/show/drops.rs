//! `show drops [WORKER|PORT]`.

use super::table::{Column, Side::Left, Side::Right, table as draw};
use super::{What, no_such, nothing};
use crate::api::{Conservation, DropStatus};

/// A table of reasons; those at 0 only where one worker or port was named.
pub(super) fn table(drops: &DropStatus, detail: bool) -> String {
    let mut rows = Vec::new();
    for worker in &drops.workers {
        rows.extend(worker.drops.iter().map(|(why, n)| (format!("worker {}", worker.worker), why, *n)));
    }
    for port in &drops.ports {
        rows.extend(port.drops.iter().map(|(why, n)| (format!("port {} (XDP)", port.port), why, *n)));
    }
    rows.retain(|(.., n)| detail || *n > 0);
    let balance = balance(drops.conservation);
    if rows.is_empty() {
        return format!("{}{balance}", nothing(What::Drops));
    }
    let columns = [Column("WHERE", Left), Column("REASON", Left), Column("PACKETS", Right)];
    let rows = rows.into_iter().map(|(place, why, n)| vec![place, why.clone(), n.to_string()]);
    format!("{}{balance}", draw(&columns, rows))
}

/// The sum that must hold (R91 and its kind): nothing vanishes without a name.
fn balance(c: Conservation) -> String {
    let verdict = match c.difference {
        0 => "every packet is accounted for".to_owned(),
        n if n > 0 => format!("{n} on their way"),
        n => format!("{} more left than entered: please report this", n.unsigned_abs()),
    };
    format!("entered {} = left {} ({verdict})\n", c.entered, c.left)
}

pub(super) fn only(mut drops: DropStatus, name: &str) -> Result<DropStatus, String> {
    let workers = drops.workers.iter().map(|worker| worker.worker.to_string());
    let names: Vec<String> = workers.chain(drops.ports.iter().map(|port| port.port.clone())).collect();
    if !names.iter().any(|known| known == name) {
        return Err(no_such("worker or port", name, &names));
    }
    drops.workers.retain(|worker| worker.worker.to_string() == name);
    drops.ports.retain(|port| port.port == name);
    Ok(drops)
}
