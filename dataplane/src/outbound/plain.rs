//! All that comes before a packet is sealed, where it is what nearly every packet is: one of IPv4 for an SA in tunnel mode
//! between IPv4 addresses, in UDP or not, that is far from its limits.
//!
//! Decides: whether it is one. Reads and writes: what [`crate::route::age`], [`super::encap`] and [`super::sequence`] do, in
//! their order and in one go. Never: says why another packet cannot go; they do, from the beginning.

use super::encap::{self, IN_UDP, LINK, PLAIN};
use super::sequence;
use crate::clock::Now;
use crate::packet::{Meta, Packet};
use crate::sa::OutboundHot;
use ravelin_wire::ipv4;
use ravelin_xsk::Frame;

/// What [`ready`] needs to know of a packet and its SA.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    front: u16,
    back: u16,
    bytes: u64,
}

/// `None`: another packet, or another SA.
#[inline(always)]
pub(super) fn plan(packet: &Packet, hot: &OutboundHot) -> Option<Plan> {
    let Packet { frame, meta, .. } = packet;
    let bytes = hot.bytes.wrapping_add(meta.ip.total_len.into());
    if !hot.outer.plain || meta.aged || meta.ip.v6 || meta.ip.ttl <= 1 {
        return None;
    }
    if hot.sequence >= hot.gates.0 || bytes > hot.gates.1 || frame.len() < ipv4::HEADER {
        return None;
    }
    let front = hot.outer.front.into();
    let back = u16::from(hot.outer.back) + u16::from(sequence::padding(packet, hot));
    frame.can_grow(front, back).then_some(Plan { front, back, bytes })
}

/// The ESP packet to seal; headers are before it.
#[inline(always)]
pub(super) fn ready<'a>(
    frame: &'a mut Frame,
    meta: &mut Meta,
    hot: &mut OutboundHot,
    plan: Plan,
    now: Now,
) -> Option<&'a mut [u8]> {
    // Of the TTL nobody reads more than the frame from here on.
    ipv4::count_down(frame.data_mut().first_chunk_mut()?);
    if !frame.grow(plan.front, plan.back) {
        return None;
    }
    let len = frame.len16().wrapping_sub(LINK);
    let (outer, mut esp) = frame.data_mut().split_first_chunk_mut()?;
    encap::network(outer, meta.ip.tos, meta.ip.df, hot, len);
    meta.skip = PLAIN.into();
    if hot.udp {
        let (udp, behind) = esp.split_first_chunk_mut()?;
        encap::transport(udp, hot.outer.template.last_chunk()?, len);
        (meta.skip, esp) = (IN_UDP.into(), behind);
    }
    (hot.bytes, hot.last_ms) = (plan.bytes, now.ms);
    hot.sequence += 1;
    meta.seq = hot.sequence;
    Some(esp)
}
