//! What came out of an SA does not go back in clear beside the tunnel (R307).
//!
//! While the network behind this gateway has lost its route, because the link to it is down, the default route would
//! carry what was just decrypted out again, towards where the peer's own packets come from.
//!
//! Decides: `no_route` for what came out of an SA whose selectors name a network, has no route but the default one, and
//! would leave by the port on which the peer is. Reads: selectors, routes. Never: asked about a flow that is known; flows
//! do not outlive the routes.

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
    if !packet.meta.opened || !tables.is_default(packet.meta.vrf, packet.meta.hop) {
        return false;
    }
    let Some((_, sa)) = db.inbound.both(packet.meta.sa) else { return true };
    let Hop::Port { port: out, .. } = tables.hop(packet.meta.hop) else { return false };
    let peer = |hop| matches!(hop, Hop::Port { port, .. } if port == out);
    let Some((fib, _)) = tables.fib_of(sa.outside) else { return true };
    fib.hops(fib.lookup_ip(sa.remote.ip())).any(peer) && !sa.selectors.reaches_everything(packet.meta.ip.v6)
}
