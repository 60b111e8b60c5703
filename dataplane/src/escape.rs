//! What came out of an SA does not go back in clear beside the tunnel (R307).
//!
//! While the network behind this gateway has lost its route, because the link to it is down, a wider one would carry what
//! was just decrypted out again: the default route, two halves of it, or that of a provider's network.
//!
//! Decides: `no_route` for what came out of an SA and goes by a route that is wider than what the selectors name around the
//! destination, when that is a default route, or leads to another router by a port on which the peer is or to which a
//! default route leads. Reads: selectors, routes. Never: asked about a flow that is known; flows do not outlive the routes.

use crate::batch::Batch;
use crate::packet::Packet;
use crate::route::Hop;
use crate::sa::SaDb;
use crate::tables::Tables;
use ravelin_ring::counters::Drop;

pub(crate) fn check(batch: &mut Batch, bypass: &[u16], db: &mut SaDb, tables: &Tables) {
    batch.each(bypass, |packet| if escapes(packet, db, tables) { Err(Drop::NoRoute) } else { Ok(()) });
}

fn escapes(packet: &Packet, db: &mut SaDb, tables: &Tables) -> bool {
    if !packet.meta.opened {
        return false;
    }
    let Hop::Port { port: out, gateway } = tables.hop(packet.meta.hop) else { return false };
    let Some((_, sa)) = db.inbound.both(packet.meta.sa) else { return true };
    let len = tables.prefix_len(packet.meta.vrf, packet.meta.hop);
    if !sa.selectors.is_within(packet.destination(), len) {
        return false;
    }
    let (Some((outer, _)), Some((inner, _))) = (tables.fib_of(sa.outside), tables.fib_of(packet.meta.vrf))
    else {
        return true;
    };
    let peer = |hop| matches!(hop, Hop::Port { port, .. } if port == out);
    let outside = inner.leads_out(out) || outer.hops(outer.lookup_ip(sa.remote.ip())).any(peer);
    // Who is on the link itself is meant, a gateway with one port has its hosts there.
    len == 0 || outside && gateway.is_some()
}
