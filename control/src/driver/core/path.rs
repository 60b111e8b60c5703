//! What routers on the way said about packets of ours.

use super::Core;
use crate::icmp::TooBig;
use ravelin_ring::msg::VrfId;
use std::time::Instant;
use tracing::info;

impl Core {
    pub(in crate::driver) fn too_big(&mut self, now: Instant, vrf: VrfId, notice: &TooBig) {
        if self.installer.too_big(now, vrf, notice) {
            info!(remote = %notice.remote, mtu = notice.mtu, "the way to a peer is narrower than configured");
        }
    }
}
