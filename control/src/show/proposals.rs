//! `show proposals [TUNNEL]`: the policy of each tunnel, what is in use marked.

use super::table::fields;
use super::units::{bytes, span};
use super::{What, nothing};
use crate::api::ProposalStatus;

pub(super) fn text(all: &[ProposalStatus]) -> String {
    if all.is_empty() {
        return nothing(What::Proposals).to_owned();
    }
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(it: &ProposalStatus) -> String {
    let mut lines = vec![("proof", proof(it))];
    lines.extend(listed("IKE", &it.ike, it.ike_in_use.as_deref()));
    if !it.ike.is_empty() {
        lines.push(("IKE lifetime", span(it.ike_lifetime_s)));
    }
    let (protocol, mode) = (it.protocol.to_uppercase(), &it.mode);
    lines.push(("child", format!("{protocol} in {mode} mode")));
    lines.extend(listed(&it.protocol, &it.child, it.child_in_use.as_deref()));
    lines.push(("lifetime", lifetime(it)));
    format!("tunnel {}\n{}", it.tunnel, fields(&lines))
}

/// The first one in the order of preference that both sides have is taken.
fn listed(kind: &str, all: &[String], used: Option<&str>) -> Vec<(&'static str, String)> {
    let name = if kind == "IKE" { "IKE proposal" } else { "proposal" };
    let mark = |proposal: &String| {
        let used = used.is_some_and(|used| proposal == used);
        (name, format!("{proposal}{}", if used { " (in use)" } else { "" }))
    };
    let mut lines: Vec<_> = all.iter().map(mark).collect();
    // Without its key exchange, or of a peer that the list has changed under.
    if let Some(used) = used.filter(|used| all.iter().all(|one| one != used)) {
        lines.push((name, format!("{used} (in use)")));
    }
    lines
}

fn proof(it: &ProposalStatus) -> String {
    if it.auth == it.remote_auth {
        it.auth.clone()
    } else {
        format!("{} (ours), {} (theirs)", it.auth, it.remote_auth)
    }
}

fn lifetime(it: &ProposalStatus) -> String {
    let mut text = span(it.lifetime_s);
    if it.lifebytes > 0 {
        text.push_str(&format!(", {}", bytes(it.lifebytes)));
    }
    if it.lifepackets > 0 {
        text.push_str(&format!(", {} packets", it.lifepackets));
    }
    text
}
