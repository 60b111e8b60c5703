//! AH (RFC 4302): its fixed fields, and what of the header before it counts for the ICV.

use crate::extension::Extensions;
use crate::{Malformed, ReservedSpi, Spi, ipv6, protocol};

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

/// Length of the ICV with its padding: AH is a multiple of four bytes, and of eight in IPv6 (RFC 4302 §2.2, §2.6).
pub const fn icv_field(icv: usize, v6: bool) -> usize {
    let unit = if v6 { 8 } else { 4 };
    (HEADER + icv).next_multiple_of(unit) - HEADER
}

/// Zeroes what may change on the way in an IPv6 header with the extension headers behind it, all before AH (RFC 4302
/// §3.3.3.1.2): class, flow label, hop limit, and the data of the options that say of themselves that they may change.
/// `None`: a header is malformed, or none that stands before AH.
pub fn freeze_v6(front: &mut [u8]) -> Option<()> {
    let fixed = front.first_chunk_mut::<{ ipv6::HEADER }>()?;
    fixed[0] &= 0xf0;
    fixed[1..4].fill(0);
    fixed[7] = 0;
    let (mut kind, mut rest) = (fixed[6], front.get_mut(ipv6::HEADER..)?);
    while !rest.is_empty() {
        let len = (usize::from(*rest.get(1)?) + 1) * 8;
        let next = *rest.first()?;
        let (header, behind) = rest.split_at_mut_checked(len)?;
        match kind {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS => freeze_options(header.get_mut(2..)?)?,
            protocol::ROUTING => {}
            _ => return None,
        }
        (kind, rest) = (next, behind);
    }
    Some(())
}

fn freeze_options(mut options: &mut [u8]) -> Option<()> {
    const PAD1: u8 = 0;
    /// The option data may change on the way (RFC 8200 §4.2).
    const MUTABLE: u8 = 0x20;
    while let Some(&kind) = options.first() {
        let data = if kind == PAD1 { 0 } else { 1 + usize::from(*options.get(1)?) };
        let (option, rest) = options.split_at_mut_checked(1 + data)?;
        if kind & MUTABLE != 0 {
            option.get_mut(2..)?.fill(0);
        }
        options = rest;
    }
    Some(())
}

/// Makes of IPv6's header, with extension headers behind it, what its destination will see: a routing header that was
/// followed to its end (RFC 4302 §3.3.3.1.2.2). `None`: nobody knows how one of that type is followed.
pub fn arrive_v6(front: &mut [u8]) -> Option<()> {
    let routing = Extensions::of(front)?.find(|e| e.kind == protocol::ROUTING);
    let Some(routing) = routing else { return Some(()) };
    let (before, header) = front.split_at_mut_checked(routing.at)?;
    let [kind, left] = [*header.get(2)?, *header.get(3)?];
    if left == 0 {
        return Some(());
    }
    const SOURCE_ROUTE: u8 = 0;
    const MOBILE: u8 = 2;
    let addresses = header.get_mut(8..routing.end - routing.at)?;
    let (hops, odd) = addresses.as_chunks_mut::<16>();
    let ahead = hops.len().checked_sub(left.into()).and_then(|first| hops.get_mut(first..))?;
    if !matches!(kind, SOURCE_ROUTE | MOBILE) || !odd.is_empty() {
        return None;
    }
    let destination = before.get_mut(24..ipv6::HEADER)?;
    for hop in ahead {
        destination.swap_with_slice(hop);
    }
    *header.get_mut(3)? = 0;
    Some(())
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

    fn fixed(next: u8) -> Vec<u8> {
        let mut bytes = std::vec![0x6b, 0x81, 0x23, 0x45, 0, 99, next, 61];
        bytes.extend(1..=32);
        bytes
    }

    /// R159: of IPv6 class, flow label and hop limit; of options what says so.
    #[test]
    fn what_may_change_on_the_way_of_ipv6_is_zeroed() {
        // Hop-by-hop: router alert (stays), one that may change, two kinds of padding; then destination options.
        let options = [60, 1, 5, 2, 0, 9, 0x3e, 3, 7, 8, 9, 1, 2, 0, 0, 0, 51, 0, 0xc9, 4, 1, 2, 3, 4];
        let mut front = [fixed(0), options.to_vec()].concat();
        let before = front.clone();
        freeze_v6(&mut front).unwrap();
        let changed: Vec<usize> = (0..front.len()).filter(|i| front[*i] != before[*i]).collect();
        assert_eq!(changed, [0, 1, 2, 3, 7, 48, 49, 50]);
        assert!(changed.iter().all(|i| front[*i] == if *i == 0 { 0x60 } else { 0 }));
        for bad in [&[51u8, 0, 5, 9, 0, 0, 0, 0][..], &[51, 1, 0, 0, 0, 0, 0, 0], &[51, 0, 1, 3, 0, 0, 0, 5]]
        {
            assert_eq!(freeze_v6(&mut [&fixed(0), bad].concat()), None, "{bad:?}");
        }
        assert_eq!(freeze_v6(&mut [&fixed(44)[..], &[51, 0, 0, 1, 0, 0, 0, 1]].concat()), None);
        assert_eq!(freeze_v6(&mut fixed(51)), Some(()));
    }

    /// RFC 4302 §3.3.3.1.2.2: as the last hop sees it; what nobody knows to follow is refused.
    #[test]
    fn a_routing_header_counts_as_it_arrives() {
        let hop = |n: u8| [n; 16];
        let header =
            |kind, left| [&[51, 6, kind, left, 0, 0, 0, 0][..], &hop(0xa), &hop(0xb), &hop(0xc)].concat();
        let mut front = [fixed(43), header(0, 2)].concat();
        arrive_v6(&mut front).unwrap();
        let first: Vec<u8> = (17..=32).collect();
        let arrived = [&[51, 6, 0, 0, 0, 0, 0, 0][..], &hop(0xa), &first, &hop(0xb)].concat();
        assert_eq!((&front[24..40], &front[40..]), (&hop(0xc)[..], &arrived[..]), "two hops were to come");
        for (kind, left, known) in [(0, 0, true), (2, 3, true), (0, 4, false), (3, 1, false), (4, 0, true)] {
            let mut front = [fixed(43), header(kind, left)].concat();
            assert_eq!(arrive_v6(&mut front).is_some(), known, "{kind} {left}");
        }
        assert_eq!((icv_field(12, false), icv_field(12, true)), (12, 12));
        assert_eq!((icv_field(16, false), icv_field(16, true)), (16, 20));
        assert_eq!((icv_field(24, true), icv_field(32, true)), (28, 36));
    }

    proptest! {
        #[test]
        fn any_front(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in prop_oneof![Just(0u8), Just(43), Just(60)]) {
            if let Some(next) = bytes.get_mut(6) {
                *next = kind;
            }
            let _ = (arrive_v6(&mut bytes), freeze_v6(&mut bytes));
        }

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
