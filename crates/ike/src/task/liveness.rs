//! Asking whether the peer lives (RFC 7296 §2.4): an INFORMATIONAL, empty but for what finds out whether a NAT before us
//! gave us another mapping (RFC 4555 §3.8). Any answer will do.

use super::mobike;
use crate::counters::Counter;
use crate::endpoint::Cx;
use crate::ike_sa::{Core, Established};
use crate::message::View;
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct Liveness;

impl Liveness {
    #[allow(clippy::unused_self)] // the shape of all tasks
    pub(super) fn build(&self, core: &Core, cx: &mut Cx<'_>) -> Vec<Payload> {
        cx.count(Counter::LivenessChecks);
        if mobike::watches_mapping(core) {
            core.path.detection(&cx.config, core.spis()).to_vec()
        } else {
            Vec::new()
        }
    }

    #[allow(clippy::unused_self)]
    pub(super) fn process(self, core: &mut Core, sa: &mut Established, cx: &mut Cx<'_>, view: View<'_>) {
        mobike::mapped(core, sa, cx, view);
    }
}
