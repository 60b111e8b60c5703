//! What a packet changes besides SAs, set aside while one is only asked about.
//!
//! Decides: nothing. Writes: all of it back.

use crate::clock::Now;
use crate::flow::Flows;
use crate::icmp;
use crate::neighbour::Requests;
use crate::reassembly::Reassembly;
use crate::sa::{Events, Throttle};
use crate::stats::Stats;
use crate::worker::Way;
use core::mem::{replace, take};
use ravelin_ring::msg::WorkerEvent;
use ravelin_xsk::FramePool;

#[derive(Debug)]
pub(super) struct Aside {
    flows: Flows,
    events: Events,
    requests: Requests,
    reassembly: Reassembly,
    unknown_spi: Throttle,
    icmp: icmp::Rate,
    stats: Stats,
}

impl Aside {
    pub(super) fn take(way: &mut Way) -> Self {
        way.nat.dry(true);
        way.share.dry = true;
        way.dry = true;
        Self {
            // Every decision is made anew.
            flows: replace(&mut way.flows, Flows::none()),
            events: replace(&mut way.events, Events::new()),
            requests: replace(&mut way.requests, Requests::new()),
            reassembly: take(&mut way.reassembly),
            unknown_spi: way.unknown_spi,
            icmp: way.icmp.clone(),
            stats: way.stats.clone(),
        }
    }

    pub(super) fn put_back(self, way: &mut Way, pool: &mut FramePool) {
        way.nat.dry(false);
        way.share.dry = false;
        way.dry = false;
        let Self { flows, events, requests, reassembly, unknown_spi, icmp, stats } = self;
        // Frames of fragments that waited for the others go home.
        way.reassembly.expire(pool, &mut way.stats, Now { ms: u64::MAX });
        while let Some(event) = way.events.pop() {
            if let WorkerEvent::Acquire { tunnel, .. } = event
                && let Some(tunnel) = way.db.tunnels.get_mut(tunnel)
            {
                // It might be said, since none was said lately: so it may be said still.
                tunnel.acquired = Throttle::default();
            }
        }
        (way.flows, way.events, way.requests) = (flows, events, requests);
        (way.reassembly, way.unknown_spi, way.icmp, way.stats) = (reassembly, unknown_spi, icmp, stats);
    }
}
