//! GRE (RFC 2784) with key and sequence number (RFC 2890).
//!
//! Decides: whether bytes are a header of version 0 without routing (RFC 1701 §"Routing", which RFC 2784 §2.3 lets nobody
//! take who does not know it). Reads and writes: header fields. Never: looks into the payload.

use crate::Bytes;
use crate::checksum::Sum;

/// Without any option.
pub const HEADER: usize = 4;
/// With checksum, key and sequence number.
pub const MAX_HEADER: usize = 16;

const CHECKSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Bits 1, 4 and 5, and the version: routing of RFC 1701, or another protocol (PPTP's).
const FOREIGN: u16 = 0x4c07;

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Flags or version of something else.
    Flags,
    /// Shorter than its flags say.
    Length,
    Checksum,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gre {
    /// EtherType of the payload.
    pub protocol: u16,
    pub checksum: bool,
    pub key: Option<u32>,
    pub sequence: Option<u32>,
}

impl Gre {
    /// `bytes`: header and payload, to the end of the packet, over all of which the checksum is.
    pub fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let flags = bytes.be16(0).ok_or(Flaw::Length)?;
        //= https://www.rfc-editor.org/rfc/rfc2784#section-2.3
        //# A receiver MUST discard a packet where any of bits 1-5 are non-zero,
        //# unless that receiver implements RFC 1701.
        if flags & FOREIGN != 0 {
            return Err(Flaw::Flags);
        }
        let mut me = Self {
            protocol: bytes.be16(2).ok_or(Flaw::Length)?,
            checksum: flags & CHECKSUM != 0,
            ..Self::default()
        };
        let mut at = HEADER + if me.checksum { 4 } else { 0 };
        if flags & KEY != 0 {
            me.key = Some(bytes.be32(at).ok_or(Flaw::Length)?);
            at += 4;
        }
        if flags & SEQUENCE != 0 {
            me.sequence = Some(bytes.be32(at).ok_or(Flaw::Length)?);
        }
        if bytes.len() < me.len() {
            return Err(Flaw::Length);
        }
        if me.checksum && Sum::new().bytes(bytes).finish() != 0 {
            return Err(Flaw::Checksum);
        }
        Ok(me)
    }

    /// The key of a header that may end behind it, as ICMP errors quote it. `None`: it is not there, or none of these.
    pub fn quoted_key(bytes: &[u8]) -> Option<Option<u32>> {
        let flags = bytes.be16(0).filter(|flags| flags & FOREIGN == 0)?;
        let at = HEADER + if flags & CHECKSUM != 0 { 4 } else { 0 };
        if flags & KEY == 0 { Some(None) } else { bytes.be32(at).map(Some) }
    }

    /// Of the header.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub const fn len(&self) -> usize {
        let words = self.checksum as usize + self.key.is_some() as usize + self.sequence.is_some() as usize;
        HEADER + 4 * words
    }

    /// At the front of `bytes`, which hold the payload behind it already. `None`: there is no room.
    pub fn write(&self, bytes: &mut [u8]) -> Option<()> {
        let header = bytes.get_mut(..self.len())?;
        header.fill(0);
        let flag = |there: bool, bit: u16| if there { bit } else { 0 };
        let flags = flag(self.checksum, CHECKSUM)
            | flag(self.key.is_some(), KEY)
            | flag(self.sequence.is_some(), SEQUENCE);
        header.get_mut(..2)?.copy_from_slice(&flags.to_be_bytes());
        header.get_mut(2..4)?.copy_from_slice(&self.protocol.to_be_bytes());
        let mut at = HEADER + if self.checksum { 4 } else { 0 };
        for word in [self.key, self.sequence].into_iter().flatten() {
            header.get_mut(at..at + 4)?.copy_from_slice(&word.to_be_bytes());
            at += 4;
        }
        if self.checksum {
            let sum = Sum::new().bytes(bytes).finish();
            bytes.get_mut(4..6)?.copy_from_slice(&sum.to_be_bytes());
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec;

    // RFC 2784 §2.1, RFC 2890 §2: the fields in their order, as scapy writes them.
    #[test]
    fn headers_as_others_write_them() {
        let plain = Gre { protocol: 0x0800, ..Gre::default() };
        let key = Gre { key: Some(42), ..plain };
        let all = Gre { checksum: true, key: Some(0xdead_beef), sequence: Some(7), protocol: 0x86dd };
        for (header, bytes) in [
            (plain, &[0, 0, 8, 0][..]),
            (key, &[0x20, 0, 8, 0, 0, 0, 0, 42]),
            (all, &[0xb0, 0, 0x86, 0xdd, 0x2b, 0x7d, 0, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 7]),
        ] {
            let mut out = [0xff; MAX_HEADER];
            header.write(out.get_mut(..header.len()).unwrap()).unwrap();
            assert_eq!(out.get(..header.len()).unwrap(), bytes);
            assert_eq!(Gre::parse(bytes), Ok(header));
            assert_eq!(Gre::quoted_key(bytes), Some(header.key));
        }
        assert_eq!(Gre::quoted_key(&[0x30, 0, 8, 0, 0, 0, 0, 42]), Some(Some(42)), "cut behind it");
        assert_eq!(Gre::quoted_key(&[0xb0, 0, 8, 0, 1, 2, 0, 0]), None, "cut before it");
        assert_eq!(Gre::quoted_key(&[0x30, 1, 8, 0, 0, 0, 0, 42]), None, "PPTP");
    }

    #[test]
    fn what_is_no_such_header_says_why() {
        // PPTP's version 1; source routes, recursion control of RFC 1701 (bit 5 of ours); the reserved bits are ignored.
        for flags in [0x3001u16, 0x4000, 0x0800, 0x0400] {
            assert_eq!(Gre::parse(&[flags.to_be_bytes(), [8, 0]].concat()), Err(Flaw::Flags));
        }
        assert!(Gre::parse(&[0x02, 0xf8, 8, 0]).is_ok());
        for len in 0..8 {
            assert_eq!(Gre::parse([0x20, 0, 8, 0, 0, 0, 0].get(..len.min(7)).unwrap()), Err(Flaw::Length));
        }
        assert_eq!(Gre::parse(&[0x80, 0, 8, 0, 0, 0, 0, 0]), Err(Flaw::Checksum));
    }

    proptest! {
        // R238: what is written is read, whatever is behind it; what is read of any bytes lies within them.
        #[test]
        fn written_and_read(
            protocol: u16, checksum: bool, key: Option<u32>, sequence: Option<u32>,
            payload in prop::collection::vec(any::<u8>(), 0..64), flip in any::<prop::sample::Index>(),
        ) {
            let gre = Gre { protocol, checksum, key, sequence };
            let mut bytes = [vec![0xee; gre.len()], payload].concat();
            gre.write(&mut bytes).unwrap();
            prop_assert_eq!(Gre::parse(&bytes), Ok(gre));
            if checksum {
                let at = flip.index(bytes.len());
                bytes[at] ^= 0x20;
                prop_assert!(Gre::parse(&bytes).is_err() || !Gre::parse(&bytes).unwrap().checksum);
            }
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(gre) = Gre::parse(&bytes) {
                prop_assert!(gre.len() <= bytes.len());
            }
        }
    }
}
