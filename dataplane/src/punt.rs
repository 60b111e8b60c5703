//! Through the TUN device: packets for the kernel (punt), and the host's own packets (inject).
//!
//! Decides: nothing. One queue of the device per worker. Never: blocks; what the device does not take is dropped and
//! counted.

use ravelin_dataplane::{Batch, Origin};
use ravelin_xsk::{Frame, FramePool};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Packets taken from the device per turn, so that a busy host does not starve the ports.
const PER_TURN: usize = 16;

/// This worker's queue of the TUN device.
#[derive(Debug)]
pub(crate) struct Punt {
    tun: Option<OwnedFd>,
}

impl Punt {
    pub(crate) fn new(tun: OwnedFd) -> Self {
        Self { tun: Some(tun) }
    }

    /// For poll(2); `None` after the device was deleted.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.tun.as_ref().map(AsFd::as_fd)
    }

    /// The device is gone (someone deleted it): poll(2) would report that for ever.
    pub(crate) fn lost(&mut self) {
        if self.tun.take().is_some() {
            tracing::error!(
                "the TUN device is gone: the host's own traffic is cut off; restart ravelin-dataplane"
            );
        }
    }

    /// False: the device does not take it (full, down or gone).
    pub(crate) fn give(&self, packet: &Frame) -> bool {
        self.tun.as_ref().is_some_and(|tun| nix::unistd::write(tun, packet.data()) == Ok(packet.len()))
    }

    /// Takes the host's packets into the batch. True: there may be more.
    pub(crate) fn take(&mut self, batch: &mut Batch, pool: &mut FramePool) -> bool {
        let Some(tun) = &self.tun else { return false };
        for _ in 0..PER_TURN.min(batch.room()) {
            let Some(mut frame) = pool.alloc() else { return false };
            let read =
                if frame.extend(frame.tailroom()) { nix::unistd::read(tun, frame.data_mut()) } else { Ok(0) };
            match read {
                Ok(len) if len > 0 => {
                    frame.truncate(len);
                    if let Err(frame) = batch.receive(frame, Origin::Tun) {
                        pool.free(frame); // not reached: there was room
                        return true;
                    }
                }
                _ => {
                    pool.free(frame);
                    return false;
                }
            }
        }
        true
    }
}
