//! What came: clear IP, or ESP for this gateway.
//!
//! Decides: ESP (plain or in UDP) or AH, to a gateway address, from a port; or clear; whether the header is lawful.
//! Reads: Ethernet and IP headers, the gateway's addresses. Writes: `Meta`, and strips everything before the IP header
//! (clear) or before the SPI (ESP) and everything after the IP packet. Never: looks up SAs, policies or routes; it only
//! asks the memory for the place where an SPI or a flow stands.
//!
//! What nearly every packet is, is told in one piece of code ([`plain`]); everything else is put out of its way.

mod common;
mod lawful;
mod ours;
mod plain;
pub(crate) mod v6;

pub(crate) use common::{Head, common, read as glance};
pub(crate) use lawful::{lawful, plainly};

use crate::batch::{Batch, Places};
use crate::flow::{Flows, Keys};
use crate::packet::{Door, Ip, Origin, Packet};
use crate::passive;
use crate::sa::SaDb;
use crate::tables::Tables;
use crate::verdict::Verdict;
use arrayvec::ArrayVec;
use ours::{ah, datagram, first_part};
use ravelin_ring::counters::Drop;
use ravelin_wire::ethernet::{self, Link, Tag};
use ravelin_wire::ipv4::{self, Ipv4};
use ravelin_wire::{Bytes, Malformed, protocol};

/// Where the packets of a batch go on.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    pub(crate) esp: Places,
    pub(crate) ah: Places,
    /// Of ESP, AH or GRE.
    pub(crate) fragments: Places,
    pub(crate) clear: Places,
    /// What the clear packets' flows are known by.
    pub(crate) keys: Keys,
}

impl Classes {
    pub(crate) fn clear(&mut self) {
        let Self { esp, ah, fragments, clear, keys: _ } = self;
        [esp, ah, fragments, clear].into_iter().for_each(ArrayVec::clear);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Clear,
    /// What lies before the SPI.
    Esp {
        skip: usize,
    },
    /// AH, header and all.
    Ah,
    /// A part of ESP or AH, in UDP or not, or of GRE, which is joined first.
    Fragment,
    /// IKE and what belongs to it: the kernel's, as if XDP had left it there.
    Kernel,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    V4,
    V6,
}

pub(crate) fn run(batch: &mut Batch, tables: &Tables, classes: &mut Classes, db: &SaDb, flows: &Flows) {
    classes.clear();
    let mut here = plain::Here::new(tables);
    let mut at = 0;
    loop {
        at += plain::run(&mut batch.packets, at, &here, tables, classes, db, flows);
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { return };
        if here.turn(packet, tables) {
            continue;
        }
        let class = link(packet, tables).and_then(|family| match family {
            Family::V4 => match network(packet) {
                Ok(()) => transport(packet, tables),
                Err(why) => unlawful(packet, false, why, db),
            },
            Family::V6 => family_v6(packet, tables, db),
        });
        sort(class, at, packet, classes, db, flows);
        at += 1;
    }
}

/// What was joined from fragments takes its place among the others.
#[cold]
pub(crate) fn again(
    batch: &mut Batch,
    at: u16,
    tables: &Tables,
    classes: &mut Classes,
    db: &SaDb,
    flows: &Flows,
) {
    let Some(packet) = batch.packets.get_mut(usize::from(at)).filter(|p| p.pending()) else { return };
    let class = match packet.meta.ip.v6 {
        false => network(packet).and_then(|()| transport(packet, tables)),
        true => v6::network(packet).and_then(|()| v6::transport(packet, tables)),
    };
    // What was just joined is no part of anything: it would wait in a list that nobody looks into any more.
    let class =
        class.and_then(|class| if class == Class::Fragment { Err(Drop::BadExtension) } else { Ok(class) });
    sort(class, at, packet, classes, db, flows);
    in_order(classes);
}

/// What turned out to be none of IPsec's is clear, with its flow.
#[cold]
pub(crate) fn leave(batch: &mut Batch, at: u16, classes: &mut Classes, db: &SaDb, flows: &Flows) {
    let Some(packet) = batch.packets.get_mut(usize::from(at)) else { return };
    sort(Ok(Class::Clear), at, packet, classes, db, flows);
    in_order(classes);
}

fn in_order(classes: &mut Classes) {
    classes.esp.sort_unstable();
    classes.ah.sort_unstable();
    classes.clear.sort_unstable();
}

#[inline(never)]
fn family_v6(packet: &mut Packet, tables: &Tables, db: &SaDb) -> Result<Class, Drop> {
    match v6::network(packet) {
        Ok(()) => v6::transport(packet, tables),
        Err(why) => unlawful(packet, true, why, db),
    }
}

/// Clear all the same where a passive tunnel may have it.
#[cold]
fn unlawful(packet: &mut Packet, v6: bool, why: Drop, db: &SaDb) -> Result<Class, Drop> {
    if passive::take(packet, v6, db) { Ok(Class::Clear) } else { Err(why) }
}

#[inline(never)]
fn sort(
    class: Result<Class, Drop>,
    at: u16,
    packet: &mut Packet,
    classes: &mut Classes,
    db: &SaDb,
    flows: &Flows,
) {
    match class {
        // No list can be full: each holds what a batch holds.
        Ok(Class::Clear) => {
            flows.note(at, packet, &mut classes.keys);
            classes.clear.push(at);
        }
        Ok(Class::Esp { skip }) => match packet.frame.pull_front(skip) {
            true => {
                db.touch_spi(packet.meta.spi);
                classes.esp.push(at);
            }
            false => packet.drop(Drop::Malformed),
        },
        Ok(Class::Ah) => classes.ah.push(at),
        Ok(Class::Fragment) => classes.fragments.push(at),
        Ok(Class::Kernel) => packet.verdict = Verdict::Punt,
        Err(why) => packet.drop(why),
    }
}

/// What came out of SAs joins what came clear; the list rises. What came out of AH's has no key yet. `whole`: nothing of ESP
/// got lost.
pub(crate) fn join(batch: &mut Batch, classes: &mut Classes, flows: &Flows, whole: bool) {
    let Classes { esp, ah, clear, keys, .. } = classes;
    if esp.is_empty() && ah.is_empty() {
        return;
    }
    for &at in &*ah {
        if let Some(packet) = batch.packets.get_mut(usize::from(at)).filter(|p| p.meta.opened) {
            flows.note(at, packet, keys);
        }
    }
    // Most batches are all of one kind.
    let alone = clear.is_empty() && ah.is_empty();
    clear.clear();
    if alone && whole && clear.try_extend_from_slice(esp).is_ok() {
        return;
    }
    if alone {
        let pending = |at: &u16| batch.packets.get(usize::from(*at)).is_some_and(Packet::pending);
        clear.extend(esp.iter().copied().filter(pending));
        return;
    }
    for (at, packet) in (0u16..).zip(batch.packets.iter()) {
        if packet.pending() {
            clear.push(at);
        }
    }
}

/// Strips Ethernet and remembers the tag; what comes from TUN or from another worker has none.
#[inline]
fn link(packet: &mut Packet, tables: &Tables) -> Result<Family, Drop> {
    let Origin::Port(port) = packet.origin else {
        // What another worker had of a VRF is not the main one's, though the VRF be gone.
        if let Door::Vrf(vrf) = packet.door {
            packet.meta.vrf = vrf;
        }
        let v6 = packet.frame.data().first().is_some_and(|b| b >> 4 == 6);
        return Ok(if v6 { Family::V6 } else { Family::V4 });
    };
    let bytes = packet.frame.data();
    let header = bytes.first_chunk::<{ ethernet::HEADER }>().ok_or(Drop::Malformed)?;
    if let Some(second_line) = bytes.get(64) {
        ravelin_xsk::prefetch(second_line);
    }
    let (mut payload, mut family) = (ethernet::HEADER, Family::V4);
    if [header[12], header[13]] != ethernet::IPV4.to_be_bytes() {
        (packet.meta.tag, payload, family) = tagged(bytes)?;
    }
    let [to @ .., _, _, _, _, _, _, _, _] = *header;
    if tables.port(port).is_none_or(|link| link.mac.0 != to) {
        stranger(to)?;
    }
    if packet.frame.pull_front(payload) { Ok(family) } else { Err(Drop::Malformed) }
}

/// Not IPv4 right behind the addresses.
#[inline(never)]
fn tagged(bytes: &[u8]) -> Result<(Option<Tag>, usize, Family), Drop> {
    let link = Link::parse(bytes).ok_or(Drop::Malformed)?;
    let family = match link.ethertype {
        ethernet::IPV4 => Family::V4,
        ethernet::IPV6 => Family::V6,
        _ => return Err(Drop::Malformed),
    };
    Ok((link.tags[0], link.payload, family))
}

/// A frame that was not sent to the port's own address.
#[cold]
fn stranger(to: [u8; 6]) -> Result<(), Drop> {
    match to {
        // What was sent to everybody is for no router to send on (RFC 1122 §3.3.6, RFC 1812 §5.3.4): each one would.
        [first, ..] if first & 1 != 0 => Err(Drop::BadAddress),
        // Virtual routers (RFC 9568 §7.3): whether this one is the master, the address of its device says, not ours.
        [0, 0, 0x5e, 0, 1 | 2, _] => Ok(()),
        _ => Err(Drop::OtherStation),
    }
}

#[inline]
fn network(packet: &mut Packet) -> Result<(), Drop> {
    let total_len = match common(packet.frame.data(), &mut packet.meta.ip) {
        Some(len) => len,
        None => uncommon(packet)?,
    };
    lawful(&packet.meta.ip, packet.door)?;
    packet.frame.truncate(total_len.into());
    Ok(())
}

#[inline(never)]
fn uncommon(packet: &mut Packet) -> Result<u16, Drop> {
    packet.meta.ip = read(packet.frame.data())?;
    Ok(packet.meta.ip.total_len)
}

/// What decisions need of a lawful header.
pub(crate) fn judge(bytes: &[u8], door: Door) -> Result<Ip, Drop> {
    let fields = read(bytes)?;
    lawful(&fields, door).map(|()| fields)
}

/// RFC 1812 §5.2.2: each check has a reason of its own (R91).
fn read(bytes: &[u8]) -> Result<Ip, Drop> {
    let ip = Ipv4::parse(bytes).map_err(|flaw| match flaw {
        Malformed::Version => Drop::BadIpVersion,
        Malformed::HeaderLength => Drop::BadIpHeaderLength,
        Malformed::Length => Drop::BadIpLength,
        Malformed::Truncated => Drop::Malformed,
    })?;
    if !ip.checksum_holds() {
        return Err(Drop::BadIpChecksum);
    }
    if ip.header_len() != ipv4::HEADER {
        options(ip.options())?;
    }
    Ok(fields(&ip))
}

/// Each option within the header (RFC 791 §3.1), and none that leads the packet elsewhere (R91).
#[cold]
fn options(mut list: &[u8]) -> Result<(), Drop> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let Some((&kind, rest)) = list.split_first() {
        list = match kind {
            END => return Ok(()),
            NOP => rest,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Drop::SourceRoute),
            _ => {
                let len = rest.first().copied().filter(|len| *len >= 2).ok_or(Drop::BadOption)?;
                list.get(usize::from(len)..).ok_or(Drop::BadOption)?
            }
        };
    }
    Ok(())
}

/// Copies what decisions need.
#[inline]
pub(crate) fn fields(ip: &Ipv4<'_>) -> Ip {
    let (ports, portless) = ports(ip);
    Ip {
        src: ip.src().to_bits(),
        dst: ip.dst().to_bits(),
        ports,
        total_len: u16::try_from(ip.total_len()).unwrap_or(u16::MAX),
        protocol: ip.protocol(),
        header_len: u8::try_from(ip.header_len()).unwrap_or(u8::MAX),
        tos: ip.tos(),
        ttl: ip.ttl(),
        df: ip.df(),
        fragment: ip.is_fragment(),
        portless,
        v6: false,
    }
}

#[inline]
const fn has_ports(protocol: u8) -> bool {
    const DCCP: u8 = 33;
    const UDP_LITE: u8 = 136;
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP | DCCP | UDP_LITE)
}

/// RFC 4301 §4.4.1.1: ports of TCP, UDP, SCTP, DCCP and UDP-Lite; type and code of ICMP. Other protocols have none,
/// which selectors with ports do not match; a fragment hides them.
#[inline]
fn ports(ip: &Ipv4<'_>) -> ((u16, u16), bool) {
    let hidden = ((0, 0), true);
    match ip.protocol() {
        protocol if has_ports(protocol) => {
            if ip.fragment_offset() != 0 {
                return hidden;
            }
            let words = ip.payload().be16(0).zip(ip.payload().be16(2));
            words.map_or(hidden, |ports| (ports, false))
        }
        protocol::ICMP => match ip.payload().be16(0) {
            Some(word) if ip.fragment_offset() == 0 => ((word, word), false),
            _ => hidden,
        },
        _ => ((0, 0), false),
    }
}

/// ESP and ESP in UDP for a gateway address end here; everything else is clear.
#[inline]
fn transport(packet: &mut Packet, tables: &Tables) -> Result<Class, Drop> {
    let ip = &packet.meta.ip;
    let candidate = matches!(ip.protocol, protocol::ESP | protocol::UDP | protocol::AH | protocol::GRE);
    if !candidate || !matches!(packet.door, Door::Port(_)) || !tables.is_gateway(ip.dst) {
        return Ok(Class::Clear);
    }
    match ip.protocol {
        protocol::ESP | protocol::AH if ip.fragment => Ok(Class::Fragment),
        protocol::ESP => esp(packet, ip.header_len.into(), 0, false),
        protocol::AH => ah(packet, ip.header_len.into()),
        protocol::GRE if ip.fragment && !tables.gre.is_empty() => Ok(Class::Fragment),
        protocol::GRE => Ok(Class::Clear),
        _ => datagram(packet, tables),
    }
}

#[inline]
fn esp(packet: &mut Packet, skip: usize, port: u16, udp: bool) -> Result<Class, Drop> {
    let spi = packet.frame.data().be32(skip).ok_or(Drop::BadEsp)?;
    let meta = &mut packet.meta;
    meta.spi = spi;
    meta.from = (meta.ip.src, port);
    meta.udp = udp;
    meta.skip = u16::try_from(skip).unwrap_or(u16::MAX);
    meta.outer_tos = meta.ip.tos;
    Ok(Class::Esp { skip })
}
