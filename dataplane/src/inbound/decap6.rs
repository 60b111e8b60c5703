//! From the opened ESP packet to the IPv6 packet in it.
//!
//! Decides: whether the inner packet is what its next header says. Reads: inner header and extension headers, the outer
//! traffic class. Writes: cuts the frame to the inner packet, `Meta::ip`, the inner ECN bits.
//! Never: judges addresses by policy.

use super::decap::congestion;
use crate::classify::v6;
use crate::packet::{Door, Packet};
use ravelin_ring::counters::Drop;
use ravelin_wire::ipv6::{Ipv6, Ipv6Mut};

/// The frame begins with the packet; what follows it is padding for traffic-flow confidentiality (RFC 4303 §2.7).
pub(super) fn inner(packet: &mut Packet) -> Result<(), Drop> {
    let ip = Ipv6::parse(packet.frame.data()).map_err(|_| Drop::BadInner)?;
    let mut fields = v6::fields(&ip)?;
    let lawful = v6::lawful(&ip, Door::Sa);
    packet.frame.truncate(fields.total_len.into());
    let ecn = congestion(packet.meta.outer_tos & 3, fields.tos & 3)?;
    if ecn != fields.tos & 3 {
        fields.tos = fields.tos & !3 | ecn;
        let mut ip = Ipv6Mut::parse(packet.frame.data_mut()).map_err(|_| Drop::BadInner)?;
        ip.set_traffic_class(fields.tos);
    }
    packet.meta.ip = fields;
    packet.meta.tag = None;
    packet.meta.opened = true;
    packet.door = Door::Sa;
    lawful
}
