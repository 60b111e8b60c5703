//! AH around ESP that was just sealed (RFC 4301 §4.5; the form is RFC 2401's): one header outside, AH, then ESP.
//!
//! Decides: nothing. Reads: which SA is the partner, its key and number. Writes: AH into the packet. Never: lets ESP of a
//! bundle go without it.

use super::modes::{self, Means};
use crate::packet::Packet;
use crate::sa::{OutboundHot, OutboundSa, Rows, SaDb};
use ravelin_ring::counters::Drop;

/// Where the SA of AH is that goes around the one at `at`; one of nobody, where it is gone.
pub(super) fn around(db: &SaDb, at: usize) -> Option<u32> {
    let sa = db.outbound.cold.get(at)?.as_ref().filter(|sa| !sa.goes_around())?;
    sa.partner.map(|id| db.outbound_place(id).unwrap_or(u32::MAX))
}

pub(super) fn cover(
    packet: &mut Packet,
    at: u32,
    (rows, colds): (&mut Rows<'_, OutboundHot>, &mut [Option<OutboundSa>]),
    means: &mut Means<'_>,
) -> Result<(), Drop> {
    let at = at as usize;
    let (Some((hot, Some(key))), Some(cold)) = (rows.get_mut(at), colds.get_mut(at)) else {
        return Err(Drop::NoOutboundSa);
    };
    modes::read_again(packet, cold.as_ref().is_some_and(|sa| sa.remote.is_ipv6()))?;
    modes::ah_transport(packet, hot, cold, key, means)
}
