//! The whole way in memory: clocks per packet from received frame to frame ready to send, both directions.
//!
//! Decides: what is in the measured stretch: frames into a batch, every stage of `Worker::process` (with policy, replay
//! check and commit), verdicts out of it, counters. Outside of it: writing the next packets into the frames, proving
//! that they arrived. Reads: the time-stamp counter. Never: counts a window in which a packet did not arrive.
//!
//! Packets are warm in the cache, as they are behind a NIC that writes into it, unless `--cold`; SAs are as cold as their
//! number makes them. Figures are medians of short windows; the least and the greatest show the noise.

pub(crate) mod traffic;
pub(crate) mod plan;
mod furnish;
pub(crate) mod pair;
pub(crate) mod measure;
mod report;

use crate::instrument::{Clock, Progress, Realtime, WrongOption, pin};
use anyhow::{Context, bail};
use measure::{Figures, measure};
use pair::Gateways;
use plan::{Subject, Wish};
use traffic::Size;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench way --quick
  ravelin-bench way --suites aes-256-gcm,null,bypass --sizes 64,imix --tunnels 1
  ravelin-bench way --suites aes-128-gcm --sizes 64 --tunnels 1 --flows 64,100000 --json | jq .clk_per_packet
  ravelin-bench way --quick --cold

Sizes are those of the inner IP packet in bytes; imix is 64, 576 and 1400 bytes as 7 : 4 : 1.
Without --suites, --sizes, --tunnels and --flows: all suites, null (the way without cryptography) and bypass (plain
forwarding) x 64, 256, 512, 1024, 1400, imix x 1, 1000, 100000 tunnels; with --quick 64, 512, 1400, imix x 1, 1000
tunnels, and 100000 tunnels for the two GCM suites at 64 bytes. Both add 1000000 flows for null and bypass.
Exit status: 0 measured, 1 a packet was lost, altered or allocated memory, 2 a wrong option. See docs/bench.md.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Fewer cases and windows: ends within a minute
    #[arg(long)]
    quick: bool,
    /// One JSON object per line and direction instead of the table
    #[arg(long)]
    json: bool,
    /// Suites, comma-separated; default: all
    #[arg(long, value_delimiter = ',')]
    suites: Option<Vec<Subject>>,
    /// Bytes of the inner IP packet (36 to 1400) or imix, comma-separated
    #[arg(long, value_delimiter = ',')]
    sizes: Option<Vec<Size>>,
    /// Tunnels in round robin, comma-separated
    #[arg(long, value_delimiter = ',')]
    tunnels: Option<Vec<u32>>,
    /// Different flows in all tunnels together, at least one for each; comma-separated [default: 64]
    #[arg(long, value_delimiter = ',')]
    flows: Option<Vec<u32>>,
    /// Packets are in no first- or second-level cache when their turn comes, as behind AF_XDP in copy mode
    #[arg(long)]
    cold: bool,
    /// Windows of about 2,048 packets for each figure [default: 151, quick: 31]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    windows: Option<u16>,
    /// Core to run on [default: the last one]
    #[arg(long)]
    core: Option<usize>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let cases = plan::cases(&options.wish()).context(WrongOption)?;
    let windows = options.windows.map_or(if options.quick { 31 } else { 151 }, usize::from);
    pin(options.core)?;
    Realtime::probe();
    let clock = Clock::new();
    let mut progress = Progress::new("way", cases.len(), plan::expected(&cases, windows, options.cold));
    if !options.json {
        report::head(&clock);
    }
    let (mut gateways, mut dirty) = (Gateways::default(), vec![]);
    for case in &cases {
        progress.step(&format!("{} {} B {} tunnels", case.subject.name(), case.size, case.tunnels));
        let pair = gateways.of(case, options.cold)?;
        let figures = {
            let _urgent = Realtime::raise();
            measure(&clock, pair, windows)
        };
        let figures = figures.with_context(|| format!("{case:?}"))?;
        progress.clear();
        if options.json {
            report::lines(&clock, case, options.cold, &figures)?;
        } else {
            report::row(&clock, case, &figures);
        }
        dirty.extend(allocated(case, &figures));
    }
    if !dirty.is_empty() {
        bail!("packets allocated memory on their way, which must never happen:\n  {}", dirty.join("\n  "));
    }
    Ok(())
}

impl Options {
    fn wish(&self) -> Wish {
        Wish {
            quick: self.quick,
            suites: self.suites.clone(),
            sizes: self.sizes.clone(),
            tunnels: self.tunnels.clone(),
            flows: self.flows.clone(),
        }
    }
}

fn allocated(case: &plan::Case, figures: &Figures) -> Option<String> {
    let (out, back) = (figures.out.allocs, figures.back.allocs);
    (out + back > 0.0).then(|| {
        let (name, tunnels) = (case.subject.name(), case.tunnels);
        format!("{name}, {} B, {tunnels} tunnels: {out} per packet out, {back} in", case.size)
    })
}
