//! What all benches measure with: the clock, the core, the statistics, how figures and progress are said.
//!
//! Decides: nothing about what is measured. Never: judges a figure by a threshold.

mod allocations;
mod clock;
pub(crate) mod interrupt;
mod machine;
mod progress;
mod spread;

use std::io::Write;

pub(crate) use allocations::{allocations, live_bytes};
pub(crate) use clock::Clock;
pub(crate) use machine::{Realtime, Waiting, pin};
pub(crate) use progress::Progress;
pub(crate) use spread::{Spread, middle_half, rounded};

/// What an error is told apart by that the command line itself has caused: the exit status is 2 then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrongOption;

impl std::fmt::Display for WrongOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrong option")
    }
}

/// A line of a table on standard output. Where nobody reads it any more, as behind `head`, the bench ends in order.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    // Not by println!, which panics then.
    if writeln!(std::io::stdout(), "{line}").is_err() {
        interrupt::end();
    }
}

macro_rules! say {
    ($($part:tt)*) => {
        $crate::instrument::say(format_args!($($part)*))
    };
}

/// One JSON object as one line of standard output: what `--json` prints. Fields that are strings or truth values, and
/// `size`, `tunnels` and `flows`, say what was measured; all others are measurements (`compare` relies on it).
pub(crate) fn emit(line: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(line)?)?)
}
