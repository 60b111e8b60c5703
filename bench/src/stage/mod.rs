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

Without --suites, --sizes and --tunnels: aes-256-gcm x 64, 1400 x 1, 1000 tunnels; with --quick 64 bytes and one tunnel.
Clocks are per packet of the direction, not per packet that the stage was given: the rows add up to `total`, which is a
little more than `ravelin-bench way` finds, since stages cannot overlap as freely. Stages without packets are left out.";

pub(crate) fn run(wish: &Wish) -> anyhow::Result<()> {
    let cases = plan::cases(&narrowed(wish)).context(WrongOption)?;
    let wanted = wish.windows();
    pin(wish.core).context(WrongOption)?;
    Realtime::probe();
    let clock = Clock::new();
    let mut progress = Progress::new("stage", cases.len(), plan::expected(&cases, wanted, wish.cold));
    let mut gateways = Gateways::default();
    for case in &cases {
        progress.step(&format!("{} {} B {} tunnels", case.subject.name(), case.size, case.tunnels));
        let pair = gateways.of(case, wish.cold)?;
        let kept = {
            let _urgent = Realtime::raise();
            measure(&clock, pair, wanted)
        };
        let kept = kept.with_context(|| format!("{case:?}"))?;
        progress.clear();
        let mut report = report::Report { case, cold: wish.cold, json: wish.json };
        for (dir, place) in [("out", 0), ("in", 1)] {
            let sums: Vec<&Sums> = kept.windows.iter().map(|both| &both[place]).collect();
            report.direction(dir, &sums)?;
        }
    }
    Ok(())
}

/// What is left open is less than `way` takes: each case has many lines.
fn narrowed(wish: &Wish) -> Wish {
    let (sizes, tunnels) = if wish.quick { (&[64][..], &[1][..]) } else { (&[64, 1400][..], &[1, 1000][..]) };
    let mut narrowed = wish.clone();
    narrowed.suites.get_or_insert_with(|| vec![Subject::Suite(SuiteName::Aes256Gcm)]);
    narrowed.sizes.get_or_insert_with(|| sizes.iter().map(|n| Size::Bytes(*n)).collect());
    narrowed.tunnels.get_or_insert_with(|| tunnels.to_vec());
    narrowed
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
