//! What one packet needs while the records of its SA are at hand.
//!
//! Decides: nothing; as in its parent, the order stands here.

use crate::clock::Now;
use crate::flow::{Flows, Keys};
use crate::packet::Packet;
use crate::sa::{Cold, Events, InboundSa, OutboundHot, OutboundSa};
use crate::tables::Tables;
use crate::{inbound, outbound, route};
use ravelin_crypto::Opened;
use ravelin_ring::counters::Drop;

/// All that comes before a packet is sealed.
pub(super) fn ready(
    packet: &mut Packet,
    hot: &mut OutboundHot,
    mut sa: Cold<'_, OutboundSa>,
    events: &mut Events,
    now: Now,
) -> Result<(), Drop> {
    route::age(packet)?;
    outbound::encap::write(packet, hot, || sa.get())?;
    outbound::sequence::take(packet, hot, || sa.get(), events, now)
}

/// What came out of its SA and is not what nearly every packet is.
pub(super) fn uncovered(
    (at, packet): (u16, &mut Packet),
    (transport, mut sa): (bool, Cold<'_, InboundSa>),
    tables: &Tables,
    opened: Opened,
    flows: &Flows,
    keys: &mut Keys,
) -> Result<(), Drop> {
    if transport {
        inbound::transport::uncover(packet, opened)?;
    } else if let Err(why) = inbound::decap::uncover(packet, opened) {
        inbound::decap::otherwise(packet, sa.get().map(|sa| &*sa), tables, opened, why)?;
    }
    flows.note(at, packet, keys);
    Ok(())
}
