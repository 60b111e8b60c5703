//! The outer header, and the way out of the port.
//!
//! Decides: outer DF, identification, TOS. Reads: the SA's template. Writes: Ethernet, IPv4 and UDP headers before the
//! ESP packet, and in `Meta::skip` how long they are. Never: looks at the payload.

use super::{encap6, multipath, sequence};
use crate::packet::Packet;
use crate::sa::{OutboundHot, OutboundSa, Outer};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::OuterDf;
use ravelin_wire::{ethernet, ipv4, udp};

/// Makes room for all that comes around the payload at once.
#[inline(always)]
pub(crate) fn write(packet: &mut Packet, hot: &mut OutboundHot, sa: &Option<OutboundSa>) -> Result<(), Drop> {
    if hot.v6 {
        sequence::make_room(packet, hot, 0)?;
        return encap6::write(packet, hot, sa.as_ref().ok_or(Drop::NoOutboundSa)?);
    }
    let size = if hot.udp { Outer::MAX } else { PLAIN };
    sequence::make_room(packet, hot, size)?;
    let len = packet.frame.len() - ethernet::HEADER;
    let len = u16::try_from(len).map_err(|_| Drop::FrameTooSmall)?;
    #[allow(clippy::cast_possible_truncation)] // 42 at most
    let skip = size as u16;
    packet.meta.skip = skip;
    let (tos, df) = (packet.meta.ip.tos, packet.meta.ip.df);
    let source = if hot.multipath {
        multipath::source_port(packet, size + usize::from(hot.payload_offset))
    } else {
        0
    };
    let front = packet.frame.data_mut();
    if hot.udp {
        let front = front.first_chunk_mut::<{ Outer::MAX }>().ok_or(Drop::FrameTooSmall)?;
        *front = hot.outer.template;
        // The checksum stays 0 (RFC 3948 §2.1).
        if hot.multipath {
            front[PLAIN..PLAIN + 2].copy_from_slice(&source.to_be_bytes());
        }
        let udp_len = len.saturating_sub(20);
        front[UDP_LEN..UDP_LEN + 2].copy_from_slice(&udp_len.to_be_bytes());
    }
    let front = front.first_chunk_mut::<PLAIN>().ok_or(Drop::FrameTooSmall)?;
    if !hot.udp {
        front.copy_from_slice(&hot.outer.template[..PLAIN]);
    }
    network(front, tos, df, hot, len);
    Ok(())
}

const NETWORK: usize = ethernet::HEADER;
/// Headers without UDP.
const PLAIN: usize = NETWORK + ipv4::HEADER;
const UDP_LEN: usize = PLAIN + 4;

const _: () = assert!(PLAIN + udp::HEADER == Outer::MAX);

/// What differs from the template, whose checksum is right for a length, a TOS, an identification and flags of 0.
#[inline]
fn network(front: &mut [u8; PLAIN], tos: u8, df: bool, hot: &mut OutboundHot, len: u16) {
    let df = match hot.df {
        OuterDf::Clear => false,
        OuterDf::Copy => df,
        OuterDf::Set => true,
    };
    // What cannot be fragmented needs no identification (RFC 6864 §4.1).
    let id = if df { 0 } else { hot.id };
    hot.id = hot.id.wrapping_add(u16::from(!df));
    let flags: u16 = if df { 0x4000 } else { 0 };
    let Some((_, ip)) = front.split_last_chunk_mut::<{ ipv4::HEADER }>() else { return };
    // DSCP is copied (RFC 4301 §5.1.2.1), and so is ECN, in normal mode (RFC 6040 §4.1).
    ip[1] = tos;
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    ip[6..8].copy_from_slice(&flags.to_be_bytes());
    let template = u16::from_be_bytes([ip[10], ip[11]]);
    ip[10..12].copy_from_slice(&carry([tos.into(), len, id, flags], template).to_be_bytes());
}

/// The checksum after zeros became these words (RFC 1624).
#[inline]
#[allow(clippy::cast_possible_truncation)] // folded to 16 bits
fn carry(words: [u16; 4], checksum: u16) -> u16 {
    let sum = words.into_iter().fold(u32::from(!checksum), |sum, word| sum + u32::from(word));
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
