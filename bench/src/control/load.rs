//! Time and resident memory to load the tables of many tunnels and many SAs into a running data plane.

use super::plane::{self, Plane};
use super::{Options, Output, per_second};
use crate::instrument::Progress;
use crate::suites::SuiteName;
use ravelin_ring::msg::Direction;

/// Tunnels of the change that is published again with all others already there.
const AGAIN: u64 = 2;

pub(super) fn run(options: &Options, progress: &mut Progress, out: &Output) -> anyhow::Result<()> {
    progress.step("load");
    let mut plane = Plane::start(options.sas / 2 + 2, options.core)?;
    let tunnels = format!("{} tunnels", options.tunnels);
    let empty = plane.process.usage()?;
    let took = plane.load_tables(options.tunnels, 1)?;
    out.say("tables loaded, first time", &tunnels, took.as_secs_f64() * 1e3, "ms")?;
    let took = plane.load_tables(options.tunnels, AGAIN)?;
    out.say("tables published again, all of them", &tunnels, took.as_secs_f64() * 1e3, "ms")?;
    let with_tables = plane.process.usage()?;
    out.say(
        "resident memory per tunnel",
        &tunnels,
        each(empty.rss, with_tables.rss, options.tunnels),
        "bytes",
    )?;

    let suite = SuiteName::Aes256Gcm.contract();
    let mut commands = Vec::new();
    for n in 0..options.sas {
        let (tunnel, number) = ((n / 2) % options.tunnels, n + 1);
        let direction = if n % 2 == 0 { Direction::Inbound } else { Direction::Outbound };
        commands.extend(plane::install(number, tunnel, direction, suite)?);
        if direction == Direction::Outbound {
            commands.push(plane::use_outbound(number, tunnel));
        }
    }
    let case = format!("{} SAs, aes-256-gcm, in and out", options.sas);
    let took = plane.drive(&commands)?;
    out.say("SAs loaded", &case, took.as_secs_f64() * 1e3, "ms")?;
    out.say("SAs loaded", &case, per_second(options.sas.into(), took), "per second")?;
    let full = plane.process.usage()?;
    out.say("resident memory per SA", &case, each(with_tables.rss, full.rss, options.sas), "bytes")
}

#[allow(clippy::cast_precision_loss)] // bytes of one process
fn each(before: u64, after: u64, count: u32) -> f64 {
    after.saturating_sub(before) as f64 / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn what_was_there_before_is_not_counted() {
        assert!((each(1000, 3000, 4) - 500.0).abs() < 1e-9);
        assert!(each(3000, 1000, 4).abs() < 1e-9);
    }
}
