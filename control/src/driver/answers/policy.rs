//! What `show proposals` says (R224): the policy of each tunnel, and what came of it.
//!
//! Decides: nothing. Reads: the configuration, the engine's snapshot. Writes: nothing.

use super::super::core::Core;
use super::{Index, suite_of};
use crate::api::ProposalStatus;
use crate::config::{Tunnel, esp_text, ike_text, mode_text, way_text};
use std::time::Instant;

pub(in crate::driver) fn proposals(core: &Core, now: Instant, name: Option<&str>) -> Vec<ProposalStatus> {
    let snapshot = core.snapshot(now);
    let index = Index::of(&snapshot);
    let wanted = core.config.tunnels.iter().filter(|t| name.is_none_or(|n| t.name == n));
    wanted.map(|t| one(&index, t)).collect()
}

fn one(index: &Index<'_>, t: &Tunnel) -> ProposalStatus {
    let view = index.view(t);
    let by_ike = t.parent.is_none() && t.manual.is_none();
    ProposalStatus {
        tunnel: t.name.clone(),
        ike: t.ike_proposals.iter().filter(|_| by_ike).map(ike_text).collect(),
        ike_in_use: view.ike.and_then(|i| i.proposal.as_ref()).map(ike_text),
        protocol: if t.is_ah() { "ah" } else { "esp" }.to_owned(),
        child: t.esp_proposals.iter().map(esp_text).collect(),
        child_in_use: view.child.map(|c| suite_of(&c.proposal)),
        mode: mode_text(t.mode).to_owned(),
        auth: way_text(t.auth.local).to_owned(),
        remote_auth: way_text(t.auth.remote).to_owned(),
        ike_lifetime_s: t.ike_lifetime.as_secs(),
        lifetime_s: t.lifetime.as_secs(),
        lifebytes: t.bytes.soft,
        lifepackets: t.packets.soft,
    }
}
