//! The whole way in memory: clocks per packet from received frame to frame ready to send, both directions.
//!
//! Decides: what is in the measured stretch: frames into a batch, every stage of `Worker::process` (with policy, replay
//! check and commit), verdicts out of it. Outside of it: writing the next packets into the frames. Reads: the
//! time-stamp counter. Never: counts a window in which a packet did not arrive.
//!
//! Packets are warm in the cache, as they are behind a NIC that writes into it; SAs are as cold as their number makes
//! them. Figures are medians of short windows; the least and the greatest show the noise.

mod pair;

use crate::instrument::{Clock, Progress, Realtime, Spread, Waiting, allocations, emit, pin, rounded};
use crate::suites::SuiteName;
use anyhow::ensure;
use clap::Args;
use pair::Pair;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Options {
    /// Fewer windows: ends within a minute
    #[arg(long)]
    quick: bool,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
    /// Suites, comma-separated; default: all
    #[arg(long, value_delimiter = ',')]
    suites: Vec<SuiteName>,
    /// Lengths of the inner IP packet, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "64,256,512,1024,1400")]
    sizes: Vec<u16>,
    /// Numbers of tunnels, in round robin, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "1,1000")]
    tunnels: Vec<u32>,
    /// Core to run on; default: the last one
    #[arg(long)]
    core: Option<usize>,
}

/// Batches of one window: about two thousand packets, some tenths of a millisecond.
const BATCHES: usize = 32;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    pin(options.core)?;
    Realtime::probe();
    let suites = if options.suites.is_empty() { &SuiteName::ALL[..] } else { &options.suites };
    for size in &options.sizes {
        ensure!((28..=1400).contains(size), "size {size}: 28 to 1400 fit into a frame and an MTU of 1500");
    }
    ensure!(options.tunnels.iter().all(|t| (1..=60_000).contains(t)), "tunnels: 1 to 60000");
    let clock = Clock::new();
    let windows = if options.quick { 31 } else { 151 };
    if !options.json {
        println!("time-stamp counter {:.2} GHz; clk per packet: median (least-greatest)", clock.hz() / 1e9);
        println!("{:<27}{:>6}{:>9}  {:<34}{:<34}{:>9}", "suite", "size", "tunnels", "out", "in", "allocs");
    }
    let steps = suites.len() * options.tunnels.len() * options.sizes.len();
    let mut progress = Progress::new("way", steps, Duration::from_millis(400) * u32::try_from(steps)?);
    for &suite in suites {
        let (number, key_len) = suite.contract();
        for &tunnels in &options.tunnels {
            let mut pair = Pair::new(number, key_len, tunnels)?;
            for &size in &options.sizes {
                progress.step(suite.name());
                let figures = measure(&clock, &mut pair, size, windows)?;
                progress.clear();
                report(options.json, suite.name(), size, tunnels, &clock, &figures)?;
            }
        }
    }
    Ok(())
}

struct Figures {
    out: Spread,
    back: Spread,
    allocs_per_packet: f64,
}

#[allow(clippy::cast_precision_loss)] // counts of one window
fn measure(clock: &Clock, pair: &mut Pair, size: u16, windows: usize) -> anyhow::Result<Figures> {
    let _urgent = Realtime::raise();
    let waiting = Waiting::new();
    let (mut out, mut back, mut allocs, mut all) = (vec![], vec![], 0, 0);
    // The first windows warm up caches and branch predictors.
    for n in 0..windows + 3 {
        let waited = waiting.so_far();
        let (mut out_clk, mut in_clk, mut packets) = (0, 0, 0);
        for _ in 0..BATCHES {
            pair.fill(size)?;
            let before = allocations();
            let start = clock.now();
            packets += pair.protect();
            let middle = clock.now();
            pair.unprotect();
            let end = clock.now();
            allocs += allocations() - before;
            (out_clk, in_clk) = (out_clk + (middle - start), in_clk + (end - middle));
            pair.check()?;
        }
        all += packets;
        // Of the last windows one is kept even if it was disturbed.
        if n >= 3 && (waiting.so_far() == waited || n > windows) {
            out.push(out_clk as f64 / packets as f64);
            back.push(in_clk as f64 / packets as f64);
        }
    }
    Ok(Figures {
        out: Spread::of(out),
        back: Spread::of(back),
        allocs_per_packet: allocs as f64 / all as f64,
    })
}

fn report(
    json: bool,
    suite: &str,
    size: u16,
    tunnels: u32,
    clock: &Clock,
    figures: &Figures,
) -> anyhow::Result<()> {
    if json {
        for (dir, f) in [("out", figures.out), ("in", figures.back)] {
            let line = serde_json::json!({
                "bench": "way", "dir": dir, "suite": suite, "size": size, "tunnels": tunnels,
                "clk_per_packet": rounded(f.median, 1), "min": rounded(f.min, 1), "max": rounded(f.max, 1),
                "mpps": rounded(clock.mpps(f.median), 2), "allocs_per_packet": figures.allocs_per_packet,
            });
            emit(&line)?;
        }
        return Ok(());
    }
    let mut line = format!("{suite:<27}{size:>6}{tunnels:>9}  ");
    for f in [figures.out, figures.back] {
        let cell = format!("{:.0} ({:.0}-{:.0}) {:.1} Mpps", f.median, f.min, f.max, clock.mpps(f.median));
        let _ = write!(line, "{cell:<34}");
    }
    println!("{line}{:>9.3}", figures.allocs_per_packet);
    Ok(())
}
