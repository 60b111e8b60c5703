//! Two real control processes, a hub and many spokes, each with a recording data plane, joined by a veth pair.
//!
//! Decides: when all is up: every tunnel's outbound SA is in use at both ends. Reads: /proc of both processes, answers of
//! `ravelin show`. Never: waits without bound.

use super::recorder::Recorder;
use super::world::{self, End, HUB, SPOKES};
use super::{Case, Line, each};
use crate::conf::{Gateway, Proof};
use crate::host::{Net, Process, Scratch, Usage, beside_this_program};
use crate::instrument::{Spread, interrupt};
use anyhow::bail;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two questions by `ravelin show` while tunnels come up.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// A second without one more tunnel, this often, ends the bench.
const STALLED: Duration = Duration::from_secs(30);
const LOADED: Duration = Duration::from_secs(60);

pub(super) fn run(case: Case, control: Option<&str>) -> anyhow::Result<Line> {
    let (scratch, net) = (Scratch::new("ike")?, namespaces()?);
    let program = control.map_or_else(|| beside_this_program("ravelin-control"), |c| Ok(c.to_owned()))?;
    let (tunnels, [hub_proof, spokes_proof]) = (case.tunnels, case.proofs(scratch.path())?);
    let mut hub = Node::prepare(&net, &scratch, End::Hub, case, &hub_proof)?;
    let mut spokes = Node::prepare(&net, &scratch, End::Spokes, case, &spokes_proof)?;
    hub.start(&net, &program)?;
    hub.ready()?;
    let hub_idle = hub.usage()?;
    // The spokes' process begins by itself as soon as its tables are in force.
    spokes.start(&net, &program)?;
    spokes.ready()?;
    let (began, spokes_idle) = (Instant::now(), spokes.usage()?);
    let shown = climb(&mut hub, &mut spokes, tunnels)?;
    let took = began.elapsed().as_secs_f64();
    let (hub_used, spokes_used) = (hub.usage()?, spokes.usage()?);
    let ms = |from: Usage, to: Usage| each((to.cpu.saturating_sub(from.cpu)).as_secs_f64() * 1e3, tunnels);
    #[allow(clippy::cast_precision_loss)]
    let bytes = |from: Usage, to: Usage| each(to.rss.saturating_sub(from.rss) as f64, tunnels);
    let spread = Spread::of(shown);
    Ok(Line {
        bench: "ike",
        part: "processes",
        group: case.group.name(),
        auth: case.auth.name(),
        tunnels,
        setups_per_s: f64::from(tunnels) / took,
        initiator_ms: ms(spokes_idle, spokes_used),
        responder_ms: ms(hub_idle, hub_used),
        initiator_bytes: bytes(spokes_idle, spokes_used),
        responder_bytes: bytes(hub_idle, hub_used),
        show_ms_max: Some(spread.max),
        show_ms: Some(spread.median),
    })
}

/// Waits until all tunnels are up, asking both ends by turns about one of them all the while; how long each answer
/// took, in ms.
fn climb(hub: &mut Node, spokes: &mut Node, tunnels: u32) -> anyhow::Result<Vec<f64>> {
    let ravelin = beside_this_program("ravelin")?;
    let (mut shown, mut progress) = (Vec::new(), (0, Instant::now()));
    loop {
        interrupt::check()?;
        let up = hub.up().min(spokes.up());
        if up >= u64::from(tunnels) {
            return Ok(shown);
        }
        if up > progress.0 {
            progress = (up, Instant::now());
        } else if progress.1.elapsed() > STALLED {
            bail!("{up} of {tunnels} tunnels are up, and no more for {STALLED:?}:\n{}", hub.last_lines());
        }
        hub.alive()?;
        spokes.alive()?;
        for end in [&*hub, &*spokes] {
            shown.push(ask(&ravelin, end)?.as_secs_f64() * 1e3);
        }
        let until = Instant::now() + ASK_EVERY;
        while Instant::now() < until && hub.up().min(spokes.up()) < u64::from(tunnels) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn ask(ravelin: &str, end: &Node) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut command = Command::new(ravelin);
    command.arg("--run-dir").arg(&end.run_dir).args(["show", "tunnels", "t0", "--json"]);
    let answer = command.output()?;
    anyhow::ensure!(answer.status.success(), "ravelin show: {}", String::from_utf8_lossy(&answer.stderr));
    Ok(began.elapsed())
}

/// One end. Fields in the order in which they have to end.
struct Node {
    process: Option<Process>,
    recorder: Recorder,
    config: PathBuf,
    run_dir: PathBuf,
    place: &'static str,
}

const fn place(end: End) -> &'static str {
    match end {
        End::Hub => "hub",
        End::Spokes => "spokes",
    }
}

impl Node {
    fn prepare(net: &Net, scratch: &Scratch, end: End, case: Case, proof: &Proof) -> anyhow::Result<Self> {
        let place = place(end);
        let dir = scratch.path().join(place);
        let run_dir = dir.join("run");
        std::fs::create_dir_all(&run_dir)?;
        let max_sas = case.tunnels as usize * 2 + 16;
        let gateway = Gateway { dir: &dir, run_dir: &run_dir, ports: &["wan0"], core: 0, max_sas };
        let config = gateway.write(&world::tunnels(end, case.group, proof, case.tunnels))?;
        let recorder = Recorder::start(net, place, run_dir.clone(), "wan0")?;
        Ok(Self { process: None, recorder, config, run_dir, place })
    }

    fn start(&mut self, net: &Net, program: &str) -> anyhow::Result<()> {
        let config = self.config.display().to_string();
        let log = self.config.with_file_name("control.log");
        let command = [program, "--config", &config];
        self.process = Some(Process::start(net, self.place, log, &command, &[("RUST_LOG", "info")])?);
        Ok(())
    }

    /// Its tables are in force and IKE begins.
    fn ready(&mut self) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else { bail!("{} was not started", self.place) };
        let log = process.log().to_owned();
        process.wait_for("its tables", LOADED, || crate::host::count_in(&log, "IKE begins") > 0)
    }

    fn up(&self) -> u64 {
        self.recorder.counts.in_use.load(Ordering::Relaxed)
    }

    fn alive(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::alive)
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        self.process.as_ref().map_or_else(|| Ok(Usage::default()), Process::usage)
    }

    fn last_lines(&self) -> String {
        self.process.as_ref().map(|p| p.last_lines(8)).unwrap_or_default()
    }
}

pub(super) fn namespaces() -> anyhow::Result<Net> {
    let mut net = Net::new("i");
    net.add("hub")?;
    net.add("spokes")?;
    net.join(("hub", "wan0"), ("spokes", "wan0"))?;
    net.ip("hub", &format!("addr add {HUB}/24 dev wan0"))?;
    net.ip("spokes", "addr add 198.18.0.2/24 dev wan0")?;
    net.ip("hub", &format!("route add {SPOKES} via 198.18.0.2"))?;
    // Every address of the spokes is the namespace's own, without ten thousand of them on a device.
    net.ip("spokes", &format!("route add local {SPOKES} dev lo"))?;
    Ok(net)
}
