//! The operator's command: checks a configuration, asks `ravelin-control`, prints what it says.
//!
//! Decides: how a question is put and an answer printed; the exit code. Reads: its arguments, a configuration file
//! (`check`), the API socket. Writes: standard output, messages to standard error.
//! Never: changes the gateway itself, except `release`, which works on what a stopped one left.
#![forbid(unsafe_code)]

mod explain;
mod capture;
mod release;
mod clear;

use clap::{Args, Parser, Subcommand};
use core::time::Duration;
use ravelin_control::api::client::{self, ClientError, PATIENCE};
use ravelin_control::api::{self, Answer, Outcome, Reloaded, Request, What};
use ravelin_control::show;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  refused or failed; the message says why
  2  wrong usage of this command
  3  ravelin-control cannot be reached";

/// Operates the Ravelin IPsec gateway.
#[derive(Parser)]
#[command(name = "ravelin", version, about, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Command,
}

/// Where the gateway's processes are found.
#[derive(Args)]
struct Reach {
    /// Run directory of the gateway (`control.run-dir`).
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/ravelin")]
    run_dir: PathBuf,
    /// Socket of ravelin-control, instead of control.sock in the run directory.
    #[arg(long, global = true, value_name = "SOCKET")]
    socket: Option<PathBuf>,
}

impl Reach {
    fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| api::socket_path(&self.run_dir))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and its secrets; nothing is changed.
    #[command(after_help = "Examples:
  ravelin check /etc/ravelin/ravelin.toml
  ravelin check --no-secrets configs/reference.toml
  ravelin check --json ravelin.toml | jq '.errors[].line'")]
    Check {
        file: PathBuf,
        /// Do not read the secrets file (it may be on another machine).
        #[arg(long)]
        no_secrets: bool,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the state of the gateway.
    #[command(after_help = "Examples:
  ravelin show tunnels              a line for each tunnel
  ravelin show tunnels office       everything about one
  ravelin show sas office           its SAs as the data plane has them
  ravelin show proposals office     what it offers and accepts, what is in use
  ravelin show certificates         those that tunnels use, and how long they last
  ravelin show drops                why packets were dropped
  ravelin show drops wan0 --json")]
    Show {
        what: What,
        /// Only this tunnel (tunnels, sas, proposals, certificates), port (ports, drops) or worker (workers, drops).
        name: Option<String>,
        /// Print JSON with stable keys.
        #[arg(long)]
        json: bool,
    },
    /// Bring a tunnel up, and wait until it is.
    #[command(after_help = "Examples:\n  ravelin up office\n  ravelin up office --timeout 5")]
    Up(Switch),
    /// Take a tunnel down; it stays down until `up` or the peer brings it up.
    #[command(after_help = "Examples:\n  ravelin down office")]
    Down(Switch),
    /// Log every IKE message, state and decision of a tunnel (no secrets), until it is turned off; or print packets on
    /// their way, stage by stage.
    #[command(after_help = "Examples:\n  ravelin trace office on\n  ravelin trace office off\n  \
        ravelin trace --packets 1/100 --seconds 10\n  ravelin trace --packets all --host 10.2.0.7")]
    Trace {
        #[arg(required_unless_present = "packets")]
        tunnel: Option<String>,
        /// on or off
        #[arg(action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new(), requires = "tunnel")]
        on: Option<bool>,
        /// Lines for one packet of N.
        #[arg(long, value_name = "1/N", value_parser = capture::sample, conflicts_with_all = ["tunnel", "on"])]
        packets: Option<u32>,
        #[command(flatten)]
        conditions: capture::Conditions,
    },
    /// What would become of a packet, and why; or what is the matter with a tunnel.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Explain),
    /// Copy packets before or after any stage of their way into a pcapng file.
    #[command(after_help = capture::EXAMPLES)]
    Capture(capture::Capture),
    /// Delete chosen SAs, with a word to their peers; what is to be up comes back at once. Or begin to count anew.
    #[command(after_help = clear::EXAMPLES)]
    Clear(clear::Clear),
    /// Read the configuration again and apply what changed; an invalid file changes nothing.
    #[command(after_help = "Examples:
  ravelin reload
  ravelin check /etc/ravelin/ravelin.toml && ravelin reload

Tunnels that did not change keep their SAs and lose no packet.")]
    Reload {
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove the routes, the rule and the devices that a stopped gateway left to keep traffic from leaving in clear.
    #[command(after_help = "Examples:
  ravelin release
  ravelin release --tun ravelin1 --run-dir /run/ravelin-b

After this, traffic that the tunnels protected may leave this machine in clear.
Refused while the gateway runs.")]
    Release {
        /// Name of the TUN device (`dataplane.tun`).
        #[arg(long, default_value = "ravelin0")]
        tun: String,
    },
    /// Print the versions of this command and of the running processes.
    #[command(after_help = "Examples:\n  ravelin version\n  ravelin version --json")]
    Version {
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Switch {
    tunnel: String,
    /// Seconds to wait for the outcome.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=600))]
    timeout: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Why the command ends with another code than 0; the message goes to standard error.
enum Failure {
    Refused(String),
    Unreachable(String),
}

impl From<ClientError> for Failure {
    fn from(why: ClientError) -> Self {
        if why.unreachable() { Self::Unreachable(why.to_string()) } else { Self::Refused(why.to_string()) }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.reach.socket();
    let result = match cli.command {
        Command::Check { file, no_secrets, json } => check(&file, no_secrets, json),
        Command::Show { what, name, json } => show_state(&socket, what, name, json),
        Command::Up(switch) => turn(&socket, switch, true),
        Command::Down(switch) => turn(&socket, switch, false),
        Command::Trace { packets: Some(sample), conditions, .. } => {
            capture::trace(&cli.reach.run_dir, &socket, sample, &conditions)
        }
        Command::Trace { tunnel, on, .. } => trace(&socket, tunnel.unwrap_or_default(), on.unwrap_or(true)),
        Command::Explain(question) => explain::run(&cli.reach.run_dir, &socket, question),
        Command::Capture(asked) => capture::capture(&cli.reach.run_dir, &socket, &asked),
        Command::Clear(chosen) => clear::run(&socket, chosen),
        Command::Reload { json } => reload(&socket, json),
        Command::Release { tun } => release::run(&cli.reach.run_dir, &tun),
        Command::Version { json } => version(&socket, json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(why)) => fail(&why, 1),
        Err(Failure::Unreachable(why)) => fail(&why, 3),
    }
}

fn fail(why: &str, code: u8) -> ExitCode {
    if !why.is_empty() {
        eprintln!("{why}");
    }
    ExitCode::from(code)
}

/// To standard output; a reader that left (`| head`) is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|why| Failure::Refused(why.to_string()))?;
    print(&format!("{text}\n"));
    Ok(())
}

fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Answer, Failure> {
    accept(client::ask(socket, request, patience)?)
}

fn accept(answer: Answer) -> Result<Answer, Failure> {
    if let Answer::Error(refusal) = answer { Err(Failure::Refused(refusal.message)) } else { Ok(answer) }
}

fn unexpected() -> Failure {
    Failure::Refused("ravelin-control answered another question; are both of the same version?".to_owned())
}

fn check(file: &Path, no_secrets: bool, json: bool) -> Result<(), Failure> {
    let checked = show::check(file, no_secrets);
    if json {
        print_json(&checked)?;
        return if checked.ok { Ok(()) } else { Err(Failure::Refused(String::new())) };
    }
    eprint!("{}", checked.findings());
    if !checked.ok {
        return Err(Failure::Refused(checked.summary()));
    }
    print(&format!("{}\n", checked.summary()));
    Ok(())
}

fn show_state(socket: &Path, what: What, name: Option<String>, json: bool) -> Result<(), Failure> {
    let detail = name.is_some();
    let answer = ask(socket, &Request::Show { what, name: name.clone() }, PATIENCE)?;
    let answer = match name {
        Some(name) => show::only(answer, &name).map_err(Failure::Refused)?,
        None => answer,
    };
    if json {
        let text = show::json(&answer).map_err(|why| Failure::Refused(why.to_string()))?;
        print(&format!("{text}\n"));
    } else {
        print(&show::text(&answer, detail));
    }
    Ok(())
}

fn turn(socket: &Path, switch: Switch, up: bool) -> Result<(), Failure> {
    let (tunnel, timeout_ms) = (switch.tunnel.clone(), switch.timeout * 1000);
    let request = if up { Request::Up { tunnel, timeout_ms } } else { Request::Down { tunnel, timeout_ms } };
    outcome(socket, request, switch, if up { "bringing up" } else { "taking down" })
}

fn trace(socket: &Path, tunnel: String, on: bool) -> Result<(), Failure> {
    let Answer::Traced { tunnel, on } = ask(socket, &Request::Trace { tunnel, on }, PATIENCE)? else {
        return Err(unexpected());
    };
    print(&format!("tunnel {tunnel} is {}traced\n", if on { "" } else { "not " }));
    Ok(())
}

fn outcome(socket: &Path, request: Request, switch: Switch, doing: &str) -> Result<(), Failure> {
    let patience = PATIENCE + Duration::from_secs(switch.timeout);
    let Answer::Outcome(outcome) = ask_with_progress(socket, request, patience, &switch, doing)? else {
        return Err(unexpected());
    };
    if switch.json {
        print_json(&outcome)?;
        return if outcome.done { Ok(()) } else { Err(Failure::Refused(String::new())) };
    }
    let text = outcome_text(&outcome);
    if outcome.done {
        print(&format!("{text}\n"));
        return Ok(());
    }
    Err(Failure::Refused(text))
}

fn outcome_text(outcome: &Outcome) -> String {
    let detail = if outcome.detail.is_empty() { String::new() } else { format!(": {}", outcome.detail) };
    format!("tunnel {} is {}{detail}", outcome.tunnel, outcome.state.name())
}

/// The answer may take long: a line on the terminal says every second how far it is.
fn ask_with_progress(
    socket: &Path,
    request: Request,
    patience: Duration,
    switch: &Switch,
    doing: &str,
) -> Result<Answer, Failure> {
    let (sender, answer) = mpsc::channel();
    let path = socket.to_owned();
    std::thread::spawn(move || sender.send(client::ask(&path, &request, patience)));
    let terminal = std::io::stderr().is_terminal() && !switch.json;
    for second in 0u64.. {
        match answer.recv_timeout(Duration::from_secs(1)) {
            Ok(answer) => {
                if terminal && second > 0 {
                    eprint!("\r\x1b[K");
                }
                return accept(answer?);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if terminal {
                    let state = state_of(socket, &switch.tunnel).unwrap_or_default();
                    eprint!("\r\x1b[K{doing} {} … {} s{state}", switch.tunnel, second + 1);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(unexpected())
}

fn state_of(socket: &Path, tunnel: &str) -> Option<String> {
    let request = Request::Show { what: What::Tunnels, name: Some(tunnel.to_owned()) };
    let answer = client::ask(socket, &request, Duration::from_secs(1)).ok()?;
    let Ok(Answer::Tunnels(all)) = show::only(answer, tunnel) else { return None };
    all.first().map(|t| format!(" ({})", t.state.name()))
}

fn reload(socket: &Path, json: bool) -> Result<(), Failure> {
    let Answer::Reloaded(reloaded) = ask(socket, &Request::Reload, PATIENCE)? else {
        return Err(unexpected());
    };
    if json {
        print_json(&reloaded)?;
    }
    match reloaded {
        Reloaded::Applied { difference, warnings } if !json => {
            warnings.iter().for_each(|warning| eprintln!("{warning}"));
            if difference.is_empty() {
                print("nothing changed\n");
            }
            difference.iter().for_each(|line| print(&format!("{line}\n")));
            Ok(())
        }
        Reloaded::Applied { .. } => Ok(()),
        Reloaded::Refused { .. } if json => Err(Failure::Refused(String::new())),
        Reloaded::Refused { errors } => Err(Failure::Refused(format!("{errors}\nnothing was changed"))),
    }
}

fn version(socket: &Path, json: bool) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let running = match client::ask(socket, &Request::Version, PATIENCE) {
        Ok(Answer::Version(running)) => Some(running),
        _ => None,
    };
    if json {
        return print_json(&serde_json::json!({ "ravelin": own, "running": running }));
    }
    print(&format!("ravelin {own}\n"));
    match running {
        Some(v) => {
            let plane = v.dataplane.as_deref().unwrap_or("not connected");
            let up = show::span(v.uptime_s);
            print(&format!(
                "ravelin-control {} (pid {}, up {up}, {})\nravelin-dataplane {plane}\n",
                v.control, v.pid, v.config_file
            ));
        }
        None => print(&format!("ravelin-control is not running ({})\n", socket.display())),
    }
    Ok(())
}
