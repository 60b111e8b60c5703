//! IPv6 (RFC 8200): the fixed header, the walk along its extension headers, changes in place, writing afresh.

use crate::{Bytes, Malformed, protocol};
use core::net::Ipv6Addr;

pub const HEADER: usize = 40;
/// So many extension headers are walked; a longer chain ends as [`Chain::end`] `None`.
pub const MAX_EXTENSIONS: usize = 8;

/// A packet whose payload length holds. Bytes beyond it are not part of it. Jumbograms (RFC 2675) are not packets here.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    packet: &'a [u8],
    fixed: &'a [u8; HEADER],
}

impl<'a> Ipv6<'a> {
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        if fixed[0] >> 4 != 6 {
            return Err(Malformed::Version);
        }
        let len = HEADER + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let packet = bytes.get(..len).ok_or(Malformed::Length)?;
        Ok(Self { packet, fixed })
    }

    /// Header and payload, without link padding.
    #[inline]
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// All behind the fixed header, extension headers too.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(HEADER..).unwrap_or_default()
    }

    #[inline]
    pub const fn total_len(&self) -> usize {
        self.packet.len()
    }

    /// DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        self.fixed[0] << 4 | self.fixed[1] >> 4
    }

    #[inline]
    pub const fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.fixed[1] & 0x0f, self.fixed[2], self.fixed[3]])
    }

    #[inline]
    pub const fn next_header(&self) -> u8 {
        self.fixed[6]
    }

    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.fixed[7]
    }

    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        address(self.fixed, 8)
    }

    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        address(self.fixed, 24)
    }

    /// A routing header of type 0 stands in the chain, with addresses that were not visited yet (RFC 5095).
    pub fn is_source_routed(&self) -> bool {
        let (mut next, mut at) = (self.fixed[6], HEADER);
        for _ in 0..=MAX_EXTENSIONS {
            let Some([following, len, kind, left]) = self.packet.array(at) else { return false };
            match next {
                protocol::ROUTING if kind == 0 && left > 0 => return true,
                protocol::FRAGMENT => at += 8, // behind that of a later fragment there is no header, but no harm either
                _ if has_length(next) => at += (usize::from(len) + 1) * 8,
                _ => return false,
            }
            next = following;
        }
        false
    }

    /// Where the extension headers end, with offsets from the start of the packet.
    #[inline]
    pub fn chain(&self) -> Chain {
        Chain::walk(self.packet, HEADER, self.fixed[6])
    }
}

/// Headers of an options or routing kind, and the fragment header: what may stand between IPv6 and a transport.
#[inline(always)]
pub const fn is_extension(next: u8) -> bool {
    next == protocol::FRAGMENT || has_length(next)
}

/// Extension headers that say in their second byte how long they are.
#[inline(always)]
const fn has_length(next: u8) -> bool {
    matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6
    )
}

fn address(fixed: &[u8; HEADER], at: usize) -> Ipv6Addr {
    let octets = fixed.get(at..).and_then(|a| a.first_chunk::<16>()).copied();
    Ipv6Addr::from_octets(octets.unwrap_or_default())
}

/// The end of a chain of extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Protocol and offset of what follows the chain. ESP and AH are ends: what lies behind is theirs to say.
    /// `None`: cut short, or longer than [`MAX_EXTENSIONS`].
    pub end: Option<(u8, usize)>,
    /// The fragment header, where there is one. After that of a later fragment nothing is walked: `end` then names its
    /// next header, and payload where a header would be.
    pub fragment: Option<Fragment>,
}

/// The fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Where the header lies.
    pub at: usize,
    /// In bytes.
    pub offset: u16,
    pub more: bool,
    pub id: u32,
}

impl Fragment {
    /// The whole packet in one "fragment" (RFC 6946).
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

impl Chain {
    /// From the header of type `next` at `at` on.
    #[inline(always)]
    pub fn walk(bytes: &(impl Bytes + ?Sized), mut at: usize, mut next: u8) -> Self {
        let mut fragment = None;
        for _ in 0..=MAX_EXTENSIONS {
            match next {
                _ if has_length(next) => {
                    let Some([n, len]) = bytes.array(at) else { break };
                    next = n;
                    at += (usize::from(len) + 1) * 8;
                }
                protocol::FRAGMENT => {
                    let Some([n, _, o0, o1, i0, i1, i2, i3]) = bytes.array(at) else { break };
                    let field = u16::from_be_bytes([o0, o1]);
                    let offset = field & !7;
                    let id = u32::from_be_bytes([i0, i1, i2, i3]);
                    fragment = Some(Fragment { at, offset, more: field & 1 != 0, id });
                    next = n;
                    at += 8;
                    if offset != 0 {
                        return Self { end: Some((next, at)), fragment };
                    }
                }
                _ => return Self { end: Some((next, at)), fragment },
            }
        }
        Self { end: None, fragment }
    }
}

/// Takes one off the hop limit at the front of a header that has been parsed.
#[inline]
pub const fn count_down(header: &mut [u8; HEADER]) {
    header[7] = header[7].wrapping_sub(1);
}

/// Changes fields of a header; IPv6 has no checksum to keep.
#[derive(Debug)]
pub struct Ipv6Mut<'a> {
    fixed: &'a mut [u8; HEADER],
}

impl<'a> Ipv6Mut<'a> {
    /// The same checks as [`Ipv6::parse`].
    #[inline]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        Ipv6::parse(bytes)?;
        Ok(Self { fixed: bytes.first_chunk_mut::<HEADER>().ok_or(Malformed::Truncated)? })
    }

    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        self.fixed[0] = 0x60 | class >> 4;
        self.fixed[1] = class << 4 | self.fixed[1] & 0x0f;
    }

    #[inline]
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.fixed[7] = hops;
    }

    #[inline]
    pub fn set_next_header(&mut self, next: u8) {
        self.fixed[6] = next;
    }

    /// Without the fixed header. Does not move or cut any bytes.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) {
        [self.fixed[4], self.fixed[5]] = len.to_be_bytes();
    }

    #[inline]
    pub fn set_src(&mut self, addr: Ipv6Addr) {
        self.fixed[8..24].copy_from_slice(&addr.octets());
    }

    #[inline]
    pub fn set_dst(&mut self, addr: Ipv6Addr) {
        self.fixed[24..40].copy_from_slice(&addr.octets());
    }
}

/// A fixed header to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6Header {
    pub traffic_class: u8,
    /// 20 bits; more do not go on the wire.
    pub flow_label: u32,
    /// Extension headers and payload.
    pub payload_len: u16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
}

impl Ipv6Header {
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut h = [0; HEADER];
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        h[..4].copy_from_slice(&first.to_be_bytes());
        h[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        h[6] = self.next_header;
        h[7] = self.hop_limit;
        h[8..24].copy_from_slice(&self.src.octets());
        h[24..].copy_from_slice(&self.dst.octets());
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn chain_ends_at_the_transport() {
        // hop-by-hop (16 bytes), destination options, atomic fragment, then ESP.
        let mut b = std::vec![60u8, 1];
        b.resize(16, 0);
        b.extend([44, 0, 1, 4, 0, 0, 0, 0]);
        b.extend([50, 0, 0, 0, 0, 0, 0, 9]);
        b.extend([0, 0, 1, 0]);
        let c = Chain::walk(b.as_slice(), 0, 0);
        assert_eq!(c.end, Some((50, 32)));
        assert!(c.fragment.unwrap().is_atomic());
        assert_eq!(Chain::walk(&b[..31], 0, 0).end, None);
    }

    #[test]
    fn later_fragments_are_not_walked() {
        let b: &[u8] = &[60, 0, 0x05, 0xa9, 0, 0, 0, 1, 44, 0, 0, 0, 0, 0, 0, 0];
        let c = Chain::walk(b, 0, 44);
        assert_eq!(c.end, Some((60, 8)), "payload that looks like a header is left alone");
        assert_eq!(c.fragment, Some(Fragment { at: 0, offset: 0x05a8, more: true, id: 1 }));
    }

    #[test]
    fn a_chain_without_end_ends() {
        let b = [0u8; 512];
        assert_eq!(Chain::walk(&b[..], 0, 0).end, None);
        let mut n = [0u8; 512];
        n[(MAX_EXTENSIONS - 1) * 8] = 50;
        assert_eq!(Chain::walk(&n[..], 0, 0).end, Some((50, MAX_EXTENSIONS * 8)));
        let mut n = [0u8; 512];
        n[MAX_EXTENSIONS * 8] = 50;
        assert_eq!(Chain::walk(&n[..], 0, 0).end, None);
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes: Vec<u8>, next: u8) {
            let _ = Chain::walk(bytes.as_slice(), 0, next);
            if let Some(b) = bytes.first_mut() { *b = 0x60 | (*b & 0x0f); }
            if let Ok(p) = Ipv6::parse(&bytes) {
                let _ = (p.chain(), p.payload(), p.src(), p.dst());
            }
        }

        #[test]
        fn written_is_read(tc: u8, flow in 0u32..0x10_0000, next: u8, hops: u8, src: u128, dst: u128, payload: Vec<u8>, tc2: u8) {
            let h = Ipv6Header {
                traffic_class: tc,
                flow_label: flow,
                payload_len: u16::try_from(payload.len()).unwrap(),
                next_header: next,
                hop_limit: hops,
                src: Ipv6Addr::from_bits(src),
                dst: Ipv6Addr::from_bits(dst),
            };
            let mut bytes = [&h.to_bytes()[..], &payload, &[0; 3]].concat();
            let p = Ipv6::parse(&bytes).unwrap();
            prop_assert_eq!((p.traffic_class(), p.flow_label(), p.next_header(), p.hop_limit()), (tc, flow, next, hops));
            prop_assert_eq!((p.src(), p.dst(), p.payload()), (h.src, h.dst, payload.as_slice()));
            let mut m = Ipv6Mut::parse(&mut bytes).unwrap();
            m.set_traffic_class(tc2);
            m.set_src(h.dst);
            m.set_dst(h.src);
            m.set_hop_limit(1);
            m.set_next_header(2);
            m.set_payload_len(3);
            let want = Ipv6Header { traffic_class: tc2, hop_limit: 1, next_header: 2, payload_len: 3, src: h.dst, dst: h.src, ..h };
            prop_assert_eq!(bytes.first_chunk(), Some(&want.to_bytes()));
        }
    }
}
