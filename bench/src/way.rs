//! The whole way in memory: clocks per packet from received frame to frame ready to send, both directions.
//!
//! Decides: what is in the measured stretch: frames into a batch, every stage of `Worker::process` (with policy, replay
//! check and commit), verdicts out of it. Outside of it: writing the next packets into the frames. Reads: the
//! time-stamp counter. Never: counts a window in which a packet did not arrive.
//!
//! Packets are warm in the cache, as they are behind a NIC that writes into it; SAs are as cold as their number makes
//! them. Figures are medians of short windows; the least and the greatest show the noise.

mod pair;

use anyhow::{Context, ensure};
use clap::Args;
use pair::Pair;
use ravelin_ring::msg::Suite;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Every allocation of this program is counted; the packet's way must have none.
#[global_allocator]
static ALLOCATIONS: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

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
    suites: Vec<String>,
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

const SUITES: [(&str, Suite, usize); 5] = [
    ("aes-128-gcm", Suite::Aes128Gcm16, 20),
    ("aes-256-gcm", Suite::Aes256Gcm16, 36),
    ("aes-256-cbc-hmac-sha2-256", Suite::Aes256CbcSha256, 64),
    ("aes-128-cbc-hmac-sha1-96", Suite::Aes128CbcSha1, 36),
    ("chacha20-poly1305", Suite::ChaCha20Poly1305, 36),
];

/// Batches of one window: about two thousand packets, some tenths of a millisecond.
const BATCHES: usize = 32;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    pin(options.core)?;
    let suites = chosen(&options.suites)?;
    for size in &options.sizes {
        ensure!((28..=1400).contains(size), "size {size}: 28 to 1400 fit into a frame and an MTU of 1500");
    }
    ensure!(options.tunnels.iter().all(|t| (1..=60_000).contains(t)), "tunnels: 1 to 60000");
    let hz = counter_frequency();
    let windows = if options.quick { 31 } else { 151 };
    if !options.json {
        println!("time-stamp counter {:.2} GHz; clk per packet: median (least-greatest)", hz / 1e9);
        println!("{:<27}{:>6}{:>9}  {:<34}{:<34}{:>9}", "suite", "size", "tunnels", "out", "in", "allocs");
    }
    for &(name, suite, key_len) in &suites {
        for &tunnels in &options.tunnels {
            let mut pair = Pair::new(suite, key_len, tunnels)?;
            for &size in &options.sizes {
                let figures = measure(&mut pair, size, windows)?;
                report(options.json, name, size, tunnels, hz, &figures);
            }
        }
    }
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<(&'static str, Suite, usize)>> {
    if names.is_empty() {
        return Ok(SUITES.to_vec());
    }
    let find = |name: &String| {
        let known = || SUITES.map(|(n, _, _)| n).join(", ");
        let found = SUITES.into_iter().find(|(n, _, _)| n == name);
        found.with_context(|| format!("no suite {name}; there are: {}", known()))
    };
    names.iter().map(find).collect()
}

/// One pinned thread, as the data plane has; a refusal is no reason not to measure.
fn pin(core: Option<usize>) -> anyhow::Result<()> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let wanted = match core {
        Some(n) => Some(*cores.iter().find(|c| c.id == n).with_context(|| format!("there is no core {n}"))?),
        None => cores.last().copied(),
    };
    if let Some(core) = wanted
        && !core_affinity::set_for_current(core)
    {
        eprintln!("could not pin to core {}", core.id);
    }
    Ok(())
}

/// Clocks of the time-stamp counter per second.
#[allow(clippy::cast_precision_loss)] // a few significant digits are shown
fn counter_frequency() -> f64 {
    let clock = quanta::Clock::new();
    let (start, from) = (Instant::now(), clock.raw());
    while start.elapsed() < Duration::from_millis(50) {}
    (clock.raw() - from) as f64 / start.elapsed().as_secs_f64()
}

struct Figures {
    out: Spread,
    back: Spread,
    allocs_per_packet: f64,
}

#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut list: Vec<f64>) -> Self {
        list.sort_by(f64::total_cmp);
        let at = |n: usize| list.get(n).copied().unwrap_or(f64::NAN);
        Self { median: at(list.len() / 2), min: at(0), max: at(list.len().saturating_sub(1)) }
    }
}

#[allow(clippy::cast_precision_loss)] // counts of one window
fn measure(pair: &mut Pair, size: u16, windows: usize) -> anyhow::Result<Figures> {
    let clock = quanta::Clock::new();
    let (mut out, mut back, mut allocs, mut all) = (vec![], vec![], 0, 0);
    // The first windows warm up caches and branch predictors.
    for n in 0..windows + 3 {
        let (mut out_clk, mut in_clk, mut packets) = (0, 0, 0);
        for _ in 0..BATCHES {
            pair.fill(size)?;
            let before = ALLOCATIONS.stats();
            let start = clock.raw();
            packets += pair.protect();
            let middle = clock.raw();
            pair.unprotect();
            let end = clock.raw();
            allocs += (ALLOCATIONS.stats() - before).allocations;
            (out_clk, in_clk) = (out_clk + (middle - start), in_clk + (end - middle));
            pair.check()?;
        }
        all += packets;
        if n >= 3 {
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

fn report(json: bool, suite: &str, size: u16, tunnels: u32, hz: f64, figures: &Figures) {
    if json {
        for (dir, f) in [("out", figures.out), ("in", figures.back)] {
            let line = serde_json::json!({
                "bench": "way", "dir": dir, "suite": suite, "size": size, "tunnels": tunnels,
                "clk_per_packet": tenth(f.median), "min": tenth(f.min), "max": tenth(f.max),
                "mpps": (hz / f.median / 1e4).round() / 100.0, "allocs_per_packet": figures.allocs_per_packet,
            });
            println!("{line}");
        }
        return;
    }
    let mut line = format!("{suite:<27}{size:>6}{tunnels:>9}  ");
    for f in [figures.out, figures.back] {
        let cell = format!("{:.0} ({:.0}-{:.0}) {:.1} Mpps", f.median, f.min, f.max, hz / f.median / 1e6);
        let _ = write!(line, "{cell:<34}");
    }
    println!("{line}{:>9.3}", figures.allocs_per_packet);
}

fn tenth(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
