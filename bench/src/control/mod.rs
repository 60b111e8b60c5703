//! What control costs: SAs installed while traffic flows, loading many of them, memory, reloads under load.
//!
//! Decides: which figures are made and how they are said. Everything goes to a real data plane in a process of its own,
//! through the real rings; reloads go to a real control process by SIGHUP. Never: judges a figure.

pub(crate) mod plane;
mod installs;
mod load;
mod memory;
mod reload;

use crate::instrument::{Progress, Spread, emit, interrupt, rounded};
use serde::Serialize;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench control --quick
  ravelin-bench control --only installs,load --sas 100000
  ravelin-bench control --only reload --json

installs: SAs per second through the ring into a running data plane, idle and under traffic
load:     time to load the tables of many tunnels and many SAs, resident memory per SA
memory:   bytes per SA of each suite, counted in memory (keys, selectors and indexes included)
reload:   SIGHUP to ravelin-control under numbered traffic through two gateways: lost packets / offered rate";

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    Installs,
    Load,
    Memory,
    Reload,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Ends within a minute: fewer repetitions, a smaller reload
    #[arg(long)]
    quick: bool,
    /// Parts to run, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "installs,load,memory,reload")]
    only: Vec<Part>,
    /// Tunnels to load (1 to 200000)
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    tunnels: u32,
    /// SAs to load, half of each direction (2 to 1000000)
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    sas: u32,
    /// Datagrams per second of the traffic during reloads
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pps: u64,
    /// Core of the data plane under test
    #[arg(long, default_value_t = 1)]
    core: u16,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    interrupt::watch()?;
    let steps = options.only.len();
    let mut progress =
        Progress::new("control", steps, Duration::from_secs(if options.quick { 40 } else { 120 }));
    let out = Output { json: options.json };
    for part in &options.only {
        match part {
            Part::Installs => installs::run(options, &mut progress, &out)?,
            Part::Load => load::run(options, &mut progress, &out)?,
            Part::Memory => memory::run(options, &mut progress, &out)?,
            Part::Reload => reload::run(options, &mut progress, &out)?,
        }
    }
    Ok(())
}

/// Says one figure, as a line of the table or of JSON.
struct Output {
    json: bool,
}

/// What was measured, by how much, in which unit.
#[derive(Serialize)]
struct Figure<'a> {
    bench: &'a str,
    what: &'a str,
    #[serde(rename = "case")]
    case: &'a str,
    unit: &'a str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
}

impl Output {
    fn say(&self, what: &str, case: &str, value: f64, unit: &str) -> anyhow::Result<()> {
        self.figure(Figure {
            bench: "control",
            what,
            case,
            unit,
            value: rounded(value, 3),
            min: None,
            max: None,
        })
    }

    /// The median of several, and how far they lie apart.
    fn say_spread(&self, what: &str, case: &str, of: Spread, unit: &str) -> anyhow::Result<()> {
        let [value, min, max] = [of.median, of.min, of.max].map(|f| rounded(f, 3));
        self.figure(Figure { bench: "control", what, case, unit, value, min: Some(min), max: Some(max) })
    }

    fn figure(&self, figure: Figure<'_>) -> anyhow::Result<()> {
        if self.json {
            return emit(&figure);
        }
        let Figure { what, case, unit, value, min, max, .. } = figure;
        let noise = min.zip(max).map_or_else(String::new, |(l, g)| format!(" ({}-{})", shown(l), shown(g)));
        say!("{what:<38} {case:<48} {:>10} {unit}{noise}", shown(value));
        Ok(())
    }
}

/// Three digits that mean something, and no more than are needed.
fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The commands of one installation, for tests of whatever takes them.
#[cfg(test)]
pub(crate) fn install_of(
    number: u32,
    suite: (ravelin_ring::msg::Suite, usize),
) -> anyhow::Result<[ravelin_ring::msg::WorkerCommand; 2]> {
    plane::install(number, 0, ravelin_ring::msg::Direction::Inbound, suite)
}

/// So many per second.
#[allow(clippy::cast_precision_loss)] // counts of one run
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!([1234.5, 12.345, 0.126, 0.0].map(shown), ["1234", "12.3", "0.13", "0.00"]);
        assert!((per_second(500, Duration::from_millis(250)) - 2000.0).abs() < 1e-9);
    }
}
