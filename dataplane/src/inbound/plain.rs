//! What comes before a packet is opened and after it, where it is what nearly every one is: IPv4 in an SA whose numbers
//! rise and which is far from its limits.
//!
//! Decides: whether it is one. Reads and writes: what [`super::replay`] and [`super::decap`] do, in one go.
//! Never: says why another packet cannot go; they do, from the beginning. Moves a window for a packet without proof.

use super::Authentic;
use super::decap;
use crate::classify::Head;
use crate::clock::Now;
use crate::packet::Packet;
use crate::sa::InboundHot;
use ravelin_crypto::Opened;
use ravelin_wire::Bytes;

/// [`super::replay::check`] of a number ahead of the window. False, and nothing was changed: another one.
#[inline(always)]
pub(super) fn check(packet: &mut Packet, hot: &InboundHot) -> bool {
    let Some(low) = packet.frame.data().be32(4) else { return false };
    let Some(number) = hot.window.ahead(low) else { return false };
    packet.meta.seq = number;
    true
}

/// [`super::replay::commit`] and [`decap::uncover`]. `None`, and nothing was changed: another packet, or another SA.
#[inline(always)]
pub(super) fn go_on(
    packet: &mut Packet,
    hot: &mut InboundHot,
    proof: Authentic,
    opened: &Opened,
    now: Now,
) -> Option<Head> {
    // First the packet and then its SA: what is read of that is changed soon after, and need not be kept meanwhile.
    let head = decap::glance(packet, opened)?;
    let bytes = hot.bytes + u64::from(opened.len);
    let moved = hot.udp && packet.meta.udp && hot.remote != packet.meta.from;
    if hot.attention || moved || hot.packets >= hot.gates.0 || bytes > hot.gates.1 {
        return None;
    }
    if !hot.window.is_next(&proof) || !decap::plainly(packet, opened, &head) {
        return None;
    }
    hot.window.advance(proof);
    hot.packets += 1;
    (hot.bytes, hot.last_ms) = (bytes, now.ms);
    Some(head)
}
