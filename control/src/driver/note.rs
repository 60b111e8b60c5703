//! What is remembered of a tunnel besides the engine's own state, and how soon its traffic may ask again.

use crate::metrics::Totals;
use std::time::{Duration, Instant};

/// What `show` says of a tunnel besides the engine's own state.
#[derive(Clone, Debug, Default)]
pub(super) struct Note {
    pub rekeys: u64,
    /// What was counted when the operator cleared the counters.
    pub counted_before: Totals,
    pub last_error: Option<(String, Instant)>,
    /// Fails since the last `up`: answers a waiting `ravelin up`.
    pub failures: u64,
    failed_at: Option<Instant>,
}

impl Note {
    pub(super) fn failed(&mut self, now: Instant, why: String) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.last_error = Some((why, now));
    }

    /// Traffic asks every second; a peer that does not want us is not asked at that pace. Attempts of strangers do
    /// not count: they could keep a tunnel down.
    pub(super) fn backs_off(&self, now: Instant) -> bool {
        let pause = Duration::from_secs((1 << self.failures.min(6)).min(60));
        self.failed_at.is_some_and(|at| self.failures > 0 && now.saturating_duration_since(at) < pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_waits_longer_after_each_failure_but_never_longer_than_a_minute() {
        let start = Instant::now();
        let after = |failures, secs| {
            let note = Note { failures, failed_at: Some(start), ..Note::default() };
            note.backs_off(start + Duration::from_secs(secs))
        };
        assert!(!Note::default().backs_off(start));
        assert!(!after(0, 0), "it was up since");
        assert!(after(1, 1) && !after(1, 2));
        assert!(after(3, 7) && !after(3, 8));
        assert!(after(u64::MAX, 59) && !after(u64::MAX, 60));
    }
}
