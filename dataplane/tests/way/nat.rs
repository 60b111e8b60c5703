//! Address translation on whole ways: in clear and into tunnels, out and back, with every protocol it knows.

use crate::rig::*;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::inspect::NatBy;
use ravelin_ring::msg::*;
use ravelin_wire::checksum::{self, Sum};
use ravelin_wire::ipv4::{Ipv4, Ipv4Header};
use ravelin_wire::{AddrRange, PortRange, Prefix};
use std::net::Ipv4Addr;

const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
const FIXED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 80);
/// What the tunnel's selectors speak of, in place of 10.1.0.0/24.
const SHOWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 4);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

fn range(text: &str) -> AddrRange {
    text.parse::<Prefix>().unwrap().into()
}

fn one(addr: Ipv4Addr) -> AddrRange {
    AddrRange::new(addr.into(), addr.into()).unwrap()
}

/// Everything of the inside network that leaves by the WAN, by one address.
fn masquerade() -> NatRule {
    NatRule {
        kind: NatKind::Source,
        from: range("10.1.0.0/24"),
        to: AddrRange::ANY_V4,
        target: one(POOL),
        protocols: NatRule::ALL,
        ports: PortRange::ANY,
        target_ports: PortRange::new(1024, 65535).unwrap(),
        port: Some(WAN),
        tunnel: false,
        own: false,
        line: 1,
    }
}

fn fixed(protocols: u8) -> NatRule {
    NatRule { kind: NatKind::Static, from: one(SERVER), target: one(FIXED), protocols, ..masquerade() }
}

fn forward(port: u16, to_port: u16) -> NatRule {
    NatRule {
        kind: NatKind::Destination,
        from: AddrRange::ANY_V4,
        to: one(POOL),
        target: one(SERVER),
        protocols: NatRule::TCP | NatRule::UDP,
        ports: PortRange::new(port, port).unwrap(),
        target_ports: PortRange::new(to_port, to_port).unwrap(),
        ..masquerade()
    }
}

fn gate(rules: &[NatRule]) -> Gate {
    let mut gate = Gate::new(true);
    furnish(&mut gate, rules);
    gate
}

fn furnish(gate: &mut Gate, rules: &[NatRule]) {
    for rule in rules {
        gate.set(TableCommand::AddNat(*rule));
    }
    let addr = SERVER.into();
    gate.set(TableCommand::SetNeighbour(Neighbour { port: INSIDE, addr, mac: mac(10) }));
    gate.commit();
}

/// With whole checksums. `ports` are an identifier's place for ICMP.
fn build(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16), body: &[u8]) -> Vec<u8> {
    let mut l4 = match protocol {
        6 => vec![0; 20],
        17 => vec![0; 8],
        _ => vec![],
    };
    if matches!(protocol, 6 | 17) {
        l4[..2].copy_from_slice(&ports.0.to_be_bytes());
        l4[2..4].copy_from_slice(&ports.1.to_be_bytes());
        if protocol == 6 {
            (l4[12], l4[13]) = (0x50, 0x10);
        } else {
            l4[4..6].copy_from_slice(&(8 + body.len() as u16).to_be_bytes());
        }
    }
    l4.extend_from_slice(body);
    let at = match protocol {
        6 => Some(16),
        17 => Some(6),
        _ => None,
    };
    if let Some(at) = at {
        let sum = Sum::new().pseudo_v4(src, dst, protocol, l4.len() as u16).bytes(&l4).finish();
        l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let header = Ipv4Header {
        tos: 0,
        total_len: 20 + l4.len() as u16,
        id: 77,
        df: true,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        src,
        dst,
    };
    [&header.to_bytes()[..], &l4].concat()
}

fn echo(src: Ipv4Addr, dst: Ipv4Addr, reply: bool, id: u16) -> Vec<u8> {
    let mut message = vec![0; 40];
    ravelin_wire::icmp::write_echo(&mut message, reply, id, 1, b"thirty-two bytes of any content!").unwrap();
    build(1, src, dst, (0, 0), &message)
}

/// `kind`: 11 is time exceeded, 3 is unreachable.
fn error(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &quoted[..28.min(quoted.len())]].concat();
    let sum = checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    build(1, src, dst, (0, 0), &message)
}

/// A packet with every checksum right, as its receiver has it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    ports: (u16, u16),
    payload: Vec<u8>,
}

#[track_caller]
fn seen(bytes: &[u8]) -> Seen {
    let ip = Ipv4::parse(bytes).unwrap();
    assert!(ip.checksum_holds());
    let l4 = ip.payload();
    let whole =
        Sum::new().pseudo_v4(ip.src(), ip.dst(), ip.protocol(), l4.len() as u16).bytes(l4).finish() == 0;
    let word = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    let ports = match ip.protocol() {
        _ if ip.is_fragment() => (0, 0),
        6 => {
            assert!(whole, "TCP checksum");
            (word(0), word(2))
        }
        17 => {
            assert!(whole || word(6) == 0, "UDP checksum");
            (word(0), word(2))
        }
        1 => {
            assert!(checksum::holds(l4), "ICMP checksum");
            (word(4), word(4))
        }
        _ => (0, 0),
    };
    Seen { src: ip.src(), dst: ip.dst(), ports, payload: l4.to_vec() }
}

#[track_caller]
fn out(gate: &mut Gate, packet: &[u8]) -> Seen {
    seen(gate.receive(INSIDE, packet).forwarded(WAN))
}

#[track_caller]
fn back(gate: &mut Gate, packet: &[u8]) -> Seen {
    seen(gate.receive(WAN, packet).forwarded(INSIDE))
}

// R54: out with another address and port, and the answer back to the host that asked.
#[test]
fn tcp_udp_and_ping_go_out_and_come_back() {
    let mut a = gate(&[masquerade()]);
    for protocol in [6, 17] {
        let there = out(&mut a, &build(protocol, HOST_A, INTERNET, (22518, 80), b"hello"));
        assert_eq!((there.src, there.dst, there.ports.1), (POOL, INTERNET, 80));
        let again = out(&mut a, &build(protocol, HOST_A, ROUTER, (22518, 81), b"hello"));
        assert_eq!(again.ports.0, there.ports.0, "RFC 4787 REQ-1");
        let answer = build(protocol, INTERNET, POOL, (80, there.ports.0), b"answer");
        let here = back(&mut a, &answer);
        assert_eq!((here.src, here.dst, here.ports), (INTERNET, HOST_A, (80, 22518)));
        // Two hosts with one port of their own.
        let other = out(&mut a, &build(protocol, SERVER, INTERNET, (22518, 80), b"other"));
        assert_ne!(other.ports.0, there.ports.0);
    }
    let there = out(&mut a, &echo(HOST_A, INTERNET, false, 7));
    let here = back(&mut a, &echo(INTERNET, POOL, true, there.ports.0));
    assert_eq!((here.dst, here.ports.0), (HOST_A, 7));
    let stats = a.worker.stats();
    assert_eq!(stats.get(Counter::Translated), 10);
    assert_eq!(stats.get(Counter::NatOpened), 7);
}

#[test]
fn a_udp_packet_without_checksum_stays_without() {
    let mut a = gate(&[masquerade()]);
    let mut bytes = build(17, HOST_A, INTERNET, (5000, 53), b"q");
    bytes[26..28].fill(0);
    assert_eq!(out(&mut a, &bytes).payload[6..8], [0, 0]);
}

// RFC 4787 §5: nobody outside speaks first, and with the other filter whoever knows the port may.
#[test]
fn who_may_answer() {
    let mut a = gate(&[masquerade()]);
    let port = out(&mut a, &build(17, HOST_A, INTERNET, (5000, 53), b"q")).ports.0;
    a.receive(WAN, &build(17, ROUTER, POOL, (53, port), b"x")).lost(Drop::NatFiltered);
    a.receive(WAN, &build(17, INTERNET, POOL, (54, port), b"x")).lost(Drop::NatFiltered);
    a.receive(WAN, &build(17, INTERNET, POOL, (53, port ^ 1), b"x")).lost(Drop::NatNoMapping);
    a.receive(WAN, &build(47, INTERNET, POOL, (0, 0), b"gre")).lost(Drop::NatNoMapping);
    let settings = NatSettings { endpoint_independent_filter: true, ..NatSettings::default() };
    a.set(TableCommand::SetNat(settings));
    a.commit();
    assert_eq!(back(&mut a, &build(17, ROUTER, POOL, (53, port), b"x")).dst, HOST_A);
}

#[test]
fn silence_ends_a_session() {
    let mut a = gate(&[masquerade()]);
    let port = out(&mut a, &build(17, HOST_A, INTERNET, (5000, 53), b"q")).ports.0;
    let answer = build(17, INTERNET, POOL, (53, port), b"a");
    a.now.ms += 299_999;
    assert_eq!(back(&mut a, &answer).dst, HOST_A);
    a.now.ms += 1;
    a.receive(WAN, &answer).lost(Drop::NatNoMapping); // an answer keeps nothing alive (REQ-6)
    assert_eq!(a.worker.stats().get(Counter::NatClosed), 1);
}

/// The tunnel speaks of 10.9.0.0/28 where the hosts have 10.1.0.0/24.
fn translated_tunnel() -> (Gate, Gate, NatRule) {
    let selectors = vec![selector("10.9.0.0/28", "10.2.0.0/24")];
    let pair = Pair { selectors, ..Pair::default() };
    let (mut a, mut b) = gates(&pair);
    for (gate, mine) in [(&mut a, pair.selectors[0]), (&mut b, mirror(pair.selectors[0]))] {
        gate.set(TableCommand::ClearPolicies);
        gate.protect(mine);
        gate.commit();
    }
    let target = one(SHOWN);
    let rule = NatRule { to: range("10.2.0.0/24"), target, port: None, tunnel: true, ..masquerade() };
    furnish(&mut a, &[rule]);
    (a, b, rule)
}

// R149, R150: NAT before IPsec on the way out, after it on the way in.
#[test]
fn selectors_speak_of_translated_addresses() {
    let (mut a, mut b, _) = translated_tunnel();
    for (protocol, ports) in [(6, (4000, 22)), (17, (4000, 53))] {
        let sealed = a.receive(INSIDE, &build(protocol, HOST_A, HOST_B, ports, b"in secret"));
        sealed.forwarded(WAN);
        let there = seen(b.one(Origin::Port(WAN), sealed.bytes).forwarded(INSIDE));
        assert_eq!((there.src, there.dst), (SHOWN, HOST_B));
        let answer = b.receive(INSIDE, &build(protocol, HOST_B, SHOWN, (ports.1, there.ports.0), b"answer"));
        answer.forwarded(WAN);
        let here = seen(a.one(Origin::Port(WAN), answer.bytes).forwarded(INSIDE));
        assert_eq!((here.src, here.dst, here.ports), (HOST_B, HOST_A, (ports.1, ports.0)));
    }
    // In clear nobody speaks for the other network, though it is to be translated (R41).
    a.receive(WAN, &build(6, HOST_B, SHOWN, (22, 4000), b"forged")).lost(Drop::PlainOnProtected);
    // What comes out of the tunnel for nobody ends here.
    let stray = b.receive(INSIDE, &build(17, HOST_B, SHOWN, (1, 2), b"stray"));
    a.one(Origin::Port(WAN), stray.bytes).lost(Drop::NatNoMapping);
}

// A rule for what leaves in clear leaves alone what a policy protects, without an exemption being written.
#[test]
fn what_a_tunnel_protects_is_exempt() {
    let (mut a, mut b) = gates(&Pair::default());
    furnish(&mut a, &[masquerade()]);
    let sealed = a.receive(INSIDE, &build(17, HOST_A, HOST_B, (4000, 53), b"q"));
    sealed.forwarded(WAN);
    let there = seen(b.one(Origin::Port(WAN), sealed.bytes).forwarded(INSIDE));
    assert_eq!((there.src, there.ports), (HOST_A, (4000, 53)));
    assert_eq!(out(&mut a, &build(17, HOST_A, INTERNET, (4000, 53), b"q")).src, POOL);
}

#[test]
fn an_exemption_comes_first() {
    let exempt = NatRule { kind: NatKind::Exempt, to: one(INTERNET), port: None, ..masquerade() };
    let mut a = gate(&[exempt, masquerade()]);
    assert_eq!(out(&mut a, &build(17, HOST_A, INTERNET, (4000, 53), b"q")).src, HOST_A);
    assert_eq!(out(&mut a, &build(17, HOST_A, ROUTER, (4000, 53), b"q")).src, POOL);
}

// R55: traceroute through NAT; what the error quotes is what the host sent.
#[test]
fn errors_come_back_with_what_they_quote() {
    let mut a = gate(&[masquerade()]);
    for sent in [
        build(17, HOST_A, INTERNET, (4000, 33434), b"probe"),
        build(6, HOST_A, INTERNET, (4001, 80), b""),
        echo(HOST_A, INTERNET, false, 9),
    ] {
        let wire = a.receive(INSIDE, &sent).forwarded(WAN).to_vec();
        let here = back(&mut a, &error(ROUTER, POOL, 11, &wire));
        assert_eq!((here.src, here.dst), (ROUTER, HOST_A));
        let quote = Ipv4::parse(&[&here.payload[8..], &[0; 64]].concat()).unwrap().header().to_vec();
        assert_eq!((&quote[12..16], &quote[16..20]), (&HOST_A.octets()[..], &INTERNET.octets()[..]));
        assert!(checksum::holds(&quote));
        // The first eight bytes but for checksums: ports and sequence as sent.
        let icmp = sent[9] == 1;
        let ends = if icmp { 4..8 } else { 0..4 };
        assert_eq!(here.payload[28..][ends.clone()], sent[20..][ends]);
        if sent[9] != 6 {
            assert_eq!(here.payload[28..36], sent[20..28], "and the checksum is the host's own again");
        }
    }
    // Damaged, or of no session.
    let wire = a.receive(INSIDE, &build(17, HOST_A, INTERNET, (4000, 1), b"")).forwarded(WAN).to_vec();
    let mut damaged = error(ROUTER, POOL, 3, &wire);
    damaged[30] ^= 1;
    a.receive(WAN, &damaged).lost(Drop::NatBadIcmp);
    let stray = build(17, POOL, INTERNET, (9, 9), b"");
    a.receive(WAN, &error(ROUTER, POOL, 3, &stray)).lost(Drop::NatNoMapping);
}

// RFC 5508 §4: an error from inside goes out as one about the packet that came.
#[test]
fn errors_go_out_with_what_they_quote() {
    let mut a = gate(&[masquerade()]);
    let port = out(&mut a, &build(17, HOST_A, INTERNET, (4000, 53), b"q")).ports.0;
    let answer = build(17, INTERNET, POOL, (53, port), b"a");
    let inside = a.receive(WAN, &answer).forwarded(INSIDE).to_vec();
    let there = out(&mut a, &error(HOST_A, INTERNET, 3, &inside));
    assert_eq!((there.src, there.dst), (POOL, INTERNET));
    assert_eq!(there.payload[24..28], POOL.octets());
    assert_eq!(there.payload[28..32], answer[20..24]);
}

// Our own errors about translated packets tell the host about the packet that it sent.
#[test]
fn our_own_errors_quote_what_was_sent() {
    let mut a = gate(&[masquerade()]);
    let old = edit(build(17, HOST_A, INTERNET, (4000, 33434), b"probe"), |ip| ip.set_ttl(1));
    let all = a.run(&[(Origin::Port(INSIDE), ether(&old))]);
    all[0].lost(Drop::TtlExpired);
    let told = seen(all[1].forwarded(INSIDE));
    assert_eq!((told.src, told.dst), (GATE_A, HOST_A));
    assert_eq!(told.payload[8 + 12..8 + 16], HOST_A.octets());
    assert_eq!(told.payload[28..30], 4000u16.to_be_bytes());
}

fn cut(bytes: &[u8]) -> [Vec<u8>; 2] {
    let part = |from: usize, to: usize, more: bool| {
        let header = Ipv4::parse(bytes).unwrap();
        let fields = Ipv4Header {
            tos: 0,
            total_len: 20 + (to - from) as u16,
            id: header.id(),
            df: false,
            mf: more,
            fragment_offset: from as u16,
            ttl: 64,
            protocol: header.protocol(),
            src: header.src(),
            dst: header.dst(),
        };
        [&fields.to_bytes()[..], &header.payload()[from..to]].concat()
    };
    let len = bytes.len() - 20;
    [part(0, 24, true), part(24, len, false)]
}

// RFC 4787 REQ-14.
#[test]
fn fragments_follow_their_first_one() {
    let mut a = gate(&[masquerade()]);
    let whole = build(17, HOST_A, INTERNET, (4000, 53), &[7; 64]);
    let [first, rest] = cut(&whole);
    a.receive(INSIDE, &rest).lost(Drop::NatFragment);
    let one = out(&mut a, &first);
    let two = out(&mut a, &rest);
    assert_eq!((one.src, two.src), (POOL, POOL));
    let joined = [one.payload, two.payload].concat();
    let port = u16::from_be_bytes([joined[0], joined[1]]);
    assert_eq!(seen(&build(17, POOL, INTERNET, (port, 53), &[7; 64])).payload, joined, "checksum and all");
    let [first, rest] = cut(&build(17, INTERNET, POOL, (53, port), &[8; 64]));
    a.receive(WAN, &rest).lost(Drop::NatFragment);
    assert_eq!(back(&mut a, &first).dst, HOST_A);
    assert_eq!(back(&mut a, &rest).dst, HOST_A);
    a.now.ms += 30_001;
    a.receive(WAN, &rest).lost(Drop::NatFragment);
}

// As they come from a wire: all parts in one batch.
#[test]
fn fragments_of_one_batch() {
    let mut a = gate(&[masquerade()]);
    let both = |port, parts: &[Vec<u8>; 2]| parts.clone().map(|part| (Origin::Port(port), ether(&part)));
    let parts = cut(&build(17, HOST_A, INTERNET, (4000, 53), &[7; 64]));
    let went: Vec<Seen> = a.run(&both(INSIDE, &parts)).iter().map(|out| seen(out.forwarded(WAN))).collect();
    assert_eq!((went[0].src, went[1].src), (POOL, POOL));
    let port = u16::from_be_bytes([went[0].payload[0], went[0].payload[1]]);
    let parts = cut(&build(17, INTERNET, POOL, (53, port), &[8; 64]));
    let came: Vec<Seen> = a.run(&both(WAN, &parts)).iter().map(|out| seen(out.forwarded(INSIDE))).collect();
    assert_eq!((came[0].dst, came[1].dst), (HOST_A, HOST_A));
}

// R55: what came of a first fragment under other rules is not what becomes of the later ones of another packet with its
// number: each first fragment is seen, those of flows that are known, too.
#[test]
fn fragments_do_not_follow_the_rules_before() {
    let mut a = gate(&[masquerade()]);
    let whole = build(17, HOST_A, INTERNET, (4000, 53), &[7; 64]);
    let [first, rest] = cut(&whole);
    assert_eq!([&first, &rest].map(|part| out(&mut a, part).src), [POOL; 2]);
    let exempt = NatRule { kind: NatKind::Exempt, ..masquerade() };
    a.set(TableCommand::ClearNat);
    for rule in [exempt, masquerade()] {
        a.set(TableCommand::AddNat(rule));
    }
    a.commit();
    a.receive(INSIDE, &rest).forwarded(WAN); // of the packet before
    for _ in 0..2 {
        assert_eq!(out(&mut a, &whole).src, HOST_A, "known by now");
    }
    assert_eq!([&first, &rest].map(|part| out(&mut a, part).src), [HOST_A; 2]);
}

// R53: what no rule names leaves as it is; R56: with "others" it works both ways, without it one way at most.
#[test]
fn protocols_without_ports() {
    let ported = NatRule::TCP | NatRule::UDP | NatRule::ICMP;
    let mut a = gate(&[NatRule { protocols: ported, ..masquerade() }]);
    assert_eq!(out(&mut a, &build(50, HOST_A, INTERNET, (0, 0), &[1; 24])).src, HOST_A);
    assert_eq!(out(&mut a, &build(17, HOST_A, INTERNET, (500, 500), b"ike")).src, POOL);
    for protocol in [50, 51, 47] {
        let mut off = gate(&[fixed(ported)]);
        assert_eq!(out(&mut off, &build(protocol, SERVER, INTERNET, (0, 0), &[1; 24])).src, SERVER);
        off.receive(WAN, &build(protocol, INTERNET, FIXED, (0, 0), &[1; 24])).lost(Drop::NatNoMapping);
        let mut on = gate(&[fixed(NatRule::ALL)]);
        assert_eq!(out(&mut on, &build(protocol, SERVER, INTERNET, (0, 0), &[1; 24])).src, FIXED);
        let here = back(&mut on, &build(protocol, INTERNET, FIXED, (0, 0), &[1; 24]));
        assert_eq!((here.dst, here.payload), (SERVER, vec![1; 24]), "R57: nothing but the address");
    }
}

// An address that is on a port, so that ARP is answered for it, is translation's alone all the same.
#[test]
fn an_address_on_a_port_serves_all_protocols() {
    let mut a = gate(&[masquerade()]);
    let prefix = Prefix::new(POOL.into(), 32).unwrap();
    a.set(TableCommand::AddRoute(Route { prefix, next_hop: NextHop::Local }));
    a.commit();
    assert_eq!(out(&mut a, &build(47, HOST_A, INTERNET, (0, 0), &[1; 24])).src, POOL);
    assert_eq!(back(&mut a, &build(47, INTERNET, POOL, (0, 0), &[1; 24])).dst, HOST_A);
    a.receive(WAN, &build(6, INTERNET, POOL, (1, 22), b"")).lost(Drop::NatNoMapping);
    let port = out(&mut a, &build(17, HOST_A, INTERNET, (4000, 53), b"q")).ports.0;
    assert_eq!(back(&mut a, &build(17, INTERNET, POOL, (53, port), b"a")).dst, HOST_A);
    let steering = a.store.nat_steering(VrfId::MAIN);
    assert_eq!((steering.outside, steering.own.len()), (vec![one(POOL)], 0));
}

// The address that a port has is the host's, too: what no rule and no session has goes on to the host.
#[test]
fn the_ports_own_address_stays_the_hosts() {
    let ports = PortRange::new(61_000, 65_535).unwrap();
    let own = NatRule { own: true, target: AddrRange::ANY_V4, target_ports: ports, ..masquerade() };
    let mut a = gate(&[own]);
    let there = out(&mut a, &build(17, HOST_A, INTERNET, (4000, 53), b"q"));
    assert_eq!(there.src, WAN_A);
    assert!(there.ports.0 >= 61_000);
    assert_eq!(back(&mut a, &build(17, INTERNET, WAN_A, (53, there.ports.0), b"a")).dst, HOST_A);
    a.receive(WAN, &build(17, INTERNET, WAN_A, (53, there.ports.0 ^ 1), b"a")).lost(Drop::NatNoMapping);
    for packet in [
        build(6, INTERNET, WAN_A, (3000, 22), b"ssh"),
        echo(INTERNET, WAN_A, true, 65_000),
        echo(INTERNET, WAN_A, false, 1),
    ] {
        assert_eq!(a.receive(WAN, &packet).verdict, Verdict::Punt);
    }
    let steering = a.store.nat_steering(VrfId::MAIN);
    assert_eq!((steering.outside, steering.own), (vec![], [(WAN_A, vec![ports])].into()));
}

// R58: of protocols without ports one inside host speaks with one outside, by each address of the pool; of ESP a second one
// has to wait until the first was answered.
#[test]
fn one_inside_peer_for_each_outside_pair() {
    let mut a = gate(&[masquerade()]);
    let esp = |src, dst| build(50, src, dst, (0, 0), &[1; 24]);
    assert_eq!(out(&mut a, &esp(HOST_A, INTERNET)).src, POOL);
    a.receive(INSIDE, &esp(SERVER, INTERNET)).lost(Drop::NatBusy);
    assert_eq!(out(&mut a, &esp(SERVER, ROUTER)).src, POOL, "with another host it may");
    assert_eq!(back(&mut a, &esp(INTERNET, POOL)).dst, HOST_A);
    assert_eq!(back(&mut a, &esp(ROUTER, POOL)).dst, SERVER);
}

#[test]
fn a_static_address_serves_both_directions() {
    let mut a = gate(&[fixed(NatRule::ALL), masquerade()]);
    for protocol in [6, 17] {
        let here = back(&mut a, &build(protocol, INTERNET, FIXED, (3000, 443), b"get"));
        assert_eq!((here.dst, here.ports), (SERVER, (3000, 443)));
        let there = out(&mut a, &build(protocol, SERVER, INTERNET, (443, 3000), b"page"));
        assert_eq!((there.src, there.ports), (FIXED, (443, 3000)));
    }
    assert_eq!(back(&mut a, &echo(INTERNET, FIXED, false, 5)).ports.0, 5);
    assert_eq!(out(&mut a, &build(6, HOST_A, INTERNET, (443, 3000), b"x")).src, POOL);
    assert_eq!(a.worker.stats().get(Counter::NatOpened), 1, "no session but the last one's");
    let [first, rest] = cut(&build(17, INTERNET, FIXED, (53, 53), &[8; 64]));
    for part in [&rest, &first, &rest] {
        assert_eq!(back(&mut a, part).dst, SERVER, "fragments in any order");
    }
}

#[test]
fn a_port_is_forwarded() {
    let mut a = gate(&[forward(8080, 80), masquerade()]);
    let here = back(&mut a, &build(6, INTERNET, POOL, (3000, 8080), b"get"));
    assert_eq!((here.dst, here.ports), (SERVER, (3000, 80)));
    let there = out(&mut a, &build(6, SERVER, INTERNET, (80, 3000), b"page"));
    assert_eq!((there.src, there.ports), (POOL, (8080, 3000)));
    let told = out(&mut a, &error(SERVER, INTERNET, 3, &build(6, INTERNET, SERVER, (3000, 80), b"")));
    assert_eq!((told.src, &told.payload[24..28]), (POOL, &POOL.octets()[..]));
    a.receive(WAN, &build(6, INTERNET, POOL, (3000, 8081), b"get")).lost(Drop::NatNoMapping);
}

// RFC 4787 REQ-9: from inside by the outside address, and both know only outside ends.
#[test]
fn hairpin() {
    let mut a = gate(&[forward(8080, 80), masquerade()]);
    let turned = a.receive(INSIDE, &build(6, HOST_A, POOL, (3000, 8080), b"get"));
    let there = seen(turned.forwarded(INSIDE));
    assert_eq!((there.src, there.dst, there.ports.1), (POOL, SERVER, 80));
    let answer = a.receive(INSIDE, &build(6, SERVER, POOL, (80, there.ports.0), b"page"));
    let here = seen(answer.forwarded(INSIDE));
    assert_eq!((here.src, here.dst, here.ports), (POOL, HOST_A, (8080, 3000)));
    // Two hosts by their mappings.
    let mine = out(&mut a, &build(17, HOST_A, INTERNET, (5000, 1), b"")).ports.0;
    let other = out(&mut a, &build(17, SERVER, INTERNET, (6000, 1), b"")).ports.0;
    let call = build(17, HOST_A, POOL, (5000, other), b"call");
    a.receive(INSIDE, &call).lost(Drop::NatFiltered);
    let punched = a.receive(INSIDE, &build(17, SERVER, POOL, (6000, mine), b"punch"));
    let there = seen(punched.forwarded(INSIDE));
    assert_eq!((there.src, there.dst, there.ports), (POOL, HOST_A, (other, 5000)));
    let answered = seen(a.receive(INSIDE, &call).forwarded(INSIDE));
    assert_eq!((answered.src, answered.dst, answered.ports), (POOL, SERVER, (mine, 6000)));
}

// A packet that waits for its next hop has been translated already, and is not again.
#[test]
fn what_waits_goes_on_as_it_was() {
    let mut a = gate(&[NatRule { from: AddrRange::ANY_V4, ..masquerade() }]);
    let gone = TableCommand::RemoveNeighbour { port: WAN, addr: WAN_B.into() };
    a.set(gone);
    a.commit();
    let sent = build(17, HOST_A, INTERNET, (4000, 53), b"q");
    assert_eq!(a.receive(INSIDE, &sent).verdict, Verdict::Held);
    a.set(TableCommand::SetNeighbour(Neighbour { port: WAN, addr: WAN_B.into(), mac: mac(20) }));
    a.commit();
    let went = a.turn();
    let there = seen(went[0].forwarded(WAN));
    assert_eq!((there.src, there.ports.1), (POOL, 53));
    assert_eq!(Ipv4::parse(went[0].forwarded(WAN)).unwrap().ttl(), 63);
    assert_eq!(back(&mut a, &build(17, INTERNET, POOL, (53, there.ports.0), b"a")).dst, HOST_A);
}

// A reload keeps the sessions that the rules still allow, and ends the others.
#[test]
fn a_reload_keeps_what_is_still_allowed() {
    let mut a = gate(&[masquerade()]);
    let sent = build(17, HOST_A, INTERNET, (4000, 53), b"q");
    let port = out(&mut a, &sent).ports.0;
    let answer = build(17, INTERNET, POOL, (53, port), b"a");
    a.set(TableCommand::ClearNat);
    furnish(&mut a, &[forward(8080, 80), masquerade()]);
    assert_eq!(back(&mut a, &answer).dst, HOST_A);
    assert_eq!(out(&mut a, &sent).ports.0, port);
    a.set(TableCommand::ClearNat);
    furnish(&mut a, &[NatRule { from: range("10.1.0.128/25"), ..masquerade() }]);
    a.receive(WAN, &answer).lost(Drop::NatNoMapping);
    assert_eq!(out(&mut a, &sent).src, HOST_A);
}

/// Several workers: the one that a packet came to, and the one that it belongs to.
#[test]
fn an_answer_names_its_worker() {
    let mut workers: Vec<Gate> = (0..3).map(|id| Gate::with_workers(true, id, 3)).collect();
    workers.iter_mut().for_each(|gate| furnish(gate, &[masquerade()]));
    let mut homes = [0; 3];
    for host in 0..40u8 {
        let src = Ipv4Addr::new(10, 1, 0, 100 + host);
        let bytes = build(17, src, INTERNET, (4000, 53), b"q");
        let (home, there) = through(&mut workers, usize::from(host % 3), INSIDE, &bytes);
        homes[home] += 1;
        let there = seen(there.forwarded(WAN));
        assert_eq!(there.src, POOL);
        // RFC 4787 REQ-1, whichever worker another packet of the host comes to.
        let other = build(17, src, ROUTER, (4000, 54), b"q");
        let (again, other) = through(&mut workers, usize::from((host + 1) % 3), INSIDE, &other);
        assert_eq!((again, seen(other.forwarded(WAN)).ports.0), (home, there.ports.0));
        let answer = build(17, INTERNET, POOL, (53, there.ports.0), b"a");
        for gate in &mut workers {
            let addr = src.into();
            gate.set(TableCommand::SetNeighbour(Neighbour { port: INSIDE, addr, mac: mac(10) }));
            gate.commit();
        }
        let (back, here) = through(&mut workers, usize::from((host + 2) % 3), WAN, &answer);
        assert_eq!((back, seen(here.forwarded(INSIDE)).dst), (home, src));
    }
    assert!(homes.iter().all(|n| *n > 0), "{homes:?}");
}

/// As the process around does it: what is handed off goes on at the other worker.
fn through(workers: &mut [Gate], at: usize, port: PortId, ip: &[u8]) -> (usize, Out) {
    let first = workers[at].receive(port, ip);
    match first.verdict {
        Verdict::HandOff { worker } => {
            let to = usize::from(worker.0);
            let last = workers[to].one(first.origin, first.bytes);
            (to, last)
        }
        _ => (at, first),
    }
}

/// Inside or not, ends, protocol, ports, shape, content.
type Any = (bool, Ipv4Addr, Ipv4Addr, u8, (u16, u16), u8, Vec<u8>);

// R303: whatever comes, the sums hold (`Gate::run` asserts it), and nothing private leaves by the WAN untranslated.
#[test]
fn anything_at_all_is_conserved() {
    use proptest::prelude::*;
    let addr = prop_oneof![
        Just(HOST_A),
        Just(SERVER),
        Just(INTERNET),
        Just(ROUTER),
        Just(POOL),
        Just(FIXED),
        Just(HOST_B),
        Just(WAN_A),
        Just(GATE_A)
    ];
    let protocol = prop_oneof![Just(6u8), Just(17), Just(1), Just(50), Just(47), Just(132)];
    let port = prop_oneof![Just(80u16), Just(8080), Just(1024), Just(4000)];
    let packet = (
        any::<bool>(),
        addr.clone(),
        addr,
        protocol,
        (port.clone(), port),
        0u8..6,
        proptest::collection::vec(any::<u8>(), 0..60),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    let many = proptest::collection::vec((packet, 0u64..100_000), 1..60);
    let rules = [forward(8080, 80), fixed(NatRule::ALL), masquerade()];
    let run = |packets: Vec<(Any, u64)>| {
        let mut a = gate(&rules);
        for ((inside, src, dst, protocol, ports, shape, body), wait) in packets {
            let mut bytes = match shape {
                0 => echo(src, dst, protocol & 1 == 0, ports.0),
                1 => error(src, dst, 3, &build(protocol, dst, src, ports, &body)),
                2 => cut(&build(17, src, dst, ports, &[1; 64]))[usize::from(protocol & 1)].clone(),
                _ => build(protocol, src, dst, ports, &body),
            };
            if shape == 5 && bytes.len() > 24 {
                bytes[23] ^= 0x5a;
            }
            let door = if inside { INSIDE } else { WAN };
            for out in a.run(&[(Origin::Port(door), ether(&bytes))]) {
                if out.verdict == (Verdict::Forward { port: WAN }) && inside {
                    let ip = Ipv4::parse(&out.bytes[14..]).unwrap();
                    prop_assert!(![HOST_A, SERVER].contains(&ip.src()), "{ip:?}");
                }
            }
            a.now.ms += wait;
        }
        Ok(())
    };
    runner.run(&many, run).unwrap();
}

// R53, R54, R56, R149, R304: by which rule, or that none speaks of the protocol; the session is named to its answer.
#[test]
fn explaining_names_the_rule() {
    let at = |line, rule: NatRule| NatRule { line, ..rule };
    let ported = NatRule { protocols: NatRule::TCP | NatRule::UDP | NatRule::ICMP, ..masquerade() };
    let exempt = NatRule { kind: NatKind::Exempt, to: one(ROUTER), ..masquerade() };
    let fixed = fixed(NatRule::OTHERS);
    let mut a = gate(&[at(3, exempt), at(4, forward(8080, 80)), at(5, fixed), at(6, ported)]);
    let said = |a: &mut Gate, port, bytes: &[u8]| {
        let mut frame = ether(bytes);
        frame[..6].copy_from_slice(&mac(if port == WAN { 2 } else { 1 }));
        let (step, _) = a.explain(Origin::Port(port), frame);
        (
            step.nat.iter().map(|nat| (nat.by, nat.line)).collect::<Vec<_>>(),
            step.translated.map(|f| (f.source, f.destination)),
        )
    };
    let web = |src, dst, ports| build(6, src, dst, ports, b"x");
    let esp = |src, dst| build(50, src, dst, (0, 0), &[9; 16]);
    let out = web(HOST_A, INTERNET, (1000, 443));
    let pool_to = |dst| Some((POOL.into(), addr(dst)));
    assert_eq!(said(&mut a, INSIDE, &out), (vec![(NatBy::Source, Some(6))], pool_to(INTERNET)));
    assert_eq!(said(&mut a, INSIDE, &esp(HOST_A, INTERNET)), (vec![(NatBy::Nothing, None)], None));
    let shown = Some((addr(FIXED), addr(INTERNET)));
    assert_eq!(said(&mut a, INSIDE, &esp(SERVER, INTERNET)), (vec![(NatBy::Static, Some(5))], shown));
    assert_eq!(
        said(&mut a, INSIDE, &web(HOST_A, ROUTER, (1000, 443))),
        (vec![(NatBy::Exempt, Some(3))], None)
    );
    let inward = |from| Some((addr(from), addr(SERVER)));
    assert_eq!(
        said(&mut a, WAN, &web(INTERNET, POOL, (1000, 8080))),
        (vec![(NatBy::Destination, Some(4))], inward(INTERNET))
    );
    assert_eq!(said(&mut a, WAN, &esp(INTERNET, FIXED)), (vec![(NatBy::Static, Some(5))], inward(INTERNET)));
    // Asking opened nothing; what went out is answered by its session.
    assert_eq!(a.worker.stats().get(Counter::NatOpened), 0);
    let went = a.receive(INSIDE, &out).forwarded(WAN).to_vec();
    let port = u16::from_be_bytes([went[20], went[21]]);
    let answer = web(INTERNET, POOL, (443, port));
    assert_eq!(
        said(&mut a, WAN, &answer),
        (vec![(NatBy::Session, Some(6))], Some((addr(INTERNET), addr(HOST_A))))
    );
}

// R307: what another worker has to translate is bounded by the SA it came out of, there and on its way on.
#[test]
fn what_a_tunnel_brought_does_not_leave_in_clear_by_another_worker() {
    let selectors = vec![selector("10.9.0.0/28", "10.2.0.0/24")];
    let pair = Pair { selectors, ..Pair::default() };
    let mut b = Gate::new(false);
    let mut workers: Vec<Gate> = (0..3).map(|id| Gate::with_workers(true, id, 3)).collect();
    let target = one(SHOWN);
    let rule = NatRule { to: range("10.2.0.0/24"), target, port: None, tunnel: true, ..masquerade() };
    for gate in workers.iter_mut().chain([&mut b]) {
        let mine = if gate.is_a() { pair.selectors[0] } else { mirror(pair.selectors[0]) };
        gate.set(TableCommand::ClearPolicies);
        gate.protect(mine);
        gate.commit();
    }
    workers.iter_mut().for_each(|gate| furnish(gate, &[rule]));
    b.install(&pair);
    b.use_pair(&pair);
    // The SAs belong to worker 0.
    workers[0].install(&pair);
    workers.iter_mut().for_each(|gate| gate.use_pair(&pair));
    let mut elsewhere = 0;
    for host in 0..20u8 {
        let src = Ipv4Addr::new(10, 1, 0, 100 + host);
        workers.iter_mut().for_each(|gate| know(gate, src));
        let (_, sealed) = through(&mut workers, 0, INSIDE, &build(17, src, HOST_B, (4000, 53), b"q"));
        let sealed = match sealed.verdict {
            Verdict::HandOff { .. } => workers[0].one(sealed.origin, sealed.bytes),
            _ => sealed,
        };
        let there = seen(b.one(Origin::Port(WAN), sealed.bytes).forwarded(INSIDE));
        let answer = build(17, HOST_B, SHOWN, (53, there.ports.0), b"a");
        let mut answers: Vec<_> = (0..2).map(|_| b.receive(INSIDE, &answer).bytes).collect();
        let (home, here) = onward(&mut workers, answers.remove(0));
        assert_eq!(seen(here.forwarded(INSIDE)).dst, src);
        lose_inside(&mut workers, true);
        let (again, here) = onward(&mut workers, answers.remove(0));
        assert_eq!(again, home);
        here.lost(Drop::NoRoute);
        lose_inside(&mut workers, false);
        elsewhere += usize::from(home != 0);
    }
    assert!(elsewhere > 3, "{elsewhere} of 20 were another worker's");
}

fn know(gate: &mut Gate, host: Ipv4Addr) {
    gate.set(TableCommand::SetNeighbour(Neighbour { port: INSIDE, addr: host.into(), mac: mac(10) }));
    gate.commit();
}

/// Out of the tunnel at worker 0, and at the worker whose session it is.
fn onward(workers: &mut [Gate], sealed: Vec<u8>) -> (usize, Out) {
    let first = workers[0].one(Origin::Port(WAN), sealed);
    let Verdict::HandOff { worker } = first.verdict else { return (0, first) };
    let to = usize::from(worker.0);
    (to, workers[to].one(first.origin, first.bytes))
}

/// The link inside is down, and a default route leads to the peer; or it is up again.
fn lose_inside(workers: &mut [Gate], lost: bool) {
    for gate in workers {
        let inside = msg_route("10.1.0.0/24", NextHop::Port { port: INSIDE, gateway: None });
        let all = msg_route("0.0.0.0/0", NextHop::Port { port: WAN, gateway: Some(WAN_B.into()) });
        let (gone, there) = if lost { (inside, all) } else { (all, inside) };
        gate.set(TableCommand::RemoveRoute(gone));
        gate.set(TableCommand::AddRoute(there));
        gate.commit();
    }
}

fn msg_route(net: &str, next_hop: NextHop) -> Route {
    Route { prefix: prefix(net), next_hop }
}
