//! Packets that wait until their tunnel has an outbound SA (R172), or their next hop a link address (R26).
//!
//! Decides: whether a packet may wait, and that its time is over. Reads: the clock of the batch. Writes: frames out of
//! batches and back into them. Never: holds more than its bounds say, or a packet of a tunnel whose policy does not
//! ask for it, or more than one for a next hop; loses a packet without a count.
//!
//! A packet waits as it came to `outbound::select` or `route::egress`, an IP packet before fragmentation, and goes all the way again once
//! it is released: tables may have changed meanwhile.

use crate::batch::Batch;
use crate::clock::Now;
use crate::escape::Bounds;
use crate::neighbour::Neighbours;
use crate::packet::{Door, Origin, Packet};
use crate::sa::{Tunnel, Tunnels};
use crate::stats::Stats;
use crate::verdict::Verdict;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{PortId, TunnelId};
use ravelin_xsk::{Frame, FramePool};
use std::collections::VecDeque;
use std::net::IpAddr;

/// One connection's first packets, and those of some others beside it.
const PER_TUNNEL: u16 = 16;
/// A small part of the frames of the smallest pool, so that waiting packets never starve the others.
const TOTAL: usize = 128;
/// Time for an IKE negotiation that loses a message. What is older, its sender has sent again.
const PATIENCE_MS: u64 = 5000;

/// Next hops that a packet waits for, so that a scan of a network leaves room for what waits for SAs.
const LINKS: usize = 32;

/// Both queues together never hold more than [`TOTAL`].
#[derive(Debug)]
pub(crate) struct Hold {
    /// In the order of their deadlines.
    waiting: VecDeque<Held>,
    ready: VecDeque<Held>,
    /// Of those in `waiting`, how many wait for a link address.
    links: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Tunnel(TunnelId),
    Link { port: PortId, addr: IpAddr },
}

#[derive(Debug)]
struct Held {
    want: Want,
    frame: Frame,
    door: Door,
    hops: u8,
    bounds: Bounds,
    until: u64,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(TOTAL), ready: VecDeque::with_capacity(TOTAL), links: 0 }
    }

    /// Takes the frame out of the packet, which is done with here.
    pub(crate) fn take(&mut self, packet: &mut Packet, tunnel: &mut Tunnel, now: Now) -> Result<(), Drop> {
        if tunnel.held >= PER_TUNNEL || self.waiting.len() + self.ready.len() >= TOTAL {
            return Err(Drop::HoldFull);
        }
        tunnel.held += 1;
        self.wait(packet, Want::Tunnel(tunnel.id), now);
        Ok(())
    }

    /// The first packet for a next hop whose link address is asked for. An error of our own does not wait.
    pub(crate) fn take_for_link(
        &mut self,
        packet: &mut Packet,
        port: PortId,
        addr: IpAddr,
        now: Now,
    ) -> Result<(), Drop> {
        let want = Want::Link { port, addr };
        let full = self.links >= LINKS || self.waiting.len() + self.ready.len() >= TOTAL;
        if full || packet.is_error() || self.waiting.iter().any(|held| held.want == want) {
            return Err(Drop::NeighbourUnresolved);
        }
        self.links += 1;
        self.wait(packet, want, now);
        Ok(())
    }

    fn wait(&mut self, packet: &mut Packet, want: Want, now: Now) {
        self.waiting.push_back(Held {
            want,
            frame: packet.frame.take(),
            door: packet.next_door(),
            hops: packet.origin.hops(),
            bounds: packet.meta.bounds,
            until: now.ms.saturating_add(PATIENCE_MS),
        });
        packet.verdict = Verdict::Held;
    }

    /// How many wait, for an SA or a link address.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Undoes the last `take` of a packet that was only asked about. `before`: so many waited then, and wait on.
    pub(crate) fn take_back(&mut self, tunnels: &mut Tunnels, before: usize) -> Option<Frame> {
        if self.waiting.len() <= before {
            return None;
        }
        let Held { want, frame, .. } = self.waiting.pop_back()?;
        match want {
            Want::Tunnel(tunnel) => tunnels.let_go(tunnel),
            Want::Link { .. } => self.links -= 1,
        }
        Some(frame)
    }

    /// The tunnel has an outbound SA: its packets go on with the next batch, in their order.
    pub(crate) fn release(&mut self, tunnel: TunnelId) {
        self.let_on(|want| want == Want::Tunnel(tunnel));
    }

    /// New tables: packets whose next hop has a link address now go on with the next batch.
    pub(crate) fn resolved(&mut self, neighbours: &Neighbours) {
        if self.links > 0 {
            self.let_on(|want| match want {
                Want::Link { port, addr } => neighbours.get(port, addr).is_some(),
                Want::Tunnel(_) => false,
            });
        }
    }

    fn let_on(&mut self, may: impl Fn(Want) -> bool) {
        for _ in 0..self.waiting.len() {
            let Some(held) = self.waiting.pop_front() else { return };
            if may(held.want) {
                self.links -= usize::from(matches!(held.want, Want::Link { .. }));
                self.ready.push_back(held);
            } else {
                self.waiting.push_back(held);
            }
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }

    /// Up to `room` released packets for the batch. They are counted when the batch is processed.
    pub(crate) fn fill(&mut self, batch: &mut Batch, room: usize, tunnels: &mut Tunnels) {
        for _ in 0..room.min(batch.room()) {
            let Some(Held { want, frame, door, hops, bounds, .. }) = self.ready.pop_front() else { return };
            if let Want::Tunnel(tunnel) = want {
                tunnels.let_go(tunnel);
            }
            // There is room: asked above.
            let _ = batch.receive(frame, Origin::Released { door, hops, bounds });
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
            stats.count(Counter::Released);
            match held.want {
                Want::Tunnel(tunnel) => {
                    tunnels.let_go(tunnel);
                    stats.drop(Drop::HoldExpired);
                }
                Want::Link { .. } => {
                    self.links -= 1;
                    stats.drop(Drop::NeighbourUnresolved);
                }
            }
            pool.free(held.frame);
        }
    }
}
