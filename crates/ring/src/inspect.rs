//! What an operator asks the data plane itself, by a socket of its own beside the one of the control process: what would
//! become of a packet, and copies of packets on their way. One JSON value in a frame each way, over a Unix socket that only
//! root and the data plane's own user may use: what comes out of it is clear text of protected traffic.
//!
//! Decides: names in JSON, who may speak. Never: carries a key.

mod record;

pub use record::{MAX_RECORD, Record, Stage, Want};

use crate::handshake::{self, Error, check_peer, set_patience};
use crate::msg::NatKind;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the run directory.
pub const SOCKET: &str = "inspect.sock";
/// A worker answers between two batches; a client takes its answer at once.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    Explain(Subject),
    /// Answered by `Capturing`; then [`Record`]s follow until the client closes the connection.
    Capture(Want),
    /// Names of the ports.
    Ports,
}

/// A packet that is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// `None`: the host's own, from the TUN device.
    pub port: Option<String>,
    /// The worker that takes it in; who owns the SA gets it from there.
    pub worker: u16,
    /// From the Ethernet header on; else from the IP header on, and sent to the port's own address.
    pub ethernet: bool,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Explained(Explained),
    Capturing { ports: Vec<String> },
    Ports { ports: Vec<String>, workers: u16 },
    Refused { why: String },
}

/// The whole way of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// What the XDP program does with it; `None`: it comes by no port.
    pub xdp: Option<Xdp>,
    /// A step for each worker that has it.
    pub steps: Vec<Step>,
    pub verdict: Verdict,
    /// Names of the ports, by number.
    pub ports: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "steer", rename_all = "kebab-case")]
pub enum Xdp {
    /// The kernel's.
    Pass,
    ToWorker {
        class: String,
    },
    DropUnparsable,
    DropNotAdmitted,
}

/// One worker's part. What the packet did not come to is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub worker: u16,
    /// The VRF that it is of in clear, by the kernel's table; `None`: the main one.
    #[serde(default)]
    pub vrf: Option<u16>,
    pub class: Class,
    /// The SPI that it names.
    pub spi: Option<u32>,
    /// The SA that opens it.
    pub opens: Option<Sa>,
    /// In clear.
    pub flow: Option<Flow>,
    /// What address translation makes of it, if anything (R53).
    pub translated: Option<Flow>,
    /// The rule of address translation that decided, on the way in and on the way out; none of both, where there are rules.
    pub nat: Vec<Nat>,
    /// What the policies say of it as of one that came from behind a peer.
    pub came: Option<Policy>,
    /// And as of one that goes there.
    pub goes: Option<Policy>,
    pub route: Option<Route>,
    /// The packet of GRE that it becomes the payload of.
    pub gre: Option<Enclosed>,
    /// The SA that protects it.
    pub protects: Option<Sa>,
    pub size: Option<Size>,
    /// An ICMP error that goes back, and what becomes of it.
    pub icmp: Option<Verdict>,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Esp,
    Ah,
    Clear,
    /// IKE and what belongs to it.
    Kernel,
    /// A fragment of ESP or AH, which waits for the others.
    Fragment,
    /// Not lawful.
    Refused,
}

/// How translation decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    pub by: NatBy,
    /// Of the configuration; `None`: no rule speaks of it.
    pub line: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatBy {
    Exempt,
    Source,
    Destination,
    Static,
    /// It answers what went out by a source rule.
    Session,
    /// No rule matches its protocol, addresses and ports.
    Nothing,
}

impl From<NatKind> for NatBy {
    fn from(kind: NatKind) -> Self {
        match kind {
            NatKind::Exempt => Self::Exempt,
            NatKind::Source => Self::Source,
            NatKind::Destination => Self::Destination,
            NatKind::Static => Self::Static,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sa {
    pub id: u64,
    pub tunnel: u32,
    pub spi: u32,
    pub suite: String,
    pub mode: String,
    pub local: String,
    pub remote: String,
    /// That the packet has (inbound), or would get (outbound).
    pub sequence: u64,
}

/// What is around a packet that goes into a tunnel of GRE (R241).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclosed {
    pub flow: Flow,
    pub goes: Policy,
    pub route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Or type and code of ICMP in both; `None`: hidden in a fragment.
    pub ports: Option<(u16, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub action: Action,
    /// Lower ones go before; `None`: no policy matches.
    pub order: Option<u32>,
    /// Of the configuration file.
    pub line: Option<u32>,
    pub tunnel: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Protect,
    Bypass,
    Discard,
    /// Ports would decide, and are hidden.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case")]
pub enum Route {
    Port {
        port: u16,
        next_hop: IpAddr,
        /// `None`: not resolved yet.
        mac: Option<String>,
    },
    /// An address of this host.
    Local,
    /// The far side of a tunnel: only a policy lets it go on.
    Tunnel,
    /// The device of a route-based tunnel, or of one of GRE.
    Interface {
        interface: u16,
    },
    /// A device that is no port.
    Kernel,
    Blackhole,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub length: u16,
    /// Largest packet that goes on whole.
    pub limit: u16,
    pub df: bool,
    /// So many packets come of it; 1: it fits.
    pub pieces: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Verdict {
    Forward {
        port: u16,
    },
    /// To the kernel, by the TUN device.
    Punt,
    /// To the kernel, by the device of a route-based tunnel.
    Deliver {
        interface: u16,
    },
    /// Left to the kernel by the XDP program.
    Passed,
    HandOff {
        worker: u16,
    },
    Drop {
        reason: String,
    },
    /// It waits for an SA, a link address, or the rest of its fragments.
    Held,
    Consumed,
}

/// Where operators ask. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Inspection {
    socket: UnixListener,
    path: PathBuf,
}

impl Inspection {
    /// Whatever lies there is of an earlier data plane: the one that runs has the main socket.
    pub fn listen(run_dir: &Path) -> Result<Self, Error> {
        let path = run_dir.join(SOCKET);
        let fail = |source: io::Error| Error::Listen { path: path.clone(), source };
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(fail(why)),
            _ => {}
        }
        let socket = UnixListener::bind(&path).map_err(fail)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
        Ok(Self { socket, path })
    }

    /// Waits for the next client. An error is that client's.
    pub fn accept(&self) -> Result<UnixStream, Error> {
        let (stream, _) = self.socket.accept().map_err(Error::Io)?;
        check_peer(&stream)?;
        set_patience(&stream, PATIENCE).map_err(Error::Io)?;
        Ok(stream)
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The next question of a client; an error is its end.
pub fn question(stream: &mut UnixStream) -> Result<Question, Error> {
    Ok(serde_json::from_slice(&handshake::receive_bytes(stream)?)?)
}

pub fn answer(stream: &mut UnixStream, answer: &Answer) -> Result<(), Error> {
    handshake::send(stream, answer)
}

/// The operator's end.
pub fn connect(run_dir: &Path) -> Result<UnixStream, Error> {
    let path = run_dir.join(SOCKET);
    let stream = UnixStream::connect(&path).map_err(|source| Error::NotRunning { path, source })?;
    check_peer(&stream)?;
    set_patience(&stream, PATIENCE).map_err(Error::Io)?;
    Ok(stream)
}

pub fn ask(stream: &mut UnixStream, question: &Question) -> Result<Answer, Error> {
    handshake::send(stream, question)?;
    let answer = serde_json::from_slice(&handshake::receive_bytes(stream)?)?;
    if let Answer::Refused { why } = answer { Err(Error::Refused(why)) } else { Ok(answer) }
}
