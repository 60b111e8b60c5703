//! The kernel's packet generator, through its files in /proc/net/pktgen (Documentation/networking/pktgen.rst).
//!
//! Decides: what is written there. Reads: what the kernel answers. Never: uses a thread of it that has devices of
//! somebody else.

use super::lab::End;
use super::packet::{FIRST_PORT, Path};
use super::tester::{CORE, Stream};
use super::traffic::Size;
use anyhow::{Context, bail, ensure};
use ravelin_ebpf::bench_abi::DISCARD;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::thread::JoinHandle;

/// Of the calling thread's network namespace.
const DIRECTORY: &str = "/proc/thread-self/net/pktgen";
const CURE: &str = "this kernel has no pktgen in this namespace: `modprobe pktgen`, or a kernel with CONFIG_NET_PKTGEN; \
    --generator live and --generator afxdp need neither";

/// Runs until it is stopped or dropped.
pub(super) struct Pktgen {
    end: End,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Pktgen {
    pub(super) fn start(end: &End, path: Path, stream: &Stream) -> anyhow::Result<Self> {
        end.inside(|| configure(&end.dev, path, stream))?;
        let namespace = end.namespace.clone();
        // `start` blocks until it is over.
        let thread = std::thread::spawn(move || {
            super::lab::enter(namespace.as_deref())?;
            write("pgctrl", "start")
        });
        Ok(Self { end: end.clone(), thread: Some(thread) })
    }

    /// Ends it and reads what it says of itself.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let stopped = self.end.inside(|| write("pgctrl", "stop"));
        let ended = thread.join().map_err(|_| anyhow::anyhow!("the thread of pktgen panicked"))?;
        stopped.and(ended)?;
        let dev = &self.end.dev;
        let said = self.end.inside(|| {
            let said =
                fs::read_to_string(PathBuf::from(DIRECTORY).join(dev)).context("reading pktgen's result");
            write(&worker(), "rem_device_all")?;
            said
        })?;
        result(&said).map(drop)
    }
}

impl Drop for Pktgen {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            eprintln!("pktgen: {e:#}");
        }
    }
}

fn worker() -> String {
    format!("kpktgend_{CORE}")
}

fn configure(dev: &str, path: Path, stream: &Stream) -> anyhow::Result<()> {
    let worker = worker();
    let state = fs::read_to_string(PathBuf::from(DIRECTORY).join(&worker)).map_err(missing)?;
    ensure!(idle(&state), "pktgen's thread {worker} has devices already; whoever uses it must end first");
    write(&worker, "rem_device_all")?;
    write(&worker, &format!("add_device {dev}"))?;
    commands(path, stream)?.iter().try_for_each(|command| write(dev, command))
}

/// What the device's file is told.
fn commands(path: Path, stream: &Stream) -> anyhow::Result<Vec<String>> {
    let Size::Fixed(size) = stream.size else { bail!("pktgen makes packets of one size") };
    let last = path.destination.to_bits() + stream.count.max(1) - 1;
    let mut all = vec![
        "count 0".to_owned(),
        "clone_skb 0".to_owned(),
        "delay 0".to_owned(),
        // Of the whole frame without its check sequence.
        format!("pkt_size {}", 14 + size),
        format!("dst_mac {}", path.to),
        format!("src_mac {}", path.from),
        format!("src_min {}", path.source),
        format!("src_max {}", path.source),
        format!("dst_min {}", path.destination),
        format!("dst_max {}", core::net::Ipv4Addr::from_bits(last)),
        format!("udp_dst_min {DISCARD}"),
        format!("udp_dst_max {DISCARD}"),
        format!("udp_src_min {FIRST_PORT}"),
        // The kernel's upper bound of ports is exclusive where it differs from the lower one.
        format!("udp_src_max {}", FIRST_PORT + stream.flows.max(1)),
    ];
    if stream.flows > 1 {
        all.push("flag UDPSRC_RND".to_owned());
    }
    Ok(all)
}

fn write(file: &str, command: &str) -> anyhow::Result<()> {
    fs::write(PathBuf::from(DIRECTORY).join(file), command)
        .map_err(|e| if e.kind() == ErrorKind::NotFound { missing(e) } else { e.into() })
        .with_context(|| format!("pktgen, {file}: {command}"))
}

fn missing(e: std::io::Error) -> anyhow::Error {
    if e.kind() == ErrorKind::NotFound { anyhow::anyhow!(CURE) } else { anyhow::Error::from(e).context(CURE) }
}

/// No device runs or waits on the thread.
fn idle(state: &str) -> bool {
    let devices = |what: &str| {
        let line = state.lines().find_map(|line| line.trim_start().strip_prefix(what));
        line.is_none_or(|rest| rest.trim().is_empty())
    };
    devices("Running:") && devices("Stopped:")
}

/// Packets per second by its own account.
fn result(said: &str) -> anyhow::Result<u64> {
    let (_, result) = said.split_once("Result:").context("pktgen says no result")?;
    ensure!(result.trim_start().starts_with("OK"), "pktgen: {}", result.trim());
    let pps = result.split_whitespace().find_map(|word| word.strip_suffix("pps")?.parse().ok());
    pps.context("pktgen says no rate")
}

#[cfg(test)]
mod tests {
    use super::super::packet::clear_path;
    use super::super::traffic::Direction;
    use super::*;
    use ravelin_wire::MacAddr;

    fn stream(size: Size, flows: u16, count: u32) -> Stream {
        Stream { direction: Direction::Out, size, flows, count, tunnels: None }
    }

    #[test]
    fn the_device_is_told_the_same_packets_as_ours() {
        let path = clear_path(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let said = commands(path, &stream(Size::Fixed(64), 256, 300)).unwrap();
        for line in [
            "pkt_size 78",
            "dst_mac 02:00:00:00:00:02",
            "src_min 10.1.0.10",
            "dst_min 10.128.0.10",
            "dst_max 10.128.1.53",
            "udp_dst_min 9",
            "udp_src_max 10256",
            "flag UDPSRC_RND",
        ] {
            assert!(said.iter().any(|s| s == line), "{line} is not in {said:?}");
        }
        let one = commands(path, &stream(Size::Fixed(64), 1, 1)).unwrap();
        assert!(one.iter().all(|s| !s.starts_with("flag")));
        assert!(commands(path, &stream(Size::Imix, 1, 1)).is_err());
    }

    #[test]
    fn a_result_is_read() {
        let said = "Params: count 0  min_pkt_size: 78\nCurrent:\n     pkts-sofar: 5  errors: 0\n\
            Result: OK: 500012(c499321+d691) usec, 612345 (78byte,0frags)\n  1224660pps 764Mb/sec (764187840bps) errors: 0\n";
        assert_eq!(result(said).unwrap(), 1_224_660);
        assert!(result("Result: No such parameter \"x\"").is_err());
        assert!(result("").is_err());
    }

    #[test]
    fn somebody_elses_devices_are_left_alone() {
        assert!(idle("Running: \nStopped: \nResult: NA\n"));
        assert!(!idle("Running: eth0 \nStopped: \nResult: NA\n"));
        assert!(!idle("Running: \nStopped: eth1 \nResult: OK: add_device=eth1\n"));
    }

    #[test]
    fn a_kernel_without_it_is_told_with_the_cure() {
        let e = missing(std::io::Error::from(ErrorKind::NotFound));
        assert!(format!("{e:#}").contains("modprobe pktgen"));
    }
}
