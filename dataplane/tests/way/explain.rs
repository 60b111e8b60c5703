//! R304: what `explain` says is what happens, and asking leaves no trace: beside the worker that is asked about every packet
//! runs its twin, which never is.

use crate::rig::*;
use proptest::prelude::*;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::counters::Drop;
use ravelin_ring::inspect::{self, Action, Class, Route, Step};
use ravelin_ring::msg::{self, Mode, Neighbour, NextHop, OuterDf, Policy, PortId, Suite, TableCommand};
use ravelin_ring::msg::{Token, WorkerCommand, WorkerId};
use ravelin_wire::PortRange;
use ravelin_wire::ipv4::{Ipv4, Ipv4Header};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

fn told(verdict: Verdict) -> inspect::Verdict {
    match verdict {
        Verdict::Forward { port } => inspect::Verdict::Forward { port: port.0 },
        Verdict::Punt => inspect::Verdict::Punt,
        Verdict::Deliver { interface } => inspect::Verdict::Deliver { interface: interface.0 },
        Verdict::HandOff { worker } => inspect::Verdict::HandOff { worker: worker.0 },
        Verdict::Drop(why) => inspect::Verdict::Drop { reason: why.name().into() },
        Verdict::Held => inspect::Verdict::Held,
        Verdict::Consumed | Verdict::Pending => inspect::Verdict::Consumed,
    }
}

/// Where a clear packet comes from, and what it is.
#[derive(Clone, Debug)]
struct Clear {
    door: u8,
    src: usize,
    dst: usize,
    len: usize,
    df: bool,
    ttl: u8,
    protocol: u8,
    fragment: u16,
    broken: bool,
}

#[derive(Clone, Debug)]
enum Event {
    Clear(Clear),
    Six {
        door: u8,
        src: usize,
        dst: usize,
        len: usize,
        hops: u8,
    },
    /// From the peer; what the byte at this place becomes.
    Esp {
        len: usize,
        tamper: Option<(usize, u8)>,
        cut: usize,
        six: bool,
    },
    /// Once more what came from the peer so many ago.
    Again(usize),
    UnknownSpi(u32),
    /// The first part of what would be ESP, and no other one comes.
    Part(u16),
    Bytes(Vec<u8>, u8),
    /// So many that would like to wait.
    Burst(u8),
    Time(u64),
}

const V4: [Ipv4Addr; 10] = [
    HOST_A,
    HOST_B,
    GATE_A,
    WAN_A,
    WAN_B,
    INTERNET,
    Ipv4Addr::new(10, 1, 0, 77),
    Ipv4Addr::new(192, 0, 3, 1),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(172, 16, 0, 1),
];

fn clear() -> impl Strategy<Value = Event> {
    let what = (28..1700usize, any::<bool>(), prop_oneof![Just(64), Just(1), Just(2)]);
    let proto = prop_oneof![Just(17), Just(6), Just(1), Just(47)];
    let fragment = prop_oneof![4 => Just(0u16), 1 => Just(64)];
    let broken = prop_oneof![9 => Just(false), 1 => Just(true)];
    (0..3u8, 0..V4.len(), 0..V4.len(), what, proto, fragment, broken).prop_map(
        |(door, src, dst, (len, df, ttl), protocol, fragment, broken)| {
            Event::Clear(Clear { door, src, dst, len, df, ttl, protocol, fragment, broken })
        },
    )
}

/// What goes through the tunnel, mostly.
fn inside() -> impl Strategy<Value = Event> {
    (28..1700usize, any::<bool>()).prop_map(|(len, df)| {
        Event::Clear(Clear {
            door: 0,
            src: 0,
            dst: 1,
            len,
            df,
            ttl: 64,
            protocol: 17,
            fragment: 0,
            broken: false,
        })
    })
}

fn event() -> impl Strategy<Value = Event> {
    let tamper = prop_oneof![4 => Just(None), 1 => (20..200usize, 1..255u8).prop_map(Some)];
    let cut = prop_oneof![5 => Just(0usize), 1 => 1..30usize];
    prop_oneof![
        4 => clear(),
        3 => inside(),
        2 => (0..3u8, 0..5usize, 0..5usize, 48..1700usize, prop_oneof![Just(64u8), Just(1)])
            .prop_map(|(door, src, dst, len, hops)| Event::Six { door, src, dst, len, hops }),
        4 => (28..1300usize, tamper, cut, any::<bool>())
            .prop_map(|(len, tamper, cut, six)| Event::Esp { len, tamper, cut, six }),
        2 => (0..80usize).prop_map(Event::Again),
        1 => (0..0x2000u32).prop_map(Event::UnknownSpi),
        1 => any::<u16>().prop_map(Event::Part),
        1 => (proptest::collection::vec(any::<u8>(), 0..80), 0..3u8).prop_map(|(b, d)| Event::Bytes(b, d)),
        1 => (10..24u8).prop_map(Event::Burst),
        1 => (1..3000u64).prop_map(Event::Time),
    ]
}

/// Of SAs, holds and rules.
#[derive(Clone, Debug)]
struct Shape {
    suite: usize,
    kind: u8,
    esn: bool,
    window: u32,
    mtu: u16,
    df: u8,
    hard: u64,
    hold: bool,
    up: bool,
    discard: bool,
    workers: u16,
}

fn shape() -> impl Strategy<Value = Shape> {
    let limits = (prop_oneof![Just(0u32), Just(32), Just(1024)], prop_oneof![Just(600u16), Just(1500)]);
    let hard = prop_oneof![3 => Just(0u64), 1 => 2..12u64];
    let up = prop_oneof![3 => Just(true), 1 => Just(false)];
    (0..7usize, 0..6u8, any::<bool>(), limits, 0..3u8, hard, any::<bool>(), up, any::<bool>(), 1..3u16)
        .prop_map(|(suite, kind, esn, (window, mtu), df, hard, hold, up, discard, workers)| Shape {
            suite,
            kind,
            esn,
            window,
            mtu,
            df,
            hard,
            hold,
            up,
            discard,
            workers,
        })
}

impl Shape {
    fn pair(&self) -> Pair {
        let mut pair = Pair {
            suite: SUITES[self.suite].0,
            esn: self.esn,
            window: self.window,
            tunnel_mtu: self.mtu,
            df: [OuterDf::Clear, OuterDf::Copy, OuterDf::Set][usize::from(self.df)],
            hard_packets: self.hard,
            // Even: worker 0's at both ends; odd: another's.
            spi: 0x1000 + u32::from(self.discard),
            ..Pair::default()
        };
        match self.kind {
            1 => pair.udp = true,
            2 => pair.v6 = true,
            3 => pair = Pair { udp: true, v6: true, ..pair },
            4 => pair = Pair { suite: Suite::AhSha256, ..pair },
            5 => {
                pair.selectors = vec![selector("198.18.0.1/32", "198.18.0.2/32")];
                pair.mode = Mode::Transport;
            }
            _ => {}
        }
        pair
    }

    fn gate(&self, pair: &Pair, is_a: bool, workers: u16) -> Gate {
        let mut gate = Gate::with_workers(is_a, 0, workers);
        for (order, s) in (50..).zip(&pair.selectors) {
            let action = msg::Action::Protect(TUNNEL);
            let s = if is_a { *s } else { mirror(*s) };
            gate.set(TableCommand::AddPolicy(Policy {
                order,
                selector: s,
                action,
                hold: self.hold,
                line: order,
            }));
        }
        if self.discard {
            let mut s = selector("10.1.0.0/24", "203.0.113.0/24");
            // A later fragment hides what decides.
            s.remote_ports = PortRange::new(1500, 2500).unwrap();
            let action = msg::Action::Discard;
            gate.set(TableCommand::AddPolicy(Policy { order: 9, selector: s, action, hold: false, line: 7 }));
        }
        gate.commit();
        // Of an SA that is another worker's nothing is installed here.
        for direction in [msg::Direction::Inbound, msg::Direction::Outbound] {
            if workers == 1 || direction == msg::Direction::Outbound || self.spi_in(pair).is_multiple_of(2) {
                assert_eq!(gate.install_one(pair, direction), msg::Outcome::Ok);
            }
        }
        if self.up {
            gate.use_pair(pair);
        } else if self.hard > 0 {
            let (sa, owner) = (msg::SaId(99), WorkerId(workers - 1));
            gate.command(|token: Token| WorkerCommand::UseOutbound { token, tunnel: TUNNEL, sa, owner });
        }
        gate
    }

    fn spi_in(&self, pair: &Pair) -> u32 {
        pair.spi + 2
    }
}

/// What the way of a gateway leaves behind.
fn traces(gate: &mut Gate, pair: &Pair) -> (Vec<String>, Vec<u64>, Vec<u64>) {
    let events = gate.events().iter().map(|e| format!("{e:?}")).collect();
    assert_eq!(gate.worker.apply(WorkerCommand::ReportSas { token: Token(9) }), None);
    let mut reports: Vec<String> = gate.events().iter().map(|e| format!("{e:?}")).collect();
    reports.push(format!("{}", pair.id));
    let stats = gate.worker.stats();
    let all: Vec<String> = [events, reports].concat();
    (all, stats.counters.to_vec(), stats.drops.to_vec())
}

struct Bed {
    asked: Gate,
    twin: Gate,
    peer: Gate,
    pair: Pair,
    /// What came from the peer.
    sent: Vec<Vec<u8>>,
    seen: BTreeMap<String, u32>,
}

impl Bed {
    fn new(shape: &Shape) -> Self {
        let pair = shape.pair();
        let peer = Shape { up: true, hold: false, hard: 0, ..shape.clone() };
        let free = Pair { hard_packets: 0, ..pair.clone() };
        Self {
            asked: shape.gate(&pair, true, shape.workers),
            twin: shape.gate(&pair, true, shape.workers),
            peer: peer.gate(&free, false, 1),
            pair,
            sent: vec![],
            seen: BTreeMap::new(),
        }
    }

    fn origin(door: u8) -> Origin {
        [Origin::Port(INSIDE), Origin::Port(WAN), Origin::Tun][usize::from(door)]
    }

    fn step(&mut self, event: &Event) {
        let (origin, bytes) = match event {
            Event::Time(ms) => {
                for gate in [&mut self.asked, &mut self.twin, &mut self.peer] {
                    gate.now.ms += ms;
                }
                let (a, b) = (self.asked.turn().len(), self.twin.turn().len());
                assert_eq!(a, b, "as many waited");
                return;
            }
            Event::Clear(c) => (Self::origin(c.door), v4_packet(c)),
            Event::Six { door, src, dst, len, hops } => {
                let list = [HOST_A6, HOST_B6, GATE_A6, WAN_A6, INTERNET6];
                let mut bytes = ip6(list[*src], list[*dst], *len);
                bytes[7] = *hops;
                (Self::origin(*door), bytes)
            }
            Event::Esp { len, tamper, cut, six } => {
                (Origin::Port(WAN), self.sealed_by_peer(*len, *tamper, *cut, *six))
            }
            Event::Again(ago) => {
                let at = self.sent.len().saturating_sub(1 + ago);
                let Some(bytes) = self.sent.get(at) else { return };
                (Origin::Port(WAN), bytes.clone())
            }
            Event::UnknownSpi(spi) => {
                let header = Ipv4Header { protocol: 50, ..v4_header(WAN_B, WAN_A, 80) };
                let mut bytes = packet(header);
                bytes[20..24].copy_from_slice(&spi.to_be_bytes());
                (Origin::Port(WAN), bytes)
            }
            Event::Part(id) => {
                let header =
                    Ipv4Header { protocol: 50, id: *id, mf: true, df: false, ..v4_header(WAN_B, WAN_A, 100) };
                (Origin::Port(WAN), packet(header))
            }
            Event::Burst(n) => {
                (0..*n).for_each(|_| self.compare(Origin::Port(INSIDE), &ip(HOST_A, HOST_B, 100)));
                return;
            }
            Event::Bytes(bytes, door) => (Self::origin(*door), bytes.clone()),
        };
        if bytes.is_empty() {
            return;
        }
        self.compare(origin, &bytes);
    }

    /// An ESP packet of the peer's, or of AH, from its IP header on.
    fn sealed_by_peer(&mut self, len: usize, tamper: Option<(usize, u8)>, cut: usize, six: bool) -> Vec<u8> {
        let (origin, clear) = match self.pair.mode {
            Mode::Transport => (Origin::Tun, ip(WAN_B, WAN_A, len)),
            Mode::Tunnel if six && self.pair.suite != Suite::AhSha256 => {
                (Origin::Port(INSIDE), ip6(HOST_B6, HOST_A6, len.max(60)))
            }
            Mode::Tunnel => (Origin::Port(INSIDE), ip(HOST_B, HOST_A, len)),
        };
        let bytes = if origin == Origin::Tun { clear } else { ether(&clear) };
        let out = self.peer.run(&[(origin, bytes)]);
        let Some(first) = out.first().filter(|out| matches!(out.verdict, Verdict::Forward { port: WAN }))
        else {
            return vec![];
        };
        let mut bytes = first.bytes[14..].to_vec();
        self.sent.push(bytes.clone());
        if let Some((at, what)) = tamper
            && let Some(byte) = bytes.get_mut(at)
        {
            *byte ^= what;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        bytes
    }

    fn compare(&mut self, origin: Origin, bytes: &[u8]) {
        let frame = if let Origin::Port(port) = origin {
            let mut frame = ether(bytes);
            // The port's own address.
            frame[5] = if port == INSIDE { 1 } else { 2 };
            frame
        } else {
            bytes.to_vec()
        };
        let (said, handed) = self.asked.explain(origin, frame.clone());
        let real = self.asked.run(&[(origin, frame.clone())]);
        let other = self.twin.run(&[(origin, frame)]);
        let first = &real[0];
        assert_eq!(said.verdict, told(first.verdict), "{said:?}");
        assert_eq!(
            real.iter().map(|o| o.verdict).collect::<Vec<_>>(),
            other.iter().map(|o| o.verdict).collect::<Vec<_>>()
        );
        self.sizes(&said, &real);
        if let Some(handed) = handed {
            assert_eq!(told(first.verdict), inspect::Verdict::HandOff { worker: handed.worker.0 });
            assert_eq!((handed.subject.bytes, handed.subject.origin), (first.bytes.clone(), first.origin));
        }
        self.facts(&said);
        let name = if let Verdict::Drop(why) = first.verdict {
            why.name().to_owned()
        } else {
            format!("{:?} {:?}", said.class, told(first.verdict))
        };
        *self.seen.entry(name).or_default() += 1;
    }

    fn sizes(&self, said: &Step, real: &[Out]) {
        let made = usize::from(said.icmp.is_some());
        if let Some(size) = &said.size
            && real[0].verdict != Verdict::Drop(Drop::TooBig)
        {
            let on = |o: &&Out| matches!(o.verdict, Verdict::Forward { .. } | Verdict::Punt);
            let on_its_way = |v: &&inspect::Verdict| {
                matches!(v, inspect::Verdict::Forward { .. } | inspect::Verdict::Punt)
            };
            // An error to the peer itself may go in pieces, too: transport mode cuts after protection.
            let dropped = matches!(real[0].verdict, Verdict::Drop(_));
            let errors = said.icmp.iter().filter(on_its_way).count();
            let pieces = if dropped { 0 } else { real.iter().filter(on).count() - errors };
            assert_eq!(usize::from(size.pieces), pieces, "{said:?}");
            assert!(pieces < 2 || size.length > size.limit);
        } else if said.verdict == (inspect::Verdict::Drop { reason: "too_big".into() }) {
            let size = said.size.as_ref().expect("a size");
            assert!(size.df && size.length > size.limit);
        }
        if let Some(icmp) = &said.icmp {
            assert!(real.len() > made);
            assert!(real[1..].iter().all(|out| *icmp == told(out.verdict)));
        }
    }

    /// What is said about SAs is what the twin reports.
    fn facts(&mut self, said: &Step) {
        if let Some(sa) = &said.protects {
            assert_eq!((sa.tunnel, sa.id), (TUNNEL.0, self.pair.id * 10 + 1));
            assert_eq!(said.goes.as_ref().map(|p| p.action), Some(Action::Protect), "{said:?}");
        }
        if let (Some(sa), Class::Esp | Class::Ah) = (&said.opens, said.class) {
            assert_eq!((sa.id, Some(sa.spi)), (self.pair.id * 10, said.spi));
        }
        if let (inspect::Verdict::Forward { port }, Some(Route::Port { port: way, mac, .. })) =
            (&said.verdict, &said.route)
        {
            assert_eq!(port, way);
            assert!(mac.is_some());
        }
    }

    fn end(&mut self) {
        // Some milliseconds are between them, no more: both report at the same.
        assert_eq!(traces(&mut self.asked, &self.pair), traces(&mut self.twin, &self.pair));
    }
}

fn v4_header(src: Ipv4Addr, dst: Ipv4Addr, len: usize) -> Ipv4Header {
    let ip = ip(src, dst, len);
    let ip = Ipv4::parse(&ip).unwrap();
    Ipv4Header {
        tos: 0,
        total_len: len as u16,
        id: 7,
        df: ip.df(),
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: 17,
        src,
        dst,
    }
}

fn v4_packet(c: &Clear) -> Vec<u8> {
    let header = Ipv4Header {
        df: c.df,
        ttl: c.ttl,
        protocol: c.protocol,
        fragment_offset: c.fragment,
        ..v4_header(V4[c.src], V4[c.dst], c.len)
    };
    let mut bytes = packet(header);
    if c.broken {
        bytes[10] ^= 0x40;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_said_is_what_happens(shape in shape(), events in proptest::collection::vec(event(), 1..60)) {
        let mut bed = Bed::new(&shape);
        for event in &events {
            bed.step(event);
        }
        bed.end();
    }
}

/// The generator above reaches every class, and most of the reasons, at a fixed seed.
#[test]
fn the_packets_are_of_all_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..60 {
        let shape = shape().new_tree(&mut runner).unwrap().current();
        let events = proptest::collection::vec(event(), 30..60).new_tree(&mut runner).unwrap().current();
        let mut bed = Bed::new(&shape);
        events.iter().for_each(|event| bed.step(event));
        bed.end();
        for (what, n) in bed.seen {
            *seen.entry(what).or_default() += n;
        }
    }
    let wanted = "bad_icv bad_ip_checksum replay_dup no_sa ttl_expired too_big plain_on_protected policy_discard no_route \
                  route_blackhole neighbour_unresolved hold_full no_outbound_sa sa_expired fragment reverse_path land \
                  malformed bad_address";
    let missing: Vec<&str> = wanted.split_whitespace().filter(|why| !seen.contains_key(*why)).collect();
    assert!(missing.is_empty(), "{missing:?} of {seen:?}");
    for class in ["Esp Forward", "Ah Forward", "Clear Forward", "Clear Punt", "Clear Held", "Esp HandOff"] {
        let (class, verdict) = class.split_once(' ').unwrap();
        let found = seen.keys().any(|k| k.starts_with(class) && k.contains(verdict));
        assert!(found, "{class} {verdict} of {seen:?}");
    }
    assert!(seen.values().sum::<u32>() > 1500, "{seen:?}");
}

// R13: of two that overlap the lower one decides, and explain names it with its line.
#[test]
fn the_policy_is_named_by_its_line() {
    let pair = Pair::default();
    let (mut a, _) = gates(&pair);
    for (order, line, action) in [
        (20, 120, msg::Action::Bypass),
        (10, 110, msg::Action::Protect(TUNNEL)),
        (30, 130, msg::Action::Discard),
    ] {
        let selector = selector("10.1.0.0/24", "10.2.0.10/32");
        a.set(TableCommand::AddPolicy(Policy { order, selector, action, hold: false, line }));
    }
    a.commit();
    let (said, _) = a.explain(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 100)));
    let goes = said.goes.unwrap();
    assert_eq!((goes.action, goes.order, goes.line), (Action::Protect, Some(10), Some(110)));
    assert_eq!(said.came.unwrap().action, Action::Bypass);
    let sa = said.protects.unwrap();
    assert_eq!((sa.spi, sa.sequence, sa.suite.as_str()), (0x1000, 1, "aes256gcm16"));
    assert_eq!(said.size.map(|s| (s.length, s.pieces)), Some((100, 1)));
    // R241: the second look-up is that of the outer address.
    let wanted = Route::Port { port: 1, next_hop: addr(WAN_B), mac: Some("02:00:00:00:00:14".into()) };
    assert_eq!(said.route, Some(wanted));
}

/// A part of a packet waits for the other parts, and not where whole packets wait for an SA.
#[test]
fn a_part_that_is_asked_about_leaves_what_waits_alone() {
    let mut a = Gate::new(true);
    let action = msg::Action::Protect(TUNNEL);
    let selector = selector("10.1.0.0/24", "10.2.0.0/24");
    a.set(TableCommand::AddPolicy(Policy { order: 5, selector, action, hold: true, line: 1 }));
    a.commit();
    assert_eq!(a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).verdict, Verdict::Held);
    let part = packet(Ipv4Header { protocol: 50, mf: true, df: false, ..v4_header(WAN_B, WAN_A, 100) });
    for n in 1..4 {
        let (said, _) = a.explain(Origin::Port(WAN), to_wan(ether(&part)));
        assert_eq!((said.class, said.verdict), (Class::Fragment, inspect::Verdict::Held));
        let (said, _) = a.explain(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 100)));
        assert_eq!(said.verdict, inspect::Verdict::Held);
        assert_eq!(a.held(), n);
        assert_eq!(a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).verdict, Verdict::Held);
    }
    let pair = Pair::default();
    a.install(&pair);
    a.use_pair(&pair);
    let out = a.turn();
    assert_eq!(out.len(), 4, "all that waited goes on");
    out.iter().for_each(|out| _ = out.forwarded(WAN));
    assert_eq!(a.held(), 0);
}

/// What stood in the SA's place while it was asked about is gone: the peer opens what comes afterwards.
#[test]
fn the_sa_has_its_own_key_again() {
    for (suite, _) in SUITES {
        let (mut a, mut b) = gates(&Pair { suite, ..Pair::default() });
        for n in 1..4u64 {
            let frame = || ether(&ip(HOST_A, HOST_B, 200));
            let (said, _) = a.explain(Origin::Port(INSIDE), frame());
            assert_eq!(said.protects.unwrap().sequence, n);
            let out = a.one(Origin::Port(INSIDE), frame());
            let outer = ether(out.forwarded(WAN));
            let (said, _) = b.explain(Origin::Port(WAN), to_wan(outer.clone()));
            assert_eq!(said.opens.unwrap().sequence, n);
            assert_eq!(said.verdict, inspect::Verdict::Forward { port: 0 });
            b.one(Origin::Port(WAN), outer).forwarded(INSIDE);
        }
    }
}

fn to_wan(mut frame: Vec<u8>) -> Vec<u8> {
    frame[5] = 2;
    frame
}

/// What XDP leaves to the kernel, by the tables of the worker.
#[test]
fn xdp_is_asked_too() {
    use ravelin_wire::classify::{Class as Steered, Steer};
    let (mut a, _) = gates(&Pair::default());
    let range = selector("10.1.0.0/24", "10.2.0.0/24").remote;
    a.set(TableCommand::AddProtectedRange(range));
    let gateway = Some(addr(WAN_B));
    a.set(TableCommand::AddRoute(msg::Route {
        prefix: prefix("198.51.100.0/24"),
        next_hop: NextHop::Port { port: PortId(1), gateway },
    }));
    a.set(TableCommand::SetNeighbour(Neighbour { port: WAN, addr: addr(INTERNET), mac: mac(20) }));
    a.commit();
    assert_eq!(a.worker.steer(INSIDE, &ether(&ip(HOST_A, HOST_B, 60))), Steer::ToWorker(Steered::Protected));
    assert_eq!(a.worker.steer(INSIDE, &ether(&ip(HOST_A, INTERNET, 60))), Steer::Pass);
    assert_eq!(a.worker.steer(INSIDE, &[0; 20]), Steer::Pass, "not IP");
    // R222: the port that admits the VPN alone, and not the other one; who is admitted all the same.
    a.set(TableCommand::AdmitVpn { port: INSIDE, ike_ports: [500, 4500] });
    a.commit();
    let frame = ether(&ip(HOST_A, INTERNET, 60));
    assert_eq!(a.worker.steer(INSIDE, &frame), Steer::DropNotAdmitted);
    assert_eq!(a.worker.steer(WAN, &frame), Steer::Pass);
    a.set(TableCommand::AdmitFrom { port: INSIDE, range: selector("10.1.0.0/24", "10.2.0.0/24").local });
    a.commit();
    assert_eq!(a.worker.steer(INSIDE, &frame), Steer::Pass);
    a.set(TableCommand::ClearAdmissions);
    a.commit();
    assert_eq!(a.worker.steer(INSIDE, &ether(&ip(INTERNET, HOST_A, 60))), Steer::Pass);
    let bare = ip(HOST_A, HOST_B, 60);
    assert_eq!(a.worker.dressed(WAN, &bare)[..6], mac(2));
}
