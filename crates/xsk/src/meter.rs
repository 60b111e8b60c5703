//! The kernel's own counters of a socket, also read by a thread that does not own it.
//!
//! Reads: XDP_STATISTICS. Never: receives or sends; the rings are the owner's.

use crate::sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Frames that found no empty frame lent to the kernel, or were too long for one.
    pub rx_dropped: u64,
    pub rx_invalid: u64,
    pub tx_invalid: u64,
    /// Frames dropped since nobody had taken the earlier ones.
    pub rx_ring_full: u64,
    pub fill_ring_empty: u64,
    pub tx_ring_empty: u64,
}

/// While it lives the kernel keeps the socket, and its queue, even after the owner has closed it.
#[derive(Debug)]
pub struct Meter(OwnedFd);

impl Meter {
    pub(crate) fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        socket.try_clone_to_owned().map(Self)
    }

    pub fn statistics(&self) -> io::Result<Statistics> {
        read(self.0.as_fd())
    }
}

pub(crate) fn read(socket: BorrowedFd<'_>) -> io::Result<Statistics> {
    sys::statistics(socket).map(|s| Statistics {
        rx_dropped: s.rx_dropped,
        rx_invalid: s.rx_invalid_descs,
        tx_invalid: s.tx_invalid_descs,
        rx_ring_full: s.rx_ring_full,
        fill_ring_empty: s.rx_fill_ring_empty_descs,
        tx_ring_empty: s.tx_ring_empty_descs,
    })
}
