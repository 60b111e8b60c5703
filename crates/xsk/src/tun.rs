//! The TUN device: the door between the data plane and the host's own stack.
//!
//! Decides: nothing. Makes the device persistent, so that routes into it stay (and lead nowhere) while no process runs.
//! Always multi-queue, so that the number of workers may differ from start to start. Never: sets addresses or links up.

use crate::Error;
use crate::sys;
use core::ffi::c_char;
use core::mem;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const DEVICE: &std::ffi::CStr = c"/dev/net/tun";

/// An open TUN device.
#[derive(Debug)]
pub struct Tun {
    pub ifindex: u32,
    /// One non-blocking descriptor per queue; each read or write is one IP packet, without any header before it.
    pub queues: Vec<OwnedFd>,
}

/// Opens `queues` queues of the device, which is made if it is missing.
pub fn open(name: &str, queues: usize) -> Result<Tun, Error> {
    let cname = CString::new(name).map_err(|_| Error::Config("the TUN device's name holds a NUL"))?;
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(Error::Config("the TUN device's name must have from 1 to 15 characters"));
    }
    let queues = (0..queues).map(|_| open_queue(&cname)).collect::<Result<Vec<_>, _>>()?;
    // SAFETY: a NUL-terminated string that outlives the call.
    let ifindex = unsafe { libc::if_nametoindex(cname.as_ptr()) };
    if ifindex == 0 {
        return Err(Error::System { what: "finding the TUN device", source: io::Error::last_os_error() });
    }
    Ok(Tun { ifindex, queues })
}

fn open_queue(name: &CString) -> Result<OwnedFd, Error> {
    // SAFETY: a NUL-terminated path; the new descriptor is owned by nobody else.
    let fd =
        unsafe { sys::owned(libc::open(DEVICE.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC)) }
            .map_err(|e| Error::of("opening /dev/net/tun (`modprobe tun` loads the driver)", e))?;
    // SAFETY: integers and arrays of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or(0);
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives through the call.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if rc < 0 {
        let e = io::Error::last_os_error();
        return Err(match e.raw_os_error() {
            Some(libc::EINVAL) => Error::System {
                what: "opening the TUN device, which exists with other properties (`ip link delete` it, or configure \
                       another name)",
                source: e,
            },
            Some(libc::EBUSY) => {
                Error::System { what: "opening the TUN device, which another program uses", source: e }
            }
            _ => Error::of("making the TUN device", e),
        });
    }
    // SAFETY: TUNSETPERSIST takes an integer, no pointer.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST, 1) };
    if rc < 0 {
        return Err(Error::of("making the TUN device persistent", io::Error::last_os_error()));
    }
    Ok(fd)
}
