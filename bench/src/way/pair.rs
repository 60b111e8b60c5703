//! Two gateways over one UMEM: one protects, the other opens.
//!
//! Decides: what is measured ([`Pair::protect`], [`Pair::unprotect`]) and what is not: writing packets, and proving that
//! each one arrived. Never: lets a packet get lost unseen.

use super::furnish::{self, INSIDE, Side, WAN};
use super::plan::{Case, Subject};
use super::queue::Queue;
use super::traffic::{TTL, Traffic};
use anyhow::{Context, bail, ensure};
use ravelin_dataplane::{Batch, MAX_RECEIVED, Now, Probe, Verdict, Worker, WorkerConfig};
use ravelin_ring::counters::Counter;
use ravelin_ring::msg::{PortId, WorkerId};
use ravelin_xsk::{FramePool, Umem, UmemConfig};
use std::time::Instant;

pub(crate) struct Pair {
    left: Worker,
    right: Worker,
    pool: FramePool,
    batch: Batch,
    /// What the receive ring of each side gives, oldest first, and what the last one sent.
    clear: Queue,
    sealed: Queue,
    opened: Queue,
    /// Packets that wait in `clear` and `sealed`: more than one batch lets their lines leave the cache.
    depth: usize,
    traffic: Traffic,
    /// Numbers of the next packet to write, and of the next that must arrive.
    written: u64,
    arrived: u64,
    started: Instant,
}

/// Packets between writing and use in a cold run: with the lines of both queues some MB, more than a second-level cache
/// holds and less than a last-level one.
const COLD: usize = 16_384;

impl Pair {
    pub(crate) fn new(subject: Subject, traffic: Traffic, tunnels: u32, cold: bool) -> anyhow::Result<Self> {
        let depth = if cold { COLD } else { MAX_RECEIVED };
        let frames = u32::try_from(2 * depth + 4 * MAX_RECEIVED)?;
        let umem = Umem::new(UmemConfig { frames, copy_only: true, ..UmemConfig::default() })?;
        let worker = || subject.worker(WorkerConfig { id: WorkerId(0), workers: 1, max_sas: tunnels });
        let queue = || Queue::new(depth + MAX_RECEIVED);
        let mut me = Self {
            left: worker(),
            right: worker(),
            pool: umem.pools(1).pop().context("no frames")?,
            batch: Batch::new(),
            clear: queue(),
            sealed: queue(),
            opened: queue(),
            depth,
            traffic,
            written: 0,
            arrived: 0,
            started: Instant::now(),
        };
        me.left.set_tables(furnish::tables(Side::Left, tunnels)?);
        me.right.set_tables(furnish::tables(Side::Right, tunnels)?);
        for tunnel in 0..tunnels {
            furnish::install(&mut me.left, &mut me.right, subject, tunnel, false)?;
        }
        Ok(me)
    }

    /// Other packets from now on; what waits is thrown away.
    pub(crate) fn send(&mut self, traffic: Traffic) {
        let Self { clear, sealed, opened, pool, .. } = self;
        for queue in [clear, sealed, opened] {
            while let Some(frame) = queue.pop() {
                pool.free(frame);
            }
        }
        (self.traffic, self.written, self.arrived) = (traffic, 0, 0);
    }

    /// Not measured: the next packets, each for the next flow.
    pub(crate) fn prepare(&mut self) -> anyhow::Result<()> {
        self.fill()?;
        while self.sealed.len() + MAX_RECEIVED < self.depth {
            self.protect(&mut ());
            self.fill()?;
        }
        Ok(())
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        while let Some(frame) = self.opened.pop() {
            self.pool.free(frame);
        }
        while self.clear.len() < self.depth {
            let mut frame = self.pool.alloc().context("out of frames")?;
            ensure!(frame.extend(self.traffic.len(self.written)), "frame too small");
            self.traffic.write(self.written, TTL, frame.data_mut());
            if let Err(frame) = self.clear.push(frame) {
                self.pool.free(frame); // not reached: it has more room than `depth`
            }
            self.written += 1;
        }
        let now = self.now();
        while self.left.next_event(now).is_some() {}
        while self.right.next_event(now).is_some() {}
        Ok(())
    }

    /// Measured: from the receive ring of the left gateway to its transmit ring. Returns how many packets.
    pub(crate) fn protect(&mut self, probe: &mut impl Probe) -> u64 {
        let now = self.now();
        let Self { left, batch, pool, clear, sealed, .. } = self;
        let mut side = Gateway { worker: left, batch, pool, port: INSIDE };
        side.pass(now, clear, sealed, probe)
    }

    /// Measured: the same at the right gateway.
    pub(crate) fn unprotect(&mut self, probe: &mut impl Probe) -> u64 {
        let now = self.now();
        let Self { right, batch, pool, sealed, opened, .. } = self;
        let mut side = Gateway { worker: right, batch, pool, port: WAN };
        side.pass(now, sealed, opened, probe)
    }

    /// As the data plane does: the clock is read once for each batch.
    fn now(&self) -> Now {
        Now { ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX) }
    }

    /// A window counts only when every packet arrived, in order and whole; one of each batch is compared byte by byte.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let in_order = (self.arrived..).zip(self.opened.iter()).all(|(n, f)| self.traffic.is(n, f.data()));
        if self.opened.len() != MAX_RECEIVED || !in_order {
            let stats = (self.left.stats(), self.right.stats());
            bail!("{} of {MAX_RECEIVED} packets arrived, in order: {in_order}; {stats:?}", self.opened.len());
        }
        // Another place in every batch, so that over a run every size and flow has its turn.
        let batch = MAX_RECEIVED as u64;
        let at = usize::try_from(self.arrived / batch % batch).unwrap_or(0);
        if let Some(frame) = self.opened.iter().nth(at) {
            self.traffic.compare(self.arrived + at as u64, frame.data())?;
        }
        self.arrived += self.opened.len() as u64;
        Ok(())
    }

    /// What came in went out, for each worker.
    pub(crate) fn conserved(&self) -> anyhow::Result<()> {
        for worker in [&self.left, &self.right] {
            let (entered, ended) = worker.stats().balance();
            ensure!(entered == ended, "{entered} packets came in, {ended} went out: {:?}", worker.stats());
        }
        Ok(())
    }

    /// Packets after which every flow had its turn, and with it every SA.
    pub(crate) fn round(&self) -> u64 {
        self.traffic.flows().into()
    }
}

/// One of the two while packets pass.
struct Gateway<'p> {
    worker: &'p mut Worker,
    batch: &'p mut Batch,
    pool: &'p mut FramePool,
    /// By which the packets come.
    port: PortId,
}

impl Gateway<'_> {
    /// What the data plane does with one batch, but for the system calls of its sockets.
    fn pass(&mut self, now: Now, from: &mut Queue, to: &mut Queue, probe: &mut impl Probe) -> u64 {
        let Self { worker, batch, pool, port } = self;
        let count = from.len().min(MAX_RECEIVED);
        batch.receive_from(*port, &mut core::iter::from_fn(|| from.pop()).take(count));
        probe.stage("rx", count);
        worker.process_probed(batch, pool, now, probe);
        let (mut sent, mut bytes) = (0, 0);
        for packet in batch.packets.drain(..) {
            match packet.verdict {
                Verdict::Forward { .. } => {
                    (sent, bytes) = (sent + 1, bytes + packet.frame.len() as u64);
                    if let Err(frame) = to.push(packet.frame) {
                        pool.free(frame); // not reached; the check would find it missing
                    }
                }
                Verdict::Pending
                | Verdict::Punt
                | Verdict::Deliver { .. }
                | Verdict::HandOff { .. }
                | Verdict::Drop(_)
                | Verdict::Held
                | Verdict::Consumed => pool.free(packet.frame),
            }
        }
        worker.stats_mut().add(Counter::Forwarded, sent);
        worker.stats_mut().add(Counter::ForwardedBytes, bytes);
        probe.stage("tx", count);
        count as u64
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Frames go home, or the UMEM would stay mapped for the rest of the run.
        let Self { clear, sealed, opened, pool, .. } = self;
        for queue in [clear, sealed, opened] {
            while let Some(frame) = queue.pop() {
                pool.free(frame);
            }
        }
    }
}

/// The gateways of the case before, for as long as they fit.
#[derive(Default)]
pub(crate) struct Gateways(Option<(Case, Pair)>);

impl Gateways {
    /// New ones are made when the old ones are gone: two sets of 100,000 tunnels are never there together.
    pub(crate) fn of(&mut self, case: &Case, cold: bool) -> anyhow::Result<&mut Pair> {
        let fit = |(before, mut pair): (Case, Pair)| {
            case.same_gateways(&before).then(|| {
                pair.send(case.traffic());
                pair
            })
        };
        let pair = match self.0.take().and_then(fit) {
            Some(pair) => pair,
            None => Pair::new(case.subject, case.traffic(), case.tunnels, cold)
                .with_context(|| format!("installing {} tunnels", case.tunnels))?,
        };
        Ok(&mut self.0.insert((*case, pair)).1)
    }
}
