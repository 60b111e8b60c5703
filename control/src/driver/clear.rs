//! `ravelin clear`: chosen SAs are deleted, with a word to their peers; what is wanted up comes back by itself (R232 to R234).
//!
//! Decides: which SAs are meant. Reads: the engine's snapshot, the installer's list. Writes: commands of the engine, the
//! installer's list. Never: keeps a tunnel down (that is `down`).

use super::core::Core;
use crate::api::{Clear, Cleared};
use crate::config::Tunnel;
use crate::install::Half;
use crate::metrics::Totals;
use ravelin_ike::command::Command;
use ravelin_ike::config::ChildId;
use ravelin_ike::snapshot::{ChildSaInfo, IkeSaInfo, Role};
use ravelin_ring::msg::{Direction, TunnelId};
use std::net::IpAddr;
use std::time::Instant;
use tracing::info;

/// What the operator named; all of it has to fit.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    /// It, or a child of it.
    pub(super) tunnel: Option<TunnelId>,
    pub(super) peer: Option<IpAddr>,
    pub(super) spi: Option<u32>,
}

impl Chosen {
    fn tunnel(&self, tunnel: &Tunnel) -> bool {
        self.tunnel.is_none_or(|id| tunnel.id == id || tunnel.parent == Some(id))
    }

    fn peer(&self, peer: IpAddr) -> bool {
        self.peer.is_none_or(|wanted| wanted == peer)
    }

    fn spi(&self, spis: [u32; 2]) -> bool {
        self.spi.is_none_or(|wanted| spis.contains(&wanted))
    }
}

impl Core {
    pub(super) fn clear(&mut self, now: Instant, what: Clear, chosen: &Chosen) -> Vec<Cleared> {
        let cleared = match what {
            Clear::Ike => self.clear_ike(now, chosen),
            Clear::Sas => self.clear_sas(now, chosen),
            Clear::Counters => self.clear_counters(chosen),
        };
        for it in &cleared {
            info!(tunnel = it.tunnel, spi = it.spi, ?what, "cleared by the operator");
        }
        cleared
    }

    fn clear_ike(&mut self, now: Instant, chosen: &Chosen) -> Vec<Cleared> {
        let mut out = Vec::new();
        for sa in self.snapshot(now).ike_sas {
            let tunnel = sa.connection.and_then(|id| self.tunnel_of(TunnelId(self.peers.connection(id).0)));
            let leaving = matches!(sa.state, "deleting" | "closed" | "rekeyed");
            let Some(tunnel) = tunnel.filter(|t| !leaving && chosen.tunnel(t)) else { continue };
            if chosen.peer(sa.remote.ip()) {
                out.push(Cleared {
                    tunnel: tunnel.name.clone(),
                    peer: Some(sa.remote.ip().to_string()),
                    spi: Some(format!("{:016x}", own_spi(&sa))),
                });
                self.command(now, Command::ClearIke(sa.id));
            }
        }
        // What an earlier process left, and no IKE SA owns.
        out.extend(self.clear_adopted(now, chosen));
        out
    }

    fn clear_sas(&mut self, now: Instant, chosen: &Chosen) -> Vec<Cleared> {
        let mut out = Vec::new();
        for pair in self.snapshot(now).ike_sas.into_iter().flat_map(|sa| sa.children) {
            let Some(tunnel) = self.of_child(pair.child).filter(|t| chosen.tunnel(t)) else { continue };
            let leaving = matches!(pair.state, "rekeyed" | "deleting");
            if !leaving && chosen.peer(pair.remote.ip()) && chosen.spi(spis(&pair)) {
                out.push(Cleared {
                    tunnel: tunnel.name.clone(),
                    peer: Some(pair.remote.ip().to_string()),
                    spi: Some(format!("{:08x}", pair.inbound_spi.get())),
                });
                self.command(now, Command::ClearChild(pair.id));
            }
        }
        out.extend(self.clear_adopted(now, chosen));
        out
    }

    /// Nobody can tell their peers: they go, and their tunnels get others.
    fn clear_adopted(&mut self, now: Instant, chosen: &Chosen) -> Vec<Cleared> {
        let fits = |half: &&Half| {
            let remote = half.report.as_ref().map(|report| report.remote.ip());
            !half.leaving
                && half.direction == Direction::Inbound
                && chosen.spi([half.spi.get(); 2])
                && remote.is_none_or(|remote| chosen.peer(remote))
                && self.tunnel_of(self.peers.tunnel(half.tunnel)).is_some_and(|t| chosen.tunnel(t))
        };
        let found: Vec<(TunnelId, Cleared)> = self
            .installer
            .adopted()
            .filter(fits)
            .filter_map(|half| {
                let id = self.peers.tunnel(half.tunnel);
                let peer = half.report.as_ref().map(|report| report.remote.ip().to_string());
                let spi = Some(format!("{:08x}", half.spi.get()));
                Some((half.tunnel, Cleared { tunnel: self.tunnel_of(id)?.name.clone(), peer, spi }))
            })
            .collect();
        for (tunnel, _) in &found {
            self.installer.drop_adopted(|half| half.tunnel == *tunnel);
            self.acquire(now, *tunnel, None);
        }
        self.settle(now);
        found.into_iter().map(|(_, cleared)| cleared).collect()
    }

    /// What is counted for ever stays as it is (R309); what is shown counts from here.
    fn clear_counters(&mut self, chosen: &Chosen) -> Vec<Cleared> {
        let all = self.installer.all_totals();
        let mut out = Vec::new();
        for tunnel in self.config.tunnels.iter().filter(|t| chosen.tunnel(t)) {
            let mut counted = Totals::default();
            for (_, more) in all.iter().filter(|(id, _)| self.peers.tunnel(**id) == tunnel.id) {
                counted.merge(*more);
            }
            let note = self.notes.entry(tunnel.id).or_default();
            (note.counted_before, note.rekeys) = (counted, 0);
            out.push(Cleared { tunnel: tunnel.name.clone(), peer: None, spi: None });
        }
        out
    }

    fn tunnel_of(&self, id: TunnelId) -> Option<&Tunnel> {
        self.config.tunnel_by_id(id)
    }

    fn of_child(&self, child: ChildId) -> Option<&Tunnel> {
        self.tunnel_of(self.peers.tunnel(TunnelId(child.0)))
    }
}

fn own_spi(sa: &IkeSaInfo) -> u64 {
    if sa.role == Role::Initiator { sa.initiator_spi } else { sa.responder_spi }
}

fn spis(pair: &ChildSaInfo) -> [u32; 2] {
    [pair.inbound_spi.get(), pair.outbound_spi.get()]
}
