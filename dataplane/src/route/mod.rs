//! Routes: where a packet goes by its destination, and the last steps out of a port.
//!
//! Decides: the next hop, of several one for each flow, and the verdict of clear packets that may go on in clear. Reads: the FIB, neighbours and
//! ports of the snapshot. Writes: `Meta::{hop, port, mac, limit}`, the TTL, the Ethernet header, the verdict.
//! Never: protects anything.

mod depart;
mod fib;
mod fib6;

pub(crate) use depart::{Leaving, address, depart, plainly, word};
pub(crate) use fib::{Fib, Hop, MAX_HOPS, NO_ROUTE};

use crate::batch::Batch;
use crate::hold::Hold;
use crate::neighbour::Resolver;
use crate::packet::{Door, Packet};
use crate::tables::{Link, Tables};
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{PortId, VrfId};
use ravelin_ring::paths::Flow;
use ravelin_wire::MacAddr;
use ravelin_wire::ethernet::{self, Ethernet, Tag};
use ravelin_wire::{ipv4, ipv6};
use std::net::IpAddr;

/// First look-up: the way out by the FIB. What has none may still belong to a tunnel, whose outer address has one.
pub(crate) fn resolve(batch: &mut Batch, clear: &[u16], tables: &Tables) {
    batch.each(clear, |packet| {
        if packet.meta.vrf != VrfId::MAIN {
            packet.meta.hop = tables.way_in_vrf(packet, packet.destination());
            return Ok(());
        }
        let place = if packet.meta.ip.v6 {
            tables.fib.lookup_v6(packet.addresses_v6().1)
        } else {
            tables.fib.lookup(packet.meta.ip.dst)
        };
        packet.meta.hop = way(packet, place, tables);
        Ok(())
    });
}

/// Of several next hops the one that the packet's flow takes; the parts of a fragmented packet take one.
#[inline]
pub(crate) fn way(packet: &Packet, place: u32, tables: &Tables) -> u32 {
    tables.way(place, || flow(packet))
}

/// What decides among several next hops.
pub(crate) fn flow(packet: &Packet) -> Flow {
    let ip = &packet.meta.ip;
    let ports = if ip.portless || ip.fragment { (0, 0) } else { ip.ports };
    Flow::between(packet.source(), packet.destination()).with(ip.protocol, ports)
}

/// Second look-up, of clear packets: the port and the link address, or the kernel.
pub(crate) fn egress(
    batch: &mut Batch,
    bypass: &[u16],
    tables: &Tables,
    hold: &mut Hold,
    resolver: &mut Resolver<'_>,
) {
    batch.each(bypass, |packet| match tables.hop(packet.meta.hop) {
        // Only a PROTECT policy may let a packet go on into a tunnel.
        Hop::None | Hop::Tunnel | Hop::Interface(_) => Err(Drop::NoRoute),
        Hop::Blackhole => Err(Drop::RouteBlackhole),
        // The kernel sent it to us: giving it back would go round in circles.
        Hop::Local | Hop::Kernel if packet.door == Door::Tun && !packet.meta.made_here => Err(Drop::NoRoute),
        Hop::Local | Hop::Kernel
            if packet.meta.vrf != VrfId::MAIN && !matches!(packet.door, Door::Inner(_)) =>
        {
            Err(Drop::VrfLocal)
        }
        Hop::Local | Hop::Kernel => {
            packet.verdict = match packet.door {
                Door::Inner(interface) => Verdict::Deliver { interface },
                Door::Port(_) | Door::Tun | Door::Sa | Door::Device(_) | Door::Vrf(_) => Verdict::Punt,
            };
            Ok(())
        }
        Hop::Port { port, gateway } => {
            let next = gateway.unwrap_or_else(|| packet.destination());
            let (link, mac) = match neighbour(tables, port, next, resolver) {
                Err(Drop::NeighbourUnresolved) => {
                    return hold.take_for_link(packet, port, next, resolver.now);
                }
                other => other?,
            };
            let meta = &mut packet.meta;
            (meta.port, meta.mac, meta.limit) = (port, mac, link.mtu);
            Ok(())
        }
    });
}

/// The port, and the link address of the next hop on it.
pub(crate) fn neighbour<'t>(
    tables: &'t Tables,
    port: PortId,
    next: IpAddr,
    resolver: &mut Resolver<'_>,
) -> Result<(&'t Link, MacAddr), Drop> {
    let link = tables.port(port).filter(|l| l.up).ok_or(Drop::PortDown)?;
    match tables.neighbours.get(port, next) {
        Some(mac) => Ok((link, mac)),
        None => {
            resolver.need(port, next);
            Err(Drop::NeighbourUnresolved)
        }
    }
}

/// Takes one off the TTL (RFC 1812 §5.3.1) or the hop limit (RFC 8200 §3) of what this host forwards; its own packets keep theirs.
#[inline]
pub(crate) fn age(packet: &mut Packet) -> Result<(), Drop> {
    if packet.meta.aged {
        return Ok(());
    }
    if packet.meta.ip.ttl <= 1 {
        return Err(Drop::TtlExpired);
    }
    packet.meta.ip.ttl -= 1;
    packet.meta.aged = true;
    if packet.meta.ip.v6 {
        return age_v6(packet);
    }
    ipv4::count_down(packet.frame.data_mut().first_chunk_mut().ok_or(Drop::Malformed)?);
    Ok(())
}

#[inline(never)]
fn age_v6(packet: &mut Packet) -> Result<(), Drop> {
    ipv6::count_down(packet.frame.data_mut().first_chunk_mut().ok_or(Drop::Malformed)?);
    Ok(())
}

/// Puts the Ethernet header before a clear packet: its last step.
#[inline]
pub(crate) fn leave(packet: &mut Packet, tables: &Tables) -> Result<(), Drop> {
    let port = packet.meta.port;
    let src = tables.port(port).ok_or(Drop::PortDown)?.mac;
    // A packet that turns round on its port stays in its VLAN.
    let tag = packet.meta.tag.filter(|_| packet.door == Door::Port(port));
    let network = if packet.meta.ip.v6 { ethernet::IPV6 } else { ethernet::IPV4 };
    let ethertype = match tag {
        None => network,
        Some(tag) => put_tag(packet, tag, network)?,
    };
    put(packet, &Ethernet { dst: packet.meta.mac, src, ethertype }.to_bytes())?;
    packet.verdict = Verdict::Forward { port };
    Ok(())
}

/// Returns what announces it.
#[inline(never)]
fn put_tag(packet: &mut Packet, Tag { tpid, tci }: Tag, network: u16) -> Result<u16, Drop> {
    let ([a, b], [c, d]) = (tci.to_be_bytes(), network.to_be_bytes());
    put(packet, &[a, b, c, d])?;
    Ok(tpid)
}

/// `bytes` before what is there.
#[inline]
fn put<const N: usize>(packet: &mut Packet, bytes: &[u8; N]) -> Result<(), Drop> {
    if !packet.frame.push_front(N) {
        return Err(Drop::FrameTooSmall);
    }
    *packet.frame.data_mut().first_chunk_mut().ok_or(Drop::FrameTooSmall)? = *bytes;
    Ok(())
}
