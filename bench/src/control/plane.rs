//! A real data plane in a namespace, furnished over its rings by this program, with a sender before and a counter
//! behind it.
//!
//! Decides: addresses of this bench's small world. Never: waits without bound.

use crate::host::{Net, Process, Scratch, beside_this_program, joined};
use crate::instrument::interrupt;
use crate::sa;
use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ravelin_ring::client::{self, Session};
use ravelin_ring::msg::*;
use ravelin_ring::setup::{Attach, PortSetup, Setup};
use ravelin_wire::{AddrRange, PortRange, Prefix, Selector};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Behind tunnel 0.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
pub(crate) const LAN_MAC: [u8; 6] = [2, 0, 0x5e, 0, 1, 2];
const WAN_MAC: [u8; 6] = [2, 0, 0x5e, 0, 1, 3];
const SINK_MAC: [u8; 6] = [2, 0, 0x5e, 0, 1, 4];
/// Longer the data plane may not take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fields in the order in which they have to end.
pub(crate) struct Plane {
    pub(crate) session: Session,
    pub(crate) process: Process,
    pub(crate) net: Arc<Net>,
    _scratch: Scratch,
}

impl Plane {
    /// host – gw (data plane) – sink, with room for `max_sas` of each direction.
    pub(crate) fn start(max_sas: u32, core: u16) -> anyhow::Result<Self> {
        Self::within(Arc::new(namespaces()?), max_sas, core)
    }

    /// In namespaces that others use too, by turns.
    pub(crate) fn within(net: Arc<Net>, max_sas: u32, core: u16) -> anyhow::Result<Self> {
        let scratch = Scratch::new("control")?;
        let run_dir = scratch.path().join(format!("rbc{}", std::process::id()));
        std::fs::create_dir_all(&run_dir)?;
        let program = beside_this_program("ravelin-dataplane")?;
        let run = run_dir.display().to_string();
        let log = scratch.path().join("dataplane.log");
        let mut process = Process::start(&net, "gw", log, &[&program, "--run-dir", &run], &[])?;
        let socket = run_dir.join("dataplane.sock");
        process.wait_for("its socket", Duration::from_secs(10), || socket.exists())?;
        let session = client::connect(&socket, &setup(max_sas, core)).context("greeting the data plane")?;
        Ok(Self { session, process, net, _scratch: scratch })
    }

    /// One generation of tables with so many tunnels; the time until every worker runs with it.
    pub(crate) fn load_tables(&mut self, tunnels: u32, generation: u64) -> anyhow::Result<Duration> {
        let commands = tables(tunnels, generation)?;
        let began = Instant::now();
        let mut at = 0;
        loop {
            let ring = &mut self.session.rings.tables;
            while at < commands.len() && ring.commands.push(&commands[at]).is_ok() {
                at += 1;
            }
            ring.commands.notify();
            match ring.events.pop() {
                Some(Ok(TableEvent::Committed { .. })) => return Ok(began.elapsed()),
                Some(Ok(TableEvent::Refused { .. })) => bail!("the data plane refuses the tables"),
                Some(Ok(TableEvent::PortState { .. })) => {}
                Some(Err(e)) => bail!("an event of the data plane is malformed: {e}"),
                None => self.rest(began)?,
            }
        }
    }

    /// Until the data plane rings, a millisecond at most: its ring may just have got room.
    fn rest(&mut self, began: Instant) -> anyhow::Result<()> {
        interrupt::check()?;
        if began.elapsed() > PATIENCE {
            bail!("the data plane did not answer within {PATIENCE:?}");
        }
        self.process.alive()?;
        let mut fds = [PollFd::new(self.session.bell.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(1u8))? > 0 {
            self.session.bell.clear();
        }
        Ok(())
    }

    /// Puts the commands through worker 0's ring, as fast as it takes them, until all that ask for an answer have it.
    pub(crate) fn drive(&mut self, commands: &[WorkerCommand]) -> anyhow::Result<Duration> {
        let wanted = commands.iter().filter(|c| !matches!(c, WorkerCommand::SaSelector { .. })).count();
        let (began, mut at, mut answered) = (Instant::now(), 0, 0);
        while answered < wanted {
            let ring = self.session.rings.workers.first_mut().context("no worker")?;
            while at < commands.len() && ring.commands.push(&commands[at]).is_ok() {
                at += 1;
            }
            ring.commands.notify();
            let before = answered;
            while let Some(event) = ring.events.pop() {
                let event = event.map_err(|e| anyhow::anyhow!("a malformed event: {e}"))?;
                let WorkerEvent::Done { outcome, .. } = event else { continue };
                anyhow::ensure!(outcome == Outcome::Ok, "the worker answers {outcome:?}");
                answered += 1;
            }
            if answered == before {
                self.rest(began)?;
            }
        }
        Ok(began.elapsed())
    }

    /// Packets that left the data plane towards the peer.
    pub(crate) fn packets_out(&self) -> anyhow::Result<u64> {
        let dev = joined(self.net.inside("sink", || std::fs::read_to_string("/proc/thread-self/net/dev")))??;
        received(&dev, "sink0").context("sink0 is not in /proc/net/dev")
    }
}

/// The second field behind the device's name (proc_pid_net(5)).
fn received(dev: &str, name: &str) -> Option<u64> {
    let line = dev.lines().find_map(|l| l.trim().strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Places host, gw and sink, joined by veths.
pub(crate) fn namespaces() -> anyhow::Result<Net> {
    let mut net = Net::new("c");
    for place in ["host", "gw", "sink"] {
        net.add(place)?;
    }
    net.join(("host", "host0"), ("gw", "lan0"))?;
    net.join(("gw", "wan0"), ("sink", "sink0"))?;
    for (place, dev, mac) in [("gw", "lan0", LAN_MAC), ("gw", "wan0", WAN_MAC), ("sink", "sink0", SINK_MAC)] {
        net.ip(place, &format!("link set {dev} address {}", text(mac)))?;
    }
    net.ip("host", &format!("addr add {HOST}/24 dev host0"))?;
    net.ip("host", &format!("route add default via {ROUTER}"))?;
    net.ip("host", &format!("neigh add {ROUTER} lladdr {} dev host0", text(LAN_MAC)))?;
    // The sink has no address: what comes is counted by its device and goes no further.
    Ok(net)
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

fn setup(max_sas: u32, core: u16) -> Setup {
    let port = |name: &str| PortSetup {
        name: name.to_owned(),
        attach: Attach::Native,
        reverse_path: Default::default(),
        vpn_only: false,
    };
    Setup {
        ports: vec![port("lan0"), port("wan0")],
        cores: vec![core],
        frames: 16_384,
        frame_size: 2048,
        ring_size: 2048,
        huge_pages: false,
        busy_poll_us: 0,
        tun: "rbench0".into(),
        udp_encap_port: None,
        max_sas,
    }
}

/// Tunnel n leads to the n-th address of 100.64.0.0/10.
pub(crate) fn selector(tunnel: u32) -> anyhow::Result<Selector> {
    let range = |addr: Ipv4Addr, len| Prefix::of(addr.into(), len).map(AddrRange::from);
    let far = Ipv4Addr::from_bits(FAR.to_bits() + tunnel);
    let local = range(HOST, 24).map_err(|e| anyhow::anyhow!("{e}"))?;
    let remote = range(far, 32).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(Selector { local, remote, protocol: None, local_ports: PortRange::ANY, remote_ports: PortRange::ANY })
}

fn tables(tunnels: u32, generation: u64) -> anyhow::Result<Vec<TableCommand>> {
    let (lan, wan) = (PortId(0), PortId(1));
    let route = |addr: Ipv4Addr, len, next_hop| -> anyhow::Result<TableCommand> {
        let prefix = Prefix::of(addr.into(), len).map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(TableCommand::AddRoute(Route { prefix, next_hop }))
    };
    let via_peer = NextHop::Port { port: wan, gateway: Some(PEER.into()) };
    let mut out = vec![
        TableCommand::ClearPolicies,
        TableCommand::ClearProtectedRanges,
        TableCommand::ClearGatewayAddresses,
        TableCommand::ClearRoutes,
        TableCommand::SetPort(Port { port: lan, mac: LAN_MAC, mtu: 1500, up: true }),
        TableCommand::SetPort(Port { port: wan, mac: WAN_MAC, mtu: 1500, up: true }),
        route(HOST, 24, NextHop::Port { port: lan, gateway: None })?,
        route(PEER, 24, NextHop::Port { port: wan, gateway: None })?,
        route(FAR, 10, via_peer)?,
        TableCommand::SetNeighbour(Neighbour { port: wan, addr: PEER.into(), mac: SINK_MAC }),
        TableCommand::AddGatewayAddress(GATEWAY.into()),
    ];
    for tunnel in 0..tunnels {
        let (selector, action) = (selector(tunnel)?, Action::Protect(TunnelId(tunnel)));
        out.push(TableCommand::AddPolicy(Policy { order: tunnel, selector, action, hold: false, line: 0 }));
        out.push(TableCommand::AddProtectedRange(selector.remote));
    }
    out.push(TableCommand::Commit { generation: Generation(generation) });
    Ok(out)
}

/// One SA and what has to come before it. Numbers from 1 on are ids and, spread, SPIs.
pub(crate) fn install(
    number: u32,
    tunnel: u32,
    direction: Direction,
    suite: (Suite, usize),
) -> anyhow::Result<[WorkerCommand; 2]> {
    let mut keys = [0; KeyMaterial::MAX];
    let keys = &mut keys[..suite.1];
    getrandom::fill(keys).map_err(|e| anyhow::anyhow!("random numbers: {e}"))?;
    let id = SaId(number.into());
    // As random ones lie: all over the numbers.
    let spi = number.wrapping_mul(0x9e37_79b1) | 0x400;
    let spec = sa::spec((id, TunnelId(tunnel)), direction, spi, (suite.0, keys), (GATEWAY, PEER))?;
    let selector = selector(tunnel)?;
    let (token, spec) = (Token(number.into()), Box::new(spec));
    Ok([WorkerCommand::SaSelector { sa: id, selector }, WorkerCommand::InstallSa { token, spec }])
}

/// From now on the tunnel sends by that SA.
pub(crate) fn use_outbound(number: u32, tunnel: u32) -> WorkerCommand {
    let (tunnel, sa, owner) = (TunnelId(tunnel), SaId(number.into()), WorkerId(0));
    WorkerCommand::UseOutbound { token: Token(number.into()), tunnel, sa, owner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spis_of_a_hundred_thousand_sas_differ() {
        let suite = crate::suites::SuiteName::Aes128Gcm.contract();
        let mut seen = std::collections::HashSet::new();
        for number in 1..=1000 {
            let [_, WorkerCommand::InstallSa { spec, .. }] =
                install(number, number % 7, Direction::Inbound, suite).unwrap()
            else {
                panic!("an installation")
            };
            assert!(seen.insert(spec.spi));
        }
    }

    #[test]
    fn packets_of_a_device_are_the_second_field() {
        let dev = "Inter-| Receive\n face |bytes packets\n  lo: 1 2 0\nsink0: 640 10 0 0\n";
        assert_eq!(received(dev, "sink0"), Some(10));
        assert_eq!(received(dev, "sink"), None);
    }
}
