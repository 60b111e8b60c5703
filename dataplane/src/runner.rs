//! One worker: its turn, and how it rests. What thread runs it is [`crew`]'s.
//!
//! A turn: orders of the main thread, commands of the control process (some), one batch, events. After a short spin
//! without work it sleeps in poll(2) on its sockets, its TUN queue and its bell.
//! Never: blocks while there is work; frees tables; logs per packet.

mod crew;
mod handle;
mod shared;
mod supervise;

pub(crate) use handle::{Handle, Life, Line, Order, Parts, Stopped};
#[cfg(debug_assertions)]
pub(crate) use supervise::Fault;

use crate::handoff::Mailbox;
use crate::punt::Punt;
use crate::rx::Rx;
use crate::tx::{Ports, Tx};
use arrayvec::ArrayVec;
use nix::poll::{PollFd, PollFlags};
use ravelin_dataplane::{Batch, MAX_RECEIVED, Now, Tap, Worker};
use ravelin_ring::counters::Counter;
use ravelin_ring::msg::{InterfaceId, WorkerCommand, WorkerId};
use ravelin_ring::server::WorkerLink;
use ravelin_xsk::FramePool;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use supervise::MAX_FAILURES;

/// Commands per turn: an install costs some microseconds, packets should not wait for a burst of them.
const COMMANDS_PER_TURN: usize = 16;
const EVENTS_PER_TURN: usize = 64;
/// What poll(2) said of the TUN devices.
#[derive(Default)]
struct Woken {
    /// One of them has packets.
    tun_ready: bool,
    tun_lost: bool,
    /// Someone deleted them: the main thread makes them again, where they are wanted.
    devices_lost: Vec<InterfaceId>,
}

#[derive(Debug)]
pub(crate) struct Runner {
    line: Arc<Line>,
    core: usize,
    worker: Worker,
    batch: Batch,
    pool: FramePool,
    ports: Ports,
    punt: Punt,
    rx: Rx,
    tx: Tx,
    link: Option<Box<WorkerLink>>,
    /// See [`shared::has_to_wait`].
    postponed: Option<WorkerCommand>,
    /// Somebody captures.
    tap: Option<Box<Tap>>,
    started: Instant,
    anomalies: u64,
    /// Lately.
    failures: ArrayVec<Instant, MAX_FAILURES>,
    /// Of these, on the thread that runs it.
    here: usize,
    /// Others whose threads ended: this one's takes them too.
    adopted: Vec<Box<Self>>,
    #[cfg(debug_assertions)]
    fault: Option<Fault>,
    stop: bool,
}

impl Runner {
    fn new(parts: Parts, line: Arc<Line>) -> Self {
        let frames = u32::try_from(parts.pool.available()).unwrap_or(u32::MAX);
        Self {
            line,
            core: parts.core,
            worker: parts.worker,
            batch: Batch::new(),
            pool: parts.pool,
            ports: Ports::new(frames),
            punt: Punt::new(parts.tun),
            rx: Rx::default(),
            tx: Tx { me: parts.id, mesh: parts.mesh, egress: parts.egress },
            link: None,
            postponed: None,
            tap: None,
            started: parts.started,
            anomalies: 0,
            failures: ArrayVec::new(),
            here: 0,
            adopted: vec![],
            #[cfg(debug_assertions)]
            fault: None,
            stop: false,
        }
    }

    /// True: something was done.
    fn turn(&mut self, clock: Instant) -> bool {
        self.line.beat();
        let now = self.now(clock);
        let mut busy = self.orders();
        busy |= self.commands();
        busy |= self.packets(now);
        self.events(now);
        if busy {
            self.show();
        }
        busy
    }

    fn id(&self) -> WorkerId {
        self.tx.me
    }

    fn now(&self, clock: Instant) -> Now {
        Now { ms: u64::try_from(clock.duration_since(self.started).as_millis()).unwrap_or(u64::MAX) }
    }

    fn stopped(self) -> Stopped {
        Stopped { _ports: self.ports, _pool: self.pool }
    }

    fn orders(&mut self) -> bool {
        let mut any = false;
        while let Some(order) = self.line.orders.pop() {
            any = true;
            match order {
                Order::Tables { number, tables } => {
                    // The old ones live on in the main thread until every worker has let go.
                    self.worker.set_tables(tables);
                    self.line.tables.store(number, Ordering::Release);
                    self.line.main.ring();
                }
                Order::Session(link) => {
                    self.postponed = None; // nobody waits for it any more
                    if let Some(old) = self.link.replace(link) {
                        let _ = self.line.returns.push(old);
                        self.line.main.ring();
                    }
                    self.anomalies = 0;
                }
                Order::AddSocket { port, socket } => {
                    self.ports.add(port, *socket);
                    self.ports.turn_over(&mut self.pool);
                }
                Order::RemovePort { port } => {
                    let lost = self.ports.remove(port, &mut self.pool);
                    if lost > 0 {
                        tracing::debug!(port = port.0, lost, "frames lost with the port's sockets");
                    }
                }
                Order::Explain(ask) => {
                    let now = self.now(Instant::now());
                    ask.answer(&mut self.worker, &mut self.batch, &mut self.pool, now);
                }
                Order::Tap(tap) => {
                    self.worker.pause_sharing(tap.is_some());
                    self.tap = tap;
                }
                Order::AddDevice { interface, queue } => self.punt.add(interface, queue),
                Order::RemoveDevice { interface } => self.punt.remove(interface),
                Order::Moved => self.worker.stats_mut().count(Counter::Stalls),
                Order::Adopt(other) => self.adopted.push(other),
                #[cfg(debug_assertions)]
                Order::Fail(fault) => self.fault = Some(fault),
                Order::Stop => self.stop = true,
            }
        }
        any
    }

    /// A command is taken only when its answer has room.
    fn commands(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let mut any = false;
        for _ in 0..COMMANDS_PER_TURN {
            if link.events.room(1) == 0 {
                break;
            }
            let Some(command) = self.postponed.take().map(Ok).or_else(|| link.commands.pop()) else { break };
            match command {
                Ok(command) if shared::has_to_wait(&command, &self.worker) => {
                    self.postponed = Some(command);
                    break;
                }
                Ok(command) => {
                    any = true;
                    if let Some(answer) = self.worker.apply(command) {
                        // There is room: checked above.
                        let _ = link.events.push(&answer);
                    }
                }
                Err(_) => self.worker.stats_mut().count(Counter::BadCommands),
            }
        }
        let anomalies = link.commands.anomalies() + link.events.anomalies();
        let new = anomalies.saturating_sub(self.anomalies);
        self.worker.stats_mut().add(Counter::BadCommands, new);
        self.anomalies = anomalies;
        any
    }

    fn packets(&mut self, now: Now) -> bool {
        let Self { line, worker, batch, pool, ports, punt, rx, tx, tap, postponed, .. } = self;
        let Some(mailbox) = line.mesh.mailbox(tx.me) else { return false };
        let mut sent = false;
        worker.release(batch, ports.tx_room(MAX_RECEIVED), pool, now);
        // What waited goes by itself: nothing else may take the room that was asked for it. Who captures has all packets
        // of a batch at once, and who changes SAs none of their packets on the way: what others have of them comes back first.
        let settles = worker.away() > 0 && (tap.is_some() || postponed.is_some());
        if batch.packets.is_empty() && !settles {
            rx.gather(batch, ports, mailbox, punt, pool, |ports, pool, frame, port| {
                worker.stats_mut().count(Counter::HandedIn);
                tx.transmit(frame, port, ports, pool, worker.stats_mut());
                sent = true;
            });
        }
        let received = batch.packets.len();
        if received > 0 {
            match tap {
                None => worker.process(batch, pool, now),
                Some(tap) => worker.process_watched(batch, pool, now, &mut **tap),
            }
            #[cfg(debug_assertions)]
            supervise::fail(&mut self.fault);
            tx.carry_out(batch, ports, punt, pool, worker.stats_mut());
        }
        if self.worker.shares() {
            sent |= self.share(received, now);
        }
        let Self { line, pool, ports, tx, .. } = self;
        let busy = received > 0 || sent;
        if busy || ports.in_flight() > 0 {
            ports.kick();
        }
        ports.turn_over(pool);
        while let Some(frame) = line.mesh.mailbox(tx.me).and_then(Mailbox::take_home) {
            pool.free(frame);
        }
        while let Some(frame) = pool.take_foreign() {
            tx.mesh.send_home(pool.home_of(&frame), frame);
        }
        busy
    }

    fn events(&mut self, now: Now) {
        let Some(link) = &mut self.link else { return };
        let room = link.events.room(EVENTS_PER_TURN).min(EVENTS_PER_TURN);
        for _ in 0..room {
            let Some(event) = self.worker.next_event(now) else { break };
            let _ = link.events.push(&event); // there is room
        }
        link.events.notify();
    }

    /// Copies the counters to where the control process sees them.
    fn show(&self) {
        if let Some(link) = &self.link {
            let stats = self.worker.stats();
            link.counters.write(stats.counters.iter().chain(&stats.drops).copied());
        }
    }

    /// Waits for something at these, the bell first: see [`Self::woken`].
    fn fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
        fds.push(input(self.line.bell.as_fd()));
        fds.extend(self.punt.fd().map(input));
        fds.extend(self.ports.sockets.iter().map(|bound| input(bound.socket.as_fd())));
        fds.extend(self.punt.fds().map(|(_, queue)| input(queue)));
    }

    /// What poll(2) said of [`Self::fds`].
    fn woken(&self, mut events: impl Iterator<Item = PollFlags>) -> Woken {
        let mut next = || events.next().unwrap_or(PollFlags::empty());
        let mut woken = Woken::default();
        if next().contains(PollFlags::POLLIN) {
            self.line.bell.clear();
        }
        let tun = if self.punt.fd().is_some() { next() } else { PollFlags::empty() };
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        (woken.tun_ready, woken.tun_lost) = (tun.contains(PollFlags::POLLIN), tun.intersects(gone));
        self.ports.sockets.iter().for_each(|_| _ = next());
        for (id, _) in self.punt.fds() {
            let events = next();
            woken.tun_ready |= events.contains(PollFlags::POLLIN);
            woken.devices_lost.extend(events.intersects(gone).then_some(id));
        }
        woken
    }

    fn wake(&mut self, woken: Woken) {
        self.rx.tun_ready |= woken.tun_ready;
        if woken.tun_lost {
            self.punt.lost();
        }
        woken.devices_lost.into_iter().for_each(|id| self.punt.remove(id));
    }
}
