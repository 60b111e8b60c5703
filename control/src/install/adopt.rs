//! SAs that the control process before this one installed: they carry traffic until their successors do (R306).
//!
//! Decides: when they go. Never: takes one out that its tunnel still needs.

use super::{Half, Installer, Pair};
use ravelin_ike::record::PairRef;
use ravelin_ring::msg::{Direction, SaId, SaReport, TunnelId, WorkerId};
use ravelin_wire::Spi;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long SAs of the control process before this one stay after their successors carry traffic.
pub(super) const ADOPTED_GRACE: Duration = Duration::from_secs(10);

/// What the data plane holds of an earlier process, by tunnel, direction and SPI.
#[derive(Debug)]
pub struct AdoptedPairs(HashMap<(TunnelId, Direction, Spi), (SaId, bool)>);

impl AdoptedPairs {
    fn find(&self, pair: &PairRef) -> Option<(SaId, (SaId, bool))> {
        let tunnel = TunnelId(pair.child.0);
        let half = |direction, spi| self.0.get(&(tunnel, direction, spi)).copied();
        Some((half(Direction::Inbound, pair.inbound)?.0, half(Direction::Outbound, pair.outbound)?))
    }

    /// Whether the tunnel sends by this pair; `None`: it is not there, or not whole.
    pub fn in_use(&self, pair: &PairRef) -> Option<bool> {
        self.find(pair).map(|(_, (_, in_use))| in_use)
    }
}

impl Installer {
    pub fn adopted_pairs(&self) -> AdoptedPairs {
        let halves = self.adopted().filter(|h| !h.leaving);
        AdoptedPairs(
            halves
                .map(|h| {
                    let used = h.report.as_ref().is_some_and(|r| r.in_use);
                    ((h.tunnel, h.direction, h.spi), (h.id, used))
                })
                .collect(),
        )
    }

    /// These two belong to a pair that the engine goes on with: no successor is awaited, so none takes them away.
    pub fn bind(&mut self, there: &AdoptedPairs, pair: &PairRef, replay_window: u32) {
        let Some((inbound, (outbound, _))) = there.find(pair) else { return };
        let Some(owner) = self.halves.get(&inbound).map(|h| h.worker) else { return };
        let tunnel = TunnelId(pair.child.0);
        for id in [inbound, outbound] {
            self.adopted.remove(&(tunnel, id));
            if let Some(half) = self.halves.get_mut(&id) {
                half.pair = Some(pair.id);
                half.esn = pair.esn;
                half.replay_window = replay_window;
            }
        }
        self.pairs.insert(pair.id, Pair { inbound, outbound, tunnel, owner });
    }

    /// They end at this time, unless their successors come before.
    pub fn limit_adopted(&mut self, tunnel: TunnelId, at: Instant) {
        let of_tunnel = |h: &&Half| h.tunnel == tunnel && !h.leaving;
        let ids: Vec<SaId> = self.adopted().filter(of_tunnel).map(|h| h.id).collect();
        self.later.extend(ids.into_iter().map(|id| (at, id)));
    }

    /// An SA of an earlier control process, as a worker reported it.
    pub fn adopt(&mut self, now: Instant, worker: WorkerId, report: SaReport) {
        if report.direction == Direction::Inbound {
            self.spis.take(report.spi);
        }
        if report.in_use {
            self.in_use.insert(report.tunnel, report.id);
        }
        let half = Half {
            id: report.id,
            tunnel: report.tunnel,
            direction: report.direction,
            spi: report.spi,
            worker,
            pair: None,
            since: now,
            outside: report.outside,
            inside: report.inside,
            report: Some(report),
            leaving: false,
            esn: false,
            replay_window: 0,
        };
        self.adopted.insert((half.tunnel, half.id));
        self.halves.insert(half.id, half);
    }

    /// Takes out what was adopted for a tunnel that is not wanted (any more).
    pub fn drop_adopted(&mut self, unwanted: impl Fn(&Half) -> bool) {
        let ids: Vec<SaId> = self.adopted().filter(|h| unwanted(h)).map(|h| h.id).collect();
        for id in ids {
            let Some(tunnel) = self.halves.get(&id).map(|h| h.tunnel) else { continue };
            self.stop_if_used(tunnel, id);
            self.doom(id);
        }
    }

    /// Takes everything out of the data plane; its policies stay, so what they cover is dropped from now on.
    pub fn remove_everything(&mut self, now: Instant) {
        for child in self.pairs.keys().copied().collect::<Vec<_>>() {
            self.remove(now, child, Duration::ZERO);
        }
        self.drop_adopted(|_| true);
        self.remove_manual();
        self.expire(now);
    }

    /// The tunnel's own SAs carry traffic: those of the process before go, after what is on its way has come.
    pub(super) fn retire_adopted(&mut self, now: Instant, tunnel: TunnelId) {
        for (_, id) in self.adopted.range((tunnel, SaId(0))..=(tunnel, SaId(u64::MAX))) {
            if let Some(half) = self.halves.get_mut(id).filter(|half| !half.leaving) {
                half.leaving = true;
                self.later.push((now + ADOPTED_GRACE, half.id));
            }
        }
    }
}
