//! `ravelin-control`: IKE, configuration, kernel state and API of the gateway. See `driver` for what it does.
#![forbid(unsafe_code)]

use clap::Parser;
use ravelin_control::driver::{self, Options};
use ravelin_control::hygiene;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The control process of the Ravelin IPsec gateway: negotiates keys, mirrors the kernel's routes, answers `ravelin`.
#[derive(Debug, Parser)]
#[command(
    name = "ravelin-control",
    version,
    after_help = "\
Examples:
  ravelin-control                                   with /etc/ravelin/ravelin.toml
  ravelin-control --config site.toml --log debug    with more in the log
  RUST_LOG=info,ravelin_ike=trace ravelin-control   with one part's log in full
  kill -HUP PID                                     reads the configuration again (as `ravelin reload`)
  ravelin-control --hold                            at boot: closes the kernel for what tunnels cover, and ends

It needs CAP_NET_ADMIN and, for ports below 1024, CAP_NET_BIND_SERVICE; what it does not need it gives up.
`ravelin check FILE` checks a configuration without starting anything."
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/ravelin/ravelin.toml")]
    config: PathBuf,
    /// Where the sockets of both processes lie, instead of [control] run-dir.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Installs the routes and rules that keep the kernel from forwarding in clear what tunnels cover, and ends.
    #[arg(long)]
    hold: bool,
    /// Laboratories only: write the keys of all IKE SAs to this file, for tshark. Needs the next option too.
    #[arg(long, value_name = "FILE", requires = "all_traffic_may_be_read")]
    lab_key_log: Option<PathBuf>,
    /// Says that you know what --lab-key-log does.
    #[arg(long, requires = "lab_key_log")]
    all_traffic_may_be_read: bool,
    /// Laboratories only: the first SAs send as if they had used so many numbers up already.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    lab_first_sequence: u64,
    /// What is logged: error, warn, info, debug, trace, or per part as in `info,ravelin_ike=debug`.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(why) = start_log(arguments.log.as_deref()) {
        eprintln!("ravelin-control: --log: {why}");
        return ExitCode::FAILURE;
    }
    hygiene::end_on_panic();
    if let Err(why) = hygiene::forbid_dumps() {
        eprintln!("ravelin-control: core dumps could not be forbidden: {why}");
        return ExitCode::FAILURE;
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ravelin-control: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let hold = arguments.hold;
    let options = Options {
        config: arguments.config,
        run_dir: arguments.run_dir,
        key_log: arguments.lab_key_log,
        first_sequence: arguments.lab_first_sequence,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if hold {
        return Ok(runtime.block_on(driver::hold(&options))?);
    }
    runtime.block_on(driver::run(&options))?;
    // An attempt to connect may still run on its thread; it holds nothing that needs an end.
    runtime.shutdown_background();
    Ok(())
}

/// `--log`, else RUST_LOG, else `info`; to stderr, so that stdout stays free.
fn start_log(filter: Option<&str>) -> anyhow::Result<()> {
    let filter = match filter {
        Some(filter) => EnvFilter::try_new(filter)?,
        None => EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new("info"))?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
