//! The packets of a run: which one is the n-th, and whether it arrived as it was sent.
//!
//! Decides: size, flow and bytes of each packet, from its number alone. Never: keeps a packet.
//!
//! Flow f belongs to tunnel f mod tunnels, so that a round over all flows takes the tunnels in turns. Flows are visited
//! by a stride that has no common divisor with their number: each once a round, but not in the order in which tables and
//! SAs lie in memory, which a prefetcher of the processor would guess and no real traffic follows.

use anyhow::ensure;
use ravelin_wire::MacAddr;
use ravelin_wire::ethernet::{self, Ethernet};
use ravelin_wire::ipv4::{self, Ipv4Header};
use ravelin_wire::udp::{self, UdpHeader};
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Network of the senders; tunnel n leads to the n-th /24 from 11.0.0.0 on, the way in clear to 15.0.0.0/8.
pub(crate) const SENDERS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);
pub(crate) const TUNNELS: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);
pub(crate) const CLEAR: Ipv4Addr = Ipv4Addr::new(15, 0, 0, 0);
/// As many /24 as 11.0.0.0/8 to 14.0.0.0/8 hold.
pub(crate) const MAX_TUNNELS: u32 = 4 << 16;
/// Ports and hosts of the senders' network allow many more; memory of the flows' caches is what is measured.
pub(crate) const MAX_FLOWS: u32 = 4 << 20;

/// Headers and the packet's number.
pub(crate) const MIN_SIZE: u16 = 36;
/// With every suite's overhead this is below an MTU of 1500.
pub(crate) const MAX_SIZE: u16 = 1400;
/// The simple Internet mix, 7 : 4 : 1, with the large packet as large as the tunnel takes.
pub(crate) const IMIX: [u16; 12] = [64, 576, 64, 64, 576, 64, MAX_SIZE, 64, 576, 64, 64, 576];

/// Length of the inner IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    Bytes(u16),
    Imix,
}

impl Size {
    #[inline]
    fn of(self, number: u64) -> u16 {
        match self {
            Self::Bytes(n) => n,
            Self::Imix => IMIX[usize::try_from(number % IMIX.len() as u64).unwrap_or(0)],
        }
    }

    /// In the mean of many packets.
    pub(crate) fn mean(self) -> u32 {
        match self {
            Self::Bytes(n) => n.into(),
            Self::Imix => IMIX.iter().map(|n| u32::from(*n)).sum::<u32>() / 12,
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "imix" => Ok(Self::Imix),
            Ok(n) if (MIN_SIZE..=MAX_SIZE).contains(&n) => Ok(Self::Bytes(n)),
            _ => Err(format!("a size is {MIN_SIZE} to {MAX_SIZE} bytes of inner IP packet, or imix")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(n) => n.fmt(f),
            Self::Imix => f.pad("imix"),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(n) => to.serialize_u16(*n),
            Self::Imix => to.serialize_str("imix"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    size: Size,
    tunnels: u32,
    flows: u32,
    stride: u64,
    /// No tunnel covers it.
    clear: bool,
}

impl Traffic {
    /// At least one flow for each tunnel.
    pub(crate) fn new(size: Size, tunnels: u32, flows: u32, clear: bool) -> Self {
        let flows = flows.max(tunnels).max(1);
        Self { size, tunnels: tunnels.max(1), flows, stride: stride(flows), clear }
    }

    /// After so many packets every flow had its turn.
    pub(crate) fn flows(&self) -> u32 {
        self.flows
    }

    #[allow(clippy::cast_possible_truncation)] // less than the number of flows, which is an u32
    fn flow(&self, number: u64) -> u32 {
        let flows = u64::from(self.flows);
        (number % flows * self.stride % flows) as u32
    }

    /// Bytes of the n-th frame.
    pub(crate) fn len(&self, number: u64) -> usize {
        ethernet::HEADER + usize::from(self.size.of(number))
    }

    /// The n-th frame; `bytes` is as long as [`Self::len`] says.
    pub(crate) fn write(&self, number: u64, ttl: u8, bytes: &mut [u8]) {
        let (flow, size) = (self.flow(number), self.size.of(number));
        let (tunnel, within) = (flow % self.tunnels, flow / self.tunnels);
        let net = if self.clear { CLEAR.to_bits() } else { TUNNELS.to_bits() | tunnel << 8 };
        let header = Ipv4Header {
            tos: 0,
            total_len: size,
            id: 0,
            df: true,
            mf: false,
            fragment_offset: 0,
            ttl,
            protocol: 17,
            src: Ipv4Addr::from_bits(SENDERS.to_bits() + 10 + (within >> 14)),
            dst: Ipv4Addr::from_bits(net | 5),
        };
        let src = 1024 + u16::try_from(within & 0x3fff).unwrap_or(0);
        let ports = UdpHeader { src, dst: 9, len: size - 20, checksum: 0 };
        let mac = MacAddr(super::furnish::MAC);
        let (link, rest) = bytes.split_at_mut(ethernet::HEADER);
        let (network, rest) = rest.split_at_mut(ipv4::HEADER);
        let (transport, payload) = rest.split_at_mut(udp::HEADER);
        link.copy_from_slice(&Ethernet { dst: mac, src: mac, ethertype: ethernet::IPV4 }.to_bytes());
        network.copy_from_slice(&header.to_bytes());
        transport.copy_from_slice(&ports.to_bytes());
        payload.fill(number.to_le_bytes()[0] ^ 0x5a);
        payload[..8].copy_from_slice(&number.to_be_bytes());
    }

    /// Whether `frame` is the n-th one, as long as it was and with its number.
    pub(crate) fn is(&self, number: u64, frame: &[u8]) -> bool {
        frame.len() == self.len(number)
            && frame.get(NUMBER..NUMBER + 8).is_some_and(|n| n == number.to_be_bytes())
    }

    /// Whether every byte behind the link addresses is as sent, with the TTL that two gateways leave.
    pub(crate) fn compare(&self, number: u64, frame: &[u8]) -> anyhow::Result<()> {
        let mut sent = [0u8; ethernet::HEADER + MAX_SIZE as usize];
        let sent = &mut sent[..self.len(number)];
        self.write(number, TTL - 2, sent);
        let differs = sent.iter().zip(frame).skip(12).position(|(a, b)| a != b);
        ensure!(
            sent.len() == frame.len() && differs.is_none(),
            "packet {number} did not arrive as it was sent: byte {:?} of {} differs",
            differs.map(|at| at + 12),
            sent.len()
        );
        Ok(())
    }
}

/// Of packets as the senders send them.
pub(crate) const TTL: u8 = 64;
/// Where a packet's number stands in its frame.
const NUMBER: usize = ethernet::HEADER + ipv4::HEADER + udp::HEADER;

/// Near the golden section of `n`, and without a common divisor: consecutive steps lie far apart.
fn stride(n: u32) -> u64 {
    let n = u64::from(n);
    let start = n * 618 / 1000;
    (start.max(1)..).find(|s| gcd(*s, n) == 1).unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_mix_is_seven_to_four_to_one() {
        let count = |n| IMIX.iter().filter(|s| **s == n).count();
        assert_eq!((count(64), count(576), count(1400)), (7, 4, 1));
        assert_eq!(Size::Imix.mean(), (7 * 64 + 4 * 576 + 1400) / 12);
        assert_eq!((0..12).map(|n| Size::Imix.of(n)).collect::<Vec<_>>(), IMIX);
        assert_eq!(Size::Imix.of(12), IMIX[0]);
    }

    #[test]
    fn sizes_are_read_and_said_alike() {
        for (text, size) in [("64", Size::Bytes(64)), ("imix", Size::Imix), ("1400", Size::Bytes(1400))] {
            assert_eq!(text.parse(), Ok(size));
            assert_eq!(size.to_string(), text);
        }
        assert_eq!(serde_json::to_string(&(Size::Bytes(64), Size::Imix)).unwrap(), r#"[64,"imix"]"#);
        for text in ["35", "1401", "IMIX", "", "-1", "64.0"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    /// In every round each flow comes once, and each tunnel as often as any other.
    #[test]
    fn rounds_visit_every_flow_once() {
        for (tunnels, flows) in [(1, 1), (1, 64), (3, 64), (1000, 64), (64, 64), (7, 1001), (2, 65_536)] {
            let traffic = Traffic::new(Size::Bytes(64), tunnels, flows, false);
            let round = u64::from(traffic.flows());
            assert_eq!(traffic.flows(), flows.max(tunnels));
            let first: HashSet<u32> = (0..round).map(|n| traffic.flow(n)).collect();
            assert_eq!(first.len() as u64, round, "{tunnels} tunnels, {flows} flows");
            assert_eq!(traffic.flow(round + 1), traffic.flow(1));
        }
    }

    #[test]
    fn flows_are_distinct_packets() {
        let traffic = Traffic::new(Size::Bytes(64), 5, 100_000, false);
        let mut seen = HashSet::new();
        for n in 0..100_000 {
            let mut frame = [0; 78];
            traffic.write(n, TTL, &mut frame);
            assert!(traffic.is(n, &frame) && !traffic.is(n + 1, &frame));
            assert!(seen.insert(frame[26..38].to_vec()), "addresses and ports of packet {n} came before");
        }
    }

    #[test]
    fn an_altered_byte_is_found() {
        let traffic = Traffic::new(Size::Imix, 10, 64, false);
        for n in 0..24 {
            let mut frame = vec![0; traffic.len(n)];
            traffic.write(n, TTL - 2, &mut frame);
            traffic.compare(n, &frame).unwrap();
            for at in [12, 22, 40, frame.len() - 1] {
                frame[at] ^= 1;
                assert!(traffic.compare(n, &frame).is_err(), "byte {at}");
                frame[at] ^= 1;
            }
            assert!(traffic.compare(n, &frame[..frame.len() - 1]).is_err());
        }
    }
}
