//! The Security Parameters Index, which names an SA at its receiver.

use core::fmt;
use core::num::NonZero;

/// SPI in host order. 0 never goes on the wire; 1..=255 are reserved (RFC 4303 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(NonZero<u32>);

/// The raw value was 0..=255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedSpi(pub u32);

impl Spi {
    /// The SPI in host order.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for Spi {
    type Error = ReservedSpi;

    #[inline]
    fn try_from(raw: u32) -> Result<Self, ReservedSpi> {
        match NonZero::new(raw) {
            Some(n) if raw > 255 => Ok(Self(n)),
            _ => Err(ReservedSpi(raw)),
        }
    }
}

/// Both prints show the eight hexadecimal digits that operators know from other tools.
impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.get())
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi(0x{:08x})", self.get())
    }
}

impl fmt::Display for ReservedSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SPI {} is reserved (RFC 4303 §2.1: 256 and above)", self.0)
    }
}

impl core::error::Error for ReservedSpi {}

#[cfg(test)]
mod tests {
    use super::*;

    // R218
    #[test]
    fn reserved_values_are_refused() {
        assert_eq!(Spi::try_from(0), Err(ReservedSpi(0)));
        assert_eq!(Spi::try_from(255), Err(ReservedSpi(255)));
        assert_eq!(Spi::try_from(256).unwrap().get(), 256);
        assert_eq!(Spi::try_from(u32::MAX).unwrap().get(), u32::MAX);
    }
}
