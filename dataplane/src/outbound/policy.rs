//! The SPD asked about clear packets (RFC 4301 §5.1, §5.2).
//!
//! Decides: PROTECT, BYPASS or DISCARD; and that a clear packet from a port is none that should have come in ESP.
//! Reads: the SPD of the snapshot. Writes: `Meta::sa` (for now the tunnel's place), the two lists. Never: lets a packet
//! on whose ports are hidden where ports decide.
//!
//! This gateway has no inner and outer side: every packet is looked at in both directions, as one that came from
//! behind a peer and as one that goes there. Where both have something to say, the policy of lower order does.

use crate::batch::{Batch, Places};
use crate::nat::Before;
use crate::packet::{Door, Ip, Packet};
use crate::route::Hop;
use crate::spd::{Answer, Query, Spd};
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
        let stays = tables.hop(packet.meta.hop) == Hop::Local;
        match judge(packet, &tables.spd, before.get(at).map(|came| &came.ip), stays) {
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
    spd: &Spd,
    before: Option<&Ip>,
    stays: bool,
) -> ((Answer, u64), (Answer, u64)) {
    let nothing = (Answer::Bypass, u64::MAX);
    let came = match packet.door {
        Door::Port(_) | Door::Sa => spd.lookup(&before.map_or_else(|| Query::inbound(packet), Query::came)),
        Door::Tun => nothing,
    };
    (came, if stays { nothing } else { spd.lookup(&Query::outbound(packet)) })
}

/// The tunnel's place, or `None` for a packet that may go on in clear.
fn judge(packet: &Packet, spd: &Spd, before: Option<&Ip>, stays: bool) -> Result<Option<u32>, Drop> {
    let (came, (goes, goes_order)) = ask(packet, spd, before, stays);
    let (came, came_order) = match packet.door {
        Door::Port(_) => guard(came)?,
        // The SA has been asked; its policy stands for the packet, as far as a lower one does not discard it.
        Door::Sa | Door::Tun => came,
    };
    let discarded = (came == Answer::Discard && came_order <= goes_order)
        || (goes == Answer::Discard && goes_order <= came_order && !packet.meta.made_here);
    match goes {
        _ if discarded => Err(Drop::PolicyDiscard),
        Answer::Protect(tunnel) => Ok(Some(tunnel)),
        Answer::Unknown => Err(Drop::Fragment),
        Answer::Bypass | Answer::Discard => Ok(None),
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
