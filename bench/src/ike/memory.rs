//! Two engines on a wire in memory, one thread: no socket, no other process, every installation acknowledged at once.
//!
//! Reads: the time-stamp counter around every call of each engine; the counting allocator before and after.

use super::world::{self, End, HUB};
use super::{Case, Line, each};
use crate::conf::{Gateway, Proof, Tunnel};
use crate::host::Scratch;
use crate::instrument::{Clock, interrupt, live_bytes, pin};
use anyhow::Context;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use ravelin_control::config::Config;
use ravelin_control::driver::Spis;
use ravelin_control::secrets::Secrets;
use ravelin_ike::command::Command;
use ravelin_ike::endpoint::{Endpoint, EndpointConfig, WallClock};
use ravelin_ike::event::Event;
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

const PORT: u16 = 500;

pub(super) fn run(case: Case) -> anyhow::Result<Line> {
    let (scratch, tunnels) = (Scratch::new("ike-memory")?, case.tunnels);
    let [hub_proof, spokes_proof] = case.proofs(scratch.path())?;
    pin(None)?;
    let mut hub = Side::new(End::Hub, case, &hub_proof, &scratch)?;
    let mut spokes = Side::new(End::Spokes, case, &spokes_proof, &scratch)?;
    let clock = Clock::new();
    let (began, wanted) = (Instant::now(), u64::from(tunnels));
    spokes.begin(&clock);
    while hub.up < wanted || spokes.up < wanted {
        interrupt::check()?;
        let moved = spokes.exchange(&mut hub, &clock) + hub.exchange(&mut spokes, &clock);
        anyhow::ensure!(moved > 0, "{} of {tunnels} tunnels came up, then nothing more", hub.up);
    }
    let took = began.elapsed().as_secs_f64();
    let ms = |clocks: u64| {
        #[allow(clippy::cast_precision_loss)] // some digits are shown
        let clocks = clocks as f64;
        each(clocks / clock.hz() * 1e3, tunnels)
    };
    #[allow(clippy::cast_precision_loss)]
    let bytes = |used: i64| each(used as f64, tunnels);
    Ok(Line {
        bench: "ike",
        part: "memory",
        group: case.group.name(),
        auth: case.auth.name(),
        tunnels,
        setups_per_s: f64::from(tunnels) / took,
        initiator_ms: ms(spokes.spent),
        responder_ms: ms(hub.spent),
        initiator_bytes: bytes(spokes.used),
        responder_bytes: bytes(hub.used),
        show_ms_max: None,
        show_ms: None,
    })
}

/// Certificates are valid for a time.
#[derive(Debug)]
struct Today;

impl WallClock for Today {
    fn unix(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

struct Side {
    engine: Endpoint,
    spis: Spis,
    connections: Vec<Command>,
    spent: u64,
    /// Bytes that its calls added; what its configuration takes is not among them.
    used: i64,
    up: u64,
}

impl Side {
    fn new(end: End, case: Case, proof: &Proof, scratch: &Scratch) -> anyhow::Result<Self> {
        let spis = Spis::new(1);
        let mut settings = EndpointConfig::new(Box::new(spis.clone()));
        settings.clock = Box::new(Today);
        let engine = Endpoint::new(settings, Box::new(UnwrapErr(SysRng)));
        let connections = connections(&world::tunnels(end, case.group, proof, case.tunnels), scratch)?;
        let mut me = Self { engine, spis, connections, spent: 0, used: 0, up: 0 };
        if end == End::Hub {
            let now = Instant::now();
            me.connections.drain(..).for_each(|c| me.engine.handle_command(now, c));
        }
        Ok(me)
    }

    fn begin(&mut self, clock: &Clock) {
        for command in std::mem::take(&mut self.connections) {
            self.call(clock, |engine, now| engine.handle_command(now, command));
        }
    }

    /// One call into the engine: its clocks and what it allocates are this side's.
    fn call<T>(&mut self, clock: &Clock, work: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let now = Instant::now();
        let (bytes, from) = (live_bytes(), clock.now());
        let out = work(&mut self.engine, now);
        self.spent += clock.now() - from;
        self.used += live_bytes() - bytes;
        out
    }

    /// Carries what this side has to say to the other; how many things moved.
    fn exchange(&mut self, to: &mut Self, clock: &Clock) -> usize {
        let mut moved = 0;
        while let Some(event) = self.call(clock, |engine, _| engine.poll_event()) {
            moved += 1;
            self.event(event, clock);
        }
        while let Some(t) = self.call(clock, |engine, _| engine.poll_transmit()) {
            moved += 1;
            let from = SocketAddr::new(t.local.unwrap_or(IpAddr::V4(HUB)), PORT);
            to.call(clock, |engine, now| engine.handle_datagram(now, t.remote, from, &t.bytes));
        }
        moved
    }

    fn event(&mut self, event: Event, clock: &Clock) {
        if let Event::Install { token, sa } = event {
            self.spis.take(sa.inbound_spi);
            let installed = Command::Installed { token, ok: true };
            self.call(clock, |engine, now| engine.handle_command(now, installed));
        } else {
            self.up += u64::from(matches!(event, Event::ChildUp { .. }));
        }
    }
}

/// As the control process makes them of its files.
fn connections(tunnels: &[Tunnel], scratch: &Scratch) -> anyhow::Result<Vec<Command>> {
    let gateway =
        Gateway { dir: scratch.path(), run_dir: scratch.path(), ports: &["wan0"], core: 0, max_sas: 16 };
    let path = gateway.write(tunnels)?;
    let config = Config::load(&path).map_err(|e| anyhow::anyhow!("{e}"))?;
    let secrets = Secrets::load(&config.control.secrets).map_err(|e| anyhow::anyhow!("{e}"))?;
    let all = config.connections(&secrets).map_err(|e| anyhow::anyhow!("{e}")).context("secrets")?;
    Ok(all.into_iter().map(|c| Command::Configure(Box::new(c))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Auth, GroupName, Part};
    use super::*;

    #[test]
    fn all_tunnels_come_up_and_both_sides_are_charged() {
        for auth in [Auth::Psk, Auth::Ecdsa] {
            let line = run(Case { part: Part::Memory, auth, group: GroupName::X25519, tunnels: 20 }).unwrap();
            assert!(line.setups_per_s > 0.0 && line.initiator_ms > 0.0 && line.responder_ms > 0.0);
        }
        // Bytes are counted for the whole process, in which other tests run: only the bench can say them.
    }
}
