//! What the tester notes of packets that came back: how long they took, and which of them are missing.

use hdrhistogram::Histogram;

/// Longest latency that is told apart: ten seconds.
const LONGEST: u64 = 10_000_000_000;
/// Room for the numbers of one trial; later ones are not noted.
const MOST: usize = 1 << 23;

/// Nanoseconds from leaving the tester to being read by it, to three digits.
#[derive(Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// In microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Percentiles {
    pub(crate) samples: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST, 3)?))
    }

    pub(super) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    /// `None`: nothing was read.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        #[allow(clippy::cast_precision_loss)] // at most ten seconds
        let at = |q| self.0.value_at_quantile(q) as f64 / 1e3;
        let samples = self.0.len();
        (samples > 0).then(|| Percentiles {
            samples,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        })
    }
}

/// Which packets from a number on have not arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing {
    first: u64,
    rate: f64,
    seen: Vec<bool>,
}

impl Missing {
    /// Notes from `first` on, sent at `rate` packets per second.
    pub(super) fn from(first: u64, rate: f64) -> Self {
        Self { first, rate, seen: Vec::new() }
    }

    pub(super) fn arrived(&mut self, number: u64) {
        if self.rate <= 0.0 {
            return;
        }
        let Some(at) = number.checked_sub(self.first).and_then(|n| usize::try_from(n).ok()) else { return };
        if at >= MOST {
            return;
        }
        if at >= self.seen.len() {
            self.seen.resize(at + 1, false);
        }
        self.seen[at] = true;
    }

    /// Seconds from the first of these packets until the last one that is missing had left; 0: none is. Those after the
    /// last arrival do not count: nothing tells whether they were lost.
    #[allow(clippy::cast_precision_loss)] // at most MOST
    pub(crate) fn until_complete(&self) -> Option<f64> {
        if self.seen.is_empty() {
            return None;
        }
        Some(self.seen.iter().rposition(|seen| !seen).map_or(0.0, |last| (last + 1) as f64 / self.rate))
    }

    pub(crate) fn count(&self) -> u64 {
        self.seen.iter().filter(|seen| !**seen).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut latency = Latency::new().unwrap();
        assert_eq!(latency.percentiles(), None);
        for us in 1..=1000u64 {
            latency.record(us * 1000);
        }
        let p = latency.percentiles().unwrap();
        let near = |got: f64, want: f64| (got - want).abs() <= want * 0.002;
        assert!(near(p.p50, 500.0) && near(p.p99, 990.0) && near(p.p999, 999.0), "{p:?}");
        assert!(near(p.max, 1000.0) && p.samples == 1000, "{p:?}");
    }

    #[test]
    fn beyond_the_bounds_it_saturates() {
        let mut latency = Latency::new().unwrap();
        latency.record(0);
        latency.record(u64::MAX);
        let p = latency.percentiles().unwrap();
        assert!(p.samples == 2 && p.max >= 9.9e6, "{p:?}");
    }

    #[test]
    fn recovery_ends_with_the_last_missing_packet() {
        let mut missing = Missing::from(1000, 10_000.0);
        assert_eq!(missing.until_complete(), None, "nothing arrived: nothing is known");
        for number in [900, 1003, 1000, 1005, 1007, 1006] {
            missing.arrived(number);
        }
        assert_eq!(missing.count(), 3, "1001, 1002 and 1004");
        assert!((missing.until_complete().unwrap() - 5.0 / 10_000.0).abs() < 1e-12);
        for number in [1001, 1002, 1004] {
            missing.arrived(number);
        }
        assert_eq!(missing.until_complete(), Some(0.0));
        missing.arrived(u64::MAX);
        assert!(missing.count() == 0, "numbers out of all bounds take no memory");
        let mut off = Missing::default();
        off.arrived(5);
        assert_eq!(off.until_complete(), None);
    }
}
