//! The data plane's end: listens, checks who comes, and gives each control process new rings.

use crate::bell::{Bell, Sender};
use crate::handshake::{self, Answer, Error, Hello, Version, Welcome};
use crate::layout::{Plan, TABLE_COMMANDS, TABLE_EVENTS, VERSION, WORKER_COMMANDS, WORKER_EVENTS};
use crate::memory::{CounterWriter, Memory};
use crate::msg::{TableCommand, TableEvent, WorkerCommand, WorkerEvent};
use crate::setup::Setup;
use crate::spsc::Consumer;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A visitor that says nothing holds up the main thread (never a worker) this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket at which control processes come in.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Takes the place of a dead data plane's socket, never of a living one's. Only the owner may connect.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::Listen { path: path.into(), source };
        if path.exists() {
            match UnixStream::connect(path) {
                Ok(_) => return Err(Error::AlreadyRunning(path.into())),
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(fail)?
                }
                Err(e) => return Err(fail(e)),
            }
        }
        let socket = UnixListener::bind(path).map_err(fail)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        Ok(Self { socket, path: path.into() })
    }

    /// The next visitor, if one waits. An error is that visitor's; the listener goes on.
    pub fn accept(&self) -> Result<Option<Visitor>, Error> {
        let mut stream = match self.socket.accept() {
            Ok((stream, _)) => stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(Error::Io(e)),
        };
        handshake::check_peer(&stream)?;
        handshake::set_patience(&stream, PATIENCE)?;
        let hello = handshake::receive_bytes(&mut stream)?;
        let theirs = serde_json::from_slice::<Version>(&hello)?.version;
        if theirs != VERSION {
            refuse(&mut stream, format!("ring layout version {theirs}, this data plane has {VERSION}"));
            return Err(Error::Version { ours: VERSION, theirs });
        }
        match serde_json::from_slice::<Hello>(&hello) {
            Ok(hello) => Ok(Some(Visitor { stream, setup: hello.setup })),
            Err(e) => {
                refuse(&mut stream, format!("the setup is not understood: {e}"));
                Err(e.into())
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn refuse(stream: &mut UnixStream, why: String) {
    // Whether the visitor hears it is its own affair.
    let _ = handshake::send(stream, &Answer::Refused { why });
}

/// A control process that has said what it wants.
#[derive(Debug)]
pub struct Visitor {
    stream: UnixStream,
    setup: Setup,
}

/// What wakes the data plane's threads; it has them for life, each control process gets copies.
#[derive(Clone, Debug)]
pub struct Bells {
    pub main: Arc<Bell>,
    pub workers: Vec<Arc<Bell>>,
}

/// Both rings of one worker, and where it shows its counters.
#[derive(Debug)]
pub struct WorkerLink {
    pub commands: Consumer<WorkerCommand>,
    pub events: Sender<WorkerEvent>,
    pub counters: CounterWriter,
}

/// One control process. Dropping it closes the connection.
#[derive(Debug)]
pub struct Session {
    /// In the order of their [`crate::msg::WorkerId`]; give each to its worker.
    pub workers: Vec<WorkerLink>,
    pub commands: Consumer<TableCommand>,
    pub events: Sender<TableEvent>,
    /// [`crate::counters::XdpCounter`]s and [`crate::counters::SocketCounter`]s, in the order of the ports.
    pub ports: Vec<CounterWriter>,
    /// Readable (end of file) when the control process is gone.
    pub stream: UnixStream,
}

impl Visitor {
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn refuse(mut self, why: impl Into<String>) {
        refuse(&mut self.stream, why.into());
    }

    /// Makes new rings and passes them.
    pub fn welcome(mut self, welcome: Welcome, bells: &Bells) -> Result<Session, Error> {
        let workers = usize::from(welcome.workers);
        let plan = Plan::new(workers, welcome.ports.len()).filter(|_| bells.workers.len() == workers);
        let plan = plan.ok_or(Error::Protocol("too many workers or ports"))?;
        let (memory, fd) = Memory::create(plan)?;
        let theirs = Arc::new(Bell::new()?);
        let mut fds = vec![fd.as_raw_fd(), theirs.as_raw_fd(), bells.main.as_raw_fd()];
        fds.extend(bells.workers.iter().map(|bell| bell.as_raw_fd()));
        let welcome = Welcome { version: VERSION, ..welcome };
        handshake::send_with(&mut self.stream, &Answer::Welcome(Box::new(welcome)), &fds)?;
        self.stream.set_nonblocking(true)?;
        let link = |worker| WorkerLink {
            commands: memory.consumer(plan.worker_commands(worker), WORKER_COMMANDS),
            events: Sender::new(memory.producer(plan.worker_events(worker), WORKER_EVENTS), theirs.clone()),
            counters: memory.worker_writer(worker),
        };
        Ok(Session {
            workers: (0..workers).map(link).collect(),
            commands: memory.consumer(plan.table_commands(), TABLE_COMMANDS),
            events: Sender::new(memory.producer(plan.table_events(), TABLE_EVENTS), theirs.clone()),
            ports: (0..plan.ports).map(|port| memory.port_writer(port)).collect(),
            stream: self.stream,
        })
    }
}
