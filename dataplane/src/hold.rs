//! Packets that wait until their tunnel has an outbound SA (R172).
//!
//! Decides: whether a packet may wait, and that its time is over. Reads: the clock of the batch. Writes: frames out of
//! batches and back into them. Never: holds more than its bounds say, or a packet of a tunnel whose policy does not
//! ask for it; loses a packet without a count.
//!
//! A packet waits as it came to `outbound::select`, an IP packet before fragmentation, and goes all the way again once
//! it is released: tables may have changed meanwhile.

use crate::batch::Batch;
use crate::packet::{Door, Origin, Packet};
use crate::sa::{Tunnel, Tunnels};
use crate::stats::Stats;
use crate::verdict::Verdict;
use crate::worker::Now;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::TunnelId;
use ravelin_xsk::{Frame, FramePool};
use std::collections::VecDeque;

/// One connection's first packets, and those of some others beside it.
const PER_TUNNEL: u16 = 16;
/// A small part of the frames of the smallest pool, so that waiting packets never starve the others.
const TOTAL: usize = 128;
/// Time for an IKE negotiation that loses a message. What is older, its sender has sent again.
const PATIENCE_MS: u64 = 5000;

/// Both queues together never hold more than [`TOTAL`].
#[derive(Debug)]
pub(crate) struct Hold {
    /// In the order of their deadlines.
    waiting: VecDeque<Held>,
    ready: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    tunnel: TunnelId,
    frame: Frame,
    door: Door,
    hops: u8,
    until: u64,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(TOTAL), ready: VecDeque::with_capacity(TOTAL) }
    }

    /// Takes the frame out of the packet, which is done with here.
    pub(crate) fn take(&mut self, packet: &mut Packet, tunnel: &mut Tunnel, now: Now) -> Result<(), Drop> {
        if tunnel.held >= PER_TUNNEL || self.waiting.len() + self.ready.len() >= TOTAL {
            return Err(Drop::HoldFull);
        }
        tunnel.held += 1;
        self.waiting.push_back(Held {
            tunnel: tunnel.id,
            frame: packet.frame.take(),
            door: packet.door,
            hops: packet.origin.hops(),
            until: now.ms.saturating_add(PATIENCE_MS),
        });
        packet.verdict = Verdict::Held;
        Ok(())
    }

    /// The tunnel has an outbound SA: its packets go on with the next batch, in their order.
    pub(crate) fn release(&mut self, tunnel: TunnelId) {
        for _ in 0..self.waiting.len() {
            let Some(held) = self.waiting.pop_front() else { return };
            let queue = if held.tunnel == tunnel { &mut self.ready } else { &mut self.waiting };
            queue.push_back(held);
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }

    /// Up to `room` released packets for the batch. They are counted when the batch is processed.
    pub(crate) fn fill(&mut self, batch: &mut Batch, room: usize, tunnels: &mut Tunnels) {
        for _ in 0..room.min(batch.room()) {
            let Some(Held { tunnel, frame, door, hops, .. }) = self.ready.pop_front() else { return };
            tunnels.let_go(tunnel);
            // There is room: asked above.
            let _ = batch.receive(frame, Origin::Released { door, hops });
        }
    }

    /// Drops what has waited too long.
    pub(crate) fn expire(
        &mut self,
        pool: &mut FramePool,
        tunnels: &mut Tunnels,
        stats: &mut Stats,
        now: Now,
    ) {
        while self.waiting.front().is_some_and(|held| held.until <= now.ms) {
            let Some(held) = self.waiting.pop_front() else { return };
            tunnels.let_go(held.tunnel);
            stats.count(Counter::Released);
            stats.drop(Drop::HoldExpired);
            pool.free(held.frame);
        }
    }
}
