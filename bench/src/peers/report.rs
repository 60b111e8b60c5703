//! What the run found: a table, JSON lines, or Markdown. The first device of a size is what the others are compared with.

use super::device::Device;
use super::ladder::Best;
use crate::instrument::{Spread, emit, rounded};
use crate::svg::{self, Plot};
use anyhow::{Context, ensure};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    /// Who could not be measured, or not in every turn.
    pub(super) failures: BTreeMap<&'static str, Failure>,
}

#[derive(Debug, Default)]
pub(super) struct Failure {
    pub(super) times: u32,
    /// The last time.
    pub(super) why: String,
}

#[derive(Serialize)]
struct FailureLine<'a> {
    bench: &'a str,
    device: &'a str,
    failed: u32,
    why: &'a str,
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
    /// Ravelin's packets per second over this device's, in the same run: with ChaCha20-Poly1305 where the device has
    /// that and Ravelin was measured so, else with AES-128-GCM.
    ravelin_is_times: f64,
}

impl Report {
    pub(super) fn say(&self, json: bool, report: Option<&Path>) -> anyhow::Result<()> {
        let lines: Vec<Line<'_>> = self.rows.iter().map(|row| self.line(row)).collect();
        let page = self.page(&lines);
        if let Some(dir) = report {
            write(dir, &page, &plot(&lines))
                .with_context(|| format!("writing the report to {}", dir.display()))?;
        }
        if json {
            lines.iter().try_for_each(emit)?;
            let failures = self.failures.iter();
            failures
                .map(|(device, f)| FailureLine { bench: "peers", device, failed: f.times, why: &f.why })
                .try_for_each(|l| emit(&l))?;
        } else {
            say!("{page}");
        }
        ensure!(!lines.is_empty(), "nobody could be measured: see above");
        Ok(())
    }

    fn line<'a>(&'a self, row: &'a Row) -> Line<'a> {
        let of = |row: &Row, pick: fn(&Best) -> f64| Spread::of(row.rounds.iter().map(pick).collect());
        let best = of(row, |b| b.delivered);
        let same_size = |device| self.rows.iter().find(move |r| r.size == row.size && r.device == device);
        let reference = match row.device {
            Device::WireguardGo | Device::RavelinChacha => same_size(Device::RavelinChacha),
            Device::Ravelin | Device::IpsecSecgw | Device::Strongswan => None,
        };
        let reference = reference.or_else(|| same_size(Device::Ravelin));
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
        for (device, failure) in &self.failures {
            let what = match self.rows.iter().any(|row| row.device.name() == *device) {
                true => "was not measured in every turn",
                false => "was not measured",
            };
            let _ = writeln!(out, "\n{device} {what}: {}", failure.why);
        }
        out
    }
}

/// Rate by size, a line for each device.
fn plot(lines: &[Line<'_>]) -> Plot {
    let sizes: BTreeSet<u16> = lines.iter().map(|l| l.size).collect();
    let mut devices: Vec<&str> = Vec::new();
    lines.iter().for_each(|l| {
        if !devices.contains(&l.device) {
            devices.push(l.device)
        }
    });
    let rate =
        |device: &str, size| lines.iter().find(|l| l.device == device && l.size == size).map(|l| l.kpps);
    let of = |device: &str| svg::Line {
        name: device.to_owned(),
        values: sizes.iter().map(|size| rate(device, *size)).collect(),
    };
    Plot {
        title: "Packets per second by size, one way".to_owned(),
        x_label: "inner packet, bytes".to_owned(),
        y_label: "kpps".to_owned(),
        places: sizes.iter().map(u16::to_string).collect(),
        lines: devices.into_iter().map(of).collect(),
    }
}

fn write(dir: &Path, table: &str, plot: &Plot) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("peers.svg"), plot.svg())?;
    let head = "# Ravelin beside other gateways in user space\n\nSame generator, sink and veths, in turns in one run; \
                medians of the rounds.";
    let index = dir.join("index.md");
    std::fs::write(&index, format!("{head}\n\n![{}](peers.svg)\n\n{table}", plot.title))?;
    eprintln!("report: {}", index.display());
    Ok(())
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
            failures: ["ipsec-secgw", "wireguard-go"]
                .map(|d| (d, Failure { times: 1, why: "no ports".into() }))
                .into(),
        };
        let lines: Vec<_> = report.rows.iter().map(|r| report.line(r)).collect();
        assert_eq!((lines[0].kpps, lines[0].ravelin_is_times), (1000.0, 1.0));
        assert_eq!((lines[1].ravelin_is_times, lines[1].gbits), (10.0, 0.051));
        assert!(lines[2].ravelin_is_times.is_nan(), "Ravelin was not measured at that size");
        let page = report.page(&lines);
        assert!(page.contains("ipsec-secgw was not measured: no ports"), "{page}");
        assert!(page.contains("wireguard-go was not measured in every turn"), "{page}");
        let svg = plot(&lines).svg();
        svg::tests::well_formed(&svg).unwrap();
        assert_eq!(svg.matches("<circle").count(), 3, "one for each row");
    }

    #[test]
    fn who_has_wireguards_cipher_is_compared_with_ravelins_use_of_it() {
        let best = |kpps: f64| vec![Best { delivered: kpps * 1e3, cores: 1.0, lossless: 0.0 }];
        let row = |device, kpps| Row { device, size: 64, mode: "m".into(), rounds: best(kpps) };
        let rows = [(Device::Ravelin, 900.0), (Device::RavelinChacha, 600.0), (Device::WireguardGo, 100.0)];
        let report = Report { rows: rows.map(|(d, kpps)| row(d, kpps)).into(), failures: BTreeMap::new() };
        let times: Vec<f64> = report.rows.iter().map(|r| report.line(r).ravelin_is_times).collect();
        assert_eq!(times, [1.0, 1.0, 6.0]);
    }
}
