//! Tunnels none of whose addresses the machine has (R69, R71): no IKE, no SAs, until one is there.
//!
//! Decides: when an address counts as gone. Reads: the machine's addresses. Writes: commands of the engine, the installer's
//! list, the log. Never: takes a tunnel down that the operator took down, or brings that one up.

use super::Core;
use crate::config::Tunnel;
use crate::driver::own::{Addresses, by_route};
use crate::kernel::Model;
use crate::metrics::Counter;
use ravelin_ike::command::Command;
use ravelin_ike::config::{Connection, ConnectionId};
use ravelin_ring::msg::TunnelId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Whoever gives a device its addresses anew takes them away for a moment.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(in crate::driver) struct Gateways {
    seen: Addresses,
    missing: BTreeMap<TunnelId, Missing>,
}

#[derive(Debug)]
struct Missing {
    since: Instant,
    why: String,
    /// The time of grace is over.
    away: bool,
}

impl Gateways {
    /// Why the tunnel rests.
    pub(in crate::driver) fn why(&self, tunnel: &Tunnel) -> Option<&str> {
        let missing = self.missing.get(&tunnel.parent.unwrap_or(tunnel.id));
        missing.filter(|missing| missing.away).map(|missing| missing.why.as_str())
    }

    fn away(&self) -> impl Iterator<Item = TunnelId> {
        self.missing.iter().filter(|(_, missing)| missing.away).map(|(id, _)| *id)
    }
}

impl Core {
    /// Asks only where something may be different.
    pub(in crate::driver) fn follow_gateways(&mut self, now: Instant, model: &Model, anew: bool) {
        let own = Addresses::of(model);
        if !anew && own == self.gateways.seen && self.gateways.missing.is_empty() {
            return;
        }
        let mut local = by_route(model);
        let mut lacking: BTreeMap<TunnelId, String> = BTreeMap::new();
        for tunnel in self.config.tunnels.iter().filter(|t| t.parent.is_none()) {
            let why = own.lack(tunnel, self.config.outside(tunnel), &mut local);
            lacking.extend(why.map(|why| (tunnel.id, why)));
        }
        self.gateways.seen = own;
        let back: Vec<TunnelId> =
            self.gateways.missing.keys().filter(|id| !lacking.contains_key(id)).copied().collect();
        for id in back {
            if self.gateways.missing.remove(&id).is_some_and(|missing| missing.away) {
                self.address_back(now, id);
            }
        }
        // Nothing is up yet that a moment could cost.
        let grace = if self.begun { GRACE } else { Duration::ZERO };
        for (id, why) in lacking {
            let fresh = || Missing { since: now, why: String::new(), away: false };
            let missing = self.gateways.missing.entry(id).or_insert_with(fresh);
            missing.why.clone_from(&why);
            if !missing.away && now >= missing.since + grace {
                missing.away = true;
                self.address_gone(now, id, why);
            }
        }
    }

    fn address_gone(&mut self, now: Instant, id: TunnelId, why: String) {
        let name = self.name(ConnectionId(id.0));
        warn!(tunnel = name, why, "no IKE from this gateway until its address is there; SAs are cleared");
        self.metrics.count(Counter::GatewaysGone);
        self.notes.entry(id).or_default().last_error = Some((why, now));
        self.rest(now, id);
        let (config, peers) = (&self.config, &self.peers);
        let of_it = |id: TunnelId, t: TunnelId| {
            config.tunnel_by_id(peers.tunnel(t)).is_some_and(|t| t.connection_id().0 == id.0)
        };
        self.installer.drop_adopted(|half| of_it(id, half.tunnel));
    }

    fn address_back(&mut self, now: Instant, id: TunnelId) {
        if let Some(tunnel) = self.config.tunnel_by_id(id) {
            info!(tunnel = tunnel.name, "the gateway's address is there");
        }
        self.installer.manual_due(true);
        self.command(now, Command::Away { connection: ConnectionId(id.0), away: false });
    }

    fn rest(&mut self, now: Instant, id: TunnelId) {
        self.installer.manual_due(false);
        self.command(now, Command::Away { connection: ConnectionId(id.0), away: true });
    }

    /// The engine has gone on with what it had before.
    pub(in crate::driver) fn rest_again(&mut self, now: Instant) {
        for id in self.gateways.away().collect::<Vec<_>>() {
            self.rest(now, id);
        }
    }

    /// Whose address is gone is said first, so that nothing is begun.
    pub(super) fn configure(&mut self, now: Instant, mut connection: Connection) {
        let id = TunnelId(connection.id.0);
        if self.gateways.away().any(|away| away == id) {
            self.rest(now, id);
        }
        self.installer.fit(&mut connection);
        self.command(now, Command::Configure(Box::new(connection)));
    }
}
