//! `show sas [TUNNEL]`.

use super::table::{Column, Side::Left, Side::Right, fields, table as draw};
use super::units::{bytes, span, span_or};
use super::{What, nothing};
use crate::api::{SaDirection, SaStatus};

pub(super) fn table(all: &[SaStatus]) -> String {
    if all.is_empty() {
        return nothing(What::Sas).to_owned();
    }
    let columns = [
        Column("TUNNEL", Left),
        Column("DIR", Left),
        Column("SPI", Left),
        Column("SUITE", Left),
        Column("STATE", Left),
        Column("WORKER", Right),
        Column("PACKETS", Right),
        Column("BYTES", Right),
        Column("DROPS", Right),
        Column("AGE", Right),
        Column("IDLE", Right),
    ];
    let rows = all.iter().map(|sa| {
        vec![
            sa.tunnel.clone(),
            sa.direction.name().to_owned(),
            sa.spi.clone(),
            sa.suite.clone(),
            sa.state.clone(),
            sa.worker.to_string(),
            sa.packets.to_string(),
            bytes(sa.bytes),
            drops(sa).to_string(),
            span(sa.age_s),
            span_or(sa.idle_s, "never"),
        ]
    });
    draw(&columns, rows)
}

fn drops(sa: &SaStatus) -> u64 {
    sa.replay_drops.saturating_add(sa.icv_drops).saturating_add(sa.selector_drops)
}

pub(super) fn details(all: &[SaStatus]) -> String {
    all.iter().map(detail).collect::<Vec<_>>().join("\n")
}

pub(super) fn last_used(idle: Option<u64>) -> String {
    idle.map_or_else(|| "never used".to_owned(), |idle| format!("last packet {} ago", span(idle)))
}

fn detail(sa: &SaStatus) -> String {
    let esn = if sa.esn { ", extended sequence numbers" } else { "" };
    let mut lines = vec![
        ("tunnel", sa.tunnel.clone()),
        ("state", format!("{} on worker {}", sa.state, sa.worker)),
        ("suite", format!("{}{esn}", sa.suite)),
        ("outer", format!("{} = {}", sa.local, sa.remote)),
        ("sequence", sa.sequence.to_string()),
        ("traffic", format!("{} packets, {}", sa.packets, bytes(sa.bytes))),
        ("age", format!("{}, {}", span(sa.age_s), last_used(sa.idle_s))),
        ("rekey in", format!("{}, ends in {}", span_or(sa.rekey_in_s, "-"), span_or(sa.expires_in_s, "-"))),
    ];
    if sa.direction == SaDirection::In {
        lines.push(("replay window", sa.replay_window.to_string()));
        lines.push((
            "drops",
            format!("replay {}, icv {}, selector {}", sa.replay_drops, sa.icv_drops, sa.selector_drops),
        ));
    }
    format!("SA {} {}\n{}", sa.spi, sa.direction.name(), fields(&lines))
}
