//! The client's side, blocking: `ravelin` asks one thing and prints it.
//!
//! Decides: how long to wait, which failure means "not running". Reads and writes: the socket.
//! Never: reads more than [`MAX_ANSWER`] bytes.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{Answer, MAX_ANSWER, Request};

/// For requests that do not wait for a peer.
pub const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "ravelin-control is not running: there is no socket {0}\n    \
         cure: start it (`ravelin-control --config /etc/ravelin/ravelin.toml`), \
         or name its run directory with --run-dir"
    )]
    NoSocket(PathBuf),
    #[error(
        "ravelin-control is not running: nobody listens on {0}, which a killed process left behind\n    \
         cure: start it again (`ravelin-control --config /etc/ravelin/ravelin.toml`)"
    )]
    NobodyListens(PathBuf),
    #[error(
        "no permission to use {0}\n    \
         cure: run this command as the user that ravelin-control runs as (usually: sudo)"
    )]
    Forbidden(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("ravelin-control did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("ravelin-control closed the connection without an answer; its log says why")]
    Closed,
    #[error("the answer of ravelin-control was not understood ({0}); are both of the same version?")]
    NotUnderstood(String),
}

impl ClientError {
    /// Whether the process at the other end is the trouble, not the request.
    pub fn unreachable(&self) -> bool {
        !matches!(self, Self::NotUnderstood(_))
    }
}

/// Asks one thing and waits for the answer, at most `patience`.
pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Answer, ClientError> {
    let io_error = |why: io::Error| explain(socket, why, patience);
    let mut stream = UnixStream::connect(socket).map_err(io_error)?;
    stream.set_read_timeout(Some(patience)).map_err(io_error)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(io_error)?;
    let mut line = serde_json::to_vec(request).map_err(|e| ClientError::NotUnderstood(e.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(io_error)?;
    // The server closes nothing after a request; it sees our end of file and does.
    stream.shutdown(std::net::Shutdown::Write).map_err(io_error)?;
    let limit = u64::try_from(MAX_ANSWER).unwrap_or(u64::MAX);
    let mut answer = Vec::new();
    stream.take(limit).read_to_end(&mut answer).map_err(io_error)?;
    if answer.is_empty() {
        return Err(ClientError::Closed);
    }
    serde_json::from_slice(&answer).map_err(|e| ClientError::NotUnderstood(e.to_string()))
}

fn explain(socket: &Path, why: io::Error, patience: Duration) -> ClientError {
    use io::ErrorKind as Kind;
    let path = socket.to_owned();
    let kind = why.kind();
    if kind == Kind::NotFound {
        ClientError::NoSocket(path)
    } else if kind == Kind::ConnectionRefused {
        ClientError::NobodyListens(path)
    } else if kind == Kind::PermissionDenied {
        ClientError::Forbidden(path)
    } else if matches!(kind, Kind::WouldBlock | Kind::TimedOut) {
        ClientError::TimedOut(patience)
    } else {
        ClientError::Io { path, source: why }
    }
}
