//! Rising rates, until more is offered in vain: logic alone.
//!
//! Decides: which rate comes next, and which step is the best. A gateway that is offered far too much may do nothing but
//! drop, so its figure is the best of all steps, not the last one.

/// Packets per second; 0 is as fast as the generator goes.
const RATES: [u64; 14] = [
    10_000, 20_000, 35_000, 50_000, 75_000, 100_000, 150_000, 250_000, 400_000, 600_000, 800_000, 1_000_000,
    1_300_000, 0,
];
/// Below this share of the best so far it goes down; twice ends the climb.
const DOWN: f64 = 0.9;
/// Below this share of what was offered a device is beyond its limit.
const LOSING: f64 = 0.7;
/// What may be lost of a rate that is called without loss: noise of a shared machine.
const TOLERATED: f64 = 0.01;

/// What came out at one rate.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Step {
    pub(super) offered: f64,
    pub(super) delivered: f64,
    /// Processor time of the device per second.
    pub(super) cores: f64,
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Best {
    pub(super) delivered: f64,
    /// At that rate.
    pub(super) cores: f64,
    /// The highest rate of which at most one packet in a hundred was lost.
    pub(super) lossless: f64,
}

pub(super) fn climb(mut step: impl FnMut(u64) -> anyhow::Result<Step>) -> anyhow::Result<Best> {
    let (mut best, mut beyond) = (Best::default(), 0);
    for rate in RATES {
        let got = step(rate)?;
        if got.delivered > best.delivered {
            (best.delivered, best.cores) = (got.delivered, got.cores);
        }
        if got.delivered >= got.offered * (1.0 - TOLERATED) {
            best.lossless = best.lossless.max(got.delivered);
        }
        beyond += u32::from(got.delivered < got.offered * LOSING || got.delivered < best.delivered * DOWN);
        if beyond >= 3 {
            break;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries up to `capacity`; beyond it, each packet offered costs `waste` of one.
    #[allow(clippy::cast_precision_loss)]
    fn device(capacity: f64, waste: f64) -> impl FnMut(u64) -> anyhow::Result<Step> {
        move |rate| {
            let offered = if rate == 0 { 2e6 } else { rate as f64 };
            let excess = (offered - capacity).max(0.0);
            let delivered = offered.min((capacity - excess * waste).max(0.0));
            Ok(Step { offered, delivered, cores: 1.0 })
        }
    }

    #[test]
    fn a_device_that_collapses_is_known_by_its_best() {
        let best = climb(device(60_000.0, 0.5)).unwrap();
        assert!((best.delivered - 52_500.0).abs() < 1.0, "{best:?}");
        assert!((best.lossless - 50_000.0).abs() < 1.0);
    }

    #[test]
    fn a_device_that_holds_its_rate_is_offered_more_and_no_less_comes_out() {
        let mut steps = 0;
        let mut real = device(300_000.0, 0.0);
        let best = climb(|rate| {
            steps += 1;
            real(rate)
        });
        assert!((best.unwrap().delivered - 300_000.0).abs() < 1.0);
        assert!(steps < RATES.len(), "it ends before the top");
        assert!((climb(device(3e6, 0.0)).unwrap().delivered - 2e6).abs() < 1.0);
    }
}
