//! The shape of nearly every packet, read at one go.
//!
//! Decides: whether an IPv4 packet is TCP, UDP or ESP without options and no fragment, with lengths and a checksum that
//! hold. Reads: 24 bytes. Writes: the fields. Never: says what another packet is; the long way does.

use crate::packet::Ip;
use ravelin_wire::{checksum, ipv4, protocol};

/// The header and the first word behind it.
pub(crate) const READ: usize = ipv4::HEADER + 4;

/// What was read, in registers still: what comes right after needs no memory for it.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// Bytes 0 to 7, TTL and protocol, addresses and ports (none of ESP), as they lie in memory.
    front: u64,
    middle: u16,
    addresses: u64,
    ports: u32,
    pub(crate) total_len: u16,
    pub(crate) protocol: u8,
}

/// `len`: how long the packet may be. `None`: it is another one.
#[inline(always)]
pub(crate) fn read(head: &[u8; READ], len: usize) -> Option<Head> {
    // Version, header length and what belongs to fragments are looked at together: bytes 0, 6 and 7.
    let front = u64::from_le_bytes(*head.first_chunk()?);
    let (total_len, protocol) = (u16::from_be_bytes([head[2], head[3]]), head[9]);
    if front & SHAPE != 0x45 || !KNOWN[usize::from(protocol)] {
        return None;
    }
    if usize::from(total_len) < READ || usize::from(total_len) > len {
        return None;
    }
    if !checksum::header_holds(head.first_chunk()?) {
        return None;
    }
    let (_, behind) = head.split_first_chunk::<12>()?;
    let (addresses, ports) = behind.split_first_chunk::<8>()?;
    let ports = if protocol == protocol::ESP { 0 } else { u32::from_le_bytes(*ports.first_chunk()?) };
    let addresses = u64::from_le_bytes(*addresses);
    let middle = u16::from_le_bytes([head[8], head[9]]);
    Some(Head { front, middle, addresses, ports, total_len, protocol })
}

impl Head {
    /// The fields, where they stay: made elsewhere and copied, they would be read as a whole right after they were
    /// written in parts, which stalls.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // parts of words
    pub(crate) fn write(&self, ip: &mut Ip) {
        // Halves of one word, which a compiler writes at once.
        let addresses = self.addresses.swap_bytes();
        ip.dst = addresses as u32;
        ip.src = (addresses >> 32) as u32;
        let ports = self.ports.swap_bytes().rotate_left(16);
        ip.ports = (ports as u16, (ports >> 16) as u16);
        ip.ttl = self.middle as u8;
        ip.protocol = (self.middle >> 8) as u8;
        (ip.total_len, ip.header_len) = (self.total_len, 20);
        (ip.tos, ip.df) = (self.tos(), self.front >> 48 & 0xff != 0);
        (ip.fragment, ip.portless, ip.v6) = (false, false, false);
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // a byte
    pub(crate) fn tos(&self) -> u8 {
        (self.front >> 8) as u8
    }

    /// Source and destination, the ports behind them, as they lie in memory.
    #[inline(always)]
    pub(crate) fn ends(&self) -> (u64, u32) {
        (self.addresses, self.ports)
    }

    /// First bytes of source and destination.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // bytes
    pub(super) fn nets(&self) -> (u8, u8) {
        (self.addresses as u8, (self.addresses >> 32) as u8)
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // a half
    pub(crate) fn src(&self) -> u32 {
        (self.addresses as u32).swap_bytes()
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // a half
    pub(crate) fn dst(&self) -> u32 {
        ((self.addresses >> 32) as u32).swap_bytes()
    }
}

/// [`read`], and the fields written: the packet's length.
#[inline(always)]
pub(crate) fn common(bytes: &[u8], ip: &mut Ip) -> Option<u16> {
    let head = read(bytes.first_chunk()?, bytes.len())?;
    head.write(ip);
    Some(head.total_len)
}

/// Of the first eight bytes, what must be 0x45 and zeros: version and header length, and all flags but DF with the
/// fragment's offset.
const SHAPE: u64 = 0xffbf_0000_0000_00ff;

static KNOWN: [bool; 256] = {
    let mut known = [false; 256];
    known[protocol::TCP as usize] = true;
    known[protocol::UDP as usize] = true;
    known[protocol::ESP as usize] = true;
    known
};

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
