//! The search for the greatest rate (RFC 2544 §26.1) and for the longest burst (§26.4): logic alone.
//!
//! Decides: which rate or length is tried next, and what counts as passed. Reads: what a trial says. Never: sends.
//!
//! On a shared machine a trial may lose packets through no fault of the device. So a rate has failed only when as many
//! trials in a row as `tries` lost more than allowed, and at the end the lowest rate that failed is tried again: where it
//! passes now, its failure was noise and the search goes on above it.

/// One trial at one rate.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Trial {
    /// Packets per second that really left.
    pub(crate) offered: f64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// A core of the test was taken away meanwhile.
    pub(crate) disturbed: bool,
}

impl Trial {
    #[allow(clippy::cast_precision_loss)] // far below 2^52 packets
    pub(crate) fn loss(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.received);
        if self.sent == 0 { 1.0 } else { lost as f64 / self.sent as f64 }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Greatest rate tried.
    pub(super) max: f64,
    /// The search ends when the bounds are that close, as a share of the upper one.
    pub(super) resolution: f64,
    /// Share of the packets that may be lost: 0 for the no-drop rate.
    pub(super) loss: f64,
    /// Trials in a row that must lose before a rate has failed.
    pub(super) tries: u32,
    /// Bound of all trials together.
    pub(super) trials: u32,
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Found {
    /// Packets per second offered in the best trial that passed; 0: none did.
    pub(super) rate: f64,
    /// The generator could not offer more: the device may be faster.
    pub(super) generator_bound: bool,
    pub(super) trials: u32,
    /// Trials during which the machine was busy elsewhere.
    pub(super) disturbed: u32,
    /// The bound of trials ended the search before its resolution was reached.
    pub(super) cut_short: bool,
}

/// Share of the wanted rate below which the generator is the limit.
const REACHED: f64 = 0.97;

struct Search<'a, F> {
    limits: &'a Limits,
    trial: F,
    found: Found,
}

pub(super) fn search(
    limits: &Limits,
    trial: impl FnMut(f64) -> anyhow::Result<Trial>,
) -> anyhow::Result<Found> {
    let mut search = Search { limits, trial, found: Found::default() };
    search.run()?;
    Ok(search.found)
}

impl<F: FnMut(f64) -> anyhow::Result<Trial>> Search<'_, F> {
    fn run(&mut self) -> anyhow::Result<()> {
        if self.passes(self.limits.max)? || self.found.generator_bound {
            self.found.generator_bound = true;
            return Ok(());
        }
        let (mut low, mut high) = (0.0, self.limits.max);
        loop {
            while high - low > self.limits.resolution * high {
                if self.spent() {
                    self.found.cut_short = true;
                    return Ok(());
                }
                let middle = f64::midpoint(low, high);
                if self.passes(middle)? {
                    low = middle
                } else {
                    high = middle
                }
                if self.found.generator_bound {
                    return Ok(());
                }
            }
            // Was the upper bound lost to noise?
            if self.spent() || high >= self.limits.max || !self.passes(high)? {
                return Ok(());
            }
            (low, high) = (high, (high * 1.2).min(self.limits.max));
        }
    }

    fn spent(&self) -> bool {
        self.found.trials >= self.limits.trials
    }

    /// One of the tries loses no more than allowed.
    fn passes(&mut self, rate: f64) -> anyhow::Result<bool> {
        for _ in 0..self.limits.tries.max(1) {
            let trial = (self.trial)(rate)?;
            self.found.trials += 1;
            self.found.disturbed += u32::from(trial.disturbed);
            if trial.loss() <= self.limits.loss {
                self.found.rate = self.found.rate.max(trial.offered);
                self.found.generator_bound = trial.offered < rate * REACHED;
                return Ok(true);
            }
            if self.spent() {
                break;
            }
        }
        Ok(false)
    }
}

/// The longest burst that `lossless` says is not too long, up to `max`: doubling, then bisection to a sixteenth. Each
/// length has `tries` chances. 0: not even the shortest.
pub(super) fn longest_burst(
    max: u64,
    tries: u32,
    mut lossless: impl FnMut(u64) -> anyhow::Result<bool>,
) -> anyhow::Result<u64> {
    const SHORTEST: u64 = 32;
    let mut passes = |n: u64| -> anyhow::Result<bool> {
        for _ in 0..tries.max(1) {
            if lossless(n)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let (mut good, mut next) = (0, SHORTEST.min(max));
    while passes(next)? {
        good = next;
        if good >= max {
            return Ok(max);
        }
        next = (next * 2).min(max);
    }
    let mut bad = next;
    while good > 0 && bad - good > (bad / 16).max(1) {
        let middle = u64::midpoint(good, bad);
        if passes(middle)? { good = middle } else { bad = middle }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core_free::Random;

    /// A small generator of its own: tests need repeatable noise, not good noise.
    mod rand_core_free {
        pub(super) struct Random(pub(super) u64);
        impl Random {
            pub(super) fn chance(&mut self, one_in: u64) -> bool {
                self.0 =
                    self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 33).is_multiple_of(one_in)
            }
        }
    }

    const SENT: u64 = 1_000_000;

    /// Loses what goes beyond `capacity`; the generator reaches `generator`.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn device(capacity: f64, generator: f64) -> impl FnMut(f64) -> anyhow::Result<Trial> {
        move |rate| {
            let offered = rate.min(generator);
            let received = (SENT as f64 * (capacity / offered).min(1.0)) as u64;
            Ok(Trial { offered, sent: SENT, received, disturbed: false })
        }
    }

    fn limits(loss: f64) -> Limits {
        Limits { max: 1_500_000.0, resolution: 0.01, loss, tries: 2, trials: 60 }
    }

    #[test]
    fn finds_the_no_drop_rate() {
        for capacity in [3_000.0, 77_777.0, 640_000.0, 1_499_000.0] {
            let found = search(&limits(0.0), device(capacity, f64::MAX)).unwrap();
            assert!(found.rate <= capacity && found.rate > capacity * 0.985, "{capacity}: {found:?}");
            assert!(!found.generator_bound && !found.cut_short);
            assert!(found.trials <= 45, "{found:?}");
        }
    }

    #[test]
    fn a_partial_drop_rate_lies_above_it_by_its_share() {
        let found = search(&limits(0.1), device(900_000.0, f64::MAX)).unwrap();
        assert!((985_000.0..=1_000_001.0).contains(&found.rate), "{found:?}");
        let all = search(&limits(1.0), device(900_000.0, f64::MAX)).unwrap();
        assert!(all.generator_bound, "whoever allows every loss learns nothing about the device");
    }

    #[test]
    fn the_generator_may_be_the_limit() {
        let found = search(&limits(0.0), device(2e6, 1.2e6)).unwrap();
        assert_eq!((found.rate, found.generator_bound, found.trials), (1.2e6, true, 1));
        let found = search(&limits(0.0), device(1.3e6, f64::MAX)).unwrap();
        assert!(!found.generator_bound);
    }

    #[test]
    fn noise_does_not_lead_it_astray() {
        for seed in 0..200 {
            let (mut random, mut real) = (Random(seed), device(600_000.0, f64::MAX));
            let found = search(&limits(0.0), |rate| {
                let mut trial = real(rate)?;
                if random.chance(8) {
                    (trial.received, trial.disturbed) = (trial.received - 3000, true);
                }
                Ok(trial)
            });
            let found = found.unwrap();
            assert!(found.rate <= 600_000.0, "noise only ever lowers: {found:?}");
            assert!(found.rate > 570_000.0, "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn a_device_that_always_loses_ends_the_search_in_bounded_time() {
        let mut calls = 0;
        let found = search(&limits(0.0), |rate| {
            calls += 1;
            Ok(Trial { offered: rate, sent: SENT, received: SENT - 1, disturbed: true })
        });
        let found = found.unwrap();
        assert_eq!(found.rate, 0.0);
        assert!(calls <= 62 && found.cut_short && found.disturbed == calls, "{calls} {found:?}");
        assert_eq!(Trial::default().loss(), 1.0, "nothing sent is nothing shown");
    }

    #[test]
    fn an_error_of_a_trial_ends_the_search() {
        assert!(search(&limits(0.0), |_| anyhow::bail!("the device is gone")).is_err());
    }

    #[test]
    fn bursts_are_bisected() {
        for longest in [32, 33, 2048, 5000, 99_999] {
            let found = longest_burst(1 << 20, 1, |n| Ok(n <= longest)).unwrap();
            assert!(found <= longest && found * 16 >= longest * 15 - 16, "{longest}: {found}");
        }
        assert_eq!(longest_burst(4096, 1, |_| Ok(true)).unwrap(), 4096);
        assert_eq!(longest_burst(4096, 2, |_| Ok(false)).unwrap(), 0);
        assert_eq!(longest_burst(10, 1, |_| Ok(true)).unwrap(), 10);
        let mut first = true; // one loss by chance
        let found = longest_burst(4096, 2, |_| Ok(!std::mem::take(&mut first))).unwrap();
        assert_eq!(found, 4096);
        assert!(longest_burst(4096, 2, |_| anyhow::bail!("gone")).is_err());
    }
}
