//! The two calls of bpf(2) that the library lacks: opening a pinned link as a bare descriptor, and detaching it now.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// Takes the program of a pinned link off its device before this returns. Removing the pin alone would do so some time
/// later, and not at all while anybody has the link open.
pub(crate) fn detach_pinned(link: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Detach {
        link: u32,
    }
    let link = open_pinned(link)?;
    let attr = Detach { link: link.as_raw_fd().cast_unsigned() };
    bpf(BPF_LINK_DETACH, &attr).map(drop)
}

fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Get {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &Get { path: path.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 })?;
    // SAFETY: a new descriptor which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `attr` is the call's part of `union bpf_attr`; the kernel takes what is missing at its end as zeros.
fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attr`, which outlives the call, as does what it points to.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(rc).map_err(io::Error::other)
}
