//! IPv4 (RFC 791) with options: reading, changing in place with the checksum kept right, writing afresh.

use crate::{Malformed, checksum};
use core::net::Ipv4Addr;

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Bytes of the longest header.
pub const MAX_HEADER: usize = 60;

const DF: u16 = 0x4000;
const MF: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// A packet whose lengths hold: header and total length lie within the bytes. The checksum is a question of its own
/// ([`Self::checksum_holds`]). What follows the total length (link padding) is not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    packet: &'a [u8],
    fixed: &'a [u8; HEADER],
    header_len: usize,
}

impl<'a> Ipv4<'a> {
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        if fixed[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if header_len < HEADER || header_len > bytes.len() {
            return Err(Malformed::HeaderLength);
        }
        if total_len < header_len {
            return Err(Malformed::Length);
        }
        let packet = bytes.get(..total_len).ok_or(Malformed::Length)?;
        Ok(Self { packet, fixed, header_len })
    }

    /// Header and payload, without link padding.
    #[inline]
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    #[inline]
    pub fn header(&self) -> &'a [u8] {
        self.packet.get(..self.header_len).unwrap_or_default()
    }

    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.packet.get(HEADER..self.header_len).unwrap_or_default()
    }

    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header_len..).unwrap_or_default()
    }

    #[inline]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    #[inline]
    pub const fn total_len(&self) -> usize {
        self.packet.len()
    }

    /// The whole byte: DSCP (RFC 2474) in the upper six bits, ECN (RFC 3168) in the lower two.
    #[inline]
    pub const fn tos(&self) -> u8 {
        self.fixed[1]
    }

    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.fixed[1] >> 2
    }

    #[inline]
    pub const fn ecn(&self) -> u8 {
        self.fixed[1] & 3
    }

    #[inline]
    pub const fn id(&self) -> u16 {
        self.word(4)
    }

    /// "Don't fragment".
    #[inline]
    pub const fn df(&self) -> bool {
        self.word(6) & DF != 0
    }

    /// "More fragments".
    #[inline]
    pub const fn mf(&self) -> bool {
        self.word(6) & MF != 0
    }

    /// In bytes.
    #[inline]
    pub const fn fragment_offset(&self) -> u16 {
        (self.word(6) & OFFSET) << 3
    }

    /// Any fragment, the first one too.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.word(6) & (MF | OFFSET) != 0
    }

    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.word(10)
    }

    #[inline]
    pub const fn src(&self) -> Ipv4Addr {
        let f = self.fixed;
        Ipv4Addr::new(f[12], f[13], f[14], f[15])
    }

    #[inline]
    pub const fn dst(&self) -> Ipv4Addr {
        let f = self.fixed;
        Ipv4Addr::new(f[16], f[17], f[18], f[19])
    }

    #[inline]
    pub fn checksum_holds(&self) -> bool {
        // Of a known length nearly always, which makes it a few additions.
        if self.header_len == HEADER {
            checksum::header_holds(self.fixed)
        } else {
            checksum::holds(self.header())
        }
    }

    #[inline]
    const fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.fixed[at], self.fixed[at + 1]])
    }
}

/// Takes one off the TTL, which is not 0, at the front of a header that has been parsed, and carries the checksum along.
#[inline]
pub const fn count_down(header: &mut [u8; HEADER]) {
    // In the machine's order the field and its word's lower half are at one place, on which the sum does not depend: the
    // word loses 1, so that its one's complement and the checksum gain 1 (RFC 1624 §3). 0xffff is a 0 of that arithmetic.
    let sum = u16::from_le_bytes([header[10], header[11]]);
    let sum = sum.wrapping_add(if sum >= 0xfffe { 2 } else { 1 });
    header[8] = header[8].wrapping_sub(1);
    [header[10], header[11]] = sum.to_le_bytes();
}

/// Changes fields of a header; each change carries the checksum along (RFC 1624), so a wrong one stays wrong.
#[derive(Debug)]
pub struct Ipv4Mut<'a> {
    fixed: &'a mut [u8; HEADER],
    options: &'a mut [u8],
}

impl<'a> Ipv4Mut<'a> {
    /// The same checks as [`Ipv4::parse`].
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        let options_len = Ipv4::parse(bytes)?.header_len() - HEADER;
        let (fixed, rest) = bytes.split_first_chunk_mut::<HEADER>().ok_or(Malformed::Truncated)?;
        let options = rest.get_mut(..options_len).ok_or(Malformed::HeaderLength)?;
        Ok(Self { fixed, options })
    }

    #[inline]
    pub fn set_tos(&mut self, tos: u8) {
        let first = self.fixed[0];
        self.set_word(0, u16::from_be_bytes([first, tos]));
    }

    /// The lower two bits of TOS alone.
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        let tos = self.fixed[1];
        self.set_tos((tos & !3) | (ecn & 3));
    }

    /// Does not move or cut any bytes.
    #[inline]
    pub fn set_total_len(&mut self, len: u16) {
        self.set_word(2, len);
    }

    #[inline]
    pub fn set_id(&mut self, id: u16) {
        self.set_word(4, id);
    }

    #[inline]
    pub fn set_df(&mut self, df: bool) {
        let w = self.word(6);
        self.set_word(6, if df { w | DF } else { w & !DF });
    }

    /// `offset` in bytes; its lower three bits do not go on the wire.
    #[inline]
    pub fn set_fragment(&mut self, offset: u16, more: bool) {
        let w = self.word(6) & !(MF | OFFSET);
        self.set_word(6, w | (offset >> 3) | if more { MF } else { 0 });
    }

    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let protocol = self.fixed[9];
        self.set_word(8, u16::from_be_bytes([ttl, protocol]));
    }

    #[inline]
    pub fn set_protocol(&mut self, protocol: u8) {
        let ttl = self.fixed[8];
        self.set_word(8, u16::from_be_bytes([ttl, protocol]));
    }

    #[inline]
    pub fn set_src(&mut self, addr: Ipv4Addr) {
        self.set_addr(12, addr);
    }

    #[inline]
    pub fn set_dst(&mut self, addr: Ipv4Addr) {
        self.set_addr(16, addr);
    }

    /// Computes the checksum anew, whatever it was.
    pub fn fill_checksum(&mut self) {
        self.fixed[10..12].fill(0);
        let sum = checksum::Sum::new().bytes(self.fixed).bytes(self.options).finish();
        self.fixed[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    #[inline]
    fn set_addr(&mut self, at: usize, addr: Ipv4Addr) {
        let [a, b, c, d] = addr.octets();
        self.set_word(at, u16::from_be_bytes([a, b]));
        self.set_word(at + 2, u16::from_be_bytes([c, d]));
    }

    #[inline]
    const fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.fixed[at], self.fixed[at + 1]])
    }

    /// `at` is a constant of this file, even, and not the checksum itself.
    #[inline]
    fn set_word(&mut self, at: usize, new: u16) {
        let sum = checksum::update(self.word(10), self.word(at), new);
        [self.fixed[at], self.fixed[at + 1]] = new.to_be_bytes();
        [self.fixed[10], self.fixed[11]] = sum.to_be_bytes();
    }
}

/// A header without options, to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Header {
    pub tos: u8,
    /// Header and payload.
    pub total_len: u16,
    pub id: u16,
    pub df: bool,
    pub mf: bool,
    /// In bytes, a multiple of eight.
    pub fragment_offset: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
}

impl Ipv4Header {
    /// With its checksum.
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let [l0, l1] = self.total_len.to_be_bytes();
        let [i0, i1] = self.id.to_be_bytes();
        let flags = if self.df { DF } else { 0 } | if self.mf { MF } else { 0 };
        let [f0, f1] = (flags | (self.fragment_offset >> 3)).to_be_bytes();
        let [s0, s1, s2, s3] = self.src.octets();
        let [d0, d1, d2, d3] = self.dst.octets();
        let mut h = [
            0x45,
            self.tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            self.ttl,
            self.protocol,
            0,
            0,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ];
        [h[10], h[11]] = checksum::of(&h).to_be_bytes();
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn header() -> impl Strategy<Value = Ipv4Header> {
        (any::<(u8, u16, bool, bool, u8, u8)>(), 0u16..8192, any::<(u32, u32)>()).prop_map(
            |((tos, id, df, mf, ttl, protocol), offset, (src, dst))| Ipv4Header {
                tos,
                total_len: 28,
                id,
                df,
                mf,
                fragment_offset: offset << 3,
                ttl,
                protocol,
                src: Ipv4Addr::from_bits(src),
                dst: Ipv4Addr::from_bits(dst),
            },
        )
    }

    fn read(p: &Ipv4<'_>) -> Ipv4Header {
        Ipv4Header {
            tos: p.tos(),
            total_len: u16::try_from(p.total_len()).unwrap(),
            id: p.id(),
            df: p.df(),
            mf: p.mf(),
            fragment_offset: p.fragment_offset(),
            ttl: p.ttl(),
            protocol: p.protocol(),
            src: p.src(),
            dst: p.dst(),
        }
    }

    #[test]
    fn lying_lengths_are_refused() {
        let h = Ipv4Header {
            tos: 0,
            total_len: 20,
            id: 1,
            df: false,
            mf: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: 50,
            src: Ipv4Addr::LOCALHOST,
            dst: Ipv4Addr::LOCALHOST,
        }
        .to_bytes();
        let with = |at: usize, v: u8| {
            let mut b = h;
            b[at] = v;
            Ipv4::parse(&b).map(|p| p.total_len())
        };
        assert_eq!(with(0, 0x45), Ok(20));
        assert_eq!(with(0, 0x65), Err(Malformed::Version));
        assert_eq!(with(0, 0x44), Err(Malformed::HeaderLength));
        assert_eq!(with(0, 0x46), Err(Malformed::HeaderLength));
        assert_eq!(with(3, 19), Err(Malformed::Length));
        assert_eq!(with(3, 21), Err(Malformed::Length));
        assert_eq!(Ipv4::parse(&h[..19]).map(|p| p.id()), Err(Malformed::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes: Vec<u8>, valid: bool) {
            if valid && let Some(b) = bytes.first_mut() { *b = 0x40 | (*b & 0x0f); }
            if let Ok(p) = Ipv4::parse(&bytes) {
                prop_assert_eq!(p.header().len() + p.payload().len(), p.total_len());
                let _ = (p.checksum_holds(), p.options(), p.is_fragment());
            }
            let _ = Ipv4Mut::parse(&mut bytes).map(|mut p| p.set_ttl(1));
        }

        #[test]
        fn written_is_read(h in header(), payload: [u8; 8]) {
            let bytes = [&h.to_bytes()[..], &payload, &[0xee; 6]].concat();
            let p = Ipv4::parse(&bytes).unwrap();
            prop_assert_eq!(read(&p), h);
            prop_assert_eq!(p.payload(), &payload);
            prop_assert!(p.checksum_holds());
        }

        #[test]
        fn counting_down_is_a_smaller_ttl(h in header(), ttl in 1u8..) {
            let h = Ipv4Header { ttl, ..h };
            let mut bytes = [&h.to_bytes()[..], &[0; 8]].concat();
            count_down(bytes.first_chunk_mut().unwrap());
            let mut other = [&h.to_bytes()[..], &[0; 8]].concat();
            Ipv4Mut::parse(&mut other).unwrap().set_ttl(ttl - 1);
            prop_assert_eq!(bytes, other);
        }

        #[test]
        fn changes_keep_the_checksum(h in header(), options in 0u8..=10, to in header(), total in 60u16..90) {
            // 1. a header with options and a right checksum; 2. every change; 3. as if written so.
            let mut bytes = std::vec![0xa5u8; 100];
            bytes[..20].copy_from_slice(&h.to_bytes());
            bytes[0] = 0x45 + options;
            bytes[3] = 90;
            Ipv4Mut::parse(&mut bytes).unwrap().fill_checksum();
            prop_assert!(Ipv4::parse(&bytes).unwrap().checksum_holds());
            let mut m = Ipv4Mut::parse(&mut bytes).unwrap();
            m.set_tos(to.tos);
            m.set_id(to.id);
            m.set_df(to.df);
            m.set_fragment(to.fragment_offset, to.mf);
            m.set_ttl(to.ttl);
            m.set_protocol(to.protocol);
            m.set_src(to.src);
            m.set_dst(to.dst);
            m.set_total_len(total);
            let p = Ipv4::parse(&bytes).unwrap();
            prop_assert!(p.checksum_holds());
            prop_assert_eq!(read(&p), Ipv4Header { total_len: total, ..to });
            prop_assert_eq!(p.options().len(), usize::from(options) * 4);
        }
    }
}
