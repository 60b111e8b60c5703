//! How many log lines a stranger can cause.

use std::time::Instant;

/// So many lines at once, one more per second.
const BURST: u32 = 10;

/// A token bucket.
#[derive(Debug)]
pub(super) struct LogLimit {
    left: u32,
    since: Option<Instant>,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self { left: BURST, since: None }
    }
}

impl LogLimit {
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned = now.saturating_duration_since(since).as_secs();
        if earned > 0 {
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(BURST)).min(BURST);
            self.since = Some(now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_leaves_a_few_lines_and_silence_earns_new_ones() {
        let start = Instant::now();
        let mut limit = LogLimit::default();
        let allowed = (0..1000).filter(|_| limit.allows(start)).count();
        assert_eq!(allowed, 10);
        assert!(limit.allows(start + Duration::from_secs(2)));
        assert!(limit.allows(start + Duration::from_secs(2)));
        assert!(!limit.allows(start + Duration::from_secs(2)));
    }
}
