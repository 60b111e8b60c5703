//! The extension headers of an IPv6 packet one by one (RFC 8200 §4), for those who change them or put one between.
//!
//! Decides: where each one lies and what names it; where a header of IPsec goes. Reads: the packet. Writes: nothing.
//! Never: walks behind a fragment header, since what lies there may be no header; steers ([`crate::ipv6::Chain`] does).

use crate::ipv6::{HEADER, MAX_EXTENSIONS, is_extension};
use crate::{Bytes, protocol};

/// Where IPv6's own header names what follows it.
const NAMED_AT: usize = 6;

/// One header of the chain, all of which is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extension {
    pub kind: u8,
    pub at: usize,
    pub end: usize,
    /// Where the byte lies that says `kind`.
    pub named_at: usize,
}

/// What follows the headers that were passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rest {
    pub protocol: u8,
    pub at: usize,
    /// Where the byte lies that says `protocol`.
    pub named_at: usize,
}

/// Ends before a header that is cut short, behind a fragment header, and after [`MAX_EXTENSIONS`].
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    packet: &'a [u8],
    rest: Rest,
    left: usize,
}

impl<'a> Extensions<'a> {
    /// `None`: not even IPv6's own header is there.
    pub fn of(packet: &'a [u8]) -> Option<Self> {
        packet.get(..HEADER)?;
        let rest = Rest { protocol: *packet.get(NAMED_AT)?, at: HEADER, named_at: NAMED_AT };
        Some(Self { packet, rest, left: MAX_EXTENSIONS })
    }

    pub const fn rest(&self) -> Rest {
        self.rest
    }
}

impl Iterator for Extensions<'_> {
    type Item = Extension;

    fn next(&mut self) -> Option<Extension> {
        let Rest { protocol: kind, at, named_at } = self.rest;
        if self.left == 0 || !is_extension(kind) {
            return None;
        }
        let [next, len] = self.packet.array(at)?;
        let end = at + if kind == protocol::FRAGMENT { 8 } else { (usize::from(len) + 1) * 8 };
        self.packet.get(at..end)?;
        self.left = if kind == protocol::FRAGMENT { 0 } else { self.left - 1 };
        self.rest = Rest { protocol: next, at: end, named_at: at };
        Some(Extension { kind, at, end, named_at })
    }
}

/// Where ESP or AH of transport mode goes (RFC 4303 §3.1.1, RFC 4302 §3.1.1): behind hop-by-hop options, routing and
/// fragment headers, and destination options that are not for the last destination alone: those in front of a routing
/// header, and where there is none.
pub fn transport_at(packet: &[u8]) -> Option<Rest> {
    let mut extensions = Extensions::of(packet)?;
    let mut routed = false;
    loop {
        let here = extensions.rest();
        let Some(extension) = extensions.next() else { return Some(here) };
        match extension.kind {
            protocol::ROUTING => routed = true,
            protocol::HOP_BY_HOP | protocol::FRAGMENT => {}
            protocol::DESTINATION_OPTIONS if !routed => {}
            _ => return Some(here),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv6::Chain;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// IPv6 with these headers, each of eight bytes, before TCP.
    fn packet(kinds: &[u8]) -> Vec<u8> {
        let mut bytes = std::vec![0x60u8, 0, 0, 0, 0, 0, *kinds.first().unwrap_or(&6), 64];
        bytes.resize(HEADER, 0);
        for next in kinds.iter().skip(1).chain(&[6]) {
            bytes.extend([if kinds.is_empty() { 6 } else { *next }, 0, 1, 4, 0, 0, 0, 0]);
        }
        bytes.truncate(HEADER + kinds.len() * 8);
        bytes.extend([0xaa; 20]);
        bytes
    }

    #[test]
    fn ipsec_goes_where_the_destination_looks_for_it() {
        let at = |kinds: &[u8]| transport_at(&packet(kinds)).map(|r| (r.protocol, r.at, r.named_at));
        assert_eq!(at(&[]), Some((6, 40, 6)));
        assert_eq!(at(&[0]), Some((6, 48, 40)));
        assert_eq!(at(&[60]), Some((6, 48, 40)));
        assert_eq!(at(&[0, 60, 43, 60]), Some((60, 64, 56)), "the last ones are for the destination alone");
        assert_eq!(at(&[0, 43, 44]), Some((6, 64, 56)));
        assert_eq!(at(&[135]), Some((135, 40, 6)), "mobility is payload");
        assert_eq!(transport_at(&[0x60; 39]), None);
    }

    proptest! {
        /// Where the walk of the classifier has an end, this one has the same.
        #[test]
        fn walks_as_the_classifier_does(kinds in proptest::collection::vec(prop_oneof![Just(0u8), Just(43), Just(60), Just(135)], 0..10),
                                        cut in 0usize..200, change in proptest::option::of((40usize..120, any::<u8>()))) {
            let mut bytes = packet(&kinds);
            if let Some((at, value)) = change && let Some(byte) = bytes.get_mut(at) { *byte = value; }
            bytes.truncate(bytes.len() - cut.min(bytes.len() - HEADER));
            let mut mine = Extensions::of(&bytes).unwrap();
            let mut end = HEADER;
            let mut fragments = 0;
            for e in mine.by_ref() {
                prop_assert_eq!((e.at, bytes[e.named_at]), (end, e.kind));
                fragments += usize::from(e.kind == 44);
                end = e.end;
            }
            let chain = Chain::walk(bytes.as_slice(), HEADER, bytes[6]);
            let rest = mine.rest();
            if fragments == 0 && !is_extension(rest.protocol) {
                prop_assert_eq!(chain.end, Some((rest.protocol, rest.at)));
            }
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Some(rest) = transport_at(&bytes) {
                prop_assert!(rest.at <= bytes.len() && rest.named_at < rest.at);
            }
        }
    }
}
