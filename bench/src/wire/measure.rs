//! The measurements on one running device: rate under overload, throughput, latency, bursts, recovery (RFC 2544).
//!
//! Decides: how often something is tried, and for how long. Never: compares devices; that is the report's.

use super::generator::Generator;
use super::record::Percentiles;
use super::search::{self, Found, Limits};
use super::tester::{Load, Stream, Tester};
use std::time::Duration;

/// How long and how carefully.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// One window of a rate.
    pub(super) window: Duration,
    /// One trial of latency or recovery.
    pub(super) long: Duration,
    /// One trial of a search.
    pub(super) trial: Duration,
    pub(super) resolution: f64,
    /// Trials of a search at most.
    pub(super) trials: u32,
}

/// Caches, neighbours and clock speed settle.
const WARM_UP: Duration = Duration::from_millis(200);
/// Trials in a row that must fail before the device has failed.
const TRIES: u32 = 2;
/// A disturbed measurement is repeated at most so often.
const REPEATS: u32 = 3;
/// Longest burst tried: about a second at the rates of one core.
const LONGEST_BURST: u64 = 1 << 20;
/// RFC 2544 §26.5: 110 % of the throughput, then half of it.
const OVERLOAD: f64 = 1.1;
const AFTER: f64 = 0.5;

/// Above this rate not every packet is read for its time-stamp: reading is the tester's work, on the core that sends.
const READ_ALL: f64 = 50_000.0;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Delay {
    /// Share of the throughput, in percent.
    pub(super) load: u32,
    /// Packets per second that were really sent.
    pub(super) offered: f64,
    pub(super) lost: u64,
    /// Packets that the tester was too late for.
    pub(super) slipped: u64,
    pub(super) disturbed: bool,
    pub(super) percentiles: Percentiles,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Recovery {
    /// Packets per second during the overload, and after it.
    pub(super) overload: f64,
    pub(super) after: f64,
    /// Seconds from the end of the overload until nothing was lost any more.
    pub(super) seconds: f64,
    pub(super) lost: u64,
    pub(super) disturbed: bool,
}

pub(super) struct Measure<'a> {
    pub(super) tester: &'a mut Tester,
    pub(super) stream: &'a Stream,
    pub(super) effort: Effort,
}

impl Measure<'_> {
    /// One window; packets per second that came through, and whether the machine was busy elsewhere all the same.
    pub(super) fn rate(&mut self, generator: Generator) -> anyhow::Result<(f64, bool)> {
        let mut window = (0.0, true);
        for _ in 0..REPEATS {
            window = generator.overload(self.tester, self.stream, self.effort.window, WARM_UP)?;
            if !window.1 {
                break;
            }
        }
        Ok(window)
    }

    pub(super) fn throughput(&mut self, loss: f64) -> anyhow::Result<Found> {
        let max = self.top()?;
        let Effort { resolution, trials, trial, .. } = self.effort;
        let limits = Limits { max, resolution, loss, tries: TRIES, trials };
        search::search(&limits, |rate| {
            let load = Load { rate: Some(rate), time: trial, ..Load::default() };
            Ok(self.tester.run(self.stream, &load)?.trial)
        })
    }

    /// What the generator reaches at all.
    fn top(&mut self) -> anyhow::Result<f64> {
        let load = Load { time: self.effort.trial, ..Load::default() };
        Ok(self.tester.run(self.stream, &load)?.trial.offered)
    }

    /// At `percent` of `rate`. `None`: nothing could be read (no keys, or all was lost).
    pub(super) fn latency(&mut self, rate: f64, percent: u32) -> anyhow::Result<Option<Delay>> {
        let rate = rate * f64::from(percent) / 100.0;
        let load = Load {
            rate: Some(rate),
            time: self.effort.long,
            sample: Some(sampling(rate)),
            ..Load::default()
        };
        let mut best: Option<Delay> = None;
        for _ in 0..REPEATS {
            let outcome = self.tester.run(self.stream, &load)?;
            let trial = outcome.trial;
            let Some(percentiles) = outcome.latency.percentiles() else { continue };
            let (offered, disturbed) = (trial.offered, trial.disturbed);
            let lost = trial.sent.saturating_sub(trial.received);
            let slipped = outcome.slipped;
            let delay = Delay { load: percent, offered, lost, slipped, disturbed, percentiles };
            if best.is_none_or(|b| percentiles.p99 < b.percentiles.p99) {
                best = Some(delay);
            }
            if !disturbed {
                return Ok(Some(delay));
            }
        }
        Ok(best)
    }

    /// Packets at the generator's full speed.
    pub(super) fn burst(&mut self) -> anyhow::Result<u64> {
        search::longest_burst(LONGEST_BURST, TRIES, |packets| {
            let time = Duration::from_secs(5);
            let trial = self.tester.run(self.stream, &Load { packets, time, ..Load::default() })?.trial;
            Ok(trial.received >= trial.sent && trial.sent == packets)
        })
    }

    /// `None`: nothing could be read.
    pub(super) fn recovery(&mut self, throughput: f64) -> anyhow::Result<Option<Recovery>> {
        let after = throughput * AFTER;
        let load = Load {
            rate: Some(throughput * OVERLOAD),
            time: self.effort.long,
            then: Some(after),
            ..Load::default()
        };
        let mut best: Option<Recovery> = None;
        for _ in 0..REPEATS {
            let outcome = self.tester.run(self.stream, &load)?;
            let Some(seconds) = outcome.missing.until_complete() else { continue };
            let (lost, disturbed) = (outcome.missing.count(), outcome.trial.disturbed);
            let this = Recovery { overload: outcome.trial.offered, after, seconds, lost, disturbed };
            if best.is_none_or(|b| seconds < b.seconds) {
                best = Some(this);
            }
            if !disturbed {
                return Ok(Some(this));
            }
        }
        Ok(best)
    }
}

/// One packet in 2^n is read.
fn sampling(rate: f64) -> u8 {
    (0..12).find(|n| rate / f64::from(1u32 << n) <= READ_ALL).unwrap_or(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stay_below_what_the_tester_can_read() {
        assert_eq!(sampling(1000.0), 0);
        assert_eq!(sampling(READ_ALL), 0);
        assert_eq!(sampling(READ_ALL + 1.0), 1);
        for rate in [1e5, 1.2e6, 2e7] {
            assert!(rate / f64::from(1u32 << sampling(rate)) <= READ_ALL, "{rate}");
        }
    }
}
