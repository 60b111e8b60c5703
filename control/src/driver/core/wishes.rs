//! What the operator and the traffic want up, and what is kept down; tunnels with keys by hand, which are up while nobody holds them
//! down.
//!
//! Decides: who is asked, the engine or the installer. Reads: the configuration. Writes: commands, the installer's list. Never: installs anything
//! before the tables are in force.

use super::Core;
use crate::config::{Config, Tunnel};
use crate::feedback;
use crate::install::ManualSas;
use ravelin_ike::command::Command;
use ravelin_ike::config::ConnectionId;
use ravelin_ring::msg::TunnelId;
use std::time::Instant;

impl Core {
    pub(in crate::driver) fn up(&mut self, now: Instant, tunnel: TunnelId) {
        self.held.remove(&tunnel);
        self.installer.manual_due(true);
        self.initiate(now, tunnel);
        self.settle(now);
    }

    pub(in crate::driver) fn down(&mut self, now: Instant, tunnel: TunnelId) {
        self.held.insert(tunnel);
        self.installer.manual_due(false);
        self.command(now, Command::Terminate { connection: ConnectionId(tunnel.0) });
        self.installer.drop_adopted(|half| half.tunnel == tunnel);
    }

    /// Said before the engine is told of them.
    pub(super) fn keep_down(&mut self, now: Instant) {
        for id in self.held.iter().map(|id| ConnectionId(id.0)).collect::<Vec<_>>() {
            self.command(now, Command::Terminate { connection: id });
        }
    }

    pub(in crate::driver) fn is_held(&self, tunnel: &Tunnel) -> bool {
        self.held.contains(&tunnel.parent.unwrap_or(tunnel.id))
    }

    pub(super) fn initiate(&mut self, now: Instant, tunnel: TunnelId) {
        let by_ike = self.config.tunnel_by_id(tunnel).filter(|t| t.manual.is_none());
        if let Some(command) = by_ike.map(feedback::initiate) {
            self.endpoint.handle_command(now, command);
        }
    }

    /// The tables are in force: keys by hand may be installed.
    pub(in crate::driver) fn begin_manual(&mut self) {
        self.begun = true;
        self.installer.manual_due(true);
    }

    pub(in crate::driver) fn follow_manual(&mut self, now: Instant) {
        if !self.connected || !self.begun || !self.installer.take_manual_due() {
            return;
        }
        let rests = |t: &Tunnel| self.is_held(t) || self.gateways.why(t).is_some();
        let tunnels = self.config.tunnels.iter().filter(|t| !rests(t));
        let vrfs = |t: &Tunnel| (self.config.outside(t), self.config.inside(t));
        let wanted = tunnels.filter_map(|t| ManualSas::of(t, vrfs(t), &self.id_salt)).collect();
        self.installer.follow_manual(now, wanted);
    }
}

impl Config {
    /// Tunnels that have manual SAs here and there, with other keys.
    pub(in crate::driver) fn other_manual_keys(&self, new: &Self) -> Vec<String> {
        let keys = |t: &Tunnel| -> Option<Vec<_>> {
            Some(t.manual.as_ref()?.sas().map(|sa| sa.keys.clone()).collect())
        };
        let differs = |after: &&Tunnel| {
            let before = self.tunnel(&after.name).and_then(keys);
            before.is_some_and(|before| keys(after).is_some_and(|after| after != before))
        };
        new.tunnels.iter().filter(differs).map(|t| t.name.clone()).collect()
    }
}
