//! Anti-replay (RFC 4303 §3.4.3): checked before the packet costs anything, committed after it proved authentic.
//!
//! Decides: whether the number is new. Reads and writes: the SA's window and counters, the events that an authentic
//! packet brings. Never: moves a window for a packet without proof.

use super::Authentic;
use crate::clock::Now;
use crate::packet::Packet;
use crate::sa::{Cold, Events, InboundHot, InboundSa};
use ravelin_crypto::Opened;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::WorkerEvent;
use ravelin_wire::Bytes;
use std::net::SocketAddr;

/// Before decryption.
#[inline]
pub(crate) fn check(packet: &mut Packet, hot: &InboundHot) -> Result<(), Drop> {
    let low = packet.frame.data().be32(4).ok_or(Drop::BadEsp)?;
    let number = if hot.esn { hot.window.infer(low) } else { low.into() };
    packet.meta.seq = number;
    hot.window.check(number)?;
    hot.window.touch(number);
    Ok(())
}

/// After decryption.
#[inline(always)]
pub(crate) fn commit(
    packet: &mut Packet,
    hot: &mut InboundHot,
    sa: &mut Cold<'_, InboundSa>,
    proof: Authentic,
    opened: Opened,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    hot.window.commit(proof)?;
    let bytes = hot.bytes + u64::from(opened.len);
    // One branch for what is rare.
    let gate = (hot.packets >= hot.gates.0) | (bytes > hot.gates.1);
    if gate | hot.attention || hot.udp && is_elsewhere(packet, hot) {
        attend(packet, hot, sa.get(), bytes, events, now)?;
    }
    hot.packets += 1;
    hot.bytes = bytes;
    hot.last_ms = now.ms;
    Ok(())
}

/// The peer has moved. A packet that was overtaken, or held up by somebody, says only where the peer was.
#[inline]
fn is_elsewhere(packet: &Packet, hot: &InboundHot) -> bool {
    hot.udp && packet.meta.udp && hot.remote != packet.meta.from && packet.meta.seq == hot.window.top()
}

/// What is rare about an authentic packet: the first one, one from elsewhere, one over a limit.
#[cold]
fn attend(
    packet: &mut Packet,
    hot: &mut InboundHot,
    sa: Option<&mut InboundSa>,
    bytes: u64,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    let sa = sa.ok_or(Drop::NoSa)?;
    if !sa.greeted && events.push(WorkerEvent::FirstPacket { sa: sa.id }) {
        sa.greeted = true;
    }
    hot.attention = !sa.greeted || hot.transport;
    if is_elsewhere(packet, hot) && sa.moved.pass(now) {
        let from = SocketAddr::new(packet.outer_source(), packet.meta.from.1);
        events.push(WorkerEvent::PeerMoved { sa: sa.id, from });
    }
    sa.limits.at_gate(sa.id, (hot.packets, bytes), &mut hot.gates, (events, now))
}
