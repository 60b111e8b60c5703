//! Link addresses of next hops, mirrored from the kernel, and the Ethernet header that goes before a packet.
//!
//! Decides: to which link address a packet goes, and when to ask the control process for one. Never: sends ARP or
//! neighbour solicitations.

use crate::clock::Now;
use crate::sa::{Events, Throttle};
use ravelin_ring::msg::{PortId, WorkerEvent};
use ravelin_wire::MacAddr;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

#[derive(Debug)]
pub(crate) struct Neighbours {
    /// IPv4: open addressing, at most half full.
    slots: Box<[Option<(u32, PortId, MacAddr)>]>,
    v6: HashMap<(PortId, Ipv6Addr), MacAddr>,
}

impl Neighbours {
    pub(crate) fn build(list: impl ExactSizeIterator<Item = (PortId, IpAddr, MacAddr)>) -> Self {
        let size = (list.len() * 2 + 2).next_power_of_two();
        let mut me = Self { slots: vec![None; size].into_boxed_slice(), v6: HashMap::new() };
        for (port, addr, mac) in list {
            let addr = match addr {
                IpAddr::V4(addr) => addr.to_bits(),
                IpAddr::V6(addr) => {
                    me.v6.insert((port, addr), mac);
                    continue;
                }
            };
            let mut at = me.home(addr);
            while me.slots[at].is_some_and(|(a, p, _)| (a, p) != (addr, port)) {
                at = (at + 1) & (me.slots.len() - 1);
            }
            me.slots[at] = Some((addr, port, mac));
        }
        me
    }

    #[inline]
    fn home(&self, addr: u32) -> usize {
        (addr.wrapping_mul(0x9e37_79b9) >> 8) as usize & (self.slots.len() - 1)
    }

    #[inline]
    pub(crate) fn get(&self, port: PortId, addr: IpAddr) -> Option<MacAddr> {
        let addr = match addr {
            IpAddr::V4(addr) => addr.to_bits(),
            IpAddr::V6(addr) => return self.v6.get(&(port, addr)).copied(),
        };
        let mut at = self.home(addr);
        loop {
            let (a, p, mac) = (*self.slots.get(at)?)?;
            if a == addr && p == port {
                return Some(mac);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// Next hops asked for lately. Two addresses that meet in one place take turns: a scan of a network cannot make more
/// than [`Self::PLACES`] questions a second.
#[derive(Debug)]
pub(crate) struct Requests {
    places: Box<[Throttle]>,
}

impl Requests {
    const PLACES: usize = 256;

    pub(crate) fn new() -> Self {
        Self { places: vec![Throttle::default(); Self::PLACES].into_boxed_slice() }
    }
}

/// Asks the control process for link addresses.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    pub(crate) requests: &'a mut Requests,
    pub(crate) events: &'a mut Events,
    pub(crate) now: Now,
}

impl Resolver<'_> {
    pub(crate) fn need(&mut self, port: PortId, addr: IpAddr) {
        // Networks of two VRFs may have the same next hops.
        let place = folded(addr) ^ u32::from(port.0).wrapping_mul(0x85eb_ca6b);
        let at = (place.wrapping_mul(0x9e37_79b9) >> 24) as usize;
        let Some(throttle) = self.requests.places.get_mut(at % Requests::PLACES) else { return };
        let asked = throttle.pass(self.now);
        if asked && !self.events.push(WorkerEvent::NeighbourNeeded { port, addr }) {
            *throttle = Throttle::default();
        }
    }
}

/// Addresses that only chance or malice makes equal; what that costs, see [`Requests`].
#[allow(clippy::cast_possible_truncation)] // words are meant
fn folded(addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(a) => a.to_bits(),
        IpAddr::V6(a) => (0..4).fold(0, |sum: u32, n| sum.rotate_left(7) ^ (a.to_bits() >> (32 * n)) as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    // R26, R132: the same next hop by two ports is two, each asked for once a while.
    #[test]
    fn each_port_asks_for_itself() {
        let (mut requests, mut events) = (Requests::new(), Events::new());
        let addr = IpAddr::from(Ipv4Addr::new(203, 0, 113, 9));
        let mut ask = |port, ms| {
            Resolver { requests: &mut requests, events: &mut events, now: Now { ms } }
                .need(PortId(port), addr);
        };
        for port in [0, 1, 2, 3, 4, 5, 0, 1, 2] {
            ask(port, 10_000);
        }
        let mut db = crate::sa::SaDb::new(ravelin_ring::msg::WorkerId(0), 1, 8);
        let said = std::iter::from_fn(|| db.next_event(&mut events, Now { ms: 10_000 }));
        let port = |event| {
            let WorkerEvent::NeighbourNeeded { port, addr: of } = event else { panic!("{event:?}") };
            (of == addr).then_some(port.0)
        };
        let ports: Vec<u16> = said.filter_map(port).collect();
        assert_eq!(ports, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let mac = |n: u8| MacAddr([2, 0, 0, 0, 0, n]);
        let v4 = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let v6 = |n: u128| IpAddr::from(Ipv6Addr::from_bits((0xfe80 << 112) + n));
        let list: Vec<_> = (0..50u8)
            .map(|n| {
                (
                    PortId(u16::from(n % 2)),
                    if n < 30 { v4(u32::from(n / 2)) } else { v6((n / 2).into()) },
                    mac(n),
                )
            })
            .collect();
        let table = Neighbours::build(list.iter().copied());
        for (port, addr, mac) in list {
            assert_eq!(table.get(port, addr), Some(mac));
        }
        assert_eq!(table.get(PortId(2), v4(0)), None);
        assert_eq!(table.get(PortId(0), v4(0x100)), None);
        assert_eq!((table.get(PortId(2), v6(20)), table.get(PortId(0), v6(1))), (None, None));
        assert_eq!(Neighbours::build(std::iter::empty()).get(PortId(0), v4(1)), None);
    }
}
