//! The outside of tunnels in VRFs: the same addresses of gateways may be others' in each (R68).
//!
//! Decides: `vrf_outside` for ESP and AH that came by a port of another VRF than that of their SA; the way to a peer, by
//! the routes of its VRF and out of its ports alone. Reads: what ports and SAs belong to. Writes: verdicts, and the VRF
//! of fragments. Never: takes an SPI for proof of where a packet may come from.

use super::Vrfs;
use crate::batch::Batch;
use crate::classify::Classes;
use crate::packet::{Door, Packet};
use crate::route::{Fib, Hop};
use crate::sa::SaDb;
use crate::tables::Tables;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{PortId, VrfId};
use ravelin_ring::paths::Flow;
use std::net::IpAddr;

/// Before anything looks at an SA for them. Those whose SA another worker has are asked there.
#[inline]
pub(crate) fn guard(batch: &mut Batch, classes: &Classes, db: &SaDb, tables: &Tables) {
    if super::any(db, tables) {
        judge(batch, classes, db, tables);
    }
}

#[cold]
fn judge(batch: &mut Batch, classes: &Classes, db: &SaDb, tables: &Tables) {
    let mut each = |places: &[u16], find: fn(&SaDb, u32) -> Option<u32>| {
        batch.each(places, |packet| {
            let sa =
                find(db, packet.meta.spi).and_then(|place| db.inbound.cold.get(place as usize)?.as_ref());
            match sa {
                Some(sa) if sa.outside != tables.vrfs.of_door(packet) => Err(Drop::VrfOutside),
                Some(_) | None => Ok(()),
            }
        });
    };
    each(&classes.esp, SaDb::find);
    each(&classes.ah, SaDb::find_ah);
}

/// The VRF by which a fragment came: it joins none of another.
#[cold]
pub(crate) fn mark(batch: &mut Batch, at: u16, tables: &Tables) {
    if let Some(packet) = batch.packets.get_mut(usize::from(at)).filter(|_| !tables.vrfs.is_empty()) {
        packet.meta.vrf = tables.vrfs.of_door(packet);
    }
}

impl Vrfs {
    fn of_door(&self, packet: &Packet) -> VrfId {
        match packet.door {
            Door::Port(port) => self.of_port(port),
            Door::Vrf(vrf) => vrf,
            Door::Tun | Door::Sa | Door::Device(_) | Door::Inner(_) => VrfId::MAIN,
        }
    }

    pub(crate) fn of_port(&self, port: PortId) -> VrfId {
        self.ports.get(&port).copied().unwrap_or(VrfId::MAIN)
    }
}

impl Tables {
    /// [`Self::way_between`] in the VRF where the gateways' addresses are. By ports of another VRF no answer could come.
    pub(crate) fn way_outside(&self, outside: VrfId, local: IpAddr, remote: IpAddr) -> Hop {
        let hop = if outside == VrfId::MAIN {
            self.way_between(local, remote)
        } else {
            self.way_between_in(outside, local, remote)
        };
        let strange = matches!(hop, Hop::Port { port, .. } if self.vrfs.of_port(port) != outside);
        if strange { Hop::None } else { hop }
    }

    fn way_between_in(&self, vrf: VrfId, local: IpAddr, remote: IpAddr) -> Hop {
        let Some(vrf) = self.vrfs.get(vrf) else { return Hop::None };
        let place = vrf.fib.lookup_ip(remote);
        let up = |port| self.port(port).is_some_and(|link| link.up);
        let several = Fib::is_several(place);
        let one = if several { vrf.fib.choose(place, Flow::between(local, remote), up) } else { place };
        vrf.fib.hop(one)
    }
}
