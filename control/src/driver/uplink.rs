//! Which of our addresses each tunnel goes by: the first of its own that a device which is up has (R59).
//!
//! Decides: that address, and which ones peers are told of. Reads: the host's addresses. Writes: connections of the engine, which moves what can be moved
//! (MOBIKE) and makes anew what cannot. Never: takes an address that the configuration does not name.

use super::Driver;
use super::core::Core;
use crate::config::{Config, Tunnel};
use ravelin_ike::config::{Connection, ConnectionId};
use ravelin_ring::msg::TunnelId;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;
use tracing::info;

/// Connections by the addresses that there are.
pub(super) fn localize(config: &Config, usable: &BTreeSet<IpAddr>, connections: &mut [Connection]) {
    for connection in connections {
        let tunnel = config.tunnel_by_id(TunnelId(connection.id.0));
        if let Some((local, own)) = tunnel.and_then(|t| choose(t, usable)) {
            go_by(connection, local, own);
        }
    }
}

/// The one to go by, and all that there are. Where the host has none of them, everything stays as it is.
fn choose(tunnel: &Tunnel, usable: &BTreeSet<IpAddr>) -> Option<(IpAddr, Vec<IpAddr>)> {
    if tunnel.exchanges.local_backups.is_empty() {
        return None;
    }
    let there: Vec<IpAddr> = tunnel.locals().filter(|addr| usable.contains(addr)).collect();
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
    /// The host's addresses may have changed.
    pub(super) fn choose_locals(&mut self) {
        let usable = self.mirror.model().usable_addresses().collect();
        self.core.choose_locals(Instant::now(), &usable);
    }
}

impl Core {
    fn choose_locals(&mut self, now: Instant, usable: &BTreeSet<IpAddr>) {
        let mut moved = Vec::new();
        for tunnel in &self.config.tunnels {
            let Some((local, own)) = choose(tunnel, usable) else { continue };
            let Some(connection) = self.connections.get_mut(&ConnectionId(tunnel.id.0)) else { continue };
            let (other, changed) = go_by(connection, local, own);
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
