//! The server's side: accepts clients, reads one request per line, hands it over, writes the answer.
//!
//! Decides: who is let in (socket mode), how many at once, how long and how large a request may be.
//! Reads: the socket. Writes: [`Call`]s into a bounded channel, answers to the socket.
//! Never: blocks the caller's loop or waits for its turns (it has a thread of its own), waits for ever, keeps a client
//! that stays silent.

use core::time::Duration;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{Answer, MAX_REQUEST, Request};

/// Clients served at the same time; more are told so and closed.
pub const MAX_CLIENTS: usize = 32;

/// Requests waiting for the control loop; a client whose request finds no room waits.
pub const DEPTH: usize = 16;

/// Silence after which a client is closed.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// For a client that does not read its answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// For the control process to answer, beyond the time that the request itself allows.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Upper bound for `timeout_ms` of `Up` and `Down`.
pub const MAX_WAIT: Duration = Duration::from_secs(600);

/// One request, to be answered by `reply.send(answer)`. Dropping `reply` answers with an error; a client that left
/// makes `reply.is_closed()` true.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub reply: oneshot::Sender<Answer>,
}

/// The listening socket; its file is removed on drop.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    path: PathBuf,
    calls: mpsc::Sender<Call>,
    read_timeout: Duration,
}

impl Server {
    /// Listens at `path`, mode 0600. A socket left by a dead process is replaced; a living one's is an error.
    pub fn bind(path: &Path) -> io::Result<(Self, mpsc::Receiver<Call>)> {
        clear_stale(path)?;
        let listener = StdListener::bind(path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (calls, receiver) = mpsc::channel(DEPTH);
        Ok((Self { listener, path: path.to_owned(), calls, read_timeout: READ_TIMEOUT }, receiver))
    }

    /// For tests of silent clients.
    pub fn with_read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// Serves on a thread of its own: whoever asks waits for the one turn of the loop that answers, not for one with each
    /// step of his connection.
    pub fn start(self) -> io::Result<Serving> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            UnixListener::from_std(self.listener.try_clone()?)?
        };
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("api".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = self.accept(listener) => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Serving { end: Some(end), thread: Some(thread) })
    }

    /// Until the receiver of the calls is dropped.
    async fn accept(self, listener: UnixListener) {
        let room = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(why) => {
                        tracing::warn!(%why, "the API socket cannot accept a client");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
                () = self.calls.closed() => return,
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                tokio::spawn(turn_away(stream));
                continue;
            };
            let (calls, limit) = (self.calls.clone(), self.read_timeout);
            tokio::spawn(async move {
                serve(stream, calls, limit).await;
                drop(permit);
            });
        }
    }
}

/// The thread that serves. Dropping it ends it, whoever still holds the receiver of the calls.
#[derive(Debug)]
pub struct Serving {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.end.take());
        // A panic there has ended the process already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The path may be gone already, with the run directory: nothing to do about it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A socket file nobody listens on is a leaving of a killed process. Anything else at that path is not ours to remove.
fn clear_stale(path: &Path) -> io::Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another ravelin-control listens there; stop it first",
        )),
        Err(_) => std::fs::remove_file(path),
    }
}

async fn turn_away(mut stream: UnixStream) {
    let answer = Answer::refused(format!("{MAX_CLIENTS} clients are being served; try again"));
    let _ = write(&mut stream, &answer).await;
}

async fn serve(stream: UnixStream, calls: mpsc::Sender<Call>, limit: Duration) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Ok(Ok(Some(line))) = timeout(limit, read_line(&mut reader)).await {
        let (answer, go_on) = match line {
            Line::Whole(bytes) => match serde_json::from_slice::<Request>(&bytes) {
                Ok(request) => (ask(&calls, request).await, true),
                Err(why) => (Answer::refused(format!("request not understood: {why}")), true),
            },
            Line::TooLong => (Answer::refused(format!("request longer than {MAX_REQUEST} bytes")), false),
        };
        if write(&mut writer, &answer).await.is_err() || !go_on {
            return;
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX) + 1;
    if reader.take(limit).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    if line.len() > MAX_REQUEST {
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Whole(line)))
}

async fn ask(calls: &mpsc::Sender<Call>, request: Request) -> Answer {
    let patience = ANSWER_TIMEOUT + wait_of(&request);
    let (reply, answer) = oneshot::channel();
    let asked = async {
        if calls.send(Call { request, reply }).await.is_err() {
            return Answer::refused("ravelin-control is shutting down");
        }
        answer.await.unwrap_or_else(|_| Answer::refused("ravelin-control gave up the request"))
    };
    timeout(patience, asked)
        .await
        .unwrap_or_else(|_| Answer::refused("ravelin-control did not answer in time"))
}

fn wait_of(request: &Request) -> Duration {
    match request {
        Request::Up { timeout_ms, .. } | Request::Down { timeout_ms, .. } => {
            Duration::from_millis(*timeout_ms).min(MAX_WAIT)
        }
        Request::Show { .. }
        | Request::Trace { .. }
        | Request::Clear { .. }
        | Request::Reload
        | Request::Version => Duration::ZERO,
    }
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    timeout(WRITE_TIMEOUT, writer.write_all(&line)).await.map_err(|_| io::ErrorKind::TimedOut)?
}
