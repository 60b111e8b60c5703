//! ICMPv6 errors of this gateway: "packet too big" and "time exceeded" (RFC 4443).
//!
//! Decides, reads, writes: as for IPv4. Never: answers an ICMPv6 error or a redirect (RFC 4443 §2.4 e); tells of an MTU
//! below 1,280, which no host may use (RFC 8201 §4).

use crate::classify::v6;
use crate::packet::{Door, Origin, Packet};
use crate::spd::{Answer, Asked, Query};
use crate::tables::Tables;
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_wire::icmpv6::{Error, Icmpv6, MAX_MESSAGE, REDIRECT};
use ravelin_wire::ipv6::{self, Ipv6, Ipv6Header};
use ravelin_wire::protocol;
use ravelin_xsk::{Frame, FramePool};
use std::net::Ipv6Addr;

/// Every link carries so much (RFC 8200 §5).
const MIN_MTU: u16 = 1280;

/// As for IPv4.
pub(super) fn reply(
    packet: &Packet,
    tables: &Tables,
    may: &mut impl FnMut() -> bool,
    pool: &mut FramePool,
) -> Option<Packet> {
    let error = error(packet)?;
    let src = answerable(packet, tables)?;
    may().then(|| write(error, packet, src, pool))?
}

fn error(packet: &Packet) -> Option<Error> {
    if packet.verdict == Verdict::Drop(Drop::TooBig) {
        return Some(Error::PacketTooBig { mtu: packet.meta.limit.max(MIN_MTU).into() });
    }
    (packet.verdict == Verdict::Drop(Drop::TtlExpired)).then_some(Error::TimeExceeded)
}

/// Our address to speak from; `None`: no error may go back.
fn answerable(packet: &Packet, tables: &Tables) -> Option<Ipv6Addr> {
    let ip = Ipv6::parse(packet.frame.data()).ok()?;
    let (protocol, at) = ip.chain().end?;
    let message = ip.packet().get(at..).and_then(Icmpv6::parse);
    let silent = protocol == protocol::ICMPV6 && message.is_none_or(|m| m.is_error() || m.kind() == REDIRECT);
    if silent || packet.meta.made_here {
        return None;
    }
    source(packet, tables).map(Ipv6Addr::from_bits)
}

fn source(packet: &Packet, tables: &Tables) -> Option<u128> {
    let (src, dst) = packet.addresses_v6();
    match packet.door {
        Door::Tun | Door::Device(_) => Some(dst),
        Door::Port(port) => {
            let near = tables.port(port).and_then(|p| p.address_v6);
            near.or_else(|| tables.locals_v6().first().copied())
        }
        Door::Sa | Door::Inner(_) | Door::Vrf(_) => tables.locals_v6().iter().copied().find(|local| {
            let query =
                Query::V6(Asked { local: *local, remote: src, protocol: protocol::ICMPV6, ports: None });
            matches!(tables.policy(packet.meta.vrf, &query), (Answer::Protect(_), _))
                || tables.leads_into_tunnel(packet)
        }),
    }
}

fn write(error: Error, to: &Packet, src: Ipv6Addr, pool: &mut FramePool) -> Option<Packet> {
    let dst = Ipv6Addr::from_bits(to.addresses_v6().0);
    let mut frame = pool.alloc()?;
    if fill(&mut frame, error, to.frame.data(), src, dst).is_none() {
        pool.free(frame);
        return None;
    }
    let mut packet = Packet::new(frame, Origin::Tun);
    packet.meta.made_here = true;
    match Ipv6::parse(packet.frame.data()).ok().map(|ip| v6::fields(&ip)) {
        Some(Ok(fields)) => packet.meta.ip = fields,
        _ => packet.drop(Drop::Malformed), // cannot be: it was just written
    }
    Some(packet)
}

fn fill(frame: &mut Frame, error: Error, quoted: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Option<()> {
    if !frame.extend(ipv6::HEADER + MAX_MESSAGE) {
        return None;
    }
    let (header, message) = frame.data_mut().split_at_mut_checked(ipv6::HEADER)?;
    let len = error.write(message, quoted, src, dst)?;
    let ip = Ipv6Header {
        traffic_class: 0xc0, // internetwork control, as for IPv4
        flow_label: 0,
        payload_len: u16::try_from(len).ok()?,
        next_header: protocol::ICMPV6,
        hop_limit: 64,
        src,
        dst,
    };
    header.copy_from_slice(&ip.to_bytes());
    frame.truncate(ipv6::HEADER + len);
    Some(())
}
