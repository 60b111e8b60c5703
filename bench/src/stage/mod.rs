//! Where the clocks of the way go: the same packets through the same workers as in `way`, with a look at the clock after
//! every stage.
//!
//! Decides: what belongs to a stage: everything since the one before ended. Reads: the time-stamp counter. Never: adds
//! its own readings to a figure; their cost is measured and taken off.
//!
//! The processor begins work of the next stage before the last one is done, and a reading of the counter does not wait for
//! memory: what a stage asked for and did not wait for shows where it is needed first.

mod probe;
mod report;

use crate::instrument::{Clock, Progress, Realtime, WrongOption, pin};
use crate::suites::SuiteName;
use crate::way::measure::{BATCHES, Kept, warm_up, windows};
use crate::way::pair::{Gateways, Pair};
use crate::way::plan::{self, Subject, Wish};
use crate::way::traffic::Size;
use anyhow::Context;
use probe::{Sums, Watch};

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench stage
  ravelin-bench stage --suites null --sizes 64 --tunnels 1,1000
  ravelin-bench stage --suites aes-256-gcm --sizes 1400 --cold --json | jq 'select(.share > 0.1) | .stage'

Clocks are per packet of the direction, not per packet that the stage was given: the rows add up to `total`, which is a
little more than `ravelin-bench way` finds, since stages cannot overlap as freely. Stages without packets are left out.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// 64 bytes and one tunnel only, fewer windows
    #[arg(long)]
    quick: bool,
    /// One JSON object per line and stage instead of the table
    #[arg(long)]
    json: bool,
    /// Suites, comma-separated; also null and bypass [default: aes-256-gcm]
    #[arg(long, value_delimiter = ',')]
    suites: Option<Vec<Subject>>,
    /// Bytes of the inner IP packet (36 to 1400) or imix, comma-separated [default: 64,1400]
    #[arg(long, value_delimiter = ',')]
    sizes: Option<Vec<Size>>,
    /// Tunnels in round robin, comma-separated [default: 1,1000]
    #[arg(long, value_delimiter = ',')]
    tunnels: Option<Vec<u32>>,
    /// Different flows in all tunnels together, at least one for each; comma-separated [default: 64]
    #[arg(long, value_delimiter = ',')]
    flows: Option<Vec<u32>>,
    /// Packets are in no first- or second-level cache when their turn comes
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
    let wanted = options.windows.map_or(if options.quick { 31 } else { 151 }, usize::from);
    pin(options.core)?;
    Realtime::probe();
    let clock = Clock::new();
    let mut progress = Progress::new("stage", cases.len(), plan::expected(&cases, wanted, options.cold));
    let mut gateways = Gateways::default();
    for case in &cases {
        progress.step(&format!("{} {} B {} tunnels", case.subject.name(), case.size, case.tunnels));
        let pair = gateways.of(case, options.cold)?;
        let kept = {
            let _urgent = Realtime::raise();
            measure(&clock, pair, wanted)
        };
        let kept = kept.with_context(|| format!("{case:?}"))?;
        progress.clear();
        let mut report = report::Report { case, cold: options.cold, json: options.json };
        for (dir, place) in [("out", 0), ("in", 1)] {
            let sums: Vec<&Sums> = kept.windows.iter().map(|both| &both[place]).collect();
            report.direction(dir, &sums)?;
        }
    }
    Ok(())
}

impl Options {
    fn wish(&self) -> Wish {
        let (sizes, tunnels) =
            if self.quick { (&[64][..], &[1][..]) } else { (&[64, 1400][..], &[1, 1000][..]) };
        let sizes = || sizes.iter().map(|n| Size::Bytes(*n)).collect();
        Wish {
            quick: self.quick,
            suites: Some(self.suites.clone().unwrap_or_else(|| vec![Subject::Suite(SuiteName::Aes256Gcm)])),
            sizes: Some(self.sizes.clone().unwrap_or_else(sizes)),
            tunnels: Some(self.tunnels.clone().unwrap_or_else(|| tunnels.to_vec())),
            flows: self.flows.clone(),
        }
    }
}

fn measure(clock: &Clock, pair: &mut Pair, wanted: usize) -> anyhow::Result<Kept<[Sums; 2]>> {
    warm_up(pair)?;
    let cost = clock.cost();
    let kept = windows(wanted, || {
        let mut watches = [Watch::new(clock, cost), Watch::new(clock, cost)];
        for _ in 0..BATCHES {
            pair.prepare()?;
            let [out, back] = &mut watches;
            out.begin();
            pair.protect(out);
            back.begin();
            pair.unprotect(back);
            pair.check()?;
        }
        Ok(watches.map(Watch::sums))
    })?;
    pair.conserved()?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_both_directions_are_seen() {
        for subject in [Subject::Suite(SuiteName::Aes128Gcm), Subject::Bypass] {
            let wish = Wish {
                suites: Some(vec![subject]),
                sizes: Some(vec![Size::Imix]),
                tunnels: Some(vec![3]),
                ..Wish::default()
            };
            let case = plan::cases(&wish).unwrap()[0];
            let mut gateways = Gateways::default();
            let kept = measure(&Clock::new(), gateways.of(&case, false).unwrap(), 2).unwrap();
            for sums in kept.windows.iter().flatten() {
                assert!(sums.total() > 0.0);
                for name in ["rx", "classify", "tx"] {
                    assert!(sums.stages().any(|s| s.name == name && s.packets > 0), "{name}");
                }
            }
        }
    }
}
