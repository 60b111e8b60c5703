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
    let (total_len, flags, protocol) = (word(2), word(6), head[9]);
    let ported = matches!(protocol, protocol::TCP | protocol::UDP);
    let shape = head[0] == 0x45
        && flags & !DF == 0
        && (ported || protocol == protocol::ESP)
        && (READ..=bytes.len()).contains(&usize::from(total_len));
    if !shape || !head.first_chunk().is_some_and(checksum::header_holds) {
        return None;
    }
    (ip.src, ip.dst) = (long(12), long(16));
    ip.ports = if ported { (word(20), word(22)) } else { (0, 0) };
    (ip.total_len, ip.protocol, ip.header_len) = (total_len, protocol, 20);
    (ip.tos, ip.ttl, ip.df) = (head[1], head[8], flags & DF != 0);
    (ip.fragment, ip.portless, ip.v6) = (false, false, false);
    Some(total_len)
}

const DF: u16 = 0x4000;

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
