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
/// Devices of tunnels that are asked per turn: there may be thousands, and each costs a system call.
const DEVICES: usize = 8;

/// This worker's queues of the TUN devices.
#[derive(Debug)]
pub(crate) struct Punt {
    tun: Option<OwnedFd>,
    /// Of route-based tunnels.
    devices: Vec<(InterfaceId, OwnedFd)>,
    /// Who was read last.
    turn: usize,
    /// How many are to be asked before all are known to have nothing.
    unasked: usize,
}

impl Punt {
    pub(crate) fn new(tun: OwnedFd) -> Self {
        Self { tun: Some(tun), devices: vec![], turn: 0, unasked: 0 }
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

    /// Takes up to `budget` of the host's packets into the batch, from a few of the devices in their turn. `ready`: some
    /// device has packets, so all are asked in this turn and the next ones. True: there may be more.
    pub(crate) fn take(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        budget: usize,
        ready: bool,
    ) -> bool {
        let (before, count) = (batch.packets.len(), self.devices.len());
        let mut more = self.tun.as_ref().is_some_and(|tun| read(tun, Origin::Tun, batch, pool, budget));
        self.unasked = if ready && self.unasked == 0 { count } else { self.unasked.min(count) };
        for _ in 0..count.min(DEVICES) {
            let room = budget.saturating_sub(batch.packets.len() - before);
            if room == 0 {
                return true;
            }
            self.turn = (self.turn + 1) % count;
            self.unasked = self.unasked.saturating_sub(1);
            if let Some((id, queue)) = self.devices.get(self.turn) {
                more |= read(queue, Origin::Device(*id), batch, pool, room);
            }
        }
        more || self.unasked > 0
    }
}

fn write(tun: &OwnedFd, packet: &Frame) -> bool {
    nix::unistd::write(tun, packet.data()) == Ok(packet.len())
}

fn read(tun: &OwnedFd, origin: Origin, batch: &mut Batch, pool: &mut FramePool, room: usize) -> bool {
    for _ in 0..PER_TURN.min(batch.room()).min(room) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_xsk::{Umem, UmemConfig};
    use std::os::unix::net::UnixDatagram;

    fn device() -> (UnixDatagram, OwnedFd) {
        let (near, far) = UnixDatagram::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        (near, far.into())
    }

    // R241: with many devices a turn costs no more than with few, none is forgotten, and no more is taken than there is room for.
    #[test]
    fn devices_are_asked_a_few_at_a_time() {
        let config = UmemConfig { frames: 64, frame_size: 2048, ..UmemConfig::default() };
        let mut pool = Umem::new(config).unwrap().pools(1).remove(0);
        let (host, tun) = device();
        let mut punt = Punt::new(tun);
        let others: Vec<_> = (0..40)
            .map(|id| {
                let (near, far) = device();
                punt.add(InterfaceId(id), far);
                near.send(&[0x45; 40]).unwrap();
                near
            })
            .collect();
        (0..7).for_each(|_| assert_eq!(host.send(&[0x45; 60]).unwrap(), 60));
        let (mut batch, mut turns, mut seen, mut ready) = (Batch::new(), 0, vec![], true);
        while ready {
            ready = punt.take(&mut batch, &mut pool, 5, ready);
            assert!(batch.packets.len() <= 5, "the budget");
            for packet in batch.packets.drain(..) {
                seen.push(packet.origin);
                pool.free(packet.frame);
            }
            turns += 1;
            assert!(turns < 100, "it ends");
        }
        let of = |origin| seen.iter().filter(|it| **it == origin).count();
        assert_eq!(of(Origin::Tun), 7);
        assert!((0..40).all(|id| of(Origin::Device(InterfaceId(id))) == 1), "{seen:?}");
        // Under load nobody says who has something: a few in each turn.
        others.iter().for_each(|near| _ = near.send(&[0x45; 40]).unwrap());
        punt.take(&mut batch, &mut pool, 64, false);
        assert_eq!(batch.packets.len(), DEVICES);
    }
}
