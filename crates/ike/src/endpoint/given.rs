//! Addresses that peers gave to connections which asked for them.
//!
//! Decides: when what a connection has is another thing. Reads: its IKE SAs. Writes: [`Event::Given`].
//! Never: touches an interface (the control process does).

use super::Endpoint;
use crate::config::ConnectionId;
use crate::event::Event;
use crate::ike_sa::Phase;
use crate::task::address::Assigned;

impl Endpoint {
    /// All that the IKE SAs of the connection have, told when it is not what was told last. The newest goes first.
    pub(super) fn tell_given(&mut self, id: ConnectionId) {
        if !self.shared.given.contains_key(&id) {
            return;
        }
        let mut now = Assigned::default();
        let mut ids: Vec<_> = self.tables.of_connection(id).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        for sa in ids.iter().filter_map(|id| self.sas.get(id)) {
            if sa.established().is_some_and(|e| e.phase != Phase::Deleting) {
                now.add(&sa.core.assigned);
            }
        }
        let Some((last, in_use)) = self.shared.given.get_mut(&id) else { return };
        if if now.is_empty() { !*in_use } else { *in_use && *last == now } {
            return;
        }
        *in_use = !now.is_empty();
        let Assigned { addresses, dns } = now.clone();
        if *in_use {
            *last = now;
        } else if self.shared.connections.get(id).is_none() {
            self.shared.given.remove(&id);
        }
        self.shared.event(Event::Given { connection: id, addresses, dns });
    }
}
