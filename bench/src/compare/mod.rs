//! Two builds of this program in turns: A, B, A, B … On a machine whose speed drifts only figures taken side by side can be
//! compared, and only as ratios.
//!
//! Decides: the turns, and what is the same thing measured twice. Reads: the JSON lines of both. Writes: builds of
//! revisions below the target folder. Never: compares figures of different rounds, calls a ratio good or bad.

mod build;
mod rows;

use crate::instrument::{Progress, Spread, emit, rounded};
use anyhow::{Context, bail, ensure};
use build::{Builder, Program};
use rows::{Round, Row};
use serde::Serialize;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const EXAMPLES: &str = "Examples:
  scripts/bench compare main .
  scripts/bench compare HEAD~5 HEAD --rounds 9 -- way --suites aes-256-gcm --sizes 64,1400 --tunnels 1,1000
  scripts/bench compare v0.1.0 target/release/ravelin-bench --json -- stage --quick
  scripts/bench compare HEAD~20 HEAD --rounds 3
  scripts/bench compare main main          (how far apart equal builds are: the noise)

A and B are each a git revision, a folder with the sources (. is what lies here, committed or not), a folder with a
built ravelin-bench in it, or such a program. What follows -- is run with --json by both; without it: way --quick.
A revision is built once, in a worktree of its own below the target folder, and kept.
Exit status: 0 compared, 1 a build or a bench failed, 2 a wrong option.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The build that is 1: a revision, a folder or a program
    a: String,
    /// The build that is divided by it
    b: String,
    /// How often each of the two runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// The measurement that is compared [default: clk_per_packet, or what the bench has instead]
    #[arg(long)]
    metric: Option<String>,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
    /// What to run: the bench and its options
    #[arg(last = true)]
    bench: Vec<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let builder = Builder::new()?;
    // Both first: nobody waits for the one to be built to hear that there is no other.
    let a = builder.find(&options.a).with_context(|| format!("A ({})", options.a))?;
    let b = builder.find(&options.b).with_context(|| format!("B ({})", options.b))?;
    let a = builder.program(a).with_context(|| format!("A ({})", options.a))?;
    let b = builder.program(b).with_context(|| format!("B ({})", options.b))?;
    let bench = arguments(&options.bench);
    let mut rounds = Vec::with_capacity(options.rounds.into());
    let mut progress: Option<Progress> = None;
    eprintln!(
        "compare: {} rounds of {}; the first tells how long the others take",
        options.rounds,
        bench.join(" ")
    );
    for n in 1..=options.rounds {
        let started = Instant::now();
        let mut turn = |name: &str, program: &Program| {
            if let Some(progress) = &mut progress {
                progress.step(&format!("round {n}: {name}"));
            }
            lines(program, &bench).with_context(|| format!("{name} ({})", program.name))
        };
        rounds.push(Round { a: turn("A", &a)?, b: turn("B", &b)? });
        let left = usize::from(options.rounds - n);
        if progress.is_none() && left > 0 {
            // The first round says how long the others take.
            let expected = started.elapsed() * u32::try_from(left)?;
            progress = Some(Progress::new("compare: the other rounds", 2 * left, expected));
        }
    }
    drop(progress);
    report(options, &a, &b, &rounds)
}

fn arguments(given: &[String]) -> Vec<String> {
    let mut bench = given.to_vec();
    if bench.is_empty() {
        bench = ["way", "--quick"].map(String::from).to_vec();
    }
    if !bench.iter().any(|a| a == "--json") {
        bench.push("--json".into());
    }
    bench
}

/// Longer than any bench takes by itself; one that hangs must not hang this one too.
const PATIENCE: Duration = Duration::from_hours(2);

/// What one run prints. What it says beside is shown when it fails.
fn lines(program: &Program, bench: &[String]) -> anyhow::Result<Vec<Row>> {
    // Ctrl-C does not reach behind `timeout`; our end does.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "timeout", &PATIENCE.as_secs().to_string()]);
    command.arg(&program.path).args(bench).stdin(Stdio::null());
    let output = command.output().context("cannot start it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(12).collect();
        let said = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        bail!("{} {} failed ({}):\n  {said}", program.path.display(), bench.join(" "), output.status);
    }
    let rows = rows::parse(&text)?;
    ensure!(!rows.is_empty(), "{} {} printed no JSON", program.path.display(), bench.join(" "));
    Ok(rows)
}

#[derive(Serialize)]
struct Line<'l> {
    bench: &'static str,
    /// What was measured, as the bench itself says it.
    row: &'l serde_json::Map<String, serde_json::Value>,
    metric: &'l str,
    /// Medians over the rounds.
    a: f64,
    b: f64,
    /// B ÷ A, taken in each round.
    ratio: f64,
    min: f64,
    max: f64,
    rounds: usize,
    /// Every round says the same: above 1, or below.
    clear: bool,
}

fn report(options: &Options, a: &Program, b: &Program, rounds: &[Round]) -> anyhow::Result<()> {
    let metric = match &options.metric {
        Some(metric) => metric.clone(),
        None => rows::metric(rounds).context("no measurement that both have; name one by --metric")?,
    };
    let pairs = rows::pairs(rounds, &metric)?;
    if !options.json {
        say!(
            "A: {}\nB: {}\nB / A of {metric}, {} rounds: median (least-greatest)",
            a.name,
            b.name,
            rounds.len()
        );
    }
    let mut medians = vec![];
    for pair in &pairs {
        let ratio = pair.ratios();
        let clear = ratio.min > 1.0 || ratio.max < 1.0;
        medians.push(ratio.median);
        let (left, right) = (Spread::of(pair.a.clone()).median, Spread::of(pair.b.clone()).median);
        if options.json {
            emit(&Line {
                bench: "compare",
                row: &pair.row,
                metric: &metric,
                a: left,
                b: right,
                ratio: rounded(ratio.median, 4),
                min: rounded(ratio.min, 4),
                max: rounded(ratio.max, 4),
                rounds: rounds.len(),
                clear,
            })?;
        } else {
            let note = if clear { "" } else { "  within the noise" };
            let Spread { median, min, max } = ratio;
            say!("{:<52}{left:>10.1}{right:>10.1}  {median:.3} ({min:.3}-{max:.3}){note}", pair.name());
        }
    }
    if !options.json {
        say!("geometric mean of {} rows: {:.3}", medians.len(), rows::geometric_mean(&medians));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_once() {
        assert_eq!(arguments(&[]), ["way", "--quick", "--json"]);
        let given = ["stage", "--json"].map(String::from);
        assert_eq!(arguments(&given), given);
    }

    fn program(path: &str) -> Program {
        Program { name: path.into(), path: path.into() }
    }

    #[test]
    fn a_bench_that_fails_or_says_nothing_is_an_error_with_its_words() {
        let script = "echo one >&2; echo why it failed >&2; exit 3";
        let error = lines(&program("sh"), &["-c".into(), script.into()]).unwrap_err().to_string();
        assert!(error.contains("why it failed") && error.contains("exit status: 3"), "{error}");
        let error = lines(&program("true"), &[]).unwrap_err().to_string();
        assert!(error.contains("printed no JSON"), "{error}");
    }

    #[test]
    fn both_run_and_lines_are_read() {
        let script = r#"echo '{"bench":"way","size":64,"clk_per_packet":2.0}'"#;
        let rows = lines(&program("sh"), &["-c".into(), script.into()]).unwrap();
        assert_eq!(rows.len(), 1);
    }
}
