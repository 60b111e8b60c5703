//! IPv6 inside, outside and both: whole ways, and what strangers send.

use crate::rig::*;
use proptest::prelude::*;
use ravelin_dataplane::{Bounds, Door, Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use ravelin_wire::icmpv6::{self, Icmpv6};
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::ipv6::{Ipv6, Ipv6Mut};
use ravelin_wire::udp::Udp;
use std::net::Ipv6Addr;

fn edit6(mut bytes: Vec<u8>, change: impl FnOnce(&mut Ipv6Mut<'_>)) -> Vec<u8> {
    change(&mut Ipv6Mut::parse(&mut bytes).unwrap());
    bytes
}

/// What the host behind the other gateway gets: two gateways have taken one off.
fn arrived(sent: &[u8]) -> Vec<u8> {
    if sent[0] >> 4 == 6 {
        edit6(sent.to_vec(), |ip| ip.set_hop_limit(62))
    } else {
        edit(sent.to_vec(), |ip| ip.set_ttl(62))
    }
}

/// Checks the outer headers; the frame as the other gateway gets it.
fn outer(out: &Out, pair: &Pair, from_a: bool) -> (Origin, Vec<u8>) {
    let bytes = out.forwarded(WAN);
    if pair.v6 {
        let ip = Ipv6::parse(bytes).unwrap();
        let ends = if from_a { (WAN_A6, WAN_B6) } else { (WAN_B6, WAN_A6) };
        assert_eq!((ip.src(), ip.dst(), ip.hop_limit()), (ends.0, ends.1, 64));
        assert_eq!(ip.next_header(), if pair.udp { 17 } else { 50 });
        if pair.udp {
            let datagram = Udp::parse(ip.payload()).unwrap();
            assert_eq!((datagram.src(), datagram.dst(), datagram.len()), (4500, 4500, ip.payload().len()));
            assert!(datagram.checksum_holds_v6(ip.src(), ip.dst()), "RFC 8200 §8.1: a checksum that holds");
        }
    } else {
        let ip = Ipv4::parse(bytes).unwrap();
        let ends = if from_a { (WAN_A, WAN_B) } else { (WAN_B, WAN_A) };
        assert_eq!((ip.src(), ip.dst(), ip.protocol()), (ends.0, ends.1, if pair.udp { 17 } else { 50 }));
    }
    (Origin::Port(WAN), out.bytes.clone())
}

// R125, R200: 4in4, 6in4, 4in6 and 6in6 over one SA with selectors of both families, both ways, every suite.
#[test]
fn every_pair_of_families_carries_every_size() {
    for (suite, _) in SUITES {
        for (udp, v6, esn) in [
            (false, false, false),
            (true, false, true),
            (false, true, false),
            (true, true, false),
            (false, true, true),
        ] {
            let pair = Pair { suite, udp, v6, esn, ..Pair::default() };
            let (mut a, mut b) = gates(&pair);
            let sizes = || (60..=96).chain([576, 1024, 1279, 1280, 1281, 1384]);
            let there: Vec<Vec<u8>> =
                sizes().flat_map(|n| [ip(HOST_A, HOST_B, n), ip6(HOST_A6, HOST_B6, n)]).collect();
            let back: Vec<Vec<u8>> =
                sizes().flat_map(|n| [ip6(HOST_B6, HOST_A6, n), ip(HOST_B, HOST_A, n)]).collect();
            for (from_a, sent) in [(true, there), (false, back)] {
                let (near, far) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
                let frames: Vec<_> = sent.iter().map(|p| (Origin::Port(INSIDE), ether(p))).collect();
                let wire: Vec<_> = near.run(&frames).iter().map(|o| outer(o, &pair, from_a)).collect();
                let got = far.run(&wire);
                assert_eq!(got.len(), sent.len());
                for (out, sent) in got.iter().zip(&sent) {
                    assert_eq!(out.forwarded(INSIDE), arrived(sent), "{suite:?} udp {udp} v6 {v6}");
                }
            }
            assert_eq!(b.report(10).packets, 2 * sizes().count() as u64);
        }
    }
}

// R84 to R86, RFC 4301 §5.1.2, RFC 6040: what the outer header takes from the inner one.
#[test]
fn the_outer_header_follows_the_inner_one() {
    let marked = |ecn: u8| {
        let mut bytes = edit6(ip6(HOST_A6, HOST_B6, 100), |ip| ip.set_traffic_class(0xb8 | ecn));
        bytes[1] |= 0x0a;
        bytes[2..4].copy_from_slice(&[0xbc, 0xde]);
        bytes
    };
    for (df, expected) in [(OuterDf::Copy, true), (OuterDf::Clear, false), (OuterDf::Set, true)] {
        let (mut a, _) = gates(&Pair { df, ..Pair::default() });
        let wire = a.receive(INSIDE, &marked(1)).forwarded(WAN).to_vec();
        let ip = Ipv4::parse(&wire).unwrap();
        assert_eq!((ip.df(), ip.tos()), (expected, 0xb9), "IPv6 is never fragmented on its way");
    }
    let (mut a, mut b) = gates(&Pair { v6: true, ..Pair::default() });
    let wire = a.receive(INSIDE, &marked(2)).forwarded(WAN).to_vec();
    let outside = Ipv6::parse(&wire).unwrap();
    assert_eq!((outside.traffic_class(), outside.flow_label()), (0xba, 0xabcde));
    let congested = edit6(wire, |ip| ip.set_traffic_class(0xbb));
    let out = b.receive(WAN, &congested);
    let inner = Ipv6::parse(out.forwarded(INSIDE)).unwrap();
    assert_eq!((inner.traffic_class(), inner.flow_label()), (0xbb, 0xabcde), "congestion goes in");
    let plain = edit6(a.receive(INSIDE, &marked(0)).forwarded(WAN).to_vec(), |ip| ip.set_traffic_class(3));
    b.receive(WAN, &plain).lost(Drop::CongestionLost);
    let old = edit(ip(HOST_A, HOST_B, 100), |ip| ip.set_tos(0x48));
    let wire = a.receive(INSIDE, &old).forwarded(WAN).to_vec();
    let ip = Ipv6::parse(&wire).unwrap();
    assert_eq!((ip.traffic_class(), ip.flow_label()), (0x48, 0), "IPv4 has no flow label");
}

/// The ICMPv6 error that came out beside the dropped packet: source, destination, message.
fn error6(out: &[Out]) -> (Ipv6Addr, Ipv6Addr, u8, u32, Vec<u8>) {
    let made = out.last().unwrap();
    let bytes = if made.verdict == Verdict::Punt { made.bytes.as_slice() } else { made.forwarded(INSIDE) };
    let ip = Ipv6::parse(bytes).unwrap();
    assert_eq!(ip.next_header(), 58);
    let message = Icmpv6::parse(ip.payload()).unwrap();
    assert!(message.checksum_holds(ip.src(), ip.dst()));
    assert!(bytes.len() <= 1280, "RFC 4443 §2.4 c");
    (ip.src(), ip.dst(), message.kind(), u32::from_be_bytes(message.rest()), message.payload().to_vec())
}

// R88, R157, RFC 8200 §5, RFC 4443 §3.2: the MTU in the answer is exact, and never below 1,280.
#[test]
fn too_big_is_answered_with_the_exact_mtu() {
    for (suite, _) in SUITES {
        for (udp, v6) in [(false, false), (true, false), (false, true), (true, true)] {
            let pair = Pair { suite, udp, v6, tunnel_mtu: 1433, ..Pair::default() };
            let (mut a, mut b) = gates(&pair);
            let big = ip6(HOST_A6, HOST_B6, 1500);
            let out = a.run(&[(Origin::Port(INSIDE), ether(&big))]);
            out[0].lost(Drop::TooBig);
            let (src, dst, kind, mtu, quoted) = error6(&out);
            assert_eq!((src, dst, kind), (GATE_A6, HOST_A6, icmpv6::PACKET_TOO_BIG));
            assert_eq!((&quoted[..7], &quoted[8..64]), (&big[..7], &big[8..64]), "all but the hop limit");
            let fits = a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, mtu as usize)).forwarded(WAN).to_vec();
            assert!(fits.len() <= 1433 && 1433 - fits.len() < 16, "{suite:?} {mtu}: {}", fits.len());
            b.receive(WAN, &fits).forwarded(INSIDE);
            let more = a.run(&[(Origin::Port(INSIDE), ether(&ip6(HOST_A6, HOST_B6, mtu as usize + 1)))]);
            more[0].lost(Drop::TooBig);
        }
    }
    let (mut a, _) = gates(&Pair { tunnel_mtu: 1000, ..Pair::default() });
    let out = a.run(&[(Origin::Port(INSIDE), ether(&ip6(HOST_A6, HOST_B6, 1400)))]);
    assert_eq!(error6(&out).3, 1280);
}

// R157: IPv4 without DF is cut before encryption, whatever is outside; the outer IPv6 packet is never cut.
#[test]
fn ipv4_in_ipv6_is_fragmented_before_encryption() {
    let (mut a, mut b) = gates(&Pair { v6: true, tunnel_mtu: 1280, ..Pair::default() });
    let sent = edit(ip(HOST_A, HOST_B, 1500), |ip| ip.set_df(false));
    let wire: Vec<_> = a
        .run(&[(Origin::Port(INSIDE), ether(&sent))])
        .iter()
        .map(|o| {
            assert!(o.forwarded(WAN).len() <= 1280);
            (Origin::Port(WAN), o.bytes.clone())
        })
        .collect();
    let parts = b.run(&wire);
    assert_eq!(parts.len(), 2);
    let mut joined = vec![0; 1480];
    for part in &parts {
        let ip = Ipv4::parse(part.forwarded(INSIDE)).unwrap();
        joined[usize::from(ip.fragment_offset())..][..ip.payload().len()].copy_from_slice(ip.payload());
    }
    assert_eq!(joined, sent[20..]);
}

#[test]
fn the_hop_limit_runs_out_with_an_answer() {
    let (mut a, mut b) = gates(&Pair::default());
    let dying = edit6(ip6(HOST_A6, HOST_B6, 80), |ip| ip.set_hop_limit(1));
    let out = a.run(&[(Origin::Port(INSIDE), ether(&dying))]);
    out[0].lost(Drop::TtlExpired);
    let (src, dst, kind, _, quoted) = error6(&out);
    assert_eq!((src, dst, kind, quoted), (GATE_A6, HOST_A6, icmpv6::TIME_EXCEEDED, dying));
    // In the clear part of the way, and at the far gateway, whose answer goes back protected.
    let clear = edit6(ip6(HOST_A6, INTERNET6, 80), |ip| ip.set_hop_limit(1));
    assert_eq!(error6(&a.run(&[(Origin::Port(INSIDE), ether(&clear))])).2, icmpv6::TIME_EXCEEDED);
    let late = edit6(ip6(HOST_A6, HOST_B6, 80), |ip| ip.set_hop_limit(2));
    let wire = a.receive(INSIDE, &late);
    let out = b.run(&[(Origin::Port(WAN), wire.bytes)]);
    out[0].lost(Drop::TtlExpired);
    let back = a.receive(WAN, out[1].forwarded(WAN));
    let answer = Ipv6::parse(back.forwarded(INSIDE)).unwrap();
    assert_eq!((answer.src(), answer.dst(), answer.next_header()), (GATE_B6, HOST_A6, 58));
    // The host's own packets keep their hop limit.
    a.one(Origin::Tun, edit6(ip6(GATE_A6, HOST_B6, 80), |ip| ip.set_hop_limit(1))).forwarded(WAN);
}

// RFC 4443 §2.4 e and f: no error about an error, and no more than the rate allows.
#[test]
fn errors_provoke_no_errors_and_have_a_rate() {
    let (mut a, _) = gates(&Pair::default());
    let dying = |kind: u8| {
        let bytes = packet6(HOST_A6, HOST_B6, 58, &[kind, 0, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0]);
        edit6(bytes, |ip| ip.set_hop_limit(1))
    };
    for kind in [1, 2, 3, 4, 100, 127, 137] {
        assert_eq!(a.run(&[(Origin::Port(INSIDE), ether(&dying(kind)))]).len(), 1, "type {kind}");
    }
    assert_eq!(a.run(&[(Origin::Port(INSIDE), ether(&dying(128)))]).len(), 2);
    let flood = vec![(Origin::Port(INSIDE), ether(&dying(128))); 2000];
    let made = a.run(&flood).len() - flood.len();
    assert!((1..=100).contains(&made), "{made}");
    assert_eq!(a.worker.stats().get(Counter::IcmpSent), made as u64 + 1);
}

// R41, R307: clear where it should be protected, on both ports; R42: what no policy covers goes on.
#[test]
fn policies_hold_for_ipv6() {
    let (mut a, _) = gates(&Pair::default());
    for port in [INSIDE, WAN] {
        a.receive(port, &ip6(HOST_B6, HOST_A6, 80)).lost(Drop::PlainOnProtected);
        a.receive(port, &ip6(HOST_B6, GATE_A6, 80)).lost(Drop::PlainOnProtected);
    }
    let sent = ip6(HOST_A6, INTERNET6, 80);
    assert_eq!(a.receive(INSIDE, &sent).forwarded(WAN), edit6(sent, |ip| ip.set_hop_limit(63)));
    a.receive(WAN, &ip6(INTERNET6, HOST_A6, 80)).forwarded(INSIDE);
    let to = |net: u16| Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, 5);
    a.receive(INSIDE, &ip6(HOST_A6, to(0xb), 80)).lost(Drop::RouteBlackhole);
    a.receive(INSIDE, &ip6(HOST_A6, to(0xc), 80)).lost(Drop::NoRoute);
    assert_eq!(a.receive(INSIDE, &ip6(HOST_A6, to(0xa), 80)).verdict, Verdict::Punt);
    assert_eq!(a.receive(INSIDE, &ip6(HOST_A6, GATE_A6, 80)).verdict, Verdict::Punt);
    let selector = selector("::/0", "::/0");
    a.set(TableCommand::AddPolicy(Policy {
        order: 200,
        selector,
        action: Action::Discard,
        hold: false,
        line: 0,
    }));
    a.commit();
    a.receive(INSIDE, &ip6(HOST_A6, INTERNET6, 80)).lost(Drop::PolicyDiscard);
    a.receive(INSIDE, &ip(HOST_A, INTERNET, 80)).forwarded(WAN);
    a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, 80)).forwarded(WAN);
    a.command(|token| WorkerCommand::StopOutbound { token, tunnel: TUNNEL });
    a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, 80)).lost(Drop::NoOutboundSa);
    let acquire = WorkerEvent::Acquire {
        tunnel: TUNNEL,
        source: HOST_A6.into(),
        destination: HOST_B6.into(),
        protocol: 17,
        ports: (1000, 2000),
    };
    assert!(a.events().contains(&acquire));
}

#[test]
fn the_inner_packet_must_match_the_selectors_of_its_sa() {
    let wide = Pair { selectors: vec![selector("::/0", "::/0")], v6: true, ..Pair::default() };
    let mut a = Gate::new(true);
    a.install(&wide);
    a.use_pair(&wide);
    let mut b = Gate::new(false);
    let narrow = selector("2001:db8:1::10", "2001:db8:2::/64");
    b.install(&Pair { selectors: vec![narrow], v6: true, ..Pair::default() });
    let wire = a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, 80)).forwarded(WAN).to_vec();
    b.receive(WAN, &wire).forwarded(INSIDE);
    let other = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x11);
    let wire = a.receive(INSIDE, &ip6(other, HOST_B6, 80)).forwarded(WAN).to_vec();
    b.receive(WAN, &wire).lost(Drop::SelectorMismatch);
    // And the SA of IPv6 alone carries no IPv4.
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).lost(Drop::SelectorMismatch);
}

#[test]
fn neighbours_of_ipv6_are_asked_for() {
    let (mut a, _) = gates(&Pair { v6: true, ..Pair::default() });
    let router = "fe80::99".parse().unwrap();
    for (to, addr) in [(HOST_B6, WAN_B6.into()), (INTERNET6, router)] {
        a.set(TableCommand::RemoveNeighbour { port: WAN, addr });
        a.commit();
        // R26: the first packet for a next hop waits for it, the others do not.
        assert_eq!(a.receive(INSIDE, &ip6(HOST_A6, to, 80)).verdict, Verdict::Held);
        for _ in 0..2 {
            a.receive(INSIDE, &ip6(HOST_A6, to, 80)).lost(Drop::NeighbourUnresolved);
        }
        assert_eq!(a.events(), [WorkerEvent::NeighbourNeeded { port: WAN, addr }]);
        a.set(TableCommand::SetNeighbour(Neighbour { port: WAN, addr, mac: mac(20) }));
        a.commit();
        let sent: Vec<usize> = a.turn().iter().map(|o| o.forwarded(WAN).len()).collect();
        assert_eq!(sent.len(), 1);
        a.receive(INSIDE, &ip6(HOST_A6, to, 80)).forwarded(WAN);
    }
    // One that nobody answers for is let go, and a scan does not take all the room.
    let flood: Vec<_> = (0x100..0x180)
        .map(|n| {
            (Origin::Port(WAN), ether(&ip6(INTERNET6, Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, n), 60)))
        })
        .collect();
    a.run(&flood);
    assert_eq!(a.held(), 32);
    a.now.ms += 5000;
    a.turn();
    assert_eq!((a.held(), a.dropped(Drop::NeighbourUnresolved)), (0, 4 + 128));
    // RFC 8950: IPv4 by way of a router that is known by an IPv6 address.
    let hop = NextHop::Port { port: WAN, gateway: Some(router) };
    a.set(TableCommand::AddRoute(Route { prefix: prefix("192.0.4.0/24"), next_hop: hop }));
    a.commit();
    a.receive(INSIDE, &ip(HOST_A, std::net::Ipv4Addr::new(192, 0, 4, 1), 80)).forwarded(WAN);
}

#[test]
fn a_peer_that_moved_and_a_stranger_are_told_of_by_their_addresses() {
    let (mut a, mut b) = gates(&Pair { v6: true, udp: true, ..Pair::default() });
    let wire = a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, 80)).forwarded(WAN).to_vec();
    b.receive(WAN, &wire).forwarded(INSIDE);
    let moved = a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, 80)).forwarded(WAN).to_vec();
    b.receive(WAN, &edit6(moved, |ip| ip.set_src(INTERNET6))).forwarded(INSIDE);
    let from = std::net::SocketAddr::new(INTERNET6.into(), 4500);
    assert!(b.events().contains(&WorkerEvent::PeerMoved { sa: SaId(10), from }));
    let mut strange = wire;
    strange[48..52].copy_from_slice(&0xdead_0001_u32.to_be_bytes());
    b.receive(WAN, &strange).lost(Drop::NoSa);
    assert_eq!(b.events(), [WorkerEvent::UnknownSpi { spi: 0xdead_0001, from: WAN_A6.into() }]);
}

/// Extension headers of these kinds before UDP: each with `body` bytes of eight and the next one's number.
fn chained(src: Ipv6Addr, dst: Ipv6Addr, kinds: &[u8], last: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    for (n, _) in kinds.iter().enumerate() {
        body.extend([*kinds.get(n + 1).unwrap_or(&last), 0, 1, 4, 0, 0, 0, 0]);
    }
    body.extend_from_slice(payload);
    packet6(src, dst, *kinds.first().unwrap_or(&last), &body)
}

const HBH: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;

// RFC 8200 §4: extension headers hide nothing from the policies.
#[test]
fn extension_headers_are_passed_over_or_refused() {
    let pair = Pair { v6: true, ..Pair::default() };
    let (mut a, mut b) = gates(&pair);
    let udp = ip6(HOST_A6, HOST_B6, 80)[40..].to_vec();
    for kinds in [&[HBH][..], &[OPTIONS], &[HBH, OPTIONS, 135], &[139, 140, 60, 60, 60, 60, 60, 60]] {
        let sent = chained(HOST_A6, HOST_B6, kinds, 17, &udp);
        let wire = a.receive(INSIDE, &sent).forwarded(WAN).to_vec();
        assert_eq!(b.receive(WAN, &wire).forwarded(INSIDE), arrived(&sent));
        a.receive(WAN, &chained(HOST_B6, HOST_A6, kinds, 17, &udp)).lost(Drop::PlainOnProtected);
    }
    let long = [OPTIONS; 9];
    a.receive(INSIDE, &chained(HOST_A6, HOST_B6, &long, 17, &udp)).lost(Drop::BadExtension);
    let beyond = {
        let mut bytes = chained(HOST_A6, HOST_B6, &[OPTIONS], 17, &udp);
        bytes[41] = 200; // longer than the packet
        bytes
    };
    a.receive(INSIDE, &beyond).lost(Drop::BadExtension);
    let cut = packet6(HOST_A6, HOST_B6, OPTIONS, &[17, 0, 1, 4, 0]);
    a.receive(INSIDE, &cut[..]).lost(Drop::BadExtension);
    let jumbo = packet6(HOST_A6, HOST_B6, HBH, &[]);
    a.receive(INSIDE, &jumbo).lost(Drop::BadExtension);
    // A source route (RFC 5095) that still has somewhere to go; one that was travelled, and another type, go on.
    let route = |kind: u8, left: u8| {
        let header = [[17, 2, kind, left, 0, 0, 0, 0].as_slice(), &HOST_B6.octets(), &udp].concat();
        packet6(HOST_A6, INTERNET6, ROUTING, &header)
    };
    a.receive(INSIDE, &route(0, 1)).lost(Drop::BadExtension);
    a.receive(INSIDE, &route(0, 0)).forwarded(WAN);
    a.receive(INSIDE, &route(2, 1)).forwarded(WAN);
}

/// A fragment of a packet with `next` behind the fragment header.
fn fragment(src: Ipv6Addr, dst: Ipv6Addr, next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [hi, lo] = (offset | u16::from(more)).to_be_bytes();
    let header = [&[next, 0, hi, lo, 0, 0, 0, 7][..], payload].concat();
    packet6(src, dst, FRAGMENT, &header)
}

// RFC 8200 §4.5: a packet is cut once. What claims to be a part of a part ends for that reason, at the gateway and on its
// way through it, whatever else stands between the two.
#[test]
fn a_part_of_a_part_is_refused() {
    let (mut a, _) = gates(&Pair { v6: true, ..Pair::default() });
    let part = |next: u8, more: bool| [next, 0, 0, u8::from(more), 0, 0, 0, 9];
    for protocol in [50, 51, 17] {
        for (outer, inner) in [(false, false), (true, false), (false, true), (true, true)] {
            let payload = [0u8, 0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            let next_to = [&part(44, outer)[..], &part(protocol, inner), &payload].concat();
            let apart =
                [&part(60, outer)[..], &[44, 0, 1, 4, 0, 0, 0, 0], &part(protocol, inner), &payload].concat();
            for body in [next_to, apart] {
                a.receive(WAN, &packet6(WAN_B6, WAN_A6, FRAGMENT, &body)).lost(Drop::BadExtension);
                a.receive(INSIDE, &packet6(HOST_A6, INTERNET6, FRAGMENT, &body)).lost(Drop::BadExtension);
            }
        }
    }
    assert_eq!(a.held(), 0);
}

#[test]
fn fragments_of_ipv6_are_carried_where_addresses_decide() {
    let pair = Pair { v6: true, ..Pair::default() };
    let (mut a, mut b) = gates(&pair);
    let udp = ip6(HOST_A6, HOST_B6, 80)[40..].to_vec();
    for (offset, more) in [(0, true), (1200, true), (2400, false), (0, false)] {
        let sent = fragment(HOST_A6, HOST_B6, 17, offset, more, &udp);
        let wire = a.receive(INSIDE, &sent).forwarded(WAN).to_vec();
        assert_eq!(b.receive(WAN, &wire).forwarded(INSIDE), arrived(&sent));
    }
    // Which protocol it carries, nobody can tell.
    a.receive(INSIDE, &fragment(HOST_A6, HOST_B6, OPTIONS, 1200, false, &udp)).lost(Drop::Fragment);
    // Where ports decide, hidden ones do not pass.
    let mut web = selector("2001:db8:1::/64", "2001:db8:9::/64");
    (web.protocol, web.remote_ports) = (Some(17), ravelin_wire::PortRange::new(80, 80).unwrap());
    let action = Action::Discard;
    a.set(TableCommand::AddPolicy(Policy { order: 1, selector: web, action, hold: false, line: 0 }));
    a.commit();
    a.receive(INSIDE, &fragment(HOST_A6, INTERNET6, 17, 0, true, &udp)).forwarded(WAN);
    a.receive(INSIDE, &fragment(HOST_A6, INTERNET6, 17, 1200, false, &udp)).lost(Drop::Fragment);
    // Outer fragments: one of a length that no first one has, and one that is the whole packet (RFC 6946).
    let wire = a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, 80)).forwarded(WAN).to_vec();
    b.receive(WAN, &fragment(WAN_A6, WAN_B6, 50, 0, true, &wire[40..])).lost(Drop::Malformed);
    b.receive(WAN, &fragment(WAN_A6, WAN_B6, 50, 0, false, &wire[40..])).forwarded(INSIDE);
}

// RFC 4291 §2.5, RFC 4301 §4.4.1: what no router forwards, and lengths that lie.
#[test]
fn unlawful_packets_have_their_reasons() {
    let (mut a, _) = gates(&Pair::default());
    let at = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    for (src, dst, why) in [
        ("::", "2001:db8:2::10", Drop::BadAddress),
        ("::1", "2001:db8:2::10", Drop::BadAddress),
        ("fe80::5", "2001:db8:2::10", Drop::BadAddress),
        ("ff02::1", "2001:db8:2::10", Drop::BadAddress),
        ("::ffff:10.1.0.10", "2001:db8:2::10", Drop::BadAddress),
        ("2001:db8:1::10", "fe80::5", Drop::BadAddress),
        ("2001:db8:1::10", "::1", Drop::BadAddress),
        ("2001:db8:1::10", "::ffff:10.2.0.10", Drop::BadAddress),
        ("2001:db8:1::10", "ff0e::1", Drop::MulticastPolicyMode),
    ] {
        a.receive(INSIDE, &ip6(at(src), at(dst), 80)).lost(why);
    }
    let good = ip6(HOST_A6, HOST_B6, 80);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = ether(&good);
        change(&mut bytes);
        bytes
    };
    for (frame, why) in [
        (with(&|b| b.truncate(14)), Drop::Malformed),
        (with(&|b| b.truncate(53)), Drop::Malformed),
        (with(&|b| b.truncate(93)), Drop::BadIpLength),
        (with(&|b| b[14] = 0x45), Drop::BadIpVersion),
        (with(&|b| b[14] = 0x75), Drop::BadIpVersion),
        (with(&|b| b[19] = 41), Drop::BadIpLength),
    ] {
        let before = a.dropped(why);
        a.one(Origin::Port(INSIDE), frame).lost(why);
        assert_eq!(a.dropped(why), before + 1);
    }
    // Link padding is no part of the packet.
    let padded = with(&|b| b.extend([0xaa; 20]));
    let wire = a.one(Origin::Port(INSIDE), padded);
    let clean = a.receive(INSIDE, &good);
    assert_eq!(wire.bytes.len(), clean.bytes.len());
    a.one(Origin::Tun, ip6(GATE_A6, GATE_A6, 80)).lost(Drop::BadAddress);
}

fn origin() -> impl Strategy<Value = Origin> {
    let door = prop_oneof![Just(Door::Port(INSIDE)), Just(Door::Port(WAN)), Just(Door::Tun), Just(Door::Sa)];
    prop_oneof![
        3 => Just(Origin::Port(INSIDE)),
        3 => Just(Origin::Port(WAN)),
        1 => Just(Origin::Tun),
        1 => (door, 0u8..6).prop_map(|(door, hops)| Origin::HandedIn { door, hops, bounds: Bounds::NONE }),
    ]
}

prop_compose! {
    /// From lawful to absurd: any chain of headers between addresses that mean something, then a few bytes changed.
    fn frame()(kind in 0u8..5, origin in origin(), src in 0usize..7, dst in 0usize..7,
               kinds in proptest::collection::vec(prop_oneof![Just(HBH), Just(ROUTING), Just(FRAGMENT), Just(OPTIONS), any::<u8>()], 0..11),
               last in prop_oneof![Just(17u8), Just(50), Just(58), Just(59), any::<u8>()], hops in 0u8..4,
               spi in prop_oneof![Just(0x1000u32), Just(0x1002), any::<u32>()], len in 0usize..1300, natt: bool,
               noise in proptest::collection::vec((0usize..1600, any::<u8>()), 0..6), cut in 0usize..3000)
               -> (Origin, Vec<u8>) {
        let places = [HOST_A6, HOST_B6, GATE_A6, GATE_B6, WAN_A6, WAN_B6, INTERNET6];
        let mut payload: Vec<u8> = (0..len).map(|i| (i * 29 % 251) as u8).collect();
        let at = if natt { 8 } else { 0 };
        if natt && len >= 12 {
            payload[2..4].copy_from_slice(&4500u16.to_be_bytes());
            payload[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        }
        if len >= at + 4 {
            payload[at..at + 4].copy_from_slice(&spi.to_be_bytes());
        }
        let mut bytes = chained(places[src], places[dst], if kind == 0 { &[] } else { &kinds }, last, &payload);
        bytes[7] = hops;
        for (at, b) in noise {
            if kind > 2 && let Some(slot) = bytes.get_mut(at) { *slot = b; }
        }
        if kind == 4 { bytes.truncate(cut); }
        (origin, if matches!(origin, Origin::Port(_)) { ether(&bytes) } else { bytes })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    // R303, R307: any bytes in, one verdict each, nothing lost; nothing that a policy protects leaves in clear.
    #[test]
    fn any_frames_end_in_one_verdict(frames in proptest::collection::vec(frame(), 1..48), up: bool, v6: bool) {
        let (mut a, _) = gates(&Pair { v6, ..Pair::default() });
        if !up {
            a.command(|token| WorkerCommand::StopOutbound { token, tunnel: TUNNEL });
        }
        for out in a.run(&frames) {
            if let Verdict::Forward { .. } = out.verdict
                && let Ok(ip) = Ipv6::parse(&out.bytes[14..])
                && (ip.src(), ip.dst()) != (WAN_A6, WAN_B6)
            {
                let within = |x: Ipv6Addr, net: u16| x.segments()[..4] == [0x2001, 0xdb8, net, 0];
                prop_assert!(!(within(ip.src(), 1) && within(ip.dst(), 2)));
            }
        }
    }
}

/// A packet as its source cuts it (RFC 8200 §4.5), with these headers before the fragment header.
fn cut6(packet: &[u8], before: &[u8], first: u8, mtu: usize, id: u32) -> Vec<Vec<u8>> {
    let ip = Ipv6::parse(packet).unwrap();
    let each = (mtu - 40 - before.len() - 8) & !7;
    let chunks: Vec<&[u8]> = ip.payload().chunks(each).collect();
    let part = |(n, chunk): (usize, &&[u8])| {
        let [o0, o1] = ((n * each) as u16 | u16::from(n + 1 < chunks.len())).to_be_bytes();
        let head = [&[ip.next_header(), 0, o0, o1][..], &id.to_be_bytes()].concat();
        packet6(ip.src(), ip.dst(), first, &[before, &head, chunk].concat())
    };
    chunks.iter().enumerate().map(part).collect()
}

// R158, RFC 8200 §4.5, RFC 5722, RFC 6946: outer fragments of ESP, plain and in UDP, joined before decryption, in any order where
// all say that they are ESP, with the first ahead where only that says it; overlaps and atomic ones.
#[test]
fn outer_fragments_between_ipv6_gateways_are_joined() {
    let options = [44, 0, 5, 2, 0, 0, 1, 0];
    for udp in [false, true] {
        let pair = Pair { v6: true, udp, ..Pair::default() };
        let (mut a, mut b) = gates(&pair);
        for (id, (before, first)) in [(&[][..], 44), (&options, 0)].into_iter().enumerate() {
            let sent = ip6(HOST_A6, HOST_B6, 1300);
            let mut wire = || a.receive(INSIDE, &sent).forwarded(WAN).to_vec();
            let mut parts = cut6(&wire(), before, first, 576, id as u32);
            assert_eq!(parts.len(), 3);
            for part in &parts[..2] {
                assert_eq!(b.receive(WAN, part).verdict, Verdict::Held);
            }
            b.receive(WAN, &parts[1]).lost(Drop::FragmentDuplicate);
            assert_eq!(b.receive(WAN, &parts[2]).forwarded(INSIDE), arrived(&sent));
            // In one batch, the last ones in another order.
            parts = cut6(&wire(), before, first, 576, 100 + id as u32);
            let order = if udp { [0, 2, 1] } else { [2, 1, 0] };
            let frames: Vec<_> = order.iter().map(|n| (Origin::Port(WAN), ether(&parts[*n]))).collect();
            let out = b.run(&frames);
            assert_eq!((out[0].verdict, out[1].verdict), (Verdict::Held, Verdict::Held));
            assert_eq!(out[2].forwarded(INSIDE), arrived(&sent));
            // One that is whole.
            let whole = cut6(&wire(), before, first, 1500, 7);
            assert_eq!(whole.len(), 1);
            assert_eq!(b.receive(WAN, &whole[0]).forwarded(INSIDE), arrived(&sent));
            // One that lies over another, and then nothing of that datagram any more.
            parts = cut6(&wire(), before, first, 576, 200 + id as u32);
            b.receive(WAN, &parts[0]);
            let mut over = parts[1].clone();
            over[40 + before.len() + 3] -= 8;
            b.receive(WAN, &over).lost(Drop::FragmentOverlap);
            b.receive(WAN, &parts[1]).lost(Drop::FragmentOverlap);
        }
        assert_eq!(b.held(), 0);
    }
}

// R158: later fragments in UDP whose first is not here are whatever policy says, and IKE's first ones are the kernel's.
#[test]
fn fragments_in_udp_of_others_are_left_alone() {
    let (mut a, mut b) = gates(&Pair { v6: true, udp: true, ..Pair::default() });
    let wire = a.receive(INSIDE, &ip6(HOST_A6, HOST_B6, 1300)).forwarded(WAN).to_vec();
    let parts = cut6(&wire, &[], 44, 576, 1);
    let before = b.receive(WAN, &parts[1]);
    assert_eq!((before.verdict, &before.bytes), (Verdict::Punt, &parts[1]), "as any packet to this host");
    let mut ike = wire;
    ike[48..52].fill(0);
    for part in cut6(&ike, &[], 44, 576, 2) {
        let out = b.receive(WAN, &part);
        assert_eq!((out.verdict, &out.bytes), (Verdict::Punt, &part));
    }
    assert_eq!(b.held(), 0);
}

// R158: the same over IPv4, where the kernel cuts the datagrams of a socket, and routers do.
#[test]
fn fragments_of_esp_in_udp_are_joined_over_ipv4() {
    for port in [4500, 4565] {
        let pair = Pair { udp: true, ..Pair::default() };
        let (mut a, mut b) = gates(&pair);
        b.take_udp_at(4565);
        let sent = edit(ip(HOST_A, HOST_B, 1400), |ip| ip.set_df(false));
        let mut wire = edit(a.receive(INSIDE, &sent).forwarded(WAN).to_vec(), |ip| ip.set_df(false));
        wire[22..24].copy_from_slice(&u16::to_be_bytes(port));
        let part = |from: usize, to: usize| {
            let bytes = [&wire[..20], &wire[20 + from..20 + to]].concat();
            let len = bytes.len() as u16;
            let mut bytes = bytes;
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            edit(bytes, |ip| {
                ip.set_fragment(from as u16, 20 + to < wire.len());
                ip.fill_checksum();
            })
        };
        let (first, middle, last) = (part(0, 800), part(800, 1400), part(1400, wire.len() - 20));
        assert_eq!(b.receive(WAN, &last).verdict, Verdict::Punt, "before its first");
        assert_eq!(b.receive(WAN, &first).verdict, Verdict::Held);
        assert_eq!(b.receive(WAN, &last).verdict, Verdict::Held);
        assert_eq!(b.receive(WAN, &middle).forwarded(INSIDE), edit(sent, |ip| ip.set_ttl(62)));
        assert_eq!(b.held(), 0);
    }
}
