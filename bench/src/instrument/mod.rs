//! What all benches measure with: the clock, the core, the statistics, how figures and progress are said.
//!
//! Decides: nothing about what is measured. Never: judges a figure by a threshold.

mod allocations;
mod clock;
mod machine;
mod progress;
mod spread;

pub(crate) use allocations::{allocations, live_bytes};
pub(crate) use clock::Clock;
pub(crate) use machine::{Realtime, Waiting, pin};
pub(crate) use progress::Progress;
pub(crate) use spread::{Spread, rounded};

/// One JSON object as one line of standard output: what `--json` prints. Fields that are strings or truth values, and
/// `size`, `tunnels` and `flows`, say what was measured; all others are measurements (`compare` relies on it).
pub(crate) fn emit(line: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}
