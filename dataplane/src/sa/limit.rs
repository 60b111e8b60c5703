//! When an SA has carried enough (RFC 4301 §4.4.2.1).
//!
//! Decides: whether one more packet may go, and which limit was reached. A hot record holds only two gates; here is
//! what happens when a packet comes to one.

use super::Events;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{Limit, SaId, SaSpec, WorkerEvent};

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    soft_bytes: u64,
    hard_bytes: u64,
    soft_packets: u64,
    hard_packets: u64,
    /// Last number that may be sent, and the one at which a new SA should be asked for.
    soft_sequence: u64,
    hard_sequence: u64,
    soft_told: bool,
    hard_told: bool,
}

/// What a packet at the gate finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reached {
    Soft(Limit),
    Hard(Limit, Drop),
}

const NEVER: u64 = u64::MAX;

impl Limits {
    pub(crate) fn new(spec: &SaSpec) -> Self {
        let limit = |n| if n == 0 { NEVER } else { n };
        let last = if spec.esn { u64::MAX } else { u64::from(u32::MAX) };
        Self {
            soft_bytes: limit(spec.soft_bytes),
            hard_bytes: limit(spec.hard_bytes),
            soft_packets: limit(spec.soft_packets),
            hard_packets: limit(spec.hard_packets),
            // R302: a quarter of the numbers is left for the rekey.
            soft_sequence: last - last / 4,
            hard_sequence: last,
            soft_told: false,
            hard_told: false,
        }
    }

    /// The counts of packets and of bytes up to which nothing happens.
    pub(crate) fn gates(&self) -> (u64, u64) {
        let hard = (self.hard_packets.min(self.hard_sequence), self.hard_bytes);
        if self.soft_told {
            return hard;
        }
        (hard.0.min(self.soft_packets).min(self.soft_sequence), hard.1.min(self.soft_bytes))
    }

    /// For a packet that would be number `packets` + 1 and take the bytes to `bytes`. The hard limit goes first.
    fn reached(&self, packets: u64, bytes: u64) -> Option<Reached> {
        if packets >= self.hard_sequence {
            return Some(Reached::Hard(Limit::Sequence, Drop::SequenceExhausted));
        }
        if packets >= self.hard_packets {
            return Some(Reached::Hard(Limit::Packets, Drop::SaExpired));
        }
        if bytes > self.hard_bytes {
            return Some(Reached::Hard(Limit::Bytes, Drop::SaExpired));
        }
        let soft = [
            (packets >= self.soft_sequence, Limit::Sequence),
            (packets >= self.soft_packets, Limit::Packets),
            (bytes > self.soft_bytes, Limit::Bytes),
        ];
        if self.soft_told {
            return None;
        }
        soft.into_iter().find(|(reached, _)| *reached).map(|(_, limit)| Reached::Soft(limit))
    }

    /// A packet came to one of `gates`: tells of the limit it reached, once, and says whether the packet may still go.
    /// An event that finds no room is told with the next packet.
    #[cold]
    pub(crate) fn at_gate(
        &mut self,
        sa: SaId,
        (packets, bytes): (u64, u64),
        gates: &mut (u64, u64),
        events: &mut Events,
    ) -> Result<(), Drop> {
        let Some(reached) = self.reached(packets, bytes) else { return Ok(()) };
        if self.tell(reached) {
            let event = match reached {
                Reached::Soft(limit) => WorkerEvent::SoftLimit { sa, limit },
                Reached::Hard(limit, _) => WorkerEvent::HardLimit { sa, limit },
            };
            if events.push(event) {
                self.told(reached);
                *gates = self.gates();
            }
        }
        match reached {
            Reached::Soft(_) => Ok(()),
            Reached::Hard(_, why) => Err(why),
        }
    }

    /// True the first time.
    fn tell(&self, reached: Reached) -> bool {
        match reached {
            Reached::Soft(_) => !self.soft_told,
            Reached::Hard(..) => !self.hard_told,
        }
    }

    fn told(&mut self, reached: Reached) {
        match reached {
            Reached::Soft(_) => self.soft_told = true,
            Reached::Hard(..) => (self.soft_told, self.hard_told) = (true, true),
        }
    }
}
