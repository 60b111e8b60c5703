//! Whether a clear packet may have come from where its source says (RFC 3704; the kernel's `rp_filter` never sees it).
//!
//! Decides: `reverse_path` for a source that no way leads back to, by the port's rule; `land` for one that is the
//! destination too. Reads: routes, the port's rule.
//! Never: asked of what came out of an SA, whose selectors speak for it, of the host's own, or of a flow that is known:
//! flows are kept by port, and no longer than the routes.

use crate::batch::Batch;
use crate::packet::{Door, Packet};
use crate::route::Hop;
use crate::tables::Tables;
use ravelin_ring::counters::Drop;
use ravelin_ring::setup::ReversePath;

/// After the policies: what ought to have come by a tunnel is dropped under that name.
pub(crate) fn check(batch: &mut Batch, places: &[u16], tables: &Tables) {
    batch.each(places, |packet| match plausible(packet, tables) {
        _ if packet.source() == packet.destination() => Err(Drop::Land),
        true => Ok(()),
        false => Err(Drop::ReversePath),
    });
}

fn plausible(packet: &Packet, tables: &Tables) -> bool {
    let Door::Port(door) = packet.door else { return true };
    let rule = tables.port(door).map_or(ReversePath::Strict, |link| link.reverse_path);
    if rule == ReversePath::Off {
        return true;
    }
    match tables.hop(tables.fib.lookup_ip(packet.source())) {
        Hop::Port { port, .. } => rule == ReversePath::Loose || port == door,
        Hop::Kernel => rule == ReversePath::Loose,
        // Nobody; one of our own addresses; nobody that may be answered; or the far side of a tunnel.
        Hop::None | Hop::Local | Hop::Blackhole | Hop::Tunnel => false,
    }
}
