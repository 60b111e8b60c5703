//! Bytes per SA, counted as they are allocated: a worker in memory takes SAs of one suite and direction.
//!
//! Reads: the counting allocator. Room for all SAs is taken by the worker's indexes at its start, which counts too.

use super::plane;
use super::{Options, Output};
use crate::instrument::{Progress, live_bytes};
use crate::suites::SuiteName;
use clap::ValueEnum;
use ravelin_dataplane::{Worker, WorkerConfig};
use ravelin_ring::msg::{Direction, Outcome, WorkerCommand, WorkerEvent, WorkerId};

/// A power of two: vectors are full then, nothing is counted that is not used.
const SAS: u32 = 16_384;

pub(super) fn run(_: &Options, progress: &mut Progress, out: &Output) -> anyhow::Result<()> {
    progress.step("memory");
    for suite in SuiteName::value_variants() {
        for (direction, name) in [(Direction::Inbound, "in"), (Direction::Outbound, "out")] {
            let bytes = per_sa(*suite, direction)?;
            out.say("allocated per SA, keys included", &format!("{}, {name}", suite.name()), bytes, "bytes")?;
        }
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // some megabytes
fn per_sa(suite: SuiteName, direction: Direction) -> anyhow::Result<f64> {
    let commands = (1..=SAS).map(|n| plane::install(n, n % 1024, direction, suite.contract()));
    let commands = commands.collect::<anyhow::Result<Vec<_>>>()?;
    // An empty worker is not counted, its room for SAs is.
    let small = size_of_worker(1)?;
    let before = live_bytes();
    let mut worker = Worker::new(WorkerConfig { id: WorkerId(0), workers: 1, max_sas: SAS });
    for command in commands.iter().flatten() {
        match worker.apply(command.clone()) {
            None | Some(WorkerEvent::Done { outcome: Outcome::Ok, .. }) => {}
            other => anyhow::bail!("the worker refused an SA: {other:?}"),
        }
    }
    let used = live_bytes() - before - small;
    drop(worker);
    drop::<Vec<[WorkerCommand; 2]>>(commands);
    Ok(used as f64 / f64::from(SAS))
}

fn size_of_worker(max_sas: u32) -> anyhow::Result<i64> {
    let before = live_bytes();
    let worker = Worker::new(WorkerConfig { id: WorkerId(0), workers: 1, max_sas });
    let size = live_bytes() - before;
    drop(worker);
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sa_takes_more_than_its_keys_and_less_than_a_page() {
        let bytes = per_sa(SuiteName::Aes256Gcm, Direction::Inbound).unwrap();
        assert!((64.0..4096.0).contains(&bytes), "{bytes}");
    }
}
