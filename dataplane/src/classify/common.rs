//! The shape of nearly every packet, read at one go.
//!
//! Decides: whether an IPv4 packet is TCP, UDP or ESP without options and no fragment, with lengths and a checksum that
//! hold. Reads: 24 bytes. Writes: the fields, where they stay: made elsewhere and copied, they would be read as a whole
//! right after they were written in parts, which stalls. Never: says what another packet is; the long way does.

use crate::packet::Ip;
use ravelin_wire::{checksum, ipv4, protocol};

/// The header and the first word behind it.
const READ: usize = ipv4::HEADER + 4;

/// The packet's length, which is wanted at once; `None`, and nothing is written, when it is another packet.
#[inline(always)]
pub(crate) fn common(bytes: &[u8], ip: &mut Ip) -> Option<u16> {
    let head = bytes.first_chunk::<READ>()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let long = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    // Version, header length and what belongs to fragments are looked at together: bytes 0, 6 and 7.
    let front = u64::from_le_bytes(*head.first_chunk()?);
    let (total_len, protocol) = (word(2), head[9]);
    let known = protocol < 64 && KNOWN >> protocol & 1 == 1;
    let shape = front & SHAPE == 0x45 && known && (READ..=bytes.len()).contains(&usize::from(total_len));
    if !shape || !checksum::header_holds(head.first_chunk()?) {
        return None;
    }
    (ip.src, ip.dst) = (long(12), long(16));
    ip.ports = if protocol == protocol::ESP { (0, 0) } else { both(long(20)) };
    (ip.total_len, ip.protocol, ip.header_len) = (total_len, protocol, 20);
    (ip.tos, ip.ttl, ip.df) = (head[1], head[8], head[6] != 0);
    (ip.fragment, ip.portless, ip.v6) = (false, false, false);
    Some(total_len)
}

/// The halves of a word, of which the first lies before the second in memory too: written in one go, since they are read
/// in one go soon after.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // halves
fn both(word: u32) -> (u16, u16) {
    let word = word.rotate_left(16);
    (word as u16, (word >> 16) as u16)
}

/// Of the first eight bytes, what must be 0x45 and zeros: version and header length, and all flags but DF with the
/// fragment's offset.
const SHAPE: u64 = 0xffbf_0000_0000_00ff;
const KNOWN: u64 = 1 << protocol::TCP | 1 << protocol::UDP | 1 << protocol::ESP;

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // test data
mod tests {
    use crate::classify::fields;
    use crate::packet::Ip;
    use proptest::prelude::*;
    use ravelin_wire::ipv4::{Ipv4, Ipv4Header};

    fn common(bytes: &[u8]) -> Option<Ip> {
        let mut ip = Ip::default();
        let len = super::common(bytes, &mut ip)?;
        (len == ip.total_len).then_some(ip)
    }

    fn long_way(bytes: &[u8]) -> Option<Ip> {
        Ipv4::parse(bytes).ok().filter(Ipv4::checksum_holds).map(|ip| fields(&ip))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        /// Whatever it reads, it reads as the long way does.
        #[test]
        fn says_what_the_long_way_says(tos: u8, id: u16, df: bool, ttl: u8, src: u32, dst: u32,
                                       protocol in prop_oneof![Just(6u8), Just(17), Just(50), Just(1), any::<u8>()],
                                       payload in proptest::collection::vec(any::<u8>(), 0..40),
                                       more in 0usize..8, change in proptest::option::of((0usize..24, any::<u8>()))) {
            let total_len = 20 + payload.len() as u16;
            let header = Ipv4Header { tos, total_len, id, df, mf: false, fragment_offset: 0, ttl, protocol,
                                      src: src.into(), dst: dst.into() };
            let mut bytes = [&header.to_bytes()[..], &payload, &vec![0xee; more]].concat();
            if let Some((at, value)) = change && let Some(byte) = bytes.get_mut(at) { *byte = value; }
            let quick = common(&bytes);
            if change.is_none() && payload.len() >= 4 && matches!(protocol, 6 | 17 | 50) {
                prop_assert!(quick.is_some());
            }
            if quick.is_some() {
                prop_assert_eq!(quick, long_way(&bytes));
            }
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(ip) = common(&bytes) {
                prop_assert_eq!(Some(ip), long_way(&bytes));
            }
        }
    }
}
