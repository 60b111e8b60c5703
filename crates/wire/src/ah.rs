//! AH (RFC 4302): its fixed fields, and what of the header before it counts for the ICV.

use crate::{Malformed, ReservedSpi, Spi};

/// Without the integrity check value.
pub const HEADER: usize = 12;

/// A header whose own length lies within the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Ah<'a> {
    bytes: &'a [u8],
    fixed: &'a [u8; HEADER],
    len: usize,
}

impl<'a> Ah<'a> {
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let fixed = bytes.first_chunk::<HEADER>().ok_or(Malformed::Truncated)?;
        // RFC 4302 §2.2: in 32-bit words, minus two.
        let len = (usize::from(fixed[1]) + 2) * 4;
        if len < HEADER || len > bytes.len() {
            return Err(Malformed::HeaderLength);
        }
        Ok(Self { bytes, fixed, len })
    }

    #[inline]
    pub const fn next_header(&self) -> u8 {
        self.fixed[0]
    }

    #[inline]
    pub fn spi(&self) -> Result<Spi, ReservedSpi> {
        let f = self.fixed;
        Spi::try_from(u32::from_be_bytes([f[4], f[5], f[6], f[7]]))
    }

    #[inline]
    pub const fn seq(&self) -> u32 {
        let f = self.fixed;
        u32::from_be_bytes([f[8], f[9], f[10], f[11]])
    }

    /// With padding for IPv6's alignment, if any.
    #[inline]
    pub fn icv(&self) -> &'a [u8] {
        self.bytes.get(HEADER..self.len).unwrap_or_default()
    }

    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.len..).unwrap_or_default()
    }
}

/// A header to be written; the ICV behind it is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AhHeader {
    pub next_header: u8,
    /// Of the ICV and its padding, a multiple of four.
    pub icv_len: usize,
    pub spi: u32,
    pub seq: u32,
}

impl AhHeader {
    /// `None`: a length that the field cannot say.
    pub fn to_bytes(self) -> Option<[u8; HEADER]> {
        let words = (HEADER + self.icv_len).checked_div(4).filter(|_| self.icv_len.is_multiple_of(4))?;
        let len = u8::try_from(words.checked_sub(2)?).ok()?;
        let [s0, s1, s2, s3] = self.spi.to_be_bytes();
        let [q0, q1, q2, q3] = self.seq.to_be_bytes();
        Some([self.next_header, len, 0, 0, s0, s1, s2, s3, q0, q1, q2, q3])
    }
}

/// Zeroes what may change on the way in an IPv4 header with its options (RFC 4302 §3.3.3.1.1, appendix A1): TOS, flags
/// and offset, TTL, checksum, and every option that is not known to stay as it is. `None`: the options are malformed.
pub fn freeze_v4(header: &mut [u8]) -> Option<()> {
    for at in [1, 6, 7, 8, 10, 11] {
        *header.get_mut(at)? = 0;
    }
    let mut options = header.get_mut(crate::ipv4::HEADER..)?;
    while let Some(&kind) = options.first() {
        let len = match kind {
            END => return Some(()),
            NOP => 1,
            _ => usize::from(*options.get(1)?),
        };
        if len == 0 || kind != NOP && len < 2 {
            return None;
        }
        let (option, rest) = options.split_at_mut_checked(len)?;
        if !IMMUTABLE.contains(&kind) {
            option.fill(0);
        }
        options = rest;
    }
    Some(())
}

const END: u8 = 0;
const NOP: u8 = 1;
/// End, no operation, security, extended security, commercial security, router alert, multi-destination.
const IMMUTABLE: [u8; 7] = [END, NOP, 130, 133, 134, 148, 149];

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn fields() {
        let mut b = std::vec![4u8, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 7];
        b.extend([0xaa; 12]);
        b.extend([0x45, 0]);
        let a = Ah::parse(&b).unwrap();
        assert_eq!((a.next_header(), a.spi().unwrap().get(), a.seq()), (4, 256, 7));
        assert_eq!((a.icv(), a.payload()), (&[0xaa; 12][..], &[0x45, 0][..]));
    }

    /// R159: router alert stays, a record route and a time stamp do not.
    #[test]
    fn what_may_change_on_the_way_is_zeroed() {
        let mut header = std::vec![
            0x4a, 0xb8, 0, 99, 0x12, 0x34, 0x40, 0x01, 61, 51, 0xaa, 0xbb, 1, 2, 3, 4, 5, 6, 7,
            8, // fixed
            148, 4, 9, 9, 7, 7, 4, 1, 2, 3, 4, 1, 68, 4, 5, 0, 0, 0, 0, 3,
        ];
        let before = header.clone();
        freeze_v4(&mut header).unwrap();
        let kept: Vec<usize> = (0..header.len()).filter(|i| header[*i] == before[*i]).collect();
        let mut expected: Vec<usize> = [0, 2, 3, 4, 5, 9, 12, 13, 14, 15, 16, 17, 18, 19].into();
        expected.extend([20, 21, 22, 23, 31, 35, 36, 37, 38, 39]);
        assert_eq!(kept, expected);
        assert!(header.iter().enumerate().all(|(i, b)| *b == if kept.contains(&i) { before[i] } else { 0 }));
        for bad in [&[7u8, 0, 0, 0][..], &[7, 1, 0, 0], &[7, 5, 0, 0], &[1, 1, 1, 7]] {
            assert_eq!(freeze_v4(&mut [&before[..20], bad].concat()), None);
        }
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written(next_header: u8, spi: u32, seq: u32, words in 0usize..=9) {
            let header = AhHeader { next_header, icv_len: words * 4, spi, seq };
            let bytes = [&header.to_bytes().unwrap()[..], &[7; 40][..words * 4], &[1, 2]].concat();
            let ah = Ah::parse(&bytes).unwrap();
            prop_assert_eq!((ah.next_header(), ah.seq(), ah.icv().len()), (next_header, seq, words * 4));
            prop_assert_eq!(ah.spi().ok(), Spi::try_from(spi).ok());
            prop_assert_eq!(ah.payload(), &[1, 2]);
            let odd = AhHeader { icv_len: words * 4 + 1, ..header };
            prop_assert_eq!(odd.to_bytes(), None);
        }

        #[test]
        fn any_options(mut options in proptest::collection::vec(any::<u8>(), 0..=40)) {
            let mut header = std::vec![0x45u8; 20];
            header.append(&mut options);
            let len = header.len();
            let _ = freeze_v4(&mut header);
            prop_assert_eq!(header.len(), len);
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Ok(a) = Ah::parse(&bytes) {
                prop_assert_eq!(HEADER + a.icv().len() + a.payload().len(), bytes.len());
            }
        }
    }
}
