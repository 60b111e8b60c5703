//! The device under test: the real data plane, told by this program, over the real rings, what the control process
//! would tell it: ports, a route, neighbours, one PROTECT policy and one outbound SA with random keys.

use super::forwarder::{CORE, FRAMES, RING};
use super::lab::{self, GATEWAY, HOST_A, HOST_B, LAN, Lab, PEER, Place, SINK, WAN};
use crate::suites::SuiteName;
use anyhow::{Context, bail};
use core::net::Ipv4Addr;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ravelin_ring::client::{self, Session};
use ravelin_ring::msg::{
    Action, Direction, Generation, KeyMaterial, Mode, Neighbour, NextHop, Outcome, OuterDf, Policy, Port,
    PortId, Route, SaId, SaSpec, TableCommand, TableEvent, Token, TunnelId, WorkerCommand, WorkerEvent,
    WorkerId,
};
use ravelin_ring::setup::{Attach, PortSetup, Setup};
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector, Spi};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

/// The data plane as a child process; killed and its attachments removed when dropped.
pub(super) struct Gateway {
    child: Child,
    run_dir: PathBuf,
    _session: Session,
}

/// Returns once the tunnel carries traffic.
pub(super) fn start(lab: &Lab, program: &Path, suite: SuiteName) -> anyhow::Result<Gateway> {
    let run_dir = std::env::temp_dir().join(format!("ravelin-bench-{}", std::process::id()));
    std::fs::create_dir_all(&run_dir)?;
    let mut child = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", lab.name(Place::Gateway)))
        .arg("--")
        .arg(program)
        .arg("--run-dir")
        .arg(&run_dir)
        .spawn()
        .context("starting the data plane")?;
    match connect(&run_dir, &mut child).and_then(|mut s| furnish(&mut s, suite).map(|()| s)) {
        Ok(session) => Ok(Gateway { child, run_dir, _session: session }),
        Err(e) => {
            stop(&mut child);
            Err(e)
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        stop(&mut self.child);
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

/// SIGTERM, so that it detaches; then, bounded, the end.
fn stop(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn connect(run_dir: &Path, child: &mut Child) -> anyhow::Result<Session> {
    let path = run_dir.join("dataplane.sock");
    for _ in 0..100 {
        if let Some(status) = child.try_wait()? {
            bail!("the data plane ended: {status}");
        }
        if path.exists() {
            return client::connect(&path, &setup()).context("greeting the data plane");
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the data plane does not listen on {}", path.display())
}

fn setup() -> Setup {
    let port = |name: &str| PortSetup { name: name.to_owned(), attach: Attach::Native };
    Setup {
        ports: vec![port(LAN), port(WAN)],
        cores: vec![u16::try_from(CORE).unwrap_or(0)],
        frames: FRAMES,
        frame_size: 2048,
        ring_size: RING,
        huge_pages: false,
        tun: "rbench0".into(),
        udp_encap_port: None,
        max_sas: 16,
    }
}

/// Tables first, then the SA, each acknowledged before the next.
fn furnish(session: &mut Session, suite: SuiteName) -> anyhow::Result<()> {
    for command in tables()? {
        session
            .rings
            .tables
            .commands
            .send(&command)
            .map_err(|_| anyhow::anyhow!("the table ring is full"))?;
    }
    wait(|| match session.rings.tables.events.pop() {
        Some(Ok(TableEvent::Committed { .. })) => Some(Ok(())),
        Some(Ok(TableEvent::Refused { .. })) => Some(Err(anyhow::anyhow!("it refuses the tables"))),
        Some(Err(e)) => Some(Err(anyhow::anyhow!("{e:?}"))),
        Some(Ok(TableEvent::PortState { .. })) | None => None,
    })?;
    let worker = session.rings.workers.first_mut().context("no worker")?;
    for command in outbound_sa(suite)? {
        worker.commands.send(&command).map_err(|_| anyhow::anyhow!("the command ring is full"))?;
    }
    wait(|| match worker.events.pop() {
        Some(Ok(WorkerEvent::Done { token, outcome: Outcome::Ok })) => (token == LAST).then_some(Ok(())),
        Some(Ok(WorkerEvent::Done { .. })) => Some(Err(anyhow::anyhow!("it refuses the SA"))),
        Some(Err(e)) => Some(Err(anyhow::anyhow!("{e:?}"))),
        Some(Ok(_)) | None => None,
    })
}

fn wait(mut answer: impl FnMut() -> Option<anyhow::Result<()>>) -> anyhow::Result<()> {
    for _ in 0..5000 {
        if let Some(done) = answer() {
            return done;
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("the data plane does not answer")
}

const LAST: Token = Token(2);
const TUNNEL: TunnelId = TunnelId(1);
const SA: SaId = SaId(1);

fn selector() -> anyhow::Result<Selector> {
    let net = |a: Ipv4Addr| Prefix::of(a.into(), 24).map(AddrRange::from).map_err(|e| anyhow::anyhow!("{e}"));
    Ok(Selector {
        local: net(HOST_A)?,
        remote: net(HOST_B)?,
        protocol: None,
        local_ports: PortRange::ANY,
        remote_ports: PortRange::ANY,
    })
}

fn tables() -> anyhow::Result<Vec<TableCommand>> {
    let (lan, wan) = (PortId(0), PortId(1));
    let link = |port, name| Port { port, mac: lab::mac(name).0, mtu: 1500, up: true };
    let route = |addr: Ipv4Addr, port| -> anyhow::Result<Route> {
        let prefix = Prefix::of(addr.into(), 24).map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(Route { prefix, next_hop: NextHop::Port { port, gateway: None } })
    };
    let behind_peer = Route {
        prefix: Prefix::of(HOST_B.into(), 24).map_err(|e| anyhow::anyhow!("{e}"))?,
        next_hop: NextHop::Port { port: wan, gateway: Some(PEER.into()) },
    };
    let selector = selector()?;
    Ok(vec![
        TableCommand::SetPort(link(lan, LAN)),
        TableCommand::SetPort(link(wan, WAN)),
        TableCommand::AddRoute(route(HOST_A, lan)?),
        TableCommand::AddRoute(route(PEER, wan)?),
        TableCommand::AddRoute(behind_peer),
        TableCommand::SetNeighbour(Neighbour { port: wan, addr: PEER.into(), mac: lab::mac(SINK).0 }),
        TableCommand::AddGatewayAddress(GATEWAY.into()),
        TableCommand::AddPolicy(Policy { order: 1, selector, action: Action::Protect(TUNNEL), line: 0 }),
        TableCommand::AddProtectedRange(selector.remote),
        TableCommand::Commit { generation: Generation(1) },
    ])
}

fn outbound_sa(suite: SuiteName) -> anyhow::Result<[WorkerCommand; 3]> {
    let (suite, key_bytes) = suite.contract();
    let mut keys = [0; KeyMaterial::MAX];
    let keys = &mut keys[..key_bytes];
    getrandom::fill(keys).map_err(|e| anyhow::anyhow!("random numbers: {e}"))?;
    let spec = SaSpec {
        id: SA,
        tunnel: TUNNEL,
        direction: Direction::Outbound,
        spi: Spi::try_from(0x1000).map_err(|e| anyhow::anyhow!("{e}"))?,
        suite,
        keys: KeyMaterial::new(keys).context("key length")?,
        esn: true, // or a long run ends at 2^32 packets
        local: (GATEWAY, 0).into(),
        remote: (PEER, 0).into(),
        mode: Mode::Tunnel,
        replay_window: 0,
        tunnel_mtu: 1500,
        outer_df: OuterDf::Copy,
        soft_bytes: 0,
        hard_bytes: 0,
        soft_packets: 0,
        hard_packets: 0,
        selectors: 1,
    };
    Ok([
        WorkerCommand::SaSelector { sa: SA, selector: selector()? },
        WorkerCommand::InstallSa { token: Token(1), spec: Box::new(spec) },
        WorkerCommand::UseOutbound { token: LAST, tunnel: TUNNEL, sa: SA, owner: WorkerId(0) },
    ])
}
