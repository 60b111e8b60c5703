//! Checksums of TCP and UDP in transport mode behind a NAT (RFC 3948 §3.1.2, RFC 7296 §2.23.1).
//!
//! Decides: nothing. Reads: a restored packet, whose header has the addresses that the NAT wrote. Writes: the checksum, which
//! its sender computed over others. Never: runs for SAs that are not in UDP; changes a packet that was not authentic,
//! which is why what is computed afresh hides no damage; gives a checksum to UDP over IPv4 that had none.

use crate::packet::Packet;
use ravelin_wire::checksum::Sum;
use ravelin_wire::ipv6::Ipv6;
use ravelin_wire::{Bytes, protocol, udp};

pub(super) fn renew(packet: &mut Packet) {
    let ip = packet.meta.ip;
    // Of a fragment there is not all that the checksum is over.
    let _ = (!ip.fragment).then(|| fill(packet));
}

/// `None`: nothing that has such a checksum, or too short for it.
fn fill(packet: &mut Packet) -> Option<()> {
    let ip = packet.meta.ip;
    let field = match ip.protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        protocol::ICMPV6 if ip.v6 => 2,
        _ => return None,
    };
    let (from, to, at) = if ip.v6 {
        (8, 40, Ipv6::parse(packet.frame.data()).ok()?.chain().end?.1)
    } else {
        (12, 20, usize::from(ip.header_len))
    };
    let (header, upper) = packet.frame.data_mut().split_at_mut_checked(at)?;
    let mut len = upper.len();
    if ip.protocol == protocol::UDP {
        // What follows the datagram is not part of it.
        len = usize::from(upper.be16(4)?).clamp(udp::HEADER, len.max(udp::HEADER));
        if upper.be16(field)? == 0 && !ip.v6 {
            return None;
        }
    }
    let upper = upper.get_mut(..len)?;
    upper.get_mut(field..field + 2)?.fill(0);
    let sum = Sum::new()
        .bytes(header.get(from..to)?)
        .bytes(&u32::try_from(len).ok()?.to_be_bytes())
        .word(ip.protocol.into())
        .bytes(upper);
    let sum = match sum.finish() {
        0 if ip.protocol == protocol::UDP => u16::MAX,
        sum => sum,
    };
    upper.get_mut(field..field + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}
