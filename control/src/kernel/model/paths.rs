//! Routes with several next hops (ECMP).
//!
//! Decides: which next hops of a route the data plane gets; by which device IKE goes to a peer to whom several ways lead:
//! the one by which the data plane sends the ESP of its tunnels (R59). Never: follows the weights of next hops.

use super::{KernelRoute, Model};
use ravelin_ring::msg::{NextHop, VrfId};
use ravelin_ring::paths::{Flow, Key};
use ravelin_wire::Prefix;
use std::net::IpAddr;

/// Next hops of one route.
const MAX_HOPS: usize = 16;

impl Model {
    /// Those that leave by ports and tunnels; without any, the first.
    pub(super) fn next_hops(&self, vrf: VrfId, prefix: &Prefix) -> Vec<NextHop> {
        if vrf != VrfId::MAIN && !self.vrfs.tables.contains(&vrf) {
            return vec![];
        }
        if vrf != VrfId::MAIN && self.is_own(vrf, prefix) {
            return vec![NextHop::Local];
        }
        let list = self.routes.get(prefix).map(Vec::as_slice).unwrap_or_default();
        let ours = |r: &&KernelRoute| r.table.is_of(vrf);
        let Some(best) = list.iter().filter(ours).min_by_key(|r| (r.table, r.metric)) else { return vec![] };
        // The kernel may tell each next hop of an IPv6 route as a route of its own. Each link has its link-local network.
        let apart = match prefix.addr() {
            IpAddr::V6(addr) => !addr.is_unicast_link_local() && !addr.is_multicast(),
            IpAddr::V4(_) => false,
        };
        let same = |r: &&KernelRoute| {
            std::ptr::eq(*r, best) || apart && (r.table, r.metric) == (best.table, best.metric)
        };
        let all = list.iter().filter(same).flat_map(|route| &route.targets);
        let mut hops: Vec<NextHop> = Vec::new();
        for hop in all.map(|target| self.hop_of(target)) {
            if !hops.contains(&hop) {
                hops.push(hop);
            }
        }
        let ours = |hop: &NextHop| matches!(hop, NextHop::Port { .. } | NextHop::Interface(_));
        if hops.iter().any(ours) {
            hops.retain(ours);
            hops.truncate(MAX_HOPS);
        } else {
            hops.truncate(1);
        }
        hops
    }

    /// What the data plane was told.
    pub(super) fn told(&self, key: &(VrfId, Prefix)) -> impl Iterator<Item = NextHop> {
        let more = self.told_more.get(key).into_iter().flatten();
        self.told_routes.get(key).into_iter().chain(more).copied()
    }

    pub(super) fn note_told(&mut self, key: (VrfId, Prefix), hops: &[NextHop]) {
        match hops.split_first() {
            Some((first, more)) => {
                self.told_routes.insert(key, *first);
                if more.is_empty() {
                    self.told_more.remove(&key);
                } else {
                    self.told_more.insert(key, more.to_vec());
                }
            }
            None => {
                self.told_routes.remove(&key);
                self.told_more.remove(&key);
            }
        }
    }

    /// The device by which what goes to a peer has to leave. The main table may lead by a port of a VRF, the main VRF may not.
    pub fn uplink(&self, vrf: VrfId, local: IpAddr, remote: IpAddr) -> Uplink {
        if vrf == VrfId::MAIN && self.told_more.is_empty() && self.vrfs.members.is_empty() {
            return Uplink::Any;
        }
        let found = self.best_way(vrf, local, remote);
        if vrf == VrfId::MAIN {
            let device = found.and_then(|(hop, _)| self.device_of(hop));
            if device.is_some_and(|index| self.vrf_of(index) != vrf) {
                return Uplink::None;
            }
            return device.filter(|_| found.is_some_and(|(_, several)| several)).into();
        }
        // The kernel would ask its main table.
        match found.and_then(|(hop, _)| self.device_of(hop)) {
            Some(index) if self.vrf_of(index) == vrf => Uplink::Device(index),
            Some(_) | None => Uplink::None,
        }
    }

    /// The next hop that the flow between these two takes, as the data plane was told, and whether there are several.
    fn best_way(&self, vrf: VrfId, local: IpAddr, remote: IpAddr) -> Option<(NextHop, bool)> {
        let longest = if remote.is_ipv4() { 32 } else { 128 };
        let prefixes = (0..=longest).rev().filter_map(|len| Prefix::of(remote, len).ok());
        let mut keys = prefixes.map(|prefix| (vrf, prefix));
        let key = keys.find(|key| self.told_routes.contains_key(key))?;
        let flow = Flow::between(local, remote);
        let up = |hop: &NextHop| match hop {
            NextHop::Port { port, .. } => self.told_ports.get(&port.0).is_some_and(|port| port.up),
            NextHop::Local
            | NextHop::Tunnel
            | NextHop::Interface(_)
            | NextHop::Kernel
            | NextHop::Blackhole => true,
        };
        let best = self.told(&key).filter(up).max_by_key(|hop| flow.rank(Key::from(hop)))?;
        Some((best, self.told_more.contains_key(&key)))
    }

    fn device_of(&self, hop: NextHop) -> Option<u32> {
        match hop {
            NextHop::Port { port, .. } => self.port_index(port),
            NextHop::Local
            | NextHop::Tunnel
            | NextHop::Interface(_)
            | NextHop::Kernel
            | NextHop::Blackhole => None,
        }
    }
}

/// What IKE to a peer leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// There is one way only, which the kernel knows.
    Any,
    Device(u32),
    /// None of its VRF.
    None,
}

impl From<Option<u32>> for Uplink {
    fn from(device: Option<u32>) -> Self {
        device.map_or(Self::Any, Self::Device)
    }
}
