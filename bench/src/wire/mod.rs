//! The gateway on a wire: tester – device – tester, in three network namespaces joined by veth pairs, or on two ports that
//! the operator names.
//!
//! Decides: which runs are made and in which turns (forwarder and gateway alternate, so that a drifting machine hits
//! both). Never: compares figures of different runs.

pub(crate) mod lab;
pub(crate) mod traffic;
mod packet;
mod pace;
mod side;
mod sending;
pub(crate) mod tester;
mod generator;
mod pktgen;
pub(crate) mod device;
mod steer;
pub(crate) mod forwarder;
pub(crate) mod gateway;
mod record;
mod watch;
mod search;
mod measure;
mod options;
mod plan;
mod report;
mod page;

pub(crate) use options::{EXAMPLES, Options};

use crate::instrument::{Realtime, WrongOption, interrupt};
use anyhow::{Context, ensure};
use lab::Lab;
use report::Report;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tester::Tester;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    options.check().context(WrongOption)?;
    let interrupted = interrupt::watch()?;
    // Threads and processes that are started from here on have it too: tester, forwarder and gateway alike. The worker
    // of a device waits for packets where it can, every load has its end, and children end with this thread.
    let urgent = Realtime::raise().or_say();
    let mut report = Report::new(options.json, urgent.granted());
    let done = measure(options, &interrupted, &mut report);
    if let Some(dir) = &options.report
        && !report.rows.is_empty()
    {
        page::write(dir, &report.rows).with_context(|| format!("writing the report to {}", dir.display()))?;
        eprintln!("report: {}", dir.join(page::NAME).display());
    }
    done
}

/// Everything that was made is gone when this returns.
fn measure(options: &Options, interrupted: &Arc<AtomicBool>, report: &mut Report) -> anyhow::Result<()> {
    if let Some(ends) = options.ends()? {
        let mut tester = Tester::new(&ends, interrupted.clone())?;
        return plan::box_under_test(options, &mut tester, report);
    }
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "the lab needs two cores: one for the tester, one for the device under test");
    let program = options.dataplane.clone().map_or_else(beside_this_program, Ok)?;
    let lab = Lab::new().context("making the namespaces (root is needed)")?;
    let mut tester = Tester::new(&lab.ends(), interrupted.clone())?;
    let gateways: Vec<_> = options
        .tunings()
        .into_iter()
        .map(|tuning| gateway::Ravelin { program: program.clone(), tuning })
        .collect();
    let devices: Vec<&dyn device::Device> = gateways.iter().map(|g| g as &dyn device::Device).collect();
    plan::in_the_lab(options, &lab, &mut tester, &devices, report)
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("ravelin-dataplane");
    ensure!(
        path.exists(),
        "{} is missing: build it (cargo build --release -p ravelin-dataplane) or name it by --dataplane",
        path.display()
    );
    Ok(path)
}
