//! From table commands to a published generation.
//!
//! Decides: when a generation is committed: all workers run with it and the XDP programs steer by it. In the order
//! that fails closed: 1. XDP steers what the old *or* the new tables protect, 2. the workers take the new tables,
//! 3. XDP lets go of what only the old ones protected.
//! Never: frees a snapshot that a worker may still use.

use crate::devices::Devices;
use crate::ports::{Closed, Port, Steered, Zone};
use ravelin_dataplane::{Admission, NatSteering, TableStore, Tables};
use ravelin_ring::msg::{Generation, Interface, PortId, TableCommand, TableEvent, VrfId};
use ravelin_ring::setup::Setup;
use ravelin_ring::{Consumer, Sender};
use ravelin_wire::{AddrRange, MAX_PORT_RANGES, Prefix};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Commands per turn of the main thread; it has other duties.
const COMMANDS_PER_TURN: usize = 8192;
/// Events that wait for room in the ring. Commits wait for it; port events are coalesced per port.
const OUTBOX: usize = 128;

#[derive(Debug)]
pub(crate) struct Publisher {
    store: TableStore,
    /// Of the tables published last; 0: none yet.
    number: u64,
    current: Arc<Tables>,
    pending: Option<Pending>,
    /// A command of this gathering was refused: so is its commit.
    spoilt: bool,
    /// What XDP steers by now.
    pub(crate) steered: Steered,
    outbox: VecDeque<TableEvent>,
}

/// Published, not yet taken by all.
#[derive(Debug)]
struct Pending {
    generation: Generation,
    /// What XDP will steer by in the end.
    steered: Steered,
    /// Kept until no worker can use it.
    _old: Arc<Tables>,
    /// The control process that asked is still there.
    announce: bool,
}

/// What one turn wants done by the caller.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) number: u64,
    pub(crate) tables: Arc<Tables>,
}

impl Publisher {
    pub(crate) fn new(setup: &Setup) -> Self {
        let ports = setup.ports.iter().map(|port| port.reverse_path).collect();
        Self {
            store: TableStore::with_ports(ports, setup.udp_encap_port),
            number: 0,
            current: Arc::new(Tables::empty()),
            pending: None,
            spoilt: false,
            steered: Steered::default(),
            outbox: VecDeque::new(),
        }
    }

    /// Nothing was ever published: XDP still steers by what an earlier process left.
    pub(crate) fn is_fresh(&self) -> bool {
        self.number == 0
    }

    /// Another control process: it hears nothing of what the one before asked for.
    pub(crate) fn new_session(&mut self) {
        self.outbox.clear();
        self.spoilt = false;
        self.store.begin_session(); // the one before may have died in the middle of a gathering
        if let Some(pending) = &mut self.pending {
            pending.announce = false;
        }
    }

    /// Takes commands up to the next commit.
    pub(crate) fn gather(
        &mut self,
        commands: &mut Consumer<TableCommand>,
        ports: &mut [Port],
        devices: &mut Devices,
    ) -> Option<Publish> {
        if self.pending.is_some() || self.outbox.len() >= OUTBOX {
            return None;
        }
        for _ in 0..COMMANDS_PER_TURN {
            let result = match commands.pop()? {
                Ok(command) => self.store.apply(&command).map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            };
            match result {
                Ok(None) => {}
                Ok(Some(generation)) => return self.commit(generation, ports, devices),
                Err(why) if self.spoilt => tracing::trace!(why, "table command refused"),
                Err(why) => {
                    tracing::warn!(why, "table command refused; so will be its commit");
                    self.spoilt = true;
                }
            }
        }
        None
    }

    fn commit(
        &mut self,
        generation: Generation,
        ports: &mut [Port],
        devices: &mut Devices,
    ) -> Option<Publish> {
        let devices = devices.follow(self.store.interfaces().0);
        match devices.and_then(|()| self.prepare(ports, generation)) {
            Ok((tables, steered)) => {
                self.number += 1;
                let old = std::mem::replace(&mut self.current, tables.clone());
                self.pending = Some(Pending { generation, steered, _old: old, announce: true });
                Some(Publish { number: self.number, tables })
            }
            Err(error) => {
                tracing::error!("generation {} refused: {error:#}", generation.0);
                self.outbox.push_back(TableEvent::Refused { generation });
                None
            }
        }
    }

    fn prepare(
        &mut self,
        ports: &mut [Port],
        generation: Generation,
    ) -> anyhow::Result<(Arc<Tables>, Steered)> {
        if std::mem::take(&mut self.spoilt) {
            self.store.restore();
            anyhow::bail!("a command before it was refused");
        }
        let goal = self.goal()?;
        let both = self.steered.and(&goal);
        for port in &mut *ports {
            port.steer(&both)?; // what was added to other ports stays steered: the safe side
        }
        let tables = self.store.compile(generation)?;
        self.steered = both;
        Ok((tables, goal))
    }

    fn goal(&self) -> anyhow::Result<Steered> {
        let ranges = self.store.protected_ranges();
        let main = Zone::of(ranges, self.store.routed_ranges(), self.store.nat_steering(VrfId::MAIN))?;
        let others = self.store.in_vrfs();
        let others = others.map(|(port, ranges, routed)| {
            Ok((port, Zone::of(ranges, routed, self.store.nat_steering_at(port))?))
        });
        Ok(Steered {
            gateways: self.store.gateway_addresses().to_vec(),
            main,
            others: others.collect::<anyhow::Result<_>>()?,
            gre: self.store.terminates_gre(),
            closed: self
                .store
                .admissions()
                .iter()
                .map(|(port, admission)| (*port, admission.into()))
                .collect(),
        })
    }

    /// `taken`: the number of the tables that every worker has. Finishes a commit that all have.
    pub(crate) fn finish(&mut self, taken: u64, ports: &mut [Port]) {
        if taken < self.number {
            return;
        }
        let Some(pending) = self.pending.take() else { return };
        for port in ports {
            if let Err(error) = port.steer(&pending.steered) {
                // More is steered than need be: workers judge it by their tables all the same.
                tracing::warn!(port = port.name(), "{error:#}");
            }
        }
        self.steered = pending.steered;
        tracing::debug!(generation = pending.generation.0, "tables committed");
        if pending.announce {
            self.outbox.push_back(TableEvent::Committed { generation: pending.generation });
        }
    }

    /// The devices of the tables that all workers have; `None` while some have not.
    pub(crate) fn settled(&self) -> Option<&[Interface]> {
        self.pending.is_none().then(|| self.store.interfaces().1)
    }

    /// Waiting for workers to take the tables.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The newest state of a port is what counts.
    pub(crate) fn port_state(&mut self, event: TableEvent) {
        if let TableEvent::PortState { port, .. } = event {
            self.outbox.retain(|e| !matches!(e, TableEvent::PortState { port: other, .. } if *other == port));
            self.outbox.push_back(event);
        }
    }

    pub(crate) fn deliver(&mut self, events: &mut Sender<TableEvent>) {
        while let Some(event) = self.outbox.front() {
            if events.push(event).is_err() {
                break;
            }
            self.outbox.pop_front();
        }
        events.notify();
    }
}

impl Steered {
    /// What either steers.
    fn and(&self, new: &Self) -> Self {
        // A port that changes its VRF steers what either has of it.
        let some = self.others.keys().chain(new.others.keys());
        let others = some.map(|port| (*port, self.zone(*port).and(new.zone(*port)))).collect();
        Self {
            gateways: unique([&self.gateways[..], &new.gateways].concat()),
            main: self.main.and(&new.main),
            others,
            gre: self.gre || new.gre,
            closed: Closed::either(&self.closed, &new.closed),
        }
    }
}

impl From<&Admission> for Closed {
    fn from(admission: &Admission) -> Self {
        let from = unique(admission.from.iter().flat_map(|r| prefixes(*r)).collect());
        Self { from, ike_ports: admission.ike_ports }
    }
}

impl Closed {
    /// A port that either closes is closed; who either admits is admitted where both close it.
    fn either(old: &BTreeMap<PortId, Self>, new: &BTreeMap<PortId, Self>) -> BTreeMap<PortId, Self> {
        let mut all = old.clone();
        for (port, closed) in new {
            let entry = all.entry(*port).or_default();
            entry.from = unique([&entry.from[..], &closed.from].concat());
            entry.ike_ports = closed.ike_ports;
        }
        all
    }
}

impl Zone {
    /// What policies have steered, and what routes have, and what of that is the kernel's; and what is translated.
    fn of(
        ranges: &[AddrRange],
        (routed, mut exempt): (Vec<Prefix>, Vec<Prefix>),
        NatSteering { inside, outside, own }: NatSteering,
    ) -> anyhow::Result<Self> {
        for (addr, list) in &own {
            anyhow::ensure!(
                list.len() <= MAX_PORT_RANGES,
                "{} ranges of ports of {addr} are for NAT; at most {MAX_PORT_RANGES} of one address of this host can be: \
                 use an address that is for NAT alone",
                list.len()
            );
        }
        let policies = unique(ranges.iter().chain(&outside).flat_map(|r| prefixes(*r)).collect());
        exempt.retain(|p| !wider(p).any(|wide| policies.binary_search(&wide).is_ok()));
        let inside = unique(inside.iter().flat_map(|r| prefixes(*r)).collect());
        Ok(Self { protected: unique([policies, routed].concat()), exempt, inside, ports: own })
    }

    /// What either steers. Of ports of one address the new ones come first: there is a bound.
    fn and(&self, new: &Self) -> Self {
        let mut ports = new.ports.clone();
        for (addr, old) in &self.ports {
            let list = ports.entry(*addr).or_default();
            list.extend(old.iter().filter(|range| !new.ports.get(addr).is_some_and(|n| n.contains(range))));
        }
        Self {
            ports,
            inside: unique([&self.inside[..], &new.inside].concat()),
            protected: unique([&self.protected[..], &new.protected].concat()),
            exempt: new.exempt.iter().filter(|p| self.exempt.binary_search(p).is_ok()).copied().collect(),
        }
    }
}

/// The prefix itself and those that hold it.
fn wider(prefix: &Prefix) -> impl Iterator<Item = Prefix> {
    (0..=prefix.len()).filter_map(|len| Prefix::of(prefix.addr(), len).ok())
}

fn unique<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
}

/// The prefixes that together are the range: at most 62 for IPv4, 254 for IPv6.
fn prefixes(range: AddrRange) -> Vec<Prefix> {
    let (start, end, bits) = match (range.start(), range.end()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32u8),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return vec![], // AddrRange forbids it
    };
    let addr = |n: u128| match u32::try_from(n) {
        Ok(n) if bits == 32 => IpAddr::V4(Ipv4Addr::from_bits(n)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(n)),
    };
    let mut list = Vec::new();
    let mut at = start;
    loop {
        // The largest aligned block that starts here and does not end behind the range.
        let aligned = if at == 0 { bits.into() } else { at.trailing_zeros().min(bits.into()) };
        let fits = (0..=aligned).rev().find(|host| {
            1u128
                .checked_shl(*host)
                .is_none_or(|size| at.checked_add(size - 1).is_some_and(|last| last <= end))
                && (*host < 128 || (at == 0 && end == u128::MAX))
        });
        let host = fits.unwrap_or(0);
        let len = bits - u8::try_from(host).unwrap_or(0);
        list.extend(Prefix::new(addr(at), len));
        let next = 1u128.checked_shl(host).and_then(|size| at.checked_add(size));
        match next {
            Some(next) if next <= end => at = next,
            _ => return list,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ravelin_ring::msg::{NextHop, Route};

    fn v4(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    fn text(start: &str, end: &str) -> Vec<String> {
        let range = AddrRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap();
        prefixes(range).iter().map(Prefix::to_string).collect()
    }

    #[test]
    fn ranges_become_prefixes() {
        assert_eq!(text("10.1.0.0", "10.1.0.255"), ["10.1.0.0/24"]);
        assert_eq!(text("10.0.0.1", "10.0.0.4"), ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]);
        assert_eq!(text("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(text("255.255.255.255", "255.255.255.255"), ["255.255.255.255/32"]);
        assert_eq!(text("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert_eq!(text("::", "::2"), ["::/127", "::2/128"]);
        assert_eq!(text("8000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["8000::/1"]);
        assert_eq!(text("0.0.0.1", "255.255.255.254").len(), 62);
    }

    // R307: what a refused generation took away is there again in the next one, which changes something else.
    #[test]
    fn nothing_of_a_refused_generation_is_published_later() {
        let (mut to, mut from) = ravelin_ring::in_process(64);
        let mut publisher = Publisher::new(&crate::config::tests::lawful());
        let range = AddrRange::new(v4(0x0a02_0000), v4(0x0a02_00ff)).unwrap();
        let stray = NextHop::Port { port: PortId(9), gateway: None };
        let bad = Route { prefix: "10.3.0.0/24".parse().unwrap(), next_hop: stray };
        let good = Route { next_hop: NextHop::Local, ..bad };
        let mut generation = |commands: &[TableCommand], number: u64| {
            let commit = TableCommand::Commit { generation: Generation(number) };
            for command in commands.iter().chain([&commit]) {
                to.push(command).unwrap();
            }
            let published = publisher.gather(&mut from, &mut [], &mut Devices::new(1)).is_some();
            publisher.finish(u64::MAX, &mut []);
            (published, publisher.steered.main.protected.clone())
        };
        let first = generation(&[TableCommand::AddProtectedRange(range)], 1);
        assert_eq!(first, (true, prefixes(range)));
        let cleared = [TableCommand::ClearProtectedRanges, TableCommand::AddRoute(bad)];
        assert_eq!(generation(&cleared, 2), (false, prefixes(range)), "no such port: refused");
        assert_eq!(generation(&[TableCommand::AddRoute(good)], 3), (true, prefixes(range)));
        assert_eq!(generation(&[TableCommand::ClearProtectedRanges], 4), (true, vec![]));
    }

    proptest! {
        #[test]
        fn the_prefixes_hold_what_the_range_holds(a: u32, b: u32, probe: u32, near in -2i64..3) {
            let range = AddrRange::new(v4(a.min(b)), v4(a.max(b))).unwrap();
            let list = prefixes(range);
            prop_assert!(list.len() <= 62);
            let edge = u32::try_from((i64::from(a) + near).clamp(0, u32::MAX.into())).unwrap();
            for p in [probe, edge] {
                let holders = list.iter().filter(|x| x.contains(v4(p))).count();
                prop_assert_eq!(holders, usize::from(range.contains(v4(p))), "each address once");
            }
        }
    }
}
