//! What nearly every packet is: untagged IPv4 for the port's own address, clear or ESP, told in one piece of code
//! without a call.
//!
//! Decides: as its parent. Reads: Ethernet and IP headers. Writes: `Meta`, the frame's ends, the lists.
//! Never: says what another packet is, or why it is not lawful: its parent does, from the beginning.

use super::common::{Head, READ, read};
use super::{Classes, lawful};
use crate::batch::add;
use crate::flow::Flows;
use crate::packet::{Origin, Packet};
use crate::sa::SaDb;
use crate::tables::Tables;
use ravelin_wire::{Bytes, ethernet, ipv4, protocol, udp};

/// What holds for a whole batch, and for the port of the packets before.
#[derive(Debug)]
pub(super) struct Here {
    /// [`NO_PORT`] before the first packet.
    port: u32,
    /// Its link address, as the first bytes of a frame are read, at the upper end.
    mac: u64,
    /// The gateway's address, where it has one alone.
    only: Option<u32>,
}

const NO_PORT: u32 = u32::MAX;

/// Bytes before the payload of what is read: link and network header.
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER;
/// IPv4, as its bytes are read.
const IPV4: u16 = ethernet::IPV4.swap_bytes();

/// Sorts the packets from `first` on, up to one that is not plain or came by another port; returns how many. Without a call
/// in its loop, so that nothing of it has to be kept out of registers.
#[inline(never)]
pub(super) fn run(
    packets: &mut [Packet],
    first: u16,
    here: &Here,
    tables: &Tables,
    classes: &mut Classes,
    db: &SaDb,
    flows: &Flows,
) -> u16 {
    let mut at = first;
    for packet in packets.get_mut(first.into()..).unwrap_or_default() {
        if !sort(at, packet, here, tables, classes, db, flows) {
            break;
        }
        at += 1;
    }
    at - first
}

/// True: the packet is in its list. False, and nothing is changed that counts: it is another packet.
#[inline(always)]
fn sort(
    at: u16,
    packet: &mut Packet,
    here: &Here,
    tables: &Tables,
    classes: &mut Classes,
    db: &SaDb,
    flows: &Flows,
) -> bool {
    let Origin::Port(port) = packet.origin else { return false };
    if here.port != u32::from(port.0) {
        return false;
    }
    let bytes = packet.frame.data();
    ravelin_xsk::prefetch_ahead(bytes, 64);
    let Some(front) = bytes.first_chunk::<{ ethernet::HEADER + READ }>() else { return false };
    let to = front.first_chunk().map_or(0, |to| u64::from_le_bytes(*to));
    // The upper two bytes are of the next address.
    if to << 16 != here.mac || u16::from_le_bytes([front[12], front[13]]) != IPV4 {
        return false;
    }
    let Some(network) = front.last_chunk() else { return false };
    let Some(head) = read(network, bytes.len() - ethernet::HEADER) else { return false };
    if !lawful::plainly(&head) {
        return false;
    }
    // Of what ends here, ESP is plain; AH is no common packet.
    if head.protocol != protocol::TCP && here.is_gateway(head.dst(), tables) {
        return ours(at, packet, &head, tables, classes, db);
    }
    if !packet.frame.narrow(LINK, head.total_len) {
        return false;
    }
    head.write(&mut packet.meta.ip);
    add(&mut classes.clear, at);
    flows.note_common(at, packet, &head, port, &mut classes.keys);
    true
}

#[allow(clippy::cast_possible_truncation)] // 14
const LINK: u16 = ethernet::HEADER as u16;
#[allow(clippy::cast_possible_truncation)] // 20
const PLAIN: u16 = ipv4::HEADER as u16;
#[allow(clippy::cast_possible_truncation)] // 28
const IN_UDP: u16 = (ipv4::HEADER + udp::HEADER) as u16;

#[inline(always)]
fn ours(
    at: u16,
    packet: &mut Packet,
    head: &Head,
    tables: &Tables,
    classes: &mut Classes,
    db: &SaDb,
) -> bool {
    if head.protocol == protocol::ESP {
        return esp(at, packet, head, (PLAIN, 0), classes, db);
    }
    match datagram(packet, head, tables) {
        Some(port) => esp(at, packet, head, (IN_UDP, port), classes, db),
        None => false,
    }
}

/// The port that ESP in UDP comes from, where the datagram is all of the packet.
#[inline]
fn datagram(packet: &Packet, head: &Head, tables: &Tables) -> Option<u16> {
    let bytes = packet.frame.data().get(HEADERS..)?;
    let (from, to, len) = (bytes.be16(0)?, bytes.be16(2)?, bytes.be16(4)?);
    let whole = len.checked_add(PLAIN) == Some(head.total_len);
    let esp = bytes.array(udp::HEADER)? != udp::NON_ESP_MARKER && usize::from(len) >= udp::HEADER + 4;
    (whole && esp && to != udp::IKE_PORT && tables.is_natt_port(to)).then_some(from)
}

/// As [`super::esp`] has it, but the packet is cut to the SPI at once. Of the outer header nobody asks for more.
#[inline(always)]
fn esp(
    at: u16,
    packet: &mut Packet,
    head: &Head,
    (skip, port): (u16, u16),
    classes: &mut Classes,
    db: &SaDb,
) -> bool {
    let cut = LINK + skip;
    let word = packet.frame.data().get(usize::from(cut)..).and_then(|esp| esp.first_chunk());
    let (Some(spi), Some(len)) = (word, head.total_len.checked_sub(skip)) else { return false };
    let spi = u32::from_be_bytes(*spi);
    if !packet.frame.narrow(cut, len) {
        return false;
    }
    let meta = &mut packet.meta;
    (meta.spi, meta.from, meta.udp, meta.skip) = (spi, (head.src(), port), skip == IN_UDP, skip);
    (meta.outer_tos, meta.ip.v6) = (head.tos(), false);
    db.touch_spi(spi);
    add(&mut classes.esp, at);
    true
}

impl Here {
    pub(super) fn new(tables: &Tables) -> Self {
        Self { port: NO_PORT, mac: 0, only: tables.only_gateway() }
    }

    #[inline(always)]
    fn is_gateway(&self, addr: u32, tables: &Tables) -> bool {
        match self.only {
            Some(only) => only == addr,
            None => tables.is_gateway(addr),
        }
    }

    /// True: the packet came by another port than those before, and now it may be plain.
    pub(super) fn turn(&mut self, packet: &Packet, tables: &Tables) -> bool {
        let Origin::Port(port) = packet.origin else { return false };
        let Some(link) = tables.port(port).filter(|_| self.port != u32::from(port.0)) else { return false };
        let [a, b, c, d, e, f] = link.mac.0;
        (self.port, self.mac) = (port.0.into(), u64::from_le_bytes([0, 0, a, b, c, d, e, f]));
        true
    }
}
