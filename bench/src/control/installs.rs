//! SAs installed per second through the ring into a running data plane, without and with traffic, and what the traffic
//! notices of it.

use super::plane::{self, Plane};
use super::{Options, Output, per_second};
use crate::instrument::{Progress, Spread};
use crate::suites::SuiteName;
use crate::traffic::Sender;
use ravelin_ring::msg::{Direction, SaId, Token, WorkerCommand};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// As many as the data plane has room for here; they are taken out again before the next repetition.
const BURST: u32 = 4000;
/// Installations one after the other, each acknowledged before the next.
const SINGLE: u32 = 500;
/// Bytes of the IP packets that flow.
const SIZE: usize = 128;

pub(super) fn run(options: &Options, progress: &mut Progress, out: &Output) -> anyhow::Result<()> {
    progress.step("installs");
    let mut plane = Plane::start(BURST * 2 + 16, options.core)?;
    plane.load_tables(16, 1)?;
    let suite = SuiteName::Aes128Gcm.contract();
    // Tunnel 0 carries the traffic by an SA that stays.
    let [selector, install] = plane::install(1, 0, Direction::Outbound, suite)?;
    plane.drive(&[selector, install, plane::use_outbound(1, 0)])?;
    let rounds = if options.quick { 3 } else { 9 };
    let idle = bursts(&mut plane, rounds)?;
    out.say_spread("SA installs, no traffic", "pipelined, aes-128-gcm, in and out", idle, "per second")?;
    single(&mut plane, out, "one at a time, no traffic")?;

    let to = SocketAddrV4::new(plane::FAR, 9);
    let sender = Sender::start(&plane.net, "host", to, SIZE, 0);
    std::thread::sleep(Duration::from_millis(300));
    let before = rate(&plane, Duration::from_secs(1))?;
    let from = (plane.packets_out()?, Instant::now());
    let busy = bursts(&mut plane, rounds)?;
    let during = per_second(plane.packets_out()?.saturating_sub(from.0), from.1.elapsed());
    out.say_spread("SA installs, under traffic", "pipelined, aes-128-gcm, in and out", busy, "per second")?;
    single(&mut plane, out, "one at a time, under traffic")?;
    out.say("tunnel traffic", "before the installs", before / 1e3, "kpps")?;
    out.say("tunnel traffic", "during the installs", during / 1e3, "kpps")?;
    sender.stop()?;
    anyhow::ensure!(before > 0.0, "no traffic came through: {}", plane.process.last_lines(5));
    Ok(())
}

/// Installations per second of each round, which takes them out again.
fn bursts(plane: &mut Plane, rounds: u32) -> anyhow::Result<Spread> {
    let suite = SuiteName::Aes128Gcm.contract();
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let mut commands = Vec::new();
        for n in 0..BURST {
            let direction = if n % 2 == 0 { Direction::Inbound } else { Direction::Outbound };
            commands.extend(plane::install(100 + n, 1 + n % 15, direction, suite)?);
        }
        rates.push(per_second(BURST.into(), plane.drive(&commands)?));
        let remove = |n: u32| WorkerCommand::RemoveSa { token: Token(n.into()), sa: SaId((100 + n).into()) };
        plane.drive(&(0..BURST).map(remove).collect::<Vec<_>>())?;
    }
    Ok(Spread::of(rates))
}

/// What one installation waits for its acknowledgement, as an IKE answer does.
fn single(plane: &mut Plane, out: &Output, case: &str) -> anyhow::Result<()> {
    let suite = SuiteName::Aes128Gcm.contract();
    let mut micros = Vec::new();
    for n in 0..SINGLE {
        let id = 100 + n;
        let commands = plane::install(id, 1, Direction::Inbound, suite)?;
        micros.push(plane.drive(&commands)?.as_secs_f64() * 1e6);
        plane.drive(&[WorkerCommand::RemoveSa { token: Token(id.into()), sa: SaId(id.into()) }])?;
    }
    out.say_spread("SA install to acknowledgement", case, Spread::of(micros), "µs")
}

fn rate(plane: &Plane, window: Duration) -> anyhow::Result<f64> {
    let (from, since) = (plane.packets_out()?, Instant::now());
    std::thread::sleep(window);
    Ok(per_second(plane.packets_out()?.saturating_sub(from), since.elapsed()))
}
