//! UDP (RFC 768), and what UDP encapsulation puts into it (RFC 3948).

use crate::{Malformed, checksum::Sum};
use core::net::{Ipv4Addr, Ipv6Addr};

pub const HEADER: usize = 8;
pub const IKE_PORT: u16 = 500;
/// IKE and ESP behind NAT (RFC 3948, RFC 7296 §2.23).
pub const NATT_PORT: u16 = 4500;
/// Four zero bytes where ESP would have its SPI (RFC 3948 §2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The whole payload of a NAT keepalive (RFC 3948 §2.3).
pub const KEEPALIVE: u8 = 0xff;

/// A datagram whose length field holds. Bytes beyond it are not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    datagram: &'a [u8],
    header: &'a [u8; HEADER],
}

impl<'a> Udp<'a> {
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if len < HEADER {
            return Err(Malformed::Length);
        }
        let datagram = bytes.get(..len).ok_or(Malformed::Length)?;
        Ok(Self { datagram, header })
    }

    #[inline]
    pub const fn src(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    #[inline]
    pub const fn dst(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Header and payload.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // never empty: there is a header
    pub const fn len(&self) -> usize {
        self.datagram.len()
    }

    /// 0: the sender computed none.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.datagram.get(HEADER..).unwrap_or_default()
    }

    /// True also where there is none, as IPv4 allows.
    pub fn checksum_holds_v4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        let len = u16::from_be_bytes([self.header[4], self.header[5]]);
        self.checksum() == 0
            || Sum::new().pseudo_v4(src, dst, crate::protocol::UDP, len).bytes(self.datagram).finish() == 0
    }

    /// IPv6 wants one (RFC 8200 §8.1).
    pub fn checksum_holds_v6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        let len = u32::from(u16::from_be_bytes([self.header[4], self.header[5]]));
        self.checksum() != 0
            && Sum::new().pseudo_v6(src, dst, crate::protocol::UDP, len).bytes(self.datagram).finish() == 0
    }
}

/// A header to be written. Checksum 0 means "none", which UDP-encapsulated ESP over IPv4 uses (RFC 3948 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpHeader {
    pub src: u16,
    pub dst: u16,
    /// Header and payload.
    pub len: u16,
    pub checksum: u16,
}

impl UdpHeader {
    #[inline]
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let [s0, s1] = self.src.to_be_bytes();
        let [d0, d1] = self.dst.to_be_bytes();
        let [l0, l1] = self.len.to_be_bytes();
        let [c0, c1] = self.checksum.to_be_bytes();
        [s0, s1, d0, d1, l0, l1, c0, c1]
    }

    /// With the checksum over `payload`, whose length must be `len - 8`.
    pub fn with_checksum_v4(mut self, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Self {
        self.checksum = 0;
        let sum = Sum::new().pseudo_v4(src, dst, crate::protocol::UDP, self.len);
        self.checksum = sent(sum.bytes(&self.to_bytes()).bytes(payload).finish());
        self
    }

    /// With the checksum over `payload`, whose length must be `len - 8`.
    pub fn with_checksum_v6(mut self, src: Ipv6Addr, dst: Ipv6Addr, payload: &[u8]) -> Self {
        self.checksum = 0;
        let sum = Sum::new().pseudo_v6(src, dst, crate::protocol::UDP, self.len.into());
        self.checksum = sent(sum.bytes(&self.to_bytes()).bytes(payload).finish());
        self
    }
}

/// A computed 0 goes out as 0xffff, since 0 says "none" (RFC 768).
const fn sent(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// What a datagram to the NAT-traversal port holds (RFC 3948 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Natt<'a> {
    /// An IKE message, without its marker.
    Ike(&'a [u8]),
    /// From the SPI on.
    Esp(&'a [u8]),
    Keepalive,
    /// None of these: empty, or too short to hold an SPI.
    Runt,
}

impl<'a> Natt<'a> {
    #[inline]
    pub fn of(payload: &'a [u8]) -> Self {
        match payload.split_first_chunk::<4>() {
            Some((&NON_ESP_MARKER, ike)) => Self::Ike(ike),
            Some(_) => Self::Esp(payload),
            None if payload == [KEEPALIVE] => Self::Keepalive,
            None => Self::Runt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn natt_payloads() {
        assert_eq!(Natt::of(&[0, 0, 0, 0, 7]), Natt::Ike(&[7]));
        assert_eq!(Natt::of(&[0, 0, 0, 1]), Natt::Esp(&[0, 0, 0, 1]));
        assert_eq!(Natt::of(&[0xff]), Natt::Keepalive);
        assert_eq!(Natt::of(&[0xff, 0xff]), Natt::Runt);
        assert_eq!(Natt::of(&[0, 0, 0]), Natt::Runt);
        assert_eq!(Natt::of(&[]), Natt::Runt);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Ok(u) = Udp::parse(&bytes) {
                prop_assert_eq!(u.payload().len() + HEADER, u.len());
                let _ = u.checksum_holds_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
            }
            let _ = Natt::of(&bytes);
        }

        #[test]
        fn written_is_read(src: u16, dst: u16, payload: Vec<u8>, a: u128, b: u128, flip in 0usize..8) {
            let len = u16::try_from(HEADER + payload.len()).unwrap();
            let (a6, b6) = (Ipv6Addr::from_bits(a), Ipv6Addr::from_bits(b));
            let (a4, b4) = (Ipv4Addr::from_octets(a6.octets()[..4].try_into().unwrap()), Ipv4Addr::LOCALHOST);
            let h = UdpHeader { src, dst, len, checksum: 0 };
            let four = [&h.with_checksum_v4(a4, b4, &payload).to_bytes()[..], &payload, &[1, 2]].concat();
            let mut six = [&h.with_checksum_v6(a6, b6, &payload).to_bytes()[..], &payload].concat();
            let u = Udp::parse(&four).unwrap();
            prop_assert_eq!((u.src(), u.dst(), u.payload()), (src, dst, payload.as_slice()));
            prop_assert!(u.checksum_holds_v4(a4, b4));
            prop_assert!(Udp::parse(&six).unwrap().checksum_holds_v6(a6, b6));
            six[0] ^= 1 << flip;
            prop_assert!(!Udp::parse(&six).unwrap().checksum_holds_v6(a6, b6));
        }
    }
}
