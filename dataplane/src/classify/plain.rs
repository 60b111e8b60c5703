//! What nearly every packet is: untagged IPv4 for the port's own address, clear or plain ESP, told in one piece of code
//! without a call.
//!
//! Decides: as its parent. Reads: Ethernet and IP headers. Writes: `Meta`, the frame's ends, the lists.
//! Never: says what another packet is, or why it is not lawful: its parent does, from the beginning.

use super::lawful::ordinary;
use super::{Classes, common};
use crate::flow::Flows;
use crate::packet::{Origin, Packet};
use crate::sa::SaDb;
use crate::tables::Tables;
use ravelin_ring::msg::PortId;
use ravelin_wire::{ethernet, ipv4, protocol};

/// What holds for the port of the packets before.
#[derive(Debug, Default)]
pub(super) struct Here {
    port: Option<PortId>,
    /// Its link address, as the first bytes of a frame are read.
    mac: u64,
}

/// Bytes before the payload of what is read: link and network header.
const HEADERS: usize = ethernet::HEADER + ipv4::HEADER;
/// IPv4, as its bytes are read.
const IPV4: u16 = ethernet::IPV4.swap_bytes();

/// True: the packet is in its list. False, and nothing is changed that counts: it is another packet.
#[inline(always)]
pub(super) fn sort(
    at: u16,
    packet: &mut Packet,
    here: &mut Here,
    tables: &Tables,
    classes: &mut Classes,
    db: &SaDb,
    flows: &Flows,
) -> bool {
    let Origin::Port(port) = packet.origin else { return false };
    if here.port != Some(port) && !here.turn(port, tables) {
        return false;
    }
    let bytes = packet.frame.data();
    ravelin_xsk::prefetch_ahead(bytes, 64);
    let Some((link, network)) = bytes.split_first_chunk::<{ ethernet::HEADER }>() else { return false };
    let to = link.first_chunk().map_or(0, |to| u64::from_le_bytes(*to));
    let kind = u16::from_le_bytes([link[12], link[13]]);
    // The upper two bytes are of the next address.
    if to << 16 != here.mac << 16 || kind != IPV4 {
        return false;
    }
    let ip = &mut packet.meta.ip;
    let Some(total_len) = common(network, ip) else { return false };
    if !ordinary(ip) {
        return false;
    }
    // Of what ends here, ESP is plain; AH is no common packet.
    if ip.protocol != protocol::TCP && tables.is_gateway(ip.dst) {
        return ip.protocol == protocol::ESP && esp(at, packet, total_len, classes, db);
    }
    if !packet.frame.narrow(LINK, total_len) {
        return false;
    }
    classes.clear.push(at);
    flows.note_common(at, packet, port, &mut classes.keys);
    true
}

#[allow(clippy::cast_possible_truncation)] // 14
const LINK: u16 = ethernet::HEADER as u16;

/// As [`super::esp`] has it, but the packet is cut to the SPI at once.
#[inline(always)]
fn esp(at: u16, packet: &mut Packet, total_len: u16, classes: &mut Classes, db: &SaDb) -> bool {
    #[allow(clippy::cast_possible_truncation)] // 34 and 20
    const CUT: (u16, u16) = (HEADERS as u16, ipv4::HEADER as u16);
    let word = packet.frame.data().get(HEADERS..).and_then(|esp| esp.first_chunk());
    let (Some(spi), Some(len)) = (word, total_len.checked_sub(CUT.1)) else { return false };
    let spi = u32::from_be_bytes(*spi);
    if !packet.frame.narrow(CUT.0, len) {
        return false;
    }
    let meta = &mut packet.meta;
    (meta.spi, meta.from, meta.udp, meta.skip) = (spi, (meta.ip.src, 0), false, CUT.1);
    meta.outer_tos = meta.ip.tos;
    db.touch_spi(spi);
    classes.esp.push(at);
    true
}

impl Here {
    #[inline(never)]
    fn turn(&mut self, port: PortId, tables: &Tables) -> bool {
        let Some(link) = tables.port(port) else { return false };
        let [a, b, c, d, e, f] = link.mac.0;
        (self.port, self.mac) = (Some(port), u64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
        true
    }
}
