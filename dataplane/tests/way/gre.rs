//! Whole ways by tunnels of GRE (R238 to R242): plain and over IPsec, in all families, byte for byte as scapy writes them.
//!
//! Needs Debian's python3-scapy; without it these tests fail.

use crate::rig::*;
use proptest::prelude::*;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::inspect::{Action, Route};
use ravelin_ring::msg::{
    self, Behind, Gre, Interface, InterfaceId, InterfaceName, Mode, NextHop, Port, TableCommand, TunnelId,
};
use ravelin_ring::setup::ReversePath;
use ravelin_wire::Selector;
use ravelin_wire::icmp::Icmp;
use ravelin_wire::ipv4::{Ipv4, Ipv4Header};
use ravelin_wire::ipv6::Ipv6;
use serde_json::json;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

const ORACLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/way/gre_oracle.py");
const DEVICE: InterfaceId = InterfaceId(3);
const LINK_A: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const LINK_B: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const GRE: u8 = 47;

fn plain() -> Gre {
    Gre {
        local: WAN_A.into(),
        remote: WAN_B.into(),
        key: None,
        checksum: false,
        sequence: false,
        mtu: 1476,
        tunnel: None,
    }
}

fn over_v6() -> Gre {
    Gre { local: WAN_A6.into(), remote: WAN_B6.into(), ..plain() }
}

fn protected() -> Gre {
    Gre { tunnel: Some(TUNNEL), key: Some(7), ..plain() }
}

/// As its far end has it.
fn far(gre: Gre) -> Gre {
    Gre { local: gre.remote, remote: gre.local, ..gre }
}

fn add(gate: &mut Gate, gre: Gre) {
    let name = InterfaceName::new("gre-a").unwrap();
    let reverse_path = ReversePath::Strict;
    gate.set(TableCommand::ClearInterfaces);
    gate.set(TableCommand::AddInterface(Interface {
        id: DEVICE,
        name,
        behind: Behind::Gre(gre),
        reverse_path,
    }));
}

fn furnish(gate: &mut Gate, is_a: bool, gre: Gre) {
    add(gate, if is_a { gre } else { far(gre) });
    gate.set(TableCommand::ClearPolicies);
    let (net, net6, own) = if is_a {
        ("10.2.0.0/16", "2001:db8:2::/64", "172.16.0.1/32")
    } else {
        ("10.1.0.0/16", "2001:db8:1::/64", "172.16.0.2/32")
    };
    let into = NextHop::Interface(DEVICE);
    for (text, next_hop) in [(net, into), (net6, into), ("172.16.0.0/30", into), (own, NextHop::Local)] {
        gate.set(TableCommand::AddRoute(msg::Route { prefix: prefix(text), next_hop }));
    }
    gate.commit();
}

fn pair(gre: Gre) -> (Gate, Gate) {
    let (mut a, mut b) = (Gate::new(true), Gate::new(false));
    furnish(&mut a, true, gre);
    furnish(&mut b, false, gre);
    (a, b)
}

/// An SA pair for GRE between the ends alone.
fn sas(mode: Mode) -> Pair {
    let ends = Selector { protocol: Some(GRE), ..selector("198.18.0.1/32", "198.18.0.2/32") };
    Pair { mode, selectors: vec![ends], ..Pair::default() }
}

fn protect(gate: &mut Gate, sas: &Pair, is_a: bool) {
    gate.install(sas);
    gate.use_pair(sas);
    for s in &sas.selectors {
        gate.protect(if is_a { *s } else { mirror(*s) });
    }
    gate.commit();
}

fn protected_pair(mode: Mode) -> (Gate, Gate) {
    let (mut a, mut b) = pair(protected());
    protect(&mut a, &sas(mode), true);
    protect(&mut b, &sas(mode), false);
    (a, b)
}

/// What scapy makes of them.
fn scapy(requests: &[serde_json::Value]) -> Vec<Vec<u8>> {
    let child =
        Command::new("/usr/bin/python3").arg(ORACLE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("apt-get install python3-scapy");
    let mut to = child.stdin.take().unwrap();
    for request in requests {
        writeln!(to, "{request}").unwrap();
    }
    drop(to);
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "apt-get install python3-scapy");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = out.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| line.chunks(2).map(byte).collect()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn request(gre: &Gre, protocol: u16, number: u32, tos: u8, inner: &[u8]) -> serde_json::Value {
    json!({
        "src": gre.local.to_string(), "dst": gre.remote.to_string(), "tos": tos, "id": number & 0xffff, "protocol": protocol,
        "key": gre.key, "checksum": gre.checksum, "sequence": gre.sequence.then_some(number), "inner": hex(inner),
    })
}

/// As the next hop would have it: one hop older.
fn older(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return packet;
    }
    let ttl = packet[8];
    edit(packet, |ip| ip.set_ttl(ttl - 1))
}

// R238, RFC 2784, RFC 2890: every form of the header, IPv4 and IPv6 in IPv4 and in IPv6: what we send is what scapy
// writes, and the other end takes it out; three packets each, since numbers rise.
#[test]
fn every_form_is_as_scapy_writes_it() {
    let (mut requests, mut ours) = (vec![], vec![]);
    for form in 0..16u8 {
        let base = if form & 8 == 0 { plain() } else { over_v6() };
        let gre = Gre {
            key: (form & 1 != 0).then_some(0xdead_0000 | u32::from(form)),
            checksum: form & 2 != 0,
            sequence: form & 4 != 0,
            ..base
        };
        let (mut a, mut b) = pair(gre);
        let four = edit(ip(HOST_A, HOST_B, 333), |ip| ip.set_tos(0xb8));
        let packets = [
            (four, 0x800, 0xb8),
            (ip6(HOST_A6, HOST_B6, 200), 0x86dd, 0),
            (ip(HOST_A, HOST_B, 34), 0x800, 0),
        ];
        for (number, (inner, protocol, tos)) in (0..).zip(packets) {
            let outer = a.receive(INSIDE, &inner).forwarded(WAN).to_vec();
            requests.push(request(&gre, protocol, number, tos, &older(inner.clone())));
            let arrived = b.receive(WAN, &outer);
            assert_eq!(arrived.forwarded(INSIDE), older(older(inner)), "{gre:?}");
            ours.push(outer);
        }
        assert_eq!(
            (a.worker.stats().get(Counter::GreSent), b.worker.stats().get(Counter::GreReceived)),
            (3, 3)
        );
    }
    let theirs = scapy(&requests);
    assert_eq!(theirs.len(), ours.len());
    for ((ours, theirs), request) in ours.iter().zip(&theirs).zip(&requests) {
        assert_eq!(hex(ours), hex(theirs), "{request}");
    }
}

/// GRE from A to B, header and all behind it as given.
fn raw(gre: &[u8], inner: &[u8]) -> Vec<u8> {
    let payload = [gre, inner].concat();
    let mut bytes = packet(Ipv4Header {
        tos: 0,
        total_len: 20 + payload.len() as u16,
        id: 9,
        df: false,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: GRE,
        src: WAN_A,
        dst: WAN_B,
    });
    bytes[20..].copy_from_slice(&payload);
    bytes
}

// R238, R244, R91: whatever is wrong with it has a name of its own.
#[test]
fn what_is_wrong_has_a_name() {
    let inner = ip(HOST_A, HOST_B, 60);
    let key = Gre { key: Some(5), ..plain() };
    let sum = Gre { checksum: true, ..plain() };
    let numbered = Gre { sequence: true, ..plain() };
    let cases: [(Gre, &[u8], &[u8], Drop); 13] = [
        (plain(), &[0, 1, 8, 0], &inner, Drop::GreHeader),
        (plain(), &[0x40, 0, 8, 0], &inner, Drop::GreHeader),
        (plain(), &[0x20, 0, 8], &[], Drop::GreLength),
        (plain(), &[0, 0], &[], Drop::GreLength),
        (plain(), &[0x80, 0, 8, 0, 1, 2, 0, 0], &inner, Drop::GreChecksum),
        (sum, &[0, 0, 8, 0], &inner, Drop::GreChecksum),
        (key, &[0x20, 0, 8, 0, 0, 0, 0, 6], &inner, Drop::GreKey),
        (key, &[0, 0, 8, 0], &inner, Drop::GreKey),
        (plain(), &[0x20, 0, 8, 0, 0, 0, 0, 6], &inner, Drop::GreKey),
        (numbered, &[0, 0, 8, 0], &inner, Drop::GreSequence),
        (plain(), &[0, 0, 0x65, 0x58], &inner, Drop::GreProtocol),
        (plain(), &[0, 0, 0, 0], &inner, Drop::GreProtocol),
        (plain(), &[0, 0, 8, 0], &inner[..40], Drop::BadIpLength),
    ];
    for (gre, header, inner, why) in cases {
        let (_, mut b) = pair(gre);
        b.receive(WAN, &raw(header, inner)).lost(why);
        assert_eq!((b.dropped(why), b.worker.stats().get(Counter::GreReceived)), (1, 0));
    }
    let (_, mut b) = pair(plain());
    b.receive(WAN, &raw(&[0, 0, 0x86, 0xdd], &inner)).lost(Drop::BadIpVersion);
    // A source that is not behind this tunnel, as by any device (RFC 3704).
    b.receive(WAN, &raw(&[0, 0, 8, 0], &ip(INTERNET, HOST_B, 60))).lost(Drop::ReversePath);
}

// RFC 2890 §2.2: what is not newer than the last one is dropped, and the number of a damaged packet does not count.
#[test]
fn numbers_that_are_not_newer_are_dropped() {
    let (_, mut b) = pair(Gre { sequence: true, ..plain() });
    let inner = ip(HOST_A, HOST_B, 60);
    let mut send =
        |number: u8, inner: &[u8]| b.receive(WAN, &raw(&[0x10, 0, 8, 0, 0, 0, 0, number], inner)).verdict;
    let fine = Verdict::Forward { port: INSIDE };
    let cases =
        [(3, fine), (3, Verdict::Drop(Drop::GreSequence)), (2, Verdict::Drop(Drop::GreSequence)), (5, fine)];
    for (number, verdict) in cases {
        assert_eq!(send(number, &inner), verdict);
    }
    assert_eq!(send(200, &inner[..30]), Verdict::Drop(Drop::BadIpLength));
    assert_eq!(send(6, &inner), fine);
}

// R240, R242: in transport mode and in tunnel mode; nothing but ESP is on the wire, and transport mode is 20 bytes smaller.
#[test]
fn over_esp_in_both_modes() {
    let mut sizes = vec![];
    for mode in [Mode::Transport, Mode::Tunnel] {
        let (mut a, mut b) = protected_pair(mode);
        for n in 0..3 {
            for inner in [ip(HOST_A, HOST_B, 600 + n), ip6(HOST_A6, HOST_B6, 300)] {
                let outer = a.receive(INSIDE, &inner).forwarded(WAN).to_vec();
                let it = Ipv4::parse(&outer).unwrap();
                assert_eq!((it.protocol(), it.src(), it.dst()), (50, WAN_A, WAN_B));
                assert_eq!(b.receive(WAN, &outer).forwarded(INSIDE), older(older(inner.clone())));
                if n == 0 && inner[0] == 0x45 {
                    sizes.push(outer.len());
                }
            }
        }
    }
    assert_eq!(sizes[1] - sizes[0], 20);
    let six = Gre { tunnel: Some(TUNNEL), ..over_v6() };
    let ends = Selector { protocol: Some(GRE), ..selector("2001:db8:ff::1/128", "2001:db8:ff::2/128") };
    for mode in [Mode::Transport, Mode::Tunnel] {
        let sas = Pair { mode, v6: true, selectors: vec![ends], ..Pair::default() };
        let (mut a, mut b) = pair(six);
        protect(&mut a, &sas, true);
        protect(&mut b, &sas, false);
        let inner = ip(HOST_A, HOST_B, 700);
        let outer = a.receive(INSIDE, &inner).forwarded(WAN).to_vec();
        assert_eq!(Ipv6::parse(&outer).unwrap().next_header(), 50);
        assert_eq!(b.receive(WAN, &outer).forwarded(INSIDE), older(older(inner)));
    }
}

// R240: multicast of routers, out of the kernel and into it, over GRE over ESP.
#[test]
fn routers_speak_over_it() {
    for (mut a, mut b) in [pair(plain()), pair(over_v6()), protected_pair(Mode::Transport)] {
        let hello = edit(ip(LINK_A, Ipv4Addr::new(224, 0, 0, 5), 80), |ip| {
            ip.set_ttl(1);
            ip.set_protocol(89);
        });
        let eigrp = edit(ip(LINK_A, Ipv4Addr::new(224, 0, 0, 10), 60), |ip| ip.set_protocol(88));
        let six: Ipv6Addr = "fe80::1".parse().unwrap();
        for bytes in
            [hello, eigrp, ip(LINK_A, LINK_B, 60), packet6(six, "ff02::5".parse().unwrap(), 89, &[0; 40])]
        {
            let out = a.one(Origin::Device(DEVICE), bytes.clone());
            assert_eq!(out.verdict, Verdict::Forward { port: WAN });
            let arrived = b.one(Origin::Port(WAN), out.bytes);
            assert_eq!((arrived.verdict, arrived.bytes), (Verdict::Deliver { interface: DEVICE }, bytes));
        }
    }
}

// R307: what has to be protected never leaves or enters in clear, whatever is missing.
#[test]
fn what_has_to_be_protected_is_never_in_clear() {
    let inner = ip(HOST_A, HOST_B, 100);
    let key7 = &[0x20, 0, 8, 0, 0, 0, 0, 7];
    // No policy at all: its tunnel is not there.
    let (mut a, mut b) = pair(protected());
    a.receive(INSIDE, &inner).lost(Drop::GreUnprotected);
    b.receive(WAN, &raw(key7, &inner)).lost(Drop::GreUnprotected);
    // The policy, without an SA.
    for (gate, is_a) in [(&mut a, true), (&mut b, false)] {
        let s = sas(Mode::Transport).selectors[0];
        gate.protect(if is_a { s } else { mirror(s) });
        gate.commit();
    }
    a.receive(INSIDE, &inner).lost(Drop::NoOutboundSa);
    a.one(Origin::Device(DEVICE), ip(LINK_A, LINK_B, 60)).lost(Drop::NoOutboundSa);
    b.receive(WAN, &raw(key7, &inner)).lost(Drop::PlainOnProtected);
    // GRE without IPsec on the same pair of ends is covered by the policy as well.
    add(&mut b, far(Gre { tunnel: None, ..protected() }));
    b.commit();
    b.receive(WAN, &raw(key7, &inner)).lost(Drop::PlainOnProtected);
    // By an SA of another tunnel than its own.
    let (mut a, mut b) = protected_pair(Mode::Transport);
    for (gate, is_a) in [(&mut a, true), (&mut b, false)] {
        let other = Gre { tunnel: Some(TunnelId(99)), ..protected() };
        let outer = gate.one(Origin::Device(DEVICE), ip(LINK_A, LINK_B, 60));
        assert_eq!(outer.verdict, Verdict::Forward { port: WAN });
        add(gate, if is_a { other } else { far(other) });
        gate.commit();
        gate.one(Origin::Device(DEVICE), ip(LINK_A, LINK_B, 60)).lost(Drop::GreUnprotected);
    }
    let (mut a, _) = protected_pair(Mode::Transport);
    let outer = a.receive(INSIDE, &inner).forwarded(WAN).to_vec();
    b.receive(WAN, &outer).lost(Drop::GreUnprotected);
}

// R84 to R89 for GRE: before encapsulation; the sender is told the size of the inner packet that fits.
#[test]
fn what_is_too_large_is_cut_or_answered_before() {
    let full = Gre { key: Some(1), checksum: true, sequence: true, mtu: 1476, ..plain() };
    for (gre, mtu) in [(plain(), 1476), (full, 1464), (Gre { mtu: 1400, ..plain() }, 1400), (over_v6(), 1456)]
    {
        let (mut a, mut b) = pair(gre);
        let fits = a.receive(INSIDE, &ip(HOST_A, HOST_B, mtu)).forwarded(WAN).to_vec();
        b.receive(WAN, &fits).forwarded(INSIDE);
        let out = a.run(&[(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, mtu + 1)))]);
        out[0].lost(Drop::TooBig);
        let error = Ipv4::parse(out[1].forwarded(INSIDE)).unwrap();
        assert_eq!((error.src(), error.dst()), (GATE_A, HOST_A));
        let message = Icmp::parse(error.payload()).unwrap();
        assert!(message.is_error());
        assert_eq!(error.payload()[..2], [3, 4]);
        assert_eq!(u16::from_be_bytes([error.payload()[6], error.payload()[7]]), mtu as u16);
        let out = a.run(&[(Origin::Port(INSIDE), ether(&ip6(HOST_A6, HOST_B6, mtu + 1)))]);
        out[0].lost(Drop::TooBig);
        let error = Ipv6::parse(out[1].forwarded(INSIDE)).unwrap();
        assert_eq!(
            (error.payload()[0], error.payload()[6..8].to_vec()),
            (2, (mtu as u16).to_be_bytes().to_vec())
        );
        let large = edit(ip(HOST_A, HOST_B, mtu + 300), |ip| ip.set_df(false));
        let parts = a.run(&[(Origin::Port(INSIDE), ether(&large))]);
        assert_eq!(parts.len(), 2);
        for part in &parts {
            assert!(part.forwarded(WAN).len() <= 1500);
            let arrived = b.receive(WAN, part.forwarded(WAN));
            assert!(Ipv4::parse(arrived.forwarded(INSIDE)).unwrap().is_fragment());
        }
    }
}

// RFC 2003 §3.1 for the TTL; RFC 2983 and RFC 6040 for the other octet, as for tunnels of IPsec.
#[test]
fn age_and_class() {
    let (mut a, mut b) = pair(plain());
    let one = |ttl: u8, tos: u8| {
        edit(ip(HOST_A, HOST_B, 60), |ip| {
            ip.set_ttl(ttl);
            ip.set_tos(tos);
        })
    };
    let outer = a.receive(INSIDE, &one(9, 0x2a)).forwarded(WAN).to_vec();
    let it = Ipv4::parse(&outer).unwrap();
    assert_eq!((it.ttl(), it.tos()), (64, 0x2a));
    let marked = edit(outer, |ip| ip.set_ecn(3));
    let inner = b.receive(WAN, &marked);
    let inner = Ipv4::parse(inner.forwarded(INSIDE)).unwrap();
    assert_eq!((inner.ttl(), inner.tos()), (7, 0x2b), "two hops; congestion was met outside");
    let outer = a.receive(INSIDE, &one(9, 0)).forwarded(WAN).to_vec();
    b.receive(WAN, &edit(outer, |ip| ip.set_ecn(3))).lost(Drop::CongestionLost);
    let out = a.run(&[(Origin::Port(INSIDE), ether(&one(1, 0)))]);
    out[0].lost(Drop::TtlExpired);
    assert_eq!(Ipv4::parse(out[1].forwarded(INSIDE)).unwrap().payload()[0], 11);
}

// R239: up as long as a route leads to the far end by a port; never into itself, and not where the kernel would go on.
#[test]
fn its_state_follows_the_route() {
    let (mut a, _) = pair(plain());
    let inner = ip(HOST_A, HOST_B, 60);
    let far_end = |next_hop| msg::Route { prefix: prefix("198.18.0.2/32"), next_hop };
    for next_hop in [NextHop::Interface(DEVICE), NextHop::Kernel, NextHop::Blackhole, NextHop::Tunnel] {
        a.set(TableCommand::AddRoute(far_end(next_hop)));
        a.commit();
        a.receive(INSIDE, &inner).lost(Drop::NoRoute);
        a.set(TableCommand::RemoveRoute(far_end(next_hop)));
        a.commit();
        a.receive(INSIDE, &inner).forwarded(WAN);
    }
}

// Two tunnels between the same ends are told by their keys; GRE of others is left alone.
#[test]
fn keys_tell_tunnels_apart_and_strangers_are_left_alone() {
    let (mut a, mut b) = pair(Gre { key: Some(1), ..plain() });
    let second = Interface {
        id: InterfaceId(4),
        name: InterfaceName::new("gre-b").unwrap(),
        behind: Behind::Gre(far(Gre { key: Some(2), ..plain() })),
        reverse_path: ReversePath::Loose,
    };
    b.set(TableCommand::AddInterface(second));
    b.commit();
    let to_the_link = ip(HOST_A, LINK_B, 60);
    for key in [1, 2] {
        let arrived = b.receive(WAN, &raw(&[0x20, 0, 8, 0, 0, 0, 0, key], &to_the_link));
        let interface = if key == 1 { DEVICE } else { InterfaceId(4) };
        assert_eq!((arrived.verdict, arrived.bytes), (Verdict::Deliver { interface }, to_the_link.clone()));
    }
    b.receive(WAN, &raw(&[0x20, 0, 8, 0, 0, 0, 0, 3], &to_the_link)).lost(Drop::GreKey);
    // From somebody else: the host's, as all that nobody has a policy about.
    let stranger = edit(raw(&[0, 0, 8, 0], &to_the_link), |ip| {
        ip.set_src(Ipv4Addr::new(198, 18, 0, 77));
        ip.fill_checksum();
    });
    assert_eq!(b.receive(WAN, &stranger).verdict, Verdict::Punt);
    // From the same ends to somebody behind us: passes through.
    let through = edit(raw(&[0x20, 0, 8, 0, 0, 0, 0, 3], &to_the_link), |ip| {
        ip.set_src(WAN_B);
        ip.set_dst(HOST_A);
        ip.fill_checksum();
    });
    assert_eq!(a.receive(WAN, &through).verdict, Verdict::Forward { port: INSIDE });
}

// Outer fragments are joined, as those of ESP are, of both families.
#[test]
fn outer_fragments_are_joined() {
    let (mut a, mut b) = pair(plain());
    let outer = a.receive(INSIDE, &ip(HOST_A, HOST_B, 1400)).forwarded(WAN).to_vec();
    let part = |from: usize, to: usize, more: bool| {
        let mut bytes = [&outer[..20], &outer[20 + from..20 + to]].concat();
        let len = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        edit(bytes, |ip| {
            ip.set_fragment(from as u16, more);
            ip.fill_checksum();
        })
    };
    let end = outer.len() - 20;
    assert_eq!(b.receive(WAN, &part(800, end, false)).verdict, Verdict::Held);
    let arrived = b.receive(WAN, &part(0, 800, true));
    assert_eq!(arrived.forwarded(INSIDE), older(older(ip(HOST_A, HOST_B, 1400))));
    let (mut a, mut b) = pair(over_v6());
    let outer = a.receive(INSIDE, &ip(HOST_A, HOST_B, 1400)).forwarded(WAN).to_vec();
    let part = |from: usize, to: usize, more: u16| {
        let [x, y] = (from as u16 | more).to_be_bytes();
        packet6(WAN_A6, WAN_B6, 44, &[&[GRE, 0, x, y, 0, 0, 0, 9][..], &outer[40 + from..40 + to]].concat())
    };
    assert_eq!(b.receive(WAN, &part(0, 800, 1)).verdict, Verdict::Held);
    let arrived = b.receive(WAN, &part(800, outer.len() - 40, 0));
    assert_eq!(arrived.forwarded(INSIDE), older(older(ip(HOST_A, HOST_B, 1400))));
}

// R241: route, device, GRE, policy, port; and asking leaves no trace in the numbers (R304).
#[test]
fn explain_takes_no_number() {
    let (mut a, mut b) = pair(Gre { sequence: true, ..plain() });
    let inner = ip(HOST_A, HOST_B, 60);
    let first = a.receive(INSIDE, &inner).forwarded(WAN).to_vec();
    let before = (a.worker.stats().clone(), b.worker.stats().clone());
    let (step, _) = a.explain(Origin::Port(INSIDE), ether(&inner));
    let outer = step.gre.unwrap();
    assert_eq!((step.route, outer.flow.protocol), (Some(Route::Interface { interface: DEVICE.0 }), GRE));
    assert_eq!((outer.flow.source, outer.goes.action), (WAN_A.into(), Action::Bypass));
    assert!(matches!(outer.route, Route::Port { port, .. } if port == WAN.0));
    b.explain(Origin::Port(WAN), ether(&first));
    assert_eq!((a.worker.stats().clone(), b.worker.stats().clone()), before);
    b.receive(WAN, &first).forwarded(INSIDE);
    let second = a.receive(INSIDE, &inner).forwarded(WAN).to_vec();
    assert_eq!(second[20 + 4..20 + 8], [0, 0, 0, 1]);
    b.receive(WAN, &second).forwarded(INSIDE);
    let (mut a, _) = protected_pair(Mode::Transport);
    let (step, _) = a.explain(Origin::Port(INSIDE), ether(&inner));
    let (outer, sa, size) = (step.gre.unwrap(), step.protects.unwrap(), step.size.unwrap());
    assert_eq!((outer.goes.action, outer.goes.tunnel), (Action::Protect, Some(TUNNEL.0)));
    assert_eq!((sa.tunnel, size.limit, step.icmp), (TUNNEL.0, 1472, None));
    assert_eq!(step.route, Some(Route::Interface { interface: DEVICE.0 }));
}

// What is told to nobody: an error about the outer packet of our own.
#[test]
fn no_error_goes_to_ourselves() {
    let (mut a, _) = pair(over_v6());
    a.set(TableCommand::SetPort(Port { port: WAN, mac: mac(2), mtu: 1280, up: true }));
    a.commit();
    let out = a.run(&[(Origin::Device(DEVICE), ip6(HOST_A6, HOST_B6, 1280))]);
    assert_eq!(out[0].verdict, Verdict::Drop(Drop::TooBig), "{out:?}");
    assert_eq!(out.len(), 2, "the error is about the inner packet");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    // R303: arbitrary bytes in GRE end in one verdict, and nothing goes back out of the port that it came by.
    #[test]
    fn any_bytes_in_gre(
        flags: u16, protocol in prop_oneof![Just(0x800u16), Just(0x86dd), any::<u16>()], few: bool,
        rest in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let (mut b, _) = pair(far(Gre { key: Some(0), sequence: true, checksum: flags & 1 != 0, ..plain() }));
        let flags = if few { 0x3000 } else { flags };
        let header = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
        let rest = if few { [&[0; 4][..], &rest].concat() } else { rest };
        let mut bytes = raw(&header, &rest);
        bytes = edit(bytes, |ip| { ip.set_src(WAN_B); ip.set_dst(WAN_A); ip.fill_checksum(); });
        for out in b.run(&[(Origin::Port(WAN), ether(&bytes))]) {
            let leaves_again = out.verdict == Verdict::Forward { port: WAN };
            prop_assert!(!leaves_again, "{:?}", out);
        }
    }
}

// R243: a filter of what was decrypted has to name GRE between the ends, for it is what comes out; without that second
// check the SA's selectors are enough. What is in GRE is asked about by the policies and routes of its device.
#[test]
fn a_second_check_has_to_admit_gre() {
    for mode in [Mode::Transport, Mode::Tunnel] {
        let (mut a, mut b) = protected_pair(mode);
        let inner = ip(HOST_A, HOST_B, 300);
        let mut carry = |b: &mut Gate| {
            let outer = a.receive(INSIDE, &inner).forwarded(WAN).to_vec();
            b.receive(WAN, &outer)
        };
        carry(&mut b).forwarded(INSIDE);
        let between = selector("198.18.0.2/32", "198.18.0.1/32");
        for (protocol, passes) in [(Some(17), false), (Some(GRE), true), (None, true)] {
            b.set(TableCommand::ClearPolicies);
            b.set(TableCommand::AddFilter { tunnel: TUNNEL, selector: Selector { protocol, ..between } });
            b.protect(Selector { protocol: Some(GRE), ..between });
            b.commit();
            match passes {
                true => drop(carry(&mut b).forwarded(INSIDE)),
                false => carry(&mut b).lost(Drop::FilterDecrypted),
            }
        }
    }
}

// R307: what came out of an SA does not go into GRE in clear by a default route, while its own is lost; by one that says so it does,
// and by a default route where an SA protects the GRE.
#[test]
fn what_came_out_of_a_tunnel_is_not_put_into_clear_gre() {
    let into = NextHop::Interface(DEVICE);
    let default = msg::Route { prefix: prefix("0.0.0.0/0"), next_hop: into };
    let own = msg::Route { prefix: prefix("10.2.0.0/24"), next_hop: into };
    let lost = msg::Route { next_hop: NextHop::Port { port: INSIDE, gateway: None }, ..own };
    for named in [false, true] {
        let (mut a, mut b) = gates(&Pair::default());
        add(&mut b, far(plain()));
        b.set(TableCommand::RemoveRoute(lost));
        b.set(TableCommand::AddRoute(if named { own } else { default }));
        b.commit();
        // The outer flow is known.
        let hello = b.one(Origin::Device(DEVICE), ip(LINK_B, LINK_A, 60));
        assert_eq!(hello.verdict, Verdict::Forward { port: WAN });
        for _ in 0..2 {
            let sealed = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN).to_vec();
            let out = b.receive(WAN, &sealed);
            let wanted = if named { Verdict::Forward { port: WAN } } else { Verdict::Drop(Drop::NoRoute) };
            assert_eq!(out.verdict, wanted);
        }
    }
    let (mut a, mut b) = gates(&Pair::default());
    add(&mut b, far(plain()));
    let ends = Selector { protocol: Some(GRE), ..selector("198.18.0.2/32", "198.18.0.1/32") };
    b.protect(ends);
    b.set(TableCommand::RemoveRoute(lost));
    b.set(TableCommand::AddRoute(default));
    b.commit();
    let sealed = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN).to_vec();
    // The SAs that there are hold networks, not the ends: they refuse it, which is not this check.
    b.receive(WAN, &sealed).lost(Drop::SelectorMismatch);
}
