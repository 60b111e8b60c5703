//! One worker's counters: plain integers, one writer.
//!
//! The worker counts what it decides: `Received`, `Injected`, `HandedIn` (when a batch enters), `Generated`,
//! `Consumed`, and every `Drop` verdict. Whoever carries verdicts out counts what came of them: `Forwarded` (and its
//! bytes), `Punted`, `HandedOut`, or the drop (`TxFull`, `PuntFull`, `HandoffFull`, `PortDown`) instead.

use ravelin_ring::counters::{Counter, Drop};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    pub counters: [u64; Counter::COUNT],
    pub drops: [u64; Drop::COUNT],
}

impl Default for Stats {
    fn default() -> Self {
        Self { counters: [0; Counter::COUNT], drops: [0; Drop::COUNT] }
    }
}

impl Stats {
    #[inline]
    pub fn add(&mut self, what: Counter, n: u64) {
        self.counters[what as usize] = self.counters[what as usize].wrapping_add(n);
    }

    #[inline]
    pub fn count(&mut self, what: Counter) {
        self.add(what, 1);
    }

    /// Of what is no count.
    pub fn set(&mut self, what: Counter, n: u64) {
        self.counters[what as usize] = n;
    }

    #[inline]
    pub fn drop(&mut self, why: Drop) {
        self.drops[why as usize] = self.drops[why as usize].wrapping_add(1);
    }

    pub fn drop_many(&mut self, why: Drop, n: u64) {
        self.drops[why as usize] = self.drops[why as usize].wrapping_add(n);
    }

    pub fn get(&self, what: Counter) -> u64 {
        self.counters[what as usize]
    }

    pub fn dropped(&self, why: Drop) -> u64 {
        self.drops[why as usize]
    }

    /// Packets that came in and packets that went out: equal whenever the worker rests (R303).
    pub fn balance(&self) -> (u64, u64) {
        use Counter as C;
        let sum = |of: &[Counter]| of.iter().map(|&c| self.get(c)).sum::<u64>();
        let entered = sum(&[C::Received, C::Injected, C::Generated, C::HandedIn, C::Released]);
        let ended = sum(&[C::Forwarded, C::Punted, C::HandedOut, C::Consumed, C::Held]);
        (entered, ended + self.drops.iter().sum::<u64>())
    }
}
