//! Hash chains, slots and lists over arrays that are made once: what the store is built of.
//!
//! Never: grows. A slot that does not exist is `NONE`; asking for it does nothing.

pub(super) const NONE: u32 = u32::MAX;

fn filled<T: Clone>(len: usize, with: T) -> Box<[T]> {
    vec![with; len].into_boxed_slice()
}

/// Places of entries by a hash of their keys, which the caller knows.
#[derive(Debug)]
pub(super) struct Index {
    heads: Box<[u32]>,
    next: Box<[u32]>,
}

impl Index {
    pub(super) fn new(slots: usize) -> Self {
        Self { heads: filled(slots.next_power_of_two(), NONE), next: filled(slots, NONE) }
    }

    #[allow(clippy::cast_possible_truncation)] // the low bits are meant
    fn head(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = *self.heads.get(self.head(hash))?;
        while let Some(&next) = self.next.get(at as usize) {
            if is(at) {
                return Some(at);
            }
            at = next;
        }
        None
    }

    /// All that may have this hash.
    pub(super) fn chain(&self, hash: u64) -> impl Iterator<Item = u32> {
        let real = |at: &u32| *at != NONE;
        let first = self.heads.get(self.head(hash)).copied().filter(real);
        std::iter::successors(first, move |at| self.next.get(*at as usize).copied().filter(real))
    }

    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let head = self.head(hash);
        if let (Some(head), Some(next)) = (self.heads.get_mut(head), self.next.get_mut(slot as usize)) {
            *next = std::mem::replace(head, slot);
        }
    }

    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let head = self.head(hash);
        let after = self.next.get(slot as usize).copied().unwrap_or(NONE);
        let Some(first) = self.heads.get_mut(head) else { return };
        if *first == slot {
            *first = after;
            return;
        }
        let mut at = *first;
        while let Some(next) = self.next.get_mut(at as usize) {
            if *next == slot {
                *next = after;
                return;
            }
            at = *next;
        }
    }
}

/// Entries in numbered places.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Box<[T]>,
    free: Vec<u32>,
}

impl<T: Clone + Default> Slab<T> {
    pub(super) fn new(slots: usize) -> Self {
        let free = (0..u32::try_from(slots).unwrap_or(NONE)).rev().collect();
        Self { slots: filled(slots, T::default()), free }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn put(&mut self, entry: T) -> Option<u32> {
        let slot = self.free.pop()?;
        *self.slots.get_mut(slot as usize)? = entry;
        Some(slot)
    }

    pub(super) fn free(&mut self, slot: u32) {
        self.free.push(slot); // as much room as there are slots
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// Doubly linked lists; an entry is in one of them or in none.
#[derive(Debug)]
pub(super) struct Lists {
    /// Before and after.
    links: Box<[(u32, u32)]>,
    /// First and last of each list.
    ends: Box<[(u32, u32)]>,
}

impl Lists {
    pub(super) fn new(lists: usize, slots: usize) -> Self {
        Self { links: filled(slots, (NONE, NONE)), ends: filled(lists, (NONE, NONE)) }
    }

    pub(super) fn first(&self, list: usize) -> Option<u32> {
        self.ends.get(list).map(|ends| ends.0).filter(|slot| *slot != NONE)
    }

    pub(super) fn push(&mut self, list: usize, slot: u32) {
        let Some(ends) = self.ends.get_mut(list) else { return };
        let last = std::mem::replace(&mut ends.1, slot);
        if last == NONE {
            ends.0 = slot;
        }
        if let Some(link) = self.links.get_mut(slot as usize) {
            *link = (last, NONE);
        }
        if let Some(link) = self.links.get_mut(last as usize) {
            link.1 = slot;
        }
    }

    /// Goes before all others.
    pub(super) fn push_first(&mut self, list: usize, slot: u32) {
        let Some(ends) = self.ends.get_mut(list) else { return };
        let first = std::mem::replace(&mut ends.0, slot);
        if first == NONE {
            ends.1 = slot;
        }
        if let Some(link) = self.links.get_mut(slot as usize) {
            *link = (NONE, first);
        }
        if let Some(link) = self.links.get_mut(first as usize) {
            link.0 = slot;
        }
    }

    /// The entry must be in this list.
    pub(super) fn remove(&mut self, list: usize, slot: u32) {
        let Some(&(before, after)) = self.links.get(slot as usize) else { return };
        match self.links.get_mut(before as usize) {
            Some(link) => link.1 = after,
            None => {
                if let Some(ends) = self.ends.get_mut(list) {
                    ends.0 = after;
                }
            }
        }
        match self.links.get_mut(after as usize) {
            Some(link) => link.0 = before,
            None => {
                if let Some(ends) = self.ends.get_mut(list) {
                    ends.1 = before;
                }
            }
        }
    }
}
