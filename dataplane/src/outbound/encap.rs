//! The outer header, and the way out of the port.
//!
//! Decides: outer DF, identification, TOS. Reads: the SA's template. Writes: Ethernet, IPv4 and UDP headers before the
//! ESP packet, and in `Meta::skip` how long they are. Never: looks at the payload.

use super::{encap6, multipath, sequence};
use crate::packet::Packet;
use crate::sa::{OutboundHot, OutboundSa, Outer};
use ravelin_ring::counters::Drop;
use ravelin_wire::{ethernet, ipv4, udp};

/// Makes room for all that comes around the payload at once.
#[inline(always)]
pub(crate) fn write<'a>(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    sa: impl FnOnce() -> Option<&'a mut OutboundSa>,
) -> Result<(), Drop> {
    if hot.v6 {
        sequence::make_room(packet, hot, 0)?;
        return encap6::write(packet, hot, sa().ok_or(Drop::NoOutboundSa)?);
    }
    let skip = if hot.udp { IN_UDP } else { PLAIN };
    sequence::make_room(packet, hot, skip)?;
    let len = packet.frame.len16().wrapping_sub(LINK);
    packet.meta.skip = skip.into();
    let (tos, df) = (packet.meta.ip.tos, packet.meta.ip.df);
    if hot.udp {
        ports(packet, hot, len)?;
    }
    let front = packet.frame.data_mut().first_chunk_mut().ok_or(Drop::FrameTooSmall)?;
    network(front, tos, df, hot, len);
    Ok(())
}

const NETWORK: usize = ethernet::HEADER;
pub(super) const TRANSPORT: usize = NETWORK + ipv4::HEADER;

#[allow(clippy::cast_possible_truncation)] // 14, 34 and 42
pub(super) const LINK: u16 = NETWORK as u16;
#[allow(clippy::cast_possible_truncation)]
pub(super) const PLAIN: u8 = TRANSPORT as u8;
#[allow(clippy::cast_possible_truncation)]
pub(super) const IN_UDP: u8 = Outer::MAX as u8;

const _: () = assert!(TRANSPORT + udp::HEADER == Outer::MAX);

/// The UDP header; its checksum stays 0 (RFC 3948 §2.1). `len`: from the IP header on.
#[inline]
fn ports(packet: &mut Packet, hot: &OutboundHot, len: u16) -> Result<(), Drop> {
    let payload = Outer::MAX + usize::from(hot.payload_offset);
    let source = hot.multipath.then(|| multipath::source_port(packet, payload));
    let front = packet.frame.data_mut().first_chunk_mut::<{ Outer::MAX }>().ok_or(Drop::FrameTooSmall)?;
    let (Some(udp), Some(template)) =
        (front.last_chunk_mut::<{ udp::HEADER }>(), hot.outer.template.last_chunk::<{ udp::HEADER }>())
    else {
        return Ok(()); // not reached
    };
    transport(udp, template, len);
    if let Some(source) = source {
        [udp[0], udp[1]] = source.to_be_bytes();
    }
    Ok(())
}

#[inline(always)]
pub(super) fn transport(udp: &mut [u8; udp::HEADER], template: &[u8; udp::HEADER], len: u16) {
    *udp = *template;
    [udp[4], udp[5]] = len.wrapping_sub(20).to_be_bytes();
}

/// Link and network header: the template with length, TOS, identification, flags and checksum. Whole words are written, in
/// the order of the bytes in memory, on which the checksum does not depend (RFC 1071 §2 B).
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // folded to 16 bits
pub(super) fn network(front: &mut [u8; TRANSPORT], tos: u8, df: bool, hot: &mut OutboundHot, len: u16) {
    let df = hot.outer.df.of(df);
    // What cannot be fragmented needs no identification (RFC 6864 §4.1).
    let id = if df { 0 } else { hot.next_id() };
    // DSCP is copied (RFC 4301 §5.1.2.1), and so is ECN, in normal mode (RFC 6040 §4.1).
    let (tos, df) = (u64::from(tos) << 8, u64::from(df) << 6);
    let (len, id) = (u64::from(len.swap_bytes()), u64::from(id.swap_bytes()));
    let Outer { template, sum, .. } = &hot.outer;
    let sum = u64::from(*sum) + tos + len + id + df;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !(sum + (sum >> 16)) as u16;
    let word = |at: usize| {
        template.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |w| u64::from_le_bytes(*w))
    };
    let first = word(NETWORK) | tos | len << 16 | id << 32 | df << 48;
    let second = word(NETWORK + 8) | u64::from(sum) << 16;
    front[..16].copy_from_slice(&template[..16]);
    front[NETWORK..NETWORK + 8].copy_from_slice(&first.to_le_bytes());
    front[NETWORK + 8..NETWORK + 16].copy_from_slice(&second.to_le_bytes());
    front[NETWORK + 16..].copy_from_slice(&template[NETWORK + 16..TRANSPORT]);
}
