//! The rules of address translation, compiled: what a packet's ends become by configuration alone.
//!
//! Decides: which rule is the first to match; static ends; which worker owns an outside end. Reads: what was compiled.
//! Never: keeps state; knows of sessions.

use super::tuple::{End, Tuple, has_ends};
use crate::packet::Door;
use ravelin_ring::msg::{NatKind, NatRule, NatSettings, PortId, TunnelId, WorkerId};
use ravelin_wire::{AddrRange, PortRange, protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Fibonacci hashing: every worker has the same answer, and neighbours are spread.
const SPREAD: u32 = 0x9e37_79b1;

#[derive(Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// By their first address; none overlaps another.
    pools: Vec<Pool>,
    pub(crate) settings: NatSettings,
    /// Bounds of TCP's MSS, by tunnel.
    mss: BTreeMap<TunnelId, u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) kind: NatKind,
    pub(crate) from: Range,
    pub(crate) to: Range,
    pub(crate) target: Range,
    protocols: u8,
    ports: PortRange,
    target_ports: PortRange,
    pub(crate) port: Option<PortId>,
    /// For what goes into a tunnel: the policies speak of its translated form.
    pub(crate) tunnel: bool,
    /// Of the configuration.
    pub(crate) line: u32,
}

/// Outside addresses, and the ports of them that translation may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pool {
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) ports: PortRange,
}

impl Range {
    const NONE: Self = Self { first: 1, last: 0 };

    fn of(range: AddrRange) -> Self {
        match (range.start(), range.end()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Self { first: first.to_bits(), last: last.to_bits() },
            _ => Self::NONE,
        }
    }

    pub(crate) const fn contains(&self, addr: u32) -> bool {
        self.first <= addr && addr <= self.last
    }

    /// The address at the place in `other` that `addr` has here.
    const fn moved(&self, addr: u32, other: &Self) -> u32 {
        other.first.wrapping_add(addr.wrapping_sub(self.first))
    }
}

impl Pool {
    pub(crate) const fn contains(&self, addr: u32) -> bool {
        self.first <= addr && addr <= self.last
    }

    pub(crate) const fn len(&self) -> u32 {
        (self.last - self.first).saturating_add(1)
    }

    /// The address that an inside host has while there is room (RFC 4787 REQ-2).
    pub(crate) const fn of_host(&self, host: u32) -> u32 {
        self.first + (host.wrapping_mul(SPREAD) >> 8) % self.len()
    }

    /// The `n`th after this one, round and round.
    pub(crate) const fn next(&self, addr: u32, n: u32) -> u32 {
        self.first + (addr - self.first + n) % self.len()
    }

    /// The worker whose ports this one belongs to; `None`: it is not for translation.
    pub(crate) fn owner(&self, port: u16, workers: u16) -> Option<WorkerId> {
        if !self.ports.contains(port) {
            return None;
        }
        let at = u32::from(port - self.ports.start()) * u32::from(workers) / self.size();
        u16::try_from(at).ok().map(WorkerId)
    }

    /// The first of a worker's ports, and how many it has.
    pub(crate) fn part(&self, worker: WorkerId, workers: u16) -> (u16, u32) {
        let start = |w: u32| (w * self.size()).div_ceil(u32::from(workers.max(1)));
        let (first, end) = (start(worker.0.into()), start(u32::from(worker.0) + 1));
        let first_port = u32::from(self.ports.start()) + first;
        (u16::try_from(first_port).unwrap_or(u16::MAX), end - first)
    }

    fn size(&self) -> u32 {
        u32::from(self.ports.end() - self.ports.start()) + 1
    }
}

/// The worker that has all sessions of an inside host; of a protocol without ports, of a host outside.
pub(crate) fn owner_of_host(addr: u32, workers: u16) -> WorkerId {
    let hash = addr.wrapping_mul(SPREAD) >> 16;
    WorkerId(u16::try_from(hash % u32::from(workers.max(1))).unwrap_or(0))
}

impl Rules {
    /// `address`: of a port; a rule that speaks of it waits until there is one.
    pub(crate) fn compile(
        rules: &[NatRule],
        settings: NatSettings,
        mss: &BTreeMap<TunnelId, u16>,
        address: impl Fn(PortId) -> Option<u32>,
    ) -> Self {
        let mut pools = Vec::new();
        let mut compiled = Vec::new();
        for rule in rules {
            let own = rule.port.filter(|_| rule.own).and_then(&address);
            let own = own.map_or(Range::NONE, |addr| Range { first: addr, last: addr });
            let (mut to, mut target) = (Range::of(rule.to), Range::of(rule.target));
            match rule.kind {
                NatKind::Source if rule.own => target = own,
                NatKind::Destination if rule.own => to = own,
                NatKind::Source | NatKind::Destination | NatKind::Static | NatKind::Exempt => {}
            }
            if rule.kind == NatKind::Source && target != Range::NONE {
                pools.push(Pool { first: target.first, last: target.last, ports: rule.target_ports });
            }
            let NatRule { kind, protocols, ports, target_ports, port, tunnel, line, .. } = *rule;
            let from = Range::of(rule.from);
            compiled.push(Rule {
                kind,
                from,
                to,
                target,
                protocols,
                ports,
                target_ports,
                port,
                tunnel,
                line,
            });
        }
        pools.sort_by_key(|pool: &Pool| pool.first);
        pools.dedup();
        Self { rules: compiled, pools, settings, mss: mss.clone() }
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Some tunnel bounds the MSS.
    pub(crate) fn bounds_mss(&self) -> bool {
        !self.mss.is_empty()
    }

    pub(crate) fn mss(&self, tunnel: TunnelId) -> Option<u16> {
        self.mss.get(&tunnel).copied()
    }

    pub(crate) fn pool_of(&self, addr: u32) -> Option<&Pool> {
        let at = self.pools.partition_point(|pool| pool.first <= addr).checked_sub(1)?;
        self.pools.get(at).filter(|pool| pool.contains(addr))
    }

    /// The address stands for others: as a source it has been translated, as a destination it will be.
    pub(crate) fn is_outside(&self, addr: u32) -> bool {
        self.pool_of(addr).is_some()
            || self.rules.iter().any(|rule| match rule.kind {
                NatKind::Static => rule.target.contains(addr),
                NatKind::Destination => rule.to.contains(addr),
                NatKind::Source | NatKind::Exempt => false,
            })
    }

    /// Static and forwarded ends: what the destination becomes.
    pub(crate) fn forward(&self, tuple: &Tuple) -> Option<End> {
        self.forwarding(tuple).map(|(_, end)| end)
    }

    /// And by which rule.
    pub(crate) fn forwarding(&self, tuple: &Tuple) -> Option<(&Rule, End)> {
        let Tuple { protocol, src, dst, .. } = *tuple;
        self.rules.iter().filter(|rule| rule.speaks(protocol)).find_map(|rule| match rule.kind {
            NatKind::Static if rule.target.contains(dst.addr) => {
                Some((rule, End { addr: rule.target.moved(dst.addr, &rule.from), port: dst.port }))
            }
            NatKind::Destination if rule.forwards(src, dst) => {
                let port = rule.target_ports.start() + (dst.port - rule.ports.start());
                Some((rule, End { addr: rule.target.first, port }))
            }
            NatKind::Static | NatKind::Destination | NatKind::Source | NatKind::Exempt => None,
        })
    }

    /// The rule by which an inside host has a session in this pool.
    pub(crate) fn source(&self, host: u32, pool: u32) -> Option<&Rule> {
        let source = |rule: &&Rule| rule.kind == NatKind::Source && rule.target.first == pool;
        self.rules.iter().filter(source).find(|rule| rule.from.contains(host))
    }

    /// Static and forwarded ends: what the source stands as outside, whichever way it goes.
    pub(crate) fn backward(&self, protocol: u8, src: End) -> Option<End> {
        self.rules.iter().filter(|rule| rule.speaks(protocol)).find_map(|rule| rule.back(src))
    }

    /// The first rule that matches a packet on its way out, among those that `applies` lets.
    pub(crate) fn outward(&self, tuple: &Tuple, applies: impl Fn(&Rule) -> bool) -> Option<&Rule> {
        let Tuple { protocol, src, dst, .. } = *tuple;
        let towards = |rule: &Rule| {
            rule.to.contains(dst.addr) && (rule.ports == PortRange::ANY || rule.ports.contains(dst.port))
        };
        self.rules.iter().filter(|rule| rule.speaks(protocol)).find(|rule| {
            let matches = match rule.kind {
                NatKind::Exempt => return rule.from.contains(src.addr) && towards(rule),
                NatKind::Source => rule.from.contains(src.addr) && towards(rule),
                NatKind::Static => rule.from.contains(src.addr) && rule.to.contains(dst.addr),
                NatKind::Destination => rule.back(src).is_some() && rule.from.contains(dst.addr),
            };
            matches && applies(rule)
        })
    }

    /// Whether what comes by this door comes from an inside host of this pool.
    pub(crate) fn is_inside(&self, door: Door, host: u32, pool: u32) -> bool {
        let source = |rule: &&Rule| rule.kind == NatKind::Source && rule.target.first == pool;
        let inside = |rule: &Rule| rule.port.is_none_or(|port| door != Door::Port(port));
        self.rules.iter().filter(source).any(|rule| inside(rule) && rule.from.contains(host))
    }

    /// Whether an inside host may still have a mapping in this pool.
    pub(crate) fn may(&self, host: u32, pool: u32) -> bool {
        self.source(host, pool).is_some()
    }
}

impl Rule {
    fn speaks(&self, protocol: u8) -> bool {
        let bit = match protocol {
            protocol::TCP => NatRule::TCP,
            protocol::UDP => NatRule::UDP,
            protocol::ICMP => NatRule::ICMP,
            _ => NatRule::OTHERS,
        };
        self.protocols & bit != 0
    }

    fn forwards(&self, src: End, dst: End) -> bool {
        self.to.contains(dst.addr) && self.ports.contains(dst.port) && self.from.contains(src.addr)
    }

    /// What an inside end is outside, by a rule that knows without a session.
    pub(crate) fn back(&self, src: End) -> Option<End> {
        match self.kind {
            NatKind::Static if self.from.contains(src.addr) => {
                Some(End { addr: self.from.moved(src.addr, &self.target), port: src.port })
            }
            NatKind::Destination
                if self.target.contains(src.addr)
                    && self.target_ports.contains(src.port)
                    && self.to != Range::NONE =>
            {
                let port = self.ports.start() + (src.port - self.target_ports.start());
                Some(End { addr: self.to.first, port })
            }
            NatKind::Static | NatKind::Destination | NatKind::Source | NatKind::Exempt => None,
        }
    }

    /// Of a rule with a pool; `None`: its port has no address now.
    pub(crate) fn pool<'r>(&self, rules: &'r Rules) -> Option<&'r Pool> {
        rules.pool_of(self.target.first).filter(|_| self.target != Range::NONE)
    }

    /// The host whose worker has the session.
    pub(crate) const fn anchor(tuple: &Tuple) -> u32 {
        if has_ends(tuple.protocol) { tuple.src.addr } else { tuple.dst.addr }
    }
}
