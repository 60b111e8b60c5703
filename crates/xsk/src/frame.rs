//! One owned frame: a chunk of the UMEM with the packet somewhere inside.
//!
//! Decides: where the packet starts and ends within its chunk. Never: leaves the chunk.

use core::fmt;
use core::mem;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering};

/// Frames that were dropped instead of given back, in this process.
static LEAKED: AtomicU64 = AtomicU64::new(0);

/// How many frames were dropped outside of a pool since the process started. Each is lost until it ends.
pub fn leaked_frames() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// Exclusive owner of one chunk. Not `Clone`; give it to a pool, a socket or another worker. Dropping it loses the
/// chunk (see [`leaked_frames`]), which is a bug but never unsafe.
pub struct Frame {
    chunk: NonNull<u8>,
    index: u32,
    /// The packet is `chunk[start..start + len]`; `start + len <= size` always.
    start: u16,
    len: u16,
    size: u16,
    /// Bytes before the packet in a fresh frame.
    room: u16,
}

const _: () = assert!(size_of::<Frame>() == 24);

// SAFETY: a Frame is the only owner of its chunk (the pools and sockets hand out each chunk once), so moving it to
// another thread moves all access along.
unsafe impl Send for Frame {}
// SAFETY: shared access only reads bytes that nobody writes while the Frame is borrowed.
unsafe impl Sync for Frame {}

impl Frame {
    /// # Safety
    /// `chunk` is the start of `size` initialised bytes that live for as long as any Frame of their UMEM, and no
    /// other Frame, nor the kernel, uses them.
    pub(crate) unsafe fn new(chunk: NonNull<u8>, index: u32, size: u16, room: u16) -> Self {
        Self { chunk, index, start: room, len: 0, size, room }
    }

    /// No frame: empty, and without room. What an empty place in a row of packets holds.
    #[inline]
    pub const fn none() -> Self {
        Self { chunk: NonNull::dangling(), index: u32::MAX, start: 0, len: 0, size: 0, room: 0 }
    }

    /// The frame, with none left in its place.
    #[inline]
    #[must_use]
    pub const fn take(&mut self) -> Self {
        let Self { chunk, index, start, len, size, room } = *self;
        // As in `none`, but for the address: without room any will do.
        (self.index, self.start, self.len, self.size, self.room) = (u32::MAX, 0, 0, 0, 0);
        Self { chunk, index, start, len, size, room }
    }

    /// Sets where the packet lies; false when that is outside of the chunk.
    #[must_use]
    pub(crate) fn place(&mut self, start: usize, len: usize) -> bool {
        let (Ok(s), Ok(l)) = (u16::try_from(start), u16::try_from(len)) else { return false };
        if start + len > usize::from(self.size) {
            return false;
        }
        (self.start, self.len) = (s, l);
        true
    }

    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: `start + len <= size` (kept by every method), the chunk is initialised, alive and ours alone. Without
        // a chunk the size is 0, and any aligned address will do for no bytes.
        unsafe { slice::from_raw_parts(self.chunk.as_ptr().add(self.start.into()), self.len.into()) }
    }

    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.chunk.as_ptr().add(self.start.into()), self.len.into()) }
    }

    /// The bytes of the packet behind the first `skip`, none when there are not so many.
    #[inline]
    pub fn data_from_mut(&mut self, skip: u16) -> &mut [u8] {
        let (start, skip) = (usize::from(self.start), usize::from(skip));
        let len = usize::from(self.len).saturating_sub(skip);
        // SAFETY: as in `data_mut`, of which it is the end when `skip` is within the packet; no bytes otherwise, for which
        // any address will do.
        unsafe { slice::from_raw_parts_mut(self.chunk.as_ptr().wrapping_add(start + skip), len) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// [`Self::len`] as it is kept.
    #[inline]
    pub fn len16(&self) -> u16 {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that [`Self::push_front`] can still give.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.start.into()
    }

    /// Bytes that [`Self::extend`] can still give.
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.size) - usize::from(self.start) - usize::from(self.len)
    }

    /// Bytes of the whole chunk.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.size.into()
    }

    /// Grows the packet by `n` bytes at its front, with whatever they held before. False, and no change, when there
    /// is no room.
    #[inline]
    #[must_use]
    pub fn push_front(&mut self, n: usize) -> bool {
        match u16::try_from(n) {
            Ok(n) if n <= self.start => {
                self.start -= n;
                self.len += n;
                true
            }
            _ => false,
        }
    }

    /// Takes `n` bytes off the front. False, and no change, when the packet is shorter.
    #[inline]
    #[must_use]
    pub fn pull_front(&mut self, n: usize) -> bool {
        match u16::try_from(n) {
            Ok(n) if n <= self.len => {
                self.start += n;
                self.len -= n;
                true
            }
            _ => false,
        }
    }

    /// Grows the packet by `n` bytes at its end, with whatever they held before. False, and no change, when there is
    /// no room.
    #[inline]
    #[must_use]
    pub fn extend(&mut self, n: usize) -> bool {
        if n > self.tailroom() {
            return false;
        }
        // Fits: n <= tailroom <= size, which is an u16.
        self.len += u16::try_from(n).unwrap_or(0);
        true
    }

    /// Whether [`Self::grow`] has the room.
    #[inline]
    pub fn can_grow(&self, front: u16, back: u16) -> bool {
        let end = u32::from(self.start) + u32::from(self.len) + u32::from(back);
        front <= self.start && end <= u32::from(self.size)
    }

    /// Grows the packet at both ends, as [`Self::push_front`] and [`Self::extend`] do.
    #[inline]
    #[must_use]
    pub fn grow(&mut self, front: u16, back: u16) -> bool {
        if !self.can_grow(front, back) {
            return false;
        }
        // From start to the new end there is room, and start and size are u16.
        self.start -= front;
        self.len = self.len.wrapping_add(front).wrapping_add(back);
        true
    }

    /// Cuts the packet to at most `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = u16::try_from(len).map_or(self.len, |l| self.len.min(l));
    }

    /// Keeps `len` bytes of the packet, from its byte `front` on. False, and no change, when it has not so many.
    #[inline]
    #[must_use]
    pub fn narrow(&mut self, front: u16, len: u16) -> bool {
        if usize::from(front) + usize::from(len) > usize::from(self.len) {
            return false;
        }
        // Within the old packet, which lies within the chunk.
        (self.start, self.len) = (self.start.wrapping_add(front), len);
        true
    }

    /// Back to an empty packet behind the full headroom.
    #[inline]
    pub fn reset(&mut self) {
        (self.start, self.len) = (self.room, 0);
    }

    /// Number of the chunk in the UMEM.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn chunk(&self) -> NonNull<u8> {
        self.chunk
    }

    pub(crate) fn start(&self) -> usize {
        self.start.into()
    }

    /// Gives up ownership without counting a leak: the caller remembers the index.
    pub(crate) fn into_index(self) -> u32 {
        let index = self.index;
        mem::forget(self);
        index
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        if self.size != 0 {
            count_leak();
        }
    }
}

#[cold]
fn count_leak() {
    LEAKED.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Debug for Frame {
    /// No content: packets are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} at {}+{})", self.index, self.start, self.len)
    }
}
