//! Crypto that workers share: a turn's part of it.
//!
//! Decides: how much of a turn goes into it. Never: lets a burst's packets out before every port has room for them.

use super::Runner;
use ravelin_dataplane::{MAX_RECEIVED, Now, Worker};
use ravelin_ring::msg::WorkerCommand;

/// Bursts of others in one turn: its own packets wait meanwhile.
const HELP: usize = 2;

/// A change of SAs whose packets others have: when it is answered, none of the old ones may still be on the way. The peer
/// lets go of an SA as soon as it hears that no more is sent by it, and keys are wiped when it is said that they are.
pub(super) fn has_to_wait(command: &WorkerCommand, worker: &Worker) -> bool {
    use WorkerCommand as C;
    worker.away() > 0
        && matches!(
            command,
            C::UseOutbound { .. } | C::StopOutbound { .. } | C::RemoveSa { .. } | C::MoveSa { .. }
        )
}

impl Runner {
    /// After a batch of so many packets. True: something was done.
    pub(super) fn share(&mut self, received: usize, now: Now) -> bool {
        let Self { worker, batch, pool, ports, punt, tx, .. } = self;
        let lent = worker.take_lent();
        if lent > 0 {
            tx.mesh.wake_others(tx.me, lent);
        }
        let mut any = lent > 0;
        if !worker.is_loaded(received) {
            for _ in 0..HELP {
                let Some(owner) = worker.help() else { break };
                tx.mesh.mailbox(owner).map(|mailbox| mailbox.wake());
                any = true;
            }
        }
        any |= worker.work_alone(received == 0, now);
        while ports.tx_room(MAX_RECEIVED) == MAX_RECEIVED && worker.resume(batch, pool, now) {
            tx.carry_out(batch, ports, punt, pool, worker.stats_mut());
            any = true;
        }
        any
    }
}
