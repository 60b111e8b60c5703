//! A packet on its way: the frame, where it came from, and what the stages found out.

use crate::escape::Bounds;
use crate::flow;
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{InterfaceId, PortId, VrfId};
use ravelin_wire::MacAddr;
use ravelin_wire::ethernet::Tag;
use ravelin_wire::protocol;
use ravelin_xsk::Frame;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The way a packet came into this data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// From a network, in clear or in ESP.
    Port(PortId),
    /// The host's own, from the TUN device, or an ICMP error made here.
    Tun,
    /// Out of an SA, which has checked it.
    Sa,
    /// The host's own, or forwarded by it, sent into the device of a route-based tunnel.
    Device(InterfaceId),
    /// Out of the tunnel behind this device.
    Inner(InterfaceId),
    /// Out of an SA or made here, in this VRF, at another worker or before it waited.
    Vrf(VrfId),
}

impl Door {
    /// What comes by it is the host's own, or the host has forwarded it.
    #[inline]
    pub(crate) fn is_of_host(self) -> bool {
        matches!(self, Self::Tun | Self::Device(_))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// An Ethernet frame from a port's receive ring.
    Port(PortId),
    /// An IP packet from the TUN device.
    Tun,
    /// An IP packet from the device of a route-based tunnel.
    Device(InterfaceId),
    /// An IP packet from another worker, which took it in by `door`.
    HandedIn { door: Door, hops: u8, bounds: Bounds },
    /// An IP packet that waited here for an outbound SA.
    Released { door: Door, hops: u8, bounds: Bounds },
}

impl Origin {
    #[inline]
    pub fn door(self) -> Door {
        match self {
            Self::Port(port) => Door::Port(port),
            Self::Tun => Door::Tun,
            Self::Device(interface) => Door::Device(interface),
            Self::HandedIn { door, .. } | Self::Released { door, .. } => door,
        }
    }

    pub(crate) fn hops(self) -> u8 {
        match self {
            Self::Port(_) | Self::Tun | Self::Device(_) => 0,
            Self::HandedIn { hops, .. } | Self::Released { hops, .. } => hops,
        }
    }
}

#[derive(Debug)]
#[repr(align(64))]
pub struct Packet {
    pub frame: Frame,
    /// Of a packet whose verdict is `HandOff`: the origin that it has at the other worker.
    pub origin: Origin,
    pub verdict: Verdict,
    pub(crate) door: Door,
    pub(crate) meta: Meta,
}

const _: () = assert!(size_of::<Packet>() == 128, "a packet's record is two cache lines");

impl Packet {
    pub fn new(frame: Frame, origin: Origin) -> Self {
        let door = origin.door();
        let meta = Meta { aged: door.is_of_host(), ..Meta::default() };
        Self { frame, origin, verdict: Verdict::Pending, door, meta }
    }

    /// What an empty place of a batch holds.
    pub(crate) fn nothing() -> Self {
        Self::new(Frame::none(), Origin::Tun)
    }

    /// A new packet in the place of a finished one: only what a stage might read before another wrote it is reset.
    #[inline]
    pub(crate) fn renew(&mut self, frame: Frame, origin: Origin) {
        let door = origin.door();
        (self.frame, self.origin, self.door) = (frame, origin, door);
        self.verdict = Verdict::Pending;
        let meta = &mut self.meta;
        (meta.tag, meta.flow, meta.vrf) = (None, flow::NONE, VrfId::MAIN);
        (meta.opened, meta.made_here, meta.aged) = (false, false, door.is_of_host());
        (meta.translated, meta.fleeting) = (false, false);
    }

    /// Source and destination of a clear IPv6 packet, whose header is at the front of the frame.
    #[inline]
    pub(crate) fn addresses_v6(&self) -> (u128, u128) {
        let both = self.frame.data().get(8..40).unwrap_or_default();
        let part =
            |at: usize| both.get(at..).and_then(|b| b.first_chunk::<16>()).copied().unwrap_or_default();
        (u128::from_be_bytes(part(0)), u128::from_be_bytes(part(16)))
    }

    /// Of a clear packet.
    pub(crate) fn source(&self) -> IpAddr {
        if self.meta.ip.v6 {
            Ipv6Addr::from_bits(self.addresses_v6().0).into()
        } else {
            Ipv4Addr::from_bits(self.meta.ip.src).into()
        }
    }

    /// Of an ESP packet whose frame begins with the SPI: the headers before it were taken off, and stand there still.
    pub(crate) fn outer_source(&mut self) -> IpAddr {
        if !self.meta.ip.v6 {
            return Ipv4Addr::from_bits(self.meta.from.0).into();
        }
        let skip = self.meta.skip.into();
        let mut source = 0;
        if self.frame.push_front(skip) {
            source = self.addresses_v6().0;
            let _ = self.frame.pull_front(skip); // what was just put there
        }
        Ipv6Addr::from_bits(source).into()
    }

    /// Of a clear packet.
    pub(crate) fn destination(&self) -> IpAddr {
        if self.meta.ip.v6 {
            Ipv6Addr::from_bits(self.addresses_v6().1).into()
        } else {
            Ipv4Addr::from_bits(self.meta.ip.dst).into()
        }
    }

    /// An ICMP error of our own.
    pub(crate) fn is_error(&self) -> bool {
        self.meta.made_here && !self.is_enclosing()
    }

    /// GRE around another packet, made here.
    pub(crate) fn is_enclosing(&self) -> bool {
        self.meta.made_here && self.meta.ip.protocol == protocol::GRE
    }

    /// The door by which it comes again, here or at another worker: what was translated has been judged as it came.
    pub(crate) fn next_door(&self) -> Door {
        let judged = self.meta.translated || matches!(self.door, Door::Sa | Door::Tun);
        if judged && self.meta.vrf != VrfId::MAIN {
            return Door::Vrf(self.meta.vrf);
        }
        if self.meta.translated { Door::Sa } else { self.door }
    }

    #[inline]
    pub(crate) fn drop(&mut self, why: Drop) {
        self.verdict = Verdict::Drop(why);
    }

    #[inline]
    pub(crate) fn pending(&self) -> bool {
        self.verdict == Verdict::Pending
    }
}

/// What the stages write for the stages after them.
#[derive(Debug)]
pub(crate) struct Meta {
    /// Of the IP header at the front of the frame: the clear packet's.
    pub(crate) ip: Ip,
    /// Outer tag, to be put back when the packet leaves by the port it came from.
    pub(crate) tag: Option<Tag>,
    /// Outer source of an ESP packet; of IPv6 what stands for the address ([`crate::classify::v6::folded`]).
    pub(crate) from: (u32, u16),
    /// Came in UDP.
    pub(crate) udp: bool,
    /// Bytes before the SPI: taken off the frame's front inbound, to be put there outbound.
    pub(crate) skip: u16,
    /// TOS byte of the outer header, for its ECN bits.
    pub(crate) outer_tos: u8,
    pub(crate) spi: u32,
    /// Place of the SA in its slab.
    pub(crate) sa: u32,
    /// Where the packet's flow is looked for ([`flow::Flows::note`]).
    pub(crate) flow: u32,
    /// ESP sequence number: inferred inbound, assigned outbound.
    pub(crate) seq: u64,
    /// Place of the next hop in the FIB.
    pub(crate) hop: u32,
    /// Largest packet that may go on: of the tunnel or of the port.
    pub(crate) limit: u16,
    /// The port that a clear packet leaves by, and the link address it goes to.
    pub(crate) port: PortId,
    pub(crate) mac: MacAddr,
    /// Whose routes and policies hold ([`crate::vrf`]).
    pub(crate) vrf: VrfId,
    /// Came out of the SA at `sa`, here and now.
    pub(crate) opened: bool,
    /// An ICMP error of our own, or GRE: about neither goes an error back.
    pub(crate) made_here: bool,
    /// The TTL was counted down, or is not to be: the packet is the host's own.
    pub(crate) aged: bool,
    /// NAT changed its source or destination.
    pub(crate) translated: bool,
    /// What is decided about it is not remembered for its flow.
    pub(crate) fleeting: bool,
    /// Out of which SA it came ([`crate::escape`]); and that in clear it must not go by the route it has.
    pub(crate) bounds: Bounds,
    pub(crate) strays: bool,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            ip: Ip::default(),
            tag: None,
            from: (0, 0),
            udp: false,
            skip: 0,
            outer_tos: 0,
            spi: 0,
            sa: 0,
            flow: flow::NONE,
            seq: 0,
            hop: 0,
            limit: 0,
            port: PortId(0),
            mac: MacAddr::ZERO,
            vrf: VrfId::MAIN,
            opened: false,
            made_here: false,
            aged: false,
            translated: false,
            fleeting: false,
            bounds: Bounds::NONE,
            strays: false,
        }
    }
}

impl Meta {
    /// For a further fragment of the packet: what was decided holds for it too.
    pub(crate) fn part(&self, total_len: u16, header_len: u8) -> Self {
        let ip = Ip { total_len, header_len, fragment: true, portless: true, ..self.ip };
        let Self { tag, sa, hop, limit, port, mac, vrf, made_here, aged, translated, strays, .. } = *self;
        Self {
            ip,
            tag,
            sa,
            hop,
            limit,
            port,
            mac,
            vrf,
            made_here,
            aged,
            translated,
            strays,
            ..Self::default()
        }
    }
}

/// The fields of an IP header that decisions need, in host order. Those of IPv6 go by the names of IPv4's, and its
/// addresses stay in the frame ([`Packet::addresses_v6`]), which leaves all this in one line of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)] // what is written together lies together
pub(crate) struct Ip {
    // Source and destination lie as their bytes in a header do, turned round, and so do the ports.
    pub(crate) dst: u32,
    pub(crate) src: u32,
    pub(crate) total_len: u16,
    /// Source and destination port, or ICMP type and code in both. Not at a multiple of 4: there a compiler reads both to
    /// get the first, and waits until what was just written in halves is in the cache.
    pub(crate) ports: (u16, u16),
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) tos: u8,
    pub(crate) df: bool,
    /// Any fragment, the first one too.
    pub(crate) fragment: bool,
    /// A fragment, or cut so short that its ports are not there.
    pub(crate) portless: bool,
    /// IPv6: `src` and `dst` are 0, `protocol` is what follows the extension headers, `header_len` ends with them,
    /// `df` is true, since no router fragments it.
    pub(crate) v6: bool,
    pub(crate) header_len: u8,
}
