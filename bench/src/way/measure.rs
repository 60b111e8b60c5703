//! Short windows over the way, and what they have in common.
//!
//! Decides: which windows count: those in which every packet arrived and nobody else had the core. Reads: the
//! time-stamp counter, the counter of allocations, how long this thread had to wait. Never: drops a window for its result.

use super::pair::Pair;
use crate::instrument::{Clock, Spread, Waiting, allocations};
use ravelin_dataplane::MAX_RECEIVED;

/// Batches of one window: about two thousand packets, some tenths of a millisecond.
pub(crate) const BATCHES: usize = PACKETS / MAX_RECEIVED;
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
}

#[allow(clippy::cast_precision_loss)] // counts of windows
pub(crate) fn measure(clock: &Clock, pair: &mut Pair, wanted: usize) -> anyhow::Result<Figures> {
    warm_up(pair)?;
    let (mut packets, mut allocs) = (0, [0; 2]);
    let kept = windows(wanted, || {
        let window = window(clock, pair)?;
        packets += window.packets;
        allocs = [0, 1].map(|dir| allocs[dir] + window.allocs[dir]);
        Ok(window)
    })?;
    pair.conserved()?;
    let figure = |dir: usize| Figure {
        clk: Spread::of(kept.windows.iter().map(|w| w.clk[dir] as f64 / w.packets as f64).collect()),
        allocs: allocs[dir] as f64 / packets as f64,
    };
    Ok(Figures { out: figure(0), back: figure(1), windows: kept.windows.len(), disturbed: kept.disturbed })
}

/// Windows that count.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    pub(crate) windows: Vec<T>,
    pub(crate) disturbed: usize,
}

/// Makes windows until so many went by in which this thread never waited for its core. Where that takes too long,
/// disturbed ones fill up.
pub(crate) fn windows<T>(
    wanted: usize,
    mut one: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Kept<T>> {
    let waiting = Waiting::new();
    let (mut quiet, mut disturbed) = (vec![], vec![]);
    for _ in 0..wanted * ATTEMPTS {
        let before = waiting.so_far();
        let window = one()?;
        let list = if waiting.so_far() == before { &mut quiet } else { &mut disturbed };
        list.push(window);
        if quiet.len() == wanted {
            break;
        }
    }
    Ok(keep(quiet, disturbed, wanted))
}

fn keep<T>(quiet: Vec<T>, disturbed: Vec<T>, wanted: usize) -> Kept<T> {
    let missing = wanted.saturating_sub(quiet.len()).min(disturbed.len());
    let windows = quiet.into_iter().chain(disturbed.into_iter().take(missing)).collect();
    Kept { windows, disturbed: missing }
}

/// Every flow, and with it every SA, has carried a packet; caches and branch predictors know the way.
pub(crate) fn warm_up(pair: &mut Pair) -> anyhow::Result<()> {
    for _ in 0..3 * BATCHES as u64 + pair.round().div_ceil(MAX_RECEIVED as u64) {
        pair.prepare()?;
        pair.protect(&mut ());
        pair.unprotect(&mut ());
        pair.check()?;
    }
    Ok(())
}

fn window(clock: &Clock, pair: &mut Pair) -> anyhow::Result<Window> {
    let mut sum = Window::default();
    for _ in 0..BATCHES {
        pair.prepare()?;
        let before = allocations();
        let start = clock.now();
        sum.packets += pair.protect(&mut ());
        let end = clock.now();
        let between = allocations();
        sum.clk[0] += end - start;
        let start = clock.now();
        pair.unprotect(&mut ());
        let end = clock.now();
        sum.clk[1] += end - start;
        sum.allocs[0] += between - before;
        sum.allocs[1] += allocations() - between;
        pair.check()?;
    }
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
        let kept = keep(vec![1, 2, 3], vec![8, 9, 9, 9], 5);
        assert_eq!((kept.windows, kept.disturbed), (vec![1, 2, 3, 8, 9], 2));
        let kept = keep(vec![1, 2, 3], vec![8], 3);
        assert_eq!((kept.windows, kept.disturbed), (vec![1, 2, 3], 0));
    }

    #[test]
    fn windows_end_even_where_none_is_quiet() {
        let mut made = 0;
        let kept = windows(4, || {
            made += 1;
            std::thread::yield_now();
            Ok(())
        });
        assert!(kept.unwrap().windows.len() == 4 && made <= 4 * ATTEMPTS);
    }
}
