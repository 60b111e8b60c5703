//! How many tunnels come up per second, what each costs its two ends, and how much memory it takes.
//!
//! Decides: the cases. `memory`: two engines on a wire in memory, in one thread. `processes`: two real control
//! processes with recording data planes. Never: judges a figure.

mod memory;
mod processes;
mod recorder;
mod world;

use crate::instrument::{Progress, emit};
use serde::Serialize;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench ike --quick
  ravelin-bench ike --only processes --tunnels 10000 --groups x25519
  ravelin-bench ike --json

memory:    two IKE engines on a wire in memory, one thread: set-ups per second and CPU of each side
processes: two ravelin-control processes with recording data planes, in two namespaces: set-ups per second,
           CPU and memory of each side, and how long `ravelin show` waits meanwhile
A set-up is an IKE SA and its first child, pre-shared key, ESP aes128gcm16.";

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    Memory,
    Processes,
}

/// Key exchanges by the names of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum GroupName {
    X25519,
    Modp2048,
    Ecp256,
}

impl GroupName {
    const fn name(self) -> &'static str {
        match self {
            Self::X25519 => "x25519",
            Self::Modp2048 => "modp2048",
            Self::Ecp256 => "ecp256",
        }
    }

    /// As the configuration writes a proposal.
    fn proposal(self) -> String {
        format!("aes256gcm16-prfsha384-{}", self.name())
    }
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Ends within a minute: x25519 and modp2048, 1,000 tunnels
    #[arg(long)]
    quick: bool,
    /// Parts to run, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "memory,processes")]
    only: Vec<Part>,
    /// Key exchanges, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "x25519,modp2048,ecp256")]
    groups: Vec<GroupName>,
    /// Numbers of tunnels, comma-separated (1 to 16000)
    #[arg(long, value_delimiter = ',', default_value = "1000,10000", value_parser = clap::value_parser!(u32).range(1..=16_000))]
    tunnels: Vec<u32>,
    /// Start this control process instead of the one beside this program
    #[arg(long)]
    control: Option<String>,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let groups = if options.quick { &[GroupName::X25519, GroupName::Modp2048][..] } else { &options.groups };
    let tunnels = if options.quick { &[1000][..] } else { &options.tunnels };
    let cases = groups.len() * tunnels.len() * options.only.len();
    let mut progress = Progress::new("ike", cases, Duration::from_secs(if options.quick { 30 } else { 180 }));
    if !options.json {
        println!("{}", Line::header());
    }
    for part in &options.only {
        for group in groups {
            for &count in tunnels {
                progress.step(&format!("{part:?}, {}, {count} tunnels", group.name()));
                let line = match part {
                    Part::Memory => memory::run(*group, count)?,
                    Part::Processes => processes::run(*group, count, options.control.as_deref())?,
                };
                progress.clear();
                line.say(options.json)?;
            }
        }
    }
    Ok(())
}

/// One case.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    part: &'static str,
    group: &'static str,
    tunnels: u32,
    setups_per_s: f64,
    initiator_ms: f64,
    responder_ms: f64,
    /// Per established tunnel, at the initiator and at the responder.
    initiator_bytes: f64,
    responder_bytes: f64,
    /// Longest and median answer of `ravelin show`, with the start of its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    show_ms_max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    show_ms: Option<f64>,
}

impl Line {
    fn header() -> String {
        format!(
            "{:<10}{:<10}{:>8}{:>12}{:>24}{:>24}{:>22}",
            "part",
            "group",
            "tunnels",
            "set-ups/s",
            "CPU init / resp (ms)",
            "bytes init / resp",
            "show ms med / max"
        )
    }

    fn say(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return emit(self);
        }
        let shown = match (self.show_ms, self.show_ms_max) {
            (Some(median), Some(max)) => format!("{median:.0} / {max:.0}"),
            _ => "-".to_owned(),
        };
        let cpu = format!("{:.3} / {:.3}", self.initiator_ms, self.responder_ms);
        let bytes = format!("{:.0} / {:.0}", self.initiator_bytes, self.responder_bytes);
        let (part, group, tunnels, rate) = (self.part, self.group, self.tunnels, self.setups_per_s);
        println!("{part:<10}{group:<10}{tunnels:>8}{rate:>12.0}{cpu:>24}{bytes:>24}{shown:>22}");
        Ok(())
    }
}

/// `total` shared out among so many tunnels.
fn each(total: f64, tunnels: u32) -> f64 {
    total / f64::from(tunnels.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_written_as_the_configuration_wants_them() {
        assert_eq!(GroupName::Modp2048.proposal(), "aes256gcm16-prfsha384-modp2048");
        assert!((each(10.0, 4) - 2.5).abs() < 1e-9);
        assert!((each(10.0, 0) - 10.0).abs() < 1e-9);
    }
}
