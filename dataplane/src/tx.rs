//! Where packets go by their verdict, and what is counted of it.
//!
//! Decides: which socket of a port sends. Reads: verdicts. Writes: transmit rings, the TUN device, other workers'
//! inboxes, `Forwarded`, `Punted`, `HandedOut` and the drops of what could not be carried out.
//! Never: changes a packet.

use crate::handoff::{Item, Mesh};
use crate::punt::Punt;
use ravelin_dataplane::{Batch, Stats, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::{PortId, WorkerId};
use ravelin_xsk::{Frame, FramePool, Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// One socket of this worker.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) port: PortId,
    pub(crate) socket: Socket,
    /// The last system call said that the device is down or gone; it is tried again every turn.
    down: bool,
}

/// For each port a worker that has a socket there; `NOBODY`: the port is gone. Written by the main thread.
#[derive(Clone, Debug)]
pub(crate) struct Egress(Arc<[AtomicU16]>);

const NOBODY: u16 = u16::MAX;

impl Egress {
    pub(crate) fn new(ports: usize) -> Self {
        Self((0..ports).map(|_| AtomicU16::new(NOBODY)).collect())
    }

    pub(crate) fn set(&self, port: PortId, worker: Option<WorkerId>) {
        if let Some(entry) = self.0.get(usize::from(port.0)) {
            entry.store(worker.map_or(NOBODY, |w| w.0), Ordering::Release);
        }
    }

    fn get(&self, port: PortId) -> Option<WorkerId> {
        let worker = self.0.get(usize::from(port.0))?.load(Ordering::Acquire);
        (worker != NOBODY).then_some(WorkerId(worker))
    }
}

/// The sockets of this worker.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) sockets: Vec<Bound>,
    frames: u32,
}

impl Ports {
    /// `frames`: how many this worker has at home.
    pub(crate) fn new(frames: u32) -> Self {
        Self { sockets: Vec::new(), frames }
    }

    pub(crate) fn add(&mut self, port: PortId, socket: Socket) {
        self.sockets.push(Bound { port, socket, down: false });
        self.share_frames();
    }

    /// Closes the port's sockets; how many frames were lost with them.
    pub(crate) fn remove(&mut self, port: PortId, pool: &mut FramePool) -> usize {
        let (gone, rest) = std::mem::take(&mut self.sockets).into_iter().partition(|b| b.port == port);
        self.sockets = rest;
        self.share_frames();
        let gone: Vec<Bound> = gone;
        gone.into_iter().map(|bound| bound.socket.close(pool)).sum()
    }

    /// Half of the frames wait for reception, the others are on their way.
    fn share_frames(&mut self) {
        let share = self.frames / 2 / u32::try_from(self.sockets.len().max(1)).unwrap_or(u32::MAX);
        for bound in &mut self.sockets {
            bound.socket.set_fill_limit(share);
        }
    }

    /// Packets that every port could take now, at most `want`. A port that is down holds nobody up.
    pub(crate) fn tx_room(&mut self, want: usize) -> usize {
        let up = self.sockets.iter_mut().filter(|bound| !bound.down);
        up.map(|bound| bound.socket.tx_room(want)).fold(want, usize::min)
    }

    fn of(&mut self, port: PortId) -> Option<&mut Bound> {
        self.sockets.iter_mut().find(|bound| bound.port == port)
    }

    /// Once per batch: hands what was sent to the kernel.
    pub(crate) fn kick(&mut self) {
        for bound in &mut self.sockets {
            bound.down = bound.socket.kick().is_err();
        }
    }

    /// Takes transmitted frames back, and lends empty ones for reception.
    pub(crate) fn turn_over(&mut self, pool: &mut FramePool) {
        for bound in &mut self.sockets {
            bound.socket.complete(pool);
            bound.socket.refill(pool);
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.sockets.iter().map(|bound| bound.socket.in_flight()).sum()
    }
}

/// How packets leave this worker.
#[derive(Debug)]
pub(crate) struct Tx {
    pub(crate) me: WorkerId,
    pub(crate) mesh: Mesh,
    pub(crate) egress: Egress,
}

impl Tx {
    /// Empties the batch.
    pub(crate) fn carry_out(
        &self,
        batch: &mut Batch,
        ports: &mut Ports,
        punt: &Punt,
        pool: &mut FramePool,
        stats: &mut Stats,
    ) {
        for packet in batch.packets.drain(..) {
            match packet.verdict {
                Verdict::Forward { port } => self.forward(packet.frame, port, ports, pool, stats),
                Verdict::Punt | Verdict::Deliver { .. } => {
                    let taken = if let Verdict::Deliver { interface } = packet.verdict {
                        punt.deliver(interface, &packet.frame)
                    } else {
                        punt.give(&packet.frame)
                    };
                    if taken {
                        stats.count(Counter::Punted);
                    } else {
                        stats.drop(Drop::PuntFull);
                    }
                    pool.free(packet.frame);
                }
                Verdict::HandOff { worker } => {
                    let item = Item::Packet { frame: packet.frame, origin: packet.origin };
                    self.pass(worker, item, pool, stats);
                }
                // Counted by the way already.
                Verdict::Drop(_) | Verdict::Consumed | Verdict::Held | Verdict::Pending => {
                    pool.free(packet.frame)
                }
            }
        }
    }

    fn forward(
        &self,
        frame: Frame,
        port: PortId,
        ports: &mut Ports,
        pool: &mut FramePool,
        stats: &mut Stats,
    ) {
        if ports.of(port).is_some() {
            self.transmit(frame, port, ports, pool, stats);
            return;
        }
        match self.egress.get(port).filter(|worker| *worker != self.me) {
            Some(worker) => self.pass(worker, Item::Transmit { frame, port }, pool, stats),
            None => {
                stats.drop(Drop::PortDown);
                pool.free(frame);
            }
        }
    }

    fn pass(&self, worker: WorkerId, item: Item, pool: &mut FramePool, stats: &mut Stats) {
        match self.mesh.send(worker, item) {
            Ok(()) => stats.count(Counter::HandedOut),
            Err(Item::Packet { frame, .. } | Item::Transmit { frame, .. }) => {
                stats.drop(Drop::HandoffFull);
                pool.free(frame);
            }
        }
    }

    /// By a socket of our own.
    pub(crate) fn transmit(
        &self,
        frame: Frame,
        port: PortId,
        ports: &mut Ports,
        pool: &mut FramePool,
        stats: &mut Stats,
    ) {
        let len = frame.len() as u64;
        let (why, frame) = match ports.of(port) {
            None => (Drop::PortDown, frame),
            Some(bound) => match bound.socket.send(frame) {
                Ok(()) => {
                    stats.count(Counter::Forwarded);
                    stats.add(Counter::ForwardedBytes, len);
                    return;
                }
                Err(frame) if bound.down => (Drop::PortDown, frame),
                Err(frame) => (Drop::TxFull, frame),
            },
        };
        stats.drop(why);
        pool.free(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::Mailbox;
    use ravelin_dataplane::{Bounds, Door, Origin, Packet};
    use ravelin_ring::Bell;
    use ravelin_xsk::{Umem, UmemConfig};
    use std::os::unix::net::UnixDatagram;

    /// Worker 0 of two, without any socket; a pair of datagram sockets plays the TUN device.
    struct Rig {
        tx: Tx,
        ports: Ports,
        punt: Punt,
        tun: UnixDatagram,
        pools: Vec<FramePool>,
        batch: Batch,
        stats: Stats,
    }

    fn rig() -> Rig {
        let umem = Umem::new(UmemConfig { frames: 4096, ..UmemConfig::default() }).unwrap();
        let mailbox = || Mailbox::new(4096, Arc::new(Bell::new().unwrap()));
        let mesh = Mesh([mailbox(), mailbox()].into_iter().collect());
        let (ours, tun) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        tun.set_nonblocking(true).unwrap();
        Rig {
            tx: Tx { me: WorkerId(0), mesh, egress: Egress::new(1) },
            ports: Ports::new(2048),
            punt: Punt::new(ours.into()),
            tun,
            pools: umem.pools(2),
            batch: Batch::new(),
            stats: Stats::default(),
        }
    }

    impl Rig {
        fn carry_out(&mut self, verdict: Verdict) {
            let mut frame = self.pools[0].alloc().unwrap();
            assert!(frame.extend(60));
            let mut packet =
                Packet::new(frame, Origin::HandedIn { door: Door::Tun, hops: 1, bounds: Bounds::NONE });
            packet.verdict = verdict;
            self.batch.push(packet).unwrap();
            let pool = &mut self.pools[0];
            self.tx.carry_out(&mut self.batch, &mut self.ports, &self.punt, pool, &mut self.stats);
            assert!(self.batch.packets.is_empty());
        }
    }

    // R303: each verdict is counted once, and no frame is lost.
    #[test]
    fn every_verdict_ends_in_one_counter() {
        let mut r = rig();
        r.carry_out(Verdict::Forward { port: PortId(0) });
        r.carry_out(Verdict::Forward { port: PortId(9) });
        assert_eq!(r.stats.dropped(Drop::PortDown), 2, "nobody has a socket there");
        r.carry_out(Verdict::Punt);
        assert_eq!(r.stats.get(Counter::Punted), 1);
        assert_eq!(r.tun.recv(&mut [0; 100]).unwrap(), 60);
        r.carry_out(Verdict::Drop(Drop::NoSa));
        r.carry_out(Verdict::Consumed);
        r.punt.lost();
        r.carry_out(Verdict::Punt);
        assert_eq!(r.stats.dropped(Drop::PuntFull), 1);
        r.carry_out(Verdict::HandOff { worker: WorkerId(7) });
        assert_eq!(r.stats.dropped(Drop::HandoffFull), 1, "there is no such worker");
        assert_eq!(r.pools[0].available(), 2048, "all frames are home");
        let counted: u64 = r.stats.drops.iter().sum();
        assert_eq!(counted, 4, "drops of the way are counted by the way");
    }

    #[test]
    fn what_is_handed_off_arrives_and_its_frame_goes_home() {
        let mut r = rig();
        r.tx.egress.set(PortId(0), Some(WorkerId(1)));
        let other = r.tx.mesh.clone();
        let other = other.mailbox(WorkerId(1)).unwrap();
        assert!(!other.about_to_sleep());
        r.carry_out(Verdict::HandOff { worker: WorkerId(1) });
        r.carry_out(Verdict::Forward { port: PortId(0) });
        assert_eq!(r.stats.get(Counter::HandedOut), 2);
        assert!(other.about_to_sleep(), "it must not sleep: packets wait");
        let Some(Item::Packet { frame, origin: Origin::HandedIn { hops: 1, .. } }) = other.take() else {
            panic!("the packet first");
        };
        let Some(Item::Transmit { frame: second, port: PortId(0) }) = other.take() else {
            panic!("then the frame for the port");
        };
        for frame in [frame, second] {
            r.pools[1].free(frame);
        }
        assert_eq!((r.pools[1].available(), r.pools[1].foreign()), (2048, 2));
        while let Some(frame) = r.pools[1].take_foreign() {
            let home = r.pools[1].home_of(&frame);
            r.tx.mesh.send_home(home, frame);
        }
        while let Some(frame) = r.tx.mesh.mailbox(WorkerId(0)).unwrap().take_home() {
            r.pools[0].free(frame);
        }
        assert_eq!(r.pools[0].available(), 2048);
    }

    #[test]
    fn a_full_inbox_is_a_counted_drop() {
        let mut r = rig();
        for _ in 0..1100 {
            r.carry_out(Verdict::HandOff { worker: WorkerId(1) });
        }
        assert_eq!(r.stats.get(Counter::HandedOut), 1024);
        assert_eq!(r.stats.dropped(Drop::HandoffFull), 76);
        assert_eq!(r.pools[0].available(), 1024);
    }
}
