//! Which of our addresses each tunnel goes by: the first of its own that a device which is up has (R59).
//!
//! Decides: that address. Reads: the host's addresses. Writes: connections of the engine, which moves what can be moved
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
        if let Some(local) = tunnel.and_then(|t| choose(t, usable)) {
            go_by(connection, local);
        }
    }
}

/// Where the host has none of them, everything stays as it is.
fn choose(tunnel: &Tunnel, usable: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    if tunnel.exchanges.local_backups.is_empty() {
        return None;
    }
    tunnel.locals().find(|addr| usable.contains(addr))
}

/// True: it is another one.
fn go_by(connection: &mut Connection, local: IpAddr) -> bool {
    for backup in &mut connection.exchanges.backups {
        backup.local = Some(local);
    }
    connection.local.replace(local) != Some(local)
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
            let Some(local) = choose(tunnel, usable) else { continue };
            if let Some(connection) = self.connections.get_mut(&ConnectionId(tunnel.id.0))
                && go_by(connection, local)
            {
                info!(tunnel = tunnel.name, "another address of ours from here on");
                moved.push(connection.clone());
            }
        }
        for connection in moved {
            self.reconfigure_one(now, connection);
        }
    }
}
