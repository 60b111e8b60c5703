//! What became of first fragments, for the others, which have no ports (RFC 4787 REQ-14, R55).
//!
//! Decides: nothing; it remembers. Reads: the clock of the batch. Writes: its table. Never: holds a packet: a fragment
//! that comes before the first one is dropped under its own name. Grows no further than it is made.

use crate::packet::Packet;
use ravelin_ring::msg::WorkerId;

const SETS: usize = 256;
const WAYS: usize = 4;
/// As long as a receiver waits for the rest (RFC 1122 §3.3.2 allows twice that).
const LIFE_MS: u64 = 30_000;

/// Which packet it is a part of, as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Key {
    pub(crate) src: u32,
    pub(crate) dst: u32,
    pub(crate) protocol: u8,
    pub(crate) id: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// The addresses it went on with.
    Went {
        src: u32,
        dst: u32,
    },
    Handed(WorkerId),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    fate: Fate,
    until: u64,
}

#[derive(Debug)]
pub(crate) struct Fragments {
    sets: Box<[[Entry; WAYS]]>,
    seed: u64,
}

impl Fragments {
    pub(crate) fn new() -> Self {
        let nothing = Entry { key: Key::default(), fate: Fate::Handed(WorkerId(0)), until: 0 };
        let mut seed = [0; 8];
        let _ = getrandom::fill(&mut seed); // without it a stranger may know what displaces what
        Self { sets: vec![[nothing; WAYS]; SETS].into_boxed_slice(), seed: u64::from_ne_bytes(seed) }
    }

    pub(crate) fn get(&self, key: Key, now: u64) -> Option<Fate> {
        let set = self.sets.get(self.place(key))?;
        set.iter().find(|entry| entry.key == key && entry.until > now).map(|entry| entry.fate)
    }

    /// The place of the same packet, or of the oldest one.
    pub(crate) fn put(&mut self, key: Key, fate: Fate, now: u64) {
        let place = self.place(key);
        let Some(set) = self.sets.get_mut(place) else { return };
        let same = set.iter().position(|entry| entry.key == key);
        let oldest = || set.iter().enumerate().min_by_key(|(_, entry)| entry.until).map(|(at, _)| at);
        if let Some(entry) = same.or_else(oldest).and_then(|at| set.get_mut(at)) {
            *entry = Entry { key, fate, until: now.saturating_add(LIFE_MS) };
        }
    }

    #[allow(clippy::cast_possible_truncation)] // the low bits are meant
    fn place(&self, key: Key) -> usize {
        let ends = u64::from(key.src) << 32 | u64::from(key.dst);
        let rest = u64::from(key.protocol) << 16 | u64::from(key.id);
        let product = u128::from(ends ^ self.seed) * u128::from(rest ^ self.seed.rotate_left(32));
        ((product >> 64) as u64 ^ product as u64) as usize % SETS
    }
}

/// Of a fragment: what it is a part of, and its offset.
pub(super) fn fragment(packet: &Packet) -> Option<(Key, u16)> {
    let ip = &packet.meta.ip;
    let header: &[u8; 20] = packet.frame.data().first_chunk().filter(|_| ip.fragment)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let key = Key { src: ip.src, dst: ip.dst, protocol: ip.protocol, id: word(4) };
    Some((key, word(6) & 0x1fff))
}

pub(super) fn first_fragment(packet: &Packet) -> Option<Key> {
    fragment(packet).filter(|(_, offset)| *offset == 0).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_ends_and_is_bounded() {
        let mut fragments = Fragments::new();
        let key = Key { src: 1, dst: 2, protocol: 17, id: 3 };
        fragments.put(key, Fate::Went { src: 9, dst: 2 }, 1000);
        assert_eq!(fragments.get(key, 1000 + LIFE_MS - 1), Some(Fate::Went { src: 9, dst: 2 }));
        assert_eq!(fragments.get(key, 1000 + LIFE_MS), None);
        assert_eq!(fragments.get(Key { id: 4, ..key }, 1000), None);
        for n in 0..100_000u32 {
            fragments.put(Key { src: n, ..key }, Fate::Handed(WorkerId(1)), 2000);
        }
        let left = (0..100_000u32).filter(|n| fragments.get(Key { src: *n, ..key }, 2000).is_some()).count();
        assert_eq!(left, SETS * WAYS, "full, and no more");
    }
}
