//! Numbered datagrams through whatever is measured: how many came, and how long none came.
//!
//! Decides: nothing. Reads and writes: UDP sockets of the namespaces it is told. Never: sends faster or longer than it
//! was asked to.

use crate::host::{Net, joined};
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The sender wakes this often and sends what is due.
const TICK: Duration = Duration::from_micros(500);
/// What has not come this long after the last datagram was sent is lost.
const LATE: Duration = Duration::from_millis(300);

/// Sends until it is stopped; at most `LIMIT` long.
#[derive(Debug)]
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<anyhow::Result<()>>>>,
}

/// No run is longer.
const LIMIT: Duration = Duration::from_secs(300);

impl Sender {
    /// `pps` 0: as fast as it goes. `size` is that of the IP packet.
    pub(crate) fn start(net: &Net, place: &str, to: SocketAddrV4, size: usize, pps: u64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = net.inside(place, move || send(to, size, pps, &stopped, &count));
        Self { stop, sent, thread: Some(thread) }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many it sent in all.
    pub(crate) fn stop(mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            joined(thread)??;
        }
        Ok(self.sent())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn send(to: SocketAddrV4, size: usize, pps: u64, stop: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    let mut bytes = vec![0x5a; size.saturating_sub(28).max(8)];
    let (start, mut number) = (Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) && start.elapsed() < LIMIT {
        let due = if pps == 0 { number + 64 } else { due(start.elapsed(), pps) };
        while number < due {
            if let Some(place) = bytes.first_chunk_mut() {
                *place = number.to_be_bytes();
            }
            // A full queue is a loss like any other: the number is spent.
            let _ = socket.send(&bytes);
            number += 1;
        }
        sent.store(number, Ordering::Relaxed);
        if pps > 0 {
            std::thread::sleep(TICK);
        }
    }
    Ok(())
}

/// How many should have been sent by then.
fn due(elapsed: Duration, pps: u64) -> u64 {
    u64::try_from(elapsed.as_nanos() * u128::from(pps) / 1_000_000_000).unwrap_or(u64::MAX)
}

/// What came in a window.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Received {
    pub(crate) count: u64,
    /// Longest time without any datagram.
    pub(crate) longest_gap: Duration,
}

impl Received {
    /// Time for which the offered rate was lost.
    #[allow(clippy::cast_precision_loss)] // packets of some seconds
    pub(crate) fn blocked(&self, sent: u64, pps: u64) -> Duration {
        let lost = sent.saturating_sub(self.count);
        Duration::from_secs_f64(lost as f64 / pps.max(1) as f64)
    }
}

/// Listens until it is stopped.
#[derive(Debug)]
pub(crate) struct Receiver {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<anyhow::Result<Received>>>>,
}

impl Receiver {
    pub(crate) fn start(net: &Net, place: &str, port: u16) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = net.inside(place, move || {
            let socket = UdpSocket::bind(("0.0.0.0", port))?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            let _ = ready.send(());
            receive(&socket, &stopped)
        });
        let _ = is_ready.recv_timeout(Duration::from_secs(5));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// After the sender has stopped.
    pub(crate) fn stop(mut self) -> anyhow::Result<Received> {
        std::thread::sleep(LATE);
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => joined(thread)?,
            None => Ok(Received::default()),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> anyhow::Result<Received> {
    let mut seen = Seen::default();
    let mut bytes = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv(&mut bytes) {
            Ok(n) => {
                let number = bytes.get(..n).and_then(|b| b.first_chunk()).map(|b| u64::from_be_bytes(*b));
                number.into_iter().for_each(|number| seen.take(Instant::now(), number));
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(seen.received)
}

/// Counts each number once, whatever is repeated or comes late.
#[derive(Debug, Default)]
struct Seen {
    received: Received,
    last: Option<Instant>,
    numbers: Vec<u64>,
}

impl Seen {
    fn take(&mut self, at: Instant, number: u64) {
        let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), number % 64);
        // A number beyond any run is not ours.
        if word > 1 << 24 {
            return;
        }
        if self.numbers.len() <= word {
            self.numbers.resize(word + 1, 0);
        }
        let before = self.numbers[word];
        self.numbers[word] |= 1 << bit;
        self.received.count += u64::from(before != self.numbers[word]);
        if let Some(last) = self.last.replace(at) {
            self.received.longest_gap = self.received.longest_gap.max(at.saturating_duration_since(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_numbers_count_once_and_the_longest_silence_is_kept() {
        let (mut seen, t) = (Seen::default(), Instant::now());
        for (ms, number) in [(0, 0), (1, 1), (31, 70), (32, 1), (33, u64::MAX)] {
            seen.take(t + Duration::from_millis(ms), number);
        }
        assert_eq!(seen.received.count, 3);
        assert_eq!(seen.received.longest_gap, Duration::from_millis(30));
    }

    #[test]
    fn blocked_time_is_what_was_lost_over_what_was_offered() {
        let got = Received { count: 900, longest_gap: Duration::ZERO };
        assert_eq!(got.blocked(1000, 1000), Duration::from_millis(100));
        assert_eq!(got.blocked(900, 1000), Duration::ZERO);
        assert_eq!(got.blocked(800, 1000), Duration::ZERO, "more than was sent is no gain");
    }

    #[test]
    fn what_is_due_follows_the_clock() {
        assert_eq!(due(Duration::from_millis(250), 20_000), 5000);
        assert_eq!(due(Duration::ZERO, 1), 0);
    }
}
