//! How an established IKE SA ends: by a Delete of ours, at once, or in favour of the one that a rekey made.
//!
//! Decides: what becomes of its children and tasks. Writes: its phase. Never: waits for an answer (a task does).

use super::{Core, Established, IkeSa, Phase, State};
use crate::counters::Counter;
use crate::endpoint::{Action, Cx, NO_ADDRESS, SILENT};
use crate::event::IkeSaId;
use crate::task::{Task, delete};

impl IkeSa {
    /// A newer IKE SA with the same peer is up. What this one carries goes on until the newer one's children are in
    /// force; then it goes.
    pub(crate) fn supersede(&mut self, cx: &mut Cx<'_>) {
        if let State::Established(e) = &mut self.state {
            let at = cx.now + cx.config.timers.grace;
            e.push_at(cx, Task::Delete(delete::Delete::ike()), at);
        }
    }
}

impl Established {
    /// Children go at once, the peer is told.
    pub(crate) fn begin_delete(&mut self, core: &Core, cx: &mut Cx<'_>, why: &str) {
        self.drop_children(cx, why);
        self.queue.clear();
        self.series.clear();
        self.phase = Phase::Deleting;
        self.announce_down(core, cx, why);
        self.push(cx, Task::Delete(delete::Delete::ike()));
    }

    /// The peer deleted it, or it cannot go on: no word more, but repeated requests still get their answer.
    pub(crate) fn close(&mut self, core: &Core, cx: &mut Cx<'_>, why: &str) -> State {
        self.drop_children(cx, why);
        self.announce_down(core, cx, why);
        cx.count(Counter::IkeClosed);
        State::Closed { until: cx.now + cx.config.timers.linger, stranger: false }
    }

    pub(crate) fn announce_down(&mut self, core: &Core, cx: &mut Cx<'_>, why: &str) {
        // Only what was lost can be resumed, not what somebody ended.
        if why != SILENT && why != NO_ADDRESS {
            cx.kept.ended(core.connection.id, core.id);
            let (now, ticket) = (cx.now, self.session.ticket.take());
            ticket.into_iter().for_each(|ticket| cx.tickets.spend(now, ticket));
        }
        if core::mem::take(&mut self.announced) {
            let connection = core.connection.id;
            cx.act(Action::Down { connection, ike: core.id, why: why.to_owned(), announced: true });
        }
    }

    /// Our own rekey came to nothing, the peer's did not: what we have goes to the SA that it made.
    pub(crate) fn hand_over_to_rival(&mut self, core: &Core, cx: &mut Cx<'_>) -> bool {
        let rival = self.rival.take();
        if let Some(rival) = &rival {
            self.hand_over(core, cx, rival.ike);
        }
        rival.is_some()
    }

    /// Children and waiting tasks go to `to`; whoever made that one deletes this one.
    pub(crate) fn hand_over(&mut self, core: &Core, cx: &mut Cx<'_>, to: IkeSaId) {
        tracing::debug!(from = core.id.0, to = to.0, "IKE SA rekeyed");
        self.phase = Phase::Rekeyed { until: cx.now + cx.config.timers.linger };
        cx.count(Counter::IkeRekeyed);
        let children = core::mem::take(&mut self.children);
        let mut queue = core::mem::take(&mut self.queue);
        // It has just been done.
        queue.retain(|w| !matches!(w.task, Task::IkeRekey(_)));
        self.series.clear();
        cx.act(Action::Inherit { from: core.id, to, children, queue });
    }
}
