//! ICMPv6 (RFC 4443): type and code, echo, the errors that a gateway sends, and what belongs to neighbour discovery.

use crate::checksum::Sum;
use crate::icmp::{HEADER, Message, place};
use crate::protocol;
use core::net::Ipv6Addr;
use core::ops::Deref;

/// An error with its IPv6 header is no longer than this (RFC 4443 §2.4 c).
const MAX_ERROR: usize = 1280;
/// The longest message that [`Error::write`] makes.
pub const MAX_MESSAGE: usize = MAX_ERROR - crate::ipv6::HEADER;

pub const UNREACHABLE: u8 = 1;
pub const PACKET_TOO_BIG: u8 = 2;
pub const TIME_EXCEEDED: u8 = 3;
pub const ECHO: u8 = 128;
pub const ECHO_REPLY: u8 = 129;
/// Router solicitation, the first type of neighbour discovery (RFC 4861).
const ND_FIRST: u8 = 133;
/// The last one of neighbour discovery.
pub const REDIRECT: u8 = 137;

/// Types of neighbour discovery. A genuine one also has hop limit 255, since no router forwarded it (RFC 4861 §3.1).
#[inline(always)]
pub const fn is_neighbour_discovery(kind: u8) -> bool {
    ND_FIRST <= kind && kind <= REDIRECT
}

#[derive(Clone, Copy, Debug)]
pub struct Icmpv6<'a>(Message<'a>);

impl<'a> Deref for Icmpv6<'a> {
    type Target = Message<'a>;

    #[inline]
    fn deref(&self) -> &Message<'a> {
        &self.0
    }
}

impl<'a> Icmpv6<'a> {
    /// `None`: cut short. The checksum is a question of its own.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        Message::parse(message).map(Self)
    }

    /// Types below 128 are errors and never provoke another one (RFC 4443 §2.4 e).
    #[inline]
    pub const fn is_error(&self) -> bool {
        self.0.kind() < 128
    }

    pub fn checksum_holds(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        checksum(self.bytes, src, dst) == Some(0)
    }
}

/// The errors that a gateway sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    PacketTooBig {
        mtu: u32,
    },
    /// Hop limit ran out on the way.
    TimeExceeded,
    NoRoute,
    Prohibited,
    AddressUnreachable,
}

impl Error {
    /// Writes the message for an IPv6 header with `src` and `dst`, quoting as much of `packet` as fits into the minimum
    /// MTU and `out`, and returns its length. `None`: `out` does not hold the header.
    pub fn write(self, out: &mut [u8], packet: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Option<usize> {
        let (kind, code, mtu) = match self {
            Self::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu),
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
            Self::NoRoute => (UNREACHABLE, 0, 0),
            Self::Prohibited => (UNREACHABLE, 1, 0),
            Self::AddressUnreachable => (UNREACHABLE, 3, 0),
        };
        let [m0, m1, m2, m3] = mtu.to_be_bytes();
        let len = place(out, [kind, code, 0, 0, m0, m1, m2, m3], packet, MAX_MESSAGE)?;
        fill_checksum(out, len, src, dst)
    }
}

/// Writes an echo request or reply; `None` where `out` does not hold it whole.
pub fn write_echo(
    out: &mut [u8],
    reply: bool,
    (id, seq): (u16, u16),
    data: &[u8],
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> Option<usize> {
    if out.len() < HEADER + data.len() {
        return None;
    }
    let ([i0, i1], [s0, s1]) = (id.to_be_bytes(), seq.to_be_bytes());
    let kind = if reply { ECHO_REPLY } else { ECHO };
    let len = place(out, [kind, 0, 0, 0, i0, i1, s0, s1], data, usize::MAX)?;
    fill_checksum(out, len, src, dst)
}

fn fill_checksum(out: &mut [u8], len: usize, src: Ipv6Addr, dst: Ipv6Addr) -> Option<usize> {
    let sum = checksum(out.get(..len)?, src, dst)?.to_be_bytes();
    out.get_mut(2..4)?.copy_from_slice(&sum);
    Some(len)
}

fn checksum(message: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Option<u16> {
    let len = u32::try_from(message.len()).ok()?;
    Some(Sum::new().pseudo_v6(src, dst, protocol::ICMPV6, len).bytes(message).finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    #[test]
    fn too_big_carries_the_mtu_and_fits_the_minimum_mtu() {
        let mut out = [0; 2000];
        let n = Error::PacketTooBig { mtu: 1400 }.write(&mut out, &[0x60; 1500], A, B).unwrap();
        assert_eq!(n, 1240);
        let m = Icmpv6::parse(&out[..n]).unwrap();
        assert_eq!((m.kind(), m.code(), m.rest()), (2, 0, [0, 0, 0x05, 0x78]));
        assert!(m.is_error() && m.checksum_holds(A, B) && !m.checksum_holds(A, A));
    }

    proptest! {
        #[test]
        fn echo_round_trips(id: u16, seq: u16, reply: bool, data: Vec<u8>) {
            let mut out = std::vec![0; data.len() + HEADER];
            let n = write_echo(&mut out, reply, (id, seq), &data, A, B).unwrap();
            let m = Icmpv6::parse(&out[..n]).unwrap();
            prop_assert_eq!((m.payload(), m.checksum_holds(A, B), m.is_error()), (data.as_slice(), true, false));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Some(m) = Icmpv6::parse(&bytes) {
                let _ = (m.payload(), m.is_error(), m.checksum_holds(A, B));
            }
        }
    }
}
