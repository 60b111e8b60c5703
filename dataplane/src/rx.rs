//! Where a batch comes from: the worker's sockets, its inbox, the TUN device, in turns.
//!
//! Decides: how many packets are taken, never more than every transmit ring has room for: what then waits, the kernel
//! drops and counts. Writes: the batch. Never: looks into packets.

use crate::handoff::{Item, Mailbox};
use crate::punt::Punt;
use crate::tx::Ports;
use arrayvec::ArrayVec;
use ravelin_dataplane::{Batch, MAX_RECEIVED};
use ravelin_ring::msg::PortId;
use ravelin_xsk::{Frame, FramePool};

/// The TUN device is asked this often under load; when idle, poll(2) says when.
const TUN_EVERY: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Rx {
    frames: ArrayVec<Frame, MAX_RECEIVED>,
    /// Rises every turn, so that each source is first in its turn.
    turn: usize,
    /// poll(2) said so, or the last read left something.
    pub(crate) tun_ready: bool,
}

impl Rx {
    /// Fills the batch; finished frames that only have to be sent come out through `transmit`.
    pub(crate) fn gather(
        &mut self,
        batch: &mut Batch,
        ports: &mut Ports,
        mailbox: &Mailbox,
        punt: &mut Punt,
        pool: &mut FramePool,
        mut transmit: impl FnMut(&mut Ports, &mut FramePool, Frame, PortId),
    ) {
        self.turn = self.turn.wrapping_add(1);
        let room = ports.tx_room(MAX_RECEIVED);
        let mut budget = room;
        // Half of the batch for other workers' packets at most: they have been received already, but ports wait too.
        for _ in 0..room.min(MAX_RECEIVED / 2) {
            match mailbox.take() {
                Some(Item::Packet { frame, origin }) => {
                    budget -= 1;
                    if let Err(frame) = batch.receive(frame, origin) {
                        pool.free(frame); // not reached: the batch was empty
                    }
                }
                Some(Item::Transmit { frame, port }) => transmit(ports, pool, frame, port),
                None => break,
            }
        }
        if (self.tun_ready || self.turn.is_multiple_of(TUN_EVERY)) && budget > 0 {
            let before = batch.packets.len();
            self.tun_ready = punt.take(batch, pool, budget, self.tun_ready);
            budget = budget.saturating_sub(batch.packets.len() - before);
        }
        self.receive(batch, ports, budget, pool);
    }

    fn receive(&mut self, batch: &mut Batch, ports: &mut Ports, mut budget: usize, pool: &mut FramePool) {
        let sockets = ports.sockets.len();
        for i in 0..sockets {
            let at = (i + self.turn) % sockets;
            let Some(bound) = ports.sockets.get_mut(at) else { continue };
            let got = bound.socket.receive(&mut self.frames, budget.min(batch.room()));
            budget = budget.saturating_sub(got);
            let mut frames = self.frames.drain(..);
            batch.receive_from(bound.port, &mut frames);
            frames.for_each(|frame| pool.free(frame)); // none: no more than its room was received
        }
    }
}
