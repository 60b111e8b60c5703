//! What the run found, as lines of text or one JSON object per line, and kept for the report's page.
//!
//! In JSON, strings and `size`, `tunnels`, `flows` say what was measured; everything else is a measurement.

use super::measure::{Delay, Recovery};
use super::search::Found;
use super::traffic::Size;
use crate::instrument::{Spread, emit, middle_half, rounded};
use serde::Serialize;

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Case {
    pub(super) device: String,
    pub(super) suite: &'static str,
    pub(super) dir: &'static str,
    /// In JSON a number or `imix`.
    pub(super) size: Size,
    pub(super) tunnels: u32,
    pub(super) flows: u16,
}

impl Case {
    fn label(&self) -> String {
        let size = match self.size {
            Size::Fixed(bytes) => format!("{bytes} B"),
            Size::Imix => "imix".to_owned(),
        };
        let many = match (self.tunnels, self.flows) {
            (1, _) => String::new(),
            (n, _) => format!(", {n} tunnels"),
        };
        format!("{} {} {size} {}{many}", self.suite, self.dir, self.device)
    }

    fn gbits(&self, pps: f64) -> f64 {
        rounded(pps * self.size.mean() * 8.0 / 1e9, 3)
    }
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub(super) enum Figure {
    /// More is offered than goes through.
    Rate {
        generator: &'static str,
        kpps: f64,
        kpps_min: f64,
        kpps_max: f64,
        gbits: f64,
        /// Against the plain forwarder's window just before, median and spread; 1 for itself, absent without one.
        #[serde(skip_serializing_if = "Option::is_none")]
        ratio: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ratio_min: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ratio_max: Option<f64>,
        /// Between these lies the middle half of the pairs.
        #[serde(skip_serializing_if = "Option::is_none")]
        ratio_low: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ratio_high: Option<f64>,
        windows: usize,
        disturbed: usize,
    },
    /// The greatest rate whose loss is no greater than `loss`.
    Throughput {
        loss: String,
        kpps: f64,
        gbits: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        ratio: Option<f64>,
        /// 1: the generator could not offer more.
        generator_bound: u8,
        /// 1: the search ended by its bound of trials.
        cut_short: u8,
        trials: u32,
        disturbed: u32,
    },
    Latency {
        /// Share of the throughput.
        load: String,
        kpps: f64,
        p50_us: f64,
        p99_us: f64,
        p999_us: f64,
        max_us: f64,
        samples: u64,
        lost: u64,
        /// Packets that were due and that the tester could not send in time.
        slipped: u64,
        disturbed: u8,
    },
    /// Packets in a row at the generator's full speed without loss.
    Burst { packets: u64 },
    /// After 110 % of the throughput, at half of it.
    Recovery { overload_kpps: f64, after_kpps: f64, recovery_ms: f64, lost: u64, disturbed: u8 },
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Row {
    pub(super) bench: &'static str,
    /// Whether tester and device had it.
    pub(super) realtime: bool,
    #[serde(flatten)]
    pub(super) case: Case,
    #[serde(flatten)]
    pub(super) figure: Figure,
}

pub(super) struct Report {
    json: bool,
    realtime: bool,
    pub(super) rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(json: bool, realtime: bool) -> Self {
        Self { json, realtime, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, case: &Case, figure: Figure) -> anyhow::Result<()> {
        let row = Row { bench: "wire", realtime: self.realtime, case: case.clone(), figure };
        if self.json {
            emit(&row)?
        } else {
            say!("{}", row.text())
        }
        self.rows.push(row);
        Ok(())
    }
}

/// `windows`: packets per second and whether disturbed; `plain`: the reference's window before each.
pub(super) fn rate(
    case: &Case,
    generator: &'static str,
    windows: &[(f64, bool)],
    plain: Option<&[(f64, bool)]>,
) -> Figure {
    let pps = Spread::of(windows.iter().map(|w| w.0).collect());
    let pairs: Option<Vec<f64>> =
        plain.map(|plain| windows.iter().zip(plain).map(|(w, p)| w.0 / p.0.max(f64::MIN_POSITIVE)).collect());
    let half = pairs.clone().map(middle_half);
    let ratios = pairs.map(Spread::of);
    Figure::Rate {
        generator,
        kpps: kilo(pps.median),
        kpps_min: kilo(pps.min),
        kpps_max: kilo(pps.max),
        gbits: case.gbits(pps.median),
        ratio: ratios.map(|r| rounded(r.median, 3)),
        ratio_min: ratios.map(|r| rounded(r.min, 3)),
        ratio_max: ratios.map(|r| rounded(r.max, 3)),
        ratio_low: half.map(|h| rounded(h.0, 3)),
        ratio_high: half.map(|h| rounded(h.1, 3)),
        windows: windows.len(),
        disturbed: windows.iter().filter(|w| w.1).count(),
    }
}

pub(super) fn throughput(case: &Case, loss: f64, found: &Found, plain: Option<f64>) -> Figure {
    Figure::Throughput {
        loss: percent(loss),
        kpps: kilo(found.rate),
        gbits: case.gbits(found.rate),
        ratio: plain.filter(|p| *p > 0.0).map(|p| rounded(found.rate / p, 3)),
        generator_bound: found.generator_bound.into(),
        cut_short: found.cut_short.into(),
        trials: found.trials,
        disturbed: found.disturbed,
    }
}

pub(super) fn latency(delay: &Delay) -> Figure {
    let p = delay.percentiles;
    Figure::Latency {
        load: format!("{}%", delay.load),
        kpps: kilo(delay.offered),
        p50_us: rounded(p.p50, 1),
        p99_us: rounded(p.p99, 1),
        p999_us: rounded(p.p999, 1),
        max_us: rounded(p.max, 1),
        samples: p.samples,
        lost: delay.lost,
        slipped: delay.slipped,
        disturbed: delay.disturbed.into(),
    }
}

pub(super) fn recovery(recovery: &Recovery) -> Figure {
    Figure::Recovery {
        overload_kpps: kilo(recovery.overload),
        after_kpps: kilo(recovery.after),
        recovery_ms: rounded(recovery.seconds * 1e3, 3),
        lost: recovery.lost,
        disturbed: recovery.disturbed.into(),
    }
}

fn kilo(pps: f64) -> f64 {
    rounded(pps / 1e3, 1)
}

/// A share as the command line has it.
pub(super) fn percent(share: f64) -> String {
    format!("{}%", rounded(share * 100.0, 6))
}

impl Row {
    fn rate(&self) -> String {
        let Figure::Rate { kpps, kpps_min, kpps_max, gbits, generator, windows, disturbed, .. } =
            &self.figure
        else {
            return String::new();
        };
        let against = self.figure.against().map_or(String::new(), |a| format!(", {a}"));
        let priority = if self.realtime { "real-time" } else { "no real-time priority" };
        format!(
            "{kpps:.0} kpps ({kpps_min:.0} … {kpps_max:.0}), {gbits:.2} Gbit/s{against} [overload, {generator}, {disturbed} of {windows} windows disturbed, {priority}]"
        )
    }

    fn text(&self) -> String {
        let label = self.case.label();
        match &self.figure {
            Figure::Rate { .. } => format!("{label}: {}", self.rate()),
            Figure::Throughput { loss, kpps, gbits, ratio, generator_bound, trials, disturbed, .. } => {
                let against = ratio.map_or(String::new(), |r| format!(", {r:.2} x plain"));
                let bound = if *generator_bound == 1 { ", the generator's limit" } else { "" };
                format!(
                    "{label}: throughput at loss {loss}: {kpps:.0} kpps, {gbits:.2} Gbit/s{against}{bound} [{trials} trials, {disturbed} disturbed]"
                )
            }
            Figure::Latency { load, kpps, p50_us, p99_us, p999_us, max_us, samples, lost, .. } => format!(
                "{label}: latency at {load} ({kpps:.0} kpps): p50 {p50_us} p99 {p99_us} p99.9 {p999_us} max {max_us} µs [{samples} samples, {lost} lost]"
            ),
            Figure::Burst { packets } => format!("{label}: longest burst without loss: {packets} packets"),
            Figure::Recovery { overload_kpps, after_kpps, recovery_ms, lost, .. } => format!(
                "{label}: after {overload_kpps:.0} kpps, at {after_kpps:.0}: loss-free within {recovery_ms} ms [{lost} lost]"
            ),
        }
    }
}

impl Figure {
    /// Of a rate: the ratio to the forwarder and how far the pairs lie apart.
    pub(super) fn against(&self) -> Option<String> {
        let Self::Rate { ratio, ratio_low, ratio_high, ratio_min, ratio_max, .. } = self else { return None };
        let ((r, low), (high, min), max) =
            (ratio.zip(*ratio_low)?, ratio_high.zip(*ratio_min)?, (*ratio_max)?);
        Some(format!("{r:.2} x plain (half of the pairs {low:.2} … {high:.2}, all {min:.2} … {max:.2})"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Percentiles;
    use super::*;
    use serde_json::Value;

    fn case() -> Case {
        let (suite, dir, size) = ("aes-128-gcm", "out", Size::Fixed(64));
        Case { device: "ravelin".into(), suite, dir, size, tunnels: 1, flows: 256 }
    }

    fn json(figure: Figure) -> Value {
        serde_json::to_value(Row { bench: "wire", realtime: true, case: case(), figure }).unwrap()
    }

    #[test]
    fn ratios_are_of_windows_next_to_each_other() {
        // The machine slows down by half in between: the ratio stays.
        let ours = [(900e3, false), (800e3, false), (450e3, true)];
        let plain = [(1000e3, false), (1000e3, false), (500e3, false)];
        let row = json(rate(&case(), "live", &ours, Some(&plain)));
        assert_eq!(
            (&row["ratio"], &row["ratio_min"], &row["ratio_max"]),
            (&0.9.into(), &0.8.into(), &0.9.into())
        );
        assert_eq!(
            (&row["kpps"], &row["kpps_min"], &row["kpps_max"]),
            (&800.0.into(), &450.0.into(), &900.0.into())
        );
        assert_eq!((&row["ratio_low"], &row["ratio_high"]), (&0.9.into(), &0.9.into()));
        assert_eq!((&row["windows"], &row["disturbed"]), (&3.into(), &1.into()));
        let alone = json(rate(&case(), "live", &ours, None));
        assert!(alone.get("ratio").is_none());
    }

    /// What `compare` relies on: only strings, `size`, `tunnels` and `flows` say what was measured.
    #[test]
    fn every_row_says_what_it_is() {
        let percentiles = Percentiles { samples: 5, p50: 1.26, p99: 2.0, p999: 3.0, max: 4.0 };
        let delay = Delay { load: 50, offered: 1e5, lost: 0, slipped: 0, disturbed: false, percentiles };
        let back = Recovery { overload: 2e6, after: 1e6, seconds: 0.0021, lost: 7, disturbed: true };
        let found = Found { rate: 640_000.0, trials: 12, generator_bound: true, ..Found::default() };
        let rows = [
            (json(rate(&case(), "afxdp", &[(1e6, false)], None)), "rate"),
            (json(throughput(&case(), 0.0001, &found, Some(800_000.0))), "throughput"),
            (json(latency(&delay)), "latency"),
            (json(Figure::Burst { packets: 2048 }), "burst"),
            (json(recovery(&back)), "recovery"),
        ];
        for (row, what) in &rows {
            let row = row.as_object().unwrap();
            for (key, value) in [("bench", "wire"), ("what", what), ("suite", "aes-128-gcm"), ("dir", "out")]
            {
                assert_eq!(row[key], value, "{what}");
            }
            assert_eq!((&row["size"], &row["tunnels"], &row["flows"]), (&64.into(), &1.into(), &256.into()));
            assert!(row.iter().all(|(k, v)| v.is_string() || v.is_number() || k == "realtime"), "{row:?}");
            assert_eq!(row["realtime"], true);
        }
        assert_eq!((&rows[1].0["loss"], &rows[1].0["ratio"]), (&"0.01%".into(), &0.8.into()));
        assert_eq!((&rows[2].0["load"], &rows[2].0["p50_us"]), (&"50%".into(), &1.3.into()));
        assert_eq!(rows[4].0["recovery_ms"], 2.1);
    }

    #[test]
    fn a_mix_is_named_and_counts_by_its_mean() {
        let case = Case { size: Size::Imix, ..case() };
        let figure = rate(&case, "afxdp", &[(1e6, false)], None);
        let row = serde_json::to_value(Row { bench: "wire", realtime: true, case, figure }).unwrap();
        assert_eq!((&row["size"], &row["gbits"]), (&"imix".into(), &2.768.into()));
    }

    #[test]
    fn a_line_names_the_unit() {
        let figure = rate(&case(), "afxdp", &[(1e6, false)], Some(&[(2e6, false)]));
        let text = Row { bench: "wire", realtime: true, case: case(), figure }.text();
        assert!(text.contains("aes-128-gcm out 64 B ravelin: 1000 kpps"), "{text}");
        assert!(text.contains("0.50 x plain (half of the pairs 0.50 … 0.50, all 0.50 … 0.50)"), "{text}");
        assert!(text.contains("0 of 1 windows disturbed, real-time]"), "{text}");
    }
}
