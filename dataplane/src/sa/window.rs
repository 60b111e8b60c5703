//! The anti-replay window of one inbound SA: a ring of bits (RFC 6479) and the inference of extended sequence
//! numbers (RFC 4303 appendix A2).
//!
//! Decides: whether a number is new. Writes: only for a number whose packet was authentic.

use crate::inbound::Authentic;
use ravelin_ring::counters::Drop;

/// Bits of one word of the ring.
const WORD: u64 = 64;

#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Highest number accepted; 0: none yet (0 is never sent, RFC 4303 §2.2).
    top: u64,
    /// How many numbers up to `top` can still be told apart; 0: no replay check.
    size: u64,
    /// The word of `top`, which nearly every number is in: numbers that rise need no more than this record.
    word: u64,
    /// A power of two of words, at least one more than the window needs: the word of a new top is cleared whole. What stands
    /// in the place of `word` is out of date.
    bits: Box<[u64]>,
}

impl Window {
    pub(crate) fn new(size: u32) -> Self {
        let size = u64::from(size);
        let words = if size == 0 { 1 } else { (size.div_ceil(WORD) + 1).next_power_of_two() };
        let words = usize::try_from(words).unwrap_or(1);
        Self { top: 0, size, word: 0, bits: vec![0; words].into_boxed_slice() }
    }

    pub(crate) fn top(&self) -> u64 {
        self.top
    }

    /// The 64-bit number that `low` most probably stands for; appendix A2.2, with W = `size`.
    #[inline]
    pub(crate) fn infer(&self, low: u32) -> u64 {
        let (top_high, top_low) = (self.top >> 32, low_half(self.top));
        let span = u32::try_from(self.size.max(1)).unwrap_or(u32::MAX);
        let left = top_low.wrapping_sub(span.wrapping_sub(1));
        let high = if top_low >= span.wrapping_sub(1) {
            // Case A: the window lies within one subspace.
            if low >= left { top_high } else { top_high.wrapping_add(1) }
        } else if low >= left {
            // Case B: the window spans two subspaces, and `low` is of the earlier one.
            top_high.wrapping_sub(1)
        } else {
            top_high
        };
        // Before the first wrap there is no earlier subspace: such a number is far right, and will not be authentic.
        if high > u64::from(u32::MAX) { u64::from(low) } else { (high << 32) | u64::from(low) }
    }

    /// Before decryption: reads only.
    #[inline]
    pub(crate) fn check(&self, number: u64) -> Result<(), Drop> {
        if number > self.top {
            return Ok(()); // what nearly every number is; 0 never
        }
        if number == 0 {
            return Err(Drop::ReplayOld);
        }
        if self.size == 0 {
            return Ok(());
        }
        if self.top - number >= self.size {
            return Err(Drop::ReplayOld);
        }
        if self.word(number) & mask(number) == 0 { Ok(()) } else { Err(Drop::ReplayDup) }
    }

    /// [`Self::infer`] and [`Self::check`] for a number ahead of all before it in the same 2³², by less than half of that.
    /// `None`: another one.
    #[inline(always)]
    pub(crate) fn ahead(&self, low: u32) -> Option<u64> {
        let top = low_half(self.top);
        let near = low > top && low - top < 1 << 31;
        near.then(|| self.top & !0xffff_ffff | u64::from(low))
    }

    /// Whether [`Self::advance`] may have the number: it is ahead of all before it, by no more than a word holds.
    #[inline(always)]
    pub(crate) fn is_next(&self, proof: &Authentic) -> bool {
        // Of one that is not ahead this is a large number.
        proof.number().wrapping_sub(self.top).wrapping_sub(1) < WORD
    }

    /// [`Self::commit`] for such a number.
    #[inline(always)]
    pub(crate) fn advance(&mut self, proof: Authentic) {
        let number = proof.number();
        if number ^ self.top >= WORD {
            self.put_down();
        }
        self.top = number;
        self.word |= mask(number);
    }

    /// After decryption: checks again, since a batch may hold one number twice, then remembers the number.
    #[inline]
    pub(crate) fn commit(&mut self, proof: Authentic) -> Result<(), Drop> {
        let number = proof.number();
        if number <= self.top {
            self.check(number)?;
        } else {
            if number / WORD != self.top / WORD {
                self.put_down();
                self.clear_between(self.top, number);
            }
            self.top = number;
        }
        if number / WORD == self.top / WORD {
            self.word |= mask(number);
        } else {
            let at = self.place(number);
            if let Some(word) = self.bits.get_mut(at) {
                *word |= mask(number);
            }
        }
        Ok(())
    }

    /// The word of `top` takes its place, since the next one begins.
    #[inline]
    fn put_down(&mut self) {
        let at = self.place(self.top);
        let word = core::mem::take(&mut self.word);
        if let Some(place) = self.bits.get_mut(at) {
            *place = word;
        }
    }

    /// Empties the words after that of `from`, up to that of `to`.
    #[inline(never)]
    fn clear_between(&mut self, from: u64, to: u64) {
        let steps = (to / WORD - from / WORD).min(self.bits.len() as u64);
        for step in 0..steps {
            let at = self.place((from / WORD + 1 + step) * WORD);
            if let Some(word) = self.bits.get_mut(at) {
                *word = 0;
            }
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // masked to the number of words
    fn place(&self, number: u64) -> usize {
        (number / WORD) as usize & (self.bits.len() - 1)
    }

    #[inline]
    fn word(&self, number: u64) -> u64 {
        if number / WORD == self.top / WORD {
            return self.word;
        }
        self.bits.get(self.place(number)).copied().unwrap_or(u64::MAX)
    }

    /// Brings the word of `number` into the cache without waiting for it.
    #[inline]
    pub(crate) fn touch(&self, number: u64) {
        if let Some(word) = self.bits.get(self.place(number)) {
            ravelin_xsk::prefetch(word);
        }
    }
}

#[inline]
fn mask(number: u64) -> u64 {
    1 << (number % WORD)
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // the low half is meant
fn low_half(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // the low halves of numbers are what goes on the wire
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    impl Window {
        /// The highest number, and every word that counts.
        fn all(&self) -> (u64, Vec<u64>) {
            let mut bits = self.bits.to_vec();
            bits[self.place(self.top)] = self.word;
            (self.top, bits)
        }
    }

    /// What RFC 4303 §3.4.3 says, without a bitmap.
    #[derive(Default)]
    struct Oracle {
        seen: BTreeSet<u64>,
    }

    impl Oracle {
        fn check(&self, size: u64, n: u64) -> Result<(), Drop> {
            let top = self.seen.last().copied().unwrap_or(0);
            if n == 0 || (size > 0 && n <= top && top - n >= size) {
                Err(Drop::ReplayOld)
            } else if size > 0 && self.seen.contains(&n) {
                Err(Drop::ReplayDup)
            } else {
                Ok(())
            }
        }
    }

    fn follow(size: u32, numbers: &[u64]) {
        let (mut window, mut oracle) = (Window::new(size), Oracle::default());
        for &n in numbers {
            let expected = oracle.check(size.into(), n);
            assert_eq!(window.check(n), expected, "check {n}, top {}", window.top());
            if n == 0 {
                continue; // nothing can prove it authentic
            }
            assert_eq!(window.commit(Authentic::for_test(n)), expected, "commit {n}");
            if expected.is_ok() {
                oracle.seen.insert(n);
            }
            assert_eq!(window.top(), oracle.seen.last().copied().unwrap_or(0));
        }
    }

    // R302
    #[test]
    fn corners() {
        for size in [64, 65, 127, 128, 1000, 1024, 65_536, 100_000] {
            let w = u64::from(size);
            follow(size, &[0, 1, 1, w, w + 1, 1, 2, 2, w + 1, 5 * w, 4 * w, 4 * w + 1, 4 * w + 1, 5 * w]);
            let far = (1 << 32) - 3;
            follow(size, &[far, far, far + 1, far + 5, far + 2, far + 5, far - 1, far + w, far, far + 1]);
            follow(size, &[u64::MAX - 1, u64::MAX, u64::MAX, u64::MAX - w, u64::MAX - w + 1]);
        }
        follow(0, &[5, 5, 1, 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        // R302
        #[test]
        fn agrees_with_the_oracle(size in prop_oneof![Just(64u32), Just(1024), 1u32..3000, Just(65_536)],
                                  base in prop_oneof![Just(0u64), Just((1 << 32) - 200), any::<u32>().prop_map(u64::from)],
                                  steps in proptest::collection::vec((0u8..8, 0u64..5000), 1..300)) {
            let mut top = base;
            let numbers: Vec<u64> = steps.into_iter().map(|(kind, d)| {
                match kind {
                    0 => top += d,
                    1 => top += d % 70,
                    _ => {}
                }
                if kind < 2 { top } else { top.saturating_sub(d % (u64::from(size) + 10)) }
            }).collect();
            follow(size, &numbers);
        }

        // R302: whoever sends within half the number space of the top is understood.
        #[test]
        fn extended_numbers_are_inferred(top in 1u64..(1 << 40), size in prop_oneof![Just(64u32), Just(1024), Just(65_536)],
                                         ahead in 0u64..(1 << 31), behind in 0u64..65_536, back: bool) {
            let mut window = Window::new(size);
            window.commit(Authentic::for_test(top)).unwrap();
            let number = if back { top.saturating_sub(behind % u64::from(size)).max(1) } else { top + ahead };
            prop_assert_eq!(window.infer(number as u32), number);
        }

        // R302: what is taken for a number ahead is what the long way takes it for, and leaves the same window behind.
        #[test]
        fn the_short_way_ends_where_the_long_one_does(size in prop_oneof![Just(0u32), Just(64), Just(1024), Just(65_536), 1u32..3000],
                                                      seen in proptest::collection::vec(1u64..(1 << 33), 1..8),
                                                      next in prop_oneof![0u64..200, 65_400u64..65_700, any::<u32>().prop_map(u64::from)]) {
            let mut window = Window::new(size);
            for number in seen {
                let _ = window.commit(Authentic::for_test(number));
            }
            let low = (window.top() + next) as u32;
            let Some(number) = window.ahead(low) else { return Ok(()) };
            prop_assert_eq!(window.infer(low), number);
            prop_assert_eq!(window.check(number), Ok(()));
            let mut long = window.clone();
            let proof = Authentic::for_test(number);
            if window.is_next(&proof) {
                window.advance(proof);
                long.commit(Authentic::for_test(number)).unwrap();
                prop_assert_eq!(window.all(), long.all());
            }
        }
    }

    #[test]
    fn extended_numbers_across_the_wrap() {
        let mut window = Window::new(1024);
        for n in (1u64 << 32) - 40..(1 << 32) + 40 {
            assert_eq!(window.infer(n as u32), n);
            window.commit(Authentic::for_test(n)).unwrap();
        }
        // A late one from before the wrap is still known as a duplicate.
        assert_eq!(window.infer(0xffff_ffff), 0xffff_ffff);
        assert_eq!(window.check(0xffff_ffff), Err(Drop::ReplayDup));
    }
}
