//! A packet on its way: the frame, where it came from, and what the stages found out.

use crate::verdict::Verdict;
use ravelin_ring::msg::PortId;
use ravelin_xsk::Frame;

/// The way a packet came into this data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// From a network, in clear or in ESP.
    Port(PortId),
    /// The host's own, from the TUN device, or an ICMP error made here.
    Tun,
    /// Out of an SA, which has checked it.
    Sa,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// An Ethernet frame from a port's receive ring.
    Port(PortId),
    /// An IP packet from the TUN device.
    Tun,
    /// An IP packet from another worker, which took it in by `door`.
    HandedIn { door: Door, hops: u8 },
}

impl Origin {
    pub fn door(self) -> Door {
        match self {
            Self::Port(port) => Door::Port(port),
            Self::Tun => Door::Tun,
            Self::HandedIn { door, .. } => door,
        }
    }

    pub(crate) fn hops(self) -> u8 {
        match self {
            Self::Port(_) | Self::Tun => 0,
            Self::HandedIn { hops, .. } => hops,
        }
    }
}

#[derive(Debug)]
pub struct Packet {
    pub frame: Frame,
    /// Of a packet whose verdict is `HandOff`: the origin that it has at the other worker.
    pub origin: Origin,
    pub verdict: Verdict,
}

impl Packet {
    pub fn new(frame: Frame, origin: Origin) -> Self {
        Self { frame, origin, verdict: Verdict::Pending }
    }
}
