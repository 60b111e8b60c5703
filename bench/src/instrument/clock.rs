//! The time-stamp counter, and how fast it goes.

use std::time::{Duration, Instant};

/// Long enough that two readings of the system's clock do not matter.
const CALIBRATION: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Clock {
    counter: quanta::Clock,
    hz: f64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let counter = quanta::Clock::new();
        let (start, from) = (Instant::now(), counter.raw());
        while start.elapsed() < CALIBRATION {
            std::hint::spin_loop();
        }
        #[allow(clippy::cast_precision_loss)] // a few significant digits are shown
        let ticks = (counter.raw() - from) as f64;
        Self { counter, hz: ticks / start.elapsed().as_secs_f64() }
    }

    /// Now, in clocks.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.counter.raw()
    }

    /// Clocks per second.
    pub(crate) fn hz(&self) -> f64 {
        self.hz
    }

    /// Millions of packets per second at so many clocks per packet.
    pub(crate) fn mpps(&self, clk_per_packet: f64) -> f64 {
        self.hz / clk_per_packet / 1e6
    }

    /// What reading the clock twice adds to a stretch between: the median of many, in clocks.
    pub(crate) fn cost(&self) -> f64 {
        let once = || {
            let start = self.now();
            std::hint::black_box(self.now()) - start
        };
        let mut all: Vec<u64> = (0..10_000).map(|_| once()).collect();
        all.sort_unstable();
        #[allow(clippy::cast_precision_loss)] // tens of clocks
        all.get(all.len() / 2).map_or(0.0, |clk| *clk as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_rises_and_its_speed_is_one_of_a_processor() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!((1e6..1e11).contains(&clock.hz()), "{}", clock.hz());
        assert!(clock.cost() >= 0.0);
        assert!((clock.mpps(clock.hz() / 1e6) - 1.0).abs() < 1e-9);
    }
}
