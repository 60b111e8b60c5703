//! Crypto alone: clocks per packet of a whole ESP operation (header, IV, trailer, encryption, ICV), sealing and opening.
//!
//! Decides: what is in the measured stretch: one call of the engine with a whole burst. Outside of it: making the jobs.
//! Reads: the time-stamp counter. Writes: its own memory. Never: counts a burst in which a packet did not open.
//!
//! Packets lie as far from each other as frames of a UMEM do, and are warm. Sealing and opening take turns on the same
//! memory, so each works on what the other left. Tiers take turns too, window by window: what else the machine does
//! meets all of them alike.

use crate::instrument::{self, Clock, Spread, rounded};
use anyhow::{Context, ensure};
use clap::Args;
use ravelin_crypto::{BURST, Engine, Key, OpenJob, SealJob, Suite, Tier};
use std::fmt::Write as _;

pub(crate) const EXAMPLES: &str = "\
Examples:
  scripts/bench crypto                                    the suites of the other benches on the best kernels
  scripts/bench crypto --quick --tiers sse,avx2,avx512    the tiers side by side
  scripts/bench crypto --suites all --sizes imix --json   every suite on a mix of lengths
  scripts/bench crypto --burst 4 --keys 4                 small bursts of different SAs";

#[derive(Args)]
pub(crate) struct Options {
    /// Fewer windows: ends within half a minute
    #[arg(long)]
    quick: bool,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
    /// Suites, comma-separated; default: those of the whole-way bench; `all`: every one
    #[arg(long, value_delimiter = ',')]
    suites: Vec<String>,
    /// Lengths of the payload, comma-separated; `imix`: 7 of 64, 4 of 594, 1 of 1400 bytes
    #[arg(long, value_delimiter = ',', default_value = "64,256,512,1024,1400")]
    sizes: Vec<String>,
    /// Tiers, comma-separated: portable, sse, avx2, avx512; default: the best
    #[arg(long, value_delimiter = ',')]
    tiers: Vec<String>,
    /// Packets per call
    #[arg(long, default_value_t = BURST)]
    burst: usize,
    /// Different keys in a burst
    #[arg(long, default_value_t = 1)]
    keys: usize,
    /// Bytes from one packet to the next
    #[arg(long, default_value_t = 2048)]
    stride: usize,
    /// Where in its 64 bytes of cache line a packet begins; default: behind Ethernet and IPv4
    #[arg(long, default_value_t = 34)]
    offset: usize,
}

const USUAL: [Suite; 6] = [
    Suite::Aes128Gcm16,
    Suite::Aes256Gcm16,
    Suite::Aes256CbcSha256,
    Suite::Aes256CbcSha1,
    Suite::Aes128CbcSha1,
    Suite::ChaCha20Poly1305,
];

const TIERS: [(&str, Tier); 4] =
    [("portable", Tier::Portable), ("sse", Tier::Sse), ("avx2", Tier::Avx2), ("avx512", Tier::Avx512)];

/// Calls of one window and direction.
const CALLS: u64 = 8;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.burst > 0 && options.keys > 0, "a burst has packets and keys");
    instrument::pin(None)?;
    let clock = Clock::new();
    let tiers = chosen_tiers(&options.tiers)?;
    if !options.json {
        println!("1 clk = {:.2} core cycles; clk per packet: median (least)", cycles_per_clk(&clock));
        println!("{:<27}{:<10}{:>6}  {:<18}{:<18}", "suite", "tier", "size", "seal", "open");
    }
    for suite in chosen_suites(&options.suites)? {
        for size in &options.sizes {
            let lengths = lengths(size, options.burst)?;
            let mut bench = Bench::new(suite, &lengths, options);
            for ((name, _), figures) in tiers.iter().zip(bench.measure(&clock, &tiers, options.quick)?) {
                report(options, suite, name, size, &figures)?;
            }
        }
    }
    Ok(())
}

fn chosen_suites(names: &[String]) -> anyhow::Result<Vec<Suite>> {
    match names {
        [] => Ok(USUAL.to_vec()),
        [all] if all == "all" => Ok(Suite::ALL.to_vec()),
        _ => names
            .iter()
            .map(|name| {
                let known = || Suite::ALL.map(Suite::name).join(", ");
                let found = Suite::ALL.into_iter().find(|suite| suite.name() == name);
                found.with_context(|| format!("no suite {name}; there are: {}", known()))
            })
            .collect(),
    }
}

fn chosen_tiers(names: &[String]) -> anyhow::Result<Vec<(&'static str, Tier)>> {
    if names.is_empty() {
        return Ok(vec![("best", Tier::Avx512)]);
    }
    let find = |name: &String| {
        let found = TIERS.into_iter().find(|(known, _)| known == name);
        found.with_context(|| format!("no tier {name}"))
    };
    names.iter().map(find).collect()
}

fn lengths(size: &str, burst: usize) -> anyhow::Result<Vec<usize>> {
    const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 1400, 64, 594, 64, 64, 594];
    if size == "imix" {
        return Ok(IMIX.into_iter().cycle().take(burst).collect());
    }
    let len = size.parse().with_context(|| format!("no size {size}"))?;
    ensure!(len <= 9000, "size {len}: at most 9000");
    Ok(vec![len; burst])
}

/// One suite at one size: its keys and packets.
struct Bench {
    suite: Suite,
    keys: Vec<Key>,
    memory: Vec<u8>,
    stride: usize,
    /// Of the first packet.
    start: usize,
    lengths: Vec<usize>,
    seq: u64,
}

struct Figures {
    seal: Spread,
    open: Spread,
}

impl Bench {
    fn new(suite: Suite, lengths: &[usize], options: &Options) -> Self {
        let keymat: Vec<u8> = (0u8..=255).take(suite.keymat_len()).collect();
        let keys = (0..options.keys).filter_map(|n| {
            let secret = [n.to_le_bytes()[0]; 16];
            Key::new(suite, &keymat, secret).ok()
        });
        let longest = lengths.iter().max().map_or(0, |len| suite.sealed_len(*len));
        let stride = options.stride.max(longest.next_multiple_of(64) + 64);
        let memory = vec![1; stride * lengths.len() + PAGE + 64];
        let start = memory.as_ptr().align_offset(PAGE) + options.offset % 64;
        Self { suite, keys: keys.collect(), memory, stride, start, lengths: lengths.to_vec(), seq: 0 }
    }

    /// Median and least of every tier, which take turns.
    fn measure(
        &mut self,
        clock: &Clock,
        tiers: &[(&str, Tier)],
        quick: bool,
    ) -> anyhow::Result<Vec<Figures>> {
        let engines: Vec<Engine> = tiers.iter().map(|(_, tier)| Engine::with_tier(*tier)).collect();
        let mut windows = vec![(vec![], vec![]); engines.len()];
        for n in 0..if quick { 31 } else { 151 } {
            for (engine, (seal, open)) in engines.iter().zip(&mut windows) {
                let (s, o) = self.window(clock, engine)?;
                // The first windows warm up caches and branch predictors.
                if n >= 2 {
                    seal.push(s);
                    open.push(o);
                }
            }
        }
        Ok(windows
            .into_iter()
            .map(|(seal, open)| Figures { seal: Spread::of(seal), open: Spread::of(open) })
            .collect())
    }

    #[allow(clippy::cast_precision_loss)] // counts of one window
    fn window(&mut self, clock: &Clock, engine: &Engine) -> anyhow::Result<(f64, f64)> {
        let (mut seal, mut open) = (0, 0);
        for _ in 0..CALLS {
            self.seq += self.lengths.len() as u64;
            let mut jobs: Vec<SealJob> =
                packets(&mut self.memory[self.start..], self.stride, &self.lengths, self.suite)
                    .zip(self.keys.iter().cycle())
                    .zip(self.seq..)
                    .map(|(((payload_len, packet), key), seq)| SealJob {
                        key,
                        spi: 0x1000,
                        seq,
                        esn: false,
                        next_header: 4,
                        payload_len,
                        packet,
                    })
                    .collect();
            let start = clock.now();
            let refused = engine.seal(&mut jobs);
            seal += clock.now() - start;
            ensure!(refused == 0, "{refused} packets were not sealed");
            let mut jobs: Vec<OpenJob> =
                packets(&mut self.memory[self.start..], self.stride, &self.lengths, self.suite)
                    .zip(self.keys.iter().cycle())
                    .zip(self.seq..)
                    .map(|(((_, packet), key), seq)| OpenJob::new(key, seq, false, packet))
                    .collect();
            let start = clock.now();
            engine.open(&mut jobs);
            open += clock.now() - start;
            ensure!(jobs.iter().all(|job| job.outcome.is_ok()), "a packet did not open");
        }
        let packets = (CALLS * self.lengths.len() as u64) as f64;
        Ok((seal as f64 / packets, open as f64 / packets))
    }
}

/// Frames of a UMEM lie on pages.
const PAGE: usize = 4096;

fn packets<'a>(
    memory: &'a mut [u8],
    stride: usize,
    lengths: &'a [usize],
    suite: Suite,
) -> impl Iterator<Item = (usize, &'a mut [u8])> {
    let frames = memory.chunks_exact_mut(stride).zip(lengths);
    frames.filter_map(move |(frame, &len)| Some((len, frame.get_mut(..suite.sealed_len(len))?)))
}

fn report(options: &Options, suite: Suite, tier: &str, size: &str, figures: &Figures) -> anyhow::Result<()> {
    if options.json {
        for (dir, spread) in [("seal", &figures.seal), ("open", &figures.open)] {
            let line = serde_json::json!({
                "bench": "crypto", "dir": dir, "suite": suite.name(), "tier": tier,
                "size": size.parse::<u64>().map_or_else(|_| size.into(), serde_json::Value::from),
                "burst": options.burst.to_string(), "keys": options.keys.to_string(), "clk_per_packet": rounded(spread.median, 1),
                "min": rounded(spread.min, 1), "max": rounded(spread.max, 1),
            });
            instrument::emit(&line)?;
        }
        return Ok(());
    }
    let mut line = format!("{:<27}{tier:<10}{size:>6}  ", suite.name());
    for spread in [&figures.seal, &figures.open] {
        let _ = write!(line, "{:<18}", format!("{:.0} ({:.0})", spread.median, spread.min));
    }
    println!("{}", line.trim_end());
    Ok(())
}

/// A chain of multiplications and rotations, four cycles each, against the time-stamp counter.
#[allow(clippy::cast_precision_loss)] // a few significant digits are shown
fn cycles_per_clk(clock: &Clock) -> f64 {
    const LINKS: u64 = 100_000;
    let factor = std::hint::black_box(0x9e37_79b9_7f4a_7c15u64);
    let mut best = u64::MAX;
    for _ in 0..20 {
        let start = clock.now();
        let product =
            (0..LINKS).fold(std::hint::black_box(3u64), |x, _| x.wrapping_mul(factor).rotate_left(9));
        std::hint::black_box(product);
        best = best.min(clock.now() - start);
    }
    (4 * LINKS) as f64 / best as f64
}
