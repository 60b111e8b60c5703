//! The load: UDP flows by an AF_XDP socket, as fast as the ring takes them or paced.
//!
//! Writes: frames prepared once; per packet only the source port changes. Never: waits for an answer.

use crate::host::{Net, joined};
use anyhow::Context;
use ravelin_wire::MacAddr;
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_wire::udp::UdpHeader;
use ravelin_xsk::{FramePool, Socket, SocketConfig, Umem, UmemConfig};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CORE: usize = 0;
const FRAMES: u32 = 4096;
const BURST: u64 = 64;
/// Flows differ in their source port, starting here.
const FIRST_PORT: u16 = 10_000;
const FLOWS: u16 = 256;
const UDP_AT: usize = ethernet::HEADER + 20;

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) device: &'static str,
    pub(super) from: (MacAddr, Ipv4Addr),
    pub(super) to: (MacAddr, Ipv4Addr),
}

#[derive(Debug)]
pub(super) struct Flood {
    sent: Arc<AtomicU64>,
    /// Packets per second; 0: as fast as it goes.
    rate: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<anyhow::Result<()>>>>,
}

impl Flood {
    /// `size`: bytes of the IP packet.
    pub(super) fn start(net: &Net, place: &str, path: Path, size: u16, pps: u64) -> Self {
        let (sent, rate) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(pps)));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, wanted, stopped) = (sent.clone(), rate.clone(), stop.clone());
        let thread = net.inside(place, move || flood(path, size, &wanted, &count, &stopped));
        Self { sent, rate, stop, thread: Some(thread) }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn offer(&self, pps: u64) {
        self.rate.store(pps, Ordering::Relaxed);
    }

    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| joined(thread)?)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn flood(path: Path, size: u16, rate: &AtomicU64, sent: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    crate::instrument::pin(Some(CORE))?;
    let umem = Umem::new(UmemConfig { frames: FRAMES, ..UmemConfig::default() })?;
    let mut pool = umem.pools(1).pop().context("one pool")?;
    let bytes = template(path, size);
    fill(&mut pool, &bytes);
    let ifindex = nix::net::if_::if_nametoindex(path.device)?;
    let config = SocketConfig { ifindex, queue: 0, ring_size: 2048, fill_limit: 0, force_copy: false };
    let mut socket = Socket::bind(&umem, config)?;
    let (mut number, mut pace) = (0u64, Pace::new(Instant::now()));
    while !stop.load(Ordering::Relaxed) {
        socket.complete(&mut pool);
        let due = pace.due(Instant::now(), rate.load(Ordering::Relaxed)).min(BURST);
        let room = socket.tx_room(usize::try_from(due)?);
        let mut now = 0;
        while now < due.min(room as u64) && put(&mut socket, &mut pool, number + now, bytes.len()) {
            now += 1;
        }
        if now == 0 {
            // A busy loop on this core would starve what the kernel does there for the receiver.
            std::thread::sleep(Duration::from_micros(20));
            continue;
        }
        socket.kick().context("transmitting")?;
        (number, pace.done) = (number + now, pace.done + now);
        sent.store(number, Ordering::Relaxed);
    }
    socket.close(&mut pool);
    Ok(())
}

fn put(socket: &mut Socket, pool: &mut FramePool, number: u64, len: usize) -> bool {
    let Some(mut frame) = pool.alloc() else { return false };
    // What a freed frame held is still there: the template.
    if !frame.extend(len) {
        pool.free(frame);
        return false;
    }
    let flow = u16::try_from(number % u64::from(FLOWS)).unwrap_or(0);
    frame.data_mut()[UDP_AT..UDP_AT + 2].copy_from_slice(&(FIRST_PORT + flow).to_be_bytes());
    match socket.send(frame) {
        Ok(()) => true,
        Err(frame) => {
            pool.free(frame);
            false
        }
    }
}

/// How many packets are due; what was missed by more than a tenth of a second is not made up for.
#[derive(Debug)]
struct Pace {
    since: Instant,
    rate: u64,
    done: u64,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { since: now, rate: 0, done: 0 }
    }

    fn due(&mut self, now: Instant, rate: u64) -> u64 {
        if rate == 0 {
            return BURST;
        }
        if rate != self.rate {
            *self = Self { since: now, rate, done: 0 };
        }
        let nanos = now.saturating_duration_since(self.since).as_nanos();
        let should = u64::try_from(nanos * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX);
        let due = should.saturating_sub(self.done);
        if due > rate / 10 + BURST {
            *self = Self { since: now, rate, done: 0 };
            return 0;
        }
        due
    }
}

fn fill(pool: &mut FramePool, bytes: &[u8]) {
    let mut all = Vec::new();
    while let Some(mut frame) = pool.alloc() {
        if frame.extend(bytes.len()) {
            frame.data_mut().copy_from_slice(bytes);
        }
        all.push(frame);
    }
    all.into_iter().for_each(|frame| pool.free(frame));
}

fn template(path: Path, size: u16) -> Vec<u8> {
    let link = Ethernet { dst: path.to.0, src: path.from.0, ethertype: ethernet::IPV4 };
    let ip = Ipv4Header {
        tos: 0,
        total_len: size,
        id: 0,
        df: false,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: ravelin_wire::protocol::UDP,
        src: path.from.1,
        dst: path.to.1,
    };
    let udp = UdpHeader { src: FIRST_PORT, dst: 9, len: size - 20, checksum: 0 };
    let mut bytes = [&link.to_bytes()[..], &ip.to_bytes(), &udp.to_bytes()].concat();
    bytes.resize(ethernet::HEADER + usize::from(size), 0x5a);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_the_clock_and_a_long_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.due(start, 1000), 0);
        assert_eq!(pace.due(start + Duration::from_millis(50), 1000), 50);
        pace.done += 50;
        assert_eq!(pace.due(start + Duration::from_millis(60), 1000), 10);
        assert_eq!(pace.due(start + Duration::from_secs(9), 1000), 0);
        assert_eq!(pace.due(start, 0), BURST);
    }
}
