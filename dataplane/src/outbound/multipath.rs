//! The UDP source port that tells inner flows apart for routers with several ways (R97; RFC 8086 §3 does so for GRE).
//!
//! Decides: the port. Reads: the inner flow's addresses, protocol and ports. Never: gives the packets of one flow several
//! ports: they would overtake each other.

use crate::packet::Packet;
use ravelin_ring::paths::mix;

/// RFC 6335 §6: ports that belong to nobody.
const FIRST: u16 = 0xc000;

/// `inner`: where the frame has the inner packet.
#[inline(never)]
#[allow(clippy::cast_possible_truncation)] // sixteen bits are left
pub(super) fn source_port(packet: &Packet, inner: usize) -> u16 {
    let ip = &packet.meta.ip;
    let mut hash = Hash(u64::from(ip.protocol));
    // What is cut here keeps its ports. A later fragment that came as one has none, and takes a way of its own.
    hash.mix(u64::from(ip.ports.0) << 16 | u64::from(ip.ports.1));
    if ip.v6 {
        let addresses = packet.frame.data().get(inner + 8..inner + 40).unwrap_or_default();
        addresses.as_chunks::<8>().0.iter().for_each(|part| hash.mix(u64::from_be_bytes(*part)));
    } else {
        hash.mix(u64::from(ip.src) << 32 | u64::from(ip.dst));
    }
    FIRST | (hash.0 >> 48) as u16 & !FIRST
}

struct Hash(u64);

impl Hash {
    fn mix(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }
}
