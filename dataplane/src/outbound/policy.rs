//! The SPD asked about clear packets (RFC 4301 §5.1, §5.2).
//!
//! Decides: PROTECT, BYPASS or DISCARD; and that a clear packet from a port is none that should have come in ESP.
//! Reads: the SPD of the snapshot. Writes: `Meta::sa` (for now the tunnel's place), the two lists. Never: lets a packet
//! on whose ports are hidden where ports decide.
//!
//! This gateway has no inner and outer side: every packet is looked at in both directions, as one that came from
//! behind a peer and as one that goes there. Where both have something to say, the policy of lower order does.

use crate::batch::{Batch, Places};
use crate::interface;
use crate::nat::Before;
use crate::packet::{Door, Ip, Packet};
use crate::route::Hop;
use crate::spd::{Answer, Query};
use crate::tables::Tables;
use ravelin_ring::counters::Drop;

/// What stays in this host goes with the bypassed ones.
pub(crate) fn run(
    batch: &mut Batch,
    clear: &[u16],
    tables: &Tables,
    before: &Before,
    protect: &mut Places,
    bypass: &mut Places,
) {
    protect.clear();
    bypass.clear();
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)).filter(|p| p.pending()) else { continue };
        match judge(packet, tables, before.get(at).map(|came| &came.ip)) {
            Ok(Some(tunnel)) => {
                packet.meta.sa = tunnel;
                protect.push(at);
            }
            Ok(None) => bypass.push(at),
            Err(why) => packet.drop(why),
        }
    }
}

/// What the policies say of it: as one that came, and as one that goes. With the order of the policy that says so.
/// `before`: of a translated packet, what it came as.
pub(crate) fn ask(
    packet: &Packet,
    tables: &Tables,
    before: Option<&Ip>,
    hop: Hop,
) -> ((Answer, u64), (Answer, u64)) {
    let nothing = (Answer::Bypass, u64::MAX);
    let lookup = |query: &Query| tables.policy(packet.meta.vrf, query);
    let came = match packet.door {
        Door::Port(_) | Door::Sa | Door::Vrf(_) => {
            lookup(&before.map_or_else(|| Query::inbound(packet), Query::came))
        }
        Door::Tun | Door::Device(_) | Door::Inner(_) => nothing,
    };
    let goes = if hop == Hop::Local { nothing } else { lookup(&Query::outbound(packet)) };
    (interface::without_default(packet, came, hop), interface::without_default(packet, goes, hop))
}

/// The tunnel's place, or `None` for a packet that may go on in clear.
fn judge(packet: &Packet, tables: &Tables, before: Option<&Ip>) -> Result<Option<u32>, Drop> {
    let hop = tables.hop(packet.meta.hop);
    if let Door::Device(id) = packet.door {
        return tables.interfaces.tunnel(id).map(Some);
    }
    let (came, (goes, goes_order)) = ask(packet, tables, before, hop);
    let (came, came_order) = match packet.door {
        Door::Port(_) => guard(came)?,
        // The SA has been asked; its policy stands for the packet, as far as a lower one does not discard it.
        Door::Sa | Door::Tun | Door::Device(_) | Door::Inner(_) | Door::Vrf(_) => came,
    };
    let discarded = (came == Answer::Discard && came_order <= goes_order)
        || (goes == Answer::Discard && goes_order <= came_order && !packet.meta.made_here);
    match (goes, hop) {
        _ if discarded => Err(Drop::PolicyDiscard),
        (Answer::Protect(tunnel), _) => Ok(Some(tunnel)),
        (Answer::Unknown, _) => Err(Drop::Fragment),
        (Answer::Bypass | Answer::Discard, Hop::Interface(id)) => tables.interfaces.tunnel(id).map(Some),
        (Answer::Bypass | Answer::Discard, _) => Ok(None),
    }
}

/// A clear packet that a PROTECT policy covers, seen from the peer's side, is dropped whichever port it came by (R41).
fn guard(came: (Answer, u64)) -> Result<(Answer, u64), Drop> {
    match came.0 {
        Answer::Protect(_) => Err(Drop::PlainOnProtected),
        Answer::Unknown => Err(Drop::Fragment),
        Answer::Bypass | Answer::Discard => Ok(came),
    }
}
