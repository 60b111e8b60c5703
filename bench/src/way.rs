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
mod queue;
pub(crate) mod pair;
pub(crate) mod measure;
mod report;
pub(crate) mod share;

use crate::instrument::{Clock, Progress, Realtime, WrongOption, pin};
use anyhow::{Context, bail};
use measure::{Figures, measure};
use pair::Gateways;
use plan::Wish;

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

pub(crate) fn run(wish: &Wish) -> anyhow::Result<()> {
    let cases = plan::cases(wish).context(WrongOption)?;
    let windows = wish.windows();
    pin(wish.core).context(WrongOption)?;
    Realtime::probe();
    let clock = Clock::new();
    let mut progress = Progress::new("way", cases.len(), plan::expected(&cases, windows, wish.cold));
    if !wish.json {
        report::head(&clock);
    }
    let (mut gateways, mut dirty) = (Gateways::default(), vec![]);
    for case in &cases {
        progress.step(&format!("{} {} B {} tunnels", case.subject.name(), case.size, case.tunnels));
        let pair = gateways.of(case, wish.cold)?;
        let figures = {
            let _urgent = Realtime::raise();
            measure(&clock, pair, windows)
        };
        let figures = figures.with_context(|| format!("{case:?}"))?;
        progress.clear();
        if wish.json {
            report::lines(&clock, case, wish.cold, &figures)?;
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

fn allocated(case: &plan::Case, figures: &Figures) -> Option<String> {
    let (out, back) = (figures.out.allocs, figures.back.allocs);
    (out + back > 0.0).then(|| {
        let (name, tunnels) = (case.subject.name(), case.tunnels);
        format!("{name}, {} B, {tunnels} tunnels: {out} per packet out, {back} in", case.size)
    })
}
