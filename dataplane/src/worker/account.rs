//! What a batch brings and how it ends, in figures.
//!
//! Decides: nothing. Writes: counters.

use super::Way;
use crate::batch::Batch;
use crate::packet::Origin;
use crate::verdict::Verdict;
use ravelin_ring::counters::{Counter, Drop};

impl Way {
    pub(super) fn enter(&mut self, batch: &Batch) {
        self.stats.count(Counter::Batches);
        if let Some((packets, bytes)) = batch.packets.received() {
            self.stats.add(Counter::Received, packets as u64);
            self.stats.add(Counter::ReceivedBytes, bytes);
            return;
        }
        self.enter_each(batch);
    }

    #[inline(never)]
    fn enter_each(&mut self, batch: &Batch) {
        let (mut received, mut bytes) = (0, 0);
        for packet in batch.packets.iter() {
            match packet.origin {
                Origin::Port(_) => (received, bytes) = (received + 1, bytes + packet.frame.len() as u64),
                Origin::Tun | Origin::Device(_) => self.stats.count(Counter::Injected),
                Origin::HandedIn { .. } => self.stats.count(Counter::HandedIn),
                Origin::Released { .. } => self.stats.count(Counter::Released),
            }
        }
        self.stats.add(Counter::Received, received);
        self.stats.add(Counter::ReceivedBytes, bytes);
    }

    /// Counts the drops; a packet that no stage finished is dropped rather than sent (there is none).
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        for packet in batch.packets.iter_mut() {
            if packet.verdict == Verdict::Pending {
                debug_assert!(false, "a packet without verdict");
                packet.drop(Drop::Unsupported);
            }
            match packet.verdict {
                Verdict::Drop(why) => self.stats.drop(why),
                Verdict::Consumed => self.stats.count(Counter::Consumed),
                Verdict::Held => self.stats.count(Counter::Held),
                Verdict::Forward { .. }
                | Verdict::Punt
                | Verdict::Deliver { .. }
                | Verdict::HandOff { .. }
                | Verdict::Pending => {}
            }
        }
    }
}
