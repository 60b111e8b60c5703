//! The tester: both ends of the wire in one thread on core 0, so that one clock stamps and reads.
//!
//! Decides: when which packet leaves (as fast as the ring takes them, or paced), and what is read of those that come
//! back. Every packet is numbered; every packet of the bench that reaches an end is counted there by an XDP program,
//! so that loss is exact; samples are read for their time-stamps. Never: runs longer than its load says.

use super::lab::{End, Ends, enter};
use super::packet::{Path, clear_path, sealed_path};
use super::record::{Latency, Missing};
use super::search::Trial;
use super::sending::Sending;
use super::side::Side;
use super::traffic::{Direction, Size, Tunnels};
use super::watch::Watch;
use crate::instrument::{Clock, pin};
use anyhow::{Context, ensure};
use nix::time::{ClockId, clock_gettime};
use ravelin_ebpf::bench::Tap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The tester's core.
pub(super) const CORE: usize = 0;
/// What is on its way when the last packet has left has arrived after this long without news, and surely after the second.
pub(super) const QUIET: Duration = Duration::from_millis(20);
const DRAIN: Duration = Duration::from_millis(500);

/// What is sent through the device, but for rate and length.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) direction: Direction,
    pub(crate) size: Size,
    pub(crate) flows: u16,
    /// How many tunnels the packets are for.
    pub(crate) count: u32,
    /// Their keys, where the bench has them.
    pub(crate) tunnels: Option<Arc<Tunnels>>,
}

/// How much of it, and how fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Packets per second, both directions together; `None`: as fast as they go.
    pub(crate) rate: Option<f64>,
    pub(crate) packets: u64,
    pub(crate) time: Duration,
    /// The part of `time` before the window that [`Outcome::window`] speaks of.
    pub(crate) warm_up: Duration,
    /// Read the time-stamps of one packet in 2^n.
    pub(crate) sample: Option<u8>,
    /// After `time`, go on at this rate for as long again and note which of these packets are missing.
    pub(crate) then: Option<f64>,
}

impl Default for Load {
    fn default() -> Self {
        let time = Duration::from_secs(1);
        let warm_up = Duration::ZERO;
        Self { rate: None, packets: u64::MAX, time, warm_up, sample: None, then: None }
    }
}

/// What a load has shown.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) trial: Trial,
    /// Packets per second that came through in the window after the warm-up.
    pub(crate) window: f64,
    pub(crate) latency: Latency,
    /// Of the second part of the load.
    pub(crate) missing: Missing,
    /// Packets that were due and never left.
    pub(crate) slipped: u64,
}

pub(crate) struct Tester {
    clock: Clock,
    near: Side,
    far: Side,
    paths: (Path, Path),
    interrupted: Arc<AtomicBool>,
    /// `schedstat` files of the device's threads.
    pub(crate) watched: Vec<PathBuf>,
}

impl Tester {
    pub(crate) fn new(ends: &Ends, interrupted: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let mut clear = clear_path(ends.near.mac, ends.near.to);
        (clear.source, clear.destination) = (ends.source, ends.destination);
        let sealed = sealed_path(ends.far.mac, ends.far.to);
        let side = |end: &End| end.inside(|| Side::open(end)).with_context(|| format!("port {}", end.dev));
        Ok(Self {
            clock: Clock::new(),
            near: side(&ends.near)?,
            far: side(&ends.far)?,
            paths: (clear, sealed),
            interrupted,
            watched: Vec::new(),
        })
    }

    /// Sends, waits until what is on its way has arrived, and says what came through.
    pub(crate) fn run(&mut self, stream: &Stream, load: &Load) -> anyhow::Result<Outcome> {
        let before = self.arrived(stream.direction)?;
        let mut watch = Watch::new(&self.watched);
        let Self { clock, near, far, paths, interrupted, .. } = self;
        let mut sending = Sending::new((near, far), (clock, interrupted), *paths, stream, load)?;
        on_the_core(None, || sending.all(&mut watch))?;
        let Sending { sent, offered, window, latency, missing, slipped, .. } = sending;
        let received = self.drained(stream.direction, before + sent)? - before;
        self.check()?;
        let trial = Trial { offered, sent, received, disturbed: watch.disturbed() };
        Ok(Outcome { trial, window, latency, missing, slipped })
    }

    /// Lets `send` do its work on the tester's core, in the near end's namespace: packets per second that came through
    /// after the warm-up, by the kernel's own clock, and whether the machine was busy elsewhere.
    pub(super) fn overload(
        &mut self,
        warm_up: Duration,
        send: impl FnOnce() -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<(f64, bool)> {
        let mut watch = Watch::new(&self.watched);
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        self.far.tap.open_window(u64::try_from((now + warm_up).as_nanos())?)?;
        let namespace = self.near.end.namespace.clone();
        on_the_core(namespace, || {
            watch.start();
            send()?;
            watch.stop();
            Ok(())
        })?;
        self.check()?;
        let rate = self.far.tap.window_rate()?;
        self.drained(Direction::Out, u64::MAX)?;
        Ok((rate, watch.disturbed()))
    }

    /// What generators of other kinds need to know of the near end.
    pub(super) fn near(&self) -> (&End, Path) {
        (&self.near.end, self.paths.0)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    fn arrived(&self, direction: Direction) -> anyhow::Result<u64> {
        arrived(direction, &self.near.tap, &self.far.tap)
    }

    fn drained(&self, direction: Direction, expected: u64) -> anyhow::Result<u64> {
        let start = Instant::now();
        let (mut got, mut news) = (self.arrived(direction)?, start);
        while got < expected && news.elapsed() < QUIET && start.elapsed() < DRAIN {
            thread::sleep(Duration::from_millis(1));
            let now = self.arrived(direction)?;
            if now != got {
                (got, news) = (now, Instant::now());
            }
        }
        Ok(got)
    }
}

/// All of the bench's packets that came out of the device.
pub(super) fn arrived(direction: Direction, near: &Tap, far: &Tap) -> anyhow::Result<u64> {
    let mut sum = 0;
    for (counts, tap) in [(direction.clear(), far), (direction.sealed(), near)] {
        if counts {
            let all = tap.counts()?;
            sum += all.clear + all.esp;
        }
    }
    Ok(sum)
}

/// On a thread of its own, so that programs started later do not inherit the core.
fn on_the_core(
    namespace: Option<PathBuf>,
    work: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(Some(CORE))?;
            enter(namespace.as_deref())?;
            work()
        });
        thread.join().map_err(|_| anyhow::anyhow!("the tester panicked"))?
    })
}
