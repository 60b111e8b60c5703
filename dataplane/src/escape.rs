//! What came out of an SA does not go back in clear beside the tunnel (R307).
//!
//! While the network behind this gateway has lost its route, because the link to it is down, a wider one would carry what
//! was just decrypted out again: the default route, two halves of it, or that of a provider's network.
//!
//! Decides: `no_route` for what came out of an SA and goes in clear by a route that is wider than what the selectors name
//! around the destination, when that is a default route or a half of it, by a port, a device of the kernel or GRE; or when it
//! leads to another router by a port on which the peer is or to which a default route leads. Reads: selectors, routes. Writes:
//! `Meta::{bounds, strays}`, and the bounds of what another worker goes on with.
//! Never: asked about a flow that is known; flows do not outlive the routes.

use crate::batch::Batch;
use crate::nat::Before;
use crate::packet::{Door, Origin, Packet};
use crate::route::Hop;
use crate::sa::SaDb;
use crate::spd::{Answer, Query};
use crate::tables::Tables;
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::PortId;

/// What an SA says about the way of a packet that came out of it; kept with packets that wait or change the worker, where
/// the SA is not at hand any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Routes with a shorter prefix are wide. In bits, 0 to 128.
    below: u8,
    /// Ports that lead to the peer, a bit for each. A packet's record has no room for more than eight: ports that are eight
    /// apart are taken for each other, which stays closed.
    peer: u8,
}

impl Bounds {
    /// Of what came out of no SA.
    pub const NONE: Self = Self { below: 0, peer: 0 };
    /// Of what came out of an SA that is gone: it leaves by no route.
    const CLOSED: Self = Self { below: u8::MAX, peer: u8::MAX };
    /// A destination that the selectors do not name, since it was translated, has no other wide route than these.
    const TRANSLATED: u8 = 1;

    fn of(packet: &Packet, db: &mut SaDb, tables: &Tables) -> Self {
        let Some((_, sa)) = db.inbound.both(packet.meta.sa) else { return Self::CLOSED };
        let Some((outer, _)) = tables.fib_of(sa.outside) else { return Self::CLOSED };
        let ports = outer.hops(outer.lookup_ip(sa.remote.ip())).map(|hop| match hop {
            Hop::Port { port, .. } => bit(port),
            Hop::None | Hop::Local | Hop::Tunnel | Hop::Interface(_) | Hop::Kernel | Hop::Blackhole => 0,
        });
        let peer = ports.fold(0, |all, one| all | one);
        Self { below: sa.selectors.wide(packet.destination()).unwrap_or(Self::TRANSLATED), peer }
    }

    fn of_translated(self) -> Self {
        let below = if self == Self::CLOSED { self.below } else { self.below.min(Self::TRANSLATED) };
        Self { below, ..self }
    }

    fn is_by_peer(self, port: PortId) -> bool {
        self.peer & bit(port) != 0
    }
}

fn bit(port: PortId) -> u8 {
    1 << (port.0 % 8)
}

/// Of `all`, what another worker goes on with; of `clear`, what goes on here. Before the policies, which write over the place
/// of the SA.
pub(crate) fn judge(
    batch: &mut Batch,
    (all, clear): (&[u16], &[u16]),
    before: &Before,
    db: &mut SaDb,
    tables: &Tables,
) {
    for &at in all {
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { continue };
        if matches!(packet.verdict, Verdict::HandOff { .. }) {
            packet.origin.bind(bounds(packet, db, tables));
        }
    }
    for &at in clear {
        let Some(packet) = batch.packets.get_mut(usize::from(at)) else { continue };
        if !packet.pending() || packet.is_enclosing() {
            continue; // the latter were judged as what is in them (`enclosed`)
        }
        let mut bounds = bounds(packet, db, tables);
        if !packet.meta.opened && before.get(at).is_some_and(|came| came.ip.dst != packet.meta.ip.dst) {
            bounds = bounds.of_translated();
        }
        packet.meta.bounds = bounds;
        packet.meta.strays = bounds != Bounds::NONE && strays(packet, tables);
    }
}

fn bounds(packet: &Packet, db: &mut SaDb, tables: &Tables) -> Bounds {
    if packet.meta.opened {
        return Bounds::of(packet, db, tables);
    }
    let kept = matches!(packet.door, Door::Sa | Door::Vrf(_)) && !packet.meta.made_here;
    if kept { packet.origin.bounds() } else { Bounds::NONE }
}

/// Whether its route, for one that goes in clear, leads where it may have come from.
fn strays(packet: &Packet, tables: &Tables) -> bool {
    let (vrf, hop, bounds) = (packet.meta.vrf, packet.meta.hop, packet.meta.bounds);
    let len = tables.prefix_len(vrf, hop);
    if len >= bounds.below {
        return false;
    }
    let all = len <= 1 || bounds == Bounds::CLOSED;
    match tables.hop(hop) {
        Hop::Port { port, gateway } => {
            // Who is on the link itself is meant, a gateway with one port has its hosts there.
            let inner = tables.fib_of(vrf);
            let outside = bounds.is_by_peer(port) || inner.is_none_or(|(fib, _)| fib.leads_out(port));
            all || outside && gateway.is_some()
        }
        Hop::Kernel | Hop::Interface(_) => all,
        Hop::None | Hop::Local | Hop::Tunnel | Hop::Blackhole => false,
    }
}

/// What no policy protects.
pub(crate) fn check(batch: &mut Batch, bypass: &[u16]) {
    batch.each(bypass, |packet| if packet.meta.strays { Err(Drop::NoRoute) } else { Ok(()) });
}

/// What is in GRE now, whose route led into it: only by an SA.
pub(crate) fn enclosed(packet: &mut Packet, tables: &Tables) -> Result<(), Drop> {
    let strays = std::mem::take(&mut packet.meta.strays);
    if strays && !matches!(tables.spd.lookup(&Query::outbound(packet)).0, Answer::Protect(_)) {
        return Err(Drop::NoRoute);
    }
    Ok(())
}

impl Origin {
    fn bounds(self) -> Bounds {
        match self {
            Self::Port(_) | Self::Tun | Self::Device(_) => Bounds::NONE,
            Self::HandedIn { bounds, .. } | Self::Released { bounds, .. } => bounds,
        }
    }

    fn bind(&mut self, to: Bounds) {
        match self {
            Self::Port(_) | Self::Tun | Self::Device(_) => {}
            Self::HandedIn { bounds, .. } | Self::Released { bounds, .. } => *bounds = to,
        }
    }
}
