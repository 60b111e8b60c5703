//! What the run found: a table, JSON lines, or Markdown. The first device of a size is what the others are compared with.

use super::device::Device;
use super::ladder::Best;
use crate::instrument::{Spread, emit, rounded};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    /// Who could not be measured, and why.
    pub(super) failures: BTreeMap<&'static str, String>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} B", self.device.name(), self.size)
    }
}

pub(super) struct Row {
    pub(super) device: Device,
    pub(super) size: u16,
    pub(super) mode: String,
    pub(super) rounds: Vec<Best>,
}

#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    device: &'a str,
    mode: &'a str,
    size: u16,
    kpps: f64,
    kpps_min: f64,
    kpps_max: f64,
    gbits: f64,
    /// Highest rate of which at most one packet in a hundred was lost.
    lossless_kpps: f64,
    cores: f64,
    /// Ravelin's packets per second over this device's, in the same run.
    ravelin_is_times: f64,
}

impl Report {
    pub(super) fn say(&self, json: bool, markdown: Option<&Path>) -> anyhow::Result<()> {
        let lines: Vec<Line<'_>> = self.rows.iter().map(|row| self.line(row)).collect();
        let page = self.page(&lines);
        if let Some(path) = markdown {
            std::fs::write(path, &page)?;
            eprintln!("report: {}", path.display());
        }
        if json {
            return lines.iter().try_for_each(emit);
        }
        println!("{page}");
        Ok(())
    }

    fn line<'a>(&'a self, row: &'a Row) -> Line<'a> {
        let of = |row: &Row, pick: fn(&Best) -> f64| Spread::of(row.rounds.iter().map(pick).collect());
        let best = of(row, |b| b.delivered);
        let reference = self.rows.iter().find(|r| r.size == row.size && r.device == Device::Ravelin);
        let ours = reference.map_or(f64::NAN, |r| of(r, |b| b.delivered).median);
        Line {
            bench: "peers",
            device: row.device.name(),
            mode: &row.mode,
            size: row.size,
            kpps: rounded(best.median / 1e3, 1),
            kpps_min: rounded(best.min / 1e3, 1),
            kpps_max: rounded(best.max / 1e3, 1),
            gbits: rounded(best.median * f64::from(row.size) * 8.0 / 1e9, 3),
            lossless_kpps: rounded(of(row, |b| b.lossless).median / 1e3, 1),
            cores: rounded(of(row, |b| b.cores).median, 2),
            ravelin_is_times: rounded(ours / best.median, 2),
        }
    }

    /// Markdown that also reads well in a terminal.
    fn page(&self, lines: &[Line<'_>]) -> String {
        let mut out = String::from(
            "| device | size | kpps (min … max) | Gbit/s | kpps, loss ≤ 1 % | cores used | Ravelin is … times as fast | mode |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for l in lines {
            let _ = writeln!(
                out,
                "| {} | {} | {} ({} … {}) | {} | {} | {} | {} | {} |",
                l.device,
                l.size,
                l.kpps,
                l.kpps_min,
                l.kpps_max,
                l.gbits,
                l.lossless_kpps,
                l.cores,
                l.ravelin_is_times,
                l.mode
            );
        }
        for (device, why) in &self.failures {
            let _ = writeln!(out, "\n{device} was not measured: {why}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_compared_with_ravelin_at_the_same_size_by_their_medians() {
        let best = |kpps: f64| Best { delivered: kpps * 1e3, cores: 1.0, lossless: kpps * 900.0 };
        let row = |device, size, list: &[f64]| Row {
            device,
            size,
            mode: "m".into(),
            rounds: list.iter().copied().map(best).collect(),
        };
        let report = Report {
            rows: vec![
                row(Device::Ravelin, 64, &[900.0, 1000.0, 1100.0]),
                row(Device::WireguardGo, 64, &[100.0]),
                row(Device::WireguardGo, 1400, &[50.0]),
            ],
            failures: [("ipsec-secgw", "no ports".to_owned())].into(),
        };
        let lines: Vec<_> = report.rows.iter().map(|r| report.line(r)).collect();
        assert_eq!((lines[0].kpps, lines[0].ravelin_is_times), (1000.0, 1.0));
        assert_eq!((lines[1].ravelin_is_times, lines[1].gbits), (10.0, 0.051));
        assert!(lines[2].ravelin_is_times.is_nan(), "Ravelin was not measured at that size");
        assert!(report.page(&lines).contains("ipsec-secgw was not measured: no ports"));
    }
}
