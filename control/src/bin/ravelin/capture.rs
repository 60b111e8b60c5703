//! `ravelin capture` and `ravelin trace --packets`: takes records from the data plane, writes them down.

use super::explain::{connect, names, refused, spi};
use super::{Failure, print};
use clap::{Args, ValueEnum};
use ravelin_control::capture::{Writer, line};
use ravelin_control::explain::Names;
use ravelin_control::explain::packet::protocol_of;
use ravelin_ring::inspect::{self, Answer, Question, Record, Stage, Want};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin capture -w seen.pcapng --seconds 10
  ravelin capture -w - --host 10.2.0.7 | tshark -r - -T fields -e frame.comment
  ravelin capture -w lost.pcapng --stage drop --drop bad_icv --count 5
  ravelin capture -w office.pcapng --stage decrypted --stage pre-encrypt --tunnel office

The file holds clear text of protected traffic: it gets mode 0600, and only root may capture.
A packet has one number at every stage, in the comment (`packet 0.17`: of worker 0).";

/// Which packets.
#[derive(Args, Clone)]
pub(crate) struct Conditions {
    /// Came by this port.
    #[arg(long = "in", value_name = "PORT")]
    port: Option<String>,
    /// Source or destination, inner or outer.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// Number, or tcp, udp, icmp, icmpv6, esp, ah, gre, sctp; inner or outer.
    #[arg(long, value_parser = protocol_of)]
    proto: Option<u8>,
    /// Port of TCP or UDP, either side.
    #[arg(long, value_name = "NUMBER")]
    port_number: Option<u16>,
    #[arg(long, value_parser = spi)]
    spi: Option<u32>,
    #[arg(long = "tunnel", id = "of-tunnel", value_name = "TUNNEL")]
    tunnel: Option<String>,
    /// Dropped for this reason.
    #[arg(long, value_name = "REASON")]
    drop: Option<String>,
    /// Only at these places of its way; all by default.
    #[arg(long, value_name = "STAGE")]
    stage: Vec<At>,
    /// End after so many records.
    #[arg(long, value_name = "RECORDS")]
    count: Option<u64>,
    /// End after this time.
    #[arg(long)]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum At {
    Rx,
    Decrypted,
    Policy,
    PreEncrypt,
    Tx,
    Drop,
}

#[derive(Args)]
pub(crate) struct Capture {
    /// File in pcapng; `-`: standard output.
    #[arg(short, long = "write", value_name = "FILE")]
    write: PathBuf,
    /// Bytes of each packet; 0: all.
    #[arg(long, default_value_t = 0)]
    snaplen: u16,
    #[command(flatten)]
    conditions: Conditions,
}

/// `1/N`: one packet of so many.
pub(crate) fn sample(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("1/").unwrap_or(if text == "all" { "1" } else { "" });
    let number = number.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| format!("\"{text}\": 1/100 for one packet of a hundred, 1/1 or all for each"))
}

pub(crate) fn capture(run_dir: &Path, socket: &Path, asked: &Capture) -> Result<(), Failure> {
    let names = names(socket);
    let want = want(&asked.conditions, &names, asked.snaplen, 1)?;
    let (stream, ports) = begin(run_dir, want)?;
    let refuse = |why: io::Error| Failure::Refused(format!("{}: {why}", asked.write.display()));
    let mut writer = Writer::new(open(&asked.write).map_err(refuse)?).map_err(refuse)?;
    let written = records(&stream, &asked.conditions, |record| {
        writer.write(record, &names, &ports)?;
        writer.flush()
    });
    let written = written.map_err(refuse)?;
    let lost = writer.finish().map_err(refuse)?;
    eprintln!("{written} records written, {lost} lost");
    Ok(())
}

pub(crate) fn trace(
    run_dir: &Path,
    socket: &Path,
    sample: u32,
    conditions: &Conditions,
) -> Result<(), Failure> {
    let names = names(socket);
    // The headers are all that a line tells of.
    let (stream, ports) = begin(run_dir, want(conditions, &names, 128, sample)?)?;
    let told = records(&stream, conditions, |record| {
        let mut out = io::stdout().lock();
        out.write_all(line(record, &names, &ports).as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    });
    told.map(|_| print("")).map_err(|why| Failure::Refused(why.to_string()))
}

fn want(c: &Conditions, names: &Names, snaplen: u16, sample: u32) -> Result<Want, Failure> {
    let number = |name: &String| {
        let known = names.number(name);
        known.ok_or_else(|| {
            Failure::Refused(format!("no tunnel \"{name}\"; `ravelin show tunnels` lists them"))
        })
    };
    let stages = c.stage.iter().map(|at| match at {
        At::Rx => Stage::Rx,
        At::Decrypted => Stage::Decrypted,
        At::Policy => Stage::Policy,
        At::PreEncrypt => Stage::PreEncrypt,
        At::Tx => Stage::Tx,
        At::Drop => Stage::Drop,
    });
    Ok(Want {
        stages: stages.collect(),
        snaplen,
        sample,
        port: c.port.clone(),
        host: c.host,
        protocol: c.proto,
        service: c.port_number,
        spi: c.spi,
        tunnel: c.tunnel.as_ref().map(number).transpose()?,
        reason: c.drop.clone(),
    })
}

fn begin(run_dir: &Path, want: Want) -> Result<(UnixStream, Vec<String>), Failure> {
    let mut stream = connect(run_dir)?;
    let ports = match inspect::ask(&mut stream, &Question::Capture(want)).map_err(refused)? {
        Answer::Capturing { ports } => ports,
        Answer::Explained(_) | Answer::Ports { .. } | Answer::Refused { .. } => {
            return Err(super::unexpected());
        }
    };
    Ok((stream, ports))
}

/// Until there are enough, the time is over, the data plane ends, or the reader of standard output has left.
fn records(
    stream: &UnixStream,
    conditions: &Conditions,
    mut write: impl FnMut(&Record) -> io::Result<()>,
) -> io::Result<u64> {
    let end = conditions.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let mut from = BufReader::with_capacity(256 * 1024, stream);
    let mut written = 0;
    while conditions.count.is_none_or(|count| written < count) {
        if from.buffer().is_empty() {
            let Some(wait) = left(end) else { break };
            stream.set_read_timeout(Some(wait))?;
            match io::BufRead::fill_buf(&mut from) {
                Ok([]) => break,
                Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    continue;
                }
                other => drop(other?),
            }
        }
        // What has begun comes whole at once.
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let Some(record) = Record::read(&mut from)? else { break };
        match write(&record) {
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => break,
            other => other?,
        }
        written += u64::from(record.stage != Stage::Lost);
    }
    Ok(written)
}

/// `None`: the time is over.
fn left(end: Option<Instant>) -> Option<Duration> {
    let second = Duration::from_secs(1);
    let Some(end) = end else { return Some(second) };
    let left = end.saturating_duration_since(Instant::now());
    (!left.is_zero()).then(|| left.min(second))
}

/// For its owner alone, whoever made it before.
fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(Box::new(io::BufWriter::new(file)))
}
