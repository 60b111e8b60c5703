//! The outer IPv6 header, and the way out of the port.
//!
//! Decides: outer traffic class and flow label. Reads: the SA's addresses and template, the inner header.
//! Writes: Ethernet, IPv6 and UDP headers before the ESP packet, in `Meta::skip` how long they are, and the checksum of
//! UDP once the packet is sealed. Never: lets a router fragment: IPv6 knows no such thing.

use super::multipath;
use crate::packet::Packet;
use crate::sa::{OutboundHot, OutboundSa};
use ravelin_ring::counters::Drop;
use ravelin_wire::checksum::Sum;
use ravelin_wire::ipv6::{self, Ipv6Header};
use ravelin_wire::{ethernet, protocol, udp};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const NETWORK: usize = ethernet::HEADER;
const TRANSPORT: usize = NETWORK + ipv6::HEADER;
const ESP_IN_UDP: usize = TRANSPORT + udp::HEADER;

#[inline(never)]
pub(super) fn write(packet: &mut Packet, hot: &OutboundHot, sa: &OutboundSa) -> Result<(), Drop> {
    let (src, dst) = v6(sa.local).zip(v6(sa.remote)).ok_or(Drop::NoOutboundSa)?;
    let size = if hot.udp { ESP_IN_UDP } else { TRANSPORT };
    let payload_len = size - TRANSPORT + packet.frame.len();
    let payload_len = u16::try_from(payload_len).map_err(|_| Drop::FrameTooSmall)?;
    let flow_label = flow_label(packet, hot.payload_offset.into());
    let source = hot.multipath.then(|| multipath::source_port(packet, hot.payload_offset.into()));
    if !packet.frame.push_front(size) {
        return Err(Drop::FrameTooSmall);
    }
    packet.meta.skip = u16::try_from(size).unwrap_or(u16::MAX);
    let header = Ipv6Header {
        // DSCP is copied (RFC 4301 §5.1.2.2), and so is ECN, in normal mode (RFC 6040 §4.1).
        traffic_class: packet.meta.ip.tos,
        flow_label,
        payload_len,
        next_header: if hot.udp { protocol::UDP } else { protocol::ESP },
        hop_limit: 64,
        src,
        dst,
    };
    let front = packet.frame.data_mut().get_mut(..size).ok_or(Drop::FrameTooSmall)?;
    let (link, rest) = front.split_at_mut(NETWORK);
    let (network, transport) = rest.split_at_mut(ipv6::HEADER);
    link.copy_from_slice(&hot.outer.template[..NETWORK]);
    network.copy_from_slice(&header.to_bytes());
    if hot.udp {
        let (src, dst) = sa.ports().unwrap_or((0, 0));
        let src = source.unwrap_or(src);
        let ports = udp::UdpHeader { src, dst, len: payload_len, checksum: 0 };
        transport.copy_from_slice(&ports.to_bytes());
    }
    Ok(())
}

/// That of the inner packet at `at` of the frame (RFC 4301 §5.1.2.2); IPv4 has none.
pub(super) fn flow_label(packet: &Packet, at: usize) -> u32 {
    let inner = packet.frame.data().get(at..).and_then(|b| b.first_chunk::<4>());
    match inner {
        Some([_, a, b, c]) if packet.meta.ip.v6 => u32::from_be_bytes([0, a & 0x0f, *b, *c]),
        _ => 0,
    }
}

/// Fills in the checksum of UDP over a sealed packet. RFC 3948 §2.1 has none over IPv4 only, and RFC 6935 leaves zero to
/// those who agreed on it: a socket drops it.
pub(crate) fn checksum(packet: &mut Packet) {
    let Some((_, ip)) = packet.frame.data_mut().split_at_mut_checked(NETWORK) else { return };
    checksum_behind(ip, ipv6::HEADER);
}

/// The same of an IPv6 packet with `headers` bytes before UDP.
pub(super) fn checksum_behind(ip: &mut [u8], headers: usize) {
    let Some((header, datagram)) = ip.split_at_mut_checked(headers) else { return };
    let addresses = header.get(8..ipv6::HEADER).unwrap_or_default();
    let len = u32::try_from(datagram.len()).unwrap_or(0);
    if let Some(field) = datagram.get_mut(6..8) {
        field.fill(0);
    }
    // The pseudo-header of RFC 8200 §8.1: both addresses, length, next header.
    let sum =
        Sum::new().bytes(addresses).bytes(&len.to_be_bytes()).word(protocol::UDP.into()).bytes(datagram);
    let sum = match sum.finish() {
        0 => u16::MAX,
        sum => sum,
    };
    if let Some(field) = datagram.get_mut(6..8) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

fn v6(addr: SocketAddr) -> Option<Ipv6Addr> {
    match addr.ip() {
        IpAddr::V6(a) => Some(a),
        IpAddr::V4(_) => None,
    }
}
