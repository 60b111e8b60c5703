//! Free frames of one worker.
//!
//! Decides: which free frame is used next (the one freed last: it is still in the cache).
//! Never: is shared between threads; frames of other pools wait in `foreign` until the owner sends them home.

use crate::{Frame, Umem};
use core::fmt;
use std::sync::Arc;

/// Owner of free frames; every frame has one home pool.
pub struct FramePool {
    umem: Arc<Umem>,
    home: u16,
    per_pool: u32,
    /// Chunks that this pool owns, by index: no Frame of them exists.
    free: Vec<u32>,
    /// Chunks at home elsewhere, owned by this pool until taken with [`Self::take_foreign`].
    foreign: Vec<u32>,
}

impl FramePool {
    pub(crate) fn new(umem: Arc<Umem>, home: u16, per_pool: u32) -> Self {
        let first = u32::from(home) * per_pool;
        // Room for every frame of the UMEM, so that no `free` allocates.
        let all = umem.frames() as usize;
        let mut free = Vec::with_capacity(all);
        free.extend((first..first + per_pool).rev());
        Self { umem, home, per_pool, free, foreign: Vec::with_capacity(all) }
    }

    /// An empty frame with full headroom; `None`: none is left, drop the packet as `no_frame`.
    #[inline]
    pub fn alloc(&mut self) -> Option<Frame> {
        let index = self.free.pop()?;
        // SAFETY: the index was in `free`, so this pool owned the chunk; now the Frame does.
        unsafe { self.umem.frame(index) }
    }

    /// Takes a frame back. One of another pool is kept aside, see [`Self::take_foreign`]; one of another UMEM is lost
    /// and counted as leaked.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        if !self.umem.owns(&frame) {
            return;
        }
        let index = frame.into_index();
        // As `home_of`, without its division.
        let ours = index.wrapping_sub(u32::from(self.home) * self.per_pool) < self.per_pool;
        if ours { self.free.push(index) } else { self.foreign.push(index) }
    }

    /// A frame that belongs to another pool; [`Self::home_of`] tells to which. Its owner sends it there.
    pub fn take_foreign(&mut self) -> Option<Frame> {
        let index = self.foreign.pop()?;
        // SAFETY: the index was in `foreign`, so this pool owned the chunk; now the Frame does.
        unsafe { self.umem.frame(index) }
    }

    /// The pool where the frame is at home.
    #[inline]
    pub fn home_of(&self, frame: &Frame) -> u16 {
        u16::try_from(frame.index() / self.per_pool).unwrap_or(u16::MAX)
    }

    #[inline]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Frames of other pools that wait to be sent home.
    #[inline]
    pub fn foreign(&self) -> usize {
        self.foreign.len()
    }

    pub fn home(&self) -> u16 {
        self.home
    }

    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        self.umem.give_back(self.free.len() + self.foreign.len());
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool")
            .field("home", &self.home)
            .field("available", &self.free.len())
            .field("foreign", &self.foreign.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UmemConfig;
    use std::collections::VecDeque;

    fn umem(frames: u32) -> Arc<Umem> {
        Umem::new(UmemConfig { frames, ..UmemConfig::default() }).unwrap()
    }

    #[test]
    fn every_frame_is_handed_out_once_and_knows_its_home() {
        let umem = umem(10);
        let mut pools = umem.pools(3);
        let mut seen = Vec::new();
        for pool in &mut pools {
            assert_eq!(pool.available(), 3);
            while let Some(frame) = pool.alloc() {
                assert_eq!(pool.home_of(&frame), pool.home());
                assert_eq!((frame.headroom(), frame.len(), frame.tailroom()), (256, 0, 1792));
                seen.push(frame);
            }
        }
        let mut indices: Vec<_> = seen.iter().map(Frame::index).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..9).collect::<Vec<_>>(), "one frame remains unused, none comes twice");
        for frame in seen {
            pools[1].free(frame);
        }
        assert_eq!((pools[1].available(), pools[1].foreign()), (3, 6));
        let mut home = VecDeque::new();
        while let Some(frame) = pools[1].take_foreign() {
            home.push_back(frame);
        }
        for frame in home {
            let to = usize::from(pools[1].home_of(&frame));
            pools[to].free(frame);
        }
        assert!(pools.iter().all(|p| p.available() == 3 && p.foreign() == 0));
    }

    #[test]
    fn no_frame_is_empty_and_stays_so() {
        let mut pool = umem(2).pools(1).remove(0);
        let mut frame = pool.alloc().unwrap();
        assert!(frame.extend(8) && frame.grow(4, 4) && !frame.grow(253, 0) && !frame.grow(0, 1781));
        assert_eq!((frame.len(), frame.headroom()), (16, 252));
        let whole = frame.take();
        assert_eq!(whole.len(), 16);
        assert!(frame.is_empty() && frame.data().is_empty() && frame.data_mut().is_empty());
        assert!(!frame.extend(1) && !frame.push_front(1) && !frame.grow(1, 1) && frame.grow(0, 0));
        frame.reset();
        assert_eq!((frame.len(), frame.capacity()), (0, 0));
        let before = pool.available();
        pool.free(frame);
        assert_eq!(pool.available(), before, "it belongs to no pool");
        pool.free(whole);
    }

    #[test]
    fn a_frame_never_leaves_its_chunk() {
        let umem = umem(2);
        let mut pool = umem.pools(1).remove(0);
        let mut frame = pool.alloc().unwrap();
        assert!(frame.extend(1792) && !frame.extend(1));
        assert!(frame.push_front(256) && !frame.push_front(1));
        assert_eq!((frame.len(), frame.headroom(), frame.tailroom()), (2048, 0, 0));
        frame.data_mut().fill(0xa5);
        assert!(!frame.pull_front(2049) && !frame.pull_front(usize::MAX) && !frame.push_front(usize::MAX));
        assert!(frame.pull_front(2048) && frame.is_empty());
        assert!(!frame.extend(1), "all room is at the front now");
        frame.reset();
        assert_eq!((frame.headroom(), frame.tailroom()), (256, 1792));
        assert!(frame.extend(100));
        frame.truncate(usize::MAX);
        assert_eq!(frame.len(), 100);
        frame.truncate(40);
        assert_eq!(frame.len(), 40);
        assert!(frame.data().iter().all(|b| *b == 0xa5));
        let other = pool.alloc().unwrap();
        assert!(pool.alloc().is_none());
        assert!(!frame.data().is_empty() && other.is_empty());
        pool.free(frame);
        pool.free(other);
    }

    #[test]
    fn frames_outlive_their_umem_and_foreign_umems_are_refused() {
        let mut pool = umem(2).pools(1).remove(0);
        let mut frame = pool.alloc().unwrap();
        assert!(frame.extend(64));
        drop(pool); // the last Arc of the UMEM: the mapping must stay, a frame is out
        frame.data_mut().fill(7);
        let mut stranger = umem(2).pools(1).remove(0);
        let before = crate::leaked_frames();
        stranger.free(frame);
        assert_eq!(stranger.available(), 2);
        assert!(crate::leaked_frames() > before);
    }

    #[test]
    #[should_panic(expected = "once")]
    fn a_umem_is_cut_once() {
        let umem = umem(4);
        let _pools = umem.pools(2);
        let _again = umem.pools(2);
    }

    #[test]
    fn nonsense_is_refused() {
        for config in [
            UmemConfig { frames: 0, ..UmemConfig::default() },
            UmemConfig { frame_size: 1024, ..UmemConfig::default() },
            UmemConfig { headroom: 0, ..UmemConfig::default() },
            UmemConfig { headroom: 2000, ..UmemConfig::default() },
        ] {
            assert!(Umem::new(config).is_err(), "{config:?}");
        }
    }
}
