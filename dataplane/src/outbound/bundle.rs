//! AH around ESP that was just sealed (RFC 4301 §4.5; the form is RFC 2401's): one header outside, AH, then ESP.
//!
//! Decides: nothing. Reads: which SA is the partner, its key and number. Writes: AH into the packet. Never: lets ESP of a
//! bundle go without it.

use super::modes::{self, Means};
use crate::packet::Packet;
use crate::sa::{OutboundHot, OutboundSa, SaDb};
use ravelin_crypto::Key;
use ravelin_ring::counters::Drop;

/// Where the SA of AH is that goes around the one at `at`; one of nobody, where it is gone.
pub(super) fn around(db: &SaDb, at: usize) -> Option<u32> {
    let sa = db.outbound.cold.get(at)?.as_ref().filter(|sa| !sa.goes_around())?;
    sa.partner.map(|id| db.outbound_place(id).unwrap_or(u32::MAX))
}

/// Hot records, keys, cold records.
type Rows<'a> = (&'a mut [OutboundHot], &'a [Option<Key>], &'a mut [Option<OutboundSa>]);

pub(super) fn cover(
    packet: &mut Packet,
    at: u32,
    (hots, keys, colds): Rows<'_>,
    means: &mut Means<'_>,
) -> Result<(), Drop> {
    let at = at as usize;
    let (Some(hot), Some(Some(key)), Some(cold)) = (hots.get_mut(at), keys.get(at), colds.get_mut(at)) else {
        return Err(Drop::NoOutboundSa);
    };
    modes::read_again(packet, cold.as_ref().is_some_and(|sa| sa.remote.is_ipv6()))?;
    modes::ah_transport(packet, hot, cold, key, means)
}
