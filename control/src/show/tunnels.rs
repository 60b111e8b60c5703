//! `show tunnels [NAME]`.

use super::sas::last_used;
use super::table::{Column, Side::Left, Side::Right, fields, table as draw};
use super::units::{bytes, or_dash, span, span_or};
use super::{What, nothing};
use crate::api::{Traffic, TunnelStatus};

pub(super) fn table(all: &[TunnelStatus]) -> String {
    if all.is_empty() {
        return nothing(What::Tunnels).to_owned();
    }
    let columns = [
        Column("TUNNEL", Left),
        Column("STATE", Left),
        Column("PEER", Left),
        Column("SUITE", Left),
        Column("IN", Right),
        Column("OUT", Right),
        Column("AGE", Right),
        Column("REKEY IN", Right),
    ];
    let rows = all.iter().map(|t| {
        vec![
            t.name.clone(),
            state(t),
            t.remote.clone(),
            or_dash(t.suite.as_deref()),
            bytes(t.traffic_in.bytes),
            bytes(t.traffic_out.bytes),
            span_or(t.age_s, "-"),
            span_or(t.rekey_in_s, "-"),
        ]
    });
    let mut text = draw(&columns, rows);
    // A reason is a sentence: it has no place in a column.
    for t in all {
        if let Some(why) = &t.last_error {
            text.push_str(&format!("{}: {}\n", t.name, failure(why, t)));
        }
    }
    text
}

fn failure(why: &str, t: &TunnelStatus) -> String {
    let age = t.last_error_age_s.map(|age| format!(" ({} ago)", span(age))).unwrap_or_default();
    let retry = t.retry_in_s.map(|left| format!("; next attempt in {}", span(left))).unwrap_or_default();
    format!("{why}{age}{retry}")
}

pub(super) fn details(all: &[TunnelStatus]) -> String {
    all.iter().map(detail).collect::<Vec<_>>().join("\n")
}

fn detail(t: &TunnelStatus) -> String {
    let mut lines = vec![
        ("state", state(t)),
        ("local", format!("{} ({})", t.local, t.local_id)),
        ("remote", format!("{} ({})", t.remote, t.remote_id)),
        ("encapsulation", encapsulation(t)),
    ];
    lines.extend(t.interface.iter().map(|device| ("interface", device.clone())));
    lines.extend(t.vrf.iter().map(|vrf| ("VRF", vrf.clone())));
    lines.extend(t.outside_vrf.iter().map(|vrf| ("outside VRF", vrf.clone())));
    lines.extend(t.selectors.iter().map(|selector| ("selector", selector.clone())));
    for (what, list) in [("address", &t.addresses), ("DNS", &t.dns)] {
        if !list.is_empty() {
            lines.push((what, list.join(", ")));
        }
    }
    if let (Some(local), Some(remote)) = (&t.ike_spi_local, &t.ike_spi_remote) {
        lines.push((
            "IKE SA",
            format!("{local} (ours) {remote} (theirs), {}", or_dash(t.ike_suite.as_deref())),
        ));
        let resumed = if t.ike_resumed { ", resumed by a ticket" } else { "" };
        lines.push(("IKE age", format!("{}{resumed}", age(t.ike_age_s, t.ike_rekey_in_s))));
        if !t.credential.is_empty() {
            lines.push(("proof", t.credential.clone()));
        }
        lines.extend(t.ike_message_ids.map(|ids| ("exchanges", exchanges(ids, t.ike_exchange.as_deref()))));
        lines.extend(t.ike_ticket_for_s.map(|left| ("ticket", format!("good for {}", span(left)))));
    }
    if let (Some(inbound), Some(outbound)) = (&t.spi_in, &t.spi_out) {
        lines.push(("child SA", format!("{inbound} (in) {outbound} (out), {}", or_dash(t.suite.as_deref()))));
        lines.push(("child age", age(t.age_s, t.rekey_in_s)));
    }
    lines.push(("rekeys", t.rekeys.to_string()));
    lines.push(("in", traffic(t.traffic_in, t.idle_in_s)));
    lines.push(("out", traffic(t.traffic_out, t.idle_out_s)));
    for peer in &t.peers {
        let selectors = peer.selectors.join(", ");
        lines.push(("peer", format!("{} at {}, {}, {selectors}", peer.id, peer.remote, span(peer.age_s))));
    }
    if let Some(time) = t.one_way_s {
        lines.push(("one-way", format!("it has sent for {}, and received nothing", span(time))));
    }
    if let Some(why) = &t.last_error {
        lines.push(("last error", failure(why, t)));
    }
    format!("tunnel {}\n{}", t.name, fields(&lines))
}

fn exchanges((ours, theirs): (u32, u32), waits: Option<&str>) -> String {
    let waits = waits.map_or_else(String::new, |task| format!("; waits for the answer to {task}"));
    format!("next message id {ours} (ours) {theirs} (theirs){waits}")
}

fn state(t: &TunnelStatus) -> String {
    let name = t.state.name();
    if t.one_way_s.is_some() { format!("{name}, one-way") } else { name.to_owned() }
}

fn encapsulation(t: &TunnelStatus) -> String {
    let mode = if t.mode.as_deref() == Some("transport") { ", transport mode" } else { "" };
    format!("{}{mode}", or_dash(t.encapsulation.as_deref()))
}

fn age(age: Option<u64>, rekey: Option<u64>) -> String {
    format!("{}, rekey in {}", span_or(age, "-"), span_or(rekey, "-"))
}

fn traffic(t: Traffic, idle: Option<u64>) -> String {
    format!("{} packets, {}, {}", t.packets, bytes(t.bytes), last_used(idle))
}
