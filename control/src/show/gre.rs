//! `show gre [NAME]`.

use super::table::{Column, Side::Left, Side::Right, table as draw};
use super::{What, nothing};
use crate::api::GreStatus;

pub(super) fn text(all: &[GreStatus]) -> String {
    if all.is_empty() {
        return nothing(What::Gre).to_owned();
    }
    let columns = [
        Column("GRE", Left),
        Column("STATE", Left),
        Column("LOCAL", Left),
        Column("REMOTE", Left),
        Column("OPTIONS", Left),
        Column("MTU", Right),
        Column("PROTECTED BY", Left),
    ];
    let rows = all.iter().map(|it| {
        vec![
            it.name.clone(),
            if it.up { "up" } else { "down" }.to_owned(),
            it.local.clone(),
            it.remote.clone(),
            options(it),
            it.mtu.to_string(),
            it.protected_by.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let mut text = draw(&columns, rows);
    for it in all.iter().filter(|it| !it.up) {
        text.push_str(&format!("{}: {}\n", it.name, it.detail));
    }
    text
}

fn options(it: &GreStatus) -> String {
    let key = it.key.map(|key| format!("key {key}"));
    let words = [("checksum", it.checksum), ("sequence", it.sequence)];
    let words = words.iter().filter(|(_, on)| *on).map(|(word, _)| (*word).to_owned());
    let all: Vec<String> = key.into_iter().chain(words).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}
