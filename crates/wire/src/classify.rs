//! Which frames belong to the data plane and which to the kernel. The XDP program and the user-space side (`explain`,
//! tests) run this one function.
//!
//! Decides: pass, to the worker, or drop as unparsable. Reads: the frame and [`SteerTables`]. Writes: nothing.
//! Never: verifies checksums or total lengths; a worker does that and has a named reason for each.
//!
//! The order for IPv4 and IPv6 alike:
//! 1. What is not IP passes (ARP, LLDP, spanning tree, …).
//! 2. To a gateway address: ESP and AH go to the worker, as do fragments of them; so do UDP 4500 with a non-zero SPI and
//!    the configured encapsulation port, and GRE where tunnels of it end here. IKE (UDP 500, the non-ESP marker on 4500) and keepalives pass.
//! 3. Link-local multicast, limited broadcast, what goes to a link-local address of IPv6 and neighbour discovery pass: no
//!    router forwards them, no tunnel carries them, and routing protocols need them, whatever ranges are protected.
//! 4. A protected source or destination goes to the worker, fragments too: it has the exact policy and drops what came
//!    in clear. That includes packets to the gateway's own addresses.
//! 5. Where addresses are translated (IPv4): to an address that stands for others while it is the host's own, too, the ports
//!    that are for translation, answers to echo requests with such an identifier, and ICMP errors about packets from such a
//!    port; from an inside network to anywhere but inside or a gateway address. Fragments hide their ports: to an
//!    address of the host they pass. (Addresses that only stand for others are protected, whole: rule 4.)
//! 6. Everything else passes, UDP fragments to a gateway address too: long IKE messages come this way, and the kernel joins
//!    them. But the first fragment of a datagram tells its port and SPI: when it is ESP, it goes to the worker, and the
//!    later ones follow it, as long as it is remembered. (One that comes before the first passes, and is lost.)
//!
//! On a port that admits the VPN alone (R222) rule 2 holds, GRE excepted, and of the rest what `admit` says; fragments of IKE
//! then follow their first one, as those of ESP in UDP do.
//!
//! Failing closed: a frame whose addresses cannot be read at the place where the kernel would read them is
//! `DropUnparsable`: no complete IP header, an impossible version or header length (the worker's, where the addresses lie in a
//! protected range), a third VLAN tag, a tag without what it tags. Nothing lawful is lost, since the kernel drops such IP
//! packets itself. When only what lies behind the addresses is broken, the addresses decide (4, 5), and worker or kernel reject the packet with their own counter. To a
//! gateway address, a chain of extension headers that cannot be walked is no IPsec as far as anybody can tell: rules 4
//! to 6 apply, and the kernel, having no SA, cannot make clear text of it.

mod admit;
mod fragment;
mod slices;

use crate::ethernet::{self, Link};
use crate::ipv6::Chain;
use crate::{Bytes, icmp, icmpv6, ipv4, ipv6, protocol, udp};
pub use admit::Features;
use core::net::{Ipv4Addr, Ipv6Addr};
use fragment::wide;
pub use fragment::{First, FragmentKey};
pub use slices::Tables;

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steer {
    /// The kernel's.
    Pass,
    /// The data plane's; dropped while its socket is missing.
    ToWorker(Class),
    /// Might be covered by a policy, but cannot be read.
    DropUnparsable,
    /// The port admits the VPN alone, and this is nothing of it.
    DropNotAdmitted,
}

/// Why the data plane gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// ESP to a gateway address. The SPI is raw, reserved values too.
    Esp { spi: u32 },
    /// ESP too short to hold an SPI.
    EspRunt,
    /// AH to a gateway address.
    Ah,
    /// A fragment of ESP or AH to a gateway address, the first one too.
    IpsecFragment,
    /// UDP 4500 with a non-zero SPI (RFC 3948 §2.1).
    EspInUdp { spi: u32 },
    /// The configured UDP encapsulation port.
    UdpEncap,
    /// GRE to a gateway address, fragments too.
    Gre,
    /// A protected range holds its source or destination.
    Protected,
    /// Its source or destination is to be translated.
    Translated,
}

/// Ports of one address: ranges from first to last. What is not used begins behind its end.
pub type PortRanges = [[u16; 2]; MAX_PORT_RANGES];
pub const MAX_PORT_RANGES: usize = 8;
pub const NO_PORTS: PortRanges = [[1, 0]; MAX_PORT_RANGES];

/// What steering depends on: maps in the kernel, slices or snapshots in user space.
pub trait SteerTables {
    /// Addresses by which IPsec reaches this gateway.
    fn is_gateway_v4(&self, addr: Ipv4Addr) -> bool;
    fn is_gateway_v6(&self, addr: Ipv6Addr) -> bool;
    /// Longest-prefix match over what policies protect and what is exempt from that.
    fn is_protected_v4(&self, addr: Ipv4Addr) -> bool;
    fn is_protected_v6(&self, addr: Ipv6Addr) -> bool;
    /// The configured destination port of UDP-encapsulated ESP besides 4500.
    fn udp_encap_port(&self) -> Option<u16>;
    /// Which of the tables below are to be asked.
    fn features(&self) -> Features {
        Features::default()
    }
    /// On a port that admits the VPN alone: sources that it admits all the same.
    fn is_admitted_v4(&self, _addr: Ipv4Addr) -> bool {
        false
    }
    fn is_admitted_v6(&self, _addr: Ipv6Addr) -> bool {
        false
    }
    /// A port that IKE was moved to.
    fn is_ike_port(&self, _port: u16) -> bool {
        false
    }
    /// Sources that are translated.
    fn is_inside(&self, _addr: Ipv4Addr) -> bool {
        false
    }
    /// Of an address of the host that stands for others: its ports.
    fn translated_ports(&self, _addr: Ipv4Addr) -> Option<PortRanges> {
        None
    }
    /// The first fragment of a datagram in UDP to a gateway address came by; `None`: later ones need no memory of it.
    fn note_first(&self, _key: &FragmentKey, _first: Option<First>) {}
    /// What the first fragment of this one's datagram was, as far as is remembered.
    fn first_of(&self, _key: &FragmentKey) -> Option<First> {
        None
    }
}

/// The module's documentation tells the rules. `frame` begins with the Ethernet header.
#[inline(always)]
pub fn classify<B: Bytes + ?Sized, T: SteerTables>(frame: &B, tables: &T) -> Steer {
    let Some(link) = Link::parse(frame) else { return Steer::DropUnparsable };
    match link.ethertype {
        ethernet::IPV4 => classify_v4(frame, link.payload, tables),
        ethernet::IPV6 => classify_v6(frame, link.payload, tables),
        ethernet::ARP => Steer::Pass,
        _ => admit::link(frame, tables),
    }
}

#[inline(always)]
fn classify_v4<B: Bytes + ?Sized, T: SteerTables>(frame: &B, at: usize, tables: &T) -> Steer {
    let Some([vihl, _, l0, l1, i0, i1, f0, f1, _, next, _, _, s0, s1, s2, s3, d0, d1, d2, d3]) =
        frame.array::<{ ipv4::HEADER }>(at)
    else {
        return Steer::DropUnparsable;
    };
    let header_len = usize::from(vihl & 0x0f) * 4;
    let (src, dst) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
    if vihl >> 4 != 4 || header_len < ipv4::HEADER {
        return impossible(tables.is_protected_v4(dst) || tables.is_protected_v4(src), tables);
    }
    let gateway = tables.is_gateway_v4(dst);
    let upper = Upper {
        protocol: next,
        at: at + header_len,
        end: at + usize::from(u16::from_be_bytes([l0, l1])),
        // More fragments, or an offset: everything but the reserved bit and DF.
        fragment: u16::from_be_bytes([f0, f1]) & 0x3fff != 0,
    };
    if gateway {
        if let Some(steer) = upper.to_gateway(frame, tables) {
            return steer;
        }
        if upper.is_part_of_datagram() {
            let id = u32::from(u16::from_be_bytes([i0, i1]));
            let key =
                FragmentKey { src: wide([s0, s1, s2, s3]), dst: wide([d0, d1, d2, d3]), id, version: 4 };
            if let Some(steer) = upper.part(frame, tables, &key, u16::from_be_bytes([f0, f1]) & 0x1fff == 0) {
                return steer;
            }
        }
    }
    let features = tables.features();
    if features.has(Features::VPN_ONLY) && !tables.is_admitted_v4(src) {
        return admit::v4(frame, &upper, gateway.then_some(dst), tables);
    }
    if gateway && next == protocol::GRE && features.has(Features::GRE) {
        return Steer::ToWorker(Class::Gre);
    }
    // 224.0.0.0/24 (RFC 5771 §4) and 255.255.255.255 never leave their link.
    if (d0 == 224 && d1 == 0 && d2 == 0) || (d0 & d1 & d2 & d3) == 255 {
        return Steer::Pass;
    }
    if features.has(Features::TRANSLATES) {
        if let Some(ports) = tables.translated_ports(dst) {
            if upper.is_translated(frame, &ports) {
                return Steer::ToWorker(Class::Translated);
            }
        } else if !gateway && tables.is_inside(src) && !tables.is_inside(dst) {
            return Steer::ToWorker(Class::Translated);
        }
    }
    covered(tables.is_protected_v4(dst) || tables.is_protected_v4(src))
}

#[inline(always)]
fn classify_v6<B: Bytes + ?Sized, T: SteerTables>(frame: &B, at: usize, tables: &T) -> Steer {
    // One check after the other: in a tuple the compiler would read before it knows, which the verifier refuses.
    let Some(dst) = frame.array::<16>(at + 24) else { return Steer::DropUnparsable };
    let Some(src) = frame.array::<16>(at + 8) else { return Steer::DropUnparsable };
    let Some([version, _, _, _, l0, l1, next, hops]) = frame.array(at) else { return Steer::DropUnparsable };
    let [d0, d1, ..] = dst;
    let (src, dst) = (Ipv6Addr::from_octets(src), Ipv6Addr::from_octets(dst));
    if version >> 4 != 6 {
        return impossible(tables.is_protected_v6(dst) || tables.is_protected_v6(src), tables);
    }
    let upper_at = at + ipv6::HEADER;
    if tables.is_gateway_v6(dst) {
        let chain = Chain::walk(frame, upper_at, next);
        let end = upper_at + usize::from(u16::from_be_bytes([l0, l1]));
        if let Some((protocol, at)) = chain.end {
            let fragment = chain.fragment.is_some_and(|f| !f.is_atomic());
            let upper = Upper { protocol, at, end, fragment };
            if let Some(steer) = upper.to_gateway(frame, tables) {
                return steer;
            }
            if let Some(part) = chain.fragment
                && upper.is_part_of_datagram()
            {
                let key = FragmentKey { src: src.octets(), dst: dst.octets(), id: part.id, version: 6 };
                if let Some(steer) = upper.part(frame, tables, &key, part.offset == 0) {
                    return steer;
                }
            }
            let closed = is_closed_v6(tables, src);
            if closed && admit::is_admitted_v6(frame, &upper, dst, tables) {
                return Steer::Pass;
            }
            if !closed && protocol == protocol::GRE && tables.features().has(Features::GRE) {
                return Steer::ToWorker(Class::Gre);
            }
        }
    }
    // A forwarded packet has a hop limit below 255, so what passes here can deceive nobody beyond this link.
    if next == protocol::ICMPV6
        && hops == 255
        && frame.byte(upper_at).is_some_and(icmpv6::is_neighbour_discovery)
    {
        return Steer::Pass;
    }
    if is_closed_v6(tables, src) {
        let query = admit::is_listener_query(frame, upper_at, [next, hops], src);
        return if query { Steer::Pass } else { Steer::DropNotAdmitted };
    }
    // Interface-local and link-local multicast (RFC 4291 §2.7) never leave their link, whatever their flags, and neither
    // does what is for a link-local address (§2.5.6).
    if (d0 == 0xff && d1 & 0x0f <= 2) || (d0 == 0xfe && d1 & 0xc0 == 0x80) {
        return Steer::Pass;
    }
    covered(tables.is_protected_v6(dst) || tables.is_protected_v6(src))
}

/// Of such a packet the worker says what is wrong with it, or has a tunnel that carries it as it is.
#[inline(always)]
fn impossible<T: SteerTables>(protected: bool, tables: &T) -> Steer {
    if protected && !tables.features().has(Features::VPN_ONLY) {
        Steer::ToWorker(Class::Protected)
    } else {
        Steer::DropUnparsable
    }
}

/// The port admits the VPN alone, and nothing else from there.
#[inline(always)]
fn is_closed_v6<T: SteerTables>(tables: &T, src: Ipv6Addr) -> bool {
    tables.features().has(Features::VPN_ONLY) && !tables.is_admitted_v6(src)
}

#[inline(always)]
const fn covered(protected: bool) -> Steer {
    if protected { Steer::ToWorker(Class::Protected) } else { Steer::Pass }
}

/// What an IP header says about its payload.
struct Upper {
    protocol: u8,
    at: usize,
    /// Where the packet ends by its own account; the frame may end before.
    end: usize,
    fragment: bool,
}

impl Upper {
    /// `None`: nothing of IPsec; the ranges decide.
    #[inline(always)]
    fn to_gateway<B: Bytes + ?Sized, T: SteerTables>(&self, frame: &B, tables: &T) -> Option<Steer> {
        match (self.protocol, self.fragment) {
            (protocol::ESP | protocol::AH, true) => Some(Steer::ToWorker(Class::IpsecFragment)),
            (protocol::AH, false) => Some(Steer::ToWorker(Class::Ah)),
            (protocol::ESP, false) => Some(Steer::ToWorker(match self.word(frame, 0) {
                Some(spi) => Class::Esp { spi },
                None => Class::EspRunt,
            })),
            (protocol::UDP, false) => self.datagram(frame, tables),
            _ => None,
        }
    }

    #[inline(always)]
    fn datagram<B: Bytes + ?Sized, T: SteerTables>(&self, frame: &B, tables: &T) -> Option<Steer> {
        let [_, _, d0, d1, l0, l1, _, _] = frame.array::<{ udp::HEADER }>(self.at)?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        match u16::from_be_bytes([d0, d1]) {
            udp::IKE_PORT => Some(Steer::Pass),
            udp::NATT_PORT if len < udp::HEADER + 4 => Some(Steer::Pass), // keepalive, or a runt for the kernel to refuse
            udp::NATT_PORT => Some(match self.word(frame, udp::HEADER) {
                None | Some(0) => Steer::Pass,
                Some(spi) => Steer::ToWorker(Class::EspInUdp { spi }),
            }),
            port if tables.udp_encap_port() == Some(port) => Some(Steer::ToWorker(Class::UdpEncap)),
            _ => None,
        }
    }

    /// To a port that is for translation, or what stands for one.
    #[inline(always)]
    fn is_translated<B: Bytes + ?Sized>(&self, frame: &B, ports: &PortRanges) -> bool {
        if self.fragment {
            return false;
        }
        let port = match self.protocol {
            protocol::TCP | protocol::UDP => {
                frame.array::<4>(self.at).map(|[_, _, a, b]| u16::from_be_bytes([a, b]))
            }
            protocol::ICMP => match frame.array::<8>(self.at) {
                Some([icmp::ECHO_REPLY | icmp::TIMESTAMP_REPLY, _, _, _, a, b, _, _]) => {
                    Some(u16::from_be_bytes([a, b]))
                }
                Some([icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM, ..]) => {
                    quoted_port(frame, self.at)
                }
                _ => None,
            },
            _ => None,
        };
        let Some(port) = port else { return false };
        ports.iter().any(|[first, last]| *first <= port && port <= *last)
    }

    /// Four bytes at `offset` of the payload, where both the frame and the packet's own length hold them.
    #[inline(always)]
    fn word<B: Bytes + ?Sized>(&self, frame: &B, offset: usize) -> Option<u32> {
        if self.at + offset + 4 > self.end { None } else { frame.be32(self.at + offset) }
    }
}

/// Source port of the packet that an ICMP error quotes, or the identifier of its echo request. Of packets with options
/// nothing is known here: one read at one place is what the verifier follows.
#[inline(always)]
fn quoted_port<B: Bytes + ?Sized>(frame: &B, at: usize) -> Option<u16> {
    const ICMP_HEADER: usize = 8;
    const IP: usize = ICMP_HEADER;
    const UPPER: usize = IP + ipv4::HEADER;
    let quote = frame.array::<{ UPPER + 8 }>(at)?;
    let word = |at: usize| u16::from_be_bytes([quote[at], quote[at + 1]]);
    match (quote[IP], quote[IP + 9]) {
        (0x45, protocol::TCP | protocol::UDP) => Some(word(UPPER)),
        (0x45, protocol::ICMP) => Some(word(UPPER + 4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
