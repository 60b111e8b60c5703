//! How many tunnels come up per second, what each costs its two ends, and how much memory it takes.
//!
//! Decides: the cases. `memory`: two engines on a wire in memory, in one thread. `processes`: two real control
//! processes with recording data planes. `beside`: those and strongSwan by turns. Never: judges a figure.

mod beside;
mod memory;
mod processes;
mod pki;
mod recorder;
mod vici;
mod world;

use crate::conf::Proof;
use crate::instrument::{Progress, emit, interrupt};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench ike --quick
  ravelin-bench ike --only processes --tunnels 10000 --groups x25519 --auth psk
  ravelin-bench ike --auth ecdsa --groups x25519,ecp256
  ravelin-bench ike --beside strongswan --quick
  ravelin-bench ike --json

memory:    two IKE engines on a wire in memory, one thread: set-ups per second and CPU of each side
processes: two ravelin-control processes with recording data planes, in two namespaces: set-ups per second,
           CPU and memory of each side, and how long `ravelin show` waits meanwhile
--beside:  processes only, with pre-shared keys, and two strongSwan daemons at the same work, by turns
A set-up is an IKE SA and its first child, ESP aes128gcm16; pre-shared keys, or certificates by ECDSA with P-256.";

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    Memory,
    Processes,
}

/// How both ends prove who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Auth {
    Psk,
    /// Certificates with P-256 keys, of one CA
    Ecdsa,
}

impl Auth {
    const fn name(self) -> &'static str {
        match self {
            Self::Psk => "psk",
            Self::Ecdsa => "ecdsa",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Case {
    part: Part,
    auth: Auth,
    group: GroupName,
    tunnels: u32,
}

impl Case {
    /// How each end proves itself; files go into the folder.
    fn proofs(&self, dir: &Path) -> anyhow::Result<[Proof; 2]> {
        match self.auth {
            Auth::Psk => Ok([Proof::Psk, Proof::Psk]),
            Auth::Ecdsa => {
                let pki = pki::Pki::new(dir)?;
                Ok([world::End::Hub, world::End::Spokes].map(|end| pki.proof(end)))
            }
        }
    }
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
    /// Ends within a minute: x25519 with both proofs, modp2048 with pre-shared keys, 1,000 tunnels
    #[arg(long)]
    quick: bool,
    /// Parts to run, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "memory,processes")]
    only: Vec<Part>,
    /// Key exchanges, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "x25519,modp2048,ecp256")]
    groups: Vec<GroupName>,
    /// How peers prove who they are, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "psk,ecdsa")]
    auth: Vec<Auth>,
    /// Numbers of tunnels, comma-separated (1 to 16000)
    #[arg(long, value_delimiter = ',', default_value = "1000,10000", value_parser = clap::value_parser!(u32).range(1..=16_000))]
    tunnels: Vec<u32>,
    /// Start this control process instead of the one beside this program
    #[arg(long)]
    control: Option<String>,
    /// Who does the same work in turns with ours: processes with pre-shared keys
    #[arg(long, value_name = "PEER", conflicts_with_all = ["only", "auth"])]
    beside: Option<beside::Name>,
    /// Turns of each beside another; medians are quoted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99), requires = "beside")]
    rounds: u32,
    /// The folder of its script
    #[arg(long, default_value = "bench/peers", requires = "beside")]
    scripts: PathBuf,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    interrupt::watch()?;
    let cases = options.cases();
    if let Some(name) = options.beside {
        let script = name.script(&options.scripts)?;
        let rounds = if options.quick { 3 } else { options.rounds as usize };
        return beside::run(&script, &cases, rounds, (options.control.as_deref(), options.json));
    }
    let expected = cases.iter().map(|case| 3 + u64::from(case.tunnels) / 300).sum();
    let mut progress = Progress::new("ike", cases.len(), Duration::from_secs(expected));
    if !options.json {
        say!("{}", Line::header());
    }
    for case in cases {
        let (group, auth) = (case.group.name(), case.auth.name());
        progress.step(&format!("{:?}, {group}, {auth}, {} tunnels", case.part, case.tunnels));
        let line = match case.part {
            Part::Memory => memory::run(case)?,
            Part::Processes => processes::run(case, options.control.as_deref())?,
        };
        progress.clear();
        line.say(options.json)?;
    }
    Ok(())
}

impl Options {
    /// Certificates with the first key exchange only: what they cost is the same with all.
    fn cases(&self) -> Vec<Case> {
        let groups = if self.quick { &[GroupName::X25519, GroupName::Modp2048][..] } else { &self.groups };
        let counts = if self.quick { &[1000][..] } else { &self.tunnels };
        if self.beside.is_some() {
            // Quick ends within a minute: one group, as strongSwan takes its time.
            let groups = if self.quick { &groups[..1] } else { groups };
            let (part, auth) = (Part::Processes, Auth::Psk);
            let all = groups.iter().flat_map(|&group| counts.iter().map(move |&n| (group, n)));
            return all.map(|(group, tunnels)| Case { part, auth, group, tunnels }).collect();
        }
        let mut out = Vec::new();
        for &part in &self.only {
            for (n, &group) in groups.iter().enumerate() {
                for &auth in
                    self.auth.iter().filter(|auth| n == 0 || **auth == Auth::Psk || self.auth.len() == 1)
                {
                    out.extend(counts.iter().map(|&tunnels| Case { part, auth, group, tunnels }));
                }
            }
        }
        out
    }
}

/// One case.
#[derive(Serialize)]
struct Line {
    bench: &'static str,
    part: &'static str,
    group: &'static str,
    auth: &'static str,
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
            "{:<10}{:<10}{:<7}{:>8}{:>12}{:>24}{:>24}{:>22}",
            "part",
            "group",
            "auth",
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
        let Self { part, group, auth, tunnels, setups_per_s: rate, .. } = self;
        say!("{part:<10}{group:<10}{auth:<7}{tunnels:>8}{rate:>12.0}{cpu:>24}{bytes:>24}{shown:>22}");
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
    fn certificates_are_measured_with_one_key_exchange_unless_nothing_else_is() {
        let options = Options {
            quick: false,
            only: vec![Part::Memory],
            groups: vec![GroupName::X25519, GroupName::Ecp256],
            auth: vec![Auth::Psk, Auth::Ecdsa],
            tunnels: vec![1000, 10_000],
            control: None,
            beside: None,
            rounds: 5,
            scripts: PathBuf::new(),
            json: false,
        };
        let ecdsa = |o: &Options| o.cases().iter().filter(|c| c.auth == Auth::Ecdsa).count();
        assert_eq!((options.cases().len(), ecdsa(&options)), (6, 2));
        assert_eq!(ecdsa(&Options { auth: vec![Auth::Ecdsa], ..options }), 4);
    }

    #[test]
    fn beside_another_only_what_both_can_do_is_measured() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            options: Options,
        }
        let parse =
            |line: &str| <Command as clap::Parser>::try_parse_from(line.split(' ')).map(|c| c.options);
        let cases = parse("x --beside strongswan").unwrap().cases();
        assert_eq!(cases.len(), 6, "three groups, two numbers of tunnels");
        assert!(cases.iter().all(|c| c.part == Part::Processes && c.auth == Auth::Psk));
        assert_eq!(parse("x --quick --beside strongswan").unwrap().cases().len(), 1);
        for bad in [
            "x --rounds 3",
            "x --beside racoon",
            "x --beside strongswan --rounds 0",
            "x --beside strongswan --auth ecdsa",
            "x --beside strongswan --only memory",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn proposals_are_written_as_the_configuration_wants_them() {
        assert_eq!(GroupName::Modp2048.proposal(), "aes256gcm16-prfsha384-modp2048");
        assert!((each(10.0, 4) - 2.5).abs() < 1e-9);
        assert!((each(10.0, 0) - 10.0).abs() < 1e-9);
    }
}
