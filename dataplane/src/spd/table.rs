//! The policies of one address family, compiled.
//!
//! Policies whose ranges are prefixes (or few prefixes together) are found by hash, one probe per pair of prefix
//! lengths in use; the others stand in a list.
//!
//! Decides: which policy comes first. Never: grows with the tunnels in what one look-up costs.

use super::family::Family;
use super::{Answer, Asked};
use ravelin_wire::{AddrRange, PortRange, Selector};
use std::collections::HashMap;

#[derive(Debug)]
pub(super) struct Table<A> {
    tuples: Vec<Tuple<A>>,
    /// Entries of the tuples, each list sorted by order.
    entries: Vec<Entry>,
    /// Policies whose ranges would be too many prefixes, sorted by order.
    ranges: Vec<(Ranges<A>, Entry)>,
}

/// All policies whose prefixes have these two lengths.
#[derive(Debug)]
struct Tuple<A> {
    masks: (A, A),
    /// Lowest order among them: the search ends when it has a better one.
    order: u32,
    /// Pair of prefixes, and its entries `from..to`; open addressing, at most half full.
    slots: Box<[Option<Slot<A>>]>,
}

/// While a tuple is gathered: the entries of every pair of prefixes, by order.
type Pairs<A> = HashMap<(A, A), Vec<Entry>>;

#[derive(Clone, Copy, Debug)]
struct Slot<A> {
    prefixes: (A, A),
    from: u32,
    to: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its policy's place among all, no two the same.
    pub(super) order: u32,
    pub(super) answer: Answer,
    pub(super) protocol: Option<u8>,
    pub(super) local_ports: PortRange,
    pub(super) remote_ports: PortRange,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges<A> {
    local: (A, A),
    remote: (A, A),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    No,
    Yes,
    /// If the ports were the right ones.
    Maybe,
}

/// The order of "no policy matches": after all others.
pub(crate) const NO_POLICY: u64 = u64::MAX;

/// A policy that would need more pairs of prefixes goes into the list of ranges.
const MAX_PAIRS: usize = 64;

/// Gathers the policies of a family in their order.
#[derive(Debug)]
pub(super) struct Builder<A> {
    table: Table<A>,
    tuples: HashMap<(u8, u8), Pairs<A>>,
}

impl<A> Default for Table<A> {
    fn default() -> Self {
        Self { tuples: vec![], entries: vec![], ranges: vec![] }
    }
}

impl<A> Default for Builder<A> {
    fn default() -> Self {
        Self { table: Table::default(), tuples: HashMap::new() }
    }
}

impl<A: Family> Builder<A> {
    /// A selector of the other family is passed over.
    pub(super) fn add(&mut self, selector: &Selector, entry: Entry) {
        let Some(ranges) = Ranges::of(selector) else { return };
        let (locals, remotes) = (prefixes::<A>(selector.local), prefixes::<A>(selector.remote));
        if locals.len() * remotes.len() > MAX_PAIRS {
            self.table.ranges.push((ranges, entry));
            return;
        }
        for &(local, local_len) in &locals {
            for &(remote, remote_len) in &remotes {
                let tuple = self.tuples.entry((local_len, remote_len)).or_default();
                tuple.entry((local, remote)).or_default().push(entry);
            }
        }
    }

    pub(super) fn build(self) -> Table<A> {
        let Self { mut table, tuples } = self;
        for (lengths, pairs) in tuples {
            let tuple = Tuple::build(lengths, pairs, &mut table.entries);
            table.tuples.push(tuple);
        }
        table.tuples.sort_by_key(|t| t.order);
        table
    }
}

impl<A: Family> Table<A> {
    /// The answer, and the order of the policy that gave it; `NO_POLICY` when none matches.
    #[inline]
    pub(super) fn lookup(&self, query: &Asked<A>) -> (Answer, u64) {
        let mut best: Option<Entry> = None;
        let mut unsure = false;
        let mut take = |entry: &Entry, best: &mut Option<Entry>| match entry.matches(query) {
            Match::No => false,
            Match::Maybe => {
                unsure = true;
                false
            }
            Match::Yes => {
                if best.is_none_or(|b| entry.order < b.order) {
                    *best = Some(*entry);
                }
                true
            }
        };
        for tuple in &self.tuples {
            if best.is_some_and(|b| b.order < tuple.order) {
                break;
            }
            for entry in self.candidates(tuple, query) {
                if take(entry, &mut best) {
                    break;
                }
            }
        }
        for (ranges, entry) in &self.ranges {
            if best.is_some_and(|b| b.order < entry.order) {
                break;
            }
            if ranges.hold(query) && take(entry, &mut best) {
                break;
            }
        }
        if unsure && self.ports_would_decide(query, best) {
            return (Answer::Unknown, 0);
        }
        best.map_or((Answer::Bypass, NO_POLICY), |b| (b.answer, b.order.into()))
    }

    /// Whether an entry before `best` would match with the right ports, and says something else.
    fn ports_would_decide(&self, query: &Asked<A>, best: Option<Entry>) -> bool {
        let answer = best.map_or(Answer::Bypass, |b| b.answer);
        let decides = |e: &Entry| {
            e.matches(query) == Match::Maybe && e.answer != answer && best.is_none_or(|b| e.order < b.order)
        };
        self.tuples.iter().any(|t| self.candidates(t, query).iter().any(decides))
            || self.ranges.iter().any(|(r, e)| r.hold(query) && decides(e))
    }

    #[inline]
    fn candidates(&self, tuple: &Tuple<A>, query: &Asked<A>) -> &[Entry] {
        let found = tuple.find(query.local & tuple.masks.0, query.remote & tuple.masks.1);
        found.and_then(|s| self.entries.get(s.from as usize..s.to as usize)).unwrap_or(&[])
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.tuples.len(), self.ranges.len())
    }
}

impl<A: Family> Tuple<A> {
    fn build(lengths: (u8, u8), pairs: Pairs<A>, entries: &mut Vec<Entry>) -> Self {
        let mut me = Self {
            masks: (A::mask(lengths.0), A::mask(lengths.1)),
            order: u32::MAX,
            slots: vec![None; (pairs.len() * 2).next_power_of_two()].into_boxed_slice(),
        };
        for (prefixes, list) in pairs {
            me.order = me.order.min(list.first().map_or(u32::MAX, |e| e.order));
            let from = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            entries.extend(list);
            let to = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let mut at = me.home(prefixes.0, prefixes.1);
            while me.slots[at].is_some() {
                at = (at + 1) & (me.slots.len() - 1);
            }
            me.slots[at] = Some(Slot { prefixes, from, to });
        }
        me
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // masked to the number of slots
    fn home(&self, local: A, remote: A) -> usize {
        // The high bits of the product depend on all bits of the key; prefixes have zeros for their low ones.
        let product = local.mix(remote).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (product >> (64 - self.slots.len().trailing_zeros()).min(63)) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn find(&self, local: A, remote: A) -> Option<&Slot<A>> {
        let mut at = self.home(local, remote);
        loop {
            let slot = self.slots.get(at)?.as_ref()?;
            if slot.prefixes == (local, remote) {
                return Some(slot);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

impl Entry {
    #[inline]
    fn matches<A>(&self, query: &Asked<A>) -> Match {
        if self.protocol.is_some_and(|p| p != query.protocol) {
            return Match::No;
        }
        ports_match(self.local_ports, self.remote_ports, query.ports)
    }
}

#[inline]
pub(super) fn ports_match(local: PortRange, remote: PortRange, ports: Option<(u16, u16)>) -> Match {
    match ports {
        _ if local == PortRange::ANY && remote == PortRange::ANY => Match::Yes,
        None => Match::Maybe,
        Some((l, r)) if local.contains(l) && remote.contains(r) => Match::Yes,
        Some(_) => Match::No,
    }
}

impl<A: Family> Ranges<A> {
    pub(super) fn of(selector: &Selector) -> Option<Self> {
        let bounds = |range: AddrRange| Some((A::of(range.start())?, A::of(range.end())?));
        Some(Self { local: bounds(selector.local)?, remote: bounds(selector.remote)? })
    }

    /// The near ones, when this address is one of them.
    pub(super) fn near(&self, addr: A) -> Option<(A, A)> {
        let (start, end) = self.local;
        (start <= addr && addr <= end).then_some(self.local)
    }

    #[inline]
    pub(super) fn hold(&self, query: &Asked<A>) -> bool {
        let inside = |(start, end): (A, A), a: A| start <= a && a <= end;
        inside(self.local, query.local) && inside(self.remote, query.remote)
    }
}

fn prefixes<A: Family>(range: AddrRange) -> Vec<(A, u8)> {
    range.prefixes().filter_map(|p| Some((A::of(p.addr())?, p.len()))).collect()
}
