//! Anomalies of IP, TCP, UDP and ICMP headers, for tunnels with `header-integrity-check` (R95).
//!
//! Decides: whether the headers of a clear packet are such as no honest host sends; each anomaly by its own name.
//! Reads: the packet. Writes: nothing. Never: asked about packets of other tunnels; judges what a fragment hides.

use ravelin_ring::counters::Drop;
use ravelin_wire::checksum::Sum;
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::ipv6::Ipv6;
use ravelin_wire::tcp::{self, Tcp};
use ravelin_wire::{Bytes, protocol, udp};

/// The packet is lawful otherwise: lengths and checksum of its IP header hold.
pub(crate) fn check(packet: &[u8], v6: bool) -> Result<(), Drop> {
    if v6 { ipv6(packet) } else { ipv4(packet) }
}

fn ipv4(packet: &[u8]) -> Result<(), Drop> {
    const RESERVED: u16 = 0x8000;
    let ip = Ipv4::parse(packet).map_err(|_| Drop::Malformed)?;
    if ip.ttl() == 0 {
        return Err(Drop::IpTtlZero);
    }
    if ip.src() == ip.dst() {
        return Err(Drop::Land);
    }
    let flags = ip.packet().be16(6).unwrap_or(0);
    let (payload, offset) = (ip.payload(), usize::from(ip.fragment_offset()));
    if flags & RESERVED != 0 || ip.df() && ip.is_fragment() {
        return Err(Drop::IpFlags);
    }
    let header = ip.header_len();
    fragment(ip.protocol(), payload, (offset, ip.mf(), header))?;
    if ip.is_fragment() {
        return Ok(()); // its checksum is over what is not here
    }
    let len = u16::try_from(payload.len()).map_err(|_| Drop::Malformed)?;
    let sum = Sum::new().pseudo_v4(ip.src(), ip.dst(), ip.protocol(), len);
    match ip.protocol() {
        protocol::TCP => tcp(payload, sum),
        protocol::UDP => udp(payload, sum, true),
        protocol::ICMP => icmp(payload, Sum::new()),
        _ => Ok(()),
    }
}

fn ipv6(packet: &[u8]) -> Result<(), Drop> {
    let ip = Ipv6::parse(packet).map_err(|_| Drop::Malformed)?;
    if ip.hop_limit() == 0 {
        return Err(Drop::IpTtlZero);
    }
    if ip.src() == ip.dst() {
        return Err(Drop::Land);
    }
    let chain = ip.chain();
    let (kind, at) = chain.end.ok_or(Drop::BadExtension)?;
    let payload = ip.packet().get(at..).ok_or(Drop::BadExtension)?;
    if chain.fragment.is_some_and(|f| !f.is_atomic()) {
        return Ok(());
    }
    let len = u32::try_from(payload.len()).map_err(|_| Drop::Malformed)?;
    let sum = Sum::new().pseudo_v6(ip.src(), ip.dst(), kind, len);
    match kind {
        protocol::TCP => tcp(payload, sum),
        protocol::UDP => udp(payload, sum, false),
        protocol::ICMPV6 => icmp(payload, sum),
        _ => Ok(()),
    }
}

/// `offset`, "more fragments", and the length of the IP header.
fn fragment(kind: u8, payload: &[u8], (offset, more, header): (usize, bool, usize)) -> Result<(), Drop> {
    if more && !payload.len().is_multiple_of(8) || header + offset + payload.len() > usize::from(u16::MAX) {
        return Err(Drop::IpFragmentLength);
    }
    // RFC 1858 §3.2, RFC 3128 §4: the first fragment has the whole header, and none begins within it.
    let whole = match kind {
        protocol::TCP => tcp::HEADER,
        protocol::UDP => udp::HEADER,
        protocol::ICMP => 8,
        _ => return Ok(()),
    };
    let tiny = offset == 0 && more && payload.len() < whole;
    let overwrites = kind == protocol::TCP && (1..=8).contains(&offset);
    if tiny || overwrites { Err(Drop::IpTinyFragment) } else { Ok(()) }
}

fn tcp(segment: &[u8], pseudo: Sum) -> Result<(), Drop> {
    const URG: u8 = 0x20;
    let tcp = Tcp::parse(segment).map_err(|_| Drop::TcpHeader)?;
    if tcp.src() == 0 || tcp.dst() == 0 {
        return Err(Drop::TcpPortZero);
    }
    let has = |flags| tcp.flags() & flags != 0;
    let opening = has(Tcp::SYN) && has(Tcp::FIN | Tcp::RST | URG);
    // RFC 9293 §3.10.7.4: once a connection is there, each segment acknowledges.
    let silent = !has(Tcp::SYN | Tcp::RST | Tcp::ACK);
    if opening || silent || has(Tcp::FIN) && has(Tcp::RST) {
        return Err(Drop::TcpFlags);
    }
    if pseudo.bytes(segment).finish() == 0 { Ok(()) } else { Err(Drop::TcpChecksum) }
}

/// `optional`: over IPv4 a checksum of 0 is none (RFC 768).
fn udp(datagram: &[u8], pseudo: Sum, optional: bool) -> Result<(), Drop> {
    let [s0, s1, d0, d1, l0, l1, c0, c1] = datagram.array(0).ok_or(Drop::UdpLength)?;
    if usize::from(u16::from_be_bytes([l0, l1])) != datagram.len() {
        return Err(Drop::UdpLength);
    }
    if [s0, s1] == [0, 0] || [d0, d1] == [0, 0] {
        return Err(Drop::UdpPortZero);
    }
    let none = [c0, c1] == [0, 0];
    let holds = if none { optional } else { pseudo.bytes(datagram).finish() == 0 };
    if holds { Ok(()) } else { Err(Drop::UdpChecksum) }
}

fn icmp(message: &[u8], pseudo: Sum) -> Result<(), Drop> {
    if message.len() < 8 {
        return Err(Drop::IcmpLength);
    }
    if pseudo.bytes(message).finish() == 0 { Ok(()) } else { Err(Drop::IcmpChecksum) }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // numbers of tests are small
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool) {
            let _ = check(&bytes, v6);
        }

        #[test]
        fn any_payload(kind in prop_oneof![Just(6u8), Just(17), Just(1)], flags: u16,
                       payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            let len = (20 + payload.len()) as u8;
            let [f0, f1] = flags.to_be_bytes();
            let header = [0x45, 0, 0, len, 0, 1, f0, f1, 64, kind, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2];
            let _ = check(&[&header[..], &payload].concat(), false);
        }
    }
}
