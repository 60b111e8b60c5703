//! Ctrl-C and SIGTERM end a bench in order: what it made is gone before the program is. The second signal ends it at once.
//! So it is where nobody reads its table any more.
//!
//! Decides: nothing; whoever waits asks [`check`]. Never: acts in the signal handler, which only raises a flag.

use anyhow::ensure;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// As a shell has it: 128 and the number of SIGINT.
pub(crate) const STATUS: u8 = 130;
/// Between two looks at the flag.
const PIECE: Duration = Duration::from_millis(50);

static RAISED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// To be called before anything is made that has to go again.
pub(crate) fn watch() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = RAISED.get_or_init(Arc::default).clone();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, STATUS.into(), flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

pub(crate) fn happened() -> bool {
    RAISED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// As a signal would; at once where nothing was made that has to go again.
pub(crate) fn end() {
    match RAISED.get() {
        Some(flag) => flag.store(true, Ordering::Relaxed),
        None => std::process::exit(1),
    }
}

/// An error once a signal has come.
pub(crate) fn check() -> anyhow::Result<()> {
    ensure!(!happened(), "interrupted");
    Ok(())
}

/// Sleeps, but not on after a signal.
pub(crate) fn sleep(time: Duration) -> anyhow::Result<()> {
    sleep_unless(time, happened)
}

fn sleep_unless(time: Duration, stop: impl Fn() -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    loop {
        ensure!(!stop(), "interrupted");
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(PIECE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_ends_when_the_flag_rises() {
        sleep_unless(Duration::from_millis(1), || false).unwrap();
        assert!(
            sleep_unless(Duration::from_hours(1), || true).unwrap_err().to_string().contains("interrupted")
        );
    }
}
