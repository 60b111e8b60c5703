//! Which of several next hops a flow takes (ECMP).
//!
//! Decides: the order in which a flow likes next hops, by the highest random weight (RFC 2991 §3): where one goes, its flows
//! alone move, and where it comes back, they do. The same in both processes, so that IKE and the ESP of its tunnel leave by
//! one link (R59). Never: knows routes, or whether a hop is up.

use crate::msg::NextHop;
use std::net::IpAddr;

/// What tells a flow from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow(u64);

/// What tells a next hop from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u64);

impl Flow {
    /// All between two addresses: what a tunnel is outside.
    pub fn between(src: IpAddr, dst: IpAddr) -> Self {
        Self(mix_addr(mix_addr(0, src), dst))
    }

    /// One of them. Of fragments, which have no ports, all parts are one flow: ports 0.
    #[must_use]
    pub const fn with(self, protocol: u8, (a, b): (u16, u16)) -> Self {
        Self(mix(self.0, (protocol as u64) << 32 | (a as u64) << 16 | b as u64))
    }

    /// The one with the highest is taken.
    pub const fn rank(self, hop: Key) -> u64 {
        mix(self.0, hop.0)
    }
}

impl From<&NextHop> for Key {
    fn from(hop: &NextHop) -> Self {
        Self(match *hop {
            NextHop::Port { port, gateway: None } => mix(1, port.0.into()),
            NextHop::Port { port, gateway: Some(addr) } => mix_addr(mix(2, port.0.into()), addr),
            NextHop::Interface(id) => mix(3, id.0.into()),
            NextHop::Local => mix(4, 0),
            NextHop::Tunnel => mix(5, 0),
            NextHop::Kernel => mix(6, 0),
            NextHop::Blackhole => mix(7, 0),
        })
    }
}

fn mix_addr(hash: u64, addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(a) => mix(hash, a.to_bits().into()),
        IpAddr::V6(a) => {
            let [high, low] = [a.to_bits() >> 64, a.to_bits()];
            #[allow(clippy::cast_possible_truncation)] // one half each
            mix(mix(hash, high as u64), low as u64)
        }
    }
}

/// The finaliser of splitmix64: each bit decides about each.
#[inline]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let mut x = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::PortId;
    use std::net::Ipv4Addr;

    fn taken(flow: Flow, hops: &[NextHop]) -> NextHop {
        *hops.iter().max_by_key(|hop| flow.rank(Key::from(*hop))).unwrap()
    }

    // RFC 2991 §3, R59
    #[test]
    fn only_the_flows_of_a_hop_that_goes_move() {
        let hops: Vec<NextHop> = (0..4)
            .map(|n| NextHop::Port { port: PortId(n), gateway: Some(Ipv4Addr::new(10, 0, 0, 1).into()) })
            .collect();
        let mut shares = [0; 4];
        for n in 0..4000u32 {
            let between = Flow::between(Ipv4Addr::from_bits(n).into(), Ipv4Addr::from_bits(!n / 3).into());
            let flow = between.with(6, (1000, 443));
            let before = taken(flow, &hops);
            let at = hops.iter().position(|hop| *hop == before).unwrap();
            shares[at] += 1;
            for gone in 0..4 {
                let rest: Vec<_> = hops.iter().copied().filter(|hop| *hop != hops[gone]).collect();
                let after = taken(flow, &rest);
                assert!(at == gone || after == before);
            }
            let ports = (0..16).map(|port| taken(between.with(6, (port, 443)), &hops)).collect::<Vec<_>>();
            assert!(n % 100 != 0 || ports.iter().any(|hop| *hop != ports[0]), "ports tell flows apart");
        }
        assert!(shares.iter().all(|n| (800..1200).contains(n)), "{shares:?}");
    }
}
