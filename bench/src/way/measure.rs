//! Short windows over the way, and what they have in common.
//!
//! Decides: which windows count: those in which every packet arrived and nobody else had the core. Reads: the
//! time-stamp counter, the counter of allocations, how long this thread had to wait. Never: drops a window for its result.

use super::pair::Pair;
use crate::instrument::{Clock, Spread, Waiting, allocations};
use ravelin_dataplane::MAX_RECEIVED;

/// Batches of one window: about two thousand packets, some tenths of a millisecond.
const BATCHES: usize = PACKETS / MAX_RECEIVED;
const PACKETS: usize = 2048;
/// Windows that others disturbed are repeated, but not for ever.
const ATTEMPTS: usize = 3;

/// One direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// Clocks per packet.
    pub(crate) clk: Spread,
    pub(crate) allocs: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) out: Figure,
    pub(crate) back: Figure,
    pub(crate) windows: usize,
    /// Among them, those in which this thread had to wait for its core.
    pub(crate) disturbed: usize,
}

/// Sums of one window, outbound and inbound.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    packets: u64,
    clk: [u64; 2],
    allocs: [u64; 2],
    waited: u64,
}

#[allow(clippy::cast_precision_loss)] // counts of windows
pub(crate) fn measure(clock: &Clock, pair: &mut Pair, windows: usize) -> anyhow::Result<Figures> {
    warm_up(clock, pair)?;
    let waiting = Waiting::new();
    let (mut quiet, mut disturbed) = (vec![], vec![]);
    for _ in 0..windows * ATTEMPTS {
        let window = window(clock, pair, &waiting)?;
        let list = if window.waited == 0 { &mut quiet } else { &mut disturbed };
        list.push(window);
        if quiet.len() == windows {
            break;
        }
    }
    pair.conserved()?;
    let all = quiet.iter().chain(&disturbed);
    let packets: u64 = all.clone().map(|w| w.packets).sum();
    let allocs = |dir: usize| all.clone().map(|w| w.allocs[dir]).sum::<u64>() as f64 / packets as f64;
    let allocs = [allocs(0), allocs(1)];
    let disturbed = keep(&mut quiet, disturbed, windows);
    let figure = |dir: usize| Figure {
        clk: Spread::of(quiet.iter().map(|w| w.clk[dir] as f64 / w.packets as f64).collect()),
        allocs: allocs[dir],
    };
    Ok(Figures { out: figure(0), back: figure(1), windows: quiet.len(), disturbed })
}

/// Where too few windows were quiet, the disturbed ones fill up. Returns how many.
fn keep(quiet: &mut Vec<Window>, disturbed: Vec<Window>, wanted: usize) -> usize {
    let missing = wanted.saturating_sub(quiet.len()).min(disturbed.len());
    quiet.extend(disturbed.into_iter().take(missing));
    missing
}

/// Every flow, and with it every SA, has carried a packet; caches and branch predictors know the way.
fn warm_up(clock: &Clock, pair: &mut Pair) -> anyhow::Result<()> {
    let waiting = Waiting::new();
    for _ in 0..3 + pair.round().div_ceil(PACKETS as u64) {
        window(clock, pair, &waiting)?;
    }
    Ok(())
}

fn window(clock: &Clock, pair: &mut Pair, waiting: &Waiting) -> anyhow::Result<Window> {
    let mut sum = Window::default();
    let waited = waiting.so_far();
    for _ in 0..BATCHES {
        pair.prepare()?;
        let before = allocations();
        let start = clock.now();
        sum.packets += pair.protect();
        let end = clock.now();
        let between = allocations();
        sum.clk[0] += end - start;
        let start = clock.now();
        pair.unprotect();
        let end = clock.now();
        sum.clk[1] += end - start;
        sum.allocs[0] += between - before;
        sum.allocs[1] += allocations() - between;
        pair.check()?;
    }
    sum.waited = waiting.so_far() - waited;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::SuiteName;
    use crate::way::plan::Subject;
    use crate::way::traffic::{Size, Traffic};

    fn figures(subject: Subject, size: Size, tunnels: u32, cold: bool) -> Figures {
        let traffic = Traffic::new(size, tunnels, 64, subject == Subject::Bypass);
        let mut pair = Pair::new(subject, traffic, tunnels, cold).unwrap();
        measure(&Clock::new(), &mut pair, 2).unwrap()
    }

    /// Every subject's packets arrive and compare. That none allocates is asserted by the bench itself, of which
    /// `scripts/test` runs a little: here other tests allocate meanwhile.
    #[test]
    fn every_way_is_whole() {
        for subject in Subject::ALL {
            for size in [Size::Bytes(36), Size::Imix] {
                let f = figures(subject, size, 3, false);
                assert!(f.windows == 2 && f.out.clk.min > 0.0 && f.back.clk.min > 0.0);
            }
        }
    }

    #[test]
    fn cold_packets_arrive_too() {
        let f = figures(Subject::Suite(SuiteName::Aes256Gcm), Size::Bytes(64), 2, true);
        assert!(f.out.clk.min > 0.0 && f.back.clk.min > 0.0);
    }

    #[test]
    fn disturbed_windows_only_fill_up() {
        let window = |waited| Window { waited, ..Window::default() };
        let mut quiet = vec![window(0); 3];
        assert_eq!(keep(&mut quiet, vec![window(9); 4], 5), 2);
        assert_eq!(quiet.len(), 5);
        assert_eq!(keep(&mut quiet, vec![window(9); 4], 5), 0);
    }
}
