//! How much the ways to the peers carry, as routers on them said (RFC 4301 §8.2.1).
//!
//! Decides: whether a notice concerns an SA of ours, and how long it is believed. Writes: commands for the workers that own
//! those SAs. Never: raises an MTU by a notice, only by forgetting one; remembers a way that no SA of ours goes.

use super::{Installer, Waiting};
use crate::icmp::{Quoted, TooBig};
use ravelin_ring::msg::{Direction, SaId, VrfId, WorkerCommand, WorkerId};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// RFC 1191 §6.3 recommends it: the way may have become wider.
const BELIEVED: Duration = Duration::from_secs(600);

/// From us to a peer, in the VRF where both are.
type Way = (VrfId, IpAddr, IpAddr);

/// No larger than the number of outbound SAs.
#[derive(Debug, Default)]
pub(super) struct Paths(BTreeMap<Way, (u16, Instant)>);

impl Installer {
    /// A router of this VRF dropped a packet of ours. True: an SA of ours leaves by that way, and the way is narrower than was known.
    pub fn too_big(&mut self, now: Instant, vrf: VrfId, notice: &TooBig) -> bool {
        let way = (vrf, notice.local, notice.remote);
        let ours = self.leaving_by(way).any(|(_, spi, _)| notice.quoted == Quoted::Sa { spi });
        let narrower = self.paths.0.get(&way).is_none_or(|(mtu, _)| notice.mtu < *mtu);
        if !ours || !narrower {
            return false;
        }
        self.paths.0.insert(way, (notice.mtu, now + BELIEVED));
        self.tell(way, notice.mtu);
        true
    }

    /// Ways whose time is over are taken for as wide as the configuration says.
    pub fn age_paths(&mut self, now: Instant) {
        let over: Vec<Way> =
            self.paths.0.iter().filter(|(_, (_, until))| *until <= now).map(|(way, _)| *way).collect();
        for way in over {
            self.paths.0.remove(&way);
            self.tell(way, 0);
        }
    }

    /// A new SA begins with what is known of its way.
    pub(super) fn begin_path(&mut self, sa: SaId, worker: WorkerId, way: Way) {
        if let Some((mtu, _)) = self.paths.0.get(&way).copied() {
            let token = self.token(Waiting::Other);
            self.push(worker, WorkerCommand::PathMtu { token, sa, mtu });
        }
    }

    fn tell(&mut self, way: Way, mtu: u16) {
        let all: Vec<_> = self.leaving_by(way).map(|(sa, _, worker)| (sa, worker)).collect();
        for (sa, worker) in all {
            let token = self.token(Waiting::Other);
            self.push(worker, WorkerCommand::PathMtu { token, sa, mtu });
        }
    }

    /// Outbound SAs as the workers last reported them, with their SPIs.
    fn leaving_by(&self, way: Way) -> impl Iterator<Item = (SaId, u32, WorkerId)> {
        let outbound = self.halves.values().filter(|half| half.direction == Direction::Outbound);
        outbound.filter_map(move |half| {
            let report = half.report.as_ref()?;
            let same = (half.outside, report.local.ip(), report.remote.ip()) == way;
            same.then_some((half.id, half.spi.get(), half.worker))
        })
    }
}
