//! Packets whose IP header is not lawful, for tunnels that carry them as they are (`passive-mode-tunneling`, R90).
//!
//! Decides: whether such a packet may go on at all: into a passive tunnel, or out of one. Reads: the places where a header
//! has its addresses, the tunnels. Writes: `Meta::ip` as far as the bytes tell, with a header length of 0, which no lawful
//! header has. Never: lets one go any other way, or by a policy that asks for ports; is asked where every header is
//! lawful.

use crate::batch::Batch;
use crate::classify;
use crate::packet::{Door, Ip, Packet};
use crate::sa::{InboundSa, Outbound, SaDb};
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_wire::{Bytes, ipv4, ipv6, protocol};

/// Whether the header was not lawful, and was read by [`lenient`].
pub(crate) const fn is_odd(ip: &Ip) -> bool {
    ip.header_len == 0
}

/// Clear, as far as it can be read: for a packet that came from a network or from the host, and was refused.
#[cold]
pub(crate) fn take(packet: &mut Packet, v6: bool, db: &SaDb) -> bool {
    // A tunnel of another worker may be passive: that one decides.
    (db.has_passive() || db.workers > 1) && packet.door != Door::Sa && lenient(packet, v6)
}

/// What `decap` refused goes on where its SA is passive.
#[cold]
pub(crate) fn uncovered(
    packet: &mut Packet,
    sa: Option<&InboundSa>,
    next_header: u8,
    why: Drop,
) -> Result<(), Drop> {
    let header = matches!(
        why,
        Drop::BadInner | Drop::BadAddress | Drop::MulticastPolicyMode | Drop::BadExtension | Drop::Fragment
    );
    let v6 = next_header == protocol::IPV6;
    if !header || !sa.is_some_and(|sa| sa.rules.passive) || !lenient(packet, v6) {
        return Err(why);
    }
    packet.meta.tag = None;
    packet.meta.opened = true;
    packet.door = Door::Sa;
    Ok(())
}

/// Of those `lenient` has read: only passive tunnels have them. After the policies, which know the tunnel by its place.
pub(crate) fn sift(batch: &mut Batch, clear: &[u16], protect: &[u16], db: &mut SaDb) {
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { continue };
        // Ports are hidden, which is not what is wrong with it.
        let judged = packet.pending() || packet.verdict == Verdict::Drop(Drop::Fragment);
        if !is_odd(&packet.meta.ip) || !judged {
            continue;
        }
        let goes = packet.pending() && may_go(packet, protect.binary_search(&at).is_ok(), db);
        if !goes {
            let why = flaw(packet);
            packet.drop(why);
        }
    }
}

fn may_go(packet: &Packet, protected: bool, db: &mut SaDb) -> bool {
    let place = packet.meta.sa;
    if !protected {
        let sa = db.inbound.both(place).filter(|_| packet.meta.opened);
        return sa.is_some_and(|(_, sa)| sa.rules.passive);
    }
    match db.tunnels.of_policy(place).map(|tunnel| tunnel.outbound) {
        Some(Outbound::Here(place)) => db.outbound.both(place).is_some_and(|(_, sa)| sa.rules.passive),
        Some(Outbound::There(_)) => true,
        Some(Outbound::None) | None => false,
    }
}

/// Why the packet is not lawful.
fn flaw(packet: &Packet) -> Drop {
    let data = packet.frame.data();
    let reason = if packet.meta.ip.v6 {
        classify::v6::judge(data, packet.door)
    } else {
        classify::judge(data, packet.door)
    };
    reason.err().unwrap_or(Drop::Malformed)
}

/// Addresses and protocol where they stand in every header, and all that came where its length lies.
fn lenient(packet: &mut Packet, v6: bool) -> bool {
    let data = packet.frame.data();
    let byte = |at: usize| data.get(at).copied().unwrap_or(0);
    let long = |at: usize| data.be32(at).unwrap_or(0);
    let says = if v6 { ipv6::HEADER + word(data, 4) } else { word(data, 2) };
    let least = if v6 { ipv6::HEADER } else { ipv4::HEADER };
    if data.len() < least {
        return false;
    }
    let len = if (least..=data.len()).contains(&says) { says } else { data.len() };
    let Ok(total_len) = u16::try_from(len) else { return false };
    let (src, dst) = if v6 { (0, 0) } else { (long(12), long(16)) };
    packet.meta.ip = Ip {
        src,
        dst,
        ports: (0, 0),
        total_len,
        protocol: byte(if v6 { 6 } else { 9 }),
        header_len: 0,
        tos: if v6 { byte(0) << 4 | byte(1) >> 4 } else { byte(1) },
        ttl: byte(if v6 { 7 } else { 8 }),
        df: v6,
        fragment: false,
        portless: true,
        v6,
    };
    packet.frame.truncate(len);
    true
}

fn word(data: &[u8], at: usize) -> usize {
    data.be16(at).unwrap_or(0).into()
}
