//! The region of frames that all sockets of the process share.
//!
//! Decides: how it is mapped (huge pages when asked for and there). Reads and writes: nothing inside it.
//! Never: unmaps while a frame may still be used.

use crate::{Error, Frame, FramePool, sys};
use core::fmt;
use core::ptr::NonNull;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// XDP's own headroom (`XDP_PACKET_HEADROOM`): received data never starts before it.
pub(crate) const XDP_HEADROOM: u32 = 256;

/// `XSK_UNALIGNED_BUF_OFFSET_SHIFT`.
const OFFSET_SHIFT: u32 = 48;

#[derive(Clone, Copy, Debug)]
pub struct UmemConfig {
    pub frames: u32,
    /// 2,048 or 4,096.
    pub frame_size: u32,
    /// Bytes before the packet in a received and in a fresh frame: 256 or more.
    pub headroom: u32,
    pub huge_pages: bool,
    /// No socket of this UMEM is to be zero-copy: frames may then cross pages (see [`Umem::new`]).
    pub copy_only: bool,
}

impl Default for UmemConfig {
    fn default() -> Self {
        Self { frames: 4096, frame_size: 2048, headroom: XDP_HEADROOM, huge_pages: false, copy_only: false }
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

/// As `ravelin show workers` has it.
impl fmt::Display for HugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "normal pages",
            Self::Used => "huge pages",
            Self::Unavailable => {
                "normal pages; huge-pages is set, but too few are free (sysctl vm.nr_hugepages)"
            }
        })
    }
}

/// The frames of all workers, ports and queues.
pub struct Umem {
    base: NonNull<u8>,
    bytes: usize,
    config: UmemConfig,
    layout: Layout,
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

/// Where frames lie.
///
/// At the distance of a power of two, the same place of every frame falls into the same few sets of a cache: of a batch's
/// headers a first-level cache keeps a third, and loads wait for stores to other frames that look alike in their lower
/// twelve bits. So frames lie one line further apart where they can: that takes the kernel's unaligned mode, and a
/// zero-copy driver wants each frame within memory that is contiguous to its device, which it is within a huge page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// At this distance, a power of two.
    Aligned {
        shift: u32,
    },
    Spread2048,
    Spread4096,
}

const BLOCK: u64 = sys::HUGE_PAGE as u64;

impl Layout {
    fn aligned(frame_size: u32) -> Self {
        Self::Aligned { shift: frame_size.trailing_zeros() }
    }

    fn spread(frame_size: u32) -> Self {
        if frame_size == 2048 { Self::Spread2048 } else { Self::Spread4096 }
    }

    fn unaligned(self) -> bool {
        !matches!(self, Self::Aligned { .. })
    }

    fn bytes(self, frames: u32) -> io::Result<usize> {
        let bytes = match self {
            Self::Aligned { shift } => u64::from(frames) << shift,
            Self::Spread2048 | Self::Spread4096 => {
                (self.offset(frames.saturating_sub(1)) / BLOCK + 1) * BLOCK
            }
        };
        usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    #[inline]
    fn offset(self, index: u32) -> u64 {
        match self {
            Self::Aligned { shift } => u64::from(index) << shift,
            Self::Spread2048 => Spread::<2112>::offset(index.into()),
            Self::Spread4096 => Spread::<4160>::offset(index.into()),
        }
    }

    /// The frame, and the place within it.
    #[inline]
    fn find(self, offset: u64) -> (u64, u64) {
        match self {
            Self::Aligned { shift } => (offset >> shift, offset & ((1 << shift) - 1)),
            Self::Spread2048 => Spread::<2112>::find(offset),
            Self::Spread4096 => Spread::<4160>::find(offset),
        }
    }
}

/// Frames at a distance of `STRIDE`, as many as one huge page holds, and so on in the next one.
struct Spread<const STRIDE: u64>;

impl<const STRIDE: u64> Spread<STRIDE> {
    const PER_BLOCK: u64 = BLOCK / STRIDE;

    #[inline]
    fn offset(index: u64) -> u64 {
        index / Self::PER_BLOCK * BLOCK + index % Self::PER_BLOCK * STRIDE
    }

    /// What lies behind a block's last frame counts as that frame's, where no packet fits.
    #[inline]
    fn find(offset: u64) -> (u64, u64) {
        let (block, within) = (offset / BLOCK, offset % BLOCK);
        let n = (within / STRIDE).min(Self::PER_BLOCK - 1);
        (block * Self::PER_BLOCK + n, within - n * STRIDE)
    }
}

impl Umem {
    /// Frames are spread over the sets of the cache where huge pages or the lack of zero-copy sockets allow for it.
    pub fn new(config: UmemConfig) -> Result<Arc<Self>, Error> {
        Self::on(config, sys::map_anonymous)
    }

    /// `map`: so many bytes, in huge pages or not, and their true length.
    fn on(
        config: UmemConfig,
        mut map: impl FnMut(usize, bool) -> io::Result<(NonNull<u8>, usize)>,
    ) -> Result<Arc<Self>, Error> {
        check(&config)?;
        let spread = Layout::spread(config.frame_size);
        let huge = || map(spread.bytes(config.frames).ok()?, true).ok();
        let (layout, (base, bytes), huge) = match config.huge_pages.then(huge).flatten() {
            Some(mapped) => (spread, mapped, HugePages::Used),
            None => {
                let layout = if config.copy_only { spread } else { Layout::aligned(config.frame_size) };
                let bytes = layout.bytes(config.frames).map_err(Error::Memory)?;
                let mapped = map(bytes, false).map_err(Error::Memory)?;
                (layout, mapped, if config.huge_pages { HugePages::Unavailable } else { HugePages::NotAsked })
            }
        };
        Ok(Arc::new(Self {
            base,
            bytes,
            config,
            layout,
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
        let offset = usize::try_from(self.layout.offset(index)).ok()?;
        let size = u16::try_from(self.config.frame_size).ok()?;
        let room = u16::try_from(self.config.headroom).ok()?;
        // SAFETY: `index < frames`, so the chunk lies inside of the mapping, which is zeroed at first and lives until
        // every frame has come back; exclusiveness is the caller's promise.
        Some(unsafe { Frame::new(self.base.add(offset), index, size, room) })
    }

    /// Whether the frame is a chunk of this UMEM and not of another.
    pub(crate) fn owns(&self, frame: &Frame) -> bool {
        let offset = usize::try_from(self.layout.offset(frame.index())).unwrap_or(usize::MAX);
        frame.index() < self.config.frames
            && self.base.as_ptr().wrapping_add(offset) == frame.chunk().as_ptr()
    }

    /// How the kernel calls byte `start` of a frame.
    #[inline]
    pub(crate) fn address(&self, index: u32, start: usize) -> u64 {
        self.layout.offset(index) + start as u64
    }

    /// The frame that a kernel's address lies in, and where. Beyond the last frame: one that does not exist.
    #[inline]
    pub(crate) fn find(&self, address: u64) -> (u32, usize) {
        // In unaligned mode a received packet's place in its frame stands in the upper bits.
        let address = if self.layout.unaligned() {
            (address & ((1 << OFFSET_SHIFT) - 1)) + (address >> OFFSET_SHIFT)
        } else {
            address
        };
        let (index, start) = self.layout.find(address);
        (u32::try_from(index).unwrap_or(u32::MAX), usize::try_from(start).unwrap_or(usize::MAX))
    }

    /// No socket may be zero-copy.
    pub(crate) fn copy_only(&self) -> bool {
        self.config.copy_only
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
            len: self.layout.bytes(self.config.frames).unwrap_or(0) as u64,
            chunk_size: self.config.frame_size,
            headroom: self.config.headroom - XDP_HEADROOM,
            unaligned: self.layout.unaligned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place of every frame is found again, no frame meets another, and none leaves its huge page.
    #[test]
    fn frames_are_found_where_they_lie() {
        for size in [2048, 4096] {
            for layout in [Layout::aligned(size), Layout::spread(size)] {
                let mut end = 0;
                for index in 0..3000 {
                    let offset = layout.offset(index);
                    assert!(offset >= end, "{layout:?} frame {index}");
                    end = offset + u64::from(size);
                    for place in [0, 1, 256, u64::from(size) - 1] {
                        assert_eq!(layout.find(offset + place), (index.into(), place), "{layout:?}");
                    }
                    if layout.unaligned() {
                        assert_eq!(offset / BLOCK, (end - 1) / BLOCK, "within one huge page");
                    }
                }
                assert!(end <= layout.bytes(3000).unwrap() as u64);
            }
        }
    }

    /// The wish for huge pages comes true or it does not, and what is told is what the kernel says of the memory, whatever
    /// this machine has of them; frames are there in any case.
    #[test]
    fn huge_pages_are_used_or_said_to_be_missing() {
        let of = |wish: HugePageWish| {
            let config = UmemConfig {
                frames: wish.frames,
                huge_pages: wish.asked,
                copy_only: true,
                ..Default::default()
            };
            let umem = Umem::new(config).unwrap();
            let size = kernel_page_size(umem.base.addr().get());
            let expected = if umem.huge_pages() == HugePages::Used { sys::HUGE_PAGE } else { 4096 };
            assert_eq!(size, expected, "{:?}", umem.huge_pages());
            let mut pool = umem.pools(1).remove(0);
            let mut frame = pool.alloc().unwrap();
            assert!(frame.extend(1000));
            frame.data_mut().fill(7);
            pool.free(frame);
            umem.huge_pages()
        };
        assert_eq!(of(HugePageWish { frames: 1024, asked: false }), HugePages::NotAsked);
        assert_ne!(of(HugePageWish { frames: 1024, asked: true }), HugePages::NotAsked);
    }

    /// Asked for once, before anything else; where the kernel has them they are used, and where not, normal pages are.
    #[test]
    fn huge_pages_are_asked_for_first() {
        for (asked, there, told, tried) in [
            (false, true, HugePages::NotAsked, &[false][..]),
            (true, true, HugePages::Used, &[true]),
            (true, false, HugePages::Unavailable, &[true, false]),
        ] {
            for copy_only in [false, true] {
                let config = UmemConfig { frames: 1024, huge_pages: asked, copy_only, ..Default::default() };
                let mut calls = vec![];
                let umem = Umem::on(config, |bytes, huge| {
                    calls.push(huge);
                    if huge && !there {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    // Normal ones, of a length that huge ones would have.
                    sys::map_anonymous(
                        if huge { bytes.next_multiple_of(sys::HUGE_PAGE) } else { bytes },
                        false,
                    )
                });
                let umem = umem.unwrap();
                assert_eq!((umem.huge_pages(), &calls[..]), (told, tried));
                assert_eq!(umem.layout.unaligned(), copy_only || told == HugePages::Used);
            }
        }
    }

    struct HugePageWish {
        frames: u32,
        asked: bool,
    }

    /// Of the mapping in which an address lies, as the kernel tells (proc(5), smaps).
    fn kernel_page_size(at: usize) -> usize {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in text.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range
                && let Ok(from) = usize::from_str_radix(from, 16)
                && let Ok(to) = usize::from_str_radix(to, 16)
            {
                inside = (from..to).contains(&at);
            } else if inside && let Some(size) = line.strip_prefix("KernelPageSize:") {
                return size.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024;
            }
        }
        panic!("no mapping has {at:#x}");
    }

    /// A received packet's address has its place in the upper bits (unaligned mode); a sent one comes back as it went.
    #[test]
    fn kernel_addresses_of_spread_frames() {
        let config = UmemConfig { frames: 1200, copy_only: true, ..UmemConfig::default() };
        let umem = Umem::new(config).unwrap();
        assert_ne!(
            umem.address(1, 0) % 4096,
            umem.address(3, 0) % 4096,
            "same place, other set of the cache"
        );
        for index in [0, 1, 991, 992, 993, 1199] {
            assert_eq!(umem.find(umem.address(index, 0) | 256 << 48), (index, 256));
            assert_eq!(umem.find(umem.address(index, 176)), (index, 176));
        }
    }
}
