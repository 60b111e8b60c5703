//! Two real processes over a Unix socket: this test starts its own binary again as the data plane.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // helpers of tests

use ravelin_ring::counters::{Counter, XdpCounter};
use ravelin_ring::msg::{
    Generation, Outcome, SaId, TableCommand, TableEvent, Token, WorkerCommand, WorkerEvent,
};
use ravelin_ring::server::{Bells, Listener, Visitor};
use ravelin_ring::setup::{Attach, PortSetup, Setup};
use ravelin_ring::{Bell, BindMode, Error, PortReport, Welcome, client};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROLE: &str = "RAVELIN_RING_TEST_SOCKET";

fn setup(workers: u16) -> Setup {
    Setup {
        ports: vec![PortSetup {
            name: "wan0".into(),
            attach: Attach::Auto,
            reverse_path: Default::default(),
            vpn_only: false,
        }],
        cores: (0..workers).collect(),
        frames: 4096,
        frame_size: 2048,
        ring_size: 2048,
        huge_pages: false,
        busy_poll_us: 0,
        tun: "ravelin0".into(),
        udp_encap_port: None,
        max_sas: 16,
    }
}

fn welcome(workers: u16) -> Welcome {
    Welcome {
        version: 0,
        workers,
        ports: vec![PortReport {
            name: "wan0".into(),
            ifindex: 2,
            mac: [2, 0, 0, 0, 0, 1],
            attach: "native".into(),
            queues: 1,
            bind: BindMode::Copy,
            attached: true,
        }],
        tun: "ravelin0".into(),
        tun_ifindex: 3,
        fresh: true,
        crypto: "test".into(),
        buffers: "recorded".into(),
    }
}

fn visitor(listener: &Listener) -> Option<Visitor> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        match listener.accept() {
            Ok(Some(visitor)) => return Some(visitor),
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(_) => {} // a visitor who misbehaved: the next one, please
        }
    }
    None
}

/// Body of the second process; nothing when the suite runs it as a test.
#[test]
fn second_process() {
    let Ok(path) = std::env::var(ROLE) else { return };
    let listener = Listener::bind(Path::new(&path)).unwrap();
    let visitor = visitor(&listener).unwrap();
    let workers = u16::try_from(visitor.setup().cores.len()).unwrap();
    if workers > 2 {
        visitor.refuse("too many cores for this machine");
        return;
    }
    let bells = Bells {
        main: Arc::new(Bell::new().unwrap()),
        workers: (0..workers).map(|_| Arc::new(Bell::new().unwrap())).collect(),
    };
    let mut session = visitor.welcome(welcome(workers), &bells).unwrap();
    let mut seen = 0u64;
    let mut gone = [0];
    // Serves until the control process closes the connection.
    while !matches!(session.stream.read(&mut gone), Ok(0)) {
        let mut idle = true;
        for link in &mut session.workers {
            if link.events.room(1) == 0 {
                continue;
            }
            if let Some(command) = link.commands.pop() {
                let Ok(WorkerCommand::RemoveSa { token, sa: SaId(n) }) = command else {
                    panic!("{command:?}")
                };
                assert_eq!(token.0, n * 3);
                seen += 1;
                link.counters.write([seen]);
                link.events.send(&WorkerEvent::Done { token, outcome: Outcome::Ok }).unwrap();
                idle = false;
            }
        }
        if let Some(Ok(TableCommand::Commit { generation })) = session.commands.pop() {
            session.ports[0].write([11, 22, 33, 44]);
            session.events.send(&TableEvent::Committed { generation }).unwrap();
            idle = false;
        }
        if idle {
            std::thread::yield_now();
        }
    }
}

struct Server {
    child: Child,
    path: PathBuf,
    dir: PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("io-ring-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("dataplane.sock");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "second_process", "--nocapture"])
            .env(ROLE, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !path.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        // Not yet listening between bind(2) and listen(2), nor private before chmod(2): one moment more.
        std::thread::sleep(Duration::from_millis(50));
        Self { child, path, dir }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn commands_and_events_cross_between_processes() {
    const N: u64 = 5_000;
    let mut server = Server::start("cross");
    let mut session = client::connect(&server.path, &setup(2)).unwrap();
    assert_eq!((session.welcome.workers, session.welcome.ports.len()), (2, 1));
    let commit = TableCommand::Commit { generation: Generation(9) };
    session.rings.tables.commands.send(&commit).unwrap();
    let (mut next, mut done) = ([1u64; 2], [0u64; 2]);
    let mut committed = false;
    let deadline = Instant::now() + Duration::from_secs(60);
    while done != [N, N] || !committed {
        assert!(Instant::now() < deadline, "{next:?} {done:?}");
        for (w, rings) in session.rings.workers.iter_mut().enumerate() {
            while next[w] <= N {
                let command = WorkerCommand::RemoveSa { token: Token(next[w] * 3), sa: SaId(next[w]) };
                if rings.commands.send(&command).is_err() {
                    break;
                }
                next[w] += 1;
            }
            while let Some(event) = rings.events.pop() {
                done[w] += 1;
                let expected = WorkerEvent::Done { token: Token(done[w] * 3), outcome: Outcome::Ok };
                assert_eq!(event, Ok(expected), "in order, none lost");
            }
        }
        while let Some(event) = session.rings.tables.events.pop() {
            assert_eq!(event, Ok(TableEvent::Committed { generation: Generation(9) }));
            committed = true;
        }
        std::thread::yield_now();
    }
    let total = (0..2).map(|w| session.counters.worker(w).unwrap().get(Counter::Received)).max().unwrap();
    assert_eq!(total, 2 * N, "counters are seen across the processes");
    assert_eq!(session.counters.port(0).unwrap().get(XdpCounter::NoWorker), 33);
    assert!(session.counters.worker(2).is_none() && session.counters.port(1).is_none());
    drop(session);
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_refusal_says_why() {
    let server = Server::start("refuse");
    let error = client::connect(&server.path, &setup(3)).unwrap_err();
    assert_eq!(error.to_string(), "the data plane refuses: too many cores for this machine");
    let nobody = client::connect(Path::new("/nonexistent/x.sock"), &setup(1)).unwrap_err();
    assert!(matches!(nobody, Error::NotRunning { .. }) && nobody.to_string().contains("ravelin-dataplane"));
}

/// Frames of the wrong version, of nonsense and of lying lengths; then a lawful visitor is served all the same.
#[test]
fn hostile_visitors_are_turned_away() {
    let server = Server::start("hostile");
    let frame = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], body].concat();
    let mut old = UnixStream::connect(&server.path).unwrap();
    old.write_all(&frame(br#"{"version":99,"whatever":1}"#)).unwrap();
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("version 99"));
    for bytes in [
        frame(b"{"),
        frame(br#"{"version":1,"setup":{"ports":7}}"#),
        u32::MAX.to_le_bytes().to_vec(),
        frame(b"{}")[..5].to_vec(),
    ] {
        let mut stream = UnixStream::connect(&server.path).unwrap();
        stream.write_all(&bytes).unwrap();
    }
    let session = client::connect(&server.path, &setup(1)).unwrap();
    assert_eq!(session.welcome.version, ravelin_ring::layout::VERSION);
}

/// A living data plane keeps its socket; a dead one's is taken over.
#[test]
fn the_socket_is_taken_over_only_from_the_dead() {
    let mut server = Server::start("takeover");
    assert!(matches!(Listener::bind(&server.path), Err(Error::AlreadyRunning(_))));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(server.path.exists(), "kill -9 leaves the file");
    Listener::bind(&server.path).unwrap();
}
