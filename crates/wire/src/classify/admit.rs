//! A port that admits the VPN alone (R222): what may come by it besides IPsec and IKE, and what is dropped.
//!
//! Decides: of frames that [`super::classify`] found no IPsec and no IKE in, on a port with [`Features::VPN_ONLY`]: pass or
//! [`Steer::DropNotAdmitted`]. Reads: the frame, the ports of IKE, who is admitted. Writes: nothing. Never: lets anything
//! through because it cannot be read.
//!
//! Admitted besides ESP, AH, IKE, ESP in UDP and their fragments, all of them to a gateway address:
//! 1. ARP, and what has a link-local group address of IEEE 802.1Q §8.6.3 (LACP, LLDP, 802.1X, spanning tree): without it
//!    there is no link.
//! 2. Neighbour discovery (RFC 4861: hop limit 255, so from this link), and queries of multicast listener discovery from a
//!    link-local address with hop limit 1 (RFC 3810 §5.1.14): unanswered, switches stop delivering neighbour discovery.
//! 3. "Fragmentation needed" and "packet too big" for a gateway address that quote a packet of its own, of the VPN. Other
//!    errors, redirects and echo requests are nobody's need.
//! 4. IKE at other ports than 500 and 4500, where it was configured so.
//! 5. Whatever comes from an address that the operator admits: it is judged as on any other port.

use super::{Steer, SteerTables, Upper};
use crate::{Bytes, icmp, icmpv6, ipv4, ipv6, protocol, udp};
use core::net::{Ipv4Addr, Ipv6Addr};

/// What of the tables there is to be asked at all: one word, read once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features(pub u32);

impl Features {
    /// Addresses are translated.
    pub const TRANSLATES: u32 = 1;
    /// Tunnels of GRE end here.
    pub const GRE: u32 = 2;
    /// This port admits the VPN alone.
    pub const VPN_ONLY: u32 = 4;

    #[inline(always)]
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    #[must_use]
    pub const fn with(self, bit: u32, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// What is not IP.
#[inline(always)]
pub(super) fn link<B: Bytes + ?Sized, T: SteerTables>(frame: &B, tables: &T) -> Steer {
    const GROUP: [u8; 5] = [0x01, 0x80, 0xc2, 0, 0];
    if !tables.features().has(Features::VPN_ONLY) {
        return Steer::Pass;
    }
    match frame.array::<6>(0) {
        Some([a, b, c, d, e, last]) if [a, b, c, d, e] == GROUP && last <= 0x0f => Steer::Pass,
        _ => Steer::DropNotAdmitted,
    }
}

/// IPv4: `to_us`, when it is for a gateway address.
#[inline(always)]
pub(super) fn v4<B: Bytes + ?Sized, T: SteerTables>(
    frame: &B,
    upper: &Upper,
    to_us: Option<Ipv4Addr>,
    tables: &T,
) -> Steer {
    let Some(dst) = to_us.filter(|_| !upper.fragment) else { return Steer::DropNotAdmitted };
    let admitted = match upper.protocol {
        protocol::UDP => upper.is_other_ike(frame, tables),
        protocol::ICMP => quotes_v4(frame, upper.at, dst, tables),
        _ => false,
    };
    if admitted { Steer::Pass } else { Steer::DropNotAdmitted }
}

/// IPv6 for a gateway address.
#[inline(always)]
pub(super) fn is_admitted_v6<B: Bytes + ?Sized, T: SteerTables>(
    frame: &B,
    upper: &Upper,
    dst: Ipv6Addr,
    tables: &T,
) -> bool {
    match upper.protocol {
        _ if upper.fragment => false,
        protocol::UDP => upper.is_other_ike(frame, tables),
        protocol::ICMPV6 => quotes_v6(frame, upper.at, dst, tables),
        _ => false,
    }
}

/// A query of multicast listener discovery: behind a router alert (RFC 3810 §5), which is all that its extension header has
/// room for.
#[inline(always)]
pub(super) fn is_listener_query<B: Bytes + ?Sized>(
    frame: &B,
    at: usize,
    [next, hops]: [u8; 2],
    src: Ipv6Addr,
) -> bool {
    const QUERY: u8 = 130;
    next == protocol::HOP_BY_HOP
        && hops == 1
        && src.segments()[0] & 0xffc0 == 0xfe80
        && matches!(frame.array::<9>(at), Some([protocol::ICMPV6, 0, _, _, _, _, _, _, QUERY]))
}

impl Upper {
    /// To a port that IKE was moved to.
    #[inline(always)]
    pub(super) fn is_other_ike<B: Bytes + ?Sized, T: SteerTables>(&self, frame: &B, tables: &T) -> bool {
        frame.array::<4>(self.at).is_some_and(|[_, _, a, b]| tables.is_ike_port(u16::from_be_bytes([a, b])))
    }
}

/// Fragmentation needed, about a packet of ours. Of packets with options nothing is known here: ours have none.
#[inline(always)]
fn quotes_v4<B: Bytes + ?Sized, T: SteerTables>(frame: &B, at: usize, us: Ipv4Addr, tables: &T) -> bool {
    const IP: usize = 8;
    const UPPER: usize = IP + ipv4::HEADER;
    let Some(q) = frame.array::<{ UPPER + 4 }>(at) else { return false };
    let source = Ipv4Addr::new(q[IP + 12], q[IP + 13], q[IP + 14], q[IP + 15]);
    let ports = [q[UPPER], q[UPPER + 1], q[UPPER + 2], q[UPPER + 3]];
    q[0] == icmp::UNREACHABLE
        && q[1] == icmp::FRAGMENTATION_NEEDED
        && q[IP] == 0x45
        && source == us
        && is_of_vpn(q[IP + 9], ports, tables)
}

/// Packet too big, about a packet of ours, a fragment of one too.
#[inline(always)]
fn quotes_v6<B: Bytes + ?Sized, T: SteerTables>(frame: &B, at: usize, us: Ipv6Addr, tables: &T) -> bool {
    const IP: usize = 8;
    const UPPER: usize = IP + ipv6::HEADER;
    // One read at one place is what the verifier follows.
    let Some(q) = frame.array::<{ UPPER + 4 }>(at) else { return false };
    let source = Ipv6Addr::from_octets(core::array::from_fn(|i| q[IP + 8 + i]));
    let (next, ports) = (q[IP + 6], [q[UPPER], q[UPPER + 1], q[UPPER + 2], q[UPPER + 3]]);
    q[0] == icmpv6::PACKET_TOO_BIG
        && q[1] == 0
        && q[IP] >> 4 == 6
        && source == us
        && match next {
            // Ports lie behind the fragment header, or in another fragment.
            protocol::FRAGMENT => matches!(ports[0], protocol::ESP | protocol::AH | protocol::UDP),
            _ => is_of_vpn(next, ports, tables),
        }
}

/// What the VPN sends: in UDP the port of either side tells, since that of the source may be of the flow.
#[inline(always)]
fn is_of_vpn<T: SteerTables>(next: u8, [a, b, c, d]: [u8; 4], tables: &T) -> bool {
    match next {
        protocol::ESP | protocol::AH => true,
        protocol::UDP => {
            let [from, to] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            is_vpn_port(from, tables) || is_vpn_port(to, tables)
        }
        protocol::GRE => tables.features().has(Features::GRE),
        _ => false,
    }
}

#[inline(always)]
fn is_vpn_port<T: SteerTables>(port: u16, tables: &T) -> bool {
    matches!(port, udp::IKE_PORT | udp::NATT_PORT)
        || tables.udp_encap_port() == Some(port)
        || tables.is_ike_port(port)
}
