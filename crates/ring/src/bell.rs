//! Wakes the other side's poll(2) when there is something in a ring (eventfd).

use crate::spsc::{Full, Message, Producer};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Readable after [`Bell::ring`] until [`Bell::clear`]. Rings that were not heard yet are one.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    pub fn new() -> io::Result<Self> {
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self(fd.into()))
    }

    pub(crate) fn received(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Never blocks. A full counter is rung already; any other error means that nobody listens.
    pub fn ring(&self) {
        let _ = nix::unistd::write(&self.0, &1u64.to_ne_bytes());
    }

    pub fn clear(&self) {
        let _ = nix::unistd::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The writing end of a ring with the bell of its reader.
#[derive(Debug)]
pub struct Sender<M> {
    producer: Producer<M>,
    bell: Arc<Bell>,
    unheard: bool,
}

impl<M: Message> Sender<M> {
    pub fn new(producer: Producer<M>, bell: Arc<Bell>) -> Self {
        Self { producer, bell, unheard: false }
    }

    /// Appends and rings.
    pub fn send(&mut self, message: &M) -> Result<(), Full> {
        self.push(message)?;
        self.notify();
        Ok(())
    }

    /// Appends only; [`Self::notify`] after the last one of a batch.
    pub fn push(&mut self, message: &M) -> Result<(), Full> {
        self.producer.push(message)?;
        self.unheard = true;
        Ok(())
    }

    /// One system call if anything was pushed since the last time.
    pub fn notify(&mut self) {
        if core::mem::take(&mut self.unheard) {
            self.bell.ring();
        }
    }

    /// Messages that fit now, exact when fewer than `want` do.
    pub fn room(&mut self, want: usize) -> usize {
        self.producer.room(want)
    }

    pub fn anomalies(&self) -> u64 {
        self.producer.anomalies()
    }
}
