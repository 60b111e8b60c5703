//! Crypto alone: clocks per packet of a whole ESP operation (header, IV, trailer, encryption, ICV), sealing and opening.
//!
//! Decides: what is in the measured stretch: one call of the engine with a whole burst. Outside of it: making the jobs.
//! Reads: the time-stamp counter. Writes: its own memory. Never: counts a burst in which a packet did not open.
//!
//! Packets lie as far from each other as frames of a UMEM do, and are warm. Sealing and opening take turns on the same
//! memory, so each works on what the other left. Tiers take turns too, window by window: what else the machine does
//! meets all of them alike; so does another library, when one is asked to do the same work.

mod beside;
mod report;

use crate::instrument::{self, Clock, Realtime, Spread, WrongOption};
use anyhow::{Context, ensure};
use beside::Library;
use clap::Args;
use ravelin_crypto::{BURST, Engine, Key, OpenJob, SealJob, Suite, Tier};
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  scripts/bench crypto                                    the suites of the other benches on the best kernels
  scripts/bench crypto --quick --tiers sse,avx2,avx512    the tiers side by side
  scripts/bench crypto --suites all --sizes imix --json   every suite on a mix of lengths
  scripts/bench crypto --burst 4 --keys 4                 small bursts of different SAs
  scripts/bench crypto --beside ipsec-mb                  Intel's library in turns with ours, on the same core";

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
    /// Packets per call; default: as many as a worker takes, 32 beside another library
    #[arg(long)]
    burst: Option<usize>,
    /// Different keys in a burst
    #[arg(long, default_value_t = 1)]
    keys: usize,
    /// Bytes from one packet to the next
    #[arg(long, default_value_t = 2048)]
    stride: usize,
    /// Where in its 64 bytes of cache line a packet begins; default: behind Ethernet and IPv4
    #[arg(long, default_value_t = 34)]
    offset: usize,
    /// A library that does the same work in turns with ours
    #[arg(long, value_name = "LIBRARY")]
    beside: Option<beside::Name>,
    /// The folder of the script that fetches and builds it
    #[arg(long, default_value = "bench/peers")]
    scripts: PathBuf,
}

impl Options {
    /// What was asked for, or what is wrong with it.
    fn check(&self) -> anyhow::Result<(Vec<Named>, Vec<Suite>)> {
        ensure!(self.burst() > 0 && self.keys > 0, "--burst, --keys: a burst has packets and keys");
        for size in &self.sizes {
            lengths(size, self.burst())?;
        }
        Ok((chosen_tiers(&self.tiers)?, chosen_suites(&self.suites)?))
    }

    fn burst(&self) -> usize {
        match (self.burst, self.beside) {
            (Some(burst), _) => burst,
            (None, Some(_)) => beside::BURST,
            (None, None) => BURST,
        }
    }
}

const USUAL: [Suite; 6] = [
    Suite::Aes128Gcm16,
    Suite::Aes256Gcm16,
    Suite::Aes256CbcSha256,
    Suite::Aes256CbcSha1,
    Suite::Aes128CbcSha1,
    Suite::ChaCha20Poly1305,
];

type Named = (&'static str, Tier);

const TIERS: [Named; 4] =
    [("portable", Tier::Portable), ("sse", Tier::Sse), ("avx2", Tier::Avx2), ("avx512", Tier::Avx512)];

/// Calls of one window and direction. One more goes before, which warms up the caches.
const CALLS: u64 = 8;
/// Of every job.
const SPI: u32 = 0x1000;
const NEXT_HEADER: u8 = 4;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (tiers, suites) = options.check().context(WrongOption)?;
    instrument::pin(None)?;
    let clock = Clock::new();
    let script = options.beside.map(|name| name.script(&options.scripts)).transpose()?;
    // The library's program inherits it.
    let _urgent = Realtime::raise();
    let mut library = script.as_deref().map(Library::start).transpose()?;
    if !options.json {
        report::head(&clock, library.as_ref());
    }
    for suite in suites {
        for size in &options.sizes {
            let lengths = lengths(size, options.burst())?;
            let mut bench = Bench::new(suite, &lengths, options);
            let beside = match &mut library {
                Some(library) => library.case(&mut bench)?.then_some(library),
                None => None,
            };
            let measured = bench.measure(&clock, &tiers, options.quick, beside)?;
            for ((name, _), figures) in tiers.iter().zip(measured) {
                report::row(options, suite, name, size, &figures)?;
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

fn chosen_tiers(names: &[String]) -> anyhow::Result<Vec<Named>> {
    if names.is_empty() {
        return Ok(vec![("best", Tier::Avx512)]);
    }
    let find = |name: &String| {
        let found = TIERS.into_iter().find(|(known, _)| known == name);
        found.with_context(|| {
            format!("no tier {name}; there are: {}", TIERS.map(|(known, _)| known).join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn lengths(size: &str, burst: usize) -> anyhow::Result<Vec<usize>> {
    const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 1400, 64, 594, 64, 64, 594];
    if size == "imix" {
        return Ok(IMIX.into_iter().cycle().take(burst).collect());
    }
    let len = size.parse().with_context(|| format!("no size {size}; bytes, or imix"))?;
    ensure!(len <= 9000, "size {len}: at most 9000");
    Ok(vec![len; burst])
}

/// One suite at one size: its keys and packets.
struct Bench {
    suite: Suite,
    keymat: Vec<u8>,
    keys: Vec<Key>,
    memory: Vec<u8>,
    stride: usize,
    /// Of the first packet in its page, and in `memory`.
    offset: usize,
    start: usize,
    lengths: Vec<usize>,
    seq: u64,
}

/// Clocks per packet of one direction.
struct Figure {
    ours: Spread,
    beside: Option<Compared>,
}

/// The other library's, and ours ÷ theirs of neighbouring windows.
struct Compared {
    theirs: Spread,
    ratio: Spread,
}

/// Sealing and opening.
type Both<T> = [T; 2];

impl Bench {
    fn new(suite: Suite, lengths: &[usize], options: &Options) -> Self {
        let keymat: Vec<u8> = (0u8..=255).take(suite.keymat_len()).collect();
        let keys = (0..options.keys).filter_map(|n| {
            let secret = [n.to_le_bytes()[0]; 16];
            Key::new(suite, &keymat, secret).ok()
        });
        let keys = keys.collect();
        let longest = lengths.iter().max().map_or(0, |len| suite.sealed_len(*len));
        let stride = options.stride.max(longest.next_multiple_of(64) + 64);
        let memory = vec![1; stride * lengths.len() + PAGE + 64];
        let offset = options.offset % 64;
        let start = memory.as_ptr().align_offset(PAGE) + offset;
        Self { suite, keymat, keys, memory, stride, offset, start, lengths: lengths.to_vec(), seq: 0 }
    }

    /// Of every tier. They take turns, and the other library with them.
    fn measure(
        &mut self,
        clock: &Clock,
        tiers: &[(&str, Tier)],
        quick: bool,
        mut beside: Option<&mut Library>,
    ) -> anyhow::Result<Vec<Both<Figure>>> {
        let engines: Vec<Engine> = tiers.iter().map(|(_, tier)| Engine::with_tier(*tier)).collect();
        let mut ours: Vec<Vec<Both<f64>>> = vec![vec![]; engines.len()];
        let mut theirs = vec![];
        for n in 0..if quick { 31 } else { 151 } {
            // The first windows warm up caches and branch predictors.
            let counts = n >= 2;
            for (engine, windows) in engines.iter().zip(&mut ours) {
                windows.extend(Some(self.window(clock, engine)?).filter(|_| counts));
            }
            if let Some(library) = &mut beside {
                theirs.extend(Some(self.per_packet(library.window(CALLS, self.seq)?)).filter(|_| counts));
            }
        }
        Ok(ours.iter().map(|ours| figures(ours, &theirs)).collect())
    }

    fn window(&mut self, clock: &Clock, engine: &Engine) -> anyhow::Result<Both<f64>> {
        let (mut seal, mut open) = (0, 0);
        for call in 0..=CALLS {
            let sealed = self.seal(clock, engine)?;
            let opened = self.open(clock, engine)?;
            if call > 0 {
                seal += sealed;
                open += opened;
            }
        }
        Ok(self.per_packet([seal, open]))
    }

    #[allow(clippy::cast_precision_loss)] // counts of one window
    fn per_packet(&self, clocks: Both<u64>) -> Both<f64> {
        clocks.map(|clocks| clocks as f64 / (CALLS * self.lengths.len() as u64) as f64)
    }

    /// One burst, with numbers that no burst had before. Clocks.
    fn seal(&mut self, clock: &Clock, engine: &Engine) -> anyhow::Result<u64> {
        self.seq += self.lengths.len() as u64;
        let (seq, keys) = (self.seq.., self.keys.iter().cycle());
        let packets = packets(&mut self.memory[self.start..], self.stride, &self.lengths, self.suite);
        let mut jobs: Vec<SealJob> = packets
            .zip(keys)
            .zip(seq)
            .map(|(((payload_len, packet), key), seq)| SealJob {
                key,
                spi: SPI,
                seq,
                esn: false,
                next_header: NEXT_HEADER,
                payload_len,
                packet,
            })
            .collect();
        let start = clock.now();
        let refused = engine.seal(&mut jobs);
        let end = clock.now();
        ensure!(refused == 0, "{refused} packets were not sealed");
        Ok(end - start)
    }

    /// The burst that lies there.
    fn open(&mut self, clock: &Clock, engine: &Engine) -> anyhow::Result<u64> {
        let (seq, keys) = (self.seq.., self.keys.iter().cycle());
        let packets = packets(&mut self.memory[self.start..], self.stride, &self.lengths, self.suite);
        let mut jobs: Vec<OpenJob> = packets
            .zip(keys)
            .zip(seq)
            .map(|(((_, packet), key), seq)| OpenJob::new(key, seq, false, packet))
            .collect();
        let start = clock.now();
        engine.open(&mut jobs);
        let end = clock.now();
        ensure!(jobs.iter().all(|job| job.outcome.is_ok()), "a packet did not open");
        Ok(end - start)
    }
}

/// `theirs`: windows in turns with `ours`, or none.
fn figures(ours: &[Both<f64>], theirs: &[Both<f64>]) -> Both<Figure> {
    [0, 1].map(|dir| {
        let of = |windows: &[Both<f64>]| Spread::of(windows.iter().map(|w| w[dir]).collect());
        let ratios = || ours.iter().zip(theirs).map(|(a, b)| a[dir] / b[dir]).collect();
        let compared = || Compared { theirs: of(theirs), ratio: Spread::of(ratios()) };
        Figure { ours: of(ours), beside: (!theirs.is_empty()).then(compared) }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_neighbouring_windows() {
        // The machine became twice slower in between; the ratio knows nothing of it.
        let ours = [[50.0, 30.0], [100.0, 60.0]];
        let theirs = [[100.0, 40.0], [200.0, 80.0]];
        let [seal, open] = figures(&ours, &theirs);
        let ratio =
            |figure: &Figure| figure.beside.as_ref().map(|b| (b.ratio.min, b.ratio.median, b.ratio.max));
        assert_eq!((ratio(&seal), ratio(&open)), (Some((0.5, 0.5, 0.5)), Some((0.75, 0.75, 0.75))));
        assert!(figures(&ours, &[])[0].beside.is_none());
    }
}
