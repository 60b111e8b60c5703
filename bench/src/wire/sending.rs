//! One load on its way: packets leave as they are due, and what comes back is read in between.

use super::pace::Pacer;
use super::packet::{Clear, Path, Reader, Sealed};
use super::record::{Latency, Missing};
use super::side::{BURST, Side};
use super::tester::{Load, QUIET, Stream, arrived};
use super::traffic::Direction;
use super::watch::Watch;
use crate::instrument::Clock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Fewer packets at a time while time-stamps are read, or they would wait for the whole burst.
const SMALL_BURST: usize = 8;

/// One load under way.
pub(super) struct Sending<'a> {
    clock: &'a Clock,
    near: &'a mut Side,
    far: &'a mut Side,
    interrupted: &'a AtomicBool,
    clear: Option<Clear>,
    sealed: Option<Sealed>,
    reader: Reader,
    load: Load,
    direction: Direction,
    pub(super) sent: u64,
    /// Of which so many in clear, and as ESP.
    numbers: (u64, u64),
    /// Packets per second of the first part.
    pub(super) offered: f64,
    pub(super) window: f64,
    pub(super) latency: Latency,
    pub(super) missing: Missing,
    pub(super) slipped: u64,
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        ends: (&'a mut Side, &'a mut Side),
        (clock, interrupted): (&'a Clock, &'a AtomicBool),
        paths: (Path, Path),
        stream: &Stream,
        load: &Load,
    ) -> anyhow::Result<Self> {
        let Stream { direction, size, flows, count, tunnels } = stream;
        let clear = direction.clear().then(|| Clear::new(paths.0, *size, *flows, *count));
        let sealed = match (direction.sealed(), tunnels) {
            (false, _) => None,
            (true, Some(keys)) => Some(Sealed::new(paths.1, *size, *flows, keys.clone())),
            (true, None) => {
                anyhow::bail!("direction in needs the keys of the device; here only out is possible")
            }
        };
        let (near, far) = ends;
        near.tap.sample(load.sample)?;
        far.tap.sample(load.sample)?;
        Ok(Self {
            clock,
            near,
            far,
            interrupted,
            clear,
            sealed,
            reader: Reader::new(tunnels.clone()),
            load: *load,
            direction: *direction,
            sent: 0,
            offered: 0.0,
            numbers: (0, 0),
            window: 0.0,
            latency: Latency::new()?,
            missing: Missing::default(),
            slipped: 0,
        })
    }

    pub(super) fn all(&mut self, watch: &mut Watch) -> anyhow::Result<()> {
        watch.start();
        let start = Instant::now();
        self.phase(self.load.rate, self.load.time)?;
        #[allow(clippy::cast_precision_loss)] // far below 2^52 packets
        let sent = self.sent as f64;
        self.offered = sent / start.elapsed().as_secs_f64();
        if let Some(rate) = self.load.then {
            let first = if self.direction.clear() { self.numbers.0 } else { self.numbers.1 };
            self.missing = Missing::from(first, rate);
            self.near.tap.sample(Some(0))?;
            self.far.tap.sample(Some(0))?;
            self.load.sample = Some(0);
            self.phase(Some(rate), self.load.time)?;
        }
        watch.stop();
        if self.load.sample.is_some() {
            self.listen(QUIET)?;
        }
        self.near.complete();
        self.far.complete();
        Ok(())
    }

    /// Until the time is over or all packets have left.
    fn phase(&mut self, rate: Option<f64>, time: Duration) -> anyhow::Result<()> {
        let burst = if self.load.sample.is_some() { SMALL_BURST } else { BURST };
        let start = self.clock.now();
        let mut pacer = rate.map(|rate| Pacer::new(rate, 0, burst));
        let (end, warm) = (nanos(time), nanos(self.load.warm_up));
        let mut from = None;
        let first = self.sent;
        loop {
            let now = self.since(start);
            if now >= end
                || self.sent - first >= self.load.packets
                || self.interrupted.load(Ordering::Relaxed)
            {
                break;
            }
            if from.is_none() && now >= warm {
                from = Some((arrived(self.direction, &self.near.tap, &self.far.tap)?, now));
            }
            let due = pacer.as_mut().map_or(burst, |p| p.due(now));
            let left = usize::try_from(self.load.packets - (self.sent - first)).unwrap_or(usize::MAX);
            let sent = self.burst(due.min(left))?;
            if let Some(pacer) = &mut pacer {
                pacer.sent(sent);
            }
            if self.load.sample.is_some() {
                self.read_both();
            }
        }
        if let Some((before, at)) = from {
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            let (got, took) = (
                (arrived(self.direction, &self.near.tap, &self.far.tap)? - before) as f64,
                (self.since(start) - at).max(1) as f64,
            );
            self.window = got / took * 1e9;
        }
        self.slipped += pacer.map_or(0, |p| p.slipped());
        Ok(())
    }

    /// Nanoseconds.
    fn since(&self, start: u64) -> u64 {
        ticks_to_nanos(self.clock.now().saturating_sub(start), self.clock.hz())
    }

    /// Up to `n` packets, by turns of whole bursts where both directions are on.
    fn burst(&mut self, n: usize) -> anyhow::Result<usize> {
        if n == 0 {
            std::hint::spin_loop();
            return Ok(0);
        }
        let clear_turn = self.sealed.is_none() || (self.clear.is_some() && self.numbers.0 <= self.numbers.1);
        let stamp = self.clock.now();
        let sent = match (&self.clear, &self.sealed) {
            (Some(clear), _) if clear_turn => {
                let first = self.numbers.0;
                let sent = self.near.transmit(n, |frames| {
                    for (frame, number) in frames.iter_mut().zip(first..) {
                        clear.write(frame, number, stamp);
                    }
                })?;
                self.numbers.0 += sent as u64;
                sent
            }
            (_, Some(sealed)) => {
                let first = self.numbers.1;
                let sent = self.far.transmit(n, |frames| sealed.write(frames, first, stamp))?;
                self.numbers.1 += sent as u64;
                sent
            }
            (_, None) => 0,
        };
        self.sent += sent as u64;
        Ok(sent)
    }

    fn read_both(&mut self) {
        let Self { clock, near, far, reader, latency, missing, direction, .. } = self;
        for (on, side) in [(direction.clear(), far), (direction.sealed(), near)] {
            if on {
                side.receive(|data| {
                    if let Some(seen) = reader.read(data) {
                        let ticks = clock.now().saturating_sub(seen.stamp);
                        latency.record(ticks_to_nanos(ticks, clock.hz()));
                        missing.arrived(seen.number);
                    }
                });
            }
        }
    }

    fn listen(&mut self, time: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.read_both();
        }
        Ok(())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn ticks_to_nanos(ticks: u64, hz: f64) -> u64 {
    (ticks as f64 * (1e9 / hz)) as u64
}
