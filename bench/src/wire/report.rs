//! What the run found, as a table or as one JSON object per line.

use serde::Serialize;

pub(super) struct Report {
    json: bool,
    rows: Vec<Row>,
}

/// One suite at one size; packets per second, one figure per window.
pub(super) struct Row {
    pub(super) suite: &'static str,
    pub(super) size: u16,
    pub(super) plain: Vec<f64>,
    pub(super) gateway: Vec<f64>,
}

#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    suite: &'a str,
    size: u16,
    kpps: f64,
    kpps_min: f64,
    kpps_max: f64,
    gbits: f64,
    /// Against the plain forwarder of the same size in the same run; 1 for itself.
    ratio: f64,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        if !json {
            println!(
                "{:<28} {:>5} {:>9} {:>19} {:>8} {:>9}",
                "what", "size", "kpps", "min … max", "Gbit/s", "÷ plain"
            );
        }
        Self { json, rows: Vec::new() }
    }

    pub(super) fn plain(&mut self, size: u16, figures: &[f64]) {
        self.line("plain forwarder", size, figures, figures);
    }

    pub(super) fn add(&mut self, row: Row) {
        self.line(row.suite, row.size, &row.gateway, &row.plain);
        self.rows.push(row);
    }

    fn line(&self, suite: &str, size: u16, figures: &[f64], plain: &[f64]) {
        let (min, kpps, max) = spread(figures);
        let ratio = kpps / spread(plain).1.max(f64::MIN_POSITIVE);
        let gbits = kpps * 1e3 * f64::from(size) * 8.0 / 1e9;
        if self.json {
            let line = Line { bench: "wire", suite, size, kpps, kpps_min: min, kpps_max: max, gbits, ratio };
            // Floats and strings always serialise.
            println!("{}", serde_json::to_string(&line).unwrap_or_default());
        } else {
            let noise = format!("{min:.0} … {max:.0}");
            println!("{suite:<28} {size:>5} {kpps:>9.0} {noise:>19} {gbits:>8.2} {ratio:>9.2}");
        }
    }

    /// One line that needs no table to be understood.
    pub(super) fn finish(&self) {
        if self.json {
            return;
        }
        for row in &self.rows {
            let (plain, gateway) = (spread(&row.plain).1, spread(&row.gateway).1);
            println!(
                "{} at {} B: {gateway:.0} kpps through the tunnel, {plain:.0} kpps plain, ratio {:.2}",
                row.suite,
                row.size,
                gateway / plain.max(f64::MIN_POSITIVE)
            );
        }
    }
}

/// Minimum, median and maximum in thousands.
fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(0.0) / 1e3;
    (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_quoted_in_thousands() {
        assert_eq!(spread(&[3e3, 1e3, 9e3]), (1.0, 3.0, 9.0));
        assert_eq!(spread(&[]), (0.0, 0.0, 0.0));
    }
}
