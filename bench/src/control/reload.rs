//! How long a reload holds up traffic: SIGHUP to the real control process while numbered datagrams go through two real
//! gateways, host A – gateway A – gateway B – host B. The tunnel that carries them is not touched by the reload.

use super::{Options, Output};
use crate::conf::{Gateway, Proof, Tunnel};
use crate::host::{Net, Process, Scratch, beside_this_program};
use crate::instrument::{Progress, interrupt};
use crate::traffic::{Received, Receiver, Sender};
use nix::sys::signal::Signal;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const HOST_B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 10);
const OUT_A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const OUT_B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PORT: u16 = 4004;
/// Bytes of the IP packets.
const SIZE: usize = 200;
const IKE: &str = "aes256gcm16-prfsha384-x25519";
/// A tunnel is up after three round trips; the rest is for busy machines.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(options: &Options, progress: &mut Progress, out: &Output) -> anyhow::Result<()> {
    progress.step("reload");
    let many = if options.quick { 1000 } else { options.tunnels.min(10_000) };
    let mut world = World::start(many, options.core)?;
    world.warm_up(options)?;
    // The first window has no reload: what is lost there is the machine's doing.
    world.window(options, out, "no reload, for comparison", None)?;
    world.window(options, out, "nothing changed", Some(0))?;
    world.window(options, out, "one tunnel added", Some(1))?;
    world.window(options, out, &format!("{many} tunnels added"), Some(many))?;
    world.window(options, out, &format!("{many} tunnels, nothing changed"), Some(many))?;
    world.window(options, out, &format!("{many} tunnels removed"), Some(0))
}

/// Fields in the order in which they have to end: control processes before their data planes.
struct World {
    controls: Vec<Process>,
    _planes: Vec<Process>,
    net: Net,
    scratch: Scratch,
    max_sas: usize,
}

impl World {
    fn start(many: u32, core: u16) -> anyhow::Result<Self> {
        let (scratch, net) = (Scratch::new("reload")?, namespaces()?);
        let (controls, planes, max_sas) = (Vec::new(), Vec::new(), many as usize * 2 + 16);
        let mut me = Self { controls, _planes: planes, net, scratch, max_sas };
        for side in [Side::A, Side::B] {
            me.gateway(side, usize::from(core))?;
        }
        let (ravelin, run_dir) = (beside_this_program("ravelin")?, me.run_dir(Side::A).display().to_string());
        let up = || tunnel_is_up(&ravelin, &run_dir);
        me.controls[0].wait_for("the tunnel", PATIENCE, up)?;
        Ok(me)
    }

    /// A data plane and a control process.
    fn gateway(&mut self, side: Side, core: usize) -> anyhow::Result<()> {
        let run_dir = self.run_dir(side);
        std::fs::create_dir_all(&run_dir)?;
        let config = self.configure(side, 0, core)?.display().to_string();
        let (place, run) = (side.place(), run_dir.display().to_string());
        let log = |what: &str| self.scratch.path().join(format!("{what}-{place}.log"));
        let dataplane = beside_this_program("ravelin-dataplane")?;
        let command = [dataplane.as_str(), "--run-dir", &run];
        let mut plane = Process::start(&self.net, place, log("dataplane"), &command, &[])?;
        let socket = run_dir.join("dataplane.sock");
        plane.wait_for("its socket", PATIENCE, || socket.exists())?;
        let control = beside_this_program("ravelin-control")?;
        let command = [control.as_str(), "--config", &config];
        let info = [("RUST_LOG", "info")];
        let mut control = Process::start(&self.net, place, log("control"), &command, &info)?;
        let socket = run_dir.join("control.sock");
        control.wait_for("its socket", PATIENCE, || socket.exists())?;
        self._planes.push(plane);
        self.controls.push(control);
        Ok(())
    }

    /// The last part also names what is pinned in the BPF file system.
    fn run_dir(&self, side: Side) -> PathBuf {
        self.scratch.path().join(format!("rbr{}-{}", std::process::id(), side.place()))
    }

    fn configure(&self, side: Side, extra: u32, core: usize) -> anyhow::Result<PathBuf> {
        let dir = self.scratch.path().join(side.place());
        std::fs::create_dir_all(&dir)?;
        let ports = ["lan0", "wan0"];
        let gateway =
            Gateway { dir: &dir, run_dir: &self.run_dir(side), ports: &ports, core, max_sas: self.max_sas };
        let mut tunnels = vec![carrying(side)];
        tunnels.extend((0..extra).map(other));
        gateway.write(&tunnels)
    }

    /// Neighbours become known by the first packets, which are lost; that is no reload's doing.
    fn warm_up(&self, options: &Options) -> anyhow::Result<()> {
        let sender =
            Sender::start(&self.net, "ha", SocketAddrV4::new(HOST_B, PORT), SIZE, options.pps.min(1000));
        interrupt::sleep(Duration::from_millis(500))?;
        sender.stop().map(drop)
    }

    /// Traffic for some seconds; a reload, if there is one, in the middle.
    fn window(
        &mut self,
        options: &Options,
        out: &Output,
        case: &str,
        extra: Option<u32>,
    ) -> anyhow::Result<()> {
        let seconds = if options.quick { 1 } else { 3 };
        let receiver = Receiver::start(&self.net, "hb", PORT)?;
        let to = SocketAddrV4::new(HOST_B, PORT);
        let sender = Sender::start(&self.net, "ha", to, SIZE, options.pps);
        interrupt::sleep(Duration::from_secs(1))?;
        if let Some(extra) = extra {
            self.configure(Side::A, extra, usize::from(options.core))?;
            let took = self.reload()?;
            out.say("reload: SIGHUP to answering again", case, took.as_secs_f64() * 1e3, "ms")?;
        }
        interrupt::sleep(Duration::from_secs(seconds))?;
        let sent = sender.stop()?;
        self.say(out, case, options.pps, sent, receiver.stop()?)
    }

    fn say(&self, out: &Output, case: &str, pps: u64, sent: u64, got: Received) -> anyhow::Result<()> {
        anyhow::ensure!(got.count > 0, "no datagram came through: {}", self.controls[0].last_lines(6));
        let (lost, blocked) = (sent.saturating_sub(got.count), got.blocked(sent, pps));
        let case = format!("{case}, {pps} pps");
        #[allow(clippy::cast_precision_loss)] // datagrams of some seconds
        out.say("reload: lost datagrams", &case, lost as f64, "datagrams")?;
        out.say("reload: blocked (lost / offered rate)", &case, blocked.as_secs_f64() * 1e3, "ms")?;
        out.say("reload: longest silence at the end", &case, got.longest_gap.as_secs_f64() * 1e3, "ms")
    }

    /// The process reads its signals before it answers requests that came after them.
    fn reload(&mut self) -> anyhow::Result<Duration> {
        let control = &mut self.controls[0];
        let said = control.count_in_log("configuration read again");
        let began = Instant::now();
        control.signal(Signal::SIGHUP)?;
        // Written at once, while the reload itself goes on.
        let log = control.log().to_owned();
        control.wait_for("the reload", Duration::from_secs(60), || {
            crate::host::count_in(&log, "configuration read again") > said
        })?;
        let ravelin = beside_this_program("ravelin")?;
        let run_dir = self.scratch.path().join(format!("rbr{}-{}", std::process::id(), Side::A.place()));
        let mut show = Command::new(ravelin);
        let answer = show.arg("--run-dir").arg(run_dir).args(["show", "workers", "--json"]).output()?;
        anyhow::ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        Ok(began.elapsed())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    A,
    B,
}

impl Side {
    const fn place(self) -> &'static str {
        match self {
            Self::A => "ga",
            Self::B => "gb",
        }
    }
}

fn carrying(side: Side) -> Tunnel {
    let (a, b) = ("10.1.0.0/24".to_owned(), "10.2.0.0/24".to_owned());
    let (local, remote, ids, selector, start) = match side {
        Side::A => (OUT_A, OUT_B, ["a.bench", "b.bench"], (a, b), "immediately"),
        Side::B => (OUT_B, OUT_A, ["b.bench", "a.bench"], (b, a), "respond"),
    };
    let [local_id, remote_id] = ids.map(str::to_owned);
    Tunnel {
        name: "carrying".into(),
        local,
        remote,
        local_id,
        remote_id,
        selector,
        start,
        ike: IKE.into(),
        proof: Proof::Psk,
    }
}

/// Waits for a peer that is not there.
fn other(n: u32) -> Tunnel {
    let remote = Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 1).to_bits() + n);
    Tunnel {
        name: format!("other-{n}"),
        local: OUT_A,
        remote,
        local_id: "a.bench".into(),
        remote_id: format!("o{n}.bench"),
        selector: ("10.1.0.0/24".into(), format!("{remote}/32")),
        start: "respond",
        ike: IKE.into(),
        proof: Proof::Psk,
    }
}

fn namespaces() -> anyhow::Result<Net> {
    let mut net = Net::new("r");
    for place in ["ha", "ga", "gb", "hb"] {
        net.add(place)?;
    }
    net.join(("ha", "eth0"), ("ga", "lan0"))?;
    net.join(("ga", "wan0"), ("gb", "wan0"))?;
    net.join(("gb", "lan0"), ("hb", "eth0"))?;
    for (host, gateway, net_of, out) in [("ha", "ga", "10.1.0", OUT_A), ("hb", "gb", "10.2.0", OUT_B)] {
        net.ip(host, &format!("addr add {net_of}.10/24 dev eth0"))?;
        net.ip(host, &format!("route add default via {net_of}.1"))?;
        net.ip(gateway, &format!("addr add {net_of}.1/24 dev lan0"))?;
        net.ip(gateway, &format!("addr add {out}/24 dev wan0"))?;
        net.sysctl(gateway, "net/ipv4/ip_forward", "1")?;
        let peer = if gateway == "ga" { OUT_B } else { OUT_A };
        net.ip(gateway, &format!("route add default via {peer}"))?;
    }
    Ok(net)
}

fn tunnel_is_up(ravelin: &str, run_dir: &str) -> bool {
    let shown = Command::new(ravelin).args(["--run-dir", run_dir, "show", "tunnels", "--json"]).output();
    let list = shown.ok().and_then(|o| serde_json::from_slice::<Vec<serde_json::Value>>(&o.stdout).ok());
    list.is_some_and(|all| all.iter().any(|t| t["state"] == "up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tunnels_have_addresses_and_identities_of_their_own() {
        let (a, b) = (other(0), other(299));
        assert_ne!((a.remote, &a.remote_id, &a.selector.1), (b.remote, &b.remote_id, &b.selector.1));
        assert_eq!(b.remote, Ipv4Addr::new(100, 64, 1, 44));
    }
}
