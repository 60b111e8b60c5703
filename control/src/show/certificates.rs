//! `show certificates [TUNNEL]`: those that tunnels use.

use super::table::{Column, Side::Left, Side::Right, fields, table as draw};
use super::units::span;
use super::{What, nothing};
use crate::api::CertificateStatus;

pub(super) fn text(all: &[CertificateStatus], detail: bool) -> String {
    if all.is_empty() {
        return nothing(What::Certificates).to_owned();
    }
    if detail { all.iter().map(one).collect::<Vec<_>>().join("\n") } else { table(all) }
}

fn table(all: &[CertificateStatus]) -> String {
    let columns = [
        Column("ROLE", Left),
        Column("SUBJECT", Left),
        Column("KEY", Left),
        Column("STATE", Left),
        Column("ENDS IN", Right),
        Column("TUNNELS", Left),
    ];
    let rows = all.iter().map(|it| {
        let ends = if it.state == "expired" { "-".to_owned() } else { span(it.expires_in_s) };
        vec![it.role.clone(), name(it), it.key.clone(), it.state.clone(), ends, it.tunnels.join(" ")]
    });
    draw(&columns, rows)
}

/// Some have alternative names alone.
fn name(it: &CertificateStatus) -> String {
    if it.subject.is_empty() { it.names.join(", ") } else { it.subject.clone() }
}

fn one(it: &CertificateStatus) -> String {
    let usage = it.key_usage.as_ref().map_or_else(|| "not limited".to_owned(), |all| all.join(", "));
    let ends =
        if it.state == "expired" { String::new() } else { format!(", ends in {}", span(it.expires_in_s)) };
    let mut lines = vec![
        ("role", format!("{}{}", it.role, if it.is_ca { ", may sign certificates" } else { "" })),
        ("issuer", it.issuer.clone()),
        ("serial", it.serial.clone()),
        ("key", it.key.clone()),
        ("key usage", usage),
        ("state", format!("{}{ends}", it.state)),
        ("SHA-256", it.sha256.clone()),
        ("tunnels", it.tunnels.join(" ")),
    ];
    if !it.names.is_empty() {
        lines.insert(1, ("names", it.names.join(", ")));
    }
    format!("certificate {}\n{}", name(it), fields(&lines))
}
