//! SIGHUP and `ravelin reload`: the file again, the difference, and nothing else.
//!
//! Decides: the order. First the kernel keeps back what is new, then the data plane has the new policies, then IKE
//! begins or ends tunnels; what protected the removed ones goes last. Reads: what was read.
//! Never: touches a tunnel that did not change; changes anything when the file has an error.

use super::own::Addresses;
use super::reading::Loaded;
use super::{Driver, DriverError, report, state, tables, uplink};
use crate::api::Reloaded;
use crate::config::{Config, Difference, Tunnel, diff};
use crate::metrics::Counter;
use ravelin_ike::config::Connection;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;
use tracing::{error, info, warn};

impl Driver {
    pub(super) async fn reload(&mut self, now: Instant, loaded: Loaded) -> Reloaded {
        let (ports, file) = (&self.core.config.ports, &self.options.config);
        let checked = loaded.and_then(|loaded| {
            loaded.0.keeps_vrfs_of(ports, file)?;
            Addresses::of(self.mirror.model()).agree(&loaded.0, file)?;
            Ok(loaded)
        });
        match checked.map(|loaded| self.prepare(loaded)) {
            Ok((config, connections, difference)) => {
                let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
                warnings.iter().for_each(|w| warn!("{w}"));
                let lines = difference.lines();
                match lines.is_empty() {
                    true => info!("configuration read again: nothing changed"),
                    false => info!(changes = lines.len(), "configuration read again"),
                }
                lines.iter().for_each(|line| info!("{line}"));
                self.core.metrics.count(Counter::Reloads);
                self.apply(now, config, connections).await;
                Reloaded::Applied { difference: lines, warnings }
            }
            Err(errors) => {
                self.core.metrics.count(Counter::ReloadsRefused);
                errors.errors.iter().for_each(|e| error!("{e}"));
                error!(
                    errors = errors.errors.len() + errors.more,
                    "configuration refused; nothing was changed"
                );
                Reloaded::Refused { errors }
            }
        }
    }

    fn prepare(
        &self,
        (mut config, mut connections): (Config, Vec<Connection>),
    ) -> (Config, Vec<Connection>, Difference) {
        // Numbers first: what is compared and configured below goes by them.
        config.keep_ids(&self.core.config);
        for connection in &mut connections {
            if let Some(tunnel) = config.tunnel(&connection.name) {
                connection.id = tunnel.connection_id();
            }
            for child in &mut connection.children {
                child.id = config.tunnel(&child.name).map_or(child.id, Tunnel::child_id);
            }
        }
        let mut difference = diff(&self.core.config, &config);
        let mut others = self.core.other_secrets(&connections);
        others.extend(self.core.config.other_manual_keys(&config));
        difference.add_secrets(&config, &others.iter().map(String::as_str).collect::<Vec<_>>());
        // What takes a restart stays as it is, and is said again at the next reload.
        let old = &self.core.config;
        let mut ports = old.ports.clone();
        config.admit_as(&mut ports);
        config.ports = ports;
        config.dataplane.clone_from(&old.dataplane);
        config.control.run_dir.clone_from(&old.control.run_dir);
        config.control.ike_port = old.control.ike_port;
        config.control.natt_port = old.control.natt_port;
        (config, connections, difference)
    }

    async fn apply(&mut self, now: Instant, config: Config, mut connections: Vec<Connection>) {
        let own = Addresses::of(self.mirror.model());
        uplink::localize(&config, &own, &mut connections);
        let addresses: BTreeSet<IpAddr> = self.mirror.model().addresses().collect();
        let given = |t: &Tunnel| self.core.given.addresses(t);
        let mut both = tables::protected_routes(&self.core.config, &addresses, given);
        both.extend(tables::protected_routes(&config, &addresses, given));
        let set: Result<(), DriverError> = self.set_routes(both).await;
        report("routes of the new configuration", set);
        self.core.config = config;
        self.follow_gateways(now, true);
        self.number_devices();
        self.kernel_due = Some(now); // routes lead into other devices, and those have other addresses
        if self.link.plane().is_some() {
            self.publish(tables::of_config(
                &self.core.config,
                &self.core.peers.selectors(),
                &self.devices.numbers,
            ));
        }
        match self.link.not_begun() {
            Some(waiting) => *waiting = connections,
            None => self.core.reconfigure(now, connections),
        }
        self.core.forget_removed();
        self.core.given.look();
        self.routes_due = true;
        if let Err(why) = state::save(&self.core.config.control.run_dir, &self.core.config) {
            warn!(%why, "the numbers of the tunnels could not be saved");
        }
    }
}

impl super::core::Core {
    /// Tunnels whose secret differs from what is in force.
    fn other_secrets(&self, connections: &[Connection]) -> Vec<String> {
        let proofs = |c: &Connection| {
            let all = core::iter::once(c).chain(&c.exchanges.backups);
            all.map(|c| (c.local_auth.clone(), c.remote_auth.clone(), c.ppk.clone())).collect::<Vec<_>>()
        };
        let differs =
            |c: &&Connection| self.connections.get(&c.id).is_some_and(|old| proofs(old) != proofs(c));
        connections.iter().filter(differs).map(|c| c.name.clone()).collect()
    }
}
