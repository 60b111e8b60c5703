//! Up to 64 received packets and the room for what is made of them.

use crate::packet::Packet;
use arrayvec::ArrayVec;
use ravelin_ring::counters::Drop;

/// Packets a caller may put into a batch.
pub const MAX_RECEIVED: usize = 64;
/// With fragments and ICMP errors. What finds no room is dropped as `no_frame`.
pub const MAX_BATCH: usize = 256;

/// Positions of packets in a batch, for one stage.
pub(crate) type Places = ArrayVec<u16, MAX_BATCH>;

/// One per worker, used again and again: 32 KiB that are never moved.
#[derive(Debug)]
pub struct Batch {
    pub packets: Box<ArrayVec<Packet, MAX_BATCH>>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { packets: Box::new(ArrayVec::new()) }
    }
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for this many more received packets.
    pub fn room(&self) -> usize {
        MAX_RECEIVED.saturating_sub(self.packets.len())
    }

    /// Gives the packet back when [`MAX_RECEIVED`] are there.
    #[allow(clippy::result_large_err)] // the frame comes back to its owner
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.room() == 0 {
            return Err(packet);
        }
        self.packets.try_push(packet).map_err(|full| full.element())
    }
}

impl Batch {
    /// Runs `stage` on every packet of `places` that is still on its way.
    #[inline]
    pub(crate) fn each(&mut self, places: &[u16], mut stage: impl FnMut(&mut Packet) -> Result<(), Drop>) {
        for &at in places {
            if let Some(packet) = self.packets.get_mut(usize::from(at))
                && packet.pending()
                && let Err(why) = stage(packet)
            {
                packet.drop(why);
            }
        }
    }
}

impl Batch {
    /// The packets of `places`, which rise, that are still on their way.
    #[inline]
    pub(crate) fn pick(&mut self, places: &[u16]) -> impl Iterator<Item = &mut Packet> {
        let mut wanted = places.iter().copied().peekable();
        (0u16..).zip(self.packets.iter_mut()).filter_map(move |(at, packet)| {
            wanted.next_if_eq(&at)?;
            packet.pending().then_some(packet)
        })
    }
}

/// Asks for the bytes of a packet ahead of the stage that works on all of them: what a NIC or another core wrote is
/// not in this core's cache yet.
#[inline]
pub(crate) fn prefetch_payload(packet: &Packet) {
    packet.frame.data().chunks(64).for_each(ravelin_xsk::prefetch);
}
