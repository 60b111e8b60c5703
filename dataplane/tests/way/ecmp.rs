//! Several next hops of one route: each flow keeps its own, a tunnel is one flow (R59).

use crate::rig::*;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::counters::Drop;
use ravelin_ring::inspect;
use ravelin_ring::msg::*;
use ravelin_wire::ipv4::Ipv4Header;
use std::net::{Ipv4Addr, Ipv6Addr};

fn egress(out: &Out) -> PortId {
    match out.verdict {
        Verdict::Forward { port } => {
            assert_eq!(out.bytes[6..12], mac(if port == WAN { 2 } else { 3 }));
            assert_eq!(out.bytes[..6], mac(if port == WAN { 20 } else { 30 }));
            port
        }
        other => panic!("{other:?}"),
    }
}

fn internet(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, n)
}

fn by_host(a: &mut Gate) -> Vec<PortId> {
    (1..=200).map(|n| egress(&a.receive(INSIDE, &ip(HOST_A, internet(n), 100)))).collect()
}

fn by_port(a: &mut Gate) -> Vec<PortId> {
    let from = |n: u8| {
        let mut bytes = ip(HOST_A, INTERNET, 100);
        bytes[21] = n;
        bytes
    };
    (0..64).map(|n| egress(&a.receive(INSIDE, &from(n)))).collect()
}

fn six(a: &mut Gate) -> Vec<PortId> {
    let to = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, n);
    (1..=100).map(|n| egress(&a.receive(INSIDE, &ip6(HOST_A6, to(n), 100)))).collect()
}

fn shared(ports: &[PortId]) -> bool {
    let first = ports.iter().filter(|port| **port == WAN).count();
    (ports.len() * 3 / 10..ports.len() * 7 / 10).contains(&first)
}

// RFC 2991 §3: in order of a flow; where a link goes, its flows alone move, and come back with it.
#[test]
fn a_flow_keeps_its_link() {
    let mut a = Gate::new(true);
    a.second_uplink();
    for flows in [by_host, by_port, six] {
        let before = flows(&mut a);
        assert!(shared(&before), "{before:?}");
        assert_eq!(flows(&mut a), before, "known flows");
        a.worker.without_flows();
        assert_eq!(flows(&mut a), before, "decided about one by one");
        for (gone, left) in [(WAN2, WAN), (WAN, WAN2)] {
            a.uplink(gone, false);
            assert!(flows(&mut a).iter().all(|port| *port == left));
            a.uplink(gone, true);
            assert_eq!(flows(&mut a), before);
        }
    }
    // With both down nothing goes.
    a.uplink(WAN, false);
    a.uplink(WAN2, false);
    a.receive(INSIDE, &ip(HOST_A, INTERNET, 100)).lost(Drop::PortDown);
}

// A packet that came in parts leaves by one link, whichever part names its ports.
#[test]
fn fragments_keep_together() {
    let mut a = Gate::new(true);
    a.second_uplink();
    let part = |n: u8, offset: u16| {
        packet(Ipv4Header {
            tos: 0,
            total_len: 84,
            id: 7,
            df: false,
            mf: offset == 0,
            fragment_offset: offset,
            ttl: 64,
            protocol: 17,
            src: HOST_A,
            dst: internet(n),
        })
    };
    let first: Vec<_> = (1..=60).map(|n| egress(&a.receive(INSIDE, &part(n, 0)))).collect();
    let later: Vec<_> = (1..=60).map(|n| egress(&a.receive(INSIDE, &part(n, 64)))).collect();
    assert_eq!(first, later);
    assert!(shared(&first));
}

// R59: a tunnel leaves by one link, whatever it carries and through its rekeys; after the loss of that link by the other.
#[test]
fn a_tunnel_keeps_its_link() {
    let (mut a, mut b) = gates(&Pair::default());
    a.second_uplink();
    let router = Some(Ipv4Addr::new(198, 19, 0, 2).into());
    for next_hop in
        [NextHop::Port { port: WAN, gateway: None }, NextHop::Port { port: WAN2, gateway: router }]
    {
        a.set(TableCommand::AddRoute(Route { prefix: prefix("198.18.0.2/32"), next_hop }));
    }
    a.commit();
    let pass = |a: &mut Gate, b: &mut Gate| {
        let used: Vec<PortId> = (0..20)
            .map(|n| {
                let out = a.receive(INSIDE, &ip(Ipv4Addr::new(10, 1, 0, 10 + n), HOST_B, 100));
                b.receive(WAN, &out.bytes[14..]).forwarded(INSIDE);
                egress(&out)
            })
            .collect();
        assert!(used.iter().all(|port| *port == used[0]), "{used:?}");
        used[0]
    };
    let taken = pass(&mut a, &mut b);
    let next = Pair { id: 2, spi: 0x2000, ..Pair::default() };
    for gate in [&mut a, &mut b] {
        gate.install(&next);
        gate.use_pair(&next);
    }
    assert_eq!(pass(&mut a, &mut b), taken, "after a rekey");
    a.uplink(taken, false);
    assert_ne!(pass(&mut a, &mut b), taken);
    a.uplink(taken, true);
    assert_eq!(pass(&mut a, &mut b), taken);
}

// RFC 3704: strict, and what may be answered by several ports may come by each of them.
#[test]
fn the_way_back_may_be_any_of_them() {
    let mut a = Gate::new(true);
    a.second_uplink();
    let from = |a: &mut Gate, port, own, source| {
        let mut frame = ether(&ip(source, HOST_A, 100));
        frame[..6].copy_from_slice(&mac(own));
        a.one(Origin::Port(port), frame).verdict
    };
    for (port, own) in [(WAN, 2), (WAN2, 3)] {
        assert_eq!(from(&mut a, port, own, INTERNET), Verdict::Forward { port: INSIDE });
    }
    assert_eq!(from(&mut a, INSIDE, 1, INTERNET), Verdict::Drop(Drop::ReversePath));
    assert_eq!(from(&mut a, WAN2, 3, WAN_B), Verdict::Drop(Drop::ReversePath), "one way leads to it");
}

// R304
#[test]
fn explaining_names_the_link() {
    let mut a = Gate::new(true);
    a.second_uplink();
    for n in 1..=40 {
        let frame = ether(&ip(HOST_A, internet(n), 100));
        let (step, _) = a.explain(Origin::Port(INSIDE), frame.clone());
        let port = egress(&a.one(Origin::Port(INSIDE), frame)).0;
        assert_eq!(step.verdict, inspect::Verdict::Forward { port });
        assert!(
            matches!(step.route, Some(inspect::Route::Port { port: p, .. }) if p == port),
            "{:?}",
            step.route
        );
    }
}
