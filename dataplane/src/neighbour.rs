//! Link addresses of next hops, mirrored from the kernel, and the Ethernet header that goes before a packet.
//!
//! Decides: to which link address a packet goes, and when to ask the control process for one. Never: sends ARP.

use crate::sa::{Events, Throttle};
use crate::worker::Now;
use ravelin_ring::msg::{PortId, WorkerEvent};
use ravelin_wire::MacAddr;
use std::net::Ipv4Addr;

/// Open addressing, at most half full.
#[derive(Debug)]
pub(crate) struct Neighbours {
    slots: Box<[Option<(u32, PortId, MacAddr)>]>,
}

impl Neighbours {
    pub(crate) fn build(list: impl ExactSizeIterator<Item = (PortId, u32, MacAddr)>) -> Self {
        let size = (list.len() * 2 + 2).next_power_of_two();
        let mut me = Self { slots: vec![None; size].into_boxed_slice() };
        for (port, addr, mac) in list {
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
    pub(crate) fn get(&self, port: PortId, addr: u32) -> Option<MacAddr> {
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
    pub(crate) fn need(&mut self, port: PortId, addr: u32) {
        let at = (addr.wrapping_mul(0x9e37_79b9) >> 24) as usize;
        let Some(throttle) = self.requests.places.get_mut(at % Requests::PLACES) else { return };
        if throttle.pass(self.now) {
            let addr = Ipv4Addr::from_bits(addr).into();
            if !self.events.push(WorkerEvent::NeighbourNeeded { port, addr }) {
                *throttle = Throttle::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let mac = |n: u8| MacAddr([2, 0, 0, 0, 0, n]);
        let list: Vec<_> =
            (0..50u8).map(|n| (PortId(u16::from(n % 2)), 0x0a00_0000 + u32::from(n / 2), mac(n))).collect();
        let table = Neighbours::build(list.iter().copied());
        for (port, addr, mac) in list {
            assert_eq!(table.get(port, addr), Some(mac));
        }
        assert_eq!(table.get(PortId(2), 0x0a00_0000), None);
        assert_eq!(table.get(PortId(0), 0x0a00_0100), None);
        assert_eq!(Neighbours::build(std::iter::empty()).get(PortId(0), 1), None);
    }
}
