//! Which SPIs our peers send to us by: the remainder by the number of workers names the worker that owns the SA.
//!
//! Decides: the worker of a new child SA pair (the least loaded), and its SPI (unpredictable otherwise).
//! Reads: the operating system's random numbers. Writes: the set of SPIs in use.
//! Never: gives out an SPI that is installed, adopted ones included.

use ravelin_ike::config::ChildId;
use ravelin_ike::endpoint::{Near, SpiSource};
use ravelin_ring::msg::WorkerId;
use ravelin_wire::Spi;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the engine, which asks for SPIs, and the installer, which knows those in use.
#[derive(Clone, Debug)]
pub struct Spis(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Inbound SAs per worker.
    load: Vec<u32>,
    used: HashSet<Spi>,
    /// Where the search for the least loaded begins, so that equals take turns.
    turn: usize,
}

impl Spis {
    /// `workers` is at least 1.
    pub fn new(workers: u16) -> Self {
        let load = vec![0; usize::from(workers.max(1))];
        Self(Arc::new(Mutex::new(State { load, used: HashSet::new(), turn: 0 })))
    }

    /// A new data plane, perhaps with another number of workers: nothing is installed.
    pub fn reset(&self, workers: u16) {
        let mut state = self.lock();
        state.load = vec![0; usize::from(workers.max(1))];
        state.used.clear();
    }

    pub fn owner(&self, spi: Spi) -> WorkerId {
        let workers = u32::try_from(self.lock().load.len()).unwrap_or(1);
        WorkerId(u16::try_from(spi.get() % workers).unwrap_or(0))
    }

    pub fn take(&self, spi: Spi) {
        let owner = usize::from(self.owner(spi).0);
        let mut state = self.lock();
        if state.used.insert(spi)
            && let Some(load) = state.load.get_mut(owner)
        {
            *load += 1;
        }
    }

    pub fn release(&self, spi: Spi) {
        let owner = usize::from(self.owner(spi).0);
        let mut state = self.lock();
        if state.used.remove(&spi)
            && let Some(load) = state.load.get_mut(owner)
        {
            *load = load.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn least_loaded(&mut self) -> u32 {
        let workers = self.load.len();
        self.turn = (self.turn + 1) % workers;
        let from = self.turn;
        let order = (0..workers).map(|i| (from + i) % workers);
        let best = order.min_by_key(|w| self.load.get(*w).copied().unwrap_or(u32::MAX));
        best.and_then(|w| u32::try_from(w).ok()).unwrap_or(0)
    }
}

impl SpiSource for Spis {
    fn inbound_spi(&mut self, _child: ChildId, near: Option<Near>) -> Spi {
        let mut state = self.lock();
        let workers = u32::try_from(state.load.len()).unwrap_or(1);
        let worker = match near {
            Some(Near { spi, apart }) => (spi.get() % workers + u32::from(apart)) % workers,
            None => state.least_loaded(),
        };
        loop {
            let raw = random_u32();
            // The remainder is replaced; at the very top that could wrap, so such numbers are drawn again.
            let Some(raw) = (raw - raw % workers).checked_add(worker) else { continue };
            if let Ok(spi) = Spi::try_from(raw)
                && !state.used.contains(&spi)
            {
                return spi;
            }
        }
    }
}

/// From the kernel, which has had its entropy long before this runs.
pub(crate) fn random_u32() -> u32 {
    let mut bytes = [0; 4];
    loop {
        if getrandom::fill(&mut bytes).is_ok() {
            return u32::from_ne_bytes(bytes);
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remainder_names_the_worker_and_workers_take_turns() {
        for workers in 1..=7u16 {
            let mut spis = Spis::new(workers);
            let mut per_worker = vec![0; usize::from(workers)];
            for _ in 0..workers * 4 {
                let spi = spis.inbound_spi(ChildId(0), None);
                assert!(spi.get() > 255);
                spis.take(spi);
                per_worker[usize::from(spis.owner(spi).0)] += 1;
            }
            assert_eq!(per_worker, vec![4; usize::from(workers)]);
        }
    }

    // RFC 9611: each resource of a group is another worker, and a successor stays where its predecessor was.
    #[test]
    fn an_spi_near_another_one_has_the_worker_that_is_asked_for() {
        for workers in 1..=5u16 {
            let mut spis = Spis::new(workers);
            let first = spis.inbound_spi(ChildId(0), None);
            for apart in 0..workers * 2 {
                let spi = spis.inbound_spi(ChildId(0), Some(Near { spi: first, apart }));
                assert_eq!(spis.owner(spi).0, (spis.owner(first).0 + apart) % workers);
            }
        }
    }

    #[test]
    fn the_worker_that_lost_an_sa_gets_the_next_one() {
        let mut spis = Spis::new(3);
        let taken: Vec<Spi> = (0..9)
            .map(|_| {
                let spi = spis.inbound_spi(ChildId(0), None);
                spis.take(spi);
                spi
            })
            .collect();
        let gone = taken[4];
        spis.release(gone);
        spis.release(gone); // twice does not count twice
        assert_eq!(spis.owner(spis.clone().inbound_spi(ChildId(0), None)), spis.owner(gone));
    }
}
