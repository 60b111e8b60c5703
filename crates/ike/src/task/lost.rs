//! A CREATE_CHILD_SA for a child that the control process before this one asked for: its private value is gone.
//!
//! Decides: that what it made, if anything, is deleted. What was wanted is asked for anew by itself.

use super::{Task, delete};
use crate::endpoint::{Action, Cx};
use crate::header::Exchange;
use crate::ike_sa::{Core, Established};
use crate::message::View;

#[derive(Debug)]
pub(crate) struct Lost {
    /// Ours, in the request.
    pub(crate) inbound: delete::Inbound,
    /// It was at its second key exchange.
    pub(crate) second: bool,
}

impl Lost {
    pub(super) const fn exchange(&self) -> Exchange {
        if self.second { Exchange::IkeFollowupKe } else { Exchange::CreateChildSa }
    }

    pub(super) fn process(self, core: &Core, sa: &mut Established, cx: &mut Cx<'_>, view: View<'_>) {
        if view.error().is_none() {
            sa.push(cx, Task::Delete(delete::Delete::child(self.inbound)));
        }
        cx.act(Action::Reconcile(core.connection.id));
    }
}
