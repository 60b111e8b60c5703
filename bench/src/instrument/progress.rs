//! How far a long run is, on standard error: a line that is written over on a terminal, else one every few seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Without a terminal a line is said at most this often.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Progress {
    steps: usize,
    done: usize,
    started: Instant,
    said: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// `expected` is said at once, so that nobody waits without knowing how long.
    pub(crate) fn new(what: &str, steps: usize, expected: Duration) -> Self {
        eprintln!("{what}: {steps} steps, about {} s", expected.as_secs().max(1));
        let terminal = std::io::stderr().is_terminal();
        Self { steps, done: 0, started: Instant::now(), said: None, terminal }
    }

    /// A step begins.
    pub(crate) fn step(&mut self, what: &str) {
        let now = Instant::now();
        if self.terminal || self.said.is_none_or(|said| now.duration_since(said) >= EVERY) {
            let left = match self.left(now) {
                Some(left) => format!(", {} s left", left.as_secs()),
                None => String::new(),
            };
            let line = format!("{}/{} {what}{left}", self.done + 1, self.steps);
            let (before, after) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "{before}{line}{after}");
            let _ = out.flush();
            self.said = Some(now);
        }
        self.done += 1;
    }

    /// Before a line on standard output: the terminal may be the same.
    pub(crate) fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// By the mean of the steps done.
    fn left(&self, now: Instant) -> Option<Duration> {
        let done = u32::try_from(self.done).ok().filter(|d| *d > 0)?;
        let left = u32::try_from(self.steps.saturating_sub(self.done)).ok()?;
        Some(now.duration_since(self.started) / done * left)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_is_done() {
        let started = Instant::now();
        let mut progress = Progress { steps: 10, done: 0, started, said: None, terminal: false };
        assert_eq!(progress.left(started), None);
        progress.done = 4;
        assert_eq!(progress.left(started + Duration::from_secs(8)), Some(Duration::from_secs(12)));
        progress.done = 12;
        assert_eq!(progress.left(started + Duration::from_secs(8)), Some(Duration::ZERO));
    }
}
