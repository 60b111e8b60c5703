//! The control process's end: connects, is welcomed, and owns one end of every ring.

use crate::bell::{Bell, Sender};
use crate::handshake::{self, Answer, Error, Hello, Version, Welcome};
use crate::layout::{Plan, TABLE_COMMANDS, TABLE_EVENTS, VERSION, WORKER_COMMANDS, WORKER_EVENTS};
use crate::memory::{CounterView, Memory};
use crate::msg::{TableCommand, TableEvent, WorkerCommand, WorkerEvent};
use crate::setup::Setup;
use crate::spsc::Consumer;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The first hello makes the data plane attach and bind, which waits for busy queues.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both rings of one worker.
#[derive(Debug)]
pub struct WorkerRings {
    pub commands: Sender<WorkerCommand>,
    pub events: Consumer<WorkerEvent>,
}

/// Both rings of the data plane's main thread.
#[derive(Debug)]
pub struct TableRings {
    pub commands: Sender<TableCommand>,
    pub events: Consumer<TableEvent>,
}

#[derive(Debug)]
pub struct Rings {
    /// In the order of their [`crate::msg::WorkerId`].
    pub workers: Vec<WorkerRings>,
    pub tables: TableRings,
}

/// A connection to the data plane. It ends (for the data plane) when this is dropped; what is installed stays.
#[derive(Debug)]
pub struct Session {
    pub rings: Rings,
    pub welcome: Welcome,
    pub counters: CounterView,
    /// Readable when any event ring was written to: clear it, then drain all of them.
    pub bell: Bell,
    /// Readable (end of file) when the data plane is gone or has taken another control process.
    pub stream: UnixStream,
}

/// Blocks until the data plane has answered: up to half a minute when it has to attach first.
pub fn connect(path: &Path, setup: &Setup) -> Result<Session, Error> {
    let mut stream =
        UnixStream::connect(path).map_err(|source| Error::NotRunning { path: path.into(), source })?;
    handshake::check_peer(&stream)?;
    handshake::set_patience(&stream, PATIENCE)?;
    handshake::send(&mut stream, &Hello { version: VERSION, setup: setup.clone() })?;
    let (answer, fds) = handshake::receive_with::<serde_json::Value>(&mut stream)?;
    if let Some(inside) = answer.get("welcome") {
        let theirs = Version::deserialize_from(inside)?;
        if theirs != VERSION {
            return Err(Error::Version { ours: VERSION, theirs });
        }
    }
    match serde_json::from_value(answer)? {
        Answer::Refused { why } => Err(Error::Refused(why)),
        Answer::Welcome(welcome) => open(stream, *welcome, fds),
    }
}

impl Version {
    fn deserialize_from(value: &serde_json::Value) -> Result<u32, Error> {
        Ok(serde_json::from_value::<Self>(value.clone())?.version)
    }
}

/// Descriptors: the memory, the control process's bell, the main thread's bell, one bell per worker.
fn open(stream: UnixStream, welcome: Welcome, fds: Vec<OwnedFd>) -> Result<Session, Error> {
    let workers = usize::from(welcome.workers);
    let plan = Plan::new(workers, welcome.ports.len()).ok_or(Error::Protocol("impossible numbers"))?;
    if fds.len() != workers + 3 {
        return Err(Error::Protocol("it passed another number of descriptors than agreed"));
    }
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(Error::Protocol("a descriptor is missing"));
    let memory = Memory::open(next()?.as_fd(), plan)?;
    let bell = Bell::received(next()?);
    let main = Arc::new(Bell::received(next()?));
    let tables = TableRings {
        commands: Sender::new(memory.producer(plan.table_commands(), TABLE_COMMANDS), main),
        events: memory.consumer(plan.table_events(), TABLE_EVENTS),
    };
    let mut all = Vec::with_capacity(workers);
    for worker in 0..workers {
        let commands = memory.producer(plan.worker_commands(worker), WORKER_COMMANDS);
        all.push(WorkerRings {
            commands: Sender::new(commands, Arc::new(Bell::received(next()?))),
            events: memory.consumer(plan.worker_events(worker), WORKER_EVENTS),
        });
    }
    stream.set_nonblocking(true)?;
    Ok(Session { rings: Rings { workers: all, tables }, welcome, counters: memory.counters(), bell, stream })
}
