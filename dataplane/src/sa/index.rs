//! A small map from `u32` to `u32` for look-ups per packet: open addressing, at most half full, removal without
//! tombstones. Keys are chosen by this gateway (SPIs, tunnel numbers), so nobody outside can make them collide.

#[derive(Debug)]
pub(crate) struct IndexMap {
    /// Key and value; `EMPTY` values are free places.
    slots: Box<[(u32, u32)]>,
    shift: u32,
    len: usize,
    capacity: usize,
}

const EMPTY: u32 = u32::MAX;

impl IndexMap {
    /// Room for `capacity` keys, taken once.
    pub(crate) fn new(capacity: usize) -> Self {
        let size = (capacity.max(4) * 2).next_power_of_two();
        let mut slots = ravelin_xsk::with_room(size);
        slots.resize(size, (0, EMPTY));
        Self {
            slots: slots.into_boxed_slice(),
            shift: 32 - size.trailing_zeros().min(32),
            len: 0,
            capacity: capacity.max(4),
        }
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    #[inline]
    fn home(&self, key: u32) -> usize {
        // Fibonacci hashing: the high bits of the product depend on all bits of the key.
        (key.wrapping_mul(0x9e37_79b9) >> self.shift) as usize
    }

    #[inline]
    pub(crate) fn get(&self, key: u32) -> Option<u32> {
        let mut at = self.home(key);
        loop {
            let &(k, v) = self.slots.get(at)?;
            if v == EMPTY {
                return None;
            }
            if k == key {
                return Some(v);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Brings the key's place into the cache without waiting for it.
    #[inline]
    pub(crate) fn touch(&self, key: u32) {
        if let Some(slot) = self.slots.get(self.home(key)) {
            ravelin_xsk::prefetch(slot);
        }
    }

    /// False: no room. An old value of the key is replaced.
    pub(crate) fn insert(&mut self, key: u32, value: u32) -> bool {
        debug_assert_ne!(value, EMPTY);
        let mut at = self.home(key);
        loop {
            match self.slots[at] {
                (_, EMPTY) if self.len >= self.capacity => return false,
                (_, EMPTY) => {
                    self.slots[at] = (key, value);
                    self.len += 1;
                    return true;
                }
                (k, _) if k == key => {
                    self.slots[at].1 = value;
                    return true;
                }
                _ => at = (at + 1) & self.mask(),
            }
        }
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<u32> {
        let mut at = self.home(key);
        let value = loop {
            match self.slots[at] {
                (_, EMPTY) => return None,
                (k, v) if k == key => break v,
                _ => at = (at + 1) & self.mask(),
            }
        };
        self.close_gap(at);
        self.len -= 1;
        Some(value)
    }

    /// Moves later entries of the run back, so that no search stops too early at `gap`.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.mask();
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let (key, value) = self.slots[at];
            if value == EMPTY {
                break;
            }
            let home = self.home(key);
            // The entry may move when its home is not inside (gap, at].
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = (key, value);
                gap = at;
            }
        }
        self.slots[gap].1 = EMPTY;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        // Few distinct keys with equal high bits: long runs, many removals inside them.
        #[test]
        fn agrees_with_a_hash_map(ops in proptest::collection::vec((0u8..3, 0u32..40, 0u32..1000), 1..200)) {
            let mut map = IndexMap::new(16);
            let mut oracle: HashMap<u32, u32> = HashMap::new();
            for (op, key, value) in ops {
                let key = key.wrapping_mul(0x0800_0001);
                match op {
                    0 => {
                        let fits = oracle.len() < 16 || oracle.contains_key(&key);
                        prop_assert_eq!(map.insert(key, value), fits);
                        if fits { oracle.insert(key, value); }
                    }
                    1 => prop_assert_eq!(map.remove(key), oracle.remove(&key)),
                    _ => prop_assert_eq!(map.get(key), oracle.get(&key).copied()),
                }
                prop_assert_eq!(map.len(), oracle.len());
            }
            for (k, v) in oracle { prop_assert_eq!(map.get(k), Some(v)); }
        }
    }
}
