//! One single-producer single-consumer ring shared with the kernel.
//!
//! Decides: how far our side may go. The kernel's index is checked each time it is read: one that cannot be counts as
//! an anomaly and means "nothing to do". Never: waits.

use crate::{Error, sys};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io;
use std::os::fd::BorrowedFd;

/// Which side of the ring is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Producer,
    Consumer,
}

/// A ring of `T` (an address or a descriptor).
pub(crate) struct Ring<T> {
    side: Side,
    theirs: NonNull<AtomicU32>,
    ours: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
    /// Our index, not yet published beyond `published`.
    at: u32,
    published: u32,
    /// Their index when last read.
    seen: u32,
    /// How often their index was impossible.
    pub(crate) anomalies: u64,
    mapping: Option<(NonNull<u8>, usize)>,
}

// SAFETY: the pointers name memory that this Ring alone uses from our side (shared with the kernel, which keeps to the
// ring protocol); moving the Ring moves all access along.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps the ring `pgoff` of a socket, whose parts lie at `offset`.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        side: Side,
        size: u32,
        offset: &libc::xdp_ring_offset,
        pgoff: libc::off_t,
    ) -> Result<Self, Error> {
        let bad = || Error::of("reading the ring layout", io::ErrorKind::InvalidData.into());
        let at = |o: u64, bytes: usize, align: usize| {
            let o = usize::try_from(o).ok()?;
            (o % align == 0).then_some(o)?.checked_add(bytes).map(|end| (o, end))
        };
        let slot_bytes = size_of::<T>().checked_mul(size as usize).ok_or_else(bad)?;
        let (slots, len) = at(offset.desc, slot_bytes, align_of::<T>()).ok_or_else(bad)?;
        let mut index = [0; 3];
        for (place, o) in index.iter_mut().zip([offset.producer, offset.consumer, offset.flags]) {
            let (start, end) = at(o, 4, 4).ok_or_else(bad)?;
            if end > len {
                return Err(bad());
            }
            *place = start;
        }
        let base = sys::map_ring(fd, len, pgoff).map_err(|e| Error::of("mapping an AF_XDP ring", e))?;
        let [producer, consumer, flags] = index;
        // SAFETY: all offsets plus their sizes lie within `len`, checked above, and are aligned; the mapping lives as
        // long as the Ring (unmapped in Drop).
        unsafe {
            let mut ring = Self::over(
                side,
                size,
                base.add(producer).cast(),
                base.add(consumer).cast(),
                base.add(flags).cast(),
                base.add(slots).cast(),
            );
            ring.mapping = Some((base, len));
            Ok(ring)
        }
    }

    /// # Safety
    /// The pointers are aligned, valid for reads and writes (`slots` for `size` values) as long as the Ring lives; on
    /// our side nobody else uses them. `size` is a power of two.
    pub(crate) unsafe fn over(
        side: Side,
        size: u32,
        producer: NonNull<AtomicU32>,
        consumer: NonNull<AtomicU32>,
        flags: NonNull<AtomicU32>,
        slots: NonNull<T>,
    ) -> Self {
        let (ours, theirs) = match side {
            Side::Producer => (producer, consumer),
            Side::Consumer => (consumer, producer),
        };
        // SAFETY: valid pointers, the caller's promise.
        let (at, seen) =
            unsafe { (ours.as_ref().load(Ordering::Relaxed), theirs.as_ref().load(Ordering::Acquire)) };
        Self { side, theirs, ours, flags, slots, size, at, published: at, seen, anomalies: 0, mapping: None }
    }

    /// Slots that we may write (producer) or read (consumer) now. Reads the kernel's index only if fewer than `want`
    /// are known of.
    #[inline]
    pub(crate) fn ready(&mut self, want: u32) -> u32 {
        let known = self.known();
        if known >= want {
            return known;
        }
        // SAFETY: valid for the life of the Ring. Acquire: what the kernel did to the slots before it moved its index
        // is visible to us.
        self.seen = unsafe { self.theirs.as_ref() }.load(Ordering::Acquire);
        self.known()
    }

    #[inline]
    fn known(&mut self) -> u32 {
        // Of a producer: at - seen are in use. Of a consumer: seen - at are waiting. Neither can exceed the size.
        let distance = match self.side {
            Side::Producer => self.at.wrapping_sub(self.seen),
            Side::Consumer => self.seen.wrapping_sub(self.at),
        };
        match (distance <= self.size, self.side) {
            (true, Side::Producer) => self.size - distance,
            (true, Side::Consumer) => distance,
            (false, _) => {
                self.anomalies += 1;
                0
            }
        }
    }

    /// Writes the next slot. Call only after [`Self::ready`] said that there is one.
    #[inline]
    pub(crate) fn put(&mut self, value: T) {
        debug_assert!(self.side == Side::Producer);
        // SAFETY: masked, so within the `size` slots; the kernel reads a slot only after `publish`.
        unsafe { self.slots.add((self.at & (self.size - 1)) as usize).write_volatile(value) };
        self.at = self.at.wrapping_add(1);
    }

    /// Reads the next slot. Call only after [`Self::ready`] said that there is one.
    #[inline]
    pub(crate) fn take(&mut self) -> T {
        debug_assert!(self.side == Side::Consumer);
        // SAFETY: masked, so within the `size` slots; any bytes are a `T` (integers). Volatile: read exactly once,
        // what is checked is what is used.
        let value = unsafe { self.slots.add((self.at & (self.size - 1)) as usize).read_volatile() };
        self.at = self.at.wrapping_add(1);
        value
    }

    /// Shows our progress to the kernel.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.at != self.published {
            self.published = self.at;
            // SAFETY: valid for the life of the Ring. Release: the slots are written (or read) before the index moves.
            unsafe { self.ours.as_ref() }.store(self.at, Ordering::Release);
        }
    }

    /// The kernel sleeps and wants a system call.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        // SAFETY: valid for the life of the Ring.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Published slots that the kernel has not taken yet (producer).
    pub(crate) fn outstanding(&mut self) -> u32 {
        self.size - self.ready(self.size)
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if let Some((base, len)) = self.mapping {
            // SAFETY: our own mapping; the pointers into it die with the Ring. Without this the queue stays busy
            // after the socket was closed.
            unsafe { sys::unmap(base, len) };
        }
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("side", &self.side)
            .field("size", &self.size)
            .field("at", &self.at)
            .field("seen", &self.seen)
            .field("anomalies", &self.anomalies)
            .finish_non_exhaustive()
    }
}
