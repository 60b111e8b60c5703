//! The stages of one case and direction, as a table or as one JSON object each.

use super::probe::Sums;
use crate::instrument::{Spread, emit, rounded};
use crate::way::plan::{Case, Head};
use serde::Serialize;

pub(super) struct Report<'r> {
    pub(super) case: &'r Case,
    pub(super) cold: bool,
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Line {
    bench: &'static str,
    stage: &'static str,
    dir: &'static str,
    #[serde(flatten)]
    head: Head,
    clk_per_packet: f64,
    min: f64,
    max: f64,
    /// Of the total.
    share: f64,
    windows: usize,
}

impl Report<'_> {
    /// `windows`: one each.
    pub(super) fn direction(&mut self, dir: &'static str, windows: &[&Sums]) -> anyhow::Result<()> {
        let rows = rows(windows);
        let total = Spread::of(windows.iter().map(|w| w.total()).collect());
        if !self.json {
            let Case { subject, size, tunnels, .. } = self.case;
            say!("\n{} {size} B, {tunnels} tunnels, {dir}", subject.name());
            say!("  {:<20}{:>8}  {:<19}{:>6}", "stage", "clk", "(least-greatest)", "share");
        }
        for (stage, clk) in rows.into_iter().chain([("total", total)]) {
            self.row(dir, stage, clk, clk.median / total.median, windows.len())?;
        }
        Ok(())
    }

    fn row(
        &self,
        dir: &'static str,
        stage: &'static str,
        clk: Spread,
        share: f64,
        windows: usize,
    ) -> anyhow::Result<()> {
        if !self.json {
            let noise = format!("({:.1}-{:.1})", clk.min, clk.max);
            say!("  {stage:<20}{:>8.1}  {noise:<19}{:>5.1}%", clk.median, share * 100.0);
            return Ok(());
        }
        emit(&Line {
            bench: "stage",
            stage,
            dir,
            head: Head::of(self.case, self.cold),
            clk_per_packet: rounded(clk.median, 1),
            min: rounded(clk.min, 1),
            max: rounded(clk.max, 1),
            share: rounded(share, 3),
            windows,
        })
    }
}

/// In the order of the way; what no packet came to is left out.
fn rows(windows: &[&Sums]) -> Vec<(&'static str, Spread)> {
    let Some(first) = windows.first() else { return vec![] };
    let used = first.stages().filter(|s| s.packets > 0);
    used.map(|stage| {
        let of = |w: &&Sums| w.stages().find(|s| s.name == stage.name).map(|s| w.per_packet(s));
        (stage.name, Spread::of(windows.iter().filter_map(of).collect()))
    })
    .collect()
}
