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
        assert!((clock.mpps(clock.hz() / 1e6) - 1.0).abs() < 1e-9);
    }
}
