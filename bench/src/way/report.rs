//! The figures of one case, as a row of the table or as one JSON object for each direction.

use super::measure::{Figure, Figures};
use super::plan::{Case, Head};
use crate::instrument::{Clock, emit, rounded};
use serde::Serialize;

#[derive(Serialize)]
struct Line {
    bench: &'static str,
    dir: &'static str,
    #[serde(flatten)]
    head: Head,
    clk_per_packet: f64,
    min: f64,
    max: f64,
    mpps: f64,
    allocs_per_packet: f64,
    windows: usize,
    disturbed: usize,
}

pub(super) fn head(clock: &Clock) {
    say!("time-stamp counter {:.2} GHz; clk per packet: median (least-greatest)", clock.hz() / 1e9);
    say!(
        "{:<26}{:>5}{:>8}{:>8}  {:<29}{:<29}{:>6}",
        "suite",
        "size",
        "tunnels",
        "flows",
        "out",
        "in",
        "allocs"
    );
}

pub(super) fn row(clock: &Clock, case: &Case, figures: &Figures) {
    let cell = |f: &Figure| {
        let s = f.clk;
        format!("{:.0} ({:.0}-{:.0}) {:.1} Mpps", s.median, s.min, s.max, clock.mpps(s.median))
    };
    let note = if figures.disturbed > 0 {
        format!("  {} of {} windows disturbed", figures.disturbed, figures.windows)
    } else {
        String::new()
    };
    say!(
        "{:<26}{:>5}{:>8}{:>8}  {:<29}{:<29}{:>6}{note}",
        case.subject.name(),
        case.size.to_string(),
        case.tunnels,
        case.traffic().flows(),
        cell(&figures.out),
        cell(&figures.back),
        rounded(figures.out.allocs + figures.back.allocs, 3),
    );
}

pub(super) fn lines(clock: &Clock, case: &Case, cold: bool, figures: &Figures) -> anyhow::Result<()> {
    for (dir, figure) in [("out", figures.out), ("in", figures.back)] {
        emit(&line(clock, case, cold, figures, dir, figure))?;
    }
    Ok(())
}

fn line(
    clock: &Clock,
    case: &Case,
    cold: bool,
    figures: &Figures,
    dir: &'static str,
    figure: Figure,
) -> Line {
    Line {
        bench: "way",
        dir,
        head: Head::of(case, cold),
        clk_per_packet: rounded(figure.clk.median, 1),
        min: rounded(figure.clk.min, 1),
        max: rounded(figure.clk.max, 1),
        mpps: rounded(clock.mpps(figure.clk.median), 2),
        allocs_per_packet: figure.allocs,
        windows: figures.windows,
        disturbed: figures.disturbed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instrument::Spread;
    use crate::suites::SuiteName;
    use crate::way::plan::Subject;
    use crate::way::traffic::Size;

    /// The names and types that others read: R-bench's line, and what is beside it.
    #[test]
    fn a_line_has_the_fields_that_are_promised() {
        let clk = Spread { median: 135.04, min: 120.0, max: 200.0 };
        let figure = Figure { clk, allocs: 0.0 };
        let figures = Figures { out: figure, back: figure, windows: 31, disturbed: 0 };
        let subject = Subject::Suite(SuiteName::Aes256Gcm);
        let case = Case { subject, size: Size::Bytes(64), tunnels: 1, flows: 64 };
        let text =
            serde_json::to_string(&line(&Clock::new(), &case, false, &figures, "out", figure)).unwrap();
        let start = r#"{"bench":"way","dir":"out","suite":"aes-256-gcm","size":64,"tunnels":1,"flows":64,"cold":false,"#;
        assert!(text.starts_with(start), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["clk_per_packet"], 135.0);
        for number in ["min", "max", "mpps", "allocs_per_packet", "windows", "disturbed"] {
            assert!(value[number].is_number(), "{number}");
        }
    }
}
