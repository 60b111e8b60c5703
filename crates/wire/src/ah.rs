//! AH (RFC 4302): its fixed fields.

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

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Ok(a) = Ah::parse(&bytes) {
                prop_assert_eq!(HEADER + a.icv().len() + a.payload().len(), bytes.len());
            }
        }
    }
}
