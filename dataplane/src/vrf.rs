//! VRFs: routes and policies of their own for ports, devices and tunnels that belong to one (R132). What belongs to none is
//! of the main one.
//!
//! Decides: the VRF of a packet, by the way that it came; `vrf_inside` for what comes out of an SA that was made for another
//! VRF than the tables say of its tunnel; the routes and policies that hold there. Reads: what was compiled, SAs. Writes:
//! `Meta::vrf`. Never: asked where there is none but the main one, and no SA of another; lets a packet change its VRF, unless
//! a route of that VRF leads out of a port of another. What carries packets between gateways is [`outside`]'s.

mod outside;
mod store;

pub(crate) use outside::{guard, mark};
pub(crate) use store::Store;

use crate::batch::Batch;
use crate::nat::{NatSteering, Rules};
use crate::packet::{Door, Packet};
use crate::route::{self, Fib, Hop, NO_ROUTE};
use crate::sa::SaDb;
use crate::spd::{Answer, Query, Spd};
use crate::tables::Tables;
use crate::tables::hosts::Routed;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{InterfaceId, PortId, TunnelId, VrfId};
use ravelin_wire::AddrRange;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Those beside the main one.
#[derive(Debug, Default)]
pub(crate) struct Vrfs {
    list: Vec<Vrf>,
    ports: HashMap<PortId, VrfId>,
    interfaces: HashMap<InterfaceId, VrfId>,
    of_tunnel: HashMap<TunnelId, VrfId>,
    /// Of devices, then of policies in these VRFs, as they follow those of the main one's policies.
    tunnels: Vec<(TunnelId, bool)>,
}

#[derive(Debug)]
struct Vrf {
    id: VrfId,
    fib: Arc<Fib>,
    /// Places of its next hops follow those of the VRFs before.
    hops_from: u32,
    spd: Arc<Spd>,
    tunnels_from: u32,
    /// On its ports, by policies; by routes into tunnels, and what of those is the kernel's.
    steered: (Vec<AddrRange>, Routed),
    nat: Rules,
    /// What those rules have steered on its ports.
    translated: NatSteering,
}

impl Vrfs {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Tunnels of devices and of VRFs, and whether their packets wait for an SA.
    pub(crate) fn tunnels(&self) -> &[(TunnelId, bool)] {
        &self.tunnels
    }

    pub(crate) fn of_interface(&self, id: InterfaceId) -> VrfId {
        self.interfaces.get(&id).copied().unwrap_or(VrfId::MAIN)
    }

    fn of(&self, packet: &Packet, db: &mut SaDb) -> Result<VrfId, Drop> {
        let found = match packet.door {
            Door::Port(port) => self.ports.get(&port),
            Door::Device(id) | Door::Inner(id) => self.interfaces.get(&id),
            Door::Vrf(id) => return Ok(id),
            Door::Sa if packet.meta.opened => return self.of_sa(packet.meta.sa, db),
            Door::Sa | Door::Tun => None,
        };
        Ok(found.copied().unwrap_or(VrfId::MAIN))
    }

    /// Tables and SAs come by different rings: until both say the same, nothing comes out of the tunnel.
    fn of_sa(&self, place: u32, db: &mut SaDb) -> Result<VrfId, Drop> {
        let (_, sa) = db.inbound.both(place).ok_or(Drop::NoSa)?;
        let told = self.of_tunnel.get(&sa.tunnel).copied().unwrap_or(VrfId::MAIN);
        if told == sa.inside { Ok(told) } else { Err(Drop::VrfInside) }
    }

    /// What the XDP program of a port of one of these VRFs knows.
    pub(crate) fn steered_at(&self, port: PortId) -> Option<(&[AddrRange], &Routed, &NatSteering)> {
        let vrf = self.get(*self.ports.get(&port)?)?;
        Some((&vrf.steered.0, &vrf.steered.1, &vrf.translated))
    }

    pub(crate) fn nat(&self, id: VrfId) -> Option<&Rules> {
        self.get(id).map(|vrf| &vrf.nat)
    }

    /// In their order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = VrfId> {
        self.list.iter().map(|vrf| vrf.id)
    }

    pub(crate) fn has(&self, id: VrfId) -> bool {
        self.get(id).is_some()
    }

    fn get(&self, id: VrfId) -> Option<&Vrf> {
        self.list.iter().find(|vrf| vrf.id == id)
    }
}

/// Whether packets have to be asked about: there are VRFs, or SAs of some that there were.
#[inline]
pub(crate) fn any(db: &SaDb, tables: &Tables) -> bool {
    !tables.vrfs.is_empty() || db.has_vrfs()
}

/// The VRF of each packet of `clear`.
#[cold]
pub(crate) fn assign(batch: &mut Batch, clear: &[u16], db: &mut SaDb, tables: &Tables) {
    batch.each(clear, |packet| {
        packet.meta.vrf = tables.vrfs.of(packet, db)?;
        Ok(())
    });
}

impl Tables {
    /// The routes of a VRF, and where their places begin.
    pub(crate) fn fib_of(&self, vrf: VrfId) -> Option<(&Fib, u32)> {
        if vrf == VrfId::MAIN {
            return Some((&*self.fib, 0));
        }
        self.vrfs.get(vrf).map(|vrf| (&*vrf.fib, vrf.hops_from))
    }

    /// Place of the next hop towards `addr` in the VRF of a packet: of several the one that its flow takes.
    pub(crate) fn way_in_vrf(&self, packet: &Packet, addr: IpAddr) -> u32 {
        let Some((fib, from)) = self.fib_of(packet.meta.vrf) else { return NO_ROUTE };
        let place = fib.lookup_ip(addr);
        let up = |port| self.port(port).is_some_and(|link| link.up);
        let one = if Fib::is_several(place) { fib.choose(place, route::flow(packet), up) } else { place };
        from.saturating_add(one)
    }

    /// The policies of a VRF, and where the places of their tunnels begin.
    pub(crate) fn spd_of(&self, vrf: VrfId) -> Option<(&Spd, u32)> {
        if vrf == VrfId::MAIN {
            return Some((&*self.spd, 0));
        }
        self.vrfs.get(vrf).map(|vrf| (&*vrf.spd, vrf.tunnels_from))
    }

    #[cold]
    pub(crate) fn hop_of_vrf(&self, place: u32) -> Hop {
        let vrf = self.vrfs.list.iter().rev().find(|vrf| vrf.hops_from <= place);
        vrf.map_or(Hop::None, |vrf| vrf.fib.hop(place - vrf.hops_from))
    }

    /// How long the prefix of the route is by which a packet of the VRF goes.
    pub(crate) fn prefix_len(&self, vrf: VrfId, place: u32) -> u8 {
        self.fib_of(vrf).map_or(0, |(fib, from)| fib.prefix_len(place.saturating_sub(from)))
    }

    /// What the policies of the VRF say; a VRF that there is not lets nothing pass.
    pub(crate) fn policy(&self, vrf: VrfId, query: &Query) -> (Answer, u64) {
        if vrf == VrfId::MAIN {
            return self.spd.lookup(query);
        }
        let Some(vrf) = self.vrfs.get(vrf) else { return (Answer::Discard, 0) };
        match vrf.spd.lookup(query) {
            (Answer::Protect(place), order) => {
                (Answer::Protect(vrf.tunnels_from.saturating_add(place)), order)
            }
            other => other,
        }
    }
}
