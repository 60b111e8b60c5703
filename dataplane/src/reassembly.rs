//! Fragments of ESP, of AH and of ESP in UDP on their way to this gateway, joined before the SA is asked (RFC 4303 §3.4.1,
//! R158).
//!
//! Decides: which fragments belong together, and that a datagram is complete, hopeless or too old. Reads: the IP headers of
//! each fragment, the clock of the batch. Writes: frames out of batches, and one whole packet back into the batch.
//! Never: joins fragments that overlap (RFC 5722, for IPv4 too); holds more frames than its bounds say; lets one source push
//! out what others have under way; counts a fragment twice; takes a later fragment in UDP, which hides its ports, unless
//! the first one is there, which told them.
//!
//! A fragment that waits is `Held`; when its datagram ends it is `Released`, and `Consumed` or dropped for a reason.

mod piece;

use crate::clock::Now;
use crate::packet::Packet;
use crate::stats::Stats;
use crate::verdict::Verdict;
use piece::{Key, Piece, Place};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::VrfId;
use ravelin_wire::protocol;
use ravelin_xsk::{Frame, FramePool};

/// Datagrams under way. A peer's are whole within the time of one round trip.
const MAX_DATAGRAMS: usize = 64;
/// Fragments of one: what does not fit into a frame when it is whole is refused anyway.
const MAX_PARTS: usize = 8;
/// Frames that wait together: a small part of the smallest pool.
const MAX_FRAMES: usize = 256;
/// RFC 791 §3.2 recommends it as the lower bound; the 60 s of RFC 8200 §4.5 are for hosts that wait for anybody.
const PATIENCE_MS: u64 = 15_000;

#[derive(Debug)]
struct Part {
    place: Place,
    frame: Frame,
    header: usize,
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    until: u64,
    /// Something overlapped: what comes of it until its time is over is refused.
    spoilt: bool,
    /// In the order of their places.
    parts: Vec<Part>,
}

/// One per worker.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// In the order of their ends.
    datagrams: Vec<Datagram>,
    frames: usize,
}

/// What a new fragment does to its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    /// Goes in at this index.
    At(usize),
    /// There already, the very same.
    Again,
    /// Over another one, or beyond the end.
    Over,
}

impl Reassembly {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Takes the fragment in, whose frame begins with the IP header. With the last one missing, `packet` becomes the whole
    /// datagram and stays pending; else its verdict is `Held`.
    #[cold]
    pub(crate) fn take(
        &mut self,
        packet: &mut Packet,
        pool: &mut FramePool,
        stats: &mut Stats,
        now: Now,
    ) -> Result<(), Drop> {
        self.expire(pool, stats, now);
        let piece = Piece::of(packet)?;
        let Piece { key, place, header } = piece;
        if piece.is_atomic() {
            // Whatever waits under the same number is another's (RFC 6946 §4).
            return piece::finish(&mut packet.frame, packet.meta.ip.v6).ok_or(Drop::Malformed);
        }
        let at = match self.datagrams.iter().position(|d| d.key == key) {
            Some(at) => at,
            None => self.begin(key, pool, stats, now),
        };
        let datagram = self.datagrams.get_mut(at).ok_or(Drop::FragmentFlood)?;
        if datagram.spoilt {
            return Err(Drop::FragmentOverlap);
        }
        let index = match datagram.fit(place) {
            Fit::At(index) => index,
            // RFC 8200 §4.5 lets exact duplicates be ignored.
            Fit::Again => return Err(Drop::FragmentDuplicate),
            Fit::Over => {
                datagram.spoilt = true;
                let parts = std::mem::take(&mut datagram.parts);
                self.release(parts, pool, stats, Some(Drop::FragmentOverlap));
                return Err(Drop::FragmentOverlap);
            }
        };
        if datagram.parts.len() >= MAX_PARTS {
            return Err(Drop::FragmentFlood);
        }
        datagram.parts.insert(index, Part { place, frame: packet.frame.take(), header });
        if datagram.is_whole() {
            let parts = self.datagrams.remove(at).parts;
            return self.join(parts, packet, pool, stats);
        }
        self.frames += 1;
        packet.verdict = Verdict::Held;
        while self.frames > MAX_FRAMES {
            self.evict(pool, stats);
        }
        Ok(())
    }

    /// A later fragment in UDP of which no first one is here: the kernel's, or nobody's.
    #[cold]
    pub(crate) fn is_foreign(&self, packet: &Packet) -> bool {
        packet.meta.ip.protocol == protocol::UDP
            && Piece::of(packet).is_ok_and(|piece| {
                piece.place.from != 0 && !self.datagrams.iter().any(|d| d.key == piece.key)
            })
    }

    /// Drops what has waited too long.
    pub(crate) fn expire(&mut self, pool: &mut FramePool, stats: &mut Stats, now: Now) {
        while self.datagrams.first().is_some_and(|d| d.until <= now.ms) {
            self.forget(0, pool, stats, Drop::FragmentTimeout);
        }
    }

    fn begin(&mut self, key: Key, pool: &mut FramePool, stats: &mut Stats, now: Now) -> usize {
        if self.datagrams.len() >= MAX_DATAGRAMS {
            self.evict(pool, stats);
        }
        let until = now.ms.saturating_add(PATIENCE_MS);
        self.datagrams.push(Datagram { key, until, spoilt: false, parts: Vec::new() });
        self.datagrams.len() - 1
    }

    /// The oldest datagram of the source that has most under way: a flood pushes out its own.
    fn evict(&mut self, pool: &mut FramePool, stats: &mut Stats) {
        let weight = |sender: (VrfId, bool, u128)| {
            let of = self.datagrams.iter().filter(move |d| d.key.sender() == sender);
            of.map(|d| 1 + d.parts.len()).sum::<usize>()
        };
        // The first of the heaviest: `max_by_key` would find the last.
        let heaviest = self.datagrams.iter().map(|d| weight(d.key.sender())).max();
        let at = self.datagrams.iter().position(|d| Some(weight(d.key.sender())) == heaviest);
        self.forget(at.unwrap_or(0), pool, stats, Drop::FragmentFlood);
    }

    fn forget(&mut self, at: usize, pool: &mut FramePool, stats: &mut Stats, why: Drop) {
        if at < self.datagrams.len() {
            let datagram = self.datagrams.remove(at);
            self.release(datagram.parts, pool, stats, Some(why));
        }
    }

    /// Sends home what was held.
    fn release(&mut self, parts: Vec<Part>, pool: &mut FramePool, stats: &mut Stats, why: Option<Drop>) {
        for part in parts {
            self.frames = self.frames.saturating_sub(1);
            stats.count(Counter::Released);
            match why {
                Some(why) => stats.drop(why),
                None => stats.count(Counter::Consumed),
            }
            pool.free(part.frame);
        }
    }

    /// `packet`, which was the last one missing, becomes the whole, in the frame of the first; the others are done with.
    fn join(
        &mut self,
        mut parts: Vec<Part>,
        packet: &mut Packet,
        pool: &mut FramePool,
        stats: &mut Stats,
    ) -> Result<(), Drop> {
        let joined = put_together(&mut parts, packet.meta.ip.v6);
        packet.frame = parts.remove(0).frame;
        self.release(parts, pool, stats, joined.err());
        joined
    }
}

impl Datagram {
    fn fit(&self, new: Place) -> Fit {
        if self.parts.iter().any(|p| p.place == new) {
            return Fit::Again;
        }
        let index = self.parts.iter().filter(|p| p.place.from < new.from).count();
        let (before, after) = self.parts.split_at(index);
        let clear = before.last().is_none_or(|p| p.place.to <= new.from && !p.place.last)
            && after.first().is_none_or(|p| new.to <= p.place.from && !new.last);
        if clear { Fit::At(index) } else { Fit::Over }
    }

    fn is_whole(&self) -> bool {
        let mut end = 0;
        let contiguous = self.parts.iter().all(|p| std::mem::replace(&mut end, p.place.to) == p.place.from);
        contiguous && self.parts.last().is_some_and(|p| p.place.last)
    }
}

/// All payloads behind the first one's header, in its frame.
fn put_together(parts: &mut [Part], v6: bool) -> Result<(), Drop> {
    let (first, others) = parts.split_first_mut().ok_or(Drop::Malformed)?;
    for part in others {
        let payload = part.frame.data().get(part.header..).unwrap_or_default();
        let at = first.frame.len();
        if !first.frame.extend(payload.len()) {
            return Err(Drop::FrameTooSmall);
        }
        first.frame.data_mut().get_mut(at..).ok_or(Drop::FrameTooSmall)?.copy_from_slice(payload);
    }
    piece::finish(&mut first.frame, v6).ok_or(Drop::FrameTooSmall)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // numbers of tests are small
mod tests;
