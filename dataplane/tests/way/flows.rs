//! What is known of flows changes nothing but the time a packet takes: two gateways get the same packets, tables and
//! commands, and one of them decides about every packet by itself.

use crate::rig::*;
use proptest::prelude::*;
use ravelin_dataplane::{Bounds, Door, Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use ravelin_wire::ipv4::Ipv4Header;
use ravelin_wire::{AddrRange, PortRange, Selector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One packet, chosen from few: the same flows come again and again.
#[derive(Clone, Debug)]
struct Kind {
    from: u8,
    src: u8,
    dst: u8,
    protocol: u8,
    port: u8,
    shape: u8,
    six: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Packets(Vec<Kind>),
    Neighbour { wan: bool, mac: Option<u8> },
    Port { wan: bool, up: bool, mtu: u16 },
    Policy { order: u32, dst: u8, ports: bool, action: u8, six: bool },
    ClearPolicies,
    Rekey { narrow: bool, udp: bool, six: bool },
    Stop,
    Remove { inbound: bool },
    Move,
}

fn any_step() -> impl Strategy<Value = Step> {
    let kind = (0u8..6, 0u8..3, 0u8..6, 0u8..4, 0u8..2, 0u8..12, any::<bool>()).prop_map(
        |(from, src, dst, protocol, port, shape, six)| Kind { from, src, dst, protocol, port, shape, six },
    );
    prop_oneof![
        12 => proptest::collection::vec(kind, 1..40).prop_map(Step::Packets),
        1 => (any::<bool>(), proptest::option::of(1u8..4)).prop_map(|(wan, mac)| Step::Neighbour { wan, mac }),
        1 => (any::<bool>(), any::<bool>(), prop_oneof![Just(1500), Just(576)])
            .prop_map(|(wan, up, mtu)| Step::Port { wan, up: up || mtu == 1500, mtu }),
        2 => (0u32..200, 0u8..6, any::<bool>(), 0u8..3, any::<bool>())
            .prop_map(|(order, dst, ports, action, six)| Step::Policy { order, dst, ports, action, six }),
        1 => Just(Step::ClearPolicies),
        2 => (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(narrow, udp, six)| Step::Rekey { narrow, udp, six }),
        1 => Just(Step::Stop),
        1 => any::<bool>().prop_map(|inbound| Step::Remove { inbound }),
        1 => Just(Step::Move),
    ]
}

const FAR: [Ipv4Addr; 6] = [
    HOST_B,
    Ipv4Addr::new(10, 2, 0, 99),
    INTERNET,
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(192, 0, 3, 1),
    HOST_A,
];

const fn far6(network: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host)
}

const FAR6: [Ipv6Addr; 6] = [HOST_B6, far6(2, 0x99), INTERNET6, far6(0xa, 1), far6(0xb, 1), HOST_A6];

/// The subject, the one without flows, and the peer that seals for both.
struct Three {
    gates: [Gate; 2],
    peer: Gate,
    pair: Pair,
}

impl Three {
    fn new() -> Self {
        let pair = Pair { suite: Suite::Aes128Gcm16, ..Pair::default() };
        let (a, peer) = gates(&pair);
        let (mut other, _) = gates(&pair);
        other.worker.without_flows();
        Self { gates: [a, other], peer, pair }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Packets(kinds) => {
                let packets: Vec<_> = kinds.iter().filter_map(|k| self.packet(k)).collect();
                return self.run(&packets);
            }
            Step::Rekey { narrow, udp, six } => {
                let (four, v6) = if *narrow { ("10.2.0.0/26", "/122") } else { ("10.2.0.0/24", "/64") };
                let v6 = selector("2001:db8:1::/64", &format!("2001:db8:2::{v6}"));
                let selectors = vec![selector("10.1.0.0/24", four), v6];
                let (id, spi) = (self.pair.id + 1, self.pair.spi + 16);
                self.pair = Pair { id, spi, selectors, udp: *udp, v6: *six, ..self.pair.clone() };
                self.peer.install(&self.pair);
                self.peer.use_pair(&self.pair);
            }
            _ => {}
        }
        for gate in &mut self.gates {
            change(gate, step, &self.pair);
        }
    }

    fn run(&mut self, packets: &[(Origin, Vec<u8>)]) {
        let [with, without] = &mut self.gates;
        let (ours, theirs) = (with.run(packets), without.run(packets));
        assert_eq!(ours.len(), theirs.len());
        for (one, other) in ours.iter().zip(&theirs) {
            assert_eq!(one.verdict, other.verdict);
            assert_eq!(one.origin, other.origin);
            if !matches!(one.verdict, Verdict::Drop(_) | Verdict::Consumed | Verdict::Held) {
                assert_eq!(one.bytes, other.bytes);
            }
        }
        // A session whose time is over is closed when the next packet asks about sessions; those of known flows do not.
        let closed = [&with.worker, &without.worker].map(|worker| worker.stats().get(Counter::NatClosed));
        let mut counted = with.worker.stats().clone();
        counted.add(Counter::NatClosed, closed[1].checked_sub(closed[0]).expect("none is closed early"));
        assert_eq!(&counted, without.worker.stats());
        assert_eq!(format!("{:?}", with.events()), format!("{:?}", without.events()));
        with.now.ms += 7;
        without.now.ms += 7;
        self.peer.now.ms += 7;
    }

    fn packet(&mut self, kind: &Kind) -> Option<(Origin, Vec<u8>)> {
        if kind.six {
            return self.send(kind, packet_v6(kind));
        }
        let near = Ipv4Addr::new(10, 1, 0, 10 + kind.src);
        let far = FAR[usize::from(kind.dst)];
        let mut bytes = packet(Ipv4Header {
            tos: kind.shape,
            total_len: if kind.shape == 1 { 1480 } else { 60 },
            id: 3,
            df: kind.shape != 1 && kind.shape != 3,
            mf: kind.shape == 2,
            fragment_offset: if kind.shape == 3 { 64 } else { 0 },
            ttl: if kind.shape == 4 { 1 } else { 64 },
            protocol: [17, 6, 1, 47][usize::from(kind.protocol)],
            src: if kind.from < 3 { near } else { far },
            dst: if kind.from < 3 { far } else { near },
        });
        bytes[23] = kind.port; // the destination port's low byte
        self.send(kind, bytes)
    }

    fn send(&mut self, kind: &Kind, bytes: Vec<u8>) -> Option<(Origin, Vec<u8>)> {
        Some(match kind.from {
            0 => (Origin::Port(INSIDE), ether(&bytes)),
            1 => (Origin::Tun, bytes),
            2 => (Origin::HandedIn { door: port_door(INSIDE), hops: 1, bounds: Bounds::NONE }, bytes),
            3 => (Origin::Port(WAN), ether(&bytes)),
            4 => (Origin::HandedIn { door: Door::Sa, hops: 1, bounds: Bounds::NONE }, bytes),
            // In ESP from the peer, as far as its own policy and SA have it.
            _ => {
                let out = self.peer.run(&[(Origin::Port(INSIDE), ether(&bytes))]);
                let sealed = out.into_iter().find(|o| o.verdict == Verdict::Forward { port: WAN })?;
                (Origin::Port(WAN), sealed.bytes)
            }
        })
    }
}

/// Whole, too large, a first or a later fragment, too old, or behind an extension header.
fn packet_v6(kind: &Kind) -> Vec<u8> {
    let near = far6(1, 0x10 + u16::from(kind.src));
    let far = FAR6[usize::from(kind.dst)];
    let (src, dst) = if kind.from < 3 { (near, far) } else { (far, near) };
    let protocol = [17, 6, 58, 47][usize::from(kind.protocol)];
    let mut payload = vec![0x5a; if kind.shape == 1 { 1440 } else { 20 }];
    payload[..4].copy_from_slice(&[3, 232, 7, kind.port]);
    let mut bytes = match kind.shape {
        2 | 3 => {
            let at = if kind.shape == 2 { [0, 1] } else { [2, 0] };
            let header = [protocol, 0, at[0], at[1], 0, 0, 0, 9];
            packet6(src, dst, 44, &[&header[..], &payload].concat())
        }
        5 => packet6(src, dst, 60, &[&[protocol, 0, 1, 4, 0, 0, 0, 0][..], &payload].concat()),
        _ => packet6(src, dst, protocol, &payload),
    };
    bytes[1] = kind.shape << 4;
    bytes[7] = if kind.shape == 4 { 1 } else { 64 };
    bytes
}

fn change(gate: &mut Gate, step: &Step, pair: &Pair) {
    let port = |wan: &bool| if *wan { WAN } else { INSIDE };
    match step {
        Step::Packets(_) => {}
        Step::Neighbour { wan, mac: address } => {
            let both: [IpAddr; 2] =
                if *wan { [WAN_B.into(), WAN_B6.into()] } else { [HOST_A.into(), HOST_A6.into()] };
            let port = port(wan);
            for addr in both {
                gate.set(match address {
                    Some(n) => TableCommand::SetNeighbour(Neighbour { port, addr, mac: mac(*n) }),
                    None => TableCommand::RemoveNeighbour { port, addr },
                });
            }
            gate.commit();
        }
        Step::Port { wan, up, mtu } => {
            let n = if *wan { 2 } else { 1 };
            gate.set(TableCommand::SetPort(Port { port: port(wan), mac: mac(n), mtu: *mtu, up: *up }));
            gate.commit();
        }
        Step::Policy { order, dst, ports, action, six } => {
            let mut s: Selector = if *six {
                selector("2001:db8:1::/64", &format!("{}/128", FAR6[usize::from(*dst)]))
            } else {
                selector("10.1.0.0/24", &format!("{}/32", FAR[usize::from(*dst)]))
            };
            if *ports {
                (s.protocol, s.remote_ports) = (Some(17), PortRange::new(1792, 1792).unwrap());
            }
            let action = [Action::Protect(TUNNEL), Action::Bypass, Action::Discard][usize::from(*action)];
            gate.set(TableCommand::AddPolicy(Policy {
                order: *order,
                selector: s,
                action,
                hold: false,
                line: 0,
            }));
            gate.commit();
        }
        Step::ClearPolicies => {
            gate.set(TableCommand::ClearPolicies);
            gate.protect(selector("10.1.0.0/24", "10.2.0.0/24"));
            gate.protect(selector("2001:db8:1::/64", "2001:db8:2::/64"));
            gate.commit();
        }
        Step::Rekey { .. } => {
            gate.install(pair);
            gate.use_pair(pair);
        }
        Step::Stop => {
            gate.command(|token| WorkerCommand::StopOutbound { token, tunnel: TUNNEL });
        }
        Step::Remove { inbound } => {
            let direction = if *inbound { Direction::Inbound } else { Direction::Outbound };
            let sa = pair.spec(true, direction).id;
            gate.command(|token| WorkerCommand::RemoveSa { token, sa });
        }
        Step::Move => {
            let sa = pair.spec(true, Direction::Outbound).id;
            let (local, remote): (IpAddr, IpAddr) =
                if pair.v6 { (WAN_A6.into(), WAN_B6.into()) } else { (WAN_A.into(), WAN_B.into()) };
            let (local, remote) = (SocketAddr::new(local, 4500), SocketAddr::new(remote, 4501));
            gate.command(|token| WorkerCommand::MoveSa { token, sa, local, remote });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    // Right after every change of policies, SAs, routes or neighbours.
    #[test]
    fn a_known_flow_is_treated_as_an_unknown_one(steps in proptest::collection::vec(any_step(), 4..40)) {
        let mut three = Three::new();
        for step in &steps {
            three.step(step);
        }
    }
}

/// Each of these would send the next packet of a known flow the old way, were it not noticed.
#[test]
fn each_change_counts_for_the_next_packet() {
    each_change(false);
    each_change(true);
}

fn each_change(six: bool) {
    let mut three = Three::new();
    let flow =
        |from, dst| Step::Packets(vec![Kind { from, src: 0, dst, protocol: 0, port: 0, shape: 0, six }]);
    let changes = [
        Step::Neighbour { wan: true, mac: Some(3) },
        Step::Rekey { narrow: false, udp: true, six },
        Step::Move,
        Step::Policy { order: 1, dst: 0, ports: false, action: 1, six },
        Step::Policy { order: 0, dst: 0, ports: false, action: 2, six },
        Step::ClearPolicies,
        Step::Port { wan: true, up: false, mtu: 576 },
        Step::Port { wan: true, up: true, mtu: 1500 },
        Step::Stop,
        Step::Rekey { narrow: true, udp: false, six },
        Step::Remove { inbound: true },
        Step::Remove { inbound: false },
    ];
    let mut forwarded = 0;
    for change in &changes {
        for _ in 0..3 {
            three.step(&flow(0, 0));
            three.step(&flow(0, 2));
            three.step(&flow(5, 0));
        }
        let now = three.gates[0].worker.stats().get(Counter::Forwarded);
        assert!(now > forwarded, "something passed before {change:?}");
        forwarded = now;
        three.step(change);
    }
    three.step(&flow(0, 0));
    assert!(three.gates[0].dropped(Drop::NoOutboundSa) > 0);
}

/// What translation is asked about: few flows of TCP and UDP, whose ports are their own outside too.
#[derive(Clone, Debug)]
enum Nat {
    Packets(Vec<Flow>),
    Wait(u16),
    Rule(bool),
    Change(Step),
    /// Through the tunnel, the rule's address too.
    Tunnel(bool),
}

#[derive(Clone, Debug)]
struct Flow {
    out: bool,
    host: u8,
    remote: u8,
    port: u8,
    tcp: bool,
    flags: u8,
    shape: u8,
}

fn any_nat() -> impl Strategy<Value = Nat> {
    let flags =
        prop_oneof![8 => Just(0x10u8), 1 => Just(2u8), 1 => Just(0x12u8), 1 => Just(0x11u8), 1 => Just(4u8)];
    let flow = (any::<bool>(), 0u8..2, 0u8..2, 0u8..2, any::<bool>(), flags, 0u8..12).prop_map(
        |(out, host, remote, port, tcp, flags, shape)| Flow { out, host, remote, port, tcp, flags, shape },
    );
    let change = prop_oneof![
        (1u8..4).prop_map(|n| Step::Neighbour { wan: true, mac: Some(n) }),
        prop_oneof![Just(1500), Just(576)].prop_map(|mtu| Step::Port { wan: true, up: true, mtu }),
        any::<bool>().prop_map(|up| Step::Port { wan: false, up, mtu: 1500 }),
        (0u32..200, 0u8..3).prop_map(|(order, action)| Step::Policy {
            order,
            dst: 2,
            ports: false,
            action,
            six: false
        }),
        Just(Step::ClearPolicies),
        Just(Step::Stop),
        Just(Step::Rekey { narrow: false, udp: false, six: false }),
    ];
    prop_oneof![
        14 => proptest::collection::vec(flow, 1..30).prop_map(Nat::Packets),
        2 => (1u16..40_000).prop_map(Nat::Wait),
        1 => prop::bool::weighted(0.8).prop_map(Nat::Rule),
        2 => change.prop_map(Nat::Change),
        1 => any::<bool>().prop_map(Nat::Tunnel),
    ]
}

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);

/// As the rules are now.
fn rule(gate: &mut Gate, on: bool, tunnel: bool) {
    let one = AddrRange::new(OUTSIDE.into(), OUTSIDE.into()).unwrap();
    gate.set(TableCommand::ClearNat);
    gate.set(TableCommand::SetNat(NatSettings {
        udp_s: 60,
        tcp_s: 90,
        tcp_transitory_s: 30,
        ..NatSettings::default()
    }));
    if on {
        gate.set(TableCommand::AddNat(NatRule {
            kind: NatKind::Source,
            from: AddrRange::from(prefix("10.1.0.0/24")),
            to: AddrRange::ANY_V4,
            target: one,
            protocols: NatRule::ALL,
            ports: PortRange::ANY,
            target_ports: PortRange::new(1024, 65535).unwrap(),
            port: (!tunnel).then_some(WAN),
            tunnel,
            own: false,
            line: 1,
        }));
    }
    gate.commit();
}

impl Three {
    fn nat(&mut self, step: &Nat, state: &mut (bool, bool)) {
        match step {
            Nat::Packets(flows) => {
                let packets: Vec<_> = flows.iter().map(|flow| self.translated(flow, state.1)).collect();
                self.run(&packets);
            }
            Nat::Wait(ms) => {
                let gates = self.gates.iter_mut().chain([&mut self.peer]);
                gates.for_each(|gate| gate.now.ms += u64::from(*ms));
            }
            Nat::Change(step) => self.step(step),
            // What became of first fragments is remembered for a while, whatever the rules are meanwhile.
            Nat::Rule(on) => {
                self.nat(&Nat::Wait(30_000), state);
                state.0 = *on;
                self.gates.iter_mut().for_each(|gate| rule(gate, *on, state.1));
            }
            Nat::Tunnel(on) => {
                self.nat(&Nat::Wait(30_000), state);
                state.1 = *on;
                self.gates.iter_mut().for_each(|gate| rule(gate, state.0, *on));
            }
        }
    }

    /// Out of the inside, or back to the outside address, in clear or out of the tunnel.
    fn translated(&mut self, flow: &Flow, tunnel: bool) -> (Origin, Vec<u8>) {
        let inside = Ipv4Addr::new(10, 1, 0, 10);
        let remote = [INTERNET, HOST_B][usize::from(flow.remote)];
        let port = 2000 + u16::from(flow.host) * 10 + u16::from(flow.port);
        let (src, dst) = if flow.out { (inside, remote) } else { (remote, OUTSIDE) };
        let mut bytes = packet(Ipv4Header {
            tos: 0,
            total_len: if flow.shape == 1 { 1480 } else { 80 },
            id: 3,
            df: flow.shape != 1 && flow.shape != 3,
            mf: flow.shape == 2,
            fragment_offset: if flow.shape == 3 { 64 } else { 0 },
            ttl: if flow.shape == 4 { 1 } else { 64 },
            protocol: if flow.tcp { 6 } else { 17 },
            src,
            dst,
        });
        let ports = if flow.out { (port, 443) } else { (443, port) };
        bytes[20..22].copy_from_slice(&ports.0.to_be_bytes());
        bytes[22..24].copy_from_slice(&ports.1.to_be_bytes());
        bytes[33] = flow.flags;
        if flow.out {
            return (Origin::Port(INSIDE), ether(&bytes));
        }
        if tunnel && flow.remote == 1 {
            let out = self.peer.run(&[(Origin::Port(INSIDE), ether(&bytes))]);
            if let Some(sealed) = out.into_iter().find(|o| o.verdict == Verdict::Forward { port: WAN }) {
                return (Origin::Port(WAN), sealed.bytes);
            }
        }
        (Origin::Port(WAN), ether(&bytes))
    }
}

fn translating() -> (Three, (bool, bool)) {
    let mut three = Three::new();
    // The peer sends to the outside address, and the SAs carry it.
    three.pair.selectors.push(selector("192.0.2.8/32", "10.2.0.0/24"));
    three.step(&Step::Rekey { narrow: false, udp: false, six: false });
    let all = vec![
        selector("10.1.0.0/24", "10.2.0.0/24"),
        selector("192.0.2.8/32", "10.2.0.0/24"),
        selector("2001:db8:1::/64", "2001:db8:2::/64"),
    ];
    three.pair =
        Pair { selectors: all, id: three.pair.id + 1, spi: three.pair.spi + 16, ..three.pair.clone() };
    for gate in three.gates.iter_mut().chain([&mut three.peer]) {
        gate.install(&three.pair);
        gate.use_pair(&three.pair);
    }
    three.peer.set(TableCommand::AddRoute(Route {
        prefix: prefix("192.0.2.8/32"),
        next_hop: NextHop::Port { port: WAN, gateway: Some(WAN_A.into()) },
    }));
    three.peer.protect(selector("10.2.0.0/24", "192.0.2.8/32"));
    three.peer.commit();
    for gate in &mut three.gates {
        gate.protect(selector("192.0.2.8/32", "10.2.0.0/24"));
        rule(gate, true, false);
    }
    (three, (true, false))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    // R54, R149, R150: the same of flows that are translated: right after every change of rules, policies, SAs and
    // neighbours, and as their sessions end.
    #[test]
    fn a_known_translation_is_treated_as_an_unknown_one(steps in proptest::collection::vec(any_nat(), 4..40)) {
        let (mut three, mut state) = translating();
        for step in &steps {
            three.nat(step, &mut state);
        }
    }
}

/// Each of these would send the next packet of a translated flow the old way, were it not noticed; and known ones there are.
#[test]
fn each_change_counts_for_the_next_translated_packet() {
    for tunnel in [false, true] {
        let (mut three, mut state) = translating();
        three.nat(&Nat::Tunnel(tunnel), &mut state);
        let flow =
            |out, tcp, flags| Flow { out, host: 0, remote: u8::from(tunnel), port: 0, tcp, flags, shape: 0 };
        let talk = |three: &mut Three, state: &mut (bool, bool)| {
            for (out, tcp, flags) in [
                (true, true, 2),
                (false, true, 0x12),
                (true, true, 0x10),
                (true, false, 0),
                (false, false, 0),
            ] {
                three.nat(&Nat::Packets(vec![flow(out, tcp, flags); 2]), state);
            }
            for _ in 0..3 {
                let both = [(true, true), (false, true), (true, false), (false, false)];
                three.nat(&Nat::Packets(both.map(|(out, tcp)| flow(out, tcp, 0x10)).to_vec()), state);
            }
        };
        talk(&mut three, &mut state);
        assert!(three.gates[0].worker.stats().get(Counter::Translated) > 10, "{tunnel}");
        assert_eq!(three.gates[0].worker.known_translations(), 4, "both directions of both");
        assert_eq!(three.gates[1].worker.known_translations(), 0);
        let changes = [
            Nat::Change(Step::Neighbour { wan: true, mac: Some(3) }),
            Nat::Change(Step::Rekey { narrow: false, udp: false, six: false }),
            Nat::Change(Step::Policy {
                order: 0,
                dst: if tunnel { 0 } else { 2 },
                ports: false,
                action: 2,
                six: false,
            }),
            Nat::Change(Step::ClearPolicies),
            Nat::Change(Step::Port { wan: true, up: true, mtu: 576 }),
            Nat::Rule(false),
            Nat::Rule(true),
            Nat::Wait(31_000),
            Nat::Wait(60_000),
            Nat::Change(Step::Stop),
        ];
        for change in &changes {
            three.nat(change, &mut state);
            talk(&mut three, &mut state);
        }
        // Its time over, and nothing but what belongs to no connection's middle: FIN, then silence.
        three.nat(&Nat::Packets(vec![flow(true, true, 0x11), flow(false, true, 0x11)]), &mut state);
        three.nat(&Nat::Wait(31_000), &mut state);
        three.nat(&Nat::Packets(vec![flow(false, true, 0x10), flow(true, true, 0x10)]), &mut state);
    }
}
