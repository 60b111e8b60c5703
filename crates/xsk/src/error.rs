//! What can go wrong at start, each with its cure.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(&'static str),
    #[error("cannot map memory for the frames: {0}; lower the number of frames or free memory")]
    Memory(#[source] io::Error),
    #[error(
        "{what} is not permitted: {source}; run as root, or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, and allow \
         AF_XDP in containers"
    )]
    Permission { what: &'static str, source: io::Error },
    #[error("this kernel has no AF_XDP: {0}; it needs CONFIG_XDP_SOCKETS=y (Linux 5.11 or newer)")]
    NoAfXdp(#[source] io::Error),
    #[error(
        "the kernel may not lock the memory of the frames ({bytes} bytes): {source}; keep CAP_IPC_LOCK, raise the limit \
         (`ulimit -l`, LimitMEMLOCK= in the unit), or configure fewer frames"
    )]
    Memlock { bytes: u64, source: io::Error },
    #[error(
        "queue {queue} of interface {ifindex} is in use by another program: {source}; stop the other AF_XDP program \
         (`ss --xdp` shows it)"
    )]
    Busy { ifindex: u32, queue: u32, source: io::Error },
    #[error("interface {ifindex} or its queue {queue} does not exist (any more): {source}")]
    NoDevice { ifindex: u32, queue: u32, source: io::Error },
    #[error("{what} failed: {source}")]
    System { what: &'static str, source: io::Error },
}

impl Error {
    /// Names the cure for what the kernel answered to `what`.
    pub(crate) fn of(what: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Permission { what, source },
            Some(libc::EAFNOSUPPORT) => Self::NoAfXdp(source),
            _ => Self::System { what, source },
        }
    }
}
