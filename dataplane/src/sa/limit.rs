//! When an SA has carried enough (RFC 4301 §4.4.2.1).
//!
//! Decides: whether one more packet may go, and which limit was reached. A hot record holds only two gates; here is
//! what happens when a packet comes to one.

use super::{Events, Throttle};
use crate::clock::Now;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{Direction, Limit, SaId, SaSpec, WorkerEvent};

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    soft_bytes: u64,
    hard_bytes: u64,
    soft_packets: u64,
    hard_packets: u64,
    /// The number at which a new SA should be asked for, and the last one that may be sent.
    soft_sequence: u64,
    hard_sequence: u64,
    refused: Throttle,
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
        // Sent packets are counted by their numbers.
        let first = if spec.direction == Direction::Outbound { spec.extras.sequence } else { 0 };
        let packets = |n: u64| limit(n).saturating_add(first);
        let last = if spec.esn { u64::MAX } else { u64::from(u32::MAX) };
        Self {
            soft_bytes: limit(spec.soft_bytes),
            hard_bytes: limit(spec.hard_bytes),
            soft_packets: packets(spec.soft_packets),
            hard_packets: packets(spec.hard_packets),
            // R124, R302: a quarter of the numbers is left for the rekey.
            soft_sequence: last - last / 4,
            hard_sequence: last,
            refused: Throttle::default(),
        }
    }

    /// The counts of packets and of bytes up to which nothing happens.
    pub(crate) fn gates(&self) -> (u64, u64) {
        let packets = [self.soft_packets, self.soft_sequence, self.hard_packets, self.hard_sequence];
        (packets.into_iter().fold(NEVER, u64::min), self.soft_bytes.min(self.hard_bytes))
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
        soft.into_iter().find(|(reached, _)| *reached).map(|(_, limit)| Reached::Soft(limit))
    }

    /// A packet came to one of `gates`: tells of the limit it reached, and says whether the packet may still go. An event
    /// that finds no room is told with the next packet.
    #[cold]
    pub(crate) fn at_gate(
        &mut self,
        sa: SaId,
        (packets, bytes): (u64, u64),
        gates: &mut (u64, u64),
        (events, now): (&mut Events, Now),
    ) -> Result<(), Drop> {
        match self.reached(packets, bytes) {
            None => Ok(()),
            Some(Reached::Soft(limit)) => {
                if events.push(WorkerEvent::SoftLimit { sa, limit }) {
                    self.ask_later(limit, packets, bytes);
                    *gates = self.gates();
                }
                Ok(())
            }
            Some(Reached::Hard(limit, why)) => {
                if self.refused.pass(now) && !events.push(WorkerEvent::HardLimit { sa, limit }) {
                    self.refused = Throttle::default();
                }
                Err(why)
            }
        }
    }

    /// The limit was told of. Who heard it may be gone before it acted, or the peer may have refused: it is told again
    /// each time that half of the rest is used up, which is some sixty times at most.
    fn ask_later(&mut self, limit: Limit, packets: u64, bytes: u64) {
        let rest = |at: u64, hard: u64| at + hard.saturating_sub(at).div_ceil(2).max(1);
        let half = |at: u64, hard| if hard == NEVER { at.saturating_add(at / 4 + 1) } else { rest(at, hard) };
        match limit {
            Limit::Bytes => self.soft_bytes = half(bytes, self.hard_bytes),
            Limit::Packets => self.soft_packets = half(packets, self.hard_packets),
            Limit::Sequence => self.soft_sequence = rest(packets, self.hard_sequence),
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // numbers of tests are small
mod tests;
