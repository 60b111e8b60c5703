//! Received packets, up to [`MAX_RECEIVED`], and the room for what is made of them.

use crate::packet::{Origin, Packet};
use crate::verdict::Verdict;
use arrayvec::ArrayVec;
use core::mem;
use core::ops::{Deref, DerefMut, RangeFull};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::PortId;
use ravelin_xsk::Frame;

/// Packets a caller may put into a batch.
pub const MAX_RECEIVED: usize = 64;
/// With fragments and ICMP errors. What finds no room is dropped as `no_frame`.
pub const MAX_BATCH: usize = 256;

/// Positions of packets in a batch, for one stage.
pub(crate) type Places = ArrayVec<u16, MAX_BATCH>;

/// One more, in a list that cannot be full: it holds what a batch holds. Without the panic of `push`, before which a loop
/// would have to put down in memory all that it knows.
#[inline(always)]
pub(crate) fn add(places: &mut Places, at: u16) {
    let _ = places.try_push(at);
}

/// One per worker, used again and again.
#[derive(Debug, Default)]
pub struct Batch {
    pub packets: Packets,
}

/// The packets of a batch, each built in its place: 32 KiB of records that are never moved.
#[derive(Debug)]
pub struct Packets {
    slots: Box<[Packet; MAX_BATCH]>,
    len: usize,
    /// How many did not come from a port, and the bytes of those that did.
    others: usize,
    bytes: u64,
}

/// What is left of a packet when it leaves its batch.
#[derive(Debug)]
pub struct Finished {
    pub frame: Frame,
    pub origin: Origin,
    pub verdict: Verdict,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for this many more received packets.
    #[inline]
    pub fn room(&self) -> usize {
        MAX_RECEIVED.saturating_sub(self.packets.len)
    }

    /// Gives the frame back when [`MAX_RECEIVED`] packets are there.
    #[inline]
    pub fn receive(&mut self, frame: Frame, origin: Origin) -> Result<(), Frame> {
        if self.room() == 0 {
            return Err(frame);
        }
        self.packets.receive(frame, origin)
    }

    /// As [`Self::receive`], for what came by one port, as far as there is room; what there is none for stays in `frames`.
    #[inline]
    pub fn receive_from(&mut self, port: PortId, frames: &mut impl Iterator<Item = Frame>) {
        self.packets.receive_from(port, frames);
    }

    /// As [`Self::receive`], for a packet that is one already.
    #[allow(clippy::result_large_err)] // the frame comes back to its owner
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.room() == 0 {
            return Err(packet);
        }
        self.packets.push(packet)
    }
}

impl Default for Packets {
    fn default() -> Self {
        let slots: Box<[Packet]> = (0..MAX_BATCH).map(|_| Packet::nothing()).collect();
        let Ok(slots) = slots.try_into() else { unreachable!("so many were made") };
        Self { slots, len: 0, others: 0, bytes: 0 }
    }
}

impl Packets {
    #[inline]
    fn receive(&mut self, frame: Frame, origin: Origin) -> Result<(), Frame> {
        let Some(slot) = self.slots.get_mut(self.len) else { return Err(frame) };
        match origin {
            Origin::Port(_) => self.bytes += frame.len() as u64,
            Origin::Tun | Origin::Device(_) | Origin::HandedIn { .. } | Origin::Released { .. } => {
                self.others += 1;
            }
        }
        slot.renew(frame, origin);
        self.len += 1;
        Ok(())
    }

    /// The counts are written once: each packet would wait for what the one before wrote.
    #[inline]
    fn receive_from(&mut self, port: PortId, frames: &mut impl Iterator<Item = Frame>) {
        let (mut count, mut bytes) = (0, 0);
        let free = self.slots.get_mut(self.len..MAX_RECEIVED).unwrap_or_default();
        for (slot, frame) in free.iter_mut().zip(frames) {
            (count, bytes) = (count + 1, bytes + frame.len() as u64);
            slot.renew(frame, Origin::Port(port));
        }
        (self.len, self.bytes) = (self.len + count, self.bytes + bytes);
    }

    /// The packet comes back when there is no place for it.
    #[allow(clippy::result_large_err)] // the frame comes back to its owner
    pub(crate) fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        let Some(slot) = self.slots.get_mut(self.len) else { return Err(packet) };
        *slot = packet;
        self.len += 1;
        self.others += 1; // or from a port, but not counted
        Ok(())
    }

    /// How many came from ports, and their bytes, where nothing came any other way.
    #[inline]
    pub(crate) fn received(&self) -> Option<(usize, u64)> {
        (self.others == 0).then_some((self.len, self.bytes))
    }

    pub(crate) fn remaining_capacity(&self) -> usize {
        self.slots.len() - self.len
    }

    /// After a failure amid a batch: every frame that is still in it, drained or not.
    #[cold]
    pub fn salvage(&mut self) -> impl Iterator<Item = Frame> {
        (self.len, self.others, self.bytes) = (0, 0, 0);
        self.slots.iter_mut().map(|packet| packet.frame.take()).filter(|frame| frame.capacity() > 0)
    }

    /// Takes all packets out, in their order.
    #[inline]
    pub fn drain(&mut self, _all: RangeFull) -> impl Iterator<Item = Finished> {
        let len = mem::take(&mut self.len);
        (self.others, self.bytes) = (0, 0);
        let slots = self.slots.get_mut(..len).unwrap_or_default();
        slots.iter_mut().map(|p| Finished { frame: p.frame.take(), origin: p.origin, verdict: p.verdict })
    }
}

impl Deref for Packets {
    type Target = [Packet];

    #[inline]
    fn deref(&self) -> &[Packet] {
        self.slots.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for Packets {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Packet] {
        self.slots.get_mut(..self.len).unwrap_or_default()
    }
}

impl Batch {
    /// Runs `stage` on every packet of `places` that is still on its way.
    #[inline]
    pub(crate) fn each(&mut self, places: &[u16], mut stage: impl FnMut(&mut Packet) -> Result<(), Drop>) {
        let packets = &mut *self.packets;
        for &at in places {
            if let Some(packet) = packets.get_mut(usize::from(at))
                && packet.pending()
                && let Err(why) = stage(packet)
            {
                packet.drop(why);
            }
        }
    }

    /// The packets of `places`, which rise, that are still on their way; all at once, where [`Self::each`] has one at
    /// a time.
    #[inline]
    pub(crate) fn pick(&mut self, places: &[u16]) -> impl Iterator<Item = &mut Packet> {
        let mut rest = self.packets.iter_mut();
        let mut passed = 0;
        places.iter().filter_map(move |&at| {
            let packet = rest.nth(usize::from(at).checked_sub(passed)?)?;
            passed = usize::from(at) + 1;
            Some(packet).filter(|packet| packet.pending())
        })
    }
}

/// Bytes of a frame that are at hand when `classify` is through: it reads the first line and asks for the second.
const AT_HAND: usize = 128;

/// Asks for the other bytes of a packet ahead of the stage that works on all of them: what a NIC or another core wrote
/// is not in this core's cache yet.
#[inline]
pub(crate) fn prefetch_rest(packet: &Packet) {
    if let Some(rest) = packet.frame.data().get(AT_HAND..) {
        ravelin_xsk::prefetch_bytes(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_xsk::{Umem, UmemConfig};

    /// Frames of one port are taken as far as there is room, each as if it had come alone; the others come back.
    #[test]
    fn a_port_gives_no_more_than_there_is_room_for() {
        let frames = 2 * MAX_RECEIVED;
        let config = UmemConfig { frames: 256, copy_only: true, ..UmemConfig::default() };
        let umem = Umem::new(config).unwrap();
        let mut pool = umem.pools(1).pop().unwrap();
        let mut made = (1..=frames).map(|len| {
            let mut frame = pool.alloc().unwrap();
            assert!(frame.extend(len));
            frame
        });
        let mut batch = Batch::new();
        assert!(batch.receive(made.next().unwrap(), Origin::Port(PortId(1))).is_ok());
        batch.receive_from(PortId(1), &mut made.by_ref().take(2));
        assert_eq!(batch.packets.received(), Some((3, 1 + 2 + 3)));
        batch.receive_from(PortId(2), &mut made);
        assert_eq!((batch.packets.len(), batch.room()), (MAX_RECEIVED, 0));
        assert_eq!(batch.packets.received(), Some((64, 64 * 65 / 2)));
        assert!(batch.packets.iter().zip(1..).all(|(p, n)| p.frame.len() == n && p.pending()));
        assert_eq!(batch.packets[3].origin, Origin::Port(PortId(2)));
        let rest: Vec<Frame> = made.collect();
        assert_eq!((rest.len(), rest[0].len()), (frames - MAX_RECEIVED, MAX_RECEIVED + 1));
        for frame in rest.into_iter().chain(batch.packets.drain(..).map(|p| p.frame)) {
            pool.free(frame);
        }
    }
}
