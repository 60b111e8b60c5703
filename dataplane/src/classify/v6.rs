//! What came as IPv6: clear, or ESP for this gateway.
//!
//! Decides: whether header and extension headers are lawful; ESP (plain or in UDP) or AH, to a gateway address, from a port,
//! or clear. Reads: IP headers, the gateway's addresses. Writes: `Meta`, and strips what follows the packet.
//! Never: changes an extension header, or goes on with one that it cannot pass over: what it hides might decide.

use super::{Class, ah, esp, first_part};
use crate::packet::{Door, Ip, Packet};
use crate::tables::Tables;
use ravelin_ring::counters::Drop;
use ravelin_wire::extension::Extensions;
use ravelin_wire::ipv6::{self, Fragment, Ipv6};
use ravelin_wire::udp::{self, Natt, Udp};
use ravelin_wire::{Bytes, Malformed, protocol};
use std::net::Ipv6Addr;

/// The header, and everything between it and the transport.
pub(super) fn network(packet: &mut Packet) -> Result<(), Drop> {
    let fields = judge(packet.frame.data(), packet.door)?;
    packet.meta.ip = fields;
    packet.frame.truncate(usize::from(fields.total_len));
    Ok(())
}

/// What decisions need of a lawful header.
pub(crate) fn judge(bytes: &[u8], door: Door) -> Result<Ip, Drop> {
    let ip = Ipv6::parse(bytes).map_err(|flaw| match flaw {
        Malformed::Version => Drop::BadIpVersion,
        Malformed::Length => Drop::BadIpLength,
        Malformed::HeaderLength | Malformed::Truncated => Drop::Malformed,
    })?;
    let fields = fields(&ip)?;
    lawful(&ip, door)?;
    Ok(fields)
}

/// Copies what decisions need, once the chain of extension headers has an end.
pub(crate) fn fields(ip: &Ipv6<'_>) -> Result<Ip, Drop> {
    //= https://www.rfc-editor.org/rfc/rfc7112#section-5
    //# A host that receives a First Fragment that does not satisfy the above-
    //# stated requirement SHOULD discard the packet
    let chain = ip.chain();
    let (protocol, at) = chain.end.filter(|(_, at)| *at <= ip.total_len()).ok_or(Drop::BadExtension)?;
    // Its destination would not be where it goes in the end, and selectors speak of that (RFC 5095).
    if ip.is_source_routed() {
        return Err(Drop::BadExtension);
    }
    if let Some(last) = chain.fragment
        && is_cut_twice(ip.packet(), last)
    {
        return Err(Drop::BadExtension);
    }
    let fragment = chain.fragment.filter(|f| !f.is_atomic());
    let later = fragment.is_some_and(|f| f.offset != 0);
    if later && ipv6::is_extension(protocol) {
        return Err(Drop::Fragment); // which protocol it carries, only its first fragment tells
    }
    let (ports, portless) = ports(ip.packet(), protocol, at, later);
    Ok(Ip {
        src: 0,
        dst: 0,
        ports,
        total_len: u16::try_from(ip.total_len()).map_err(|_| Drop::Malformed)?,
        protocol,
        header_len: u8::try_from(at).unwrap_or(u8::MAX),
        tos: ip.traffic_class(),
        ttl: ip.hop_limit(),
        df: true,
        fragment: fragment.is_some(),
        portless,
        v6: true,
    })
}

/// A fragment header behind another one: the source cuts a packet once (RFC 8200 §4.5), and joined it would still be a part.
#[cold]
fn is_cut_twice(packet: &[u8], last: Fragment) -> bool {
    let first = Extensions::of(packet).and_then(|mut all| all.find(|e| e.kind == protocol::FRAGMENT));
    first.is_none_or(|first| first.at != last.at)
}

/// As for IPv4, with the type and code of ICMPv6.
fn ports(packet: &[u8], protocol: u8, at: usize, later: bool) -> ((u16, u16), bool) {
    let hidden = ((0, 0), true);
    if super::has_ports(protocol) {
        let words = packet.be16(at).zip(packet.be16(at + 2)).filter(|_| !later);
        return words.map_or(hidden, |ports| (ports, false));
    }
    match protocol {
        protocol::ICMPV6 => match packet.be16(at) {
            Some(word) if !later => ((word, word), false),
            _ => hidden,
        },
        _ => ((0, 0), false),
    }
}

/// Sources nobody can answer and destinations nobody can be reached by (RFC 4291 §2.5, RFC 6890), and addresses that
/// no router forwards (RFC 4291 §2.5.6).
pub(crate) fn lawful(ip: &Ipv6<'_>, door: Door) -> Result<(), Drop> {
    let (src, dst) = (ip.src(), ip.dst());
    let link = matches!(door, Door::Device(_)); // over which routers speak with each other
    let never = |a: Ipv6Addr| {
        a.is_unspecified()
            || a.is_loopback()
            || (a.is_unicast_link_local() && !link)
            || a.to_ipv4_mapped().is_some()
    };
    if never(src) || never(dst) || src.is_multicast() {
        return Err(Drop::BadAddress);
    }
    if dst.is_multicast() && !link {
        return Err(Drop::MulticastPolicyMode);
    }
    // A packet of the host's own may come from any address of the host, but not claim to be to itself.
    if door == Door::Tun && src == dst { Err(Drop::BadAddress) } else { Ok(()) }
}

/// ESP and ESP in UDP for a gateway address end here; everything else is clear.
pub(super) fn transport(packet: &mut Packet, tables: &Tables) -> Result<Class, Drop> {
    let ip = packet.meta.ip;
    let candidate = matches!(ip.protocol, protocol::ESP | protocol::UDP | protocol::AH | protocol::GRE);
    let (source, destination) = packet.addresses_v6();
    if !candidate || !matches!(packet.door, Door::Port(_)) || !tables.is_gateway_v6(destination) {
        return Ok(Class::Clear);
    }
    // The end of the chain from the packet itself: a long chain is longer than `header_len` can say.
    let parsed = Ipv6::parse(packet.frame.data()).map_err(|_| Drop::Malformed)?;
    let chain = parsed.chain();
    let (_, at) = chain.end.ok_or(Drop::BadExtension)?;
    let class = match ip.protocol {
        protocol::UDP => datagram(packet, at, chain.fragment, tables),
        protocol::GRE if tables.gre.is_empty() || chain.fragment.is_none() => return Ok(Class::Clear),
        // One that is the whole packet loses its fragment header (RFC 6946).
        _ if chain.fragment.is_some() => Ok(Class::Fragment),
        protocol::AH => ah(packet, at),
        _ => esp(packet, at, 0, false),
    }?;
    packet.meta.from.0 = folded(source);
    Ok(class)
}

/// UDP for a gateway address. Its checksum may be zero (RFC 6935): the ICV says more than it could.
fn datagram(
    packet: &mut Packet,
    at: usize,
    fragment: Option<Fragment>,
    tables: &Tables,
) -> Result<Class, Drop> {
    let ip = packet.meta.ip;
    let payload = packet.frame.data().get(at..).ok_or(Drop::Malformed)?;
    match ip.ports.1 {
        // Whose it is the first fragment says, where that is under way.
        _ if fragment.is_some_and(|f| f.offset != 0) => return Ok(Class::Fragment),
        _ if ip.portless => return Ok(Class::Clear),
        udp::IKE_PORT => return Ok(Class::Kernel),
        port if !tables.is_natt_port(port) => return Ok(Class::Clear),
        _ if fragment.is_some() => return Ok(first_part(payload)),
        _ => {}
    }
    let datagram = Udp::parse(payload).map_err(|_| Drop::Malformed)?;
    let end = at + datagram.len();
    match Natt::of(datagram.payload()) {
        Natt::Esp(_) => {
            packet.frame.truncate(end);
            esp(packet, at + udp::HEADER, ip.ports.0, true)
        }
        Natt::Ike(_) | Natt::Keepalive | Natt::Runt => Ok(Class::Kernel),
    }
}

/// What stands for an IPv6 address where a peer's place is compared with each packet's: other addresses have other
/// numbers but by chance, and then a move is noticed later, no more.
#[allow(clippy::cast_possible_truncation)] // words are meant
pub(crate) fn folded(addr: u128) -> u32 {
    (0..4).fold(0x9e37_79b9, |sum: u32, n| sum.rotate_left(9) ^ (addr >> (32 * n)) as u32)
}
