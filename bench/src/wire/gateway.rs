//! The device under test: the real data plane, told by this program, over the real rings, what the control process
//! would tell it: ports, routes, neighbours, and for each tunnel a PROTECT policy and a pair of SAs.

use super::device::{CORE, Device, FRAMES, RING, Running};
use super::lab::{self, GEN, LAN, Lab, Place, SINK, WAN};
use super::traffic::{GATEWAY, HOST_A, HOST_B, PEER, Tunnel, Tunnels};
use crate::{host, sa};
use anyhow::{Context, bail};
use core::net::Ipv4Addr;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ravelin_ring::client::{self, Session};
use ravelin_ring::msg::{
    Action, Direction, Generation, Neighbour, NextHop, Outcome, Policy, Port, PortId, Route, SaId,
    TableCommand, TableEvent, Token, TunnelId, WorkerCommand, WorkerEvent, WorkerId,
};
use ravelin_ring::setup::{Attach, PortSetup, Setup};
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// For all answers of the data plane together.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Ravelin {
    /// The data plane's program.
    pub(crate) program: PathBuf,
    pub(crate) tuning: Tuning,
}

/// Options of the data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tuning {
    pub(crate) busy_poll_us: u16,
    pub(crate) huge_pages: bool,
}

impl Device for Ravelin {
    fn name(&self) -> String {
        let mut name = "ravelin".to_owned();
        if self.tuning.busy_poll_us > 0 {
            name.push_str(&format!(" busy-poll {}", self.tuning.busy_poll_us));
        }
        if self.tuning.huge_pages {
            name.push_str(" huge-pages");
        }
        name
    }

    fn start(&self, lab: &Lab, tunnels: &Arc<Tunnels>) -> anyhow::Result<Box<dyn Running>> {
        let run_dir = std::env::temp_dir().join(format!("ravelin-bench-{}", std::process::id()));
        std::fs::create_dir_all(&run_dir)?;
        let mut child = host::inside(&lab.path(Place::Gateway))
            .arg(&self.program)
            .arg("--run-dir")
            .arg(&run_dir)
            // Its log would tear the progress apart; what it warns of is to be seen.
            .env("RUST_LOG", std::env::var_os("RUST_LOG").unwrap_or_else(|| "warn".into()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting the data plane")?;
        let session = connect(&run_dir, &mut child, &setup(tunnels.count(), self.tuning))
            .and_then(|mut s| furnish(&mut s, tunnels).map(|()| s));
        match session {
            Ok(session) => Ok(Box::new(Gateway { child, run_dir, _session: session })),
            Err(e) => {
                stop(&mut child);
                Err(e)
            }
        }
    }
}

/// The data plane as a child process; killed and its attachments removed when dropped.
struct Gateway {
    child: Child,
    run_dir: PathBuf,
    _session: Session,
}

impl Running for Gateway {
    fn threads(&self) -> Vec<PathBuf> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.into_iter().flatten().flatten().map(|task| task.path());
        // The others wait for a core while the tester has it, and move no packet.
        let worker = |task: &PathBuf| {
            std::fs::read_to_string(task.join("status")).is_ok_and(|status| is_pinned(&status, CORE))
        };
        tasks.filter(worker).map(|task| task.join("schedstat")).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        stop(&mut self.child);
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

/// May run on that core and no other, by its status file (proc_pid_status(5)).
fn is_pinned(status: &str, core: usize) -> bool {
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    allowed.is_some_and(|list| list.trim() == core.to_string())
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

fn connect(run_dir: &Path, child: &mut Child, setup: &Setup) -> anyhow::Result<Session> {
    let path = run_dir.join("dataplane.sock");
    for _ in 0..100 {
        if let Some(status) = child.try_wait()? {
            bail!("the data plane ended: {status}");
        }
        if path.exists() {
            return client::connect(&path, setup).context("greeting the data plane");
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the data plane does not listen on {}", path.display())
}

fn setup(tunnels: u32, tuning: Tuning) -> Setup {
    let port = |name: &str| PortSetup {
        name: name.to_owned(),
        attach: Attach::Native,
        reverse_path: Default::default(),
        vpn_only: false,
    };
    Setup {
        ports: vec![port(LAN), port(WAN)],
        cores: vec![u16::try_from(CORE).unwrap_or(0)],
        frames: FRAMES,
        frame_size: 2048,
        ring_size: RING,
        huge_pages: tuning.huge_pages,
        busy_poll_us: tuning.busy_poll_us,
        tun: "rbench0".into(),
        udp_encap_port: None,
        max_sas: tunnels.max(16),
    }
}

/// Tables first, then the SAs, each acknowledged before the next.
fn furnish(session: &mut Session, tunnels: &Tunnels) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for command in tables(tunnels)? {
        until(deadline, || session.rings.tables.commands.send(&command).ok())?;
    }
    until(deadline, || match session.rings.tables.events.pop() {
        Some(Ok(TableEvent::Committed { .. })) => Some(Ok(())),
        Some(Ok(TableEvent::Refused { .. })) => Some(Err(anyhow::anyhow!("it refuses the tables"))),
        Some(Err(e)) => Some(Err(anyhow::anyhow!("{e:?}"))),
        Some(Ok(TableEvent::PortState { .. })) | None => None,
    })??;
    let worker = session.rings.workers.first_mut().context("no worker")?;
    for (tunnel, number) in tunnels.all.iter().zip(1u32..) {
        for command in sas(tunnel, number, tunnels)? {
            until(deadline, || worker.commands.send(&command).ok())?;
        }
        until(deadline, || match worker.events.pop() {
            Some(Ok(WorkerEvent::Done { token, outcome: Outcome::Ok })) => (token == LAST).then_some(Ok(())),
            Some(Ok(WorkerEvent::Done { .. })) => Some(Err(anyhow::anyhow!("it refuses an SA"))),
            Some(Err(e)) => Some(Err(anyhow::anyhow!("{e:?}"))),
            Some(Ok(_)) | None => None,
        })??;
    }
    Ok(())
}

fn until<T>(deadline: Instant, mut answer: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let mut turns = 0;
    loop {
        if let Some(done) = answer() {
            return Ok(done);
        }
        if Instant::now() > deadline {
            bail!("the data plane does not answer within {} s", PATIENCE.as_secs());
        }
        // The first turns without sleep: thousands of SAs are answered one by one.
        turns += 1;
        if turns < 200 { thread::yield_now() } else { thread::sleep(Duration::from_micros(200)) }
    }
}

const STEP: Token = Token(1);
const LAST: Token = Token(2);

fn net(addr: Ipv4Addr, len: u8) -> anyhow::Result<Prefix> {
    Prefix::of(addr.into(), len).map_err(|e| anyhow::anyhow!("{e}"))
}

/// The network behind the gateway, and the one address behind the peer.
fn selector(tunnel: &Tunnel) -> anyhow::Result<Selector> {
    Ok(Selector {
        local: AddrRange::from(net(HOST_A, 24)?),
        remote: AddrRange::from(net(tunnel.remote, 32)?),
        protocol: None,
        local_ports: PortRange::ANY,
        remote_ports: PortRange::ANY,
    })
}

fn tables(tunnels: &Tunnels) -> anyhow::Result<Vec<TableCommand>> {
    let (lan, wan) = (PortId(0), PortId(1));
    let link = |port, name| TableCommand::SetPort(Port { port, mac: lab::mac(name).0, mtu: 1500, up: true });
    let route = |prefix, port, gateway| {
        TableCommand::AddRoute(Route { prefix, next_hop: NextHop::Port { port, gateway } })
    };
    let neighbour = |port, addr: Ipv4Addr, name| {
        TableCommand::SetNeighbour(Neighbour { port, addr: addr.into(), mac: lab::mac(name).0 })
    };
    let behind_peer = net(HOST_B, 9)?;
    let mut all = vec![
        link(lan, LAN),
        link(wan, WAN),
        route(net(HOST_A, 24)?, lan, None),
        route(net(PEER, 24)?, wan, None),
        route(behind_peer, wan, Some(PEER.into())),
        neighbour(wan, PEER, SINK),
        neighbour(lan, HOST_A, GEN),
        TableCommand::AddGatewayAddress(GATEWAY.into()),
        TableCommand::AddProtectedRange(behind_peer.into()),
    ];
    for (tunnel, order) in tunnels.all.iter().zip(1..) {
        let action = Action::Protect(TunnelId(order));
        all.push(TableCommand::AddPolicy(Policy {
            order,
            selector: selector(tunnel)?,
            action,
            hold: false,
            line: 0,
        }));
    }
    all.push(TableCommand::Commit { generation: Generation(1) });
    Ok(all)
}

/// Inbound first, as a gateway does it, then outbound, then its use.
fn sas(tunnel: &Tunnel, number: u32, tunnels: &Tunnels) -> anyhow::Result<Vec<WorkerCommand>> {
    let selector = selector(tunnel)?;
    let id = TunnelId(number);
    let mut all = Vec::with_capacity(5);
    let halves = [(Direction::Inbound, &tunnel.inn), (Direction::Outbound, &tunnel.out)];
    for ((direction, keys), sa) in halves.into_iter().zip([2 * number, 2 * number + 1]) {
        let sa = SaId(sa.into());
        let keys_of = (tunnels.suite.contract().0, &keys.keymat[..]);
        let spec = sa::spec((sa, id), direction, keys.spi, keys_of, (GATEWAY, PEER))?;
        all.push(WorkerCommand::SaSelector { sa, selector });
        all.push(WorkerCommand::InstallSa { token: STEP, spec: Box::new(spec) });
    }
    let sa = SaId(u64::from(2 * number + 1));
    all.push(WorkerCommand::UseOutbound { token: LAST, tunnel: id, sa, owner: WorkerId(0) });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_is_the_thread_that_may_run_on_its_core_alone() {
        let status =
            |list: &str| format!("Name:\tworker0\nCpus_allowed:\t2\nCpus_allowed_list:\t{list}\nMems:\t0\n");
        assert!(is_pinned(&status("1"), 1));
        for other in ["0-1", "0", "11", "1,3"] {
            assert!(!is_pinned(&status(other), 1), "{other}");
        }
        assert!(!is_pinned("Name:\tx\n", 1));
    }
}
