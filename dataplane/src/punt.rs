//! Through TUN devices: packets for the kernel (punt), and the host's own packets (inject); one device for all that the
//! machine itself sends and gets, and one for each route-based tunnel.
//!
//! Decides: nothing. One queue of each device per worker. Never: blocks; what a device does not take is dropped and
//! counted.

use ravelin_dataplane::{Batch, Origin};
use ravelin_ring::msg::InterfaceId;
use ravelin_xsk::{Frame, FramePool};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Packets taken from the devices per turn, so that a busy host does not starve the ports.
const PER_TURN: usize = 16;

/// This worker's queues of the TUN devices.
#[derive(Debug)]
pub(crate) struct Punt {
    tun: Option<OwnedFd>,
    /// Of route-based tunnels.
    devices: Vec<(InterfaceId, OwnedFd)>,
    /// Whose turn it is to be read first.
    turn: usize,
}

impl Punt {
    pub(crate) fn new(tun: OwnedFd) -> Self {
        Self { tun: Some(tun), devices: vec![], turn: 0 }
    }

    /// The queue of a tunnel's device, in place of the one that it had.
    pub(crate) fn add(&mut self, interface: InterfaceId, queue: OwnedFd) {
        self.remove(interface);
        self.devices.push((interface, queue));
    }

    pub(crate) fn remove(&mut self, interface: InterfaceId) {
        self.devices.retain(|(id, _)| *id != interface);
    }

    /// For poll(2): the host's device, `None` after it was deleted.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.tun.as_ref().map(AsFd::as_fd)
    }

    /// Those of tunnels.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (InterfaceId, BorrowedFd<'_>)> {
        self.devices.iter().map(|(id, queue)| (*id, queue.as_fd()))
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
        self.tun.as_ref().is_some_and(|tun| write(tun, packet))
    }

    /// As [`Self::give`], by the device of a tunnel.
    pub(crate) fn deliver(&self, interface: InterfaceId, packet: &Frame) -> bool {
        self.devices.iter().find(|(id, _)| *id == interface).is_some_and(|(_, queue)| write(queue, packet))
    }

    /// Takes the host's packets into the batch. True: there may be more.
    pub(crate) fn take(&mut self, batch: &mut Batch, pool: &mut FramePool) -> bool {
        let mut more = self.tun.as_ref().is_some_and(|tun| read(tun, Origin::Tun, batch, pool));
        self.turn = self.turn.wrapping_add(1);
        let count = self.devices.len();
        for i in 0..count {
            if let Some((id, queue)) = self.devices.get((i + self.turn) % count) {
                more |= read(queue, Origin::Device(*id), batch, pool);
            }
        }
        more
    }
}

fn write(tun: &OwnedFd, packet: &Frame) -> bool {
    nix::unistd::write(tun, packet.data()) == Ok(packet.len())
}

fn read(tun: &OwnedFd, origin: Origin, batch: &mut Batch, pool: &mut FramePool) -> bool {
    for _ in 0..PER_TURN.min(batch.room()) {
        let Some(mut frame) = pool.alloc() else { return false };
        let read =
            if frame.extend(frame.tailroom()) { nix::unistd::read(tun, frame.data_mut()) } else { Ok(0) };
        match read {
            Ok(len) if len > 0 => {
                frame.truncate(len);
                if let Err(frame) = batch.receive(frame, origin) {
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
