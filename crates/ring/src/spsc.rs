//! A single-producer single-consumer ring of fixed-size messages over words of (possibly shared) memory.
//!
//! Decides: nothing about the messages. Every access is atomic, so that another process may write whatever it likes at
//! any time: the worst it can do is to make messages malformed. A slot is copied, wiped (it may have held a key), and
//! only then decoded. Never: blocks, allocates, or goes further than the capacity for an index that cannot be.

use crate::codec::{Buffer, Malformed, Reader, Writer};
use crate::sync::{AtomicU64, Ordering};
use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

/// What travels in a ring: its encoding takes at most `WORDS` words of eight bytes.
#[allow(private_interfaces)] // the codec is this crate's own
pub trait Message: Sized {
    const WORDS: usize;
    #[doc(hidden)]
    fn encode(&self, to: &mut Writer<'_>);
    #[doc(hidden)]
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// The ring has no room now: try again after the other side has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the ring is full")]
pub struct Full;

/// Words 0 and 16 hold the indices (128 bytes apart: two cache lines that prefetch together), the slots follow.
const PRODUCER: usize = 0;
const CONSUMER: usize = 16;
const SLOTS: usize = 32;

/// Words that a ring of `capacity` messages takes.
pub(crate) const fn ring_words<M: Message>(capacity: usize) -> usize {
    SLOTS + capacity * M::WORDS
}

/// The words of one ring and what keeps them alive.
#[derive(Clone)]
pub(crate) struct Words {
    #[cfg(not(loom))]
    at: core::ptr::NonNull<AtomicU64>,
    #[cfg(not(loom))]
    len: usize,
    #[cfg(not(loom))]
    _keep: Arc<dyn core::any::Any + Send + Sync>,
    #[cfg(loom)]
    heap: Arc<Vec<AtomicU64>>,
}

#[cfg(not(loom))]
// SAFETY: the words are atomics, which any thread may use, and `_keep` is Send and Sync.
unsafe impl Send for Words {}
#[cfg(not(loom))]
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    pub(crate) fn on_heap(len: usize) -> Self {
        let heap: Arc<Vec<AtomicU64>> = Arc::new((0..len).map(|_| AtomicU64::new(0)).collect());
        #[cfg(loom)]
        return Self { heap };
        #[cfg(not(loom))]
        {
            let at = core::ptr::NonNull::from(heap.as_slice()).cast();
            Self { at, len, _keep: heap }
        }
    }

    /// # Safety
    /// `at` is aligned and valid for `len` words as long as `keep` lives; all access to them, by whomever, is atomic
    /// or comes from another process.
    #[cfg(not(loom))]
    pub(crate) unsafe fn at(
        at: core::ptr::NonNull<AtomicU64>,
        len: usize,
        keep: Arc<dyn core::any::Any + Send + Sync>,
    ) -> Self {
        Self { at, len, _keep: keep }
    }

    /// # Panics
    /// Outside of the words: a bug of this crate, no input reaches `index`.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        #[cfg(loom)]
        return &self.heap[index];
        #[cfg(not(loom))]
        {
            assert!(index < self.len);
            // SAFETY: within the words (checked), which live as long as `_keep`.
            unsafe { self.at.add(index).as_ref() }
        }
    }
}

/// The common state of both ends.
struct End<M> {
    words: Words,
    capacity: u64,
    /// Our index; the word in memory is for the other side only and never read back.
    at: u64,
    /// The other side's index when last read.
    seen: u64,
    anomalies: u64,
    message: PhantomData<fn() -> M>,
}

impl<M: Message> End<M> {
    /// # Panics
    /// When the capacity is no power of two: a bug of this crate.
    fn new(words: Words, capacity: usize, ours: usize, theirs: usize) -> Self {
        assert!(capacity.is_power_of_two());
        let at = words.word(ours).load(Ordering::Relaxed);
        let seen = words.word(theirs).load(Ordering::Acquire);
        Self { words, capacity: capacity as u64, at, seen, anomalies: 0, message: PhantomData }
    }

    fn slot(&self) -> usize {
        // The remainder is below the capacity, which is an usize.
        SLOTS + usize::try_from(self.at % self.capacity).unwrap_or(0) * M::WORDS
    }
}

/// The writing end. One owner: `&mut self`, no Clone.
pub struct Producer<M> {
    end: End<M>,
}

impl<M: Message> Producer<M> {
    pub(crate) fn new(words: Words, capacity: usize) -> Self {
        Self { end: End::new(words, capacity, PRODUCER, CONSUMER) }
    }

    /// Appends a message; `Full` changes nothing.
    pub fn push(&mut self, message: &M) -> Result<(), Full> {
        if self.room(1) == 0 {
            return Err(Full);
        }
        let mut buffer = Buffer::new();
        message.encode(&mut Writer::new(buffer.bytes(M::WORDS)));
        let slot = self.end.slot();
        for (i, word) in buffer.words().enumerate().take(M::WORDS) {
            self.end.words.word(slot + i).store(word, Ordering::Relaxed);
        }
        self.end.at = self.end.at.wrapping_add(1);
        // Release: whoever sees the index sees the message.
        self.end.words.word(PRODUCER).store(self.end.at, Ordering::Release);
        Ok(())
    }

    /// Messages that fit now, exact when fewer than `want` do.
    pub fn room(&mut self, want: usize) -> usize {
        let end = &mut self.end;
        if end.capacity.saturating_sub(end.at.wrapping_sub(end.seen)) < want as u64 {
            // Acquire: the consumer has copied and wiped the slots that it gives back.
            end.seen = end.words.word(CONSUMER).load(Ordering::Acquire);
        }
        let used = end.at.wrapping_sub(end.seen);
        if used > end.capacity {
            end.anomalies += 1;
            return 0;
        }
        usize::try_from(end.capacity - used).unwrap_or(0)
    }

    /// How often the other side's index was impossible.
    pub fn anomalies(&self) -> u64 {
        self.end.anomalies
    }
}

/// The reading end. One owner: `&mut self`, no Clone.
pub struct Consumer<M> {
    end: End<M>,
}

impl<M: Message> Consumer<M> {
    pub(crate) fn new(words: Words, capacity: usize) -> Self {
        Self { end: End::new(words, capacity, CONSUMER, PRODUCER) }
    }

    /// Takes the next message. `None`: there is none now. A malformed one is gone, too; the ring goes on.
    pub fn pop(&mut self) -> Option<Result<M, Malformed>> {
        let end = &mut self.end;
        if end.seen == end.at {
            // Acquire: the messages up to this index are complete.
            end.seen = end.words.word(PRODUCER).load(Ordering::Acquire);
        }
        let waiting = end.seen.wrapping_sub(end.at);
        if waiting > end.capacity {
            end.anomalies += 1;
            end.seen = end.at; // look again next time
            return None;
        }
        if waiting == 0 {
            return None;
        }
        let slot = end.slot();
        let mut buffer = Buffer::new();
        for i in 0..M::WORDS {
            let word = end.words.word(slot + i);
            buffer.set_word(i, word.load(Ordering::Relaxed));
            word.store(0, Ordering::Relaxed); // it may have been a key
        }
        end.at = end.at.wrapping_add(1);
        // Release: the slot is copied and wiped before the producer gets it back.
        end.words.word(CONSUMER).store(end.at, Ordering::Release);
        Some(M::decode(&mut Reader::new(buffer.bytes(M::WORDS))))
    }

    /// How often the other side's index was impossible.
    pub fn anomalies(&self) -> u64 {
        self.end.anomalies
    }
}

/// Both ends over memory of this process: for tests and for threads.
///
/// # Panics
/// When the capacity is no power of two.
pub fn in_process<M: Message>(capacity: usize) -> (Producer<M>, Consumer<M>) {
    let words = Words::on_heap(ring_words::<M>(capacity));
    (Producer::new(words.clone(), capacity), Consumer::new(words, capacity))
}

impl<M> fmt::Debug for Producer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer(at {}, seen {})", self.end.at, self.end.seen)
    }
}

impl<M> fmt::Debug for Consumer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer(at {}, seen {})", self.end.at, self.end.seen)
    }
}

#[cfg(test)]
mod tests;
