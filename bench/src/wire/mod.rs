//! The gateway on a wire: generator – gateway – sink, three network namespaces joined by veth pairs.
//!
//! Decides: which runs are made and in which turns (forwarder and gateway alternate, so that a drifting machine hits
//! both). Reads: the sink's counter. Never: compares figures of different runs.

mod lab;
mod generator;
mod forwarder;
mod gateway;
mod sink;
mod steer;
mod report;

use crate::suites::SuiteName;
use anyhow::Context;
use lab::Lab;
use report::{Report, Row};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench wire --quick
  ravelin-bench wire --suites aes-128-gcm,chacha20-poly1305 --sizes 64,1400 --seconds 3
  ravelin-bench wire --quick --json | jq .ratio

The generator and everything on its core run on core 0, the forwarder and the gateway's worker on core 1.
Sizes are those of the inner IP packet in bytes.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// One suite, sizes 64 and 1400, short windows
    #[arg(long)]
    quick: bool,
    /// Suites, comma-separated
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "aes-128-gcm,aes-256-gcm,aes-256-cbc-hmac-sha2-256,aes-128-cbc-hmac-sha1-96,chacha20-poly1305"
    )]
    suites: Vec<SuiteName>,
    /// Inner packet sizes in bytes, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "64,512,1400")]
    sizes: Vec<u16>,
    /// Length of one window in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Windows of each run; the median is quoted
    #[arg(long, default_value_t = 5)]
    windows: usize,
    /// The data plane to measure; default: beside this program
    #[arg(long)]
    dataplane: Option<PathBuf>,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let program = options.dataplane.clone().map_or_else(beside_this_program, Ok)?;
    let lab = Lab::new().context("making the namespaces (root is needed)")?;
    let suites = if options.quick { &options.suites[..1.min(options.suites.len())] } else { &options.suites };
    let sizes = if options.quick { &[64, 1400][..] } else { &options.sizes };
    let mut report = Report::new(options.json);
    for &size in sizes {
        anyhow::ensure!((48..=1400).contains(&size), "size {size}: 48 to 1400 bytes fit this path");
        eprintln!("size {size}: plain AF_XDP forwarder");
        let plain = with_load(&lab, size, options, || forwarder::start(&lab))?;
        report.plain(size, &plain);
        for &suite in suites {
            eprintln!("size {size}: gateway, {}", suite.name());
            let pps = with_load(&lab, size, options, || gateway::start(&lab, &program, suite))?;
            report.add(Row { suite: suite.name(), size, plain: plain.clone(), gateway: pps });
        }
    }
    report.finish();
    Ok(())
}

/// Packets per second at the sink, one figure per window, while the device under test and the generator run.
fn with_load<T>(
    lab: &Lab,
    size: u16,
    options: &Options,
    start: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<Vec<f64>> {
    let sink = sink::start(lab)?;
    let _device = start()?;
    let generator = generator::start(lab, size)?;
    std::thread::sleep(Duration::from_millis(500)); // neighbours, caches, clock speed
    let window = Duration::from_secs_f64(options.seconds.clamp(0.1, 60.0));
    let windows = if options.quick { 3 } else { options.windows.clamp(1, 100) };
    let mut figures = Vec::with_capacity(windows);
    for _ in 0..windows {
        let (from, since) = (sink.packets()?, Instant::now());
        std::thread::sleep(window);
        let got = sink.packets()?.saturating_sub(from);
        #[allow(clippy::cast_precision_loss)] // far below 2^52 packets
        figures.push(got as f64 / since.elapsed().as_secs_f64());
    }
    generator.stop()?;
    anyhow::ensure!(figures.iter().any(|f| *f > 0.0), "nothing reached the sink");
    Ok(figures)
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("ravelin-dataplane");
    anyhow::ensure!(
        path.exists(),
        "{} is missing: build it (cargo build --release -p ravelin-dataplane) or name it by --dataplane",
        path.display()
    );
    Ok(path)
}
