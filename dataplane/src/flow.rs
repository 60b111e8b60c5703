//! What was decided about the last packets of a flow, kept for the next ones.
//!
//! Decides: nothing. It repeats what routes, policies and selectors decided about a packet of the same addresses,
//! protocol and ports that came by the same door, as long as nothing of that can have changed: not after a change of the
//! tables (`epoch`), nor after a command about one of the SAs concerned (their stamps, see [`crate::sa::Slab`]). That is
//! looked at once after each such change (`version`), not for each packet.
//! Reads: `Meta::ip`, the door. Writes: what the stages it stands in for write: `Meta::{sa, limit, port, mac}`, the two
//! lists. Never: grows; keeps a drop, a punt or a hand-off, which are decided anew each time; sees hidden ports.

mod key;
mod line;
mod learn;
mod v6;

pub(crate) use key::Keys;
pub(crate) use learn::{Unknown, learn};

use crate::batch::{Batch, Places, add, prefetch_rest};
use crate::classify::Head;
use crate::packet::Packet;
use crate::route::{self, Leaving};
use crate::sa::SaDb;
use key::{Key, place_of_port, place_of_sa};
use line::{Basis, Entry, IN_LINE, Line};
use ravelin_ring::msg::PortId;

/// Flows that meet in one bucket; a fifth takes the place of one of them.
const WAYS: usize = 4;
/// The bucket of a packet that has no flow, or whose flow nobody asked for yet.
pub(crate) const NONE: u32 = u32::MAX;
/// Buckets: at least so many, since one SA may carry many flows, and at most so many (22 MiB).
const BUCKETS: (usize, usize) = (1 << 14, 1 << 17);

/// Buckets of a hash table, two lines each, and a flow begins at one of the two: with no more flows than room for them
/// nearly each is found in the one line that was asked for. Which line that is, nobody outside knows.
#[derive(Debug)]
pub(crate) struct Flows {
    lines: Box<[Line]>,
    /// Of each entry of each line.
    bases: Box<[[Basis; IN_LINE]]>,
    seed: (u64, u64),
    v6: v6::Flows,
    /// Whose turn it is to be replaced.
    turn: usize,
}

/// What a packet is known by, and where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    key: Key,
    line: u32,
}

/// How packets of the flow go on: by an SA, or in clear by a port.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Of the tables: low half, see [`Flows::forget`].
    epoch: u32,
    /// Stamp of the SA that the packet came out of; 0 for a packet that came clear.
    came: u32,
    /// The SA by which it leaves; [`CLEAR`]: by none.
    sa: u32,
    /// Of that SA; 0 for none.
    stamp: u32,
    limit: u16,
    port: PortId,
    /// When all of this was last found to hold ([`version`]).
    version: u32,
    /// See [`route::word`].
    mac: u64,
}

/// The place of no SA.
const CLEAR: u32 = u32::MAX;

/// Where the packets go on whose flow is known, and where the others.
#[derive(Debug)]
pub(crate) struct Sorted<'a> {
    pub(crate) protect: &'a mut Places,
    pub(crate) bypass: &'a mut Places,
    pub(crate) unknown: &'a mut Unknown,
}

impl Flows {
    /// For a worker with room for so many SAs of a direction.
    pub(crate) fn new(max_sas: u32) -> Self {
        let flows = (max_sas as usize).saturating_mul(4);
        Self::with_buckets((flows / WAYS).next_power_of_two().clamp(BUCKETS.0, BUCKETS.1))
    }

    /// Without room: every packet is decided about.
    pub(crate) fn none() -> Self {
        Self::with_buckets(0)
    }

    fn with_buckets(buckets: usize) -> Self {
        let mut seed = [[0; 8]; 2];
        // Without chance a stranger may know which flows displace each other; that costs time, no more.
        let _ = getrandom::fill(seed.as_flattened_mut());
        let count = buckets * (WAYS / IN_LINE);
        let (mut lines, mut bases) = (ravelin_xsk::with_room(count), ravelin_xsk::with_room(count));
        lines.resize(count, Line([Entry::new(Key::default(), &Known::NOTHING); IN_LINE]));
        bases.resize(count, [Basis { epoch: 0, came: 0, stamp: 0 }; IN_LINE]);
        Self {
            lines: lines.into_boxed_slice(),
            bases: bases.into_boxed_slice(),
            seed: (u64::from_ne_bytes(seed[0]), u64::from_ne_bytes(seed[1])),
            v6: v6::Flows::default(),
            turn: 0,
        }
    }

    /// Policies protect IPv6, for a worker with room for so many SAs of a direction.
    pub(crate) fn carry_v6(&mut self, max_sas: u32, some: bool) {
        if some && self.v6.is_empty() && !self.lines.is_empty() {
            self.v6 = v6::Flows::new(max_sas);
        }
    }

    /// For when the low half of the epoch begins again.
    pub(crate) fn forget(&mut self) {
        self.v6.forget();
        for Line(entries) in &mut self.lines {
            entries.iter_mut().for_each(|entry| entry.key = Key::default());
        }
    }

    /// Asks the memory for the packet's flow, long before [`find`] looks there. Nothing that a flow is known by may change
    /// in between.
    #[inline]
    pub(crate) fn note(&self, at: u16, packet: &mut Packet, keys: &mut Keys) {
        packet.meta.flow = NONE;
        if let Some(key) = Key::of(packet) {
            self.ask(at, packet, key, keys);
        }
    }

    /// As [`Self::note`], for a packet of the common shape that came by this port.
    #[inline(always)]
    pub(crate) fn note_common(
        &self,
        at: u16,
        packet: &mut Packet,
        head: &Head,
        port: PortId,
        keys: &mut Keys,
    ) {
        self.ask(at, packet, Key::new(head.ends(), head.protocol, place_of_port(port)), keys);
    }

    /// As [`Self::note`], for one that has just come out of its SA.
    #[inline(always)]
    pub(crate) fn note_opened(&self, at: u16, packet: &mut Packet, head: &Head, keys: &mut Keys) {
        self.ask(at, packet, Key::new(head.ends(), head.protocol, place_of_sa(packet.meta.sa)), keys);
    }

    #[inline(always)]
    fn ask(&self, at: u16, packet: &mut Packet, key: Key, keys: &mut Keys) {
        let Place { line, .. } = self.place(key);
        packet.meta.flow = line;
        keys.set(at, key);
        if let Some(line) = self.lines.get(line as usize) {
            ravelin_xsk::prefetch(line);
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // two halves of a product, folded; fewer lines than 2³²
    fn place(&self, key: Key) -> Place {
        let product = u128::from(key.addresses ^ self.seed.0) * u128::from(key.rest ^ self.seed.1);
        let hash = (product >> 64) as u64 ^ product as u64;
        Place { key, line: hash as u32 & (self.lines.len() as u32).wrapping_sub(1) }
    }

    /// The line and its entry that has the key: one of the line where it begins, or of the bucket's other one.
    fn position(&self, line: u32, key: &Key) -> Option<(usize, usize)> {
        [line, line ^ 1].into_iter().find_map(|line| {
            let Line(entries) = self.lines.get(line as usize)?;
            Some((line as usize, entries.iter().position(|entry| entry.key == *key)?))
        })
    }

    /// What is known of the packet's flow, if it `holds`, which is then not asked for again before the next change.
    fn still(
        &mut self,
        line: u32,
        key: &Key,
        version: u32,
        holds: impl FnOnce(&Known) -> bool,
    ) -> Option<Known> {
        let (line, n) = self.position(line, key)?;
        let entry = self.lines.get_mut(line)?.0.get_mut(n)?;
        if entry.version != version {
            let Basis { epoch, came, stamp } = *self.bases.get(line)?.get(n)?;
            let known = Known { epoch, came, stamp, ..entry.known() };
            entry.version = if holds(&known) { version } else { return None };
        }
        Some(entry.known())
    }

    /// In its old place; or in one whose flow is known of other tables, where it begins if possible; or in some other flow's.
    fn put(&mut self, Place { key, line }: Place, known: Known) {
        if self.lines.is_empty() {
            return;
        }
        let here = line as usize;
        let ways = [(here, 0), (here, 1), (here ^ 1, 0), (here ^ 1, 1)];
        let stale = |(line, n): &(usize, usize)| {
            self.bases.get(*line).is_some_and(|bases| bases[*n].epoch != known.epoch)
        };
        let place = self.position(line, &key).or_else(|| ways.into_iter().find(stale));
        let (line, n) = place.unwrap_or_else(|| {
            self.turn = self.turn.wrapping_add(1);
            ways[self.turn % WAYS]
        });
        if let (Some(Line(entries)), Some(bases)) = (self.lines.get_mut(line), self.bases.get_mut(line)) {
            entries[n] = Entry::new(key, &known);
            bases[n] = Basis { epoch: known.epoch, came: known.came, stamp: known.stamp };
        }
    }
}

/// Sorts the packets of `clear` by what is known of their flows. True: one is larger than its way takes. What goes on in clear
/// by the port of `leaving` does so at once, and is counted.
pub(crate) fn find(
    batch: &mut Batch,
    (clear, keys): (&[u16], &Keys),
    flows: &mut Flows,
    db: &SaDb,
    epoch: u64,
    leaving: Option<Leaving>,
    sorted: &mut Sorted<'_>,
) -> (bool, usize) {
    let Sorted { protect, bypass, unknown } = sorted;
    protect.clear();
    bypass.clear();
    unknown.places.clear();
    unknown.keys.clear();
    unknown.keys_v6.clear();
    let version = version(epoch, db);
    let mut find = Find { flows, keys, db, version, leaving, slack: 0, last: CLEAR, gone: 0 };
    let packets = &mut *batch.packets;
    let mut clear = clear;
    if let Some(leaving) = &leaving {
        find.gone = find.leaving_run(packets, clear, leaving);
        clear = clear.get(find.gone..).unwrap_or_default();
    }
    loop {
        let done = find.plain_run(packets, clear, protect, bypass);
        let Some((&at, rest)) = clear.get(done..).and_then(|rest| rest.split_first()) else { break };
        clear = rest;
        let Some(packet) = packets.get_mut(usize::from(at)) else { continue };
        let (key, came) = (keys.at(at), find.came(packet));
        let holds = |known: &Known| known.holds(came, low(epoch), db);
        let known = match packet.meta.flow {
            NONE => find.flows.v6.of(packet).filter(holds),
            line => find.flows.still(line, key, version, holds),
        };
        match known {
            Some(known) => find.sort(at, packet, &known, protect, bypass),
            None => unknown.add(at, packet, key, came, find.flows),
        }
    }
    (find.slack < 0, find.gone)
}

/// What the look-ups of a batch have in common.
struct Find<'a> {
    flows: &'a mut Flows,
    keys: &'a Keys,
    db: &'a SaDb,
    version: u32,
    leaving: Option<Leaving>,
    gone: usize,
    /// Negative, once a packet is larger than its limit.
    slack: i32,
    /// The SA of the packet before.
    last: u32,
}

impl Find<'_> {
    /// Sends packets on whose flows are found as [`Self::plain_run`] finds them and leave by the port of `leaving`, up to one
    /// whose does not; returns how many. Most batches that come out of SAs are such packets alone.
    #[inline(never)]
    fn leaving_run(&self, packets: &mut [Packet], clear: &[u16], leaving: &Leaving) -> usize {
        let mut done = 0;
        for &at in clear {
            let Some(packet) = packets.get_mut(usize::from(at)) else { break };
            let Some(Line([first, second])) = self.flows.lines.get(packet.meta.flow as usize) else { break };
            let key = self.keys.at(at);
            let entry = match *key {
                key if first.key == key => first,
                key if second.key == key => second,
                _ => break,
            };
            let Some(mac) = entry.leaves(leaving.port, self.version, packet.meta.ip.total_len) else { break };
            if !route::plainly(packet, mac, leaving) {
                break;
            }
            done += 1;
        }
        done
    }

    /// Sorts packets whose flows are in the lines that were asked for and were found to hold since the last change, up to one
    /// whose is not; returns how many. Without a call in its loop, so that nothing of it has to be kept out of registers.
    #[inline(never)]
    fn plain_run(
        &mut self,
        packets: &mut [Packet],
        clear: &[u16],
        protect: &mut Places,
        bypass: &mut Places,
    ) -> usize {
        let mut done = 0;
        for &at in clear {
            let Some(packet) = packets.get_mut(usize::from(at)) else { break };
            let Some(Line([first, second])) = self.flows.lines.get(packet.meta.flow as usize) else { break };
            let key = self.keys.at(at);
            let entry = if first.key == *key { first } else { second };
            if entry.key != *key || entry.version != self.version {
                break;
            }
            let known = entry.known();
            self.sort(at, packet, &known, protect, bypass);
            done += 1;
        }
        done
    }

    /// Stamp of the SA that the packet came out of.
    fn came(&self, packet: &Packet) -> u32 {
        if packet.meta.opened { self.db.inbound.stamp(packet.meta.sa) } else { 0 }
    }

    #[inline(always)]
    fn sort(
        &mut self,
        at: u16,
        packet: &mut Packet,
        known: &Known,
        protect: &mut Places,
        bypass: &mut Places,
    ) {
        let slack = i32::from(known.limit) - i32::from(packet.meta.ip.total_len);
        if known.sa == CLEAR
            && slack >= 0
            && let Some(leaving) = &self.leaving
            && leaving.port == known.port
            && route::plainly(packet, known.mac, leaving)
        {
            self.gone += 1;
            return;
        }
        let meta = &mut packet.meta;
        meta.limit = known.limit;
        self.slack |= slack;
        if known.sa == CLEAR {
            (meta.port, meta.mac) = (known.port, route::address(known.mac));
            add(bypass, at);
            return;
        }
        meta.sa = known.sa;
        if known.sa != self.last {
            self.last = known.sa;
            self.db.outbound.prefetch(known.sa, meta.ip.total_len.into());
        }
        prefetch_rest(packet);
        add(protect, at);
    }
}

impl Known {
    const NOTHING: Self =
        Self { epoch: 0, came: 0, sa: CLEAR, stamp: 0, limit: 0, port: PortId(0), version: 0, mac: 0 };

    fn holds(&self, came: u32, epoch: u32, db: &SaDb) -> bool {
        // No SA has the place of none, whose stamp is 0.
        self.epoch == epoch && self.came == came && db.outbound.stamp(self.sa) == self.stamp
    }
}

/// The count of all changes after which a flow's packets may go another way. Each part of the sum only rises, so that an
/// equal sum means equal parts; the low half begins again after four billion commands.
fn version(epoch: u64, db: &SaDb) -> u32 {
    low(epoch + db.changes())
}

#[allow(clippy::cast_possible_truncation)] // the low half is meant
const fn low(epoch: u64) -> u32 {
    epoch as u32
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // numbers of tests are small
mod tests;
