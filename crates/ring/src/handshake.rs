//! What the two sides say before the rings exist: length-prefixed JSON, bounded, over the Unix socket.
//!
//! Decides: whether a frame is lawful, whether the other side may speak to us at all (its user). Never: waits longer
//! than the caller's time limit.

use crate::setup::Setup;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt::PeerCredentials,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Largest frame: a setup of 64 ports and cores is about 8 KiB.
const MAX_FRAME: usize = 64 * 1024;
/// Linux passes at most this many descriptors at once (SCM_MAX_FD).
const MAX_FDS: usize = 253;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no data plane listens on {path}: {source}; start `ravelin-dataplane` (with the same --run-dir)")]
    NotRunning { path: PathBuf, source: io::Error },
    #[error("another data plane already serves {0}; stop it first, or use another --run-dir")]
    AlreadyRunning(PathBuf),
    #[error("cannot listen on {path}: {source}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("the data plane refuses: {0}")]
    Refused(String),
    #[error(
        "the other side speaks version {theirs} of the ring layout, this side {ours}: install both from one build"
    )]
    Version { ours: u32, theirs: u32 },
    #[error("the other side runs as user {0}, which is neither root nor this process's user")]
    Stranger(u32),
    #[error("the other side broke the handshake: {0}")]
    Protocol(&'static str),
    #[error("the other side's handshake is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the other side did not answer in time")]
    Timeout,
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        let kind = e.kind();
        if matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            Self::Timeout
        } else if kind == io::ErrorKind::UnexpectedEof {
            Self::Protocol("it closed the connection")
        } else {
            Self::Io(e)
        }
    }
}

impl From<nix::Error> for Error {
    fn from(e: nix::Error) -> Self {
        io::Error::from(e).into()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    pub(crate) setup: Setup,
}

/// Read before anything else, whatever else the other version may hold.
#[derive(Debug, Deserialize)]
pub(crate) struct Version {
    pub(crate) version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Welcome(Box<Welcome>),
    Refused { why: String },
}

/// What the data plane tells a control process that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u32,
    pub workers: u16,
    /// In the order of the setup.
    pub ports: Vec<PortReport>,
    pub tun: String,
    pub tun_ifindex: u32,
    /// No control process has been here before: there are no SAs and no tables. Otherwise ask for reports.
    pub fresh: bool,
    /// The crypto kernels in use.
    pub crypto: String,
    /// In which pages the packet buffers lie, and why not in huge ones where they were asked for.
    pub buffers: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    pub name: String,
    /// 0 while the device is missing.
    pub ifindex: u32,
    pub mac: [u8; 6],
    /// "native" or "generic".
    pub attach: String,
    pub queues: u32,
    pub bind: BindMode,
    /// The device is there, the program attached and every queue bound.
    pub attached: bool,
}

/// How the sockets of a port got their packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindMode {
    ZeroCopy,
    Copy,
}

/// Only root and our own user may be at the other end.
pub(crate) fn check_peer(stream: &UnixStream) -> Result<(), Error> {
    let uid = getsockopt(stream, PeerCredentials)?.uid();
    if uid == 0 || uid == nix::unistd::geteuid().as_raw() { Ok(()) } else { Err(Error::Stranger(uid)) }
}

pub(crate) fn set_patience(stream: &UnixStream, patience: Duration) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

fn frame(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(value)?;
    let len = u32::try_from(json.len()).ok().filter(|len| *len as usize <= MAX_FRAME);
    let len = len.ok_or(Error::Protocol("a frame of ours is too long"))?;
    Ok([&len.to_le_bytes()[..], &json].concat())
}

pub(crate) fn send(stream: &mut UnixStream, value: &impl Serialize) -> Result<(), Error> {
    Ok(stream.write_all(&frame(value)?)?)
}

/// The descriptors travel with the frame's first byte.
pub(crate) fn send_with(stream: &mut UnixStream, value: &impl Serialize, fds: &[RawFd]) -> Result<(), Error> {
    let frame = frame(value)?;
    let (first, rest) = frame.split_at(1);
    let control = [ControlMessage::ScmRights(fds)];
    let sent =
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(first)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    if sent != first.len() {
        return Err(Error::Protocol("it does not take our answer"));
    }
    Ok(stream.write_all(rest)?)
}

pub(crate) fn receive_bytes(stream: &mut UnixStream) -> Result<Vec<u8>, Error> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    rest_of_frame(stream, len)
}

fn rest_of_frame(stream: &mut UnixStream, len: [u8; 4]) -> Result<Vec<u8>, Error> {
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_FRAME {
        return Err(Error::Protocol("a frame is too long"));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn receive_with<T: DeserializeOwned>(stream: &mut UnixStream) -> Result<(T, Vec<OwnedFd>), Error> {
    let mut first = [0; 1];
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut parts = [IoSliceMut::new(&mut first)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel just installed these descriptors for us; nobody else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.bytes == 0 {
        return Err(Error::Protocol("it closed the connection"));
    }
    let mut len = [0; 4];
    let [lowest, others @ ..] = &mut len;
    *lowest = first[0];
    stream.read_exact(others)?;
    Ok((serde_json::from_slice(&rest_of_frame(stream, len)?)?, fds))
}
