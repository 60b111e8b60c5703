//! What routers on the way said about packets of ours.

use super::Core;
use crate::icmp::TooBig;
use std::time::Instant;
use tracing::info;

impl Core {
    pub(in crate::driver) fn too_big(&mut self, now: Instant, notices: &[TooBig]) {
        for notice in notices {
            if self.installer.too_big(now, notice) {
                info!(remote = %notice.remote, mtu = notice.mtu, "the way to a peer is narrower than configured");
            }
        }
    }
}
