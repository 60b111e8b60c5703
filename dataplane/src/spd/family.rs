//! IPv4 and IPv6 addresses as the numbers that prefixes and ranges are made of.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::BitAnd;

/// An address of one family, in host order.
pub(crate) trait Family: Copy + Ord + Hash + Debug + BitAnd<Output = Self> {
    /// `None`: of the other family.
    fn of(addr: IpAddr) -> Option<Self>;

    /// The upper `len` bits set.
    fn mask(len: u8) -> Self;

    /// The last address of the prefix of this length.
    fn last(self, len: u8) -> Self;

    /// Bits that depend on both addresses; for a hash.
    fn mix(self, other: Self) -> u64;
}

impl Family for u32 {
    fn of(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V4(a) => Some(a.to_bits()),
            IpAddr::V6(_) => None,
        }
    }

    fn mask(len: u8) -> Self {
        Self::MAX.checked_shl(32 - Self::from(len)).unwrap_or(0)
    }

    fn last(self, len: u8) -> Self {
        self | !Self::mask(len)
    }

    #[inline]
    fn mix(self, other: Self) -> u64 {
        u64::from(self) << 32 | u64::from(other)
    }
}

impl Family for u128 {
    fn of(addr: IpAddr) -> Option<Self> {
        match addr {
            IpAddr::V4(_) => None,
            IpAddr::V6(a) => Some(a.to_bits()),
        }
    }

    fn mask(len: u8) -> Self {
        Self::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
    }

    fn last(self, len: u8) -> Self {
        self | !Self::mask(len)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // halves are meant
    fn mix(self, other: Self) -> u64 {
        let folded = |a: Self| (a >> 64) as u64 ^ (a as u64).rotate_left(21);
        folded(self).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ folded(other)
    }
}
