//! Process 1: packets. Starts, waits for a control process to say which ports, and serves until it is told to stop.
//!
//! The packet way itself is the library; the modules here carry packets to it and away from it, and serve the control
//! process. Ends with 0 after SIGTERM or SIGINT, XDP detached; with 1 and a message when it cannot start. A worker that fails goes
//! on without its last batch; any other bug aborts
//! the process, and then the pinned XDP program drops what is protected (fail closed).
#![forbid(unsafe_code)]

mod config;
mod hygiene;
mod service;
mod plane;
mod ports;
mod devices;
mod tables_io;
mod runner;
mod inspect;
mod rx;
mod tx;
mod punt;
mod handoff;

use clap::Parser;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Ravelin's data plane: takes packets from the NIC queues by AF_XDP, protects and unprotects them.
///
/// It gets its ports, cores and memory from the control process, which connects to DIR/dataplane.sock.
#[derive(Debug, Parser)]
#[command(
    name = "ravelin-dataplane",
    version,
    after_help = "Examples:\n  \
        ravelin-dataplane                          serve in /run/ravelin\n  \
        ravelin-dataplane --run-dir /run/ravelin-b a second instance on the same machine\n  \
        RUST_LOG=debug ravelin-dataplane           say more\n\n\
        SIGTERM and SIGINT detach the XDP programs and end it with exit code 0."
)]
struct Arguments {
    /// Where the sockets of this instance are; its last part names the instance.
    #[arg(long, value_name = "DIR", default_value = "/run/ravelin")]
    run_dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    hygiene::at_start()?;
    service::Service::listen(&arguments.run_dir)?.serve()
}
