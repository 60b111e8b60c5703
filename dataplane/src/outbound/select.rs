//! From the tunnel to its outbound SA.
//!
//! Decides: which SA protects the packet, or which worker has it, and whether the SA may carry it: the peer may have
//! narrowed the policy's selectors; without one, whether it may wait for it. Reads: the worker's tunnels, routes and
//! neighbours of the SA's outer address. Writes: `Meta::{sa, limit}`, the SA's header template. Never: sends in clear
//! instead.

use crate::batch::{Batch, prefetch_rest};
use crate::hold::Hold;
use crate::neighbour::Resolver;
use crate::packet::{Origin, Packet};
use crate::route::{self, Hop};
use crate::sa::{Outbound, OutboundHot, OutboundSa, Outer, SaDb, Tunnel};
use crate::spd::{Fit, Query};
use crate::tables::Tables;
use crate::verdict::Verdict;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::{WorkerEvent, WorkerId};

/// How often a packet may change workers: while all learn of a tunnel's new owner one after the other, it may be
/// passed on, but not for ever.
const MAX_HOPS: u8 = 4;

pub(crate) fn run(
    batch: &mut Batch,
    protect: &[u16],
    db: &mut SaDb,
    tables: &Tables,
    epoch: u64,
    hold: &mut Hold,
    resolver: &mut Resolver<'_>,
) {
    batch.each(protect, |packet| {
        if let Some(Outbound::Here(place)) = db.tunnels.of_policy(packet.meta.sa).map(|t| t.outbound) {
            db.outbound.prefetch(place, packet.meta.ip.total_len.into());
        }
        Ok(())
    });
    batch.each(protect, |packet| {
        let tunnel = db.tunnels.of_policy(packet.meta.sa).ok_or(Drop::NoOutboundSa)?;
        let place = match tunnel.outbound {
            Outbound::Here(place) => place,
            Outbound::There(worker) => return hand_off(packet, worker),
            Outbound::None => {
                acquire(packet, tunnel, resolver);
                let may_wait = tunnel.hold;
                return if may_wait {
                    hold.take(packet, tunnel, resolver.now)
                } else {
                    Err(Drop::NoOutboundSa)
                };
            }
        };
        let (hot, sa) = db.outbound.both(place).ok_or(Drop::NoOutboundSa)?;
        match sa.selectors.fit(&Query::outbound(packet)) {
            Fit::Inside => {}
            Fit::Outside => return Err(Drop::SelectorMismatch),
            Fit::Unknown => return Err(Drop::Fragment),
        }
        if hot.epoch != epoch {
            let Some(outer) = outer(packet, (hot, sa), tables, hold, resolver)? else { return Ok(()) };
            (hot.outer, hot.epoch) = (outer, epoch);
        }
        packet.meta.sa = place;
        packet.meta.limit = hot.outer.max_inner;
        prefetch_rest(packet);
        Ok(())
    });
}

/// Its way out, by the tables in force. What is closed now is tried again with the next packet. `None`: the packet waits.
fn outer(
    packet: &mut Packet,
    (hot, sa): (&OutboundHot, &OutboundSa),
    tables: &Tables,
    hold: &mut Hold,
    resolver: &mut Resolver<'_>,
) -> Result<Option<Outer>, Drop> {
    let remote = sa.remote.ip();
    match tables.way_outside(sa.outside, sa.local.ip(), remote) {
        Hop::Port { port, gateway } => {
            let next = gateway.unwrap_or(remote);
            let (link, mac) = match route::neighbour(tables, port, next, resolver) {
                Err(Drop::NeighbourUnresolved) => {
                    return hold.take_for_link(packet, port, next, resolver.now).map(|()| None);
                }
                other => other?,
            };
            Ok(Some(sa.outer(hot, (port, link.mtu), (link.mac, mac))))
        }
        Hop::Blackhole => Err(Drop::RouteBlackhole),
        // The peer has to be behind a port of ours; the kernel would not forward what has our own source.
        Hop::None | Hop::Local | Hop::Tunnel | Hop::Interface(_) | Hop::Kernel => Err(Drop::NoRoute),
    }
}

fn hand_off(packet: &mut Packet, worker: WorkerId) -> Result<(), Drop> {
    let hops = packet.origin.hops();
    if hops >= MAX_HOPS {
        return Err(Drop::NoOutboundSa);
    }
    packet.origin = Origin::HandedIn { door: packet.next_door(), hops: hops + 1, bounds: packet.meta.bounds };
    packet.verdict = Verdict::HandOff { worker };
    Ok(())
}

fn acquire(packet: &Packet, tunnel: &mut Tunnel, resolver: &mut Resolver<'_>) {
    if !tunnel.acquired.pass(resolver.now) {
        return;
    }
    let ip = &packet.meta.ip;
    let event = WorkerEvent::Acquire {
        tunnel: tunnel.id,
        source: packet.source(),
        destination: packet.destination(),
        protocol: ip.protocol,
        ports: ip.ports,
    };
    if !resolver.events.push(event) {
        tunnel.acquired = crate::sa::Throttle::default();
    }
}
