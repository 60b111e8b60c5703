//! Ravelin beside other gateways in user space: same generator, same sink, same veths, same run, in turns.
//!
//! Decides: who is measured and in which order. Packets go one way, clear in and protected out; the sink drops and counts
//! them in the kernel, so that no second gateway takes the machine's time. Never: compares figures of different runs.

mod device;
mod flood;
mod ladder;
mod report;
mod sink;

use crate::control::plane;
use crate::host::Net;
use crate::instrument::{Progress, interrupt};
use device::Device;
pub(crate) use device::{Script, fetched, found};
use flood::{Flood, Path};
use ladder::{Best, Step};
use ravelin_wire::MacAddr;
use report::{Report, Row};
use sink::Sink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench peers --quick
  ravelin-bench peers --only ravelin,wireguard-go --sizes 64,1400 --rounds 5
  ravelin-bench peers --json --report out/

The peers' programs are fetched by bench/peers/NAME.sh install (packages of Debian; ipsec-secgw is built from
Debian's source package). Who cannot be measured is named with the reason, and the others go on. The generator has core 0, Ravelin's worker and ipsec-secgw core 1; strongSwan and
wireguard-go may use both. Each is offered rising rates; what came out at the best of them is its figure.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// One round, short windows
    #[arg(long)]
    quick: bool,
    /// Who is measured, comma-separated
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "ravelin,ravelin-chacha,ipsec-secgw,strongswan,wireguard-go"
    )]
    only: Vec<Device>,
    /// Inner packet sizes in bytes, comma-separated (48 to 1400)
    #[arg(long, value_delimiter = ',', default_value = "64,1400", value_parser = clap::value_parser!(u16).range(48..=1400))]
    sizes: Vec<u16>,
    /// Turns; the median is quoted
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// The folder of the peers' scripts
    #[arg(long, default_value = "bench/peers")]
    scripts: PathBuf,
    /// Write a report there: index.md with a plot
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// One JSON object per line instead of the table
    #[arg(long)]
    json: bool,
}

/// Of what a device is offered at one rate.
const WINDOW: Duration = Duration::from_millis(600);
const QUICK_WINDOW: Duration = Duration::from_millis(300);
/// Neighbours, caches, clock speed.
const WARM_UP: Duration = Duration::from_millis(150);

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    interrupt::watch()?;
    let scripts = found(&options.scripts)?;
    let rounds = if options.quick { 1 } else { options.rounds };
    let turns = options.only.len() * options.sizes.len() * rounds as usize;
    let mut progress = Progress::new("peers", turns, Duration::from_secs(turns as u64 * 8));
    let mut report = Report::default();
    let able: Vec<Device> =
        options.only.iter().copied().filter(|d| installed(*d, &scripts, &mut report)).collect();
    let net = Arc::new(world()?);
    for round in 0..rounds {
        for &size in &options.sizes {
            for &device in &able {
                interrupt::check()?;
                if report.is_hopeless(device) {
                    continue;
                }
                progress.step(&format!("round {}, {size} B, {}", round + 1, device.name()));
                match turn(&net, device, &scripts, size, options.quick) {
                    Ok((best, mode)) => report.add(device, size, mode, best),
                    Err(why) => report.fail(device, &why),
                }
            }
        }
    }
    progress.clear();
    report.say(options.json, options.report.as_deref())
}

/// Whoever cannot be had is named in the report, and the others go on.
fn installed(device: Device, scripts: &std::path::Path, report: &mut Report) -> bool {
    match device.install(scripts) {
        Ok(()) => true,
        Err(why) => {
            report.fail(device, &why);
            false
        }
    }
}

/// The places of the control bench, with what the kernel's own stack needs beside: addresses and forwarding.
fn world() -> anyhow::Result<Net> {
    let net = plane::namespaces()?;
    net.ip("gw", &format!("addr add {}/24 dev lan0", plane::ROUTER))?;
    net.ip("gw", &format!("addr add {}/24 dev wan0", plane::GATEWAY))?;
    net.ip("sink", &format!("addr add {}/24 dev sink0", plane::PEER))?;
    net.sysctl("gw", "net/ipv4/ip_forward", "1")?;
    Ok(net)
}

fn turn(
    net: &Arc<Net>,
    device: Device,
    scripts: &std::path::Path,
    size: u16,
    quick: bool,
) -> anyhow::Result<(Best, String)> {
    let running = device.start(net, scripts)?;
    let sink = Sink::attach(net, "sink", "sink0")?;
    let path = Path {
        device: "host0",
        from: (MacAddr([2, 0, 0x5e, 0, 1, 1]), plane::HOST),
        to: (MacAddr(plane::LAN_MAC), plane::FAR),
    };
    let flood = Flood::start(net, "host", path, size, 1000);
    interrupt::sleep(WARM_UP * 2)?;
    let window = if quick { QUICK_WINDOW } else { WINDOW };
    let best = ladder::climb(|rate| {
        flood.offer(rate);
        interrupt::sleep(WARM_UP)?;
        let (sent, got, cpu, since) = (flood.sent(), sink.packets()?, running.cpu()?, Instant::now());
        std::thread::sleep(window);
        let seconds = since.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // packets of less than a second
        let per_second = |after: u64, before: u64| after.saturating_sub(before) as f64 / seconds;
        Ok(Step {
            offered: per_second(flood.sent(), sent),
            delivered: per_second(sink.packets()?, got),
            cores: running.cpu()?.saturating_sub(cpu).as_secs_f64() / seconds,
        })
    })?;
    flood.stop()?;
    anyhow::ensure!(best.delivered > 0.0, "nothing reached the sink");
    Ok((best, running.mode()))
}

impl Report {
    fn add(&mut self, device: Device, size: u16, mode: String, best: Best) {
        match self.rows.iter_mut().find(|r| r.device == device && r.size == size) {
            Some(row) => row.rounds.push(best),
            None => self.rows.push(Row { device, size, mode, rounds: vec![best] }),
        }
    }

    fn fail(&mut self, device: Device, why: &anyhow::Error) {
        let text = format!("{why:#}");
        eprintln!("{}: not measured: {text}", device.name());
        let failure = self.failures.entry(device.name()).or_default();
        failure.times += 1;
        failure.why = text;
    }

    /// Failed twice and never came through: not tried a third time.
    fn is_hopeless(&self, device: Device) -> bool {
        let often = self.failures.get(device.name()).is_some_and(|f| f.times >= 2);
        often && self.rows.iter().all(|row| row.device != device)
    }
}
