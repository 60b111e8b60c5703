//! Whatever is not ESP in tunnel mode: transport mode (RFC 4301 §4.1), AH (RFC 4302) in both modes; and SAs with rules.
//!
//! Decides: the verdict of packets whose SA is of that kind; that transport mode takes whole packets only, and cuts them
//! after it protected them (RFC 4303 §3.3.4), as other SAs do that ask for it: of IPv6 too, whose source we are. Reads: keys, numbers, the SA's cold record. Writes: frames, and the further
//! fragments at the end of the batch. Never: touches a packet of an SA of the ordinary kind; runs where there is no
//! other.

use super::front::{Front, put};
use super::{bundle, encap6, fragment, fragment6, multipath, sequence};
use crate::anomaly;
use crate::batch::Batch;
use crate::clock::Now;
use crate::packet::Packet;
use crate::route;
use crate::sa::{Events, OutboundHot, OutboundSa, SaDb};
use crate::stats::Stats;
use crate::tables::Tables;
use crate::verdict::Verdict;
use arrayvec::ArrayVec;
use ravelin_crypto::{Engine, Key, SealJob};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{Mode, Protocol, Rules};
use ravelin_wire::ah::{self, AhHeader};
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::ipv6::Ipv6;
use ravelin_wire::udp::UdpHeader;
use ravelin_wire::{ethernet, protocol, udp};
use ravelin_xsk::FramePool;

/// What the stage works with.
#[derive(Debug)]
pub(crate) struct Means<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) pool: &'a mut FramePool,
    pub(crate) stats: &'a mut Stats,
    pub(crate) events: &'a mut Events,
    pub(crate) tables: &'a Tables,
    pub(crate) now: Now,
}

/// Which SAs have their turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    /// Before anything is cut: what takes whole packets; and what all SAs with rules ask for.
    Whole,
    /// AH in tunnel mode, otherwise.
    Parts,
}

/// Those of `protect` whose SA has its turn.
pub(crate) fn run(batch: &mut Batch, protect: &[u16], db: &mut SaDb, pass: Pass, means: &mut Means<'_>) {
    for &place in protect {
        let room = batch.packets.remaining_capacity();
        let Some(packet) = batch.packets.get_mut(usize::from(place)).filter(|p| p.pending()) else {
            continue;
        };
        let at = packet.meta.sa as usize;
        let around = bundle::around(db, at);
        let (mut rows, colds) = db.outbound.rows();
        let (Some((hot, Some(key))), Some(cold)) = (rows.get_mut(at), colds.get_mut(at)) else {
            continue;
        };
        let Some(sa) = cold.as_ref().filter(|sa| sa.is_special()) else { continue };
        if pass == Pass::Whole
            && let Err(why) = obey(packet, sa.rules)
        {
            packet.drop(why);
            continue;
        }
        let ordinary = sa.suite.protocol() == Protocol::Esp && sa.mode == Mode::Tunnel && around.is_none();
        if sa.takes_whole() != (pass == Pass::Whole) || ordinary && !sa.takes_whole() {
            continue;
        }
        let sealed = protect_one(packet, hot, cold, key, means).and_then(|()| match around {
            None => Ok(()),
            Some(at) => bundle::cover(packet, at, (&mut rows, colds), means),
        });
        let (Some((hot, _)), Some(cold)) = (rows.get(at), colds.get(at)) else { continue };
        match sealed.and_then(|()| leave(packet, hot, cold, room, means)) {
            Ok(further) => append(batch, further, means),
            Err(why) => packet.drop(why),
        }
    }
}

/// R93 to R95.
fn obey(packet: &mut Packet, rules: Rules) -> Result<(), Drop> {
    if rules.check_headers {
        anomaly::check(packet.frame.data(), packet.meta.ip.v6)?;
    }
    packet.meta.aged |= rules.passive || rules.keep_ttl;
    Ok(())
}

type Further = ArrayVec<Packet, { fragment::MAX_FRAGMENTS }>;

fn append(batch: &mut Batch, further: Further, means: &mut Means<'_>) {
    means.stats.count(Counter::Encrypted);
    for packet in further {
        means.stats.count(Counter::Generated);
        if let Err(packet) = batch.packets.push(packet) {
            means.pool.free(packet.frame); // not reached: room was counted
        }
    }
}

fn protect_one(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    cold: &mut Option<OutboundSa>,
    key: &Key,
    means: &mut Means<'_>,
) -> Result<(), Drop> {
    route::age(packet)?;
    let sa = cold.as_ref().ok_or(Drop::NoOutboundSa)?;
    let (mode, kind) = (sa.mode, sa.suite.protocol());
    if mode == Mode::Transport {
        //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.4
        //# transport mode ESP is applied only to whole IP datagrams (not to IP
        //# fragments)
        if packet.meta.ip.fragment {
            return Err(Drop::Fragment);
        }
        // Of IPv6 the source may cut it, whose gateway this is. Told of a smaller size instead, the host would cut its
        // datagrams itself, before they are protected.
        let uncut = packet.meta.ip.df && !packet.meta.ip.v6;
        if uncut && packet.meta.ip.total_len > packet.meta.limit {
            return Err(Drop::TooBig);
        }
    }
    match (kind, mode) {
        (Protocol::Esp, Mode::Tunnel) => esp_tunnel(packet, hot, cold, key, means),
        (Protocol::Esp, Mode::Transport) => esp_transport(packet, hot, cold, key, means),
        (Protocol::Ah, Mode::Transport) => ah_transport(packet, hot, cold, key, means),
        (Protocol::Ah, Mode::Tunnel) => ah_tunnel(packet, hot, cold, key, means),
    }
}

fn esp_transport(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    cold: &mut Option<OutboundSa>,
    key: &Key,
    means: &mut Means<'_>,
) -> Result<(), Drop> {
    let (mut front, next_header) = Front::take(packet)?;
    let payload_len = packet.frame.len();
    sequence::number(packet, hot, cold, means.events, means.now)?;
    seal(packet, hot, key, (next_header, payload_len), means.engine)?;
    put_udp(packet, cold.as_ref().and_then(OutboundSa::ports))?;
    front.put(packet, if hot.udp { protocol::UDP } else { protocol::ESP })
}

/// As `encrypt` and `encap` do it, for packets that are cut afterwards.
fn esp_tunnel(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    cold: &mut Option<OutboundSa>,
    key: &Key,
    means: &mut Means<'_>,
) -> Result<(), Drop> {
    let payload_len = packet.frame.len();
    let flow_label = encap6::flow_label(packet, 0);
    sequence::number(packet, hot, cold, means.events, means.now)?;
    let source = hot.multipath.then(|| multipath::source_port(packet, hot.payload_offset.into()));
    let inner = if packet.meta.ip.v6 { protocol::IPV6 } else { protocol::IPV4 };
    seal(packet, hot, key, (inner, payload_len), means.engine)?;
    let sa = cold.as_ref().ok_or(Drop::NoOutboundSa)?;
    put_udp(packet, sa.ports().map(|(src, dst)| (source.unwrap_or(src), dst)))?;
    let link = means.tables.port(hot.outer.port).ok_or(Drop::PortDown)?;
    let mut front = Front::outer(packet, hot, sa, sa.largest(link.mtu), flow_label)?;
    front.put(packet, if hot.udp { protocol::UDP } else { protocol::ESP })
}

/// What was numbered, in its place.
fn seal(
    packet: &mut Packet,
    hot: &OutboundHot,
    key: &Key,
    (next_header, payload_len): (u8, usize),
    engine: &Engine,
) -> Result<(), Drop> {
    let job = SealJob {
        key,
        spi: hot.spi,
        seq: packet.meta.seq,
        esn: hot.esn,
        next_header,
        payload_len,
        packet: packet.frame.data_mut(),
    };
    if engine.seal(&mut [job]) > 0 { Err(Drop::NoOutboundSa) } else { Ok(()) }
}

/// Of an SA in UDP.
fn put_udp(packet: &mut Packet, ports: Option<(u16, u16)>) -> Result<(), Drop> {
    let Some((src, dst)) = ports else { return Ok(()) };
    let len = u16::try_from(udp::HEADER + packet.frame.len()).map_err(|_| Drop::FrameTooSmall)?;
    put(packet, &UdpHeader { src, dst, len, checksum: 0 }.to_bytes())
}

/// The packet may be one that another SA has just made.
pub(super) fn ah_transport(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    cold: &mut Option<OutboundSa>,
    key: &Key,
    means: &mut Means<'_>,
) -> Result<(), Drop> {
    let (mut front, next_header) = Front::take(packet)?;
    sequence::take(packet, hot, || cold.as_mut(), means.events, means.now)?;
    put_ah(packet, hot, key, next_header, front.is_v6())?;
    front.put(packet, protocol::AH)?;
    authenticate(packet, &front, hot, key, means.engine)
}

fn ah_tunnel(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    cold: &mut Option<OutboundSa>,
    key: &Key,
    means: &mut Means<'_>,
) -> Result<(), Drop> {
    let flow_label = encap6::flow_label(packet, 0);
    sequence::take(packet, hot, || cold.as_mut(), means.events, means.now)?;
    let inner = if packet.meta.ip.v6 { protocol::IPV6 } else { protocol::IPV4 };
    put_ah(packet, hot, key, inner, hot.v6)?;
    let sa = cold.as_ref().ok_or(Drop::NoOutboundSa)?;
    let link = means.tables.port(hot.outer.port).ok_or(Drop::PortDown)?;
    let mut front = Front::outer(packet, hot, sa, sa.largest(link.mtu), flow_label)?;
    front.put(packet, protocol::AH)?;
    authenticate(packet, &front, hot, key, means.engine)
}

/// AH with an ICV, and its padding, of zeros.
fn put_ah(packet: &mut Packet, hot: &OutboundHot, key: &Key, next_header: u8, v6: bool) -> Result<(), Drop> {
    let icv_len = ah::icv_field(key.suite().ah_icv_len(), v6);
    #[allow(clippy::cast_possible_truncation)] // the low half goes on the wire
    let header = AhHeader { next_header, icv_len, spi: hot.spi, seq: packet.meta.seq as u32 };
    let header = header.to_bytes().ok_or(Drop::NoOutboundSa)?;
    if !packet.frame.push_front(icv_len) {
        return Err(Drop::FrameTooSmall);
    }
    packet.frame.data_mut().get_mut(..icv_len).ok_or(Drop::FrameTooSmall)?.fill(0);
    put(packet, &header)
}

/// The ICV over the packet as it is (RFC 4302 §3.3.3), `front` before AH.
fn authenticate(
    packet: &mut Packet,
    front: &Front,
    hot: &OutboundHot,
    key: &Key,
    engine: &Engine,
) -> Result<(), Drop> {
    let number = (packet.meta.seq, hot.esn);
    let bytes = packet.frame.data_mut();
    front.freeze(bytes)?;
    let mut icv = [0; 64];
    let icv = icv.get_mut(..key.suite().ah_icv_len()).ok_or(Drop::NoOutboundSa)?;
    if !engine.authenticate(key, bytes, number, icv) {
        return Err(Drop::NoOutboundSa);
    }
    let at = front.len() + ah::HEADER;
    bytes.get_mut(at..at + icv.len()).ok_or(Drop::Malformed)?.copy_from_slice(icv);
    front.restore(bytes)
}

/// The header that the packet has now.
pub(super) fn read_again(packet: &mut Packet, v6: bool) -> Result<(), Drop> {
    packet.meta.ip = if v6 {
        let ip = Ipv6::parse(packet.frame.data()).map_err(|_| Drop::Malformed)?;
        crate::classify::v6::fields(&ip)?
    } else {
        let ip = Ipv4::parse(packet.frame.data()).map_err(|_| Drop::Malformed)?;
        crate::classify::fields(&ip)
    };
    Ok(())
}

/// Out of the SA's port, in as many fragments as it takes.
fn leave(
    packet: &mut Packet,
    hot: &OutboundHot,
    cold: &Option<OutboundSa>,
    room: usize,
    means: &mut Means<'_>,
) -> Result<Further, Drop> {
    let sa = cold.as_ref().ok_or(Drop::NoOutboundSa)?;
    let link = means.tables.port(hot.outer.port).ok_or(Drop::PortDown)?;
    read_again(packet, hot.v6)?;
    packet.meta.limit = sa.largest(link.mtu);
    let mut further = match (packet.meta.ip.total_len > packet.meta.limit, hot.v6) {
        (false, _) => Further::new(),
        (true, false) => fragment::cut(packet, room, means.pool)?,
        // As distinct as SPI and number are.
        #[allow(clippy::cast_possible_truncation)] // the low half
        (true, true) => {
            fragment6::cut(packet, room, means.pool, hot.spi.wrapping_add(packet.meta.seq as u32))?
        }
    };
    for part in further.iter_mut().chain([packet]) {
        // Headroom is there: a frame of the pool, or the packet's own Ethernet header.
        if let Err(why) = put(part, &hot.outer.template[..ethernet::HEADER]) {
            part.drop(why);
            continue;
        }
        part.verdict = Verdict::Forward { port: hot.outer.port };
    }
    Ok(further)
}
