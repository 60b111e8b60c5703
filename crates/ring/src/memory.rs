//! The shared memory itself: a sealed memfd, mapped by both sides; and the counters in it.
//!
//! Decides: whether a received memory is the one that the plan describes (size, seals, header) before anything else is
//! read. Sealed against shrinking, so that no access can fault.

use crate::counters::{Counter, Drop as DropReason, SocketCounter, XdpCounter};
use crate::layout::Plan;
use crate::spsc::{Consumer, Message, Producer, Words, ring_words};
use core::fmt;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

#[derive(Debug)]
struct Mapping {
    at: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping is fixed for its life, and all access to it is through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, words: usize) -> io::Result<Arc<Self>> {
        let bytes = NonZeroUsize::new(words * 8).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory. The memfd is at
        // least this long and sealed against shrinking, so no access faults.
        let at = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, fd, 0)? };
        // Keys pass through: never in a core dump. Best effort; the process is not dumpable either.
        // SAFETY: the whole of a mapping that was just made.
        let _ = unsafe { madvise(at, bytes.get(), MmapAdvise::MADV_DONTDUMP) };
        Ok(Arc::new(Self { at: at.cast(), words }))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; every Words that points into it holds an Arc of this, so none is left.
        let _ = unsafe { munmap(self.at.cast(), self.words * 8) };
    }
}

/// One mapped memory with its plan.
#[derive(Clone)]
pub(crate) struct Memory {
    mapping: Arc<Mapping>,
    pub(crate) plan: Plan,
}

const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

impl Memory {
    /// New memory, all zero but for its header.
    pub(crate) fn create(plan: Plan) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create(c"ravelin-rings", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let bytes = i64::try_from(plan.words() * 8).map_err(|_| io::ErrorKind::InvalidInput)?;
        nix::unistd::ftruncate(&fd, bytes)?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS))?;
        let me = Self { mapping: Mapping::new(fd.as_fd(), plan.words())?, plan };
        let header = me.words(0, plan.header().len());
        for (i, word) in plan.header().into_iter().enumerate() {
            header.word(i).store(word, Ordering::Relaxed);
        }
        Ok((me, fd))
    }

    /// Memory of the other side, which must be exactly what `plan` says.
    pub(crate) fn open(fd: BorrowedFd<'_>, plan: Plan) -> io::Result<Self> {
        let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS)?);
        if !seals.contains(SEALS) {
            return Err(bad("the shared memory is not sealed"));
        }
        let bytes = nix::sys::stat::fstat(fd)?.st_size;
        if usize::try_from(bytes) != Ok(plan.words() * 8) {
            return Err(bad("the shared memory has another size than its layout"));
        }
        let me = Self { mapping: Mapping::new(fd, plan.words())?, plan };
        let header = me.words(0, plan.header().len());
        let same =
            plan.header().into_iter().enumerate().all(|(i, w)| header.word(i).load(Ordering::Relaxed) == w);
        if same { Ok(me) } else { Err(bad("the shared memory has another layout")) }
    }

    /// # Panics
    /// Outside of the memory: a bug of the plan, no input reaches it.
    fn words(&self, offset: usize, len: usize) -> Words {
        assert!(offset + len <= self.mapping.words);
        // SAFETY: within the mapping (checked), aligned since offsets are in words; all access is atomic.
        unsafe { Words::at(self.mapping.at.add(offset), len, self.mapping.clone()) }
    }

    pub(crate) fn producer<M: Message>(&self, offset: usize, capacity: usize) -> Producer<M> {
        Producer::new(self.words(offset, ring_words::<M>(capacity)), capacity)
    }

    pub(crate) fn consumer<M: Message>(&self, offset: usize, capacity: usize) -> Consumer<M> {
        Consumer::new(self.words(offset, ring_words::<M>(capacity)), capacity)
    }

    pub(crate) fn counters(&self) -> CounterView {
        CounterView { memory: self.clone() }
    }

    pub(crate) fn worker_writer(&self, worker: usize) -> CounterWriter {
        let len = Counter::COUNT + DropReason::COUNT;
        CounterWriter { words: self.words(self.plan.worker_counters(worker), len), len }
    }

    pub(crate) fn port_writer(&self, port: usize) -> CounterWriter {
        let len = XdpCounter::COUNT + SocketCounter::COUNT;
        CounterWriter { words: self.words(self.plan.port_counters(port), len), len }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// Where one worker or port shows its counters.
pub struct CounterWriter {
    words: Words,
    len: usize,
}

impl CounterWriter {
    /// Relaxed stores, once per batch: each figure is right, together they may be one batch apart.
    #[inline]
    pub fn write(&self, values: impl IntoIterator<Item = u64>) {
        for (i, value) in values.into_iter().enumerate().take(self.len) {
            self.words.word(i).store(value, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for CounterWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CounterWriter({} words)", self.len)
    }
}

/// All counters, as the control process sees them.
#[derive(Clone, Debug)]
pub struct CounterView {
    memory: Memory,
}

/// A copy of one worker's counters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerCounters {
    pub counters: [u64; Counter::COUNT],
    pub drops: [u64; DropReason::COUNT],
}

impl WorkerCounters {
    pub fn get(&self, what: Counter) -> u64 {
        self.counters.get(what as usize).copied().unwrap_or(0)
    }

    pub fn dropped(&self, why: DropReason) -> u64 {
        self.drops.get(why as usize).copied().unwrap_or(0)
    }
}

/// A copy of one port's counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCounters {
    pub xdp: [u64; XdpCounter::COUNT],
    pub sockets: [u64; SocketCounter::COUNT],
}

impl PortCounters {
    pub fn get(&self, what: XdpCounter) -> u64 {
        self.xdp.get(what as usize).copied().unwrap_or(0)
    }

    pub fn socket(&self, what: SocketCounter) -> u64 {
        self.sockets.get(what as usize).copied().unwrap_or(0)
    }
}

impl CounterView {
    pub fn workers(&self) -> usize {
        self.memory.plan.workers
    }

    pub fn ports(&self) -> usize {
        self.memory.plan.ports
    }

    /// `None`: there is no such worker.
    pub fn worker(&self, worker: usize) -> Option<WorkerCounters> {
        if worker >= self.workers() {
            return None;
        }
        let words =
            self.memory.words(self.memory.plan.worker_counters(worker), Counter::COUNT + DropReason::COUNT);
        let read = |i: usize| words.word(i).load(Ordering::Relaxed);
        Some(WorkerCounters {
            counters: core::array::from_fn(read),
            drops: core::array::from_fn(|i| read(Counter::COUNT + i)),
        })
    }

    /// `None`: there is no such port.
    pub fn port(&self, port: usize) -> Option<PortCounters> {
        if port >= self.ports() {
            return None;
        }
        let len = XdpCounter::COUNT + SocketCounter::COUNT;
        let words = self.memory.words(self.memory.plan.port_counters(port), len);
        let read = |i: usize| words.word(i).load(Ordering::Relaxed);
        let sockets = core::array::from_fn(|i| read(XdpCounter::COUNT + i));
        Some(PortCounters { xdp: core::array::from_fn(read), sockets })
    }
}
