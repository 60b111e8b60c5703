//! Which tables of the kernel are VRFs, and which devices belong to them.
//!
//! Decides: whether a route concerns anybody. Reads: what the configuration says. Never: talks to the kernel.

use super::model::Table;
use ravelin_ring::msg::{Route, TableCommand, VrfId, VrfPart};
use ravelin_wire::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Default)]
pub(super) struct Vrfs {
    /// By name.
    pub(super) members: BTreeMap<String, VrfId>,
    pub(super) tables: BTreeSet<VrfId>,
    /// Not any more; what was told of them is to be taken back.
    pub(super) gone: BTreeSet<VrfId>,
}

impl Vrfs {
    /// True: there are tables that were none before.
    pub(super) fn follow(&mut self, members: BTreeMap<String, VrfId>, tables: BTreeSet<VrfId>) -> bool {
        let more = tables.difference(&self.tables).next().is_some();
        self.gone.extend(self.tables.difference(&tables).copied());
        self.gone.retain(|vrf| !tables.contains(vrf));
        (self.members, self.tables) = (members, tables);
        more
    }

    pub(super) fn has(&self, table: Table) -> bool {
        match table {
            Table::Local | Table::Main => true,
            Table::Vrf(vrf) => self.tables.contains(&vrf),
        }
    }
}

impl Table {
    pub(super) fn is_of(self, vrf: VrfId) -> bool {
        match self {
            Self::Local | Self::Main => vrf == VrfId::MAIN,
            Self::Vrf(own) => own == vrf,
        }
    }
}

/// The prefix that is this address alone.
pub(super) fn single(addr: IpAddr) -> Option<Prefix> {
    Prefix::of(addr, if addr.is_ipv4() { 32 } else { 128 }).ok()
}

pub(super) fn addition(vrf: VrfId, route: Route) -> TableCommand {
    match vrf {
        VrfId::MAIN => TableCommand::AddRoute(route),
        _ => TableCommand::InVrf { vrf, part: VrfPart::AddRoute(route) },
    }
}

pub(super) fn removal(vrf: VrfId, route: Route) -> TableCommand {
    match vrf {
        VrfId::MAIN => TableCommand::RemoveRoute(route),
        _ => TableCommand::InVrf { vrf, part: VrfPart::RemoveRoute(route) },
    }
}
