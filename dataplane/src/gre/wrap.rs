//! Into a tunnel: payload, GRE header, outer header.
//!
//! Decides: that a packet fits, is cut, or is too big; outer TOS. Reads: the tunnel. Writes: frames, `Meta`, the door.
//! Never: finds a way out; `worker` has the outer packet begin anew.

use super::tunnels::Tunnel;
use crate::batch::{Batch, Places};
use crate::classify::{self, v6};
use crate::escape;
use crate::flow;
use crate::outbound::fragment;
use crate::packet::{Door, Packet};
use crate::route;
use crate::stats::Stats;
use crate::tables::Tables;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::VrfId;
use ravelin_wire::gre::Gre;
use ravelin_wire::ipv4::{self, Ipv4, Ipv4Header, Ipv4Mut};
use ravelin_wire::ipv6::{Ipv6, Ipv6Header};
use ravelin_wire::{ethernet, protocol};
use ravelin_xsk::FramePool;
use std::net::IpAddr;

/// Of the packets that go by tunnels, those whose tunnel is of GRE go to a list of their own, which rises too.
pub(crate) fn sift(batch: &mut Batch, protect: &mut Places, gre: &mut Places, tables: &Tables) {
    gre.clear();
    protect.retain(|at| {
        let packet = batch.packets.get_mut(usize::from(*at)).filter(|p| p.pending());
        let Some(packet) = packet.filter(|p| tables.gre.at(p.meta.sa).is_some()) else { return true };
        match packet.is_enclosing() {
            true => packet.drop(Drop::GreLoop),
            false => {
                packet.meta.limit = tables.gre.at(packet.meta.sa).and_then(|t| t.limit).unwrap_or(0);
                gre.push(*at);
            }
        }
        false
    });
}

/// Makes outer packets of them, in their places. `dry`: they are only asked about.
pub(crate) fn wrap(
    batch: &mut Batch,
    gre: &mut Places,
    tables: &Tables,
    pool: &mut FramePool,
    stats: &mut Stats,
    dry: bool,
) {
    batch.each(gre, |packet| {
        route::age(packet)?;
        let tunnel = tables.gre.at(packet.meta.sa).ok_or(Drop::NoRoute)?;
        tunnel.limit.ok_or(Drop::NoRoute).map(|_| ())
    });
    fragment::run(batch, gre, pool, stats);
    batch.each(gre, |packet| {
        let tunnel = tables.gre.at(packet.meta.sa).ok_or(Drop::NoRoute)?;
        one(packet, tunnel, dry)?;
        escape::enclosed(packet, tables)?;
        stats.count(Counter::GreSent);
        Ok(())
    });
}

fn one(packet: &mut Packet, tunnel: &Tunnel, dry: bool) -> Result<(), Drop> {
    let (spec, number) = (&tunnel.spec, tunnel.state.number(dry));
    let header = Gre {
        protocol: if packet.meta.ip.v6 { ethernet::IPV6 } else { ethernet::IPV4 },
        checksum: spec.checksum,
        key: spec.key,
        sequence: spec.sequence.then_some(number),
    };
    if !packet.frame.push_front(header.len()) {
        return Err(Drop::FrameTooSmall);
    }
    header.write(packet.frame.data_mut()).ok_or(Drop::FrameTooSmall)?;
    let tos = packet.meta.ip.tos;
    #[allow(clippy::cast_possible_truncation)] // the low half is the identification
    match (spec.local, spec.remote) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => put(packet, |len| {
            // DSCP and ECN of the inner packet (RFC 2983 §3.1, RFC 6040 §4.1). What leaves in clear is not cut any more (`whole`).
            let header = Ipv4Header {
                tos,
                total_len: u16::try_from(ipv4::HEADER + len).ok()?,
                id: number as u16,
                df: false,
                mf: false,
                fragment_offset: 0,
                ttl: 64,
                protocol: protocol::GRE,
                src,
                dst,
            };
            Some(header.to_bytes())
        })?,
        (IpAddr::V6(src), IpAddr::V6(dst)) => put(packet, |len| {
            let header = Ipv6Header {
                traffic_class: tos,
                flow_label: 0,
                payload_len: u16::try_from(len).ok()?,
                next_header: protocol::GRE,
                hop_limit: 64,
                src,
                dst,
            };
            Some(header.to_bytes())
        })?,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Err(Drop::Unsupported),
    }
    begin(packet, spec.local.is_ipv6())
}

/// The header, told how long the payload is, before it.
fn put<const N: usize>(
    packet: &mut Packet,
    header: impl FnOnce(usize) -> Option<[u8; N]>,
) -> Result<(), Drop> {
    let header = header(packet.frame.len()).ok_or(Drop::FrameTooSmall)?;
    if !packet.frame.push_front(N) {
        return Err(Drop::FrameTooSmall);
    }
    *packet.frame.data_mut().first_chunk_mut().ok_or(Drop::FrameTooSmall)? = header;
    Ok(())
}

/// It is the host's own, and nothing is decided about it.
fn begin(packet: &mut Packet, is_v6: bool) -> Result<(), Drop> {
    let bytes = packet.frame.data();
    packet.meta.ip = if is_v6 {
        v6::fields(&Ipv6::parse(bytes).map_err(|_| Drop::Malformed)?)?
    } else {
        classify::fields(&Ipv4::parse(bytes).map_err(|_| Drop::Malformed)?)
    };
    packet.door = Door::Tun;
    let meta = &mut packet.meta;
    (meta.tag, meta.flow) = (None, flow::NONE);
    (meta.opened, meta.translated, meta.fleeting) = (false, false, false);
    (meta.made_here, meta.aged) = (true, true);
    meta.vrf = VrfId::MAIN; // its ends are outside
    Ok(())
}

/// What has to leave by an SA of a tunnel does, or not at all: `protect` goes by the tunnels at `Meta::sa`, `bypass` in
/// clear.
pub(crate) fn guarded(batch: &mut Batch, protect: &[u16], bypass: &[u16], tables: &Tables) {
    let named = |place: u32| tables.spd.tunnels().get(place as usize).map(|(id, _)| *id);
    let ours = |packet: &Packet| {
        let gre = Gre::parse(packet.frame.data().get(usize::from(packet.meta.ip.header_len)..)?).ok()?;
        let mut between = tables.gre.between(packet.source(), packet.destination())?;
        between.find(|t| t.spec.key == gre.key)
    };
    let wanted = |packet: &Packet| ours(packet)?.spec.tunnel;
    let is_gre = |packet: &Packet| packet.door == Door::Tun && packet.meta.ip.protocol == protocol::GRE;
    batch.each(protect, |packet| {
        let strange = is_gre(packet) && wanted(packet).is_some_and(|t| named(packet.meta.sa) != Some(t));
        if strange { Err(Drop::GreUnprotected) } else { Ok(()) }
    });
    batch.each(bypass, |packet| match is_gre(packet).then(|| ours(packet)).flatten() {
        Some(tunnel) if tunnel.spec.tunnel.is_some() => Err(Drop::GreUnprotected),
        Some(_) if !packet.meta.ip.v6 => whole(packet),
        Some(_) | None => Ok(()),
    });
}

/// Routers do not cut it, but say how much they carry (RFC 7588 §3.2): the inner packet was made to fit the first link.
fn whole(packet: &mut Packet) -> Result<(), Drop> {
    Ipv4Mut::parse(packet.frame.data_mut()).map_err(|_| Drop::Malformed)?.set_df(true);
    Ok(())
}
