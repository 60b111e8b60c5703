//! A peer that is heard from another address or port while NATs stand before both of us (RFC 7296 §2.23).
//!
//! Decides: when to follow it. A host behind a NAT should not do so by itself: whoever can write other addresses on the
//! peer's messages would turn our traffic away. So the peer is asked where it was, and its silence there lets us follow.
//! Reads: where new, authentic requests come from. Writes: the path. Never: follows a peer that answers where it was.

use super::{Core, Established, Phase, Via};
use crate::endpoint::Cx;
use crate::task::mobike::{Mobility, Update};
use crate::task::{Task, liveness::Liveness};
use core::net::SocketAddr;

/// The question where it was is sent again so often: three seconds, by the default timers.
pub(super) const TRIES: u32 = 1;

/// Remote address, and whether it came by the NAT-T port.
pub(crate) type Elsewhere = (SocketAddr, bool);

impl Established {
    /// An authentic, new message came this way. Answers say nothing: they may come back by another way than ours.
    pub(super) fn heard_from(&mut self, core: &mut Core, cx: &mut Cx<'_>, via: Via, response: bool) {
        let place = (via.remote, via.local.port() == cx.config.natt_port);
        let here = place == (core.path.remote, core.path.natt);
        if here || response {
            core.elsewhere = None;
            return;
        }
        // Without MOBIKE whoever has no NAT before it follows at once.
        let asks = core.path.nat_remote && (core.path.nat_local || core.mobility == Mobility::Leads);
        // With MOBIKE whoever began says where it is.
        if !asks || core.mobility == Mobility::Follows || self.phase != Phase::Live {
            return;
        }
        // The question is under way: what comes meanwhile does not make it longer.
        if core.elsewhere.replace(place).is_some() {
            return;
        }
        core.trace(cx, || format!("the peer is heard from {}: it is asked where it was", via.remote));
        core.window.shorten(TRIES);
        self.push(cx, Task::Liveness(Liveness));
    }

    /// The peer does not answer where it was. False: nor was it heard from another place.
    pub(super) fn follow_elsewhere(&mut self, core: &mut Core, cx: &mut Cx<'_>) -> bool {
        let Some((remote, natt)) = core.elsewhere.take().filter(|_| self.phase == Phase::Live) else {
            return false;
        };
        core.trace(cx, || format!("the peer does not answer where it was: it is at {remote}"));
        (core.path.remote, core.path.natt) = (remote, natt);
        self.follow_path(core, cx);
        if core.mobility == Mobility::Leads {
            self.push(cx, Task::Update(Update::new()));
        }
        core.window.hurry(cx.now);
        core.window.shorten(cx.config.timers.retransmit_tries);
        true
    }
}
