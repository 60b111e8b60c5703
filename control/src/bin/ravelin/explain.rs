//! `ravelin explain`: puts the question to the data plane, names to its answer.

use super::{Failure, ask, print, print_json, unexpected};
use clap::{Args, Subcommand};
use ravelin_control::api::client::PATIENCE;
use ravelin_control::api::{self, Request, What};
use ravelin_control::explain::packet::{Flow, protocol_of};
use ravelin_control::explain::{self, Names, pcap};
use ravelin_control::show;
use ravelin_ring::Error;
use ravelin_ring::inspect::{self, Answer, Explained, Question, Subject};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Packets of one file: what an operator reads, and then some.
const MAX_PACKETS: usize = 10_000;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin explain --in lan0 --from 10.1.0.5 --to 10.2.0.7 --proto tcp --sport 1234 --dport 443
  ravelin explain --in lan0 --from 10.1.0.5 --to 10.2.0.7 --proto icmp --icmp-type 8 --size 1500 --df
  ravelin explain --in wan0 --from 198.18.0.2 --to 198.18.0.1 --proto esp --spi 0xc0000101
  ravelin explain --in host --from 10.1.0.1 --to 10.2.0.7     the gateway's own packet
  ravelin explain --in wan0 --pcap seen.pcapng
  ravelin explain tunnel office

Nothing is sent and nothing changes: the stages of the data plane run dry, in the worker that owns the state.";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Explain {
    #[command(subcommand)]
    about: Option<About>,
    /// Port that it comes by; `host`: the gateway's own.
    #[arg(long = "in", value_name = "PORT")]
    port: Option<String>,
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    from: Option<IpAddr>,
    #[arg(long, value_name = "ADDRESS", requires = "from")]
    to: Option<IpAddr>,
    /// Number, or tcp, udp, icmp, icmpv6, esp, ah, gre, sctp.
    #[arg(long, default_value = "udp", value_parser = protocol_of)]
    proto: u8,
    #[arg(long, default_value_t = 40000)]
    sport: u16,
    #[arg(long, default_value_t = 40000)]
    dport: u16,
    /// Echo request by default.
    #[arg(long)]
    icmp_type: Option<u8>,
    #[arg(long, default_value_t = 0)]
    icmp_code: u8,
    /// Of ESP or AH, as 0xc0000101 or decimal.
    #[arg(long, value_parser = spi)]
    spi: Option<u32>,
    /// Bytes of the IP packet.
    #[arg(long, default_value_t = 0)]
    size: usize,
    /// It must not be cut on its way.
    #[arg(long)]
    df: bool,
    #[arg(long, default_value_t = 64)]
    ttl: u8,
    /// Packets of a capture file, each as if it came now.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pcap: Option<PathBuf>,
    /// Worker that takes it in; it is handed on as it would be.
    #[arg(long, default_value_t = 0)]
    worker: u16,
    /// Print JSON: one object, for a capture file an array.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum About {
    /// Whether a tunnel carries packets both ways, and what to do if not.
    Tunnel {
        name: String,
        /// Print the tunnel as `show tunnels --json` does.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn spi(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u32::from_str_radix(hex, 16));
    number.map_err(|_| format!("\"{text}\" is no SPI: 0xc0000101, or a decimal number"))
}

pub(crate) fn run(run_dir: &Path, socket: &Path, question: Explain) -> Result<(), Failure> {
    if let Some(About::Tunnel { name, json }) = &question.about {
        return tunnel(socket, name, *json);
    }
    let Some(port) = question.port.clone() else {
        return Err(Failure::Refused(
            "--in is missing: the port that the packet comes by, or host".to_owned(),
        ));
    };
    let subject = Subject {
        port: (port != "host").then_some(port),
        worker: question.worker,
        ethernet: false,
        bytes: vec![],
    };
    let mut stream = connect(run_dir)?;
    let names = names(socket);
    if let Some(file) = &question.pcap {
        return each(&mut stream, file, &subject, &names, question.json);
    }
    let bytes = flow(&question)?.packet().map_err(Failure::Refused)?;
    let said = put(&mut stream, Subject { bytes, ..subject })?;
    if question.json {
        return print_json(&said);
    }
    print(&format!("{}\n{}", explain::summary(&said, &names), explain::text(&said, &names, true)));
    Ok(())
}

fn flow(question: &Explain) -> Result<Flow, Failure> {
    let (Some(from), Some(to)) = (question.from, question.to) else {
        return Err(Failure::Refused("say which packet: --from and --to, or --pcap FILE".to_owned()));
    };
    let echo = if from.is_ipv4() { 8 } else { 128 };
    let icmp = matches!(question.proto, 1 | 58);
    let code = u16::from(question.icmp_code);
    let ports = if icmp {
        (question.icmp_type.unwrap_or(echo).into(), code)
    } else {
        (question.sport, question.dport)
    };
    Ok(Flow {
        from,
        to,
        protocol: question.proto,
        ports,
        spi: question.spi,
        size: question.size,
        df: question.df,
        ttl: question.ttl,
    })
}

fn each(
    stream: &mut UnixStream,
    file: &Path,
    subject: &Subject,
    names: &Names,
    json: bool,
) -> Result<(), Failure> {
    let refuse = |why: String| Failure::Refused(format!("{}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|why| refuse(why.to_string()))?;
    let packets = pcap::packets(&bytes).map_err(refuse)?;
    let mut all = vec![];
    for (n, packet) in (1..).zip(packets.into_iter().take(MAX_PACKETS)) {
        let ethernet = packet.ethernet && subject.port.is_some();
        let bytes = if packet.ethernet && !ethernet {
            packet.bytes.get(14..).unwrap_or_default().to_vec()
        } else {
            packet.bytes
        };
        match put(stream, Subject { ethernet, bytes, ..subject.clone() }) {
            Ok(said) if json => all.push(said),
            Ok(said) => {
                let cut = if packet.cut { " (cut in the file)" } else { "" };
                print(&format!(
                    "packet {n}{cut}: {}\n{}",
                    explain::summary(&said, names),
                    explain::text(&said, names, false)
                ));
            }
            Err(Failure::Refused(why)) if !json => print(&format!("packet {n}: {why}\n")),
            Err(why) => return Err(why),
        }
    }
    if json { print_json(&all) } else { Ok(()) }
}

fn put(stream: &mut UnixStream, subject: Subject) -> Result<Explained, Failure> {
    match inspect::ask(stream, &Question::Explain(subject)).map_err(refused)? {
        Answer::Explained(said) => Ok(said),
        Answer::Capturing { .. } | Answer::Ports { .. } | Answer::Refused { .. } => Err(unexpected()),
    }
}

fn tunnel(socket: &Path, name: &str, json: bool) -> Result<(), Failure> {
    let answer = ask(socket, &Request::Show { what: What::Tunnels, name: Some(name.to_owned()) }, PATIENCE)?;
    let api::Answer::Tunnels(found) = show::only(answer, name).map_err(Failure::Refused)? else {
        return Err(unexpected());
    };
    if json {
        return print_json(&found);
    }
    found.iter().for_each(|t| print(&explain::diagnosis(t)));
    Ok(())
}

/// To the data plane.
pub(crate) fn connect(run_dir: &Path) -> Result<UnixStream, Failure> {
    inspect::connect(run_dir).map_err(refused)
}

pub(crate) fn refused(why: Error) -> Failure {
    match why {
        Error::Refused(why) => Failure::Refused(why),
        Error::NotRunning { path, source } => Failure::Unreachable(format!(
            "ravelin-dataplane cannot be asked at {}: {source}\n    cure: start it and ravelin-control, and run this as root",
            path.display()
        )),
        Error::AlreadyRunning(_)
        | Error::Listen { .. }
        | Error::Version { .. }
        | Error::Stranger(_)
        | Error::Protocol(_)
        | Error::Json(_)
        | Error::Timeout
        | Error::Io(_) => Failure::Unreachable(why.to_string()),
    }
}

/// Without the control process numbers stand for names.
pub(crate) fn names(socket: &Path) -> Names {
    let show = |request| ask(socket, &request, PATIENCE).ok();
    let tunnels = match show(Request::Show { what: What::Tunnels, name: None }) {
        Some(api::Answer::Tunnels(all)) => all,
        _ => vec![],
    };
    let file = match show(Request::Version) {
        Some(api::Answer::Version(version)) => Some(version.config_file),
        _ => None,
    };
    Names::new(&tunnels, file)
}
