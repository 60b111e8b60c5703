//! All that comes before a packet is sealed, where it is what nearly every packet is: one of IPv4 for an SA in tunnel mode
//! between IPv4 addresses, in UDP or not, that is far from its limits.
//!
//! Decides: whether it is one. Reads and writes: what [`crate::route::age`], [`super::encap`] and [`super::sequence`] do, in
//! their order and in one go. Never: says why another packet cannot go; they do, from the beginning.

use super::encap::{self, IN_UDP, LINK, PLAIN};
use super::sequence;
use crate::clock::Now;
use crate::packet::Packet;
use crate::sa::OutboundHot;
use ravelin_wire::ipv4;

/// True: all is done. False, and nothing was changed: another packet, or another SA.
#[inline(always)]
pub(crate) fn ready(packet: &mut Packet, hot: &mut OutboundHot, now: Now) -> bool {
    let meta = &packet.meta;
    let bytes = hot.bytes.wrapping_add(meta.ip.total_len.into());
    if !hot.outer.plain || meta.aged || meta.ip.v6 || meta.ip.ttl <= 1 {
        return false;
    }
    if hot.sequence >= hot.gates.0 || bytes > hot.gates.1 || packet.frame.len() < ipv4::HEADER {
        return false;
    }
    let (front, back) = (hot.outer.front, hot.outer.back);
    let padding = sequence::padding(packet, hot);
    if !packet.frame.grow(front.into(), u16::from(back) + u16::from(padding)) {
        return false;
    }
    // Nothing below can fail: the front is as long as its headers, and behind it the inner one is whole.
    write(packet, hot, front.into());
    (hot.bytes, hot.last_ms) = (bytes, now.ms);
    hot.sequence += 1;
    packet.meta.seq = hot.sequence;
    true
}

#[inline(always)]
fn write(packet: &mut Packet, hot: &mut OutboundHot, front: usize) {
    let Packet { frame, meta, .. } = packet;
    let len = frame.len16().wrapping_sub(LINK);
    let Some((headers, inner)) = frame.data_mut().split_at_mut_checked(front) else { return };
    let (Some(inner), Some((outer, behind))) = (inner.first_chunk_mut(), headers.split_first_chunk_mut())
    else {
        return;
    };
    (meta.ip.ttl, meta.aged) = (meta.ip.ttl.wrapping_sub(1), true);
    ipv4::count_down(inner);
    encap::network(outer, meta.ip.tos, meta.ip.df, hot, len);
    meta.skip = PLAIN.into();
    if hot.udp
        && let (Some(udp), Some(template)) = (behind.first_chunk_mut(), hot.outer.template.last_chunk())
    {
        encap::transport(udp, template, len);
        meta.skip = IN_UDP.into();
    }
}
