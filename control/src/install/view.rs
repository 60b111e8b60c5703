//! What the installer knows of its SAs: reports taken in, questions answered.
//!
//! Decides: nothing. Never: counts a tunnel's packets down (R309).

use super::{Half, Installer};
use crate::metrics::Totals;
use ravelin_ike::event::ChildSaId;
use ravelin_ring::msg::{Direction, SaId, SaReport, TunnelId};
use std::collections::BTreeMap;
use tracing::debug;

impl Installer {
    pub fn report(&mut self, report: SaReport) {
        let Some(half) = self.halves.get_mut(&report.id) else {
            return debug!(sa = report.id.0, "report of an SA that is not ours");
        };
        let before = half.report.as_ref().map_or(0, |r| r.packets);
        if report.direction == Direction::Inbound && report.packets > before {
            self.alive.extend(half.pair);
        }
        half.report = Some(report);
    }

    /// Pairs that received packets since this was last asked.
    pub fn take_alive(&mut self) -> Vec<ChildSaId> {
        std::mem::take(&mut self.alive)
    }

    pub fn half(&self, id: SaId) -> Option<&Half> {
        self.halves.get(&id)
    }

    pub fn halves(&self) -> impl Iterator<Item = &Half> {
        self.halves.values()
    }

    pub fn adopted(&self) -> impl Iterator<Item = &Half> {
        self.halves.values().filter(|h| h.pair.is_none() && !self.manual.has(h.id))
    }

    pub fn in_use(&self, tunnel: TunnelId) -> Option<SaId> {
        self.in_use.get(&tunnel).copied()
    }

    /// Whether a question for reports is still open.
    pub fn is_reporting(&self) -> bool {
        self.reporting > 0
    }

    /// Whether any worker has something to answer yet.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.out.is_empty() && self.doomed.is_empty()
    }

    /// Of all SAs the tunnel ever had: never goes down (R309).
    pub fn totals(&self, tunnel: TunnelId) -> Totals {
        let mut totals = self.gone.get(&tunnel).copied().unwrap_or_default();
        for half in self.halves.values().filter(|h| h.tunnel == tunnel && !self.manual.goes_around(h.id)) {
            half.report.iter().for_each(|r| totals.add(r));
        }
        totals
    }

    /// [`Self::totals`] of every tunnel that ever had an SA.
    pub fn all_totals(&self) -> BTreeMap<TunnelId, Totals> {
        let mut all = self.gone.clone();
        for half in self.halves.values().filter(|h| !self.manual.goes_around(h.id)) {
            let totals = all.entry(half.tunnel).or_default();
            half.report.iter().for_each(|r| totals.add(r));
        }
        all
    }

    /// What `from` counted is `to`'s from now on: also what its SAs that still leave will say.
    pub fn hand_totals(&mut self, from: TunnelId, to: TunnelId) {
        if let Some(counted) = self.gone.remove(&from) {
            self.gone.entry(to).or_default().merge(counted);
        }
        for half in self.halves.values_mut().filter(|h| h.tunnel == from) {
            half.tunnel = to;
        }
    }

    /// A tunnel that was taken out of the configuration.
    pub fn forget_totals(&mut self, tunnel: TunnelId) {
        self.gone.remove(&tunnel);
    }
}
