//! Whether a clear packet may have come from where its source says (RFC 3704; the kernel's `rp_filter` never sees it).
//!
//! Decides: `reverse_path` for a source that no way leads back to, by the port's rule; `land` for one that is the
//! destination too. Reads: routes, the port's rule.
//! Never: asked of what came out of an SA without a device, whose selectors speak for it, of the host's own, or of a flow that is known:
//! flows are kept by port, and no longer than the routes.

use crate::batch::Batch;
use crate::nat::Before;
use crate::packet::{Door, Packet};
use crate::route::Hop;
use crate::tables::Tables;
use ravelin_ring::counters::Drop;
use ravelin_ring::setup::ReversePath;
use std::net::{IpAddr, Ipv4Addr};

/// After the policies: what ought to have come by a tunnel is dropped under that name.
pub(crate) fn check(batch: &mut Batch, places: &[u16], tables: &Tables, before: &Before) {
    for &at in places {
        let Some(packet) = batch.packets.get_mut(usize::from(at)).filter(|p| p.pending()) else { continue };
        let (mut source, mut destination) = (packet.source(), packet.destination());
        if let Some(came) = before.get(at) {
            source = Ipv4Addr::from_bits(came.ip.src).into();
            destination = Ipv4Addr::from_bits(came.ip.dst).into();
        }
        if source == destination {
            packet.drop(Drop::Land);
        } else if !plausible(packet, source, tables) {
            packet.drop(Drop::ReversePath);
        }
    }
}

/// `source`: as it came, before NAT.
fn plausible(packet: &Packet, source: IpAddr, tables: &Tables) -> bool {
    let rule = match packet.door {
        Door::Port(door) => tables.port(door).map_or(ReversePath::Strict, |link| link.reverse_path),
        Door::Inner(id) => tables.interfaces.reverse_path(id),
        Door::Tun | Door::Sa | Door::Device(_) | Door::Vrf(_) => return true,
    };
    if rule == ReversePath::Off {
        return true;
    }
    // Of several next hops each is a way that it may have come.
    let Some((fib, _)) = tables.fib_of(packet.meta.vrf) else { return false };
    fib.hops(fib.lookup_ip(source)).any(|hop| leads_back(packet, rule, hop))
}

fn leads_back(packet: &Packet, rule: ReversePath, hop: Hop) -> bool {
    match hop {
        Hop::Port { port, .. } => rule == ReversePath::Loose || packet.door == Door::Port(port),
        // What a tunnel is for never comes in clear, whatever the port's rule.
        Hop::Interface(id) => match packet.door {
            Door::Inner(door) => rule == ReversePath::Loose || door == id,
            Door::Port(_) | Door::Tun | Door::Sa | Door::Device(_) | Door::Vrf(_) => false,
        },
        Hop::Kernel => rule == ReversePath::Loose,
        // Nobody; one of our own addresses; nobody that may be answered; or the far side of a tunnel.
        Hop::None | Hop::Local | Hop::Blackhole | Hop::Tunnel => false,
    }
}
