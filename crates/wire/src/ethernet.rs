//! Ethernet II and its tags (IEEE 802.1Q, 802.1ad).

use crate::Bytes;
use core::fmt;
use core::str::FromStr;

pub const HEADER: usize = 14;
/// Bytes that one tag adds.
pub const TAG: usize = 4;
/// So many tags are looked through; a frame with more is [`Link::parse`]'s `None`.
pub const MAX_TAGS: usize = 2;

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
pub const VLAN: u16 = 0x8100;
/// Service tag of 802.1ad (QinQ).
pub const QINQ: u16 = 0x88a8;
/// What equipment older than 802.1ad uses as the outer tag.
pub const QINQ_OLD: u16 = 0x9100;

/// A link address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    pub const BROADCAST: Self = Self([0xff; 6]);
    pub const ZERO: Self = Self([0; 6]);

    /// Group bit: multicast and broadcast.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMacAddr;

impl fmt::Display for BadMacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a link address such as 02:00:00:00:00:01")
    }
}

impl core::error::Error for BadMacAddr {}

impl FromStr for MacAddr {
    type Err = BadMacAddr;

    fn from_str(s: &str) -> Result<Self, BadMacAddr> {
        let mut octets = [0; 6];
        let mut parts = s.split(':');
        for o in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2 && !p.starts_with('+')).ok_or(BadMacAddr)?;
            *o = u8::from_str_radix(part, 16).map_err(|_| BadMacAddr)?;
        }
        if parts.next().is_some() { Err(BadMacAddr) } else { Ok(Self(octets)) }
    }
}

/// One tag: priority, drop eligibility and VLAN number, as they stand on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    /// [`VLAN`], [`QINQ`] or [`QINQ_OLD`].
    pub tpid: u16,
    pub tci: u16,
}

impl Tag {
    /// VLAN number; 0 is a priority tag without VLAN.
    pub const fn vlan(self) -> u16 {
        self.tci & 0x0fff
    }
}

/// What lies before the network layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Type of the payload, behind all tags.
    pub ethertype: u16,
    /// Where the payload begins.
    pub payload: usize,
    /// Outer tag first.
    pub tags: [Option<Tag>; MAX_TAGS],
}

impl Link {
    /// `None`: cut short, or more tags than [`MAX_TAGS`].
    #[inline(always)]
    pub fn parse(frame: &(impl Bytes + ?Sized)) -> Option<Self> {
        let mut ethertype = frame.be16(12)?;
        let mut payload = HEADER;
        let mut tags = [None; MAX_TAGS];
        for tag in &mut tags {
            if !is_tag(ethertype) {
                break;
            }
            let [t0, t1, e0, e1] = frame.array(payload)?;
            *tag = Some(Tag { tpid: ethertype, tci: u16::from_be_bytes([t0, t1]) });
            ethertype = u16::from_be_bytes([e0, e1]);
            payload += TAG;
        }
        if is_tag(ethertype) { None } else { Some(Self { ethertype, payload, tags }) }
    }
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | QINQ | QINQ_OLD)
}

/// The untagged header. Reading: [`Self::parse`]; writing: [`Self::to_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ethernet {
    pub dst: MacAddr,
    pub src: MacAddr,
    pub ethertype: u16,
}

impl Ethernet {
    /// The header and what follows it; tags are the payload's matter.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (h, rest) = frame.split_first_chunk::<HEADER>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *h;
        let dst = MacAddr([d0, d1, d2, d3, d4, d5]);
        let src = MacAddr([s0, s1, s2, s3, s4, s5]);
        Some((Self { dst, src, ethertype: u16::from_be_bytes([t0, t1]) }, rest))
    }

    #[inline]
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let [d0, d1, d2, d3, d4, d5] = self.dst.0;
        let [s0, s1, s2, s3, s4, s5] = self.src.0;
        let [t0, t1] = self.ethertype.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn mac_text_round_trips() {
        let m: MacAddr = "02:00:5e:10:00:ff".parse().unwrap();
        assert_eq!(m.to_string(), "02:00:5e:10:00:ff");
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:ff:00",
            "2:0:5e:10:0:ff",
            "02-00-5e-10-00-ff",
            "+1:00:00:00:00:00",
        ] {
            assert_eq!(bad.parse::<MacAddr>(), Err(BadMacAddr), "{bad}");
        }
        assert!(MacAddr::BROADCAST.is_multicast() && !m.is_multicast());
    }

    // R40
    #[test]
    fn tags_are_looked_through_up_to_two() {
        let mut f: Vec<u8> = std::vec![0; 12];
        f.extend([0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0x00, 0x7b, 0x08, 0x00]);
        let link = Link::parse(f.as_slice()).unwrap();
        assert_eq!((link.ethertype, link.payload), (IPV4, 22));
        assert_eq!(link.tags[0].unwrap().vlan(), 100);
        assert_eq!(link.tags[1].unwrap(), Tag { tpid: VLAN, tci: 123 });
        f.truncate(21);
        assert_eq!(Link::parse(f.as_slice()), None, "cut inside the second tag");
        f.truncate(20);
        f.extend([0x81, 0x00, 0x00, 0x01, 0x08, 0x00]);
        assert_eq!(Link::parse(f.as_slice()), None, "a third tag");
    }

    proptest! {
        #[test]
        fn header_round_trips(dst: [u8; 6], src: [u8; 6], ethertype: u16) {
            let h = Ethernet { dst: MacAddr(dst), src: MacAddr(src), ethertype };
            let bytes = h.to_bytes();
            prop_assert_eq!(Ethernet::parse(&bytes), Some((h, &[][..])));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Some(link) = Link::parse(bytes.as_slice()) {
                prop_assert!(link.payload <= bytes.len());
            }
            let _ = Ethernet::parse(&bytes);
        }
    }
}
