//! Out of a tunnel.
//!
//! Decides: whether a packet is of a tunnel, came as it has to, and is whole. Reads: policies, selectors of the SA that it
//! came by, headers. Writes: the frame, `Meta`, the door, and the verdict of what is the kernel's by the device.
//! Never: touches GRE of other ends.

use super::tunnels::Tunnel;
use crate::batch::Batch;
use crate::classify::{self, v6};
use crate::flow::{Flows, Keys};
use crate::inbound::decap::congestion;
use crate::interface;
use crate::packet::{Door, Packet};
use crate::sa::SaDb;
use crate::spd::{Answer, Fit, Query};
use crate::stats::Stats;
use crate::tables::Tables;
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{TunnelId, VrfId};
use ravelin_wire::gre::{Flaw, Gre};
use ravelin_wire::ipv4::Ipv4Mut;
use ravelin_wire::ipv6::Ipv6Mut;
use ravelin_wire::{ethernet, protocol};

/// Of `clear`, what came in GRE for a tunnel of ours. `dry`: it is only asked about.
pub(crate) fn uncover(
    batch: &mut Batch,
    (clear, keys): (&[u16], &mut Keys),
    db: &mut SaDb,
    tables: &Tables,
    flows: &Flows,
    stats: &mut Stats,
    dry: bool,
) {
    let mut each = |at, packet: &mut Packet| {
        let from_outside = matches!(packet.door, Door::Port(_) | Door::Sa);
        if packet.meta.ip.protocol != protocol::GRE || !from_outside || packet.meta.vrf != VrfId::MAIN {
            return Ok(());
        }
        let ends = tables.gre.between(packet.destination(), packet.source());
        let Some(tunnels) = ends else { return Ok(()) };
        one(packet, tunnels, db, tables, dry)?;
        stats.count(Counter::GreReceived);
        flows.note(at, packet, keys);
        Ok(())
    };
    for &at in clear {
        batch.each(&[at], |packet| each(at, packet));
    }
}

fn one<'t>(
    packet: &mut Packet,
    mut tunnels: impl Iterator<Item = &'t Tunnel>,
    db: &mut SaDb,
    tables: &Tables,
    dry: bool,
) -> Result<(), Drop> {
    let by = admitted(packet, db, tables)?;
    let ip = packet.meta.ip;
    if ip.fragment {
        return Err(Drop::Fragment);
    }
    // More extension headers than the field can say are nobody's before GRE.
    let at = usize::from(ip.header_len);
    let bytes = packet.frame.data().get(at..).filter(|_| ip.header_len < u8::MAX).ok_or(Drop::GreLength)?;
    let gre = Gre::parse(bytes).map_err(|flaw| match flaw {
        Flaw::Flags => Drop::GreHeader,
        Flaw::Length => Drop::GreLength,
        Flaw::Checksum => Drop::GreChecksum,
    })?;
    let tunnel = tunnels.find(|t| t.spec.key == gre.key).ok_or(Drop::GreKey)?;
    lawful(&gre, tunnel, by)?;
    if !packet.frame.pull_front(at + gre.len()) {
        return Err(Drop::GreLength);
    }
    inner(packet, ip.tos, gre.protocol == ethernet::IPV6, tunnel, tables.vrfs.of_interface(tunnel.id))?;
    // Last: what is refused leaves the numbers as they were.
    match gre.sequence {
        Some(number) if tunnel.spec.sequence && !tunnel.state.take(number, dry) => Err(Drop::GreSequence),
        _ => Ok(()),
    }
}

/// The tunnel of the SA that it came by, whose selectors hold it; or in clear, where no policy protects it.
fn admitted(packet: &Packet, db: &mut SaDb, tables: &Tables) -> Result<Option<TunnelId>, Drop> {
    let query = Query::inbound(packet);
    if !packet.meta.opened {
        // What another worker handed on has been asked there.
        return match tables.spd.lookup(&query).0 {
            Answer::Protect(_) if packet.door != Door::Sa => Err(Drop::PlainOnProtected),
            Answer::Unknown => Err(Drop::Fragment),
            Answer::Protect(_) | Answer::Bypass | Answer::Discard => Ok(None),
        };
    }
    let (_, sa) = db.inbound.both(packet.meta.sa).ok_or(Drop::NoSa)?;
    match sa.selectors.fit(&query) {
        Fit::Inside => tables.filters.check(sa.tunnel, sa.filtered, &query).map(|()| Some(sa.tunnel)),
        Fit::Outside => {
            sa.refuse(Drop::SelectorMismatch);
            Err(Drop::SelectorMismatch)
        }
        Fit::Unknown => Err(Drop::Fragment),
    }
}

fn lawful(gre: &Gre, tunnel: &Tunnel, by: Option<TunnelId>) -> Result<(), Drop> {
    let spec = &tunnel.spec;
    if spec.tunnel.is_some() && spec.tunnel != by {
        return Err(Drop::GreUnprotected);
    }
    if spec.checksum && !gre.checksum {
        return Err(Drop::GreChecksum);
    }
    if spec.sequence && gre.sequence.is_none() {
        return Err(Drop::GreSequence);
    }
    if matches!(gre.protocol, ethernet::IPV4 | ethernet::IPV6) { Ok(()) } else { Err(Drop::GreProtocol) }
}

/// The frame begins with the inner packet.
fn inner(packet: &mut Packet, outer_tos: u8, is_v6: bool, tunnel: &Tunnel, vrf: VrfId) -> Result<(), Drop> {
    // Multicast and link-local addresses are lawful on the link that the tunnel is, as from its device.
    let door = Door::Device(tunnel.id);
    let bytes = packet.frame.data();
    let mut ip = if is_v6 { v6::judge(bytes, door)? } else { classify::judge(bytes, door)? };
    packet.frame.truncate(ip.total_len.into());
    let ecn = congestion(outer_tos & 3, ip.tos & 3)?;
    if ecn != ip.tos & 3 {
        ip.tos = ip.tos & !3 | ecn;
        let bytes = packet.frame.data_mut();
        if is_v6 {
            Ipv6Mut::parse(bytes).map_err(|_| Drop::BadInner)?.set_traffic_class(ip.tos);
        } else {
            Ipv4Mut::parse(bytes).map_err(|_| Drop::BadInner)?.set_ecn(ecn);
        }
    }
    packet.meta.ip = ip;
    (packet.meta.tag, packet.meta.opened) = (None, false);
    packet.meta.vrf = vrf;
    interface::enter_by(packet, tunnel.id);
    Ok(())
}
