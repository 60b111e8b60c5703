//! The system calls, as thin as they can be. Everything here is `unsafe` for the same reason: it hands pointers to the
//! kernel; each function says why its pointers hold.

use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr::{self, NonNull};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// `xdp_umem_reg` in our own words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registration {
    pub(crate) addr: u64,
    pub(crate) len: u64,
    pub(crate) chunk_size: u32,
    pub(crate) headroom: u32,
    /// Frames may lie anywhere.
    pub(crate) unaligned: bool,
}

/// Zeroed memory and its true length (rounded up to whole huge pages).
pub(crate) fn map_anonymous(bytes: usize, huge: bool) -> io::Result<(NonNull<u8>, usize)> {
    let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let mut len = bytes;
    if huge {
        flags |= libc::MAP_HUGETLB;
        len = bytes.checked_next_multiple_of(HUGE_PAGE).ok_or(io::ErrorKind::InvalidInput)?;
    }
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    Ok((mapped(at)?, len))
}

/// Asks for huge pages below the whole pages of a region, from its next use on. Whether it works or not changes no byte.
pub(crate) fn advise_huge_pages(start: usize, len: usize) {
    const PAGE: usize = 4096;
    let from = start.next_multiple_of(PAGE);
    let to = (start + len) / PAGE * PAGE;
    if let Some(len) = to.checked_sub(from).filter(|len| *len >= HUGE_PAGE) {
        // SAFETY: advice about how memory is backed; contents and mappings stay what they are.
        unsafe { libc::madvise(ptr::without_provenance_mut(from), len, libc::MADV_HUGEPAGE) };
    }
}

/// One ring of a socket.
pub(crate) fn map_ring(fd: BorrowedFd<'_>, len: usize, offset: libc::off_t) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let at = unsafe {
        libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd.as_raw_fd(), offset)
    };
    mapped(at)
}

fn mapped(at: *mut c_void) -> io::Result<NonNull<u8>> {
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// # Safety
/// `at` and `len` are one whole mapping, and nothing points into it any more.
pub(crate) unsafe fn unmap(at: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise. An error leaves the mapping: a leak, not a danger.
    unsafe { libc::munmap(at.as_ptr().cast(), len) };
}

pub(crate) fn xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked and then owned by nobody else.
    unsafe { owned(libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)) }
}

/// # Safety
/// A non-negative `fd` is open and owned by nobody else.
pub(crate) unsafe fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn register_umem(fd: BorrowedFd<'_>, reg: Registration) -> io::Result<()> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut raw: libc::xdp_umem_reg = unsafe { mem::zeroed() };
    raw.addr = reg.addr;
    raw.len = reg.len;
    raw.chunk_size = reg.chunk_size;
    raw.headroom = reg.headroom;
    raw.flags = if reg.unaligned { libc::XDP_UMEM_UNALIGNED_CHUNK_FLAG } else { 0 };
    set_option(fd, libc::XDP_UMEM_REG, &raw)
}

pub(crate) fn set_ring_size(fd: BorrowedFd<'_>, which: c_int, entries: u32) -> io::Result<()> {
    set_option(fd, which, &entries)
}

fn set_option<T>(fd: BorrowedFd<'_>, option: c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `value` is valid for reads of `len` bytes during the call.
    let rc =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, ptr::from_ref(value).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option of plain integers; an older kernel that writes fewer bytes leaves zeros.
///
/// # Safety
/// `T` is a C struct of integers only.
unsafe fn get_option<T>(fd: BorrowedFd<'_>, option: c_int) -> io::Result<(T, usize)> {
    let mut len = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: integers, for which zero is a value (the caller's promise).
    let mut value: T = unsafe { mem::zeroed() };
    // SAFETY: `value` is valid for writes of `len` bytes during the call.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            ptr::from_mut(&mut value).cast(),
            ptr::from_mut(&mut len),
        )
    };
    if rc == 0 { Ok((value, len as usize)) } else { Err(io::Error::last_os_error()) }
}

/// Where producer, consumer, flags and descriptors lie in each ring's mapping.
pub(crate) fn ring_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: xdp_mmap_offsets holds integers only.
    let (offsets, len) = unsafe { get_option::<libc::xdp_mmap_offsets>(fd, libc::XDP_MMAP_OFFSETS)? };
    // A kernel before 5.4 answers the shorter form, without the flags that need-wakeup reads.
    if len == size_of::<libc::xdp_mmap_offsets>() {
        Ok(offsets)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(crate) fn options(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: xdp_options holds integers only.
    unsafe { get_option::<libc::xdp_options>(fd, libc::XDP_OPTIONS) }.map(|(o, _)| o.flags)
}

pub(crate) fn statistics(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_statistics> {
    // SAFETY: xdp_statistics holds integers only.
    unsafe { get_option::<libc::xdp_statistics>(fd, libc::XDP_STATISTICS) }.map(|(s, _)| s)
}

pub(crate) fn bind(
    fd: BorrowedFd<'_>,
    ifindex: u32,
    queue: u32,
    flags: u16,
    shared: Option<RawFd>,
) -> io::Result<()> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut addr: libc::sockaddr_xdp = unsafe { mem::zeroed() };
    addr.sxdp_family = u16::try_from(libc::AF_XDP).unwrap_or(0);
    addr.sxdp_flags = flags;
    addr.sxdp_ifindex = ifindex;
    addr.sxdp_queue_id = queue;
    addr.sxdp_shared_umem_fd = shared.and_then(|fd| u32::try_from(fd).ok()).unwrap_or(0);
    let len = libc::socklen_t::try_from(size_of_val(&addr)).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `addr` is valid for reads of `len` bytes during the call.
    let rc = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&addr).cast(), len) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The caller drives the queue's NAPI by its own system calls, so many packets at a time; interrupts stay off meanwhile.
pub(crate) fn prefer_busy_poll(fd: BorrowedFd<'_>, micros: c_int, budget: c_int) -> io::Result<()> {
    let options =
        [(libc::SO_PREFER_BUSY_POLL, 1), (libc::SO_BUSY_POLL, micros), (libc::SO_BUSY_POLL_BUDGET, budget)];
    for (option, value) in options {
        let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(|_| io::ErrorKind::InvalidInput)?;
        let at = ptr::from_ref(&value).cast();
        // SAFETY: `value` is valid for reads of `len` bytes during the call.
        let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, at, len) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Asks the kernel to transmit what lies in the ring.
pub(crate) fn kick_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let rc = unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    if rc >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the kernel to look at the fill ring again.
pub(crate) fn kick_rx(fd: BorrowedFd<'_>) {
    // SAFETY: no buffer and no address are passed. The answer does not matter: the next turn asks again.
    unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
}
