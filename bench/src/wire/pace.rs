//! When the next packets are due: arithmetic alone, no clock.
//!
//! Decides: how many packets leave now. Never: makes up for lost time by more than one burst; what is lost so is counted
//! as slipped, and the rate that was offered is what was sent.

const NANOS: f64 = 1e9;

/// A constant rate.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    /// Packets per nanosecond.
    rate: f64,
    /// Nanoseconds at which packet 0 of the present reckoning was due.
    start: f64,
    sent: u64,
    burst: u64,
    slipped: u64,
}

impl Pacer {
    /// `now` in nanoseconds of any clock; at most `burst` packets at a time.
    pub(super) fn new(packets_per_second: f64, now: u64, burst: usize) -> Self {
        #[allow(clippy::cast_precision_loss)] // days of nanoseconds
        let start = now as f64;
        let burst = u64::try_from(burst).unwrap_or(1).max(1);
        Self { rate: packets_per_second.max(f64::MIN_POSITIVE) / NANOS, start, sent: 0, burst, slipped: 0 }
    }

    /// How many packets may leave now.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn due(&mut self, now: u64) -> usize {
        let by_now = ((now as f64 - self.start) * self.rate).floor().max(0.0) as u64 + 1;
        let due = by_now.saturating_sub(self.sent);
        if due > self.burst {
            let late = due - self.burst;
            self.slipped += late;
            self.start += late as f64 / self.rate;
        }
        due.min(self.burst) as usize
    }

    pub(super) fn sent(&mut self, packets: usize) {
        self.sent += packets as u64;
    }

    /// Packets that were due and never left.
    pub(super) fn slipped(&self) -> u64 {
        self.slipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at the clock every `step` nanoseconds for `total` nanoseconds.
    fn run(rate: f64, step: u64, total: u64, burst: usize) -> (u64, u64, usize) {
        let mut pacer = Pacer::new(rate, 1_000_000, burst);
        let (mut sent, mut most) = (0, 0);
        for at in (0..total).step_by(usize::try_from(step).unwrap()) {
            let due = pacer.due(1_000_000 + at);
            pacer.sent(due);
            sent += due as u64;
            most = most.max(due);
        }
        (sent, pacer.slipped(), most)
    }

    #[test]
    fn the_rate_is_kept_to_the_packet() {
        assert_eq!(run(1_000_000.0, 100, 1_000_000_000, 64), (1_000_000, 0, 1));
        assert_eq!(run(1000.0, 100_000, 1_000_000_000, 64), (1000, 0, 1));
        let (sent, slipped, most) = run(1_234_567.0, 5000, 1_000_000_000, 64);
        assert!((1_234_550..=1_234_568).contains(&sent), "{sent}");
        assert_eq!(slipped, 0);
        assert!(most <= 8, "{most}");
    }

    #[test]
    fn what_is_late_is_not_made_up_for() {
        // Once in 100 µs at most 8: 80,000 a second, whatever was asked for.
        let (sent, slipped, most) = run(1_000_000.0, 100_000, 1_000_000_000, 8);
        assert!((79_990..=80_000).contains(&sent), "{sent}");
        assert_eq!(most, 8);
        assert!((919_000..=920_100).contains(&slipped), "{slipped}");
    }

    #[test]
    fn a_pause_does_not_become_a_burst() {
        let mut pacer = Pacer::new(1e6, 0, 32);
        pacer.sent(pacer.clone().due(0));
        assert_eq!(pacer.due(50_000_000), 32);
        pacer.sent(32);
        assert_eq!(pacer.due(50_000_000), 0, "the 50 ms are gone");
        assert_eq!(pacer.due(50_002_000), 2);
    }

    #[test]
    fn no_rate_is_no_division_by_zero() {
        let mut pacer = Pacer::new(0.0, 5, 64);
        assert_eq!(pacer.due(5), 1);
        pacer.sent(1);
        assert_eq!(pacer.due(u64::MAX / 2), 0);
    }
}
