//! The SPD asked about clear packets (RFC 4301 §5.1, §5.2).
//!
//! Decides: PROTECT, BYPASS or DISCARD; and that a clear packet from a port is none that should have come in ESP.
//! Reads: the SPD of the snapshot. Writes: `Meta::sa` (for now the tunnel's place), the two lists. Never: lets a packet
//! on whose ports are hidden where ports decide.

use crate::batch::{Batch, Places};
use crate::packet::Door;
use crate::route::Hop;
use crate::spd::{Answer, Query};
use crate::tables::Tables;
use ravelin_ring::counters::Drop;

/// A clear packet that a PROTECT policy covers, seen from the peer's side, is dropped whichever port it came by (R41).
/// What came from the host itself or out of an SA is none of these.
pub(crate) fn guard(batch: &mut Batch, clear: &[u16], tables: &Tables) {
    batch.each(clear, |packet| {
        if !matches!(packet.door, Door::Port(_)) {
            return Ok(());
        }
        match tables.spd.lookup(&Query::inbound(&packet.meta.ip)) {
            Answer::Bypass => Ok(()),
            Answer::Protect(_) => Err(Drop::PlainOnProtected),
            Answer::Discard => Err(Drop::PolicyDiscard),
            Answer::Unknown => Err(Drop::Fragment),
        }
    });
}

/// What leaves this host is protected or not; what stays here has no policy to ask.
pub(crate) fn run(
    batch: &mut Batch,
    clear: &[u16],
    tables: &Tables,
    protect: &mut Places,
    bypass: &mut Places,
) {
    protect.clear();
    bypass.clear();
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)).filter(|p| p.pending()) else { continue };
        if tables.hop(packet.meta.hop) == Hop::Local {
            bypass.push(at);
            continue;
        }
        match tables.spd.lookup(&Query::outbound(&packet.meta.ip)) {
            Answer::Protect(tunnel) => {
                packet.meta.sa = tunnel;
                protect.push(at);
            }
            Answer::Bypass => bypass.push(at),
            Answer::Discard => packet.drop(Drop::PolicyDiscard),
            Answer::Unknown => packet.drop(Drop::Fragment),
        }
    }
}
