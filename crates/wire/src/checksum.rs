//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use core::net::{Ipv4Addr, Ipv6Addr};

/// One's-complement sum of 16-bit words in progress. Words of several pieces add up; only the last piece may have an
/// odd length.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum(u64);

impl Sum {
    pub const fn new() -> Self {
        Self(0)
    }

    /// Eight bytes at a time, in the machine's own byte order (RFC 1071 §2 B: the order only swaps the result).
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        // Each addend is below 2³³, so four gigabytes of input cannot overflow the accumulator.
        let mut acc = words.iter().fold(self.fold().0, |acc, w| {
            let w = u64::from_ne_bytes(*w);
            acc + (w & 0xffff_ffff) + (w >> 32)
        });
        let (pairs, last) = rest.as_chunks::<2>();
        for p in pairs {
            acc += u64::from(u16::from_ne_bytes(*p));
        }
        if let [b] = last {
            acc += u64::from(u16::from_ne_bytes([*b, 0]));
        }
        Self(acc)
    }

    /// One word in host order.
    #[inline]
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word.to_be()))
    }

    /// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 §3.1).
    #[inline]
    #[must_use]
    pub fn pseudo_v4(self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> Self {
        self.bytes(&src.octets()).bytes(&dst.octets()).word(protocol.into()).word(len)
    }

    /// The pseudo-header of RFC 8200 §8.1.
    #[inline]
    #[must_use]
    pub fn pseudo_v6(self, src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, len: u32) -> Self {
        self.bytes(&src.octets()).bytes(&dst.octets()).bytes(&len.to_be_bytes()).word(next_header.into())
    }

    #[inline]
    const fn fold(self) -> Self {
        let mut s = self.0;
        s = (s & 0xffff_ffff) + (s >> 32);
        s = (s & 0xffff_ffff) + (s >> 32);
        Self(s)
    }

    /// The checksum in host order, ready for `to_be_bytes`.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // folded to 16 bits
    pub const fn finish(self) -> u16 {
        let mut s = self.fold().0;
        s = (s & 0xffff) + (s >> 16);
        s = (s & 0xffff) + (s >> 16);
        !u16::from_be(s as u16)
    }
}

/// The checksum of `bytes`, in host order. 0 over bytes that hold a right checksum.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).finish()
}

/// Whether `bytes`, with their checksum inside, add up.
#[inline]
pub fn holds(bytes: &[u8]) -> bool {
    of(bytes) == 0
}

/// [`holds`] for an IPv4 header without options, which every packet is asked for.
#[inline]
pub fn header_holds(header: &[u8; 20]) -> bool {
    let (words, last) = header.as_chunks::<8>();
    let [first, second] = [words[0], words[1]].map(u64::from_ne_bytes);
    let last = last.first_chunk().map_or(0, |last| u64::from(u32::from_ne_bytes(*last)));
    // 2^16 and 2^64 are 1 modulo 2^16 - 1, so that carries come round by themselves (RFC 1071 §2), and the sum of all words
    // is one of its multiples, but not 0.
    let (sum, carry) = first.overflowing_add(second);
    let (sum, more) = add(sum, last, carry);
    let sum = sum.wrapping_add(u64::from(more)); // what has just overflowed is small
    sum != 0 && sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

#[inline]
const fn add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(carry as u64);
    (sum, first | second)
}

/// Of 2^16 - 1 modulo 2^64: the product with it is small exactly for multiples.
const INVERSE: u64 = 0x0001_0001_0001_0001_u64.wrapping_neg();

const _: () = assert!(INVERSE.wrapping_mul(0xffff) == 1);

/// The checksum after one word changed from `old` to `new` (RFC 1624 eqn. 3); all in host order.
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation)] // folded to 16 bits
pub const fn update(check: u16, old: u16, new: u16) -> u16 {
    // Host order on both sides: one's-complement addition does not mind the order as long as it is one.
    let s = !check as u32 + !old as u32 + new as u32;
    let s = (s & 0xffff) + (s >> 16);
    let s = (s & 0xffff) + (s >> 16);
    !(s as u16)
}

/// [`update`] for a 32-bit field, such as an IPv4 address.
#[inline]
#[must_use]
#[allow(clippy::cast_possible_truncation)] // halves of 32 bits
pub const fn update32(check: u16, old: u32, new: u32) -> u16 {
    update(update(check, (old >> 16) as u16, (new >> 16) as u16), old as u16, new as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// As the RFC words it: 16-bit words, an odd byte padded with zero, end-around carry.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn example_of_rfc_1071() {
        // §3: the words 0001 f203 f4f5 f6f7 sum to ddf2 (after the carries).
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn example_of_rfc_1624() {
        // §4: HC = DD2F, m = 5555, m' = 3285 gives 0000.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn fast_equals_slow(bytes: Vec<u8>) {
            prop_assert_eq!(of(&bytes), slow(&bytes));
        }

        #[test]
        fn header_holds_as_any_bytes_do(mut header: [u8; 20], right: bool) {
            if right {
                header[10..12].fill(0);
                let sum = of(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            prop_assert_eq!(header_holds(&header), holds(&header));
        }

        #[test]
        fn pieces_add_up(bytes: Vec<u8>, cut in 0usize..64) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let (a, b) = bytes.split_at(cut);
            prop_assert_eq!(Sum::new().bytes(a).bytes(b).finish(), of(&bytes));
        }

        #[test]
        fn update_equals_recomputation(mut words in proptest::collection::vec(any::<u8>(), 20), at in 0usize..10, new: u16) {
            let at = at * 2;
            let old = u16::from_be_bytes([words[at], words[at + 1]]);
            let before = of(&words);
            words[at..at + 2].copy_from_slice(&new.to_be_bytes());
            // 0x0000 and 0xffff are one number in one's complement; over data that is not all zero only one arises.
            prop_assume!(words.iter().any(|b| *b != 0));
            prop_assert_eq!(update(before, old, new), of(&words));
        }
    }
}
