#![allow(clippy::wildcard_enum_match_arm)] // a test expects one thing, all else is a failure

use super::*;

fn model() -> Model {
    let mut m = Model::new(vec!["lan0".into(), "wan0".into()], "ravelin0".into());
    for (index, name) in [(1, "lo"), (2, "lan0"), (3, "wan0"), (4, "mgmt0"), (5, "ravelin0")] {
        m.apply(Change::Link(link(index, name, true)));
    }
    m.difference();
    m
}

fn link(index: u32, name: &str, up: bool) -> Link {
    Link { index, name: name.into(), mac: [2, 0, 0, 0, 0, u8::try_from(index).unwrap()], mtu: 1500, up }
}

fn route(prefix: &str, table: Table, metric: u32, target: Target) -> KernelRoute {
    KernelRoute { prefix: prefix.parse().unwrap(), table, metric, targets: vec![target] }
}

fn device(index: u32, gateway: Option<&str>) -> Target {
    Target::Device { index, gateway: gateway.map(|g| g.parse().unwrap()) }
}

fn add(m: &mut Model, r: KernelRoute) {
    m.apply(Change::RouteAdded { route: r, replaces: false });
}

fn hop_told(m: &mut Model, r: KernelRoute) -> NextHop {
    add(m, r);
    match m.difference().as_slice() {
        [TableCommand::AddRoute(r)] => r.next_hop,
        other => panic!("expected one route, got {other:?}"),
    }
}

#[test]
fn every_kind_of_kernel_route_has_its_next_hop() {
    let mut m = model();
    let wan = NextHop::Port { port: PortId(1), gateway: None };
    let via = NextHop::Port { port: PortId(1), gateway: Some("198.18.0.2".parse().unwrap()) };
    for (r, expected) in [
        (route("198.18.0.0/24", Table::Main, 0, device(3, None)), wan),
        (route("10.2.0.0/24", Table::Main, 0, device(3, Some("198.18.0.2"))), via),
        (route("192.168.0.0/24", Table::Main, 0, device(4, None)), NextHop::Kernel),
        (route("10.9.0.0/24", Table::Main, 0, device(5, None)), NextHop::Tunnel),
        (route("10.1.0.1/32", Table::Local, 0, Target::Local), NextHop::Local),
        (route("10.8.0.0/24", Table::Main, 0, Target::Blackhole), NextHop::Blackhole),
    ] {
        assert_eq!(hop_told(&mut m, r), expected);
    }
}

#[test]
fn local_comes_before_main_and_the_lower_metric_before_the_higher() {
    let mut m = model();
    add(&mut m, route("10.0.0.1/32", Table::Main, 0, device(2, None)));
    add(&mut m, route("10.0.0.1/32", Table::Local, 500, Target::Local));
    add(&mut m, route("10.3.0.0/24", Table::Main, 100, device(2, None)));
    add(&mut m, route("10.3.0.0/24", Table::Main, 50, device(3, None)));
    let told = m.difference();
    let hops: Vec<_> = told
        .iter()
        .map(|c| match c {
            TableCommand::AddRoute(r) => r.next_hop,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(hops, [NextHop::Local, NextHop::Port { port: PortId(1), gateway: None }]);

    // The better one goes: the worse one takes over, by one removal and one addition.
    m.apply(Change::RouteGone(route("10.3.0.0/24", Table::Main, 50, device(3, None))));
    let told = m.difference();
    assert!(matches!(
        told.as_slice(),
        [
            TableCommand::RemoveRoute(_),
            TableCommand::AddRoute(Route { next_hop: NextHop::Port { port: PortId(0), .. }, .. })
        ]
    ));
}

#[test]
fn replacing_a_route_leaves_nothing_of_the_old_one() {
    let mut m = model();
    add(&mut m, route("10.3.0.0/24", Table::Main, 0, device(2, None)));
    m.difference();
    let new = route("10.3.0.0/24", Table::Main, 0, device(4, None));
    m.apply(Change::RouteAdded { route: new.clone(), replaces: true });
    assert_eq!(m.difference().len(), 2);
    m.apply(Change::RouteGone(new));
    assert!(
        matches!(m.difference().as_slice(), [TableCommand::RemoveRoute(r)] if r.next_hop == NextHop::Kernel)
    );
}

#[test]
fn of_a_multipath_route_the_hop_by_a_port_counts() {
    let mut m = model();
    let mut r = route("0.0.0.0/0", Table::Main, 0, device(4, Some("192.168.0.1")));
    r.targets.push(device(3, Some("198.18.0.2")));
    assert!(matches!(hop_told(&mut m, r), NextHop::Port { port: PortId(1), gateway: Some(_) }));
}

const MAIN: VrfId = VrfId::MAIN;

fn index(uplink: Uplink) -> u32 {
    match uplink {
        Uplink::Device(index) => index,
        Uplink::Any | Uplink::None => panic!("{uplink:?}"),
    }
}

// R68, R78: IKE of a VRF leaves by that VRF's route, and out of a device of it, or not at all.
#[test]
fn ike_of_a_vrf_leaves_there() {
    let (red, blue) = (VrfId(101), VrfId(102));
    let (local, peer) = ("198.18.0.1".parse().unwrap(), "198.18.0.2".parse().unwrap());
    let mut m = model();
    let members = [("lan0".to_owned(), red), ("wan0".to_owned(), blue)].into_iter().collect();
    m.name_vrfs(members, [red, blue].into_iter().collect());
    assert_eq!((m.vrf_of(2), m.vrf_of(3), m.vrf_of(77)), (red, blue, MAIN));
    add(&mut m, route("198.18.0.0/24", Table::Main, 0, device(3, None)));
    m.difference();
    assert_eq!(m.uplink(MAIN, local, peer), Uplink::None, "the port of the main table's route is blue's");
    assert_eq!(m.uplink(MAIN, local, "203.0.113.1".parse().unwrap()), Uplink::Any, "the kernel may know");
    assert_eq!(m.uplink(red, local, peer), Uplink::None, "the main table's route is none of its own");
    add(&mut m, route("198.18.0.0/24", Table::Vrf(red), 0, device(2, None)));
    add(&mut m, route("0.0.0.0/0", Table::Vrf(blue), 0, device(2, Some("10.1.0.9"))));
    m.difference();
    assert_eq!(m.uplink(red, local, peer), Uplink::Device(2));
    assert_eq!(m.uplink(blue, local, peer), Uplink::None, "that device is of another VRF");
    add(&mut m, route("198.18.0.2/32", Table::Vrf(blue), 0, device(3, None)));
    m.difference();
    assert_eq!(m.uplink(blue, local, peer), Uplink::Device(3));
    m.apply(Change::Link(link(3, "wan0", false)));
    m.difference();
    assert_eq!(m.uplink(blue, local, peer), Uplink::None);
    m.apply(Change::Link(link(3, "wan0", true)));
    m.name_vrfs([("lan0".to_owned(), red)].into_iter().collect(), [red].into_iter().collect());
    m.difference();
    assert_eq!(m.uplink(MAIN, local, peer), Uplink::Any, "the main one's again");
}

// R59: all next hops by ports are told; IKE leaves by the one that the data plane takes for its tunnel.
#[test]
fn several_next_hops_are_told_and_one_is_a_peers() {
    let ways = |m: &mut Model| -> Vec<(bool, u16)> {
        let told = m.difference().into_iter();
        let port = |hop| match hop {
            NextHop::Port { port, .. } => port.0,
            other => panic!("{other:?}"),
        };
        told.filter_map(|command| match command {
            TableCommand::AddRoute(r) => Some((true, port(r.next_hop))),
            TableCommand::RemoveRoute(r) => Some((false, port(r.next_hop))),
            _ => None,
        })
        .collect()
    };
    let both = |prefix| {
        let mut r = route(prefix, Table::Main, 0, device(3, Some("198.18.0.2")));
        r.targets.push(device(2, Some("10.1.0.9")));
        r
    };
    let (local, peer) = ("198.18.0.1".parse().unwrap(), |n: u8| IpAddr::from([203, 0, 113, n]));
    let mut m = model();
    add(&mut m, both("203.0.113.0/24"));
    assert_eq!(ways(&mut m), [(true, 1), (true, 0)]);
    let uplinks: Vec<_> = (1..60).map(|n| index(m.uplink(MAIN, local, peer(n)))).collect();
    assert!(uplinks.contains(&2) && uplinks.contains(&3));
    assert_eq!(m.uplink(MAIN, local, "198.51.100.1".parse().unwrap()), Uplink::Any, "one way, or none");
    m.apply(Change::Link(link(3, "wan0", false)));
    assert_eq!(ways(&mut m), []);
    assert!((1..60).all(|n| m.uplink(MAIN, local, peer(n)) == Uplink::Device(2)), "the other one is down");
    m.apply(Change::Link(link(3, "wan0", true)));
    m.difference();
    assert_eq!((1..60).map(|n| index(m.uplink(MAIN, local, peer(n)))).collect::<Vec<_>>(), uplinks);
    // A longer prefix with one way.
    add(&mut m, route("203.0.113.7/32", Table::Main, 0, device(3, None)));
    m.difference();
    assert_eq!(m.uplink(MAIN, local, peer(7)), Uplink::Any);
    // One of the two goes.
    m.apply(Change::RouteGone(both("203.0.113.0/24")));
    add(&mut m, route("203.0.113.0/24", Table::Main, 0, device(2, Some("10.1.0.9"))));
    assert_eq!(ways(&mut m), [(false, 1), (false, 0), (true, 0)]);
    assert_eq!(m.uplink(MAIN, local, peer(1)), Uplink::Any);
    // IPv6, of which the kernel tells each next hop by itself.
    for index in [2, 3] {
        add(&mut m, route("2001:db8:9::/64", Table::Main, 1024, device(index, Some("fe80::1"))));
    }
    assert_eq!(ways(&mut m), [(true, 0), (true, 1)]);
    // Each link has a network of its own there.
    for index in [2, 3] {
        add(&mut m, route("fe80::/64", Table::Main, 256, device(index, None)));
    }
    assert_eq!(ways(&mut m), [(true, 0)]);
}

#[test]
fn a_dump_after_a_loss_tells_only_what_differs() {
    let mut m = model();
    add(&mut m, route("10.3.0.0/24", Table::Main, 0, device(2, None)));
    add(&mut m, route("10.4.0.0/24", Table::Main, 0, device(2, None)));
    m.apply(Change::Neighbour {
        index: 2,
        addr: "10.3.0.9".parse().unwrap(),
        mac: Some([1; 6]),
        stale: false,
    });
    m.difference();

    m.begin_dump();
    for (index, name) in [(2, "lan0"), (3, "wan0"), (5, "ravelin0")] {
        m.apply(Change::Link(link(index, name, true)));
    }
    add(&mut m, route("10.3.0.0/24", Table::Main, 0, device(2, None)));
    let told = m.difference();
    assert!(
        told.contains(&TableCommand::RemoveNeighbour { port: PortId(0), addr: "10.3.0.9".parse().unwrap() })
    );
    assert!(
        matches!(told.first(), Some(TableCommand::RemoveRoute(r)) if r.prefix == "10.4.0.0/24".parse().unwrap())
    );
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn links_and_addresses_that_go_ask_for_a_dump() {
    let mut m = model();
    let addr = "10.1.0.1".parse().unwrap();
    assert!(!m.apply(Change::Address { index: 2, addr, present: true }));
    assert!(m.apply(Change::Address { index: 2, addr, present: false }), "IPv4 routes go silently with it");
    assert!(m.apply(Change::Link(link(2, "lan0", false))));
    assert!(matches!(m.difference().as_slice(), [TableCommand::SetPort(Port { up: false, .. })]));
    assert!(m.apply(Change::LinkGone(3)));
    assert!(matches!(
        m.difference().as_slice(),
        [TableCommand::SetPort(Port { port: PortId(1), up: false, .. })]
    ));
}

#[test]
fn neighbours_count_on_ports_only_and_stale_ones_stay_usable() {
    let mut m = model();
    let addr: IpAddr = "10.1.0.10".parse().unwrap();
    m.apply(Change::Neighbour { index: 4, addr, mac: Some([9; 6]), stale: false });
    assert_eq!(m.difference(), []);
    m.apply(Change::Neighbour { index: 2, addr, mac: Some([9; 6]), stale: false });
    assert_eq!(
        m.difference(),
        [TableCommand::SetNeighbour(Neighbour { port: PortId(0), addr, mac: [9; 6] })]
    );
    m.apply(Change::Neighbour { index: 2, addr, mac: Some([9; 6]), stale: true });
    assert_eq!(m.difference(), [], "the link address did not change");
    assert_eq!(m.stale_neighbours(), [(2, addr)]);
    m.apply(Change::Neighbour { index: 2, addr, mac: None, stale: false });
    assert_eq!(m.difference(), [TableCommand::RemoveNeighbour { port: PortId(0), addr }]);
}

#[test]
fn neighbours_go_with_their_device() {
    let mut m = model();
    let addr: IpAddr = "10.1.0.10".parse().unwrap();
    m.apply(Change::Neighbour { index: 2, addr, mac: Some([9; 6]), stale: false });
    m.difference();
    // As the kernel says it: the neighbour first, then the device; both within one turn.
    m.apply(Change::Neighbour { index: 2, addr, mac: None, stale: false });
    m.apply(Change::LinkGone(2));
    let gone = TableCommand::RemoveNeighbour { port: PortId(0), addr };
    assert!(m.difference().contains(&gone));
    // One of the same name comes back: its neighbours are asked for anew.
    m.apply(Change::Link(link(7, "lan0", true)));
    assert!(!m.difference().iter().any(|c| matches!(c, TableCommand::SetNeighbour(_))));
    m.apply(Change::Neighbour { index: 7, addr, mac: Some([8; 6]), stale: false });
    assert_eq!(
        m.difference(),
        [TableCommand::SetNeighbour(Neighbour { port: PortId(0), addr, mac: [8; 6] })]
    );
}

#[test]
fn a_new_data_plane_is_told_everything_again() {
    let mut m = model();
    let addr: IpAddr = "10.1.0.10".parse().unwrap();
    m.apply(Change::Neighbour { index: 2, addr, mac: Some([9; 6]), stale: false });
    add(&mut m, route("10.3.0.0/24", Table::Main, 0, device(2, None)));
    m.difference();
    m.forget_told();
    assert_eq!(m.difference().len(), 4, "two ports, a route, a neighbour");
    assert_eq!(m.difference(), []);
}
