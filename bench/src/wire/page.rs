//! The report as a directory: index.md with tables, and the plots beside it.
//!
//! Reads: the rows of this run. Writes: the directory. Never: mixes runs; an index that is there is replaced.

use super::report::{Case, Figure, Row};
use crate::svg::{Line, Plot};
use core::fmt::Write as _;
use std::fs;
use std::path::Path;

pub(super) const NAME: &str = "index.md";

pub(super) fn write(dir: &Path, rows: &[Row]) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let (text, plots) = page(rows);
    for (name, svg) in plots {
        fs::write(dir.join(name), svg)?;
    }
    fs::write(dir.join(NAME), text)?;
    Ok(())
}

/// The text, and the plots by their file names.
fn page(rows: &[Row]) -> (String, Vec<(String, String)>) {
    let mut text = String::from(
        "# Ravelin on a wire\n\nRatios are against the plain AF_XDP forwarder on the same ports in this run.\n",
    );
    let mut plots = Vec::new();
    for group in groups(rows) {
        let Some(first) = group.first().map(|r| &r.case) else { continue };
        let (suite, dir) = (first.suite, first.dir);
        let _ = write!(text, "\n## {suite}, direction {dir}\n\n");
        for (plot, name) in [(rates(&group), "rate"), (delays(&group), "latency")] {
            if let Some(plot) = plot {
                let file = format!("{name}-{}-{dir}.svg", suite.replace(' ', "-"));
                let _ = write!(text, "![{}]({file})\n\n", plot.title);
                plots.push((file, plot.svg()));
            }
        }
        table(&mut text, &group);
    }
    (text, plots)
}

/// Rows of one suite and direction, in the order of their first.
fn groups(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut all: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let same = |group: &&mut Vec<&Row>| {
            group.first().is_some_and(|f| f.case.suite == row.case.suite && f.case.dir == row.case.dir)
        };
        match all.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => all.push(vec![row]),
        }
    }
    all
}

/// Rate by size, a line for each device; throughput where there is no rate.
fn rates(rows: &[&Row]) -> Option<Plot> {
    let kpps = |row: &Row, rate: bool| match &row.figure {
        Figure::Rate { kpps, .. } if rate => Some(*kpps),
        Figure::Throughput { kpps, loss, .. } if !rate && loss == "0%" => Some(*kpps),
        Figure::Rate { .. }
        | Figure::Throughput { .. }
        | Figure::Latency { .. }
        | Figure::Burst { .. }
        | Figure::Recovery { .. } => None,
    };
    let mut places: Vec<String> = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    for (is_rate, what) in [(true, "rate"), (false, "no-drop rate")] {
        for row in rows {
            let Some(value) = kpps(row, is_rate) else { continue };
            let name = format!("{}, {what}", row.case.device);
            put(&mut places, &mut lines, place(&row.case), name, value);
        }
    }
    finished("Packets per second by size", "inner packet, bytes", "kpps", places, lines)
}

/// Percentiles by load, of every device at its first size.
fn delays(rows: &[&Row]) -> Option<Plot> {
    let (mut places, mut lines) = (Vec::new(), Vec::new());
    let mut size = None;
    for row in rows {
        let Figure::Latency { load, p50_us, p99_us, p999_us, .. } = &row.figure else { continue };
        if place(&row.case) != *size.get_or_insert_with(|| place(&row.case)) {
            continue;
        }
        for (name, value) in [("p50", p50_us), ("p99", p99_us), ("p99.9", p999_us)] {
            let name = format!("{} {name}", row.case.device);
            put(&mut places, &mut lines, load.clone(), name, *value);
        }
    }
    let title = format!("Latency by load, {} bytes", size.unwrap_or_default());
    finished(&title, "share of the throughput", "µs", places, lines)
}

fn place(case: &Case) -> String {
    case.size.to_string()
}

fn put(places: &mut Vec<String>, lines: &mut Vec<Line>, place: String, name: String, value: f64) {
    let at = places.iter().position(|p| *p == place).unwrap_or_else(|| {
        places.push(place);
        places.len() - 1
    });
    let line = match lines.iter().position(|l| l.name == name) {
        Some(n) => &mut lines[n],
        None => {
            lines.push(Line { name, values: Vec::new() });
            let last = lines.len() - 1;
            &mut lines[last]
        }
    };
    line.values.resize(line.values.len().max(at + 1), None);
    line.values[at] = Some(value);
}

fn finished(title: &str, x: &str, y: &str, places: Vec<String>, mut lines: Vec<Line>) -> Option<Plot> {
    for line in &mut lines {
        line.values.resize(places.len(), None);
    }
    let (title, x_label, y_label) = (title.to_owned(), x.to_owned(), y.to_owned());
    (!lines.is_empty()).then_some(Plot { title, x_label, y_label, places, lines })
}

fn table(text: &mut String, rows: &[&Row]) {
    text.push_str("| device | size | tunnels | what | figure | ÷ plain |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let case = &row.case;
        let (what, figure, ratio) = cells(&row.figure);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {what} | {figure} | {ratio} |",
            case.device,
            place(case),
            case.tunnels
        );
    }
}

fn cells(figure: &Figure) -> (String, String, String) {
    match figure {
        Figure::Rate { kpps, kpps_min, kpps_max, gbits, ratio, ratio_min, ratio_max, generator, .. } => {
            let spread = match (ratio, ratio_min, ratio_max) {
                (Some(r), Some(min), Some(max)) => format!("{r:.2} ({min:.2} … {max:.2})"),
                _ => String::new(),
            };
            let figure = format!("{kpps:.0} kpps ({kpps_min:.0} … {kpps_max:.0}), {gbits:.2} Gbit/s");
            (format!("rate under overload, {generator}"), figure, spread)
        }
        Figure::Throughput { loss, kpps, gbits, ratio, generator_bound, disturbed, trials, .. } => {
            let bound = if *generator_bound == 1 { ", the generator's limit" } else { "" };
            let figure = format!(
                "{kpps:.0} kpps, {gbits:.2} Gbit/s{bound} ({disturbed} of {trials} trials disturbed)"
            );
            (format!("throughput at loss {loss}"), figure, ratio.map_or(String::new(), |r| format!("{r:.2}")))
        }
        Figure::Latency { load, kpps, p50_us, p99_us, p999_us, max_us, samples, lost, disturbed, .. } => {
            let noise = if *disturbed == 1 { ", disturbed" } else { "" };
            let figure = format!(
                "p50 {p50_us}, p99 {p99_us}, p99.9 {p999_us}, max {max_us} µs ({samples} samples at {kpps:.0} kpps, {lost} lost{noise})"
            );
            (format!("latency at {load}"), figure, String::new())
        }
        Figure::Burst { packets } => {
            ("longest burst without loss".to_owned(), format!("{packets} packets"), String::new())
        }
        Figure::Recovery { overload_kpps, after_kpps, recovery_ms, lost, .. } => (
            "recovery from overload".to_owned(),
            format!("{recovery_ms} ms ({overload_kpps:.0} → {after_kpps:.0} kpps, {lost} lost)"),
            String::new(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Delay, Recovery};
    use super::super::record::Percentiles;
    use super::super::report;
    use super::super::search::Found;
    use super::super::traffic::Size;
    use super::*;
    use crate::svg::tests::well_formed;

    fn rows() -> Vec<Row> {
        let mut rows = Vec::new();
        for device in ["plain forwarder", "ravelin"] {
            for size in [Size::Fixed(64), Size::Imix] {
                let (suite, dir) = ("aes-128-gcm", "out");
                let case = Case { device: device.into(), suite, dir, size, tunnels: 1, flows: 256 };
                let windows = [(1e6, false), (9e5, true)];
                let percentiles = Percentiles { samples: 9, p50: 10.0, p99: 20.0, p999: 30.0, max: 44.4 };
                let delay =
                    Delay { load: 50, offered: 5e5, lost: 0, slipped: 0, disturbed: true, percentiles };
                let found = Found { rate: 8e5, trials: 10, ..Found::default() };
                let back = Recovery { overload: 1e6, after: 4e5, seconds: 0.002, lost: 3, disturbed: false };
                let figures = [
                    report::rate(&case, "live", &windows, Some(&windows)),
                    report::throughput(&case, 0.0, &found, None),
                    report::latency(&delay),
                    Figure::Burst { packets: 2048 },
                    report::recovery(&back),
                ];
                rows.extend(figures.map(|figure| Row {
                    bench: "wire",
                    realtime: true,
                    case: case.clone(),
                    figure,
                }));
            }
        }
        rows
    }

    #[test]
    fn every_row_has_its_line_and_every_plot_its_lines() {
        let (text, plots) = page(&rows());
        assert_eq!(text.lines().filter(|l| l.starts_with("| ")).count(), rows().len() + 1, "{text}");
        assert_eq!(plots.len(), 2);
        for (name, svg) in &plots {
            well_formed(svg).unwrap();
            assert!(text.contains(&format!("({name})")), "{name} is shown");
        }
        let (rates, delays) = (&plots[0].1, &plots[1].1);
        assert_eq!(rates.matches("<circle").count(), 8, "two devices, two sizes, rate and throughput");
        assert_eq!(delays.matches("<circle").count(), 6, "two devices, three percentiles, one size and load");
        assert!(text.contains("1.00 (1.00 … 1.00)"), "{text}");
    }

    #[test]
    fn it_is_written_and_may_be_empty() {
        let dir = std::env::temp_dir().join(format!("ravelin-bench-page-{}", std::process::id()));
        write(&dir, &rows()).unwrap();
        let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name()).collect();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(page(&[]).1.is_empty());
    }
}
