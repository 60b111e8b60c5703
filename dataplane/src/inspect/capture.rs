//! One capture: taps into every worker, records out to the client.
//!
//! Decides: when it ends: when the client closes or does not read. Never: leaves a tap behind.

use super::{Desk, PATIENCE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ravelin_dataplane::{Filter, Records, Tap};
use ravelin_ring::inspect::{self, Answer, Record, Want};
use ravelin_ring::msg::WorkerId;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Largest packet that is copied whole: a frame.
const MAX_SNAPLEN: u16 = 4096;
/// How long the reader rests when nothing came; a batch's records are no older than that when they leave.
const REST_MS: u16 = 20;
/// Bytes written at once.
const CHUNK: usize = 256 * 1024;

pub(super) fn run(desk: &Desk, mut stream: UnixStream, want: &Want) {
    let refuse = |stream: &mut UnixStream, why: String| {
        let _ = inspect::answer(stream, &Answer::Refused { why });
    };
    let snaplen = if want.snaplen == 0 { MAX_SNAPLEN } else { want.snaplen.min(MAX_SNAPLEN) };
    let want = Want { snaplen, ..want.clone() };
    let filter = match Filter::new(&want, &desk.ports) {
        Ok(filter) => filter,
        Err(why) => return refuse(&mut stream, why),
    };
    if desk.captures.fetch_add(1, Ordering::AcqRel) > 0 {
        refuse(&mut stream, "another capture or trace runs; end it first".to_owned());
    } else if inspect::answer(&mut stream, &Answer::Capturing { ports: desk.ports.clone() }).is_ok() {
        tracing::info!("packets are being captured: clear text leaves this process");
        let records = Records::new(snaplen.into());
        tap(desk, |worker| Some(Box::new(Tap::new(filter.clone(), records.clone(), worker))));
        carry(&mut stream, &records);
        tap(desk, |_| None);
        let end = Instant::now() + PATIENCE;
        // The memory is given back by this thread, not by a worker.
        while Arc::strong_count(&records) > 1 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        tracing::info!("the capture has ended");
    }
    desk.captures.fetch_sub(1, Ordering::AcqRel);
}

fn tap(desk: &Desk, tap: impl Fn(WorkerId) -> Option<Box<Tap>>) {
    for (worker, line) in (0..).map(WorkerId).zip(&desk.workers) {
        line.tap(tap(worker));
    }
}

/// Until the client has enough.
fn carry(stream: &mut UnixStream, records: &Arc<Records>) {
    let mut out = Vec::with_capacity(CHUNK);
    loop {
        while out.len() < CHUNK
            && let Some(record) = records.next()
        {
            record.encode(&mut out);
            records.done(record);
        }
        let lost = records.take_lost();
        if lost > 0 {
            Record::lost(lost).encode(&mut out);
        }
        let idle = out.is_empty();
        if stream.write_all(&out).is_err() {
            return; // gone, or it did not read for too long
        }
        out.clear();
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        let rest = PollTimeout::from(if idle { REST_MS } else { 0 });
        // A client that captures has nothing more to say: whatever comes is its end.
        if poll(&mut fds, rest).is_ok_and(|ready| ready > 0) {
            return;
        }
    }
}
