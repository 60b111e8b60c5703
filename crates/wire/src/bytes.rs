//! Bounds-checked reading, over a slice in user space and over `data..data_end` in the kernel.

use core::fmt;

/// Bytes that can be read at any offset without harm. Implemented for `[u8]` here and for the XDP context in the
/// XDP program, so that both sides run the same parser.
///
/// The XDP implementation lets nobody read beyond [`MAX_OFFSET`](Self::MAX_OFFSET) (the verifier wants a bound it can
/// follow); `[u8]` keeps the same bound, so that both always answer alike.
pub trait Bytes {
    /// Headers that steer a frame lie below this offset; whatever lies beyond reads as absent.
    const MAX_OFFSET: usize = 2047;

    /// The `N` bytes at `offset`, or `None` when not all of them are there.
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        self.array::<1>(offset).map(|[b]| b)
    }

    /// Network order.
    #[inline(always)]
    fn be16(&self, offset: usize) -> Option<u16> {
        self.array(offset).map(u16::from_be_bytes)
    }

    /// Network order.
    #[inline(always)]
    fn be32(&self, offset: usize) -> Option<u32> {
        self.array(offset).map(u32::from_be_bytes)
    }
}

impl Bytes for [u8] {
    #[inline(always)]
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > Self::MAX_OFFSET {
            return None;
        }
        self.get(offset..)?.first_chunk::<N>().copied()
    }
}

/// Why bytes are not the header that they were taken for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// Fewer bytes than the header needs.
    Truncated,
    /// The version nibble is another.
    Version,
    /// The header's own length is below its minimum or beyond the packet.
    HeaderLength,
    /// The length field says less than the header, or more than there is.
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::Version => "wrong version",
            Self::HeaderLength => "header length out of range",
            Self::Length => "length field contradicts the packet",
        })
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_where_the_bytes_end() {
        let b: &[u8] = &[1, 2, 3, 4, 5];
        assert_eq!(b.be32(1), Some(0x0203_0405));
        assert_eq!(b.be32(2), None);
        assert_eq!(b.array::<0>(5), Some([]));
        assert_eq!(b.array::<0>(6), None);
        assert_eq!(b.byte(usize::MAX), None);
    }

    #[test]
    fn what_lies_beyond_the_bound_reads_as_absent() {
        let b: &[u8] = &[7; 4096];
        assert_eq!(b.byte(<[u8] as Bytes>::MAX_OFFSET), Some(7));
        assert_eq!(b.byte(<[u8] as Bytes>::MAX_OFFSET + 1), None);
    }
}
