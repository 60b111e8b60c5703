//! The kernel mirror and the fail-closed routes, against the real kernel in namespaces of their own.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)] // a test expects one thing, all else is a failure

mod common;

use common::{in_namespace, run};
use ravelin_control::kernel::{
    FailClosed, Mirror, ProtectedRoute, ProtectedRoutes, TunnelDevice, release, set_devices,
};
use ravelin_ring::msg::{InterfaceId, NextHop, PortId, TableCommand, VrfId};
use std::net::IpAddr;

fn make_ports() {
    for (port, other) in [("lan0", "lan1"), ("wan0", "wan1")] {
        run(&format!("ip link add {port} type veth peer name {other}"));
        run(&format!("ip link set {port} up"));
        run(&format!("ip link set {other} up"));
    }
    run("ip addr add 10.1.0.1/24 dev lan0");
    run("ip addr add 198.18.0.1/24 dev wan0");
}

async fn mirror() -> Mirror {
    Mirror::open(vec!["lan0".into(), "wan0".into()], "ravelin0".into()).await.unwrap()
}

fn closed(mirror: &Mirror) -> FailClosed {
    FailClosed::new(mirror.handle().clone(), vec!["lan0".into(), "wan0".into()])
}

/// Collects differences until one has what is looked for.
async fn until(mirror: &mut Mirror, what: impl Fn(&TableCommand) -> bool) -> Vec<TableCommand> {
    let mut all = Vec::new();
    loop {
        all.extend(mirror.difference().await.unwrap());
        if all.iter().any(&what) {
            return all;
        }
        mirror.changed().await.unwrap();
    }
}

fn route(command: &TableCommand) -> Option<(String, NextHop)> {
    match command {
        TableCommand::AddRoute(r) => Some((r.prefix.to_string(), r.next_hop)),
        _ => None,
    }
}

#[test]
fn what_the_kernel_has_and_what_changes_becomes_table_commands() {
    in_namespace(async || {
        make_ports();
        run("ip link add other0 type veth peer name other1");
        run("ip link set other1 up");
        run("ip link set other0 up");
        run("ip addr add 192.168.7.1/24 dev other0");
        let mut m = mirror().await;
        let first = m.difference().await.unwrap();
        let routes: Vec<_> = first.iter().filter_map(route).collect();
        let lan = NextHop::Port { port: PortId(0), gateway: None };
        for expected in [
            ("10.1.0.0/24", lan),
            ("198.18.0.0/24", NextHop::Port { port: PortId(1), gateway: None }),
            ("10.1.0.1/32", NextHop::Local),
            ("192.168.7.0/24", NextHop::Kernel),
        ] {
            assert!(routes.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} in {routes:?}");
        }
        let up = |p: &TableCommand| matches!(p, TableCommand::SetPort(p) if p.up && p.mtu == 1500 && p.mac != [0; 6]);
        assert_eq!(first.iter().filter(|c| up(c)).count(), 2);

        run("ip route add 10.2.0.0/24 via 198.18.0.2");
        run("ip route add blackhole 10.3.0.0/24");
        let via = NextHop::Port { port: PortId(1), gateway: Some("198.18.0.2".parse().unwrap()) };
        let all =
            until(&mut m, |c| route(c).is_some_and(|r| r == ("10.3.0.0/24".into(), NextHop::Blackhole)))
                .await;
        assert!(all.iter().filter_map(route).any(|r| r == ("10.2.0.0/24".into(), via)), "{all:?}");

        run("ip route replace 10.2.0.0/24 dev other0");
        let all = until(&mut m, |c| route(c).is_some_and(|r| r.1 == NextHop::Kernel)).await;
        assert!(
            all.iter().any(|c| matches!(c, TableCommand::RemoveRoute(r) if r.next_hop == via)),
            "{all:?}"
        );

        run("ip neigh add 198.18.0.2 lladdr 02:00:00:00:00:99 dev wan0");
        until(&mut m, |c| {
            matches!(c, TableCommand::SetNeighbour(n) if n.port == PortId(1) && n.mac == [2, 0, 0, 0, 0, 0x99])
        })
        .await;
        run("ip neigh del 198.18.0.2 dev wan0");
        let gone: IpAddr = "198.18.0.2".parse().unwrap();
        until(&mut m, |c| matches!(c, TableCommand::RemoveNeighbour { addr, .. } if *addr == gone)).await;
    });
}

#[test]
fn a_link_that_goes_down_takes_its_routes_along_though_the_kernel_does_not_say_so() {
    in_namespace(async || {
        make_ports();
        run("ip route add 10.2.0.0/24 via 198.18.0.2");
        let mut m = mirror().await;
        m.difference().await.unwrap();
        run("ip link set wan0 down");
        let gone = |c: &TableCommand| matches!(c, TableCommand::RemoveRoute(r) if r.prefix == "10.2.0.0/24".parse().unwrap());
        let all = until(&mut m, gone).await;
        assert!(
            all.iter().any(|c| matches!(c, TableCommand::SetPort(p) if p.port == PortId(1) && !p.up)),
            "{all:?}"
        );
    });
}

#[test]
fn a_neighbour_that_is_needed_is_resolved_by_the_kernel() {
    in_namespace(async || {
        // Both ends in one namespace would answer for each other's addresses; the far end gets its own.
        let far = common::Namespace::new("far");
        make_ports();
        run(&format!("ip link set wan1 netns {}", far.0));
        far.ip("addr add 198.18.0.2/24 dev wan1");
        far.ip("link set wan1 up");
        let mut m = mirror().await;
        m.difference().await.unwrap();
        let peer: IpAddr = "198.18.0.2".parse().unwrap();
        m.resolve(PortId(1), peer);
        until(
            &mut m,
            |c| matches!(c, TableCommand::SetNeighbour(n) if n.addr == peer && n.port == PortId(1)),
        )
        .await;
    });
}

/// R307
#[test]
fn protected_prefixes_lead_into_the_tun_device_or_nowhere() {
    in_namespace(async || {
        make_ports();
        run("ip route add default via 198.18.0.2");
        run("ip tuntap add dev ravelin0 mode tun");
        run("ip link set ravelin0 up");
        let m = mirror().await;
        let fail_closed = closed(&m);
        let source = Some("10.1.0.1".parse().unwrap());
        let wanted: ProtectedRoutes =
            [("10.2.0.0/24".parse().unwrap(), ProtectedRoute::Tunnel { source })].into();

        // Before the data plane is there.
        fail_closed.apply(&wanted, None).await.unwrap();
        let refused = std::process::Command::new("ip").args(["route", "get", "10.2.0.10"]).output().unwrap();
        assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));

        let tun = m.model().link_named("ravelin0").unwrap().index;
        fail_closed.apply(&wanted, Some(tun)).await.unwrap();
        fail_closed.apply(&wanted, Some(tun)).await.unwrap(); // again changes nothing
        let got = run("ip route get 10.2.0.10");
        assert!(got.contains("dev ravelin0") && got.contains("src 10.1.0.1"), "{got}");
        let marked = run("ip route get 10.2.0.10 mark 0x52");
        assert!(marked.contains("dev wan0"), "IKE is exempt: {marked}");
        // R41: what comes from there by a port is nobody's to forward; by another device, and IKE's answers, it is.
        let forwarded = |command: &str| {
            std::process::Command::new("ip").args(command.split(' ')).output().unwrap().status.success()
        };
        run("sysctl -qw net.ipv4.ip_forward=1");
        for (port, from, passes) in [
            ("wan0", "10.2.0.10", false),
            ("lan0", "10.2.0.10", false),
            ("wan0", "10.3.0.10", true),
            ("ravelin0", "10.2.0.10", true),
        ] {
            run(&format!("sysctl -qw net.ipv4.conf.{port}.rp_filter=0"));
            let get = format!("route get 10.1.0.10 from {from} iif {port}");
            assert_eq!(forwarded(&get), passes, "{get}");
        }
        assert_eq!(run("ip rule show pref 220").lines().count(), 1);
        assert_eq!(run("ip route show table 4500").lines().count(), 2);

        // The device goes: the blackhole behind it catches what is left.
        run("ip link del ravelin0");
        let refused = std::process::Command::new("ip").args(["route", "get", "10.2.0.10"]).output().unwrap();
        assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));

        let released = release("ravelin0", "drv-test-none").await.unwrap();
        // Rule and blackhole; two gates, past them, landing, and the remote network.
        assert_eq!(released.routes_and_rules, 2 + 5, "{released:?}");
        assert_eq!(run("ip rule show").lines().count(), 3, "{}", run("ip rule show"));
        assert!(run("ip route get 10.2.0.10").contains("dev wan0"));
    });
}

/// R307: a route changes in place; nothing but the blackhole would be left of one that is added and then removed.
#[test]
fn a_route_that_changes_its_source_or_kind_stays() {
    in_namespace(async || {
        make_ports();
        run("ip tuntap add dev ravelin0 mode tun");
        run("ip link set ravelin0 up");
        let m = mirror().await;
        let fail_closed = closed(&m);
        let tun = m.model().link_named("ravelin0").unwrap().index;
        let of = |route| ProtectedRoutes::from([("10.2.0.0/24".parse().unwrap(), route)]);
        let by = |source: Option<&str>| ProtectedRoute::Tunnel { source: source.map(|s| s.parse().unwrap()) };
        for source in [None, Some("10.1.0.1"), Some("198.18.0.1"), None] {
            fail_closed.apply(&of(by(source)), Some(tun)).await.unwrap();
            let table = run("ip route show table 4500");
            let front = table.lines().find(|l| l.contains("dev ravelin0")).unwrap_or_default();
            assert_eq!(front.contains("src"), source.is_some(), "{source:?}: {table}");
            assert!(source.is_none_or(|s| front.contains(s)), "{source:?}: {table}");
            assert_eq!(table.lines().count(), 2, "{table}");
        }
        fail_closed.apply(&of(ProtectedRoute::Throw), Some(tun)).await.unwrap();
        assert!(run("ip route show table 4500").starts_with("throw 10.2.0.0/24"));
        fail_closed.apply(&of(by(None)), Some(tun)).await.unwrap();
        assert!(run("ip route get 10.2.0.10").contains("dev ravelin0"));
    });
}

#[test]
fn with_everything_remote_the_local_network_is_still_reached_directly() {
    in_namespace(async || {
        make_ports();
        run("ip route add default via 198.18.0.2");
        run("ip link add ravelin0 type veth peer name ravelin1");
        run("ip link set ravelin1 up");
        run("ip link set ravelin0 up");
        let m = mirror().await;
        let fail_closed = closed(&m);
        let wanted: ProtectedRoutes = [
            ("0.0.0.0/0".parse().unwrap(), ProtectedRoute::Tunnel { source: None }),
            ("10.1.0.0/24".parse().unwrap(), ProtectedRoute::Throw),
        ]
        .into();
        let tun = m.model().link_named("ravelin0").unwrap().index;
        fail_closed.apply(&wanted, Some(tun)).await.unwrap();
        assert!(run("ip route get 8.8.8.8").contains("dev ravelin0"));
        assert!(run("ip route get 10.1.0.10").contains("dev lan0"));
        assert!(run("ip route get 198.18.0.2 mark 0x52").contains("dev wan0"));
        let rules = run("ip rule show");
        let place = |what: &str| rules.lines().position(|l| l.contains(what)).expect(what);
        assert!(place("from 10.1.0.0/24 goto 220") < place("from all blackhole"), "{rules}");

        // Removal comes after addition: the new prefix stands before the old one goes.
        let other: ProtectedRoutes =
            [("10.2.0.0/24".parse().unwrap(), ProtectedRoute::Tunnel { source: None })].into();
        fail_closed.apply(&other, Some(tun)).await.unwrap();
        assert!(run("ip route get 10.2.0.1").contains("dev ravelin0"));
        assert!(run("ip route get 8.8.8.8").contains("dev wan0"));
        assert_eq!(run("ip route show table 4500").lines().count(), 2);
        let rules = run("ip rule show pref 219");
        assert!(rules.contains("from 10.2.0.0/24 blackhole") && rules.lines().count() == 1, "{rules}");
        assert_eq!(run("ip rule show pref 218").lines().count(), 1);
        // Nothing is remote any more: no rule about sources stays.
        fail_closed.apply(&ProtectedRoutes::new(), Some(tun)).await.unwrap();
        assert_eq!(run("ip rule show").lines().count(), 4, "{}", run("ip rule show"));
    });
}

/// R125, R307: the same for IPv6, whose first selector may come with a reload.
#[test]
fn ipv6_is_mirrored_and_protected_alike() {
    in_namespace(async || {
        make_ports();
        run("ip addr add 2001:db8:1::1/64 dev lan0 nodad");
        run("ip addr add 2001:db8:ff::1/64 dev wan0 nodad");
        run("ip -6 route add default via 2001:db8:ff::2");
        run("ip tuntap add dev ravelin0 mode tun");
        run("sysctl -qw net.ipv6.conf.ravelin0.disable_ipv6=1");
        run("ip link set ravelin0 up");
        let mut m = mirror().await;
        let first = m.difference().await.unwrap();
        let routes: Vec<_> = first.iter().filter_map(route).collect();
        let via = NextHop::Port { port: PortId(1), gateway: Some("2001:db8:ff::2".parse().unwrap()) };
        for expected in [
            ("2001:db8:1::/64", NextHop::Port { port: PortId(0), gateway: None }),
            ("2001:db8:1::1/128", NextHop::Local),
            ("::/0", via),
        ] {
            assert!(routes.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} in {routes:?}");
        }
        run("ip -6 neigh add 2001:db8:ff::2 lladdr 02:00:00:00:00:99 dev wan0");
        let peer: IpAddr = "2001:db8:ff::2".parse().unwrap();
        until(
            &mut m,
            |c| matches!(c, TableCommand::SetNeighbour(n) if n.addr == peer && n.port == PortId(1)),
        )
        .await;

        let fail_closed = closed(&m);
        let source = Some("2001:db8:1::1".parse().unwrap());
        let wanted: ProtectedRoutes =
            [("2001:db8:2::/64".parse().unwrap(), ProtectedRoute::Tunnel { source })].into();
        let refused = || {
            let get = ["-6", "route", "get", "2001:db8:2::10"];
            !std::process::Command::new("ip").args(get).output().unwrap().status.success()
        };
        fail_closed.apply(&wanted, None).await.unwrap();
        assert!(refused(), "before the data plane is there");
        let tun = m.model().link_named("ravelin0").unwrap().index;
        fail_closed.apply(&wanted, Some(tun)).await.unwrap();
        let got = run("ip -6 route get 2001:db8:2::10");
        assert!(got.contains("dev ravelin0") && got.contains("src 2001:db8:1::1"), "{got}");
        let marked = run("ip -6 route get 2001:db8:2::10 mark 0x52");
        assert!(marked.contains("dev wan0"), "IKE is exempt: {marked}");
        run("ip link del ravelin0");
        assert!(refused(), "the device is gone");
        release("ravelin0", "drv-test-none").await.unwrap();
        assert!(run("ip -6 route get 2001:db8:2::10").contains("dev wan0"));
    });
}

// R60, R307: a tunnel's device gets what the configuration says and no more; a route into it becomes a next hop of its
// own; without the device its routes lead nowhere.
#[test]
fn devices_of_tunnels_have_their_routes_and_blackholes_behind_them() {
    in_namespace(async || {
        make_ports();
        run("ip link add tun-a type veth peer name tun-z");
        run("ip link set tun-z up");
        run("ip addr add 192.0.2.1/32 dev tun-a");
        let mut m = mirror().await;
        m.name_interfaces([("tun-a".to_owned(), InterfaceId(5))].into());
        let device = TunnelDevice {
            vrf: VrfId::MAIN,
            name: "tun-a".into(),
            mtu: 1415,
            addresses: vec![("172.16.0.1".parse().unwrap(), 30), ("fd00:16::1".parse().unwrap(), 64)],
            routes: vec!["10.2.0.0/16".parse().unwrap(), "fd00:2::/64".parse().unwrap()],
        };
        let into = NextHop::Interface(InterfaceId(5));
        set_devices(std::slice::from_ref(&device), m.model()).await.unwrap();
        let told = until(&mut m, |c| matches!(c, TableCommand::AddRoute(r) if r.next_hop == into)).await;
        let blackhole = ("10.2.0.0/16".to_owned(), NextHop::Blackhole);
        assert!(told.iter().filter_map(route).any(|r| r == blackhole), "it was down when it was set up");
        let link = run("ip -o link show tun-a");
        assert!(link.contains("mtu 1415") && link.contains("UP"), "{link}");
        let addresses = run("ip -o addr show dev tun-a");
        assert!(addresses.contains("172.16.0.1/30") && addresses.contains("fd00:16::1/64"), "{addresses}");
        assert!(!addresses.contains("192.0.2.1"), "an address that is not configured goes: {addresses}");
        // It is up now.
        set_devices(std::slice::from_ref(&device), m.model()).await.unwrap();
        until(&mut m, |c| route(c) == Some(("10.2.0.0/16".to_owned(), into))).await;
        let routes = run("ip route show proto 82") + &run("ip -6 route show proto 82");
        assert_eq!(routes.lines().count(), 4, "{routes}");
        // Somebody deletes it.
        run("ip link del tun-a");
        until(&mut m, |c| route(c) == Some(blackhole.clone())).await;
        let routes = run("ip route show proto 82");
        assert_eq!(routes.trim(), "blackhole 10.2.0.0/16 metric 9999");
        set_devices(&[], m.model()).await.unwrap();
        assert_eq!(run("ip route show proto 82"), "");
    });
}
