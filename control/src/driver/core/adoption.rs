//! SAs that the data plane has from a control process before this one.
//!
//! Decides: which of them stay. Reads: what the workers report, the configuration. Writes: the installer's list.
//! Never: takes an SA away before its tunnel has another, unless it fits none.

use super::Core;
use tracing::info;

impl Core {
    /// The data plane has SAs of a control process before this one: asks for them.
    pub(in crate::driver) fn begin_adoption(&mut self) {
        self.adopting = true;
        self.installer.ask_reports();
    }

    /// Once every worker has reported: what fits no tunnel goes, the rest is known. True when it is over.
    pub(in crate::driver) fn adoption_ended(&mut self) -> bool {
        if self.installer.is_reporting() {
            return false;
        }
        self.adopting = false;
        let (config, known, peers) = (&self.config, self.ids_known, &self.peers);
        self.installer.drop_adopted(|half| {
            let Some(report) = &half.report else { return true };
            let tunnel = config.tunnel_by_id(peers.tunnel(half.tunnel));
            // The number alone is not enough: traffic would go to another peer.
            !known
                || !tunnel.is_some_and(|t| {
                    t.locals().any(|l| l == report.local.ip()) && t.has_gateway(report.remote.ip())
                })
        });
        info!(
            kept = self.installer.adopted().filter(|h| !h.leaving).count(),
            "SAs of the data plane adopted"
        );
        true
    }
}
