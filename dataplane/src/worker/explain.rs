//! What would become of a packet (R304): the real way, run dry.
//!
//! Decides: nothing; the stages do, in the worker that owns the state, between two batches. Reads: all that they read.
//! Writes: nothing that stays. What a packet changes is set aside before and put back after: counters, windows, sequence
//! numbers, limits, flows, what waits, events, rates. What would be sealed is sealed with a key made up on the spot, so
//! that no number is ever used twice with a real one. Never: sends anything; allocates on behalf of a packet on its way.
//!
//! Each packet is asked about by itself: a fragment of ESP or AH is told to wait for the others, whatever waits already.

mod aside;
mod dry;

use super::{Now, Worker};
use crate::batch::Batch;
use crate::packet::{Origin, Packet};
use crate::verdict::Verdict;
use aside::Aside;
use dry::Dry;
use ravelin_ring::inspect;
use ravelin_ring::msg::WorkerId;
use ravelin_wire::MacAddr;
use ravelin_wire::classify::Steer;
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_xsk::{Frame, FramePool};

/// The packet that is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    pub origin: Origin,
    pub bytes: Vec<u8>,
}

/// How it goes on at another worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handed {
    pub worker: WorkerId,
    pub subject: Subject,
}

impl Worker {
    /// `bare` comes by a port without Ethernet: the header that its neighbour would send it with.
    pub fn dressed(&self, port: ravelin_ring::msg::PortId, bare: &[u8]) -> Vec<u8> {
        let dst = self.way.tables.port(port).map_or(MacAddr::ZERO, |link| link.mac);
        let v6 = bare.first().is_some_and(|byte| byte >> 4 == 6);
        let ethertype = if v6 { ethernet::IPV6 } else { ethernet::IPV4 };
        let header = Ethernet { dst, src: MacAddr([2, 0, 0, 0, 0, 1]), ethertype };
        [&header.to_bytes()[..], bare].concat()
    }

    /// What the XDP program of a port does with a frame, by the tables of this worker.
    pub fn steer(&self, port: ravelin_ring::msg::PortId, frame: &[u8]) -> Steer {
        self.way.tables.steer(port, frame)
    }

    /// Call between batches, with an empty one. `None`: there is no frame for it, or it is too long for one.
    pub fn explain(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        now: Now,
        subject: &Subject,
    ) -> Option<(inspect::Step, Option<Handed>)> {
        let frame = lend(pool, &subject.bytes)?;
        batch.receive(frame, subject.origin).map_err(|frame| pool.free(frame)).ok()?;
        let (aside, waiting) = (Aside::take(&mut self.way), self.way.hold.waiting());
        let mut dry = Dry::new(self.way.tables.clone(), self.way.db.worker);
        self.process_watched(batch, pool, now, &mut dry);
        let handed = batch.packets.first().and_then(handed);
        let mut step = dry.finish(&mut self.way.db);
        step.nat = self.way.nat.take_told();
        // `Held` is a fragment too, which waits for others, and not here.
        while let Some(frame) = self.way.hold.take_back(&mut self.way.db.tunnels, waiting) {
            pool.free(frame);
        }
        for packet in batch.packets.drain(..) {
            if packet.verdict != Verdict::Held {
                pool.free(packet.frame);
            }
        }
        aside.put_back(&mut self.way, pool);
        Some((step, handed))
    }
}

fn lend(pool: &mut FramePool, bytes: &[u8]) -> Option<Frame> {
    let mut frame = pool.alloc()?;
    if !frame.extend(bytes.len()) {
        pool.free(frame);
        return None;
    }
    frame.data_mut().copy_from_slice(bytes);
    Some(frame)
}

fn handed(packet: &Packet) -> Option<Handed> {
    let Verdict::HandOff { worker } = packet.verdict else { return None };
    Some(Handed { worker, subject: Subject { origin: packet.origin, bytes: packet.frame.data().to_vec() } })
}
