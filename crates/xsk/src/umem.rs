//! The region of frames that all sockets of the process share.
//!
//! Decides: how it is mapped (huge pages when asked for and there). Reads and writes: nothing inside it.
//! Never: unmaps while a frame may still be used.

use crate::{Error, Frame, FramePool, sys};
use core::fmt;
use core::ptr::NonNull;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// XDP's own headroom (`XDP_PACKET_HEADROOM`): received data never starts before it.
pub(crate) const XDP_HEADROOM: u32 = 256;

#[derive(Clone, Copy, Debug)]
pub struct UmemConfig {
    pub frames: u32,
    /// 2,048 or 4,096.
    pub frame_size: u32,
    /// Bytes before the packet in a received and in a fresh frame: 256 or more.
    pub headroom: u32,
    pub huge_pages: bool,
}

impl Default for UmemConfig {
    fn default() -> Self {
        Self { frames: 4096, frame_size: 2048, headroom: XDP_HEADROOM, huge_pages: false }
    }
}

/// What became of the wish for huge pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugePages {
    NotAsked,
    Used,
    /// Asked for, but there are none (free): normal pages are in use; say so to the operator.
    Unavailable,
}

/// The frames of all workers, ports and queues.
pub struct Umem {
    base: NonNull<u8>,
    bytes: usize,
    config: UmemConfig,
    huge: HugePages,
    /// The frames were cut into pools.
    cut: AtomicBool,
    /// Frames that came back for good (their pool or socket is gone). Unmapped only when all did.
    returned: AtomicU64,
    /// Descriptors of bound sockets which others may share the UMEM with; not used per packet.
    bound: Mutex<Vec<RawFd>>,
}

// SAFETY: the mapping is fixed for the life of the Umem; access to its bytes goes through Frames, of which there is
// one per chunk. The rest is atomics, a mutex and constants.
unsafe impl Send for Umem {}
// SAFETY: as above.
unsafe impl Sync for Umem {}

impl Umem {
    pub fn new(config: UmemConfig) -> Result<Arc<Self>, Error> {
        check(&config)?;
        let bytes = usize::try_from(u64::from(config.frames) * u64::from(config.frame_size))
            .map_err(|_| Error::Config("the UMEM is larger than the address space"))?;
        let (base, bytes, huge) = if config.huge_pages {
            match sys::map_anonymous(bytes, true) {
                Ok((base, bytes)) => (base, bytes, HugePages::Used),
                Err(_) => {
                    let (base, bytes) = sys::map_anonymous(bytes, false).map_err(Error::Memory)?;
                    (base, bytes, HugePages::Unavailable)
                }
            }
        } else {
            let (base, bytes) = sys::map_anonymous(bytes, false).map_err(Error::Memory)?;
            (base, bytes, HugePages::NotAsked)
        };
        Ok(Arc::new(Self {
            base,
            bytes,
            config,
            huge,
            cut: AtomicBool::new(false),
            returned: AtomicU64::new(0),
            bound: Mutex::new(Vec::new()),
        }))
    }

    /// Cuts the frames into `n` home pools of `frames / n` each (a remainder stays unused); frame `i` is at home in
    /// pool `i / (frames / n)`.
    ///
    /// # Panics
    /// When called twice on one UMEM (every chunk has one owner), or with more pools than frames or none.
    pub fn pools(self: &Arc<Self>, n: usize) -> Vec<FramePool> {
        let n = u16::try_from(n).unwrap_or(0);
        assert!(n > 0 && u32::from(n) <= self.config.frames, "from 1 pool to one per frame");
        assert!(!self.cut.swap(true, Ordering::AcqRel), "a UMEM is cut into pools once");
        let per_pool = self.config.frames / u32::from(n);
        let rest = self.config.frames - per_pool * u32::from(n);
        self.returned.fetch_add(rest.into(), Ordering::AcqRel);
        (0..n).map(|home| FramePool::new(self.clone(), home, per_pool)).collect()
    }

    pub fn frames(&self) -> u32 {
        self.config.frames
    }

    pub fn frame_size(&self) -> u32 {
        self.config.frame_size
    }

    pub fn headroom(&self) -> u32 {
        self.config.headroom
    }

    pub fn huge_pages(&self) -> HugePages {
        self.huge
    }

    /// # Safety
    /// The caller owns chunk `index`: no Frame of it exists and the kernel does not hold it.
    pub(crate) unsafe fn frame(&self, index: u32) -> Option<Frame> {
        if index >= self.config.frames {
            return None;
        }
        let offset = usize::try_from(index).ok()? * usize::try_from(self.config.frame_size).ok()?;
        let size = u16::try_from(self.config.frame_size).ok()?;
        let room = u16::try_from(self.config.headroom).ok()?;
        // SAFETY: `index < frames`, so the chunk lies inside of the mapping, which is zeroed at first and lives until
        // every frame has come back; exclusiveness is the caller's promise.
        Some(unsafe { Frame::new(self.base.add(offset), index, size, room) })
    }

    /// Whether the frame is a chunk of this UMEM and not of another.
    pub(crate) fn owns(&self, frame: &Frame) -> bool {
        let offset = frame.index() as usize * self.config.frame_size as usize;
        frame.index() < self.config.frames
            && self.base.as_ptr().wrapping_add(offset) == frame.chunk().as_ptr()
    }

    /// `n` frames will not be used any more by anybody.
    pub(crate) fn give_back(&self, n: usize) {
        self.returned.fetch_add(n as u64, Ordering::AcqRel);
    }

    pub(crate) fn bound(&self) -> MutexGuard<'_, Vec<RawFd>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the kernel is told about the region.
    pub(crate) fn registration(&self) -> sys::Registration {
        sys::Registration {
            addr: self.base.as_ptr() as u64,
            len: u64::from(self.config.frames) * u64::from(self.config.frame_size),
            chunk_size: self.config.frame_size,
            headroom: self.config.headroom - XDP_HEADROOM,
        }
    }
}

fn check(config: &UmemConfig) -> Result<(), Error> {
    if !matches!(config.frame_size, 2048 | 4096) {
        return Err(Error::Config("frame size must be 2048 or 4096"));
    }
    if config.frames == 0 || config.frames > 1 << 24 {
        return Err(Error::Config("the number of frames must be from 1 to 16777216"));
    }
    if config.headroom < XDP_HEADROOM || config.headroom > config.frame_size / 2 {
        return Err(Error::Config("headroom must be from 256 to half a frame"));
    }
    Ok(())
}

impl Drop for Umem {
    fn drop(&mut self) {
        // Before the cut no frame exists. After it, a frame that is still out (leaked, or in somebody's hands) keeps
        // the mapping for the rest of the process: a leak instead of a dangling pointer.
        let all = self.returned.load(Ordering::Acquire) == u64::from(self.config.frames);
        if all || !self.cut.load(Ordering::Acquire) {
            // SAFETY: base and length are those of `map_anonymous`, and no frame is left that points into them.
            unsafe { sys::unmap(self.base, self.bytes) };
        }
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Umem").field("config", &self.config).field("huge", &self.huge).finish_non_exhaustive()
    }
}
