//! Another address and port into a packet, with every checksum that covers them (RFC 1624, RFC 3022 §4.1).
//!
//! Decides: nothing. Reads and writes: the IPv4 header and the first bytes behind it. Never: makes a right checksum of a
//! wrong one: what was damaged stays so, for the receiver to find.

use super::tuple::{End, ICMP_ID};
use ravelin_ring::counters::Drop;
use ravelin_wire::icmp::{ECHO, ECHO_REPLY, TIMESTAMP, TIMESTAMP_REPLY};
use ravelin_wire::{checksum, protocol};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// Where checksum and port of a payload stand.
#[derive(Clone, Copy, Debug)]
struct Layout {
    checksum: Option<usize>,
    /// The checksum covers the addresses too.
    pseudo: bool,
    /// 0 says that there is none.
    optional: bool,
    port: Option<usize>,
}

impl Layout {
    fn of(protocol: u8, side: Side, icmp_type: Option<u8>) -> Self {
        const DCCP: u8 = 33;
        const UDP_LITE: u8 = 136;
        let port = Some(if side == Side::Source { 0 } else { 2 });
        let with =
            |checksum, pseudo, optional, port| Self { checksum: Some(checksum), pseudo, optional, port };
        match protocol {
            protocol::TCP => with(16, true, false, port),
            protocol::UDP => with(6, true, true, port),
            DCCP | UDP_LITE => with(6, true, false, None),
            protocol::ICMP => {
                // The identifier belongs to who asks.
                let own = match icmp_type {
                    Some(ECHO | TIMESTAMP) => side == Side::Source,
                    Some(ECHO_REPLY | TIMESTAMP_REPLY) => side == Side::Destination,
                    _ => false,
                };
                with(2, false, false, own.then_some(ICMP_ID))
            }
            _ => Self { checksum: None, pseudo: false, optional: false, port: None },
        }
    }
}

/// The packet whose `side` is another end now. `quoted`: it stands in an ICMP error, which may end anywhere behind its
/// ports; otherwise a packet that lacks its checksum is malformed.
pub(crate) fn rewrite(bytes: &mut [u8], side: Side, new: End, quoted: bool) -> Result<(), Drop> {
    let header_len = usize::from(bytes.first().ok_or(Drop::Malformed)? & 0x0f) * 4;
    let (header, payload) = bytes.split_at_mut_checked(header_len).ok_or(Drop::Malformed)?;
    let header: &mut [u8; 20] = header.first_chunk_mut().ok_or(Drop::Malformed)?;
    let at = if side == Side::Source { 12 } else { 16 };
    let old = u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    header[at..at + 4].copy_from_slice(&new.addr.to_be_bytes());
    let sum = checksum::update32(u16::from_be_bytes([header[10], header[11]]), old, new.addr);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if offset != 0 {
        return Ok(()); // a later fragment: the first one has the checksum, and bears the change
    }
    let layout = Layout::of(header[9], side, payload.first().copied());
    let change = Change { layout, old, new };
    change.apply(payload, quoted)
}

#[derive(Debug)]
struct Change {
    layout: Layout,
    old: u32,
    new: End,
}

impl Change {
    fn apply(&self, payload: &mut [u8], quoted: bool) -> Result<(), Drop> {
        let Layout { checksum: Some(at), pseudo, optional, port } = self.layout else { return Ok(()) };
        let mut sum = word(payload, at);
        if sum.is_none() && !quoted {
            return Err(Drop::Malformed);
        }
        let none = optional && sum == Some(0); // RFC 768: stays without
        if pseudo {
            sum = sum.map(|sum| checksum::update32(sum, self.old, self.new.addr));
        }
        if let Some(port) = port {
            let old = word(payload, port).ok_or(Drop::Malformed)?;
            put(payload, port, self.new.port);
            sum = sum.map(|sum| checksum::update(sum, old, self.new.port));
        }
        if let Some(sum) = sum.filter(|_| !none) {
            // 0 would say that there is none.
            put(payload, at, if optional && sum == 0 { 0xffff } else { sum });
        }
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(slot) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut::<2>()) {
        *slot = value.to_be_bytes();
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // test data
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ravelin_wire::checksum::Sum;
    use ravelin_wire::ipv4::{Ipv4, Ipv4Header};
    use std::net::Ipv4Addr;

    fn packet(protocol: u8, src: End, dst: End, body: &[u8], with_sum: bool) -> Vec<u8> {
        let (s, d) = (Ipv4Addr::from_bits(src.addr), Ipv4Addr::from_bits(dst.addr));
        let mut l4 = match protocol {
            6 => [&[0u8; 20][..], body].concat(),
            17 | 136 => [&[0u8; 8][..], body].concat(),
            _ => [&[8, 0, 0, 0, 0, 0, 0, 1][..], body].concat(),
        };
        let at = match protocol {
            6 => 16,
            17 | 136 => 6,
            _ => 2,
        };
        if protocol == 1 {
            l4[4..6].copy_from_slice(&src.port.to_be_bytes());
        } else {
            l4[..2].copy_from_slice(&src.port.to_be_bytes());
            l4[2..4].copy_from_slice(&dst.port.to_be_bytes());
        }
        let pseudo = Sum::new().pseudo_v4(s, d, protocol, l4.len() as u16);
        let sum = if protocol == 1 { Sum::new() } else { pseudo }.bytes(&l4).finish();
        if with_sum {
            let sum = if protocol == 17 && sum == 0 { 0xffff } else { sum };
            l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let header = Ipv4Header {
            tos: 0,
            total_len: 20 + l4.len() as u16,
            id: 7,
            df: true,
            mf: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            src: s,
            dst: d,
        };
        [&header.to_bytes()[..], &l4].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        // R54: the packet is the one that would have been made with the other address and port from the beginning.
        #[test]
        fn as_if_made_so(protocol in prop_oneof![Just(6u8), Just(17), Just(1), Just(136)], addrs: [u32; 3], ports: [u16; 3],
                         source: bool, with_sum: bool, body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (a, b) = (End { addr: addrs[0], port: ports[0] }, End { addr: addrs[1], port: ports[1] });
            let mut new = End { addr: addrs[2], port: ports[2] };
            let side = if source { Side::Source } else { Side::Destination };
            let with_sum = with_sum || protocol != 17; // RFC 768: without a checksum it stays without
            let mut bytes = packet(protocol, a, b, &body, with_sum);
            prop_assert_eq!(rewrite(&mut bytes, side, new, false), Ok(()));
            if protocol == 136 { new.port = if source { a.port } else { b.port }; } // its addresses alone
            let (s, d) = if source { (new, b) } else { (a, new) };
            // An echo request has the identifier of its sender.
            let expected = packet(protocol, s, d, &body, with_sum);
            prop_assert!(Ipv4::parse(&bytes).unwrap().checksum_holds());
            prop_assert_eq!(bytes, expected);
        }

        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), quoted: bool, source: bool, addr: u32, port: u16) {
            let side = if source { Side::Source } else { Side::Destination };
            let _ = rewrite(&mut bytes, side, End { addr, port }, quoted);
        }
    }
}
