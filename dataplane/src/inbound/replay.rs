//! Anti-replay (RFC 4303 §3.4.3): checked before the packet costs anything, committed after it proved authentic.
//!
//! Decides: whether the number is new. Reads and writes: the SA's window and counters, the events that an authentic
//! packet brings. Never: moves a window for a packet without proof.

use crate::batch::Batch;
use crate::packet::Packet;
use crate::sa::{Events, InboundHot, InboundSa, SaDb};
use crate::worker::Now;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::WorkerEvent;
use ravelin_wire::Bytes;
use std::net::{Ipv4Addr, SocketAddr};

/// Before decryption.
pub(crate) fn check(batch: &mut Batch, esp: &[u16], db: &mut SaDb) {
    batch.each(esp, |packet| {
        let Some(hot) = db.inbound.hot(packet.meta.sa) else { return Err(Drop::NoSa) };
        let low = packet.frame.data().be32(4).ok_or(Drop::BadEsp)?;
        let number = if hot.esn { hot.window.infer(low) } else { low.into() };
        packet.meta.seq = number;
        if let Err(why) = hot.window.check(number) {
            return Err(replayed(db, packet.meta.sa, why));
        }
        hot.window.touch(number);
        Ok(())
    });
}

/// After decryption.
pub(crate) fn commit(batch: &mut Batch, esp: &[u16], db: &mut SaDb, events: &mut Events, now: Now) {
    batch.each(esp, |packet| {
        let place = packet.meta.sa;
        let (Some(hot), Some(proof)) = (db.inbound.hot(place), packet.meta.proof.take()) else {
            return Err(Drop::BadIcv); // cannot be: only decrypt lets a packet come here, and with a proof
        };
        if let Err(why) = hot.window.commit(proof) {
            return Err(replayed(db, place, why));
        }
        let bytes = hot.bytes + u64::from(packet.meta.inner.1);
        let gate = hot.packets >= hot.gates.0 || bytes > hot.gates.1;
        let moved = is_elsewhere(packet, hot);
        if gate || moved || hot.attention {
            let (hot, sa) = db.inbound.both(place).ok_or(Drop::NoSa)?;
            attend(packet, hot, sa, events, now)?;
        }
        if let Some(hot) = db.inbound.hot(place) {
            hot.packets += 1;
            hot.bytes = bytes;
            hot.last_ms = now.ms;
        }
        Ok(())
    });
}

fn replayed(db: &mut SaDb, place: u32, why: Drop) -> Drop {
    if let Some((_, sa)) = db.inbound.both(place) {
        sa.replay_drops += 1;
    }
    why
}

/// The peer has moved. A packet that was overtaken, or held up by somebody, says only where the peer was.
#[inline]
fn is_elsewhere(packet: &Packet, hot: &InboundHot) -> bool {
    hot.udp && packet.meta.udp && hot.remote != packet.meta.from && packet.meta.seq == hot.window.top()
}

/// What is rare about an authentic packet: the first one, one from elsewhere, one over a limit.
#[cold]
fn attend(
    packet: &Packet,
    hot: &mut InboundHot,
    sa: &mut InboundSa,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    if !sa.greeted && events.push(WorkerEvent::FirstPacket { sa: sa.id }) {
        sa.greeted = true;
    }
    hot.attention = !sa.greeted;
    let (addr, port) = packet.meta.from;
    if is_elsewhere(packet, hot) && sa.moved.pass(now) {
        let from = SocketAddr::new(Ipv4Addr::from_bits(addr).into(), port);
        events.push(WorkerEvent::PeerMoved { sa: sa.id, from });
    }
    let carried = (hot.packets, hot.bytes + u64::from(packet.meta.inner.1));
    sa.limits.at_gate(sa.id, carried, &mut hot.gates, events)
}
