//! The security policy database (RFC 4301 §4.4.1), compiled for look-ups that do not grow with the tunnels.
//!
//! Decides: what the policies say of a pair of addresses, a protocol and ports; lowest order first.
//! Reads: what was compiled. Never: knows which SA is up, or which way a packet goes: the caller says which of its
//! addresses is the local one.
//!
//! Policies whose ranges are prefixes (or few prefixes together) are found by hash, one probe per pair of prefix
//! lengths in use; the others stand in a list.

use crate::packet::Ip;
use ravelin_ring::msg::{Action, Policy, TunnelId};
use ravelin_wire::{AddrRange, PortRange, Selector};
use std::collections::HashMap;
use std::net::IpAddr;

#[derive(Debug, Default)]
pub(crate) struct Spd {
    tuples: Vec<Tuple>,
    /// Entries of the tuples, each list sorted by order.
    entries: Vec<Entry>,
    /// Policies whose ranges would be too many prefixes, sorted by order.
    ranges: Vec<(Ranges, Entry)>,
    tunnels: Vec<(TunnelId, bool)>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) local: u32,
    pub(crate) remote: u32,
    pub(crate) protocol: u8,
    /// Local and remote; `None`: a fragment hides them.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Query {
    /// For a packet that goes to the peer: its source is the local side.
    #[inline]
    pub(crate) fn outbound(ip: &Ip) -> Self {
        let ports = if ip.portless { None } else { Some(ip.ports) };
        Self { local: ip.src, remote: ip.dst, protocol: ip.protocol, ports }
    }

    /// For a packet that came from the peer: its destination is the local side.
    #[inline]
    pub(crate) fn inbound(ip: &Ip) -> Self {
        let ports = if ip.portless { None } else { Some((ip.ports.1, ip.ports.0)) };
        Self { local: ip.dst, remote: ip.src, protocol: ip.protocol, ports }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Place in [`Spd::tunnels`].
    Protect(u32),
    /// By a policy, or by none.
    Bypass,
    Discard,
    /// The ports are hidden, and they would decide.
    Unknown,
}

/// All policies whose prefixes have these two lengths.
#[derive(Debug)]
struct Tuple {
    masks: (u32, u32),
    /// Lowest order among them: the search ends when it has a better one.
    order: u32,
    /// Pair of prefixes, and its entries `from..to`; open addressing, at most half full.
    slots: Box<[Option<Slot>]>,
}

/// While a tuple is gathered: the entries of every pair of prefixes, by order.
type Pairs = HashMap<(u32, u32), Vec<Entry>>;

#[derive(Clone, Copy, Debug)]
struct Slot {
    prefixes: (u32, u32),
    from: u32,
    to: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    order: u32,
    answer: Answer,
    protocol: Option<u8>,
    local_ports: PortRange,
    remote_ports: PortRange,
}

#[derive(Clone, Copy, Debug)]
struct Ranges {
    local: (u32, u32),
    remote: (u32, u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    No,
    Yes,
    /// If the ports were the right ones.
    Maybe,
}

/// The order of "no policy matches": after all others.
pub(crate) const NO_POLICY: u64 = u64::MAX;

/// A policy that would need more pairs of prefixes goes into the list of ranges.
const MAX_PAIRS: usize = 64;

impl Spd {
    /// IPv6 policies are passed over: IPv6 packets are dropped before they could ask.
    pub(crate) fn compile(policies: &[Policy]) -> Self {
        let mut spd = Self::default();
        let mut tunnels = HashMap::new();
        let mut sorted: Vec<&Policy> = policies.iter().collect();
        sorted.sort_by_key(|p| p.order);
        let mut tuples: HashMap<(u8, u8), Pairs> = HashMap::new();
        for policy in sorted {
            let Some(ranges) = Ranges::of(&policy.selector) else { continue };
            let entry = spd.entry(policy, &mut tunnels);
            let (locals, remotes) = (prefixes(ranges.local), prefixes(ranges.remote));
            if locals.len() * remotes.len() > MAX_PAIRS {
                spd.ranges.push((ranges, entry));
                continue;
            }
            for &(local, local_len) in &locals {
                for &(remote, remote_len) in &remotes {
                    let tuple = tuples.entry((local_len, remote_len)).or_default();
                    tuple.entry((local, remote)).or_default().push(entry);
                }
            }
        }
        for (lengths, pairs) in tuples {
            let tuple = Tuple::build(lengths, pairs, &mut spd.entries);
            spd.tuples.push(tuple);
        }
        spd.tuples.sort_by_key(|t| t.order);
        spd
    }

    fn entry(&mut self, policy: &Policy, places: &mut HashMap<TunnelId, u32>) -> Entry {
        let answer = match policy.action {
            Action::Protect(tunnel) => {
                let place = *places.entry(tunnel).or_insert_with(|| {
                    self.tunnels.push((tunnel, false));
                    u32::try_from(self.tunnels.len() - 1).unwrap_or(u32::MAX)
                });
                if let Some((_, hold)) = self.tunnels.get_mut(place as usize) {
                    *hold |= policy.hold;
                }
                Answer::Protect(place)
            }
            Action::Bypass => Answer::Bypass,
            Action::Discard => Answer::Discard,
        };
        let s = &policy.selector;
        Entry {
            order: policy.order,
            answer,
            protocol: s.protocol,
            local_ports: s.local_ports,
            remote_ports: s.remote_ports,
        }
    }

    /// Tunnels that policies name, and whether their packets wait for an SA; `Answer::Protect` is a place in it.
    pub(crate) fn tunnels(&self) -> &[(TunnelId, bool)] {
        &self.tunnels
    }

    /// The answer, and the order of the policy that gave it; `NO_POLICY` when none matches.
    #[inline]
    pub(crate) fn lookup(&self, query: &Query) -> (Answer, u64) {
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
    fn ports_would_decide(&self, query: &Query, best: Option<Entry>) -> bool {
        let answer = best.map_or(Answer::Bypass, |b| b.answer);
        let decides = |e: &Entry| {
            e.matches(query) == Match::Maybe && e.answer != answer && best.is_none_or(|b| e.order < b.order)
        };
        self.tuples.iter().any(|t| self.candidates(t, query).iter().any(decides))
            || self.ranges.iter().any(|(r, e)| r.hold(query) && decides(e))
    }

    #[inline]
    fn candidates(&self, tuple: &Tuple, query: &Query) -> &[Entry] {
        let found = tuple.find(query.local & tuple.masks.0, query.remote & tuple.masks.1);
        found.and_then(|s| self.entries.get(s.from as usize..s.to as usize)).unwrap_or(&[])
    }
}

impl Tuple {
    fn build(lengths: (u8, u8), pairs: Pairs, entries: &mut Vec<Entry>) -> Self {
        let mut me = Self {
            masks: (mask(lengths.0), mask(lengths.1)),
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
    fn home(&self, local: u32, remote: u32) -> usize {
        let key = u64::from(local) << 32 | u64::from(remote);
        // The high bits of the product depend on all bits of the key; prefixes have zeros for their low ones.
        let product = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (product >> (64 - self.slots.len().trailing_zeros()).min(63)) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn find(&self, local: u32, remote: u32) -> Option<&Slot> {
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
    fn matches(&self, query: &Query) -> Match {
        if self.protocol.is_some_and(|p| p != query.protocol) {
            return Match::No;
        }
        ports_match(self.local_ports, self.remote_ports, query.ports)
    }
}

#[inline]
fn ports_match(local: PortRange, remote: PortRange, ports: Option<(u16, u16)>) -> Match {
    match ports {
        _ if local == PortRange::ANY && remote == PortRange::ANY => Match::Yes,
        None => Match::Maybe,
        Some((l, r)) if local.contains(l) && remote.contains(r) => Match::Yes,
        Some(_) => Match::No,
    }
}

impl Ranges {
    fn of(selector: &Selector) -> Option<Self> {
        Some(Self { local: bounds(&selector.local)?, remote: bounds(&selector.remote)? })
    }

    #[inline]
    fn hold(&self, query: &Query) -> bool {
        let inside = |(start, end): (u32, u32), a: u32| start <= a && a <= end;
        inside(self.local, query.local) && inside(self.remote, query.remote)
    }
}

fn bounds(range: &AddrRange) -> Option<(u32, u32)> {
    match (range.start(), range.end()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some((a.to_bits(), b.to_bits())),
        _ => None,
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

/// The fewest prefixes that are the range together: at most 62.
fn prefixes((start, end): (u32, u32)) -> Vec<(u32, u8)> {
    let mut list = vec![];
    let (mut at, end) = (u64::from(start), u64::from(end));
    while at <= end {
        let aligned = at.trailing_zeros().min(32);
        let fits = (end - at + 1).ilog2();
        let bits = aligned.min(fits);
        let (Ok(addr), Ok(len)) = (u32::try_from(at), u8::try_from(32 - bits)) else { break };
        list.push((addr, len));
        at += 1 << bits;
    }
    list
}

/// The selectors of one SA (RFC 4301 §5.2 step 4): what its packets must match after decryption.
#[derive(Clone, Debug)]
pub(crate) struct SaSelector {
    ranges: Ranges,
    protocol: Option<u8>,
    local_ports: PortRange,
    remote_ports: PortRange,
}

/// What an SA's selectors say of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    Inside,
    Outside,
    /// The ports are hidden, and they would decide.
    Unknown,
}

impl SaSelector {
    /// `None`: of another family than IPv4.
    pub(crate) fn new(selector: &Selector) -> Option<Self> {
        Some(Self {
            ranges: Ranges::of(selector)?,
            protocol: selector.protocol,
            local_ports: selector.local_ports,
            remote_ports: selector.remote_ports,
        })
    }

    #[inline]
    pub(crate) fn fit(list: &[Self], query: &Query) -> Fit {
        let mut fit = Fit::Outside;
        for s in list {
            if !s.ranges.hold(query) || s.protocol.is_some_and(|p| p != query.protocol) {
                continue;
            }
            match ports_match(s.local_ports, s.remote_ports, query.ports) {
                Match::Yes => return Fit::Inside,
                Match::Maybe => fit = Fit::Unknown,
                Match::No => {}
            }
        }
        fit
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // numbers of tests are small
mod tests;
