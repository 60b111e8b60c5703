//! The store against a model that keeps everything in maps and looks through all of it each time.

use super::*;
use crate::nat::rules::Pool;
use proptest::prelude::*;
use ravelin_ring::msg::WorkerId;
use ravelin_wire::PortRange;
use ravelin_wire::protocol::{ICMP, TCP, UDP};
use ravelin_wire::tcp::Tcp;
use std::collections::BTreeMap;

const GRE: u8 = 47;
const FLOWS: usize = 12;

fn settings(open: bool) -> NatSettings {
    NatSettings {
        per_host: 5,
        udp_s: 30,
        tcp_s: 200,
        tcp_transitory_s: 20,
        icmp_s: 6,
        other_s: 40,
        endpoint_independent_filter: open,
        ..NatSettings::default()
    }
}

fn pool() -> Pool {
    Pool { first: 0xc000_0201, last: 0xc000_0202, ports: PortRange::new(5000, 5011).unwrap() }
}

fn choice(pool: &Pool) -> Choice<'_> {
    Choice { pool, me: WorkerId(1), workers: 2 }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Out {
        host: u8,
        port: u8,
        remote: u8,
        protocol: u8,
        flags: u8,
    },
    /// To the outside end of that inside one, or to any.
    In {
        host: u8,
        port: u8,
        remote: u8,
        protocol: u8,
        flags: u8,
        stray: bool,
    },
    Wait(u16),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let protocol = prop_oneof![3 => Just(TCP), 3 => Just(UDP), 1 => Just(ICMP), 1 => Just(GRE)];
    let flags = prop_oneof![1 => Just(Tcp::SYN), 1 => Just(Tcp::SYN | Tcp::ACK), 3 => Just(Tcp::ACK), 1 => Just(Tcp::FIN | Tcp::ACK), 1 => Just(Tcp::RST)];
    let out = (0u8..3, 0u8..3, 0u8..3, protocol.clone(), flags.clone());
    let back = (0u8..3, 0u8..3, 0u8..3, protocol, flags, prop::bool::weighted(0.1));
    let op = prop_oneof![
        6 => out.prop_map(|(host, port, remote, protocol, flags)| Op::Out { host, port, remote, protocol, flags }),
        5 => back.prop_map(|(host, port, remote, protocol, flags, stray)| Op::In { host, port, remote, protocol, flags, stray }),
        2 => (1u16..30_000).prop_map(Op::Wait),
    ];
    proptest::collection::vec(op, 1..120)
}

#[derive(Clone, Debug)]
struct Known {
    born: u64,
    last: u64,
    answered: bool,
    /// Who spoke first was outside.
    foreign: bool,
    /// Of TCP since the last SYN from inside: (from outside?, flags).
    history: Vec<(bool, u8)>,
}

/// Independent of the subject: no hashes, no lists, no slots.
#[derive(Default)]
struct Model {
    now: u64,
    births: u64,
    /// By protocol, inside end and remote.
    sessions: BTreeMap<Key, Known>,
    /// By protocol, inside end, and remote host where ports do not tell.
    outside: BTreeMap<Mapping, Pair>,
}

type Pair = (u32, u16);
type Key = (u8, Pair, Pair);
type Mapping = (u8, Pair, u32);

fn key(inside: Inside, remote: End) -> Key {
    (inside.protocol, (inside.end.addr, inside.end.port), (remote.addr, remote.port))
}

fn mapping(key: &Key) -> (u8, (u32, u16), u32) {
    (key.0, key.1, if key.0 == GRE { key.2.0 } else { 0 })
}

impl Model {
    fn time(key: &Key, known: &Known) -> u64 {
        let rst = known.history.iter().any(|(_, f)| f & Tcp::RST != 0);
        let fin = |outside| known.history.iter().any(|(o, f)| *o == outside && f & Tcp::FIN != 0);
        let reply = known.history.iter().position(|(outside, _)| *outside);
        let acked = |at: usize| {
            known.history.iter().skip(at).any(|(o, f)| !o && f & Tcp::ACK != 0 && f & Tcp::SYN == 0)
        };
        1000 * match key.0 {
            TCP if rst || (fin(true) && fin(false)) => 20,
            TCP if reply.is_some_and(acked) => 200,
            TCP => 20,
            UDP => 30,
            ICMP => 6,
            _ => 40,
        }
    }

    fn tidy(&mut self) {
        let now = self.now;
        self.sessions.retain(|key, known| known.last + Self::time(key, known) > now);
        let used: Vec<_> = self.sessions.keys().map(mapping).collect();
        self.outside.retain(|m, _| used.contains(m));
    }

    fn see(&mut self, key: Key, outside: bool, flags: u8) {
        let now = self.now;
        let births = self.births;
        self.births += 1;
        let known = self.sessions.entry(key).or_insert(Known {
            born: births,
            last: now,
            answered: false,
            foreign: outside,
            history: vec![],
        });
        if key.0 == TCP {
            if !outside && flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN {
                known.history.clear();
            }
            known.history.push((outside, flags));
        }
        known.answered |= outside != known.foreign;
        if !outside || key.0 == TCP || key.0 == GRE {
            known.last = now;
        }
    }

    /// As the promise says: whoever was never answered gives way, of the host first, then of all.
    fn make_room(&mut self, host: u32, foreign: bool) -> Result<(), Drop> {
        let of_host = |k: &Key| k.1.0 == host;
        if self.sessions.keys().filter(|k| of_host(k)).count() >= 5 {
            self.evict(of_host, foreign, Drop::NatHostLimit)?;
        }
        if self.sessions.len() >= FLOWS {
            self.evict(|_| true, foreign, Drop::NatFull)?;
        }
        Ok(())
    }

    fn evict(&mut self, of: impl Fn(&Key) -> bool, foreign: bool, why: Drop) -> Result<(), Drop> {
        let fresh = self.sessions.iter().filter(|(k, s)| of(k) && !s.answered && (s.foreign || !foreign));
        // The youngest of strangers', then the oldest of those inside.
        let turn = |s: &Known| if s.foreign { (0, u64::MAX - s.born) } else { (1, s.born) };
        let oldest = fresh.min_by_key(|(_, s)| turn(s)).map(|(k, _)| *k).ok_or(why)?;
        self.sessions.remove(&oldest);
        self.tidy();
        Ok(())
    }
}

fn ends(host: u8, port: u8, remote: u8, protocol: u8) -> (Inside, End) {
    let has = has_ends(protocol);
    let end = End { addr: 0x0a01_0000 + u32::from(host), port: if has { 5004 + u16::from(port) } else { 0 } };
    let remote_port = if has && protocol != ICMP { 80 + u16::from(remote) } else { 0 };
    let remote = End { addr: 0xcb00_7100 + u32::from(remote), port: remote_port };
    (Inside::new(protocol, end, pool().first, remote.addr), remote)
}

fn agrees(open: bool, ops: &[Op]) {
    let (settings, pool) = (settings(open), pool());
    let choice = choice(&pool);
    let (mut store, mut model) = (Store::new(FLOWS), Model { now: 1000, ..Model::default() });
    for op in ops {
        model.tidy();
        store.expire(model.now, &settings);
        let now = model.now;
        match *op {
            Op::Wait(ms) => model.now += u64::from(ms),
            Op::Out { host, port, remote, protocol, flags } => {
                let (inside, remote) = ends(host, port, remote, protocol);
                let key = key(inside, remote);
                let expected = if model.sessions.contains_key(&key) {
                    Ok(())
                } else {
                    model.make_room(inside.end.addr, false)
                };
                let seen = Seen { now, flags, spi: 0 };
                let got = store.outbound(inside, remote, seen, &settings, &choice);
                match (expected, got) {
                    (Ok(()), Ok(end)) => out_is_right(&mut model, key, end, flags),
                    // As many as there are ends for it.
                    (Ok(()), Err(why @ (Drop::NatNoPort | Drop::NatBusy))) => exhausted(&model, &key, why),
                    (Err(why), got) => assert_eq!(got, Err(why)),
                    (Ok(()), Err(why)) => panic!("{why:?}"),
                }
            }
            Op::In { host, port, remote, protocol, flags, stray } => {
                let (inside, mut remote) = ends(host, port, remote, protocol);
                let mut to =
                    model.outside.get(&mapping(&key(inside, remote))).copied().unwrap_or((pool.last, 5011));
                if stray {
                    (to, remote.addr) = ((pool.first, 5000), 1);
                }
                let owner = model
                    .outside
                    .iter()
                    .find(|(m, end)| m.0 == protocol && **end == to && (m.2 == 0 || m.2 == remote.addr));
                let expected = owner.map(|(m, _)| *m);
                let seen = Seen { now, flags, spi: 0 };
                let outside = End { addr: to.0, port: to.1 };
                let got = store.inbound(protocol, outside, remote, seen, &settings);
                in_is_right(&mut model, expected, got, protocol, remote, open, flags);
            }
        }
        model.tidy();
        store.expire(model.now, &settings);
        assert_eq!(store.len(), model.sessions.len());
        let counts = store.counts;
        assert_eq!(
            counts.opened - counts.closed,
            model.sessions.len() as u64,
            "R303: what was opened is open or closed"
        );
    }
    // Time ends everything, and everything is free again.
    store.expire(u64::MAX, &settings);
    assert_eq!((store.len(), store.mappings.len(), store.hosts.len()), (0, 0, 0));
}

fn out_is_right(model: &mut Model, key: Key, end: End, flags: u8) {
    let pool = pool();
    let (m, end) = (mapping(&key), (end.addr, end.port));
    assert!(pool.contains(end.0));
    match model.outside.get(&m) {
        Some(before) => assert_eq!(*before, end, "RFC 4787 REQ-1: the same for every destination"),
        None => {
            let taken = model.outside.iter().any(|(other, e)| other.0 == m.0 && other.2 == m.2 && *e == end);
            assert!(!taken, "REQ-3: no port is given twice");
            if m.0 != GRE {
                assert_eq!(pool.owner(end.1, 2), Some(WorkerId(1)), "only of this worker's part");
                let others = model.outside.iter().filter(|(other, _)| other.1.0 == m.1.0 && other.0 != GRE);
                others.for_each(|(_, e)| assert_eq!(e.0, end.0, "REQ-2: one address for one host"));
            }
        }
    }
    model.outside.insert(m, end);
    model.see(key, false, flags);
}

fn exhausted(model: &Model, key: &Key, why: Drop) {
    let m = mapping(key);
    let used = model.outside.iter().filter(|(other, _)| other.0 == m.0 && other.2 == m.2);
    if why == Drop::NatBusy {
        assert_eq!(used.count(), 2, "both addresses speak with that host");
    } else {
        assert!(used.count() >= 6, "the part of the pool has six ports");
    }
}

fn in_is_right(
    model: &mut Model,
    owner: Option<(u8, (u32, u16), u32)>,
    got: Result<Inside, Drop>,
    protocol: u8,
    remote: End,
    open: bool,
    flags: u8,
) {
    let Some((_, inside, _)) = owner else {
        assert_eq!(got, Err(Drop::NatNoMapping));
        return;
    };
    let key = (protocol, inside, (remote.addr, remote.port));
    if !model.sessions.contains_key(&key) {
        if !open {
            assert_eq!(got, Err(Drop::NatFiltered));
            return;
        }
        if let Err(why) = model.make_room(inside.0, true) {
            assert_eq!(got, Err(why));
            return;
        }
        // The mapping's last session may have given way itself.
        if !model.outside.contains_key(&mapping(&key)) {
            assert_eq!(got, Err(Drop::NatNoMapping));
            return;
        }
    }
    let end = got.map(|inside| (inside.end.addr, inside.end.port));
    assert_eq!(end, Ok(inside));
    model.see(key, true, flags);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    // R54, R55; RFC 4787 REQ-1 to REQ-6, RFC 5382 REQ-5, RFC 5508 REQ-1.
    #[test]
    fn does_what_the_model_does(open: bool, ops in ops()) {
        agrees(open, &ops);
    }
}

// Whoever knows the port may speak (RFC 4787 §5); that takes no room from those inside.
#[test]
fn a_scan_from_outside_gives_way_to_all() {
    let settings = NatSettings { per_host: 100, endpoint_independent_filter: true, ..NatSettings::default() };
    let pool = Pool { ports: PortRange::new(1024, 65535).unwrap(), ..pool() };
    let choice = Choice { pool: &pool, me: WorkerId(0), workers: 1 };
    let mut store = Store::new(16);
    let seen = Seen { now: 5, flags: 0, spi: 0 };
    let inside = |port: u16| Inside::new(UDP, End { addr: 1, port }, pool.first, 0);
    let web = End { addr: 0xcb00_7109, port: 443 };
    let end = store.outbound(inside(5000), web, seen, &settings, &choice).unwrap();
    let stranger = |n: u32| End { addr: 0xcb00_0000 + n, port: 22 };
    for n in 0..1000 {
        store.inbound(UDP, end, stranger(n), seen, &settings).unwrap();
    }
    // The host asks others: all of its questions find room, and those of before keep it.
    for port in 5001..5015 {
        store.outbound(inside(port), web, seen, &settings, &choice).unwrap();
    }
    let seen = Seen { now: 6, ..seen };
    assert_eq!(store.inbound(UDP, end, web, seen, &settings), Ok(inside(5000)));
    // One that is answered stays.
    store.inbound(UDP, end, stranger(5000), seen, &settings).unwrap();
    store.outbound(inside(5000), stranger(5000), seen, &settings, &choice).unwrap();
    store.inbound(UDP, end, stranger(5001), seen, &settings).unwrap_err();
    assert_eq!(store.len(), 16);
}

// A scan from inside takes what its own host may have, and what was answered stays.
#[test]
fn a_scan_leaves_the_others_alone() {
    let settings = NatSettings { per_host: 8, ..NatSettings::default() };
    let pool = Pool { ports: PortRange::new(1024, 65535).unwrap(), ..pool() };
    let choice = Choice { pool: &pool, me: WorkerId(0), workers: 1 };
    let mut store = Store::new(16);
    let seen = Seen { now: 5, flags: Tcp::SYN, spi: 0 };
    let at = |host: u32, port: u16| Inside::new(TCP, End { addr: host, port }, pool.first, 0);
    let web = End { addr: 0xcb00_7109, port: 443 };
    let good: Vec<_> =
        (0..4).map(|p| store.outbound(at(1, 5000 + p), web, seen, &settings, &choice).unwrap()).collect();
    for end in &good {
        store.inbound(TCP, *end, web, Seen { flags: Tcp::SYN | Tcp::ACK, ..seen }, &settings).unwrap();
    }
    for n in 0..1000u32 {
        let target = End { addr: 0xcb00_0000 + n, port: 22 };
        let port = u16::try_from(1000 + n).unwrap();
        store.outbound(at(2, port), target, seen, &settings, &choice).unwrap();
        assert!(store.len() <= 4 + 8, "a host has no more than its limit");
    }
    // From many hosts at once, as when sources are forged: only what was never answered gives way.
    for n in 0..1000u32 {
        store.outbound(at(100 + n, 7), End { addr: 1, port: 1 }, seen, &settings, &choice).unwrap();
    }
    for (p, end) in (0u16..).zip(&good) {
        let ack = Seen { flags: Tcp::ACK, ..seen };
        assert_eq!(store.outbound(at(1, 5000 + p), web, ack, &settings, &choice), Ok(*end));
    }
    assert_eq!(store.counts.evicted, store.counts.opened - 16);
}

// What the rules do not give any more ends when it is used: a reload keeps the others.
#[test]
fn another_pool_another_end() {
    let settings = NatSettings::default();
    let pool = Pool { ports: PortRange::new(1024, 65535).unwrap(), ..pool() };
    let all = Choice { pool: &pool, me: WorkerId(0), workers: 1 };
    let mut store = Store::new(16);
    let inside = Inside::new(UDP, End { addr: 7, port: 3000 }, pool.first, 0);
    let (web, seen) = (End { addr: 9, port: 53 }, Seen { now: 5, flags: 0, spi: 0 });
    let before = store.outbound(inside, web, seen, &settings, &all).unwrap();
    assert_eq!(before.port, 3000, "its own port while it is free");
    let narrow = Pool { ports: PortRange::new(40_000, 40_009).unwrap(), ..pool };
    let less = Choice { pool: &narrow, ..all };
    let after = store.outbound(inside, web, seen, &settings, &less).unwrap();
    assert!(narrow.ports.contains(after.port));
    assert_eq!(after.port % 2, 0, "REQ-4: even stays even");
    assert_eq!(store.inbound(UDP, before, web, seen, &settings), Err(Drop::NatNoMapping));
    assert_eq!(store.inbound(UDP, after, web, seen, &settings), Ok(inside));
}

#[test]
fn ports_are_cut_into_parts_and_each_port_names_its_worker() {
    for (first, last) in [(1024, 65535), (61000, 65535), (5, 9), (7, 7), (0, 65535)] {
        let pool = Pool { first: 1, last: 1, ports: PortRange::new(first, last).unwrap() };
        for workers in [1u16, 2, 3, 7, 64] {
            let mut next = u32::from(first);
            for w in 0..workers {
                let (start, count) = pool.part(WorkerId(w), workers);
                assert!(count == 0 || u32::from(start) == next);
                for port in next..next + count {
                    assert_eq!(pool.owner(u16::try_from(port).unwrap(), workers), Some(WorkerId(w)));
                }
                next += count;
            }
            assert_eq!(next, u32::from(last) + 1, "no port is lost");
        }
    }
}
