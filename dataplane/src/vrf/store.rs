//! What the control process told of VRFs, and what it compiles to.
//!
//! Decides: whether there is room. Reads: commands. Writes: [`Vrfs`]. Never: touches packets.

use super::{Vrf, Vrfs};
use crate::interface::Interfaces;
use crate::nat::{NatSteering, Rules};
use crate::route::Fib;
use crate::spd::Spd;
use crate::tables::hosts::routed;
use ravelin_ring::msg::{Action, InterfaceId, NatRule, NextHop, Policy, PortId, Route, VrfId, VrfPart};
use ravelin_wire::{AddrRange, Prefix};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Each costs a table of 256 KiB.
const MAX_VRFS: usize = 256;
/// Of one VRF.
const MAX_ENTRIES: usize = 1 << 17;

#[derive(Debug, Default)]
pub(crate) struct Store {
    members: Members,
    /// Of the last commit.
    kept: Members,
    routes: BTreeMap<VrfId, BTreeMap<Prefix, Vec<NextHop>>>,
}

/// What a gathering replaces whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Members {
    policies: BTreeMap<VrfId, Vec<Policy>>,
    ranges: BTreeMap<VrfId, Vec<AddrRange>>,
    ports: BTreeMap<PortId, VrfId>,
    interfaces: BTreeMap<InterfaceId, VrfId>,
    nat: BTreeMap<VrfId, Vec<NatRule>>,
}

impl Store {
    /// False: there is no room, or the main VRF is named.
    pub(crate) fn add(&mut self, vrf: VrfId, part: VrfPart) -> bool {
        let known = |me: &Self| me.ids().any(|id| id == vrf) || me.ids().count() < MAX_VRFS;
        if vrf == VrfId::MAIN || !known(self) {
            return false;
        }
        fn push<T>(list: &mut Vec<T>, item: T) -> bool {
            let room = list.len() < MAX_ENTRIES;
            if room {
                list.push(item);
            }
            room
        }
        let Self { members, routes, .. } = self;
        match part {
            VrfPart::Policy(policy) => push(members.policies.entry(vrf).or_default(), policy),
            VrfPart::Protected(range) => push(members.ranges.entry(vrf).or_default(), range),
            VrfPart::Port(port) => members.ports.insert(port, vrf).is_none(),
            VrfPart::Interface(id) => members.interfaces.insert(id, vrf).is_none(),
            VrfPart::Nat(rule) => push(members.nat.entry(vrf).or_default(), rule),
            VrfPart::AddRoute(Route { prefix, next_hop }) => {
                let table = routes.entry(vrf).or_default();
                let room = table.len() < MAX_ENTRIES;
                let hops = table.entry(prefix).or_default();
                if room && !hops.contains(&next_hop) && hops.len() < 64 {
                    hops.push(next_hop);
                }
                room
            }
            VrfPart::RemoveRoute(Route { prefix, next_hop }) => {
                let Some(table) = routes.get_mut(&vrf) else { return true };
                if let Some(hops) = table.get_mut(&prefix) {
                    hops.retain(|hop| *hop != next_hop);
                    if hops.is_empty() {
                        table.remove(&prefix);
                    }
                }
                true
            }
        }
    }

    pub(crate) fn clear_policies(&mut self) {
        self.members.policies.clear();
    }

    pub(crate) fn clear_ranges(&mut self) {
        self.members.ranges.clear();
    }

    pub(crate) fn clear_nat(&mut self) {
        self.members.nat.clear();
    }

    pub(crate) fn clear_members(&mut self) {
        self.members.ports.clear();
        self.members.interfaces.clear();
    }

    pub(crate) fn clear_routes(&mut self) {
        self.routes.clear();
    }

    pub(crate) fn restore(&mut self) {
        self.members.clone_from(&self.kept);
    }

    pub(crate) fn keep(&mut self) {
        if self.kept != self.members {
            self.kept.clone_from(&self.members);
        }
    }

    /// All that anything belongs to, in their order.
    fn ids(&self) -> impl Iterator<Item = VrfId> {
        let Members { policies, ranges, ports, interfaces, nat } = &self.members;
        let named = policies.keys().chain(ranges.keys()).chain(ports.values()).chain(interfaces.values());
        let named = named.chain(nat.keys());
        let all: std::collections::BTreeSet<VrfId> = named.chain(self.routes.keys()).copied().collect();
        all.into_iter()
    }

    /// The VRF of a port, if it is not the main one.
    pub(crate) fn of_port(&self, port: PortId) -> Option<VrfId> {
        self.members.ports.get(&port).copied()
    }

    /// What policies of a VRF have steered.
    pub(crate) fn ranges(&self, vrf: VrfId) -> &[AddrRange] {
        self.members.ranges.get(&vrf).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn nat(&self, vrf: VrfId) -> &[NatRule] {
        self.members.nat.get(&vrf).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn routes(&self, vrf: VrfId) -> &BTreeMap<Prefix, Vec<NextHop>> {
        const NONE: &BTreeMap<Prefix, Vec<NextHop>> = &BTreeMap::new();
        self.routes.get(&vrf).unwrap_or(NONE)
    }

    /// What its routes have steered since they lead into tunnels, and what of it stays the kernel's.
    pub(crate) fn routed(&self, vrf: VrfId) -> (Vec<Prefix>, Vec<Prefix>) {
        let Some(table) = self.routes.get(&vrf) else { return (vec![], vec![]) };
        let leads = |(prefix, hops): (&Prefix, &Vec<NextHop>)| {
            matches!(hops.first(), Some(NextHop::Interface(_))).then_some(*prefix)
        };
        routed(table, table.iter().filter_map(leads).collect())
    }

    pub(crate) fn compile(
        &self,
        main: (&Fib, &Spd),
        interfaces: &Interfaces,
        nat_of: impl Fn(VrfId) -> (Rules, NatSteering),
    ) -> Vrfs {
        let mut out = Vrfs {
            ports: self.members.ports.iter().map(|(port, vrf)| (*port, *vrf)).collect(),
            interfaces: self.members.interfaces.iter().map(|(id, vrf)| (*id, *vrf)).collect(),
            tunnels: interfaces.tunnels().to_vec(),
            ..Vrfs::default()
        };
        for (id, vrf) in &out.interfaces {
            out.of_tunnel.extend(interfaces.tunnel_of(*id).map(|tunnel| (tunnel, *vrf)));
        }
        let mut hops_from = main.0.places();
        for id in self.ids() {
            let policies = self.members.policies.get(&id).map_or(&[][..], Vec::as_slice);
            let table = self.routes.get(&id).into_iter().flatten();
            let fib = Fib::build(table.map(|(prefix, hops)| (*prefix, &hops[..])));
            let spd = Spd::compile(policies);
            for policy in policies {
                if let Action::Protect(tunnel) = policy.action {
                    out.of_tunnel.insert(tunnel, id);
                }
            }
            let before = main.1.tunnels().len() + out.tunnels.len();
            out.tunnels.extend_from_slice(spd.tunnels());
            let places = fib.places();
            let tunnels_from = u32::try_from(before).unwrap_or(u32::MAX);
            let steered = (self.ranges(id).to_vec(), self.routed(id));
            let (nat, translated) = nat_of(id);
            out.list.push(Vrf {
                id,
                fib: Arc::new(fib),
                hops_from,
                spd: Arc::new(spd),
                tunnels_from,
                steered,
                nat,
                translated,
            });
            hops_from = hops_from.saturating_add(places);
        }
        out
    }
}
