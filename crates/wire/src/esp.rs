//! ESP (RFC 4303): the part of its header that is in clear.

use crate::{ReservedSpi, Spi};

/// SPI and sequence number.
pub const HEADER: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Esp {
    /// In host order; [`Self::spi`] says whether it is lawful.
    pub raw_spi: u32,
    /// The 32 bits that go on the wire.
    pub seq: u32,
}

impl Esp {
    /// `None`: cut short.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [s0, s1, s2, s3, q0, q1, q2, q3] = *bytes.first_chunk::<HEADER>()?;
        Some(Self {
            raw_spi: u32::from_be_bytes([s0, s1, s2, s3]),
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
        })
    }

    #[inline]
    pub fn spi(self) -> Result<Spi, ReservedSpi> {
        Spi::try_from(self.raw_spi)
    }

    #[inline]
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let [s0, s1, s2, s3] = self.raw_spi.to_be_bytes();
        let [q0, q1, q2, q3] = self.seq.to_be_bytes();
        [s0, s1, s2, s3, q0, q1, q2, q3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_is_read(raw_spi: u32, seq: u32, cut in 0usize..8) {
            let b = Esp { raw_spi, seq }.to_bytes();
            prop_assert_eq!(Esp::parse(&b), Some(Esp { raw_spi, seq }));
            prop_assert_eq!(Esp::parse(&b[..cut]), None);
        }
    }
}
