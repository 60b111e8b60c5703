//! Namespaces, and a data plane that records what it is told.
#![allow(dead_code, unreachable_pub)] // each test binary includes this and uses a part
#![allow(clippy::unwrap_used)] // a test helper, though in no `cfg(test)`

use ravelin_ring::msg::{
    Outcome, SaReport, SaSpec, TableCommand, TableEvent, WorkerCommand, WorkerEvent, WorkerId,
};
use ravelin_ring::server::{Bells, Listener, Session};
use ravelin_ring::{Bell, BindMode, PortReport, Welcome};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No test waits longer for anything; most wait for milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let out = Command::new(words.next().unwrap()).args(words).output().expect(command);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Waits until `check` gives something.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "gave up waiting for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A named network namespace, gone on drop.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new(name: &str) -> Self {
        let name = format!("drv-{name}-{}", std::process::id());
        run(&format!("ip netns add {name}"));
        let me = Self(name);
        me.ip("link set lo up");
        me
    }

    pub fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.0))
    }

    /// Starts a program inside.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]).args(arguments);
        command.spawn().expect("ip netns exec")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs `work` on a thread of its own in a network namespace of its own, with a runtime.
pub fn in_namespace<T: Send + 'static, F: Future<Output = T>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> T {
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root is needed for namespaces");
        run("ip link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, work()).await.expect("in time") })
    });
    thread.join().unwrap()
}

/// A child process that does not outlive the test.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        eventually("a process to end", || self.0.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a recording data plane was told, in order.
#[derive(Clone, Debug)]
pub enum Told {
    Connected,
    Table(TableCommand),
    Worker(WorkerId, Recorded),
}

/// A worker's command without its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    Selector(u64),
    Install { sa: u64, inbound: bool, tunnel: u32, spi: u32, keys: Vec<u8> },
    Use { tunnel: u32, sa: u64 },
    Stop { tunnel: u32 },
    Remove { sa: u64 },
    Move { sa: u64 },
    Report,
    Path,
}

/// Serves the real rings, does what it is told, and remembers it. SAs survive a control process, as in the real one.
pub struct Recorder {
    told: Arc<Mutex<Vec<Told>>>,
    events: Arc<Mutex<Vec<(u16, WorkerEvent)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    workers: u16,
    tun: (String, u32),
    sas: BTreeMap<u64, (u16, SaSpec)>,
    in_use: BTreeMap<u32, u64>,
    packets: u64,
}

impl Recorder {
    pub fn start(run_dir: &Path, workers: u16, tun: &str, tun_ifindex: u32) -> Self {
        let listener = Listener::bind(&run_dir.join("dataplane.sock")).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, queue, end) = (Arc::clone(&told), Arc::clone(&events), Arc::clone(&stop));
        let tun = (tun.to_owned(), tun_ifindex);
        let thread = std::thread::spawn(move || {
            let mut state = State { workers, tun, sas: BTreeMap::new(), in_use: BTreeMap::new(), packets: 0 };
            let mut session: Option<Session> = None;
            let mut fresh = true;
            while !end.load(Ordering::Relaxed) {
                if let Ok(Some(visitor)) = listener.accept() {
                    log.lock().unwrap().push(Told::Connected);
                    session = Some(welcome(visitor, &state, fresh));
                    fresh = false;
                }
                if let Some(s) = session.as_mut() {
                    serve(s, &mut state, &log);
                    for (worker, event) in queue.lock().unwrap().drain(..) {
                        s.workers[usize::from(worker)].events.send(&event).unwrap();
                    }
                    if matches!((&s.stream).read(&mut [0]), Ok(0)) {
                        session = None;
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { told, events, stop, thread: Some(thread) }
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.told.lock().unwrap().clear();
    }

    pub fn raise(&self, worker: u16, event: WorkerEvent) {
        self.events.lock().unwrap().push((worker, event));
    }

    pub fn worker_commands(&self) -> Vec<(WorkerId, Recorded)> {
        let told = self.told();
        told.into_iter()
            .filter_map(|t| if let Told::Worker(w, r) = t { Some((w, r)) } else { None })
            .collect()
    }

    pub fn tables(&self) -> Vec<TableCommand> {
        let told = self.told();
        told.into_iter().filter_map(|t| if let Told::Table(c) = t { Some(c) } else { None }).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn welcome(visitor: ravelin_ring::server::Visitor, state: &State, fresh: bool) -> Session {
    let bell = || Arc::new(Bell::new().unwrap());
    let bells = Bells { main: bell(), workers: (0..state.workers).map(|_| bell()).collect() };
    let ports = visitor.setup().ports.iter().map(|p| PortReport {
        name: p.name.clone(),
        ifindex: 1,
        mac: [2; 6],
        attach: "generic".into(),
        queues: 1,
        bind: BindMode::Copy,
        attached: true,
    });
    let welcome = Welcome {
        version: 0,
        workers: state.workers,
        ports: ports.collect(),
        tun: state.tun.0.clone(),
        tun_ifindex: state.tun.1,
        fresh,
        crypto: "recorded".into(),
        buffers: "recorded".into(),
    };
    visitor.welcome(welcome, &bells).unwrap()
}

fn serve(session: &mut Session, state: &mut State, log: &Mutex<Vec<Told>>) {
    while let Some(command) = session.commands.pop() {
        let command = command.unwrap();
        log.lock().unwrap().push(Told::Table(command));
        if let TableCommand::Commit { generation } = command {
            session.events.send(&TableEvent::Committed { generation }).unwrap();
        }
    }
    for (id, link) in (0u16..).zip(&mut session.workers) {
        while let Some(command) = link.commands.pop() {
            let (recorded, token) = obey(state, id, command.unwrap());
            if recorded == Recorded::Report {
                for event in reports(state, id) {
                    link.events.send(&event).unwrap();
                }
            } else {
                log.lock().unwrap().push(Told::Worker(WorkerId(id), recorded));
            }
            if let Some(token) = token {
                link.events.send(&WorkerEvent::Done { token, outcome: Outcome::Ok }).unwrap();
            }
        }
    }
}

fn obey(
    state: &mut State,
    worker: u16,
    command: WorkerCommand,
) -> (Recorded, Option<ravelin_ring::msg::Token>) {
    use ravelin_ring::msg::Direction;
    match command {
        WorkerCommand::SaSelector { sa, .. } => (Recorded::Selector(sa.0), None),
        WorkerCommand::InstallSa { token, spec } => {
            let recorded = Recorded::Install {
                sa: spec.id.0,
                inbound: spec.direction == Direction::Inbound,
                tunnel: spec.tunnel.0,
                spi: spec.spi.get(),
                keys: spec.keys.as_slice().to_vec(),
            };
            state.sas.insert(spec.id.0, (worker, *spec));
            (recorded, Some(token))
        }
        WorkerCommand::UseOutbound { token, tunnel, sa, .. } => {
            state.in_use.insert(tunnel.0, sa.0);
            (Recorded::Use { tunnel: tunnel.0, sa: sa.0 }, Some(token))
        }
        WorkerCommand::StopOutbound { token, tunnel } => {
            state.in_use.remove(&tunnel.0);
            (Recorded::Stop { tunnel: tunnel.0 }, Some(token))
        }
        WorkerCommand::RemoveSa { token, sa } => {
            state.sas.remove(&sa.0);
            (Recorded::Remove { sa: sa.0 }, Some(token))
        }
        WorkerCommand::MoveSa { token, sa, .. } => (Recorded::Move { sa: sa.0 }, Some(token)),
        WorkerCommand::ReportSas { token } => (Recorded::Report, Some(token)),
        WorkerCommand::PathMtu { token, .. } => (Recorded::Path, Some(token)),
    }
}

fn reports(state: &mut State, worker: u16) -> Vec<WorkerEvent> {
    state.packets += 1;
    let mine = state.sas.values().filter(|(w, _)| *w == worker);
    mine.map(|(_, s)| {
        WorkerEvent::SaReport(Box::new(SaReport {
            id: s.id,
            tunnel: s.tunnel,
            direction: s.direction,
            spi: s.spi,
            suite: s.suite,
            mode: s.mode,
            local: s.local,
            remote: s.remote,
            sequence: state.packets,
            packets: state.packets,
            bytes: state.packets * 100,
            replay_drops: 0,
            icv_drops: 0,
            selector_drops: 0,
            idle_ms: 5,
            in_use: state.in_use.get(&s.tunnel.0) == Some(&s.id.0),
            outside: s.extras.outside,
            inside: s.extras.inside,
            filtered: s.extras.filtered,
        }))
    })
    .collect()
}

/// One gateway: namespace, run directory, recording data plane, and the real control process.
pub struct Gateway {
    pub namespace: Namespace,
    pub directory: tempfile::TempDir,
    pub recorder: Option<Recorder>,
    pub control: Option<Process>,
}

impl Gateway {
    pub fn new(name: &str) -> Self {
        let namespace = Namespace::new(name);
        // A veth in the TUN device's place: the recorder moves no packets, but routes want a device that is up.
        namespace.ip("link add ravelin0 type veth peer name ravelin1");
        namespace.ip("link set ravelin1 up");
        Self { namespace, directory: tempfile::tempdir().unwrap(), recorder: None, control: None }
    }

    pub fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.file(name), text).unwrap();
        std::fs::set_permissions(self.file(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn start_recorder(&mut self, workers: u16) {
        std::fs::create_dir_all(self.run_dir()).unwrap();
        let shown = self.namespace.ip("-o link show ravelin0");
        let index = shown.split(':').next().unwrap().trim().parse().unwrap();
        self.recorder = Some(Recorder::start(&self.run_dir(), workers, "ravelin0", index));
    }

    pub fn start_control(&mut self) {
        let (config, run_dir) = (self.file("ravelin.toml"), self.run_dir());
        let arguments =
            ["--config", config.to_str().unwrap(), "--run-dir", run_dir.to_str().unwrap(), "--log", "info"];
        self.control = Some(Process(self.namespace.spawn(env!("CARGO_BIN_EXE_ravelin-control"), &arguments)));
    }

    /// Table 4500; empty while there is none.
    pub fn protected(&self) -> String {
        let out =
            Command::new("ip").args(["-n", &self.namespace.0, "route", "show", "table", "4500"]).output();
        String::from_utf8_lossy(&out.unwrap().stdout).into_owned()
    }

    pub fn recorder(&self) -> &Recorder {
        self.recorder.as_ref().unwrap()
    }

    pub fn control(&mut self) -> &mut Process {
        self.control.as_mut().unwrap()
    }

    pub fn ask(&self, request: &ravelin_control::api::Request) -> ravelin_control::api::Answer {
        let socket = ravelin_control::api::socket_path(&self.run_dir());
        eventually("the API to answer", || ravelin_control::api::client::ask(&socket, request, PATIENCE).ok())
    }
}
