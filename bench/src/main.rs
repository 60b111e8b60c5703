//! `ravelin-bench`: how fast the gateway is, measured beside what limits it.
//!
//! Decides: what is measured and how it is said. Reads and writes: namespaces and processes of its own making.
//! Never: sends a packet outside of them, judges a figure by a threshold.
#![forbid(unsafe_code)]

#[macro_use]
mod instrument;
mod suites;
mod sa;
mod svg;
mod crypto;
mod host;
mod conf;
mod traffic;
mod way;
mod stage;
mod compare;
mod wire;
mod control;
mod ike;
mod peers;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "ravelin-bench", version, about = "Measures Ravelin beside the limits of the machine")]
#[command(
    after_help = "Every bench takes --help (with examples) and --json, and says its progress on standard error.
Exit status: 0 measured, 1 it could not be measured or the measured is broken, 2 a wrong option,
130 interrupted (Ctrl-C, SIGTERM; what was made is gone). See docs/bench.md."
)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Packets per second through real AF_XDP sockets on veth, beside a plain AF_XDP forwarder in the same run
    #[command(after_help = wire::EXAMPLES)]
    Wire(Box<wire::Options>),
    /// Clocks per packet of the whole way in memory, both directions
    #[command(after_help = way::EXAMPLES)]
    Way(way::plan::Wish),
    /// The same, stage by stage: where the clocks go
    #[command(after_help = stage::EXAMPLES)]
    Stage(way::plan::Wish),
    /// Packets per second of one SA by one worker, and with its crypto shared by others
    #[command(after_help = way::share::EXAMPLES)]
    Share(way::share::Options),
    /// The crypto engine alone: clocks per packet, sealed and opened, by suite, size and tier
    #[command(after_help = crypto::EXAMPLES)]
    Crypto(crypto::Options),
    /// Two builds in turns, and the ratios of what they measure
    #[command(after_help = compare::EXAMPLES)]
    Compare(compare::Options),
    /// What control costs: SA installs, loading many tunnels and SAs, memory, reloads under load
    #[command(after_help = control::EXAMPLES)]
    Control(control::Options),
    /// Tunnels set up per second between two control processes, CPU and memory of each
    #[command(after_help = ike::EXAMPLES)]
    Ike(ike::Options),
    /// Ravelin beside other gateways in user space, on the same veths in the same run
    #[command(after_help = peers::EXAMPLES)]
    Peers(peers::Options),
}

fn main() -> ExitCode {
    match run(Args::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if instrument::interrupt::happened() => {
            eprintln!("interrupted");
            ExitCode::from(instrument::interrupt::STATUS)
        }
        Err(why) => {
            eprintln!("ravelin-bench: {why:#}");
            if why.is::<instrument::WrongOption>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(what: What) -> anyhow::Result<()> {
    match what {
        What::Wire(options) => wire::run(&options),
        What::Way(options) => way::run(&options),
        What::Stage(options) => stage::run(&options),
        What::Share(options) => way::share::run(&options),
        What::Crypto(options) => crypto::run(&options),
        What::Compare(options) => compare::run(&options),
        What::Control(options) => control::run(&options),
        What::Ike(options) => ike::run(&options),
        What::Peers(options) => peers::run(&options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }

    /// What `--help` tells people to type is understood.
    #[test]
    fn every_example_is_a_command() {
        let mut command = Args::command();
        // A line that ends in a backslash goes on in the next.
        let whole =
            |help: String| help.split("\\\n").map(|s| s.trim_matches(' ')).collect::<Vec<_>>().join(" ");
        let helps: Vec<String> =
            command.get_subcommands_mut().map(|sub| whole(sub.render_long_help().to_string())).collect();
        let lines = helps.iter().flat_map(|help| help.lines()).map(str::trim);
        let examples = lines.filter(|l| l.starts_with("ravelin-bench ") || l.starts_with("scripts/bench "));
        let mut seen = 0;
        for line in examples {
            let end = line.find(" | ").or_else(|| line.find("  ")).unwrap_or(line.len());
            let words = line[..end].split_ascii_whitespace();
            assert!(Args::try_parse_from(words).is_ok(), "{line}");
            seen += 1;
        }
        assert!(seen >= 10, "{seen} examples");
    }
}
