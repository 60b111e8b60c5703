//! Copies of packets on their way, for captures and traces (R50, R51, R198).
//!
//! Decides: which packets are told about, once their way is over: one that matches at any stage is told at all stages asked
//! for. Reads: packets between stages. Writes: records into a bounded queue. Never: waits, allocates, or changes what
//! becomes of a packet; a record that finds no room is counted.

mod filter;

use crate::packet::{Origin, Packet};
use crate::probe::{Point, Probe, View};
use crate::sa::SaDb;
use crate::verdict::Verdict;
use crossbeam::queue::ArrayQueue;
pub use filter::Filter;
use filter::Seen;
use ravelin_ring::inspect::{Record, Stage};
use ravelin_ring::msg::WorkerId;
use ravelin_wire::Bytes as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// What workers and their reader share. Everything is allocated before the first packet.
#[derive(Debug)]
pub struct Records {
    free: ArrayQueue<Box<Record>>,
    full: ArrayQueue<Box<Record>>,
    lost: AtomicU64,
}

impl Records {
    /// Some batches at every stage.
    const COUNT: usize = 4096;

    pub fn new(snaplen: usize) -> Arc<Self> {
        let me = Self {
            free: ArrayQueue::new(Self::COUNT),
            full: ArrayQueue::new(Self::COUNT),
            lost: AtomicU64::new(0),
        };
        for _ in 0..Self::COUNT {
            let _ = me.free.push(Box::new(Record::with_room(snaplen))); // there is room
        }
        Arc::new(me)
    }

    /// The next one for the reader, who gives it back by [`Self::done`].
    pub fn next(&self) -> Option<Box<Record>> {
        self.full.pop()
    }

    pub fn done(&self, record: Box<Record>) {
        let _ = self.free.push(record); // there is room for all there are
    }

    /// Records that found no room since this was asked last.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// One worker's end.
#[derive(Debug)]
pub struct Tap {
    filter: Filter,
    records: Arc<Records>,
    worker: WorkerId,
    next_id: u64,
    /// Received packets, for the sample.
    received: u64,
    marks: Vec<Mark>,
    /// Of this batch, with the place of each one's packet.
    kept: Vec<(u16, Box<Record>)>,
}

/// What is known of a packet of the batch.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    id: u64,
    port: u16,
    sampled: bool,
    /// In or out of an SA.
    sa: Option<Named>,
    seen: Seen,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    spi: u32,
    id: u64,
    tunnel: u32,
    sequence: u64,
}

impl Tap {
    pub fn new(filter: Filter, records: Arc<Records>, worker: WorkerId) -> Self {
        let (marks, kept) = (Vec::with_capacity(crate::MAX_BATCH), Vec::with_capacity(Records::COUNT));
        Self { filter, records, worker, next_id: 1, received: 0, marks, kept }
    }

    fn begin(&mut self, view: &View<'_>) {
        self.marks.clear();
        self.meet(view);
        let now = now();
        for (at, packet) in (0u16..).zip(view.batch.packets.iter()) {
            let ethernet = matches!(packet.origin, Origin::Port(_));
            self.see(at, packet, ethernet);
            self.keep(at, packet, Stage::Rx, ethernet, now);
            self.keep(at, packet, Stage::Drop, ethernet, now);
        }
    }

    /// Numbers packets that have no number yet.
    fn meet(&mut self, view: &View<'_>) {
        for packet in view.batch.packets.iter().skip(self.marks.len()) {
            self.received += 1;
            let port = match packet.origin {
                Origin::Port(port) => port.0,
                Origin::Tun | Origin::Device(_) | Origin::HandedIn { .. } | Origin::Released { .. } => {
                    Record::NONE
                }
            };
            let sampled = self.filter.samples(self.received);
            let seen = self.filter.begin(port);
            self.marks.push(Mark { id: self.next_id, port, sampled, sa: None, seen });
            self.next_id += 1;
        }
    }

    fn see(&mut self, at: u16, packet: &Packet, ethernet: bool) {
        if let Some(mark) = self.marks.get_mut(usize::from(at)) {
            self.filter.look(&mut mark.seen, packet.frame.data(), ethernet);
        }
    }

    fn name(&mut self, at: u16, named: Named) {
        if let Some(mark) = self.marks.get_mut(usize::from(at)) {
            mark.sa = Some(named);
            self.filter.name(&mut mark.seen, named.spi, named.tunnel);
        }
    }

    /// Packets on their way at this stage.
    fn pass(&mut self, view: &View<'_>, places: &[u16], stage: Stage) {
        let now = now();
        for &at in places {
            let Some(packet) = view.batch.packets.get(usize::from(at)).filter(|p| p.pending()) else {
                continue;
            };
            if stage == Stage::Decrypted && !packet.meta.opened {
                continue;
            }
            self.see(at, packet, false);
            self.keep(at, packet, stage, false, now);
        }
    }

    /// A copy, if this stage of this packet may be wanted.
    fn keep(&mut self, at: u16, packet: &Packet, stage: Stage, ethernet: bool, now: u64) {
        let Some(mark) = self.marks.get(usize::from(at)).filter(|mark| mark.sampled) else { return };
        if !self.filter.wants(stage) {
            return;
        }
        let Some(mut record) = self.records.free.pop() else {
            self.records.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let bytes = packet.frame.data();
        record.bytes.clear();
        let room = record.bytes.capacity().min(self.filter.snaplen());
        record.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        record.length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        (record.stage, record.ethernet, record.worker) = (stage, ethernet, self.worker.0);
        (record.id, record.time_us, record.port, record.egress) = (mark.id, now, mark.port, Record::NONE);
        let none = Named { spi: 0, id: 0, tunnel: u32::MAX, sequence: 0 };
        put_name(&mut record, mark.sa.unwrap_or(none));
        self.kept.push((at, record));
    }

    /// ESP and AH that came.
    fn incoming(&mut self, view: &mut View<'_>) {
        let (esp, ah) = view.places;
        for (&at, ah) in esp.iter().map(|at| (at, false)).chain(ah.iter().map(|at| (at, true))) {
            let Some(packet) = view.batch.packets.get(usize::from(at)) else { continue };
            let spi = packet.meta.spi;
            let place = if ah { view.db.find_ah(spi) } else { view.db.find(spi) };
            let sa = place.and_then(|place| view.db.inbound.both(place));
            let (id, tunnel) = sa.map_or((0, u32::MAX), |(_, sa)| (sa.id.0, sa.tunnel.0));
            // As the packet says; what the SA makes of it comes with `opened`.
            let front = if ah { usize::from(packet.meta.ip.header_len) + 4 } else { 0 };
            let sequence = packet.frame.data().be32(front + 4).unwrap_or_default().into();
            self.name(at, Named { spi, id, tunnel, sequence });
        }
    }

    /// Their numbers, now that the window was asked.
    fn opened(&mut self, view: &View<'_>) {
        for (mark, packet) in self.marks.iter_mut().zip(view.batch.packets.iter()) {
            if let Some(sa) = mark.sa.as_mut().filter(|sa| sa.id != 0) {
                sa.sequence = packet.meta.seq;
            }
        }
        // What was received was copied before its number was known.
        for (at, record) in &mut self.kept {
            if let Some(sa) = self.marks.get(usize::from(*at)).and_then(|mark| mark.sa) {
                put_name(record, sa);
            }
        }
    }

    /// Those of `protect` leave by an SA.
    fn outgoing(&mut self, places: &[u16], view: &mut View<'_>) {
        for &at in places {
            let packet = view.batch.packets.get(usize::from(at)).filter(|p| p.pending());
            if let Some(named) = packet.and_then(|packet| outbound(packet, view.db)) {
                self.name(at, named);
            }
        }
    }

    fn special(&mut self, view: &mut View<'_>, places: &[u16]) {
        let now = now();
        for &at in places {
            let Some(packet) = view.batch.packets.get(usize::from(at)).filter(|p| p.pending()) else {
                continue;
            };
            if view.db.outbound.both(packet.meta.sa).is_some_and(|(_, sa)| sa.is_special()) {
                self.keep(at, packet, Stage::PreEncrypt, false, now);
            }
        }
    }

    fn end(&mut self, view: &View<'_>) {
        let now = now();
        for (at, packet) in (0u16..).zip(view.batch.packets.iter()) {
            let leaves = matches!(packet.verdict, Verdict::Forward { .. });
            if let Some(Mark { sa: Some(sa), .. }) = self.marks.get_mut(usize::from(at)) {
                sa.sequence = if leaves { packet.meta.seq } else { sa.sequence };
            }
            if packet.verdict.goes_on() {
                self.see(at, packet, leaves);
                self.keep(at, packet, Stage::Tx, leaves, now);
            }
        }
        for (at, mut record) in self.kept.drain(..) {
            let place = usize::from(at);
            let (Some(packet), Some(mark)) = (view.batch.packets.get(place), self.marks.get(place)) else {
                self.records.done(record);
                continue;
            };
            if let Some(sa) = mark.sa.filter(|_| record.stage >= Stage::Policy) {
                put_name(&mut record, sa);
            }
            (record.verdict, record.egress) = ending(packet.verdict);
            let dropped = matches!(packet.verdict, Verdict::Drop(_));
            let told = record.stage != Stage::Drop || dropped;
            if told && self.filter.holds(mark.seen, packet.verdict) {
                // There is room for all there are.
                let _ = self.records.full.push(record);
            } else {
                self.records.done(record);
            }
        }
    }
}

impl Probe for Tap {
    fn look(&mut self, point: Point, mut view: View<'_>) {
        if point != Point::Received {
            self.meet(&view); // what was made on the way
        }
        let (first, second) = view.places;
        match point {
            Point::Received => self.begin(&view),
            Point::Sorted => self.incoming(&mut view),
            Point::Clear => {
                self.opened(&view);
                self.pass(&view, first, Stage::Decrypted);
            }
            Point::Decided => {
                self.outgoing(first, &mut view);
                self.pass(&view, first, Stage::Policy);
                self.pass(&view, second, Stage::Policy);
                self.special(&mut view, first);
            }
            Point::Seal => {
                self.outgoing(first, &mut view);
                self.pass(&view, first, Stage::PreEncrypt);
            }
            Point::Done => self.end(&view),
        }
    }
}

fn put_name(record: &mut Record, sa: Named) {
    (record.spi, record.sa, record.tunnel, record.sequence) = (sa.spi, sa.id, sa.tunnel, sa.sequence);
}

/// The SA that protects it; its number comes at the end.
fn outbound(packet: &Packet, db: &mut SaDb) -> Option<Named> {
    let (hot, sa) = db.outbound.both(packet.meta.sa)?;
    Some(Named { spi: hot.spi, id: sa.id.0, tunnel: sa.tunnel.0, sequence: 0 })
}

fn ending(verdict: Verdict) -> (u8, u16) {
    match verdict {
        Verdict::Forward { port } => (Record::FORWARD, port.0),
        Verdict::Punt | Verdict::Deliver { .. } => (Record::PUNT, Record::NONE),
        Verdict::HandOff { .. } => (Record::HAND_OFF, Record::NONE),
        Verdict::Held => (Record::HELD, Record::NONE),
        Verdict::Consumed | Verdict::Pending => (Record::CONSUMED, Record::NONE),
        Verdict::Drop(why) => (why as u8, Record::NONE),
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
