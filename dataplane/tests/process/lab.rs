//! Two hosts and a gateway in namespaces of their own, a real data plane in the gateway, and the simplest control
//! process there can be.

use ravelin_ring::client::{self, Session};
use ravelin_ring::counters::Counter;
use ravelin_ring::msg::{
    Action, Generation, Neighbour, NextHop, Policy, Port, PortId, Route, TableCommand, TableEvent,
};
use ravelin_ring::setup::{Attach, PortSetup, Setup};
use ravelin_ring::{Error, WorkerCounters};
use ravelin_testkit::{Namespace, PATIENCE, selector};
use ravelin_wire::AddrRange;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// a (10.77.1.2) – lan0 gw wan0 – b (10.77.2.2). The gateway's kernel forwards, too: what XDP leaves to it arrives.
pub(crate) struct Lab {
    a: Namespace,
    gw: Namespace,
    b: Namespace,
    run_dir: PathBuf,
}

impl Lab {
    pub(crate) fn new(name: &str) -> Self {
        let run_dir = std::env::temp_dir().join(format!("io-{name}-{}", std::process::id()));
        let side = |side: &str| Namespace::new(&format!("io-{name}-{side}"));
        let lab = Self { a: side("a"), gw: side("gw"), b: side("b"), run_dir };
        let keys = [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            // The kernel's own router solicitations would be counted as injected packets.
            "net.ipv6.conf.default.disable_ipv6=1",
        ];
        for key in keys {
            assert!(lab.gw.run("sysctl", &["-qw", key]).status.success(), "sysctl {key}");
        }
        lab.cable("a", "lan0", 1);
        lab.cable("b", "wan0", 2);
        lab
    }

    fn side(&self, side: &str) -> &Namespace {
        match side {
            "a" => &self.a,
            "b" => &self.b,
            _ => &self.gw,
        }
    }

    /// A host's cable to the gateway; network 10.77.`net`.0/24.
    pub(crate) fn cable(&self, host: &str, port: &str, net: u8) {
        let host = self.side(host);
        host.join("eth0", &self.gw, port);
        host.ip(&format!("addr add 10.77.{net}.2/24 dev eth0"));
        self.gw.ip(&format!("addr add 10.77.{net}.1/24 dev {port}"));
        host.ip(&format!("route add default via 10.77.{net}.1"));
    }

    pub(crate) fn gateway_ip(&self, words: &str) {
        self.gw.ip(words);
    }

    /// Runs a program in a namespace, with this process's file systems.
    pub(crate) fn run(&self, side: &str, program: &str, arguments: &[&str]) -> Output {
        self.side(side).run(program, arguments)
    }

    /// Echo requests that were answered, of `count`.
    pub(crate) fn ping(&self, from: &str, to: &str, count: u32) -> u32 {
        let count = count.to_string();
        let output = self.run(from, "ping", &["-q", "-n", "-i", "0.02", "-W", "1", "-c", &count, to]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let received = text.split(", ").find_map(|part| part.strip_suffix(" received"));
        received.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("ping (iputils) said: {text}"))
    }

    pub(crate) fn setup(&self, ports: &[&str]) -> Setup {
        let cores = core_affinity::get_core_ids().expect("cores");
        let port = |name: &&str| PortSetup {
            name: (*name).into(),
            attach: Attach::Auto,
            reverse_path: Default::default(),
            vpn_only: false,
        };
        Setup {
            ports: ports.iter().map(port).collect(),
            cores: cores.iter().take(2).map(|c| u16::try_from(c.id).unwrap()).collect(),
            frames: 8192,
            frame_size: 2048,
            ring_size: 1024,
            huge_pages: false,
            busy_poll_us: 0,
            tun: "ravelin0".into(),
            udp_encap_port: None,
            max_sas: 16,
        }
    }

    pub(crate) fn start(&self) -> DataPlane {
        let child = self
            .gw
            .command(env!("CARGO_BIN_EXE_ravelin-dataplane"))
            .arg("--run-dir")
            .arg(&self.run_dir)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the data plane");
        DataPlane { child }
    }

    pub(crate) fn connect(&self, setup: &Setup) -> Result<Session, Error> {
        let path = self.run_dir.join("dataplane.sock");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match client::connect(&path, setup) {
                Err(Error::NotRunning { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                done => return done,
            }
        }
    }

    /// Bypass for all, both networks protected (so that XDP steers them), routes and neighbours. Waits until it is in
    /// force on every worker.
    pub(crate) fn install(&self, session: &mut Session, generation: u64) {
        let any = selector("0.0.0.0/0", "0.0.0.0/0");
        let bypass = Policy { order: 1, selector: any, action: Action::Bypass, hold: false, line: 0 };
        let net = AddrRange::new([10, 77, 0, 0].into(), [10, 77, 255, 255].into()).unwrap();
        let mut all = vec![
            TableCommand::ClearPolicies,
            TableCommand::AddPolicy(bypass),
            TableCommand::ClearRoutes,
            TableCommand::ClearProtectedRanges,
            TableCommand::AddProtectedRange(net),
        ];
        for (n, host, device) in [(1u8, "a", "lan0"), (2, "b", "wan0")] {
            let port = PortId(u16::from(n) - 1);
            let here = NextHop::Port { port, gateway: None };
            let route = |prefix: String, next_hop| Route { prefix: prefix.parse().unwrap(), next_hop };
            let mac = self.gw.mac(device);
            all.extend([
                TableCommand::SetPort(Port { port, mac, mtu: 1500, up: true }),
                TableCommand::AddRoute(route(format!("10.77.{n}.0/24"), here)),
                TableCommand::AddRoute(route(format!("10.77.{n}.1/32"), NextHop::Local)),
                TableCommand::SetNeighbour(Neighbour {
                    port,
                    addr: [10, 77, n, 2].into(),
                    mac: self.side(host).mac("eth0"),
                }),
            ]);
        }
        let generation = Generation(generation);
        all.push(TableCommand::Commit { generation });
        for command in all {
            session.rings.tables.commands.send(&command).unwrap();
        }
        wait_for(session, TableEvent::Committed { generation });
    }

    /// Whether any XDP state of this instance is pinned.
    pub(crate) fn pinned(&self) -> bool {
        let instance = self.run_dir.file_name().unwrap().to_str().unwrap();
        PathBuf::from(format!("/sys/fs/bpf/ravelin-{instance}")).exists()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.run_dir);
        let instance = self.run_dir.file_name().unwrap().to_str().unwrap();
        let pins = PathBuf::from(format!("/sys/fs/bpf/ravelin-{instance}"));
        if pins.exists() {
            let _ = ravelin_ebpf::release(&pins);
        }
    }
}

pub(crate) fn wait_for(session: &mut Session, wanted: TableEvent) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        while let Some(event) = session.rings.tables.events.pop() {
            if event == Ok(wanted) {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("{wanted:?} did not come");
}

/// Counters of all workers once they rest: the same twice in a row, and in balance (R303).
pub(crate) fn rested(session: &Session) -> Vec<WorkerCounters> {
    let read =
        || (0..session.counters.workers()).map(|w| session.counters.worker(w).unwrap()).collect::<Vec<_>>();
    let deadline = Instant::now() + PATIENCE;
    let mut last = read();
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = read();
        if now == last {
            break;
        }
        assert!(Instant::now() < deadline, "the workers do not come to rest");
        last = now;
    }
    for w in &last {
        use Counter as C;
        let sum = |list: &[C]| list.iter().map(|c| w.get(*c)).sum::<u64>();
        let entered = sum(&[C::Received, C::Injected, C::Generated, C::HandedIn, C::Released]);
        let ended = sum(&[C::Forwarded, C::Punted, C::HandedOut, C::Consumed, C::Held]);
        let ended = ended + w.drops.iter().sum::<u64>();
        assert_eq!(entered, ended, "conservation: {w:?}");
    }
    last
}

pub(crate) fn total(counters: &[WorkerCounters], what: Counter) -> u64 {
    counters.iter().map(|w| w.get(what)).sum()
}

/// A running `ravelin-dataplane`; killed when dropped.
pub(crate) struct DataPlane {
    child: Child,
}

impl DataPlane {
    pub(crate) fn signal(&self, signal: &str) {
        // nsenter has become the data plane (exec): the child's id is its own.
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Exit code (`None`: killed) and what it wrote.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            use std::io::Read as _;
            let _ = stderr.read_to_string(&mut text);
        }
        (self.child.wait().unwrap().code(), text)
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
