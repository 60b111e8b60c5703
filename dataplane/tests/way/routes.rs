//! Whole ways by route-based tunnels: the routes decide, and nothing but the tunnel behind the device takes what they send.

use crate::rig::*;
use ravelin_dataplane::{Bounds, Door, Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use ravelin_ring::setup::ReversePath;
use ravelin_wire::ipv4::Ipv4;
use ravelin_wire::{Prefix, icmp};
use std::net::{Ipv4Addr, Ipv6Addr};

const DEVICE: InterfaceId = InterfaceId(3);
const OTHER: InterfaceId = InterfaceId(4);
const NEXT: TunnelId = TunnelId(8);
/// The link that the tunnel is.
const LINK_A: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const LINK_B: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const OSPF: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

fn interface(id: InterfaceId, tunnel: TunnelId, reverse_path: ReversePath) -> Interface {
    let name = InterfaceName::new(if id == DEVICE { "tun-a" } else { "tun-b" }).unwrap();
    Interface { id, name, behind: Behind::Tunnel { tunnel, hold: false }, reverse_path }
}

fn host(a: Ipv4Addr) -> Prefix {
    Prefix::new(a.into(), 32).unwrap()
}

/// No policies: two devices, everything of the other side behind the first, 10.9.0.0/24 behind the second.
fn route(gate: &mut Gate, is_a: bool, reverse_path: ReversePath) {
    gate.set(TableCommand::ClearPolicies);
    gate.set(TableCommand::AddInterface(interface(DEVICE, TUNNEL, reverse_path)));
    gate.set(TableCommand::AddInterface(interface(OTHER, NEXT, reverse_path)));
    let (far, far6, own) = if is_a {
        ("10.2.0.0/16", "2001:db8:2::/64", LINK_A)
    } else {
        ("10.1.0.0/16", "2001:db8:1::/64", LINK_B)
    };
    for (prefix, next_hop) in [
        (prefix(far), NextHop::Interface(DEVICE)),
        (prefix(far6), NextHop::Interface(DEVICE)),
        (prefix("172.16.0.0/30"), NextHop::Interface(DEVICE)),
        (prefix("10.9.0.0/24"), NextHop::Interface(OTHER)),
        (host(own), NextHop::Local),
    ] {
        gate.set(TableCommand::AddRoute(Route { prefix, next_hop }));
    }
    gate.commit();
}

/// A and B with a tunnel that carries anything.
fn routed(pair: Pair, reverse_path: ReversePath) -> (Gate, Gate, Pair) {
    let all = vec![selector("0.0.0.0/0", "0.0.0.0/0"), selector("::/0", "::/0")];
    let pair = Pair { selectors: all, ..pair };
    let (mut a, mut b) = (Gate::new(true), Gate::new(false));
    for (gate, is_a) in [(&mut a, true), (&mut b, false)] {
        route(gate, is_a, reverse_path);
        gate.install(&pair);
        gate.use_pair(&pair);
    }
    (a, b, pair)
}

fn strict() -> (Gate, Gate) {
    let (a, b, _) = routed(Pair::default(), ReversePath::Strict);
    (a, b)
}

fn over(b: &mut Gate, out: &Out) -> Out {
    assert_eq!(out.verdict, Verdict::Forward { port: WAN });
    b.one(Origin::Port(WAN), out.bytes.clone())
}

fn tunnelled(out: &Out) {
    assert_eq!(Ipv4::parse(out.forwarded(WAN)).unwrap().protocol(), 50);
}

// R60, R61: what the routes send into the device goes by its tunnel, from host to host, without the kernel; each packet
// of a flow as its first.
#[test]
fn routes_send_into_the_tunnel_and_out_of_it() {
    let (mut a, mut b) = strict();
    for n in 0..5 {
        for (there, back) in [
            (ip(HOST_A, HOST_B, 100), ip(HOST_B, HOST_A, 1000)),
            (ip6(HOST_A6, HOST_B6, 100), ip6(HOST_B6, HOST_A6, 700)),
        ] {
            let out = a.receive(INSIDE, &there);
            tunnelled(&out);
            let arrived = over(&mut b, &out);
            assert_eq!(arrived.forwarded(INSIDE).len(), there.len(), "{n}");
            let out = b.receive(INSIDE, &back);
            let arrived = over(&mut a, &out);
            assert_eq!(arrived.forwarded(INSIDE).len(), back.len());
        }
    }
    assert_eq!(a.worker.stats().get(Counter::Punted), 0);
}

// R60: 224.0.0.5 and 239.x pass, with a TTL of 1, out of the kernel at one side and into the kernel at the other, by the
// same device; so does what is for the ends of the link.
#[test]
fn routers_speak_over_the_tunnel() {
    let (mut a, mut b) = strict();
    let hello = edit(ip(LINK_A, OSPF, 80), |ip| {
        ip.set_ttl(1);
        ip.set_protocol(89);
    });
    let link_local: (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "ff02::5".parse().unwrap());
    for bytes in [
        hello,
        ip(LINK_A, GROUP, 500),
        ip(LINK_A, LINK_B, 60),
        ip(LINK_A, Ipv4Addr::BROADCAST, 60),
        packet6(link_local.0, link_local.1, 89, &[0; 40]),
        packet6(link_local.0, "fe80::2".parse().unwrap(), 89, &[0; 40]),
    ] {
        let out = a.one(Origin::Device(DEVICE), bytes.clone());
        tunnelled(&out);
        let arrived = over(&mut b, &out);
        assert_eq!(arrived.verdict, Verdict::Deliver { interface: DEVICE });
        assert_eq!(arrived.bytes, bytes, "as it was sent");
    }
}

// R65: in policy mode, and by a port, they do not pass.
#[test]
fn multicast_passes_by_no_other_way() {
    let (mut a, mut b) =
        gates(&Pair { selectors: vec![selector("0.0.0.0/0", "0.0.0.0/0")], ..Pair::default() });
    a.receive(INSIDE, &ip(HOST_A, GROUP, 100)).lost(Drop::MulticastPolicyMode);
    a.one(Origin::Tun, ip(GATE_A, OSPF, 100)).lost(Drop::MulticastPolicyMode);
    let (mut routed, _) = strict();
    routed.receive(INSIDE, &ip(HOST_A, GROUP, 100)).lost(Drop::MulticastPolicyMode);
    let out = routed.one(Origin::Device(DEVICE), ip(GATE_A, GROUP, 100));
    over(&mut b, &out).lost(Drop::MulticastPolicyMode);
    routed.one(Origin::Device(DEVICE), ip(Ipv4Addr::LOCALHOST, GROUP, 100)).lost(Drop::BadAddress);
}

// R60: the kernel's own packets, and what it forwards, leave by the tunnel of the device they were sent into, whatever
// routes and policies say.
#[test]
fn the_device_decides_for_what_the_kernel_sends() {
    let (mut a, mut b) = strict();
    let out = a.one(Origin::Device(DEVICE), ip(LINK_A, HOST_B, 100));
    tunnelled(&out);
    assert_eq!(
        Ipv4::parse(over(&mut b, &out).forwarded(INSIDE)).unwrap().ttl(),
        63,
        "A's kernel counted for itself"
    );
    // Routes know nobody there; the tunnel does.
    tunnelled(&a.one(Origin::Device(DEVICE), ip(LINK_A, Ipv4Addr::new(9, 9, 9, 9), 100)));
    // Its own tunnel, which is down, and no other.
    a.one(Origin::Device(OTHER), ip(LINK_A, HOST_B, 100)).lost(Drop::NoOutboundSa);
    a.one(Origin::Device(InterfaceId(9)), ip(LINK_A, HOST_B, 100)).lost(Drop::NoRoute);
}

// R62: what is for the gateway itself comes by the device that it came for; its own traffic elsewhere is not touched.
#[test]
fn the_gateways_own_packets_come_by_the_device() {
    let (mut a, mut b) = strict();
    let out = a.receive(INSIDE, &ip(HOST_A, GATE_B, 100));
    assert_eq!(over(&mut b, &out).verdict, Verdict::Deliver { interface: DEVICE });
    let out = a.receive(INSIDE, &ip(HOST_A, LINK_B, 100));
    assert_eq!(over(&mut b, &out).verdict, Verdict::Deliver { interface: DEVICE });
    assert_eq!(a.receive(INSIDE, &ip(HOST_A, GATE_A, 100)).verdict, Verdict::Punt);
    a.receive(INSIDE, &ip(HOST_A, INTERNET, 100)).forwarded(WAN);
}

// R307: while the tunnel is down, and when it is gone, its routes lead nowhere; nothing leaves in clear.
#[test]
fn a_tunnel_that_is_down_takes_its_routes_with_it() {
    let (mut a, _) = strict();
    a.receive(INSIDE, &ip(HOST_A, Ipv4Addr::new(10, 9, 0, 1), 100)).lost(Drop::NoOutboundSa);
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN);
    assert_eq!(a.command(|token| WorkerCommand::StopOutbound { token, tunnel: TUNNEL }), Outcome::Ok);
    for _ in 0..3 {
        a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).lost(Drop::NoOutboundSa);
    }
    a.set(TableCommand::ClearInterfaces);
    a.commit();
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).lost(Drop::NoRoute);
    a.one(Origin::Device(DEVICE), ip(LINK_A, HOST_B, 100)).lost(Drop::NoRoute);
}

#[test]
fn an_acquire_names_the_tunnel_behind_the_device() {
    let (mut a, _) = strict();
    a.events();
    a.receive(INSIDE, &ip(HOST_A, Ipv4Addr::new(10, 9, 0, 1), 100)).lost(Drop::NoOutboundSa);
    let asks = |e: &WorkerEvent| matches!(e, WorkerEvent::Acquire { tunnel: NEXT, .. });
    assert!(a.events().iter().any(asks));
}

// RFC 3704: out of a tunnel comes what a route leads into it for, and in clear nothing does, whatever the port's rule.
#[test]
fn sources_are_looked_for_behind_the_device() {
    for rule in [ReversePath::Strict, ReversePath::Loose] {
        let (mut a, mut b, _) = routed(Pair::default(), rule);
        let from = |src: Ipv4Addr| ip(src, HOST_B, 100);
        for (src, strict) in [(INTERNET, Drop::ReversePath), (Ipv4Addr::new(10, 9, 0, 7), Drop::ReversePath)]
        {
            let out = a.one(Origin::Device(DEVICE), from(src));
            let arrived = over(&mut b, &out);
            match rule {
                ReversePath::Strict => arrived.lost(strict),
                _ => assert_eq!(arrived.verdict, Verdict::Forward { port: INSIDE }),
            }
        }
        // Nobody, and this host itself, are behind no tunnel.
        for src in [Ipv4Addr::new(8, 8, 8, 8), GATE_B] {
            let out = a.one(Origin::Device(DEVICE), from(src));
            over(&mut b, &out).lost(Drop::ReversePath);
        }
    }
    for rule in [ReversePath::Strict, ReversePath::Loose] {
        let mut b = Gate::new(false);
        b.reverse_path(rule);
        route(&mut b, false, ReversePath::Strict);
        b.receive(WAN, &ip(HOST_A, HOST_B, 100)).lost(Drop::ReversePath);
    }
}

// RFC 4301 §5.2: selectors narrower than everything hold for a route-based tunnel too, and the route does not go around.
#[test]
fn narrow_selectors_bound_the_routes() {
    let (mut a, mut b) = (Gate::new(true), Gate::new(false));
    let pair = Pair { selectors: vec![selector("10.1.0.0/24", "10.2.0.0/24")], ..Pair::default() };
    for (gate, is_a) in [(&mut a, true), (&mut b, false)] {
        route(gate, is_a, ReversePath::Strict);
        gate.install(&pair);
        gate.use_pair(&pair);
    }
    let out = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100));
    over(&mut b, &out).forwarded(INSIDE);
    a.receive(INSIDE, &ip(HOST_A, Ipv4Addr::new(10, 2, 5, 1), 100)).lost(Drop::SelectorMismatch);
    a.one(Origin::Device(DEVICE), ip(LINK_A, OSPF, 100)).lost(Drop::SelectorMismatch);
}

// R63: policies of other tunnels go before routes, and the default for what no tunnel covers is not asked about routes.
#[test]
fn policies_of_other_tunnels_go_before_routes() {
    let (mut a, mut b) = strict();
    let policy = |order, selector, action| {
        TableCommand::AddPolicy(Policy { order, selector, action, hold: false, line: 0 })
    };
    for gate in [&mut a, &mut b] {
        gate.set(policy(900, selector("0.0.0.0/0", "0.0.0.0/0"), Action::Discard));
        gate.commit();
    }
    let out = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100));
    over(&mut b, &out).forwarded(INSIDE);
    a.receive(INSIDE, &ip(HOST_A, INTERNET, 100)).lost(Drop::PolicyDiscard);
    a.set(policy(10, selector("10.1.0.0/24", "10.2.0.0/28"), Action::Protect(NEXT)));
    a.commit();
    a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).lost(Drop::NoOutboundSa);
    a.receive(INSIDE, &ip(HOST_A, Ipv4Addr::new(10, 2, 0, 77), 100)).forwarded(WAN);
    a.receive(WAN, &ip(HOST_B, HOST_A, 100)).lost(Drop::PlainOnProtected);
}

// R84, R89: too large for the tunnel: the sender is told, through the tunnel where it is behind it.
#[test]
fn what_is_too_large_is_answered_on_its_way_back() {
    let (mut a, _, _) = routed(Pair { tunnel_mtu: 1000, ..Pair::default() }, ReversePath::Strict);
    let out = a.run(&[(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 1400)))]);
    out[0].lost(Drop::TooBig);
    let error = Ipv4::parse(out[1].forwarded(INSIDE)).unwrap();
    assert_eq!((error.src(), error.dst(), error.protocol()), (GATE_A, HOST_A, 1));
    assert!(icmp::Icmp::parse(error.payload()).unwrap().is_error());
    let (mut a, mut b) = strict();
    let old = edit(ip(LINK_A, HOST_B, 100), |ip| ip.set_ttl(1));
    let arrived = a.one(Origin::Device(DEVICE), old);
    let out = b.run(&[(Origin::Port(WAN), arrived.bytes)]);
    out[0].lost(Drop::TtlExpired);
    assert_eq!(Ipv4::parse(out[1].forwarded(WAN)).unwrap().protocol(), 50, "protected, as what it speaks of");
}

// A packet that changes workers keeps its door: the other worker's tables lead it into the same tunnel.
#[test]
fn a_packet_keeps_its_device_at_another_worker() {
    let (_, mut b) = strict();
    let all = vec![selector("0.0.0.0/0", "0.0.0.0/0"), selector("::/0", "::/0")];
    let pair = Pair { selectors: all, ..Pair::default() };
    let mut a = Gate::with_workers(true, 0, 2);
    route(&mut a, true, ReversePath::Strict);
    a.install(&pair);
    let elsewhere = WorkerId(1);
    let (sa, theirs) = (SaId(11), SaId(99));
    assert_eq!(
        a.command(|token| WorkerCommand::UseOutbound { token, tunnel: TUNNEL, sa: theirs, owner: elsewhere }),
        Outcome::Ok
    );
    let out = a.one(Origin::Device(DEVICE), ip(LINK_A, OSPF, 100));
    assert_eq!(out.verdict, Verdict::HandOff { worker: elsewhere });
    assert_eq!(out.origin, Origin::HandedIn { door: Door::Device(DEVICE), hops: 1, bounds: Bounds::NONE });
    // The other worker has the SA; here it stands for itself.
    assert_eq!(
        a.command(|token| WorkerCommand::UseOutbound { token, tunnel: TUNNEL, sa, owner: WorkerId(0) }),
        Outcome::Ok
    );
    let out = a.one(out.origin, out.bytes);
    assert_eq!(over(&mut b, &out).verdict, Verdict::Deliver { interface: DEVICE });
}

// A new route, and one that is gone, hold for flows that are known.
#[test]
fn flows_follow_the_routes() {
    let (mut a, mut b) = strict();
    let to: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
    let neighbour = Neighbour { port: WAN, addr: WAN_B.into(), mac: mac(20) };
    a.set(TableCommand::SetNeighbour(neighbour));
    let into = Route { prefix: host(to), next_hop: NextHop::Interface(DEVICE) };
    for _ in 0..2 {
        for _ in 0..3 {
            assert_eq!(
                Ipv4::parse(a.receive(INSIDE, &ip(HOST_A, to, 100)).forwarded(WAN)).unwrap().protocol(),
                17
            );
        }
        a.set(TableCommand::AddRoute(into));
        a.commit();
        for _ in 0..3 {
            let out = a.receive(INSIDE, &ip(HOST_A, to, 100));
            tunnelled(&out);
            assert_eq!(over(&mut b, &out).verdict, Verdict::Forward { port: WAN });
        }
        a.set(TableCommand::RemoveRoute(into));
        a.commit();
    }
}

// R62: of a default route into a tunnel, XDP leaves the host's own addresses and networks and multicast to the kernel.
#[test]
fn a_default_route_into_a_tunnel_steers_all_but_what_is_ours() {
    let (mut a, _) = strict();
    let (steered, exempt) = a.store.routed_ranges();
    assert!(steered.contains(&prefix("10.2.0.0/16")) && steered.contains(&prefix("2001:db8:2::/64")));
    assert_eq!(exempt, [host(LINK_A)]);
    for all in ["0.0.0.0/0", "::/0"] {
        a.set(TableCommand::AddRoute(Route { prefix: prefix(all), next_hop: NextHop::Interface(DEVICE) }));
    }
    let (_, exempt) = a.store.routed_ranges();
    for ours in ["10.1.0.0/24", "198.18.0.0/24", "10.1.0.1/32", "224.0.0.0/4", "ff00::/8", "fe80::1/128"] {
        assert!(exempt.contains(&prefix(ours)), "{ours}");
    }
    for not in ["203.0.113.0/24", "10.2.0.0/16", "192.0.3.0/24"] {
        assert!(!exempt.contains(&prefix(not)), "{not}");
    }
}
