//! Which of our addresses each tunnel goes by: the first of its own that a device which is up has (R59); and by which device.
//!
//! Decides: that address, and which ones peers are told of. Reads: the host's addresses. Writes: connections of the engine, which moves what can be moved
//! (MOBIKE) and makes anew what cannot. Never: takes an address that the configuration does not name.

use super::Driver;
use super::core::Core;
use super::own::Addresses;
use crate::config::{Config, Tunnel};
use crate::kernel::Uplink;
use ravelin_ike::config::{Connection, ConnectionId};
use ravelin_ring::msg::{TunnelId, VrfId};
use std::net::IpAddr;
use std::time::Instant;
use tracing::info;

/// Connections by the addresses that there are.
pub(super) fn localize(config: &Config, own: &Addresses, connections: &mut [Connection]) {
    for connection in connections {
        let tunnel = config.tunnel_by_id(TunnelId(connection.id.0));
        if let Some((local, all)) = tunnel.and_then(|t| choose(t, config.outside(t), own)) {
            go_by(connection, local, all);
        }
    }
}

/// The one to go by, and all that there are. Where the host has none of them, everything stays as it is.
fn choose(tunnel: &Tunnel, vrf: VrfId, own: &Addresses) -> Option<(IpAddr, Vec<IpAddr>)> {
    if tunnel.exchanges.local_backups.is_empty() {
        return None;
    }
    let there: Vec<IpAddr> = tunnel.locals().filter(|addr| own.usable(tunnel, vrf, *addr)).collect();
    Some((*there.first()?, there))
}

/// Whether it goes by another one now, and whether anything about them changed.
fn go_by(connection: &mut Connection, local: IpAddr, own: Vec<IpAddr>) -> (bool, bool) {
    for backup in &mut connection.exchanges.backups {
        backup.local = Some(local);
    }
    let moved = connection.local.replace(local) != Some(local);
    let others = std::mem::replace(&mut connection.exchanges.own_addresses, own);
    (moved, moved || others != connection.exchanges.own_addresses)
}

impl Driver {
    /// Datagrams of IKE, each out of its VRF or not at all (R78), and by the way that its tunnel takes.
    pub(super) fn transmit(&mut self) {
        while let Some(t) = self.core.poll_transmit() {
            let vrf = VrfId(t.realm.0);
            let uplink = t.local.map(|local| self.mirror.model().uplink(vrf, local, t.remote.ip()));
            let device = match uplink {
                Some(Uplink::Device(index)) => Some(index),
                Some(Uplink::Any) => None,
                None if vrf == VrfId::MAIN => None,
                Some(Uplink::None) | None => {
                    self.sockets.counts.send_errors += 1;
                    continue;
                }
            };
            self.sockets.send(t.local, t.remote, t.natt, device, &t.datagram());
        }
    }

    /// Tunnels whose address is gone rest, those whose address is back begin; `anew`: the configuration is another one.
    pub(super) fn follow_gateways(&mut self, now: Instant, anew: bool) {
        self.core.follow_gateways(now, self.mirror.model(), anew);
    }

    /// The host's addresses may have changed.
    pub(super) fn choose_locals(&mut self) {
        let (now, own) = (Instant::now(), Addresses::of(self.mirror.model()));
        self.core.choose_locals(now, &own);
        self.follow_gateways(now, false);
    }
}

impl Core {
    fn choose_locals(&mut self, now: Instant, own: &Addresses) {
        let mut moved = Vec::new();
        for tunnel in &self.config.tunnels {
            let Some((local, all)) = choose(tunnel, self.config.outside(tunnel), own) else { continue };
            let Some(connection) = self.connections.get_mut(&ConnectionId(tunnel.id.0)) else { continue };
            let (other, changed) = go_by(connection, local, all);
            if other {
                info!(tunnel = tunnel.name, "another address of ours from here on");
            }
            if changed {
                moved.push(connection.clone());
            }
        }
        for connection in moved {
            self.reconfigure_one(now, connection);
        }
    }
}
