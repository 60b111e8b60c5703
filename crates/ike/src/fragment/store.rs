//! Pieces that wait for the rest of their message, and the room for them.
//!
//! Decides: which piece is kept. Reads: authentic pieces. Writes: its own pieces.
//! Never: takes more than its bounds, or forgets to give room back (each piece's lease does that when it is dropped).

use super::Fragment;
use crate::crypto::Wiped;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use zeroize::Zeroizing;

/// Room that several IKE SAs share. Strangers and known peers have one each, so that the former cannot take the
/// latter's.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    used: Arc<AtomicUsize>,
    bytes: usize,
    /// For one message.
    each: usize,
}

impl Room {
    pub(crate) fn new(bytes: usize, each: usize) -> Self {
        Self { used: Arc::new(AtomicUsize::new(0)), bytes, each }
    }

    fn lease(&self, bytes: usize) -> Option<Lease> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let lease = Lease { used: self.used.clone(), bytes };
        // When it is too much, dropping the lease gives it back.
        (before + bytes <= self.bytes).then_some(lease)
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Lease {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What became of a piece.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The rest is missing.
    Kept,
    Whole(Whole),
    /// There is no room for it.
    NoRoom,
}

/// A message put together.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) first: u8,
    pub(crate) plain: Wiped,
    /// Fragment 1 as it came: by it a repeated request is known.
    pub(crate) head: Vec<u8>,
}

/// A message of which some is there.
#[derive(Debug)]
struct Partial {
    id: u32,
    total: u16,
    first: u8,
    head: Vec<u8>,
    pieces: BTreeMap<u16, (Wiped, Lease)>,
    bytes: usize,
    until: Instant,
}

/// The pieces of one IKE SA: of one request and of one answer, as both windows are 1.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    request: Option<Partial>,
    response: Option<Partial>,
}

impl Fragments {
    const fn slot(&mut self, response: bool) -> &mut Option<Partial> {
        if response { &mut self.response } else { &mut self.request }
    }

    /// Asked before the tag is checked: a piece that is there already, or that belongs to a coarser cut of the same
    /// message (RFC 7383 §2.6), is not worth it.
    pub(crate) fn is_news(&mut self, response: bool, id: u32, fragment: Fragment) -> bool {
        self.slot(response).as_ref().is_none_or(|p| {
            p.id != id || fragment.total > p.total || (fragment.total == p.total && !p.has(fragment.number))
        })
    }

    /// Takes an authentic piece; `until` is when the wait for the others ends.
    pub(crate) fn take(
        &mut self,
        (response, id): (bool, u32),
        fragment: Fragment,
        (bytes, piece): (&[u8], Wiped),
        room: &Room,
        until: Instant,
    ) -> Taken {
        let slot = self.slot(response);
        // A finer cut of the message begins anew: the sender found that its first one was too coarse.
        let fits = slot.as_ref().is_some_and(|p| p.id == id && p.total == fragment.total);
        let partial = match slot {
            Some(partial) if fits => partial,
            _ => slot.insert(Partial::new(id, fragment.total, until)),
        };
        let lease = room.lease(piece.len()).filter(|_| partial.bytes + piece.len() <= room.each);
        let Some(lease) = lease else {
            *slot = None;
            return Taken::NoRoom;
        };
        partial.until = until;
        partial.bytes += piece.len();
        if fragment.number == 1 {
            partial.first = fragment.first;
            partial.head = bytes.to_vec();
        }
        partial.pieces.insert(fragment.number, (piece, lease));
        if partial.pieces.len() < usize::from(partial.total) {
            return Taken::Kept;
        }
        slot.take().map_or(Taken::Kept, |p| Taken::Whole(p.join()))
    }

    /// The message is there, by whatever way.
    pub(crate) fn forget(&mut self, response: bool) {
        *self.slot(response) = None;
    }

    /// When the first of them has waited long enough.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        [&self.request, &self.response].into_iter().flatten().map(|p| p.until).min()
    }

    /// How many were given up.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let slots = [&mut self.request, &mut self.response];
        slots.into_iter().filter_map(|slot| slot.take_if(|p| p.until <= now)).count()
    }
}

impl Partial {
    const fn new(id: u32, total: u16, until: Instant) -> Self {
        Self { id, total, first: 0, head: Vec::new(), pieces: BTreeMap::new(), bytes: 0, until }
    }

    fn has(&self, number: u16) -> bool {
        self.pieces.contains_key(&number)
    }

    fn join(self) -> Whole {
        let mut plain = Zeroizing::new(Vec::with_capacity(self.bytes));
        self.pieces.values().for_each(|(piece, _)| plain.extend_from_slice(piece));
        Whole { first: self.first, plain, head: self.head }
    }
}
