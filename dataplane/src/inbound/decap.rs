//! From the opened ESP packet to the IP packet in it.
//!
//! Decides: whether the inner packet is what its next header says. Reads: next header, inner header, the outer TOS.
//! Writes: cuts the frame to the inner packet, `Meta::ip`, the inner ECN bits. Never: judges addresses by policy.

use super::decap6;
use crate::classify::{self, Head};
use crate::interface;
use crate::packet::{Door, Packet};
use crate::passive;
use crate::sa::InboundSa;
use crate::tables::Tables;
use ravelin_crypto::Opened;
use ravelin_ring::counters::Drop;
use ravelin_wire::ipv4::{Ipv4, Ipv4Mut};
use ravelin_wire::protocol;

pub(crate) fn uncover(packet: &mut Packet, opened: Opened) -> Result<(), Drop> {
    let v6 = match opened.next_header {
        protocol::IPV4 => false,
        protocol::IPV6 => true,
        protocol::NO_NEXT => return Err(Drop::Dummy),
        // A transport-mode payload in a tunnel-mode SA.
        _ => return Err(Drop::WrongEncapsulation),
    };
    if !packet.frame.pull_front(opened.offset.into()) {
        return Err(Drop::BadInner);
    }
    packet.frame.truncate(opened.len.into());
    if v6 { decap6::inner(packet) } else { inner(packet) }
}

/// The header of an inner packet that is what nearly every one is. `None`: it is another one.
#[inline(always)]
pub(super) fn glance(packet: &Packet, opened: &Opened) -> Option<Head> {
    let inner = packet.frame.data().get(opened.offset.into()..)?;
    let head = classify::glance(inner.first_chunk()?, opened.len.into())?;
    // What was not marked on its way is as it was.
    let marked = (packet.meta.outer_tos ^ head.tos()) & 3 != 0;
    let plain = opened.next_header == protocol::IPV4 && !marked && classify::plainly(&head);
    plain.then_some(head)
}

/// [`uncover`] of such a packet. False, and nothing is changed: there is less of it than its header says, which cannot be.
#[inline(always)]
pub(super) fn plainly(packet: &mut Packet, opened: &Opened, head: &Head) -> bool {
    // What follows the packet is padding for traffic-flow confidentiality (RFC 4303 §2.7).
    if !packet.frame.narrow(opened.offset, head.total_len) {
        return false;
    }
    head.write(&mut packet.meta.ip);
    packet.meta.tag = None;
    packet.meta.opened = true;
    packet.door = Door::Sa;
    true
}

/// What [`uncover`] refused for `why` may be right for its SA.
#[cold]
pub(crate) fn otherwise(
    packet: &mut Packet,
    sa: Option<&InboundSa>,
    tables: &Tables,
    opened: Opened,
    why: Drop,
) -> Result<(), Drop> {
    if why == Drop::WrongEncapsulation {
        return Err(why);
    }
    interface::admit(packet, sa, tables, why)
        .or_else(|why| passive::uncovered(packet, sa, opened.next_header, why))
}

fn inner(packet: &mut Packet) -> Result<(), Drop> {
    let total_len = match classify::common(packet.frame.data(), &mut packet.meta.ip) {
        Some(len) => len,
        None => uncommon(packet)?,
    };
    // What follows the packet is padding for traffic-flow confidentiality (RFC 4303 §2.7).
    packet.frame.truncate(total_len.into());
    // What was not marked on its way is as it was.
    if (packet.meta.outer_tos ^ packet.meta.ip.tos) & 3 != 0 {
        mark(packet)?;
    }
    packet.meta.tag = None;
    packet.meta.opened = true;
    packet.door = Door::Sa;
    classify::lawful(&packet.meta.ip, Door::Sa)
}

#[inline(never)]
fn uncommon(packet: &mut Packet) -> Result<u16, Drop> {
    let ip = Ipv4::parse(packet.frame.data()).map_err(|_| Drop::BadInner)?;
    packet.meta.ip = ip.checksum_holds().then(|| classify::fields(&ip)).ok_or(Drop::BadInner)?;
    Ok(packet.meta.ip.total_len)
}

/// The ECN bits of inner and outer header differ.
#[inline(never)]
fn mark(packet: &mut Packet) -> Result<(), Drop> {
    let tos = packet.meta.ip.tos;
    let ecn = congestion(packet.meta.outer_tos & 3, tos & 3)?;
    if ecn != tos & 3 {
        packet.meta.ip.tos = tos & !3 | ecn;
        Ipv4Mut::parse(packet.frame.data_mut()).map_err(|_| Drop::BadInner)?.set_ecn(ecn);
    }
    Ok(())
}

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// The inner ECN field on the way out of the tunnel (RFC 6040 §4.2, figure 4).
#[inline]
pub(crate) fn congestion(outer: u8, inner: u8) -> Result<u8, Drop> {
    match (inner, outer) {
        (NOT_ECT, CE) => Err(Drop::CongestionLost),
        (NOT_ECT, _) => Ok(NOT_ECT),
        (CE, _) | (_, CE) => Ok(CE),
        (ECT_0, ECT_1) => Ok(ECT_1),
        _ => Ok(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040 figure 4, row by row: inner Not-ECT, ECT(0), ECT(1), CE; columns outer Not-ECT, ECT(0), ECT(1), CE.
    #[test]
    fn ecn_on_decapsulation() {
        let figure = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                assert_eq!(congestion(outer, inner).ok(), expected, "inner {inner} outer {outer}");
            }
        }
    }
}
