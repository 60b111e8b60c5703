//! What comes to a gateway address and is not plain ESP.
//!
//! Decides: AH, ESP in UDP, parts of either, or what is the kernel's. Reads: IP and UDP headers, the ports that ESP comes to.
//! Writes: `Meta`, and strips what follows the datagram. Never: takes IKE from the kernel.

use super::{Class, esp};
use crate::packet::Packet;
use crate::tables::Tables;
use ravelin_ring::counters::Drop;
use ravelin_wire::Bytes;
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::udp::{self, Natt, Udp};

/// `at`: where AH begins.
#[cold]
pub(super) fn ah(packet: &mut Packet, at: usize) -> Result<Class, Drop> {
    let meta = &mut packet.meta;
    meta.spi = packet.frame.data().be32(at + 4).ok_or(Drop::BadEsp)?;
    (meta.from, meta.udp, meta.skip, meta.outer_tos) = ((meta.ip.src, 0), false, 0, meta.ip.tos);
    Ok(Class::Ah)
}

/// UDP for a gateway address.
#[inline(never)]
pub(super) fn datagram(packet: &mut Packet, tables: &Tables) -> Result<Class, Drop> {
    let ip = &packet.meta.ip;
    let parsed = Ipv4::parse(packet.frame.data()).map_err(|_| Drop::Malformed)?;
    match ip.ports.1 {
        // Whose it is the first fragment says, where that is under way.
        _ if parsed.fragment_offset() != 0 => return Ok(Class::Fragment),
        _ if ip.portless => return Ok(Class::Clear),
        udp::IKE_PORT => return Ok(Class::Kernel),
        port if !tables.is_natt_port(port) => return Ok(Class::Clear),
        _ => {}
    }
    if parsed.is_fragment() {
        return Ok(first_part(parsed.payload()));
    }
    let datagram = Udp::parse(parsed.payload()).map_err(|_| Drop::Malformed)?;
    let header = parsed.header_len();
    let end = header + datagram.len();
    match Natt::of(datagram.payload()) {
        Natt::Esp(_) => {
            let port = ip.ports.0;
            packet.frame.truncate(end);
            esp(packet, header + udp::HEADER, port, true)
        }
        Natt::Ike(_) | Natt::Keepalive | Natt::Runt => Ok(Class::Kernel),
    }
}

/// A large IKE message comes in fragments too, and is the kernel's to put together.
#[cold]
pub(super) fn first_part(payload: &[u8]) -> Class {
    match payload.array::<4>(udp::HEADER) {
        None | Some(udp::NON_ESP_MARKER) => Class::Kernel,
        Some(_) => Class::Fragment,
    }
}
