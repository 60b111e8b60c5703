//! Asking whether the peer lives (RFC 7296 §2.4): an empty INFORMATIONAL. Any answer will do.

use crate::counters::Counter;
use crate::endpoint::Cx;
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct Liveness;

impl Liveness {
    #[allow(clippy::unused_self)] // the shape of all tasks
    pub(super) fn build(&self, cx: &mut Cx<'_>) -> Vec<Payload> {
        cx.count(Counter::LivenessChecks);
        Vec::new()
    }
}
