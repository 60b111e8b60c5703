//! One tunnel's packets out through one worker, beside one that shares their crypto with others on cores of their own.
//!
//! Decides: what is in the measured stretch: from the first frame received to the last one ready to be sent, in the order
//! of their numbers. Outside of it: writing the packets, proving that each one came out once and in order. Reads: the
//! clock. Never: judges the ratio; says a word about cores that are threads of one core but that they are.

use super::furnish::{self, INSIDE, Side};
use super::plan::Subject;
use super::traffic::{Size, TTL, Traffic};
use crate::instrument::{Spread, emit, interrupt, pin, rounded};
use anyhow::{Context, ensure};
use clap::Args;
use core_affinity::CoreId;
use ravelin_dataplane::{Batch, Helpers, MAX_RECEIVED, Now, Origin, Verdict, Worker, WorkerConfig};
use ravelin_ring::counters::Counter;
use ravelin_ring::msg::WorkerId;
use ravelin_xsk::{Frame, FramePool, Umem, UmemConfig};
use serde::Serialize;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

pub(crate) const EXAMPLES: &str = "Examples:
  ravelin-bench share --quick
  ravelin-bench share --sizes 64,1400 --helpers 3 --json | jq .ratio

Where two cores are threads of one core (the first line says so), a helper there gets what the owner leaves of it: the ratio
says little about cores of their own.
Exit status: 0 measured, 1 a packet was lost or out of order, 2 a wrong option. See docs/bench.md.";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Fewer windows
    #[arg(long)]
    quick: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Suites
    #[arg(long, value_delimiter = ',', default_values = ["aes-128-gcm", "aes-256-cbc-hmac-sha2-256"])]
    suites: Vec<Subject>,
    /// Bytes of the inner packet
    #[arg(long, value_delimiter = ',', default_values = ["64", "512", "1400"])]
    sizes: Vec<Size>,
    /// Other workers; each needs a core of its own beside the owner's
    #[arg(long, default_value_t = 1)]
    helpers: u16,
}

/// Packets of one window.
const PACKETS: u32 = 8192;

#[derive(Serialize)]
struct Line {
    bench: &'static str,
    suite: &'static str,
    size: u32,
    helpers: u16,
    siblings: bool,
    mpps_alone: f64,
    mpps_shared: f64,
    /// Shared by alone.
    ratio: f64,
    /// Part of the packets whose crypto helpers did.
    helped: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    ensure!(
        cores.len() > usize::from(options.helpers),
        "{} helpers need as many cores and one more",
        options.helpers
    );
    pin(cores.first().map(|core| core.id))?;
    let siblings = siblings();
    if !options.json {
        let kind = if siblings { "threads of one core" } else { "cores of their own" };
        say!("one SA, one worker beside the same with {} helper(s) on {kind}", options.helpers);
        say!("suite                 size   alone Mpps  shared Mpps  ratio  helped");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for &subject in &options.suites {
        for &size in &options.sizes {
            let line = case(options, subject, size, (siblings, &cores), &stop)?;
            if options.json {
                emit(&line)?;
            } else {
                let Line { suite, size, mpps_alone, mpps_shared, ratio, helped, .. } = line;
                say!("{suite:20} {size:5} {mpps_alone:12.2} {mpps_shared:12.2} {ratio:6.2} {helped:7.2}");
            }
        }
    }
    Ok(())
}

/// The owner's core and the helpers' are threads of one.
fn siblings() -> bool {
    let list =
        fs::read_to_string("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").unwrap_or_default();
    list.trim().contains(['-', ','])
}

fn case(
    options: &Options,
    subject: Subject,
    size: Size,
    // Those of the process: this thread, and what it starts, has but the first.
    (siblings, cores): (bool, &[CoreId]),
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Line> {
    let helpers = Helpers::new(options.helpers + 1);
    let umem = Umem::new(UmemConfig { frames: 2 * PACKETS, copy_only: true, ..UmemConfig::default() })?;
    let mut pool = umem.pools(1).pop().context("no frames")?;
    let traffic = Traffic::new(size, 1, 64, false);
    let mut alone = Owner::new(subject, None)?;
    let mut team = Owner::new(subject, Some(helpers.clone()))?;
    stop.store(false, Ordering::Release);
    let threads: Vec<_> = (1..=options.helpers)
        .map(|id| {
            let (stop, core, mut helper) =
                (stop.clone(), cores.get(usize::from(id)).copied(), worker(subject, id));
            helper.join(helpers.clone());
            thread::spawn(move || {
                core.map(core_affinity::set_for_current);
                while !stop.load(Ordering::Relaxed) {
                    while helper.help().is_some() {}
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let windows = if options.quick { 20 } else { 200 };
    let measured = (0..windows).try_fold((vec![], vec![]), |(mut one, mut all), _| {
        interrupt::check()?;
        one.push(alone.window(&traffic, &mut pool)?);
        all.push(team.window(&traffic, &mut pool)?);
        anyhow::Ok((one, all))
    });
    stop.store(true, Ordering::Release);
    for thread in threads {
        ensure!(thread.join().is_ok(), "a helper failed");
    }
    let (one, all) = measured?;
    let ratio = Spread::of(one.iter().zip(&all).map(|(a, b)| b / a).collect()).median;
    let (one, all) = (Spread::of(one).median, Spread::of(all).median);
    let round = |x: f64| rounded(x, 3);
    let helped = team.helped();
    Ok(Line {
        bench: "share",
        suite: subject.name(),
        size: size.mean(),
        helpers: options.helpers,
        siblings,
        mpps_alone: round(one),
        mpps_shared: round(all),
        ratio: round(ratio),
        helped: round(helped),
    })
}

fn worker(subject: Subject, id: u16) -> Worker {
    subject.worker(WorkerConfig { id: WorkerId(id), workers: 1, max_sas: 1 })
}

/// The worker that has the SA.
struct Owner {
    worker: Worker,
    batch: Batch,
    /// Numbers sent so far.
    sent: u32,
    started: Instant,
}

impl Owner {
    fn new(subject: Subject, helpers: Option<Arc<Helpers>>) -> anyhow::Result<Self> {
        let (mut left, mut right) = (worker(subject, 0), worker(subject, 0));
        if let Some(helpers) = helpers {
            left.join(helpers);
        }
        left.set_tables(furnish::tables(Side::Left, 1)?);
        right.set_tables(furnish::tables(Side::Right, 1)?);
        furnish::install(&mut left, &mut right, subject, 0, true)?;
        Ok(Self { worker: left, batch: Batch::new(), sent: 0, started: Instant::now() })
    }

    /// Packets per microsecond.
    fn window(&mut self, traffic: &Traffic, pool: &mut FramePool) -> anyhow::Result<f64> {
        let mut waiting = Vec::with_capacity(PACKETS as usize);
        for n in 0..u64::from(PACKETS) {
            let mut frame = pool.alloc().context("out of frames")?;
            ensure!(frame.extend(traffic.len(n)), "frame too small");
            traffic.write(n, TTL, frame.data_mut());
            waiting.push(frame);
        }
        let (mut waiting, mut done) = (waiting.into_iter(), Vec::with_capacity(PACKETS as usize));
        let clock = Instant::now();
        loop {
            let now = Now { ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0) };
            for frame in waiting.by_ref().take(MAX_RECEIVED) {
                let _ = self.batch.receive(frame, Origin::Port(INSIDE)); // it was empty
            }
            let idle = self.batch.packets.is_empty();
            if !idle {
                self.worker.process(&mut self.batch, pool, now);
                self.carry_out(&mut done);
            }
            self.worker.work_alone(idle, now);
            while self.worker.resume(&mut self.batch, pool, now) {
                self.carry_out(&mut done);
            }
            if idle && self.worker.away() == 0 {
                break;
            }
        }
        let took = clock.elapsed();
        ensure!(
            done.len() == PACKETS as usize,
            "{} of {PACKETS} packets came out: {:?}",
            done.len(),
            self.worker.stats()
        );
        for frame in done {
            self.sent = self.sent.wrapping_add(1);
            let number = frame.data().get(38..42).and_then(|bytes| bytes.first_chunk().copied());
            ensure!(
                number.map(u32::from_be_bytes) == Some(self.sent),
                "packet {} is out of order",
                self.sent
            );
            pool.free(frame);
        }
        let now = Now { ms: 0 };
        while self.worker.next_event(now).is_some() {}
        Ok(f64::from(PACKETS) / took.as_secs_f64() / 1e6)
    }

    fn carry_out(&mut self, done: &mut Vec<Frame>) {
        for packet in self.batch.packets.drain(..) {
            if matches!(packet.verdict, Verdict::Forward { .. }) {
                done.push(packet.frame);
            }
        }
    }

    #[allow(clippy::cast_precision_loss)] // counts of packets
    fn helped(&self) -> f64 {
        let count = |what| self.worker.stats().get(what) as f64;
        let all = count(Counter::Lent);
        if all == 0.0 { 0.0 } else { 1.0 - (count(Counter::LentBack) * MAX_RECEIVED as f64 / all).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::SuiteName;

    // R301
    #[test]
    fn every_packet_comes_out_in_its_order() {
        let options = Options {
            quick: true,
            json: true,
            suites: vec![Subject::Suite(SuiteName::Aes128Gcm)],
            sizes: vec![Size::Bytes(64)],
            helpers: 1,
        };
        let line =
            case(&options, options.suites[0], options.sizes[0], (false, &[]), &Arc::default()).unwrap();
        assert!(line.ratio > 0.0);
    }
}
