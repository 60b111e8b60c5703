//! What a packet of IPv4 is known by.
//!
//! Decides: which packets have no key. Reads: `Meta`. Writes: nothing.

use crate::batch::MAX_BATCH;
use crate::packet::{Door, Ip, Packet};
use ravelin_ring::msg::PortId;

/// 0 is the key of no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Key {
    /// As they lie in memory.
    pub(super) addresses: u64,
    /// Ports, door, protocol.
    pub(super) rest: u64,
}

/// What the packets of a batch are known by, at their places in it.
#[derive(Debug)]
pub(crate) struct Keys(Box<[Key; MAX_BATCH]>);

impl Keys {
    #[inline(always)]
    pub(super) fn at(&self, at: u16) -> &Key {
        &self.0[usize::from(at) % MAX_BATCH]
    }

    #[inline(always)]
    pub(super) fn set(&mut self, at: u16, key: Key) {
        self.0[usize::from(at) % MAX_BATCH] = key;
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self(Box::new([Key::default(); MAX_BATCH]))
    }
}

impl Key {
    /// `None`: hidden ports might decide, or the host's own, about which `made_here` has a say too; or it is a first fragment,
    /// which translation has to see for the others of its packet.
    #[inline]
    pub(super) fn of(packet: &Packet) -> Option<Self> {
        let ip = &packet.meta.ip;
        let door = place_of(packet.door, packet)?;
        (!ip.v6 && !ip.portless && !ip.fragment).then(|| Self::new((ends(ip), ports(ip)), ip.protocol, door))
    }

    /// Addresses and ports as they lie in memory.
    #[inline(always)]
    pub(super) fn new((addresses, ports): (u64, u32), protocol: u8, door: u32) -> Self {
        Self { addresses, rest: rest(ports, protocol, door) }
    }
}

fn ends(ip: &Ip) -> u64 {
    u64::from(ip.dst.swap_bytes()) << 32 | u64::from(ip.src.swap_bytes())
}

pub(super) fn ports(ip: &Ip) -> u32 {
    u32::from(ip.ports.1.swap_bytes()) << 16 | u32::from(ip.ports.0.swap_bytes())
}

/// What a flow is known by beside its addresses; never 0.
#[inline(always)]
pub(super) fn rest(ports: u32, protocol: u8, door: u32) -> u64 {
    u64::from(ports) << 32 | u64::from(door << 8 | u32::from(protocol))
}

/// A number for a door: of 24 bits, not 0.
#[inline(always)]
pub(super) fn place_of(door: Door, packet: &Packet) -> Option<u32> {
    match door {
        Door::Port(port) => Some(place_of_port(port)),
        Door::Sa if packet.meta.opened => Some(place_of_sa(packet.meta.sa)),
        Door::Sa | Door::Tun | Door::Device(_) | Door::Inner(_) | Door::Vrf(_) => None,
    }
}

pub(super) fn place_of_port(port: PortId) -> u32 {
    1 << 22 | u32::from(port.0)
}

/// Places of SAs have 22 bits at most.
pub(super) fn place_of_sa(sa: u32) -> u32 {
    2 << 22 | sa
}
