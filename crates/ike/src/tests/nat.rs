//! NAT traversal (RFC 7296 §2.23, RFC 3948).

use super::pair::*;
use crate::command::Command;
use crate::config::{ChildId, Connection, ConnectionId, Identity};
use crate::counters::Counter;
use crate::event::Event;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeSet;

fn behind_nat() -> Pair {
    behind_nat_with(|_, _| {})
}

fn behind_nat_with(change: impl Fn(Side, &mut Connection)) -> Pair {
    let mut pair = Pair::empty(61);
    pair.a.addr = "10.99.0.1".parse().unwrap();
    pair.nat = Some(("198.18.0.1".parse().unwrap(), 20_000));
    for side in [Side::A, Side::B] {
        let mut c = Pair::connection(side);
        if side == Side::A {
            c.local = Some(pair.a.addr);
        }
        change(side, &mut c);
        pair.command(side, Command::Configure(Box::new(c)));
    }
    pair
}

// R116, R118: only the initiator is behind a NAT
#[test]
fn an_initiator_behind_a_nat() {
    let mut pair = behind_nat();
    pair.run_secs(1);
    pair.assert_one_pair();
    let (a, b) = (pair.live(Side::A)[0].clone(), pair.live(Side::B)[0].clone());
    assert_eq!((a.nat_local, a.nat_remote, a.udp), (true, false, true));
    assert_eq!((b.nat_local, b.nat_remote, b.udp), (false, true, true));
    assert!(pair.sent[2].2.natt && !pair.sent[0].2.natt, "IKE_AUTH goes by the NAT-T port");
    assert_eq!(&pair.sent[2].2.datagram()[..4], &[0; 4], "non-ESP marker");
    assert_eq!(pair.a.pairs()[0].remote, "198.18.0.2:4500".parse().unwrap());
    assert_eq!(pair.b.pairs()[0].remote, "198.18.0.1:24500".parse().unwrap());
    assert_eq!(pair.b.pairs()[0].local.port(), 4500);
}

// R117: 0xff every 20 s, only from behind the NAT, only when idle
#[test]
fn keepalives_come_from_behind_the_nat_only() {
    let mut pair = behind_nat();
    pair.run_secs(1);
    let t0 = pair.now;
    pair.run_secs(100);
    let of = |side| pair.sent_by(side, t0).into_iter().filter(|(_, t)| t.keepalive).collect::<Vec<_>>();
    assert_eq!((of(Side::A).len(), of(Side::B).len()), (5, 0));
    assert!(of(Side::A).iter().all(|(_, t)| t.natt && t.datagram() == [0xff]));
    assert_eq!(pair.a.count(Counter::Keepalives), 5);
}

// R122: a new mapping of the NAT: the peer follows an authenticated message, and nothing else
#[test]
fn the_peer_follows_a_new_mapping_only_when_authentic() {
    let mut pair = behind_nat();
    pair.run_secs(1);
    let old = pair.b.pairs()[0].remote;
    // A forged message from elsewhere changes nothing.
    let mut forged = pair.sent.last().unwrap().2.bytes.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    pair.inject(Side::B, "198.18.0.2:4500".parse().unwrap(), "198.18.0.66:4500".parse().unwrap(), &forged);
    assert_eq!(pair.b.pairs()[0].remote, old);
    // The NAT gives A another port; A's next request shows it.
    pair.nat = Some(("198.18.0.1".parse().unwrap(), 30_000));
    pair.rekey_child(Side::A);
    pair.run_secs(5);
    pair.assert_one_pair();
    assert_eq!(pair.b.pairs()[0].remote, "198.18.0.1:34500".parse().unwrap());
    assert!(pair.b.events.iter().any(|e| matches!(e, Event::Moved { .. })));
    assert_eq!(pair.b.count(Counter::PeerMoved), 1);
    // ESP shows it as well.
    let child = pair.b.pairs()[0].id;
    let from = "198.18.0.1:44500".parse().unwrap();
    pair.command(Side::B, Command::PeerMoved { child, from });
    assert_eq!(pair.b.pairs()[0].remote, from);
    // A, behind the NAT, does not follow anybody.
    let child = pair.a.pairs()[0].id;
    pair.command(Side::A, Command::PeerMoved { child, from: "203.0.113.1:4500".parse().unwrap() });
    assert_eq!(pair.a.pairs()[0].remote, "198.18.0.2:4500".parse().unwrap());
}

#[test]
fn rekeys_work_behind_a_nat() {
    let mut pair = behind_nat();
    pair.run_secs(1);
    pair.watch = true;
    for side in [Side::A, Side::B] {
        pair.rekey_child(side);
        pair.run_secs(5);
        pair.rekey_ike(side);
        pair.run_secs(5);
        pair.assert_one_pair();
    }
}

#[test]
fn encapsulation_can_be_forced_from_either_side() {
    for forced in [Side::A, Side::B] {
        let mut pair = Pair::with(62, |side, c| c.force_udp = side == forced);
        pair.run_secs(1);
        pair.assert_one_pair();
        for side in [Side::A, Side::B] {
            let sa = pair.see(side).pairs()[0].clone();
            assert!(sa.udp, "{forced:?} forces, {side:?}");
            assert_eq!((sa.local.port(), sa.remote.port()), (4500, 4500));
        }
    }
}

/// Both believe that a NAT is before either of them.
fn behind_two(pair: &mut Pair) {
    pair.a.ep.first_established().unwrap().0.path.nat_remote = true;
    pair.b.ep.first_established().unwrap().0.path.nat_local = true;
}

// RFC 7296 §2.23: behind a NAT itself a host does not follow by itself, but it asks where the peer was; without MOBIKE
#[test]
fn behind_two_nats_a_peer_is_followed_when_it_is_silent_where_it_was() {
    for dpd_at in [Side::A, Side::B] {
        let mut pair = behind_nat_with(|side, c| {
            c.dpd_delay = Duration::from_secs(if side == dpd_at { 1 } else { 600 });
        });
        pair.run_secs(2);
        behind_two(&mut pair);
        let spi = pair.live(Side::A)[0].initiator_spi;
        pair.nat = Some(("198.18.0.1".parse().unwrap(), 30_000));
        if dpd_at == Side::B {
            pair.rekey_child(Side::A);
        }
        pair.run_secs(15);
        pair.assert_one_pair();
        assert_eq!(pair.b.pairs()[0].remote, "198.18.0.1:34500".parse().unwrap());
        assert_eq!(pair.live(Side::A)[0].initiator_spi, spi, "the same IKE SA");
        assert_eq!(pair.b.count(Counter::PeerMoved), 1);
    }
}

#[test]
fn behind_two_nats_nobody_is_led_away_from_a_peer_that_is_where_it_was() {
    let mut pair = behind_nat_with(|_, c| c.dpd_delay = Duration::from_secs(600));
    pair.run_secs(2);
    behind_two(&mut pair);
    let there = pair.b.pairs()[0].remote;
    // Somebody on the way writes his own address on an authentic request of A.
    pair.filter = Some(Box::new(|side, _| side == Side::A));
    pair.rekey_child(Side::A);
    let stolen = pair.sent.last().unwrap().2.bytes.clone();
    pair.filter = None;
    pair.inject(Side::B, "198.18.0.2:4500".parse().unwrap(), "198.18.0.66:4500".parse().unwrap(), &stolen);
    assert_eq!(pair.b.count(Counter::LivenessChecks), 1, "A is asked where it was");
    pair.run_secs(20);
    pair.assert_one_pair();
    assert_eq!(pair.b.pairs()[0].remote, there);
    assert_eq!(pair.b.count(Counter::PeerMoved), 0);
    // Later silence is of another kind: the address of before is not believed then.
    pair.dead.insert("198.18.0.1".parse().unwrap());
    pair.rekey_child(Side::B);
    pair.run_secs(60);
    assert!(pair.b.pairs().is_empty() && pair.b.count(Counter::PeerMoved) == 0);
}

// The one that answers is behind a NAT too, whose address changes: whoever began finds it, with MOBIKE and without
#[test]
fn behind_two_nats_the_one_that_answers_is_followed_too() {
    for mobike in [false, true] {
        let mut pair = Pair::with(63, |_, c| {
            c.dpd_delay = Duration::from_secs(600);
            c.exchanges.mobike = mobike;
        });
        pair.run_secs(2);
        for node in [&mut pair.a, &mut pair.b] {
            let path = &mut node.ep.first_established().unwrap().0.path;
            (path.nat_local, path.nat_remote) = (true, true);
        }
        let there: SocketAddr = if mobike { "198.18.0.9:4500" } else { "198.18.0.9:500" }.parse().unwrap();
        pair.aliases.push(there.ip());
        pair.dead.insert("198.18.0.2".parse().unwrap());
        pair.rekey_child(Side::B);
        let request = pair.sent.last().unwrap().2.bytes.clone();
        pair.inject(Side::A, (pair.a.addr, there.port()).into(), there, &request);
        pair.run_secs(10);
        let path = pair.a.ep.first_established().unwrap().0.path.clone();
        assert_eq!(path.remote, there, "MOBIKE: {mobike}");
        assert!(pair.a.pairs().iter().all(|sa| sa.remote.ip() == there.ip()));
        assert_eq!(pair.live(Side::A).len(), 1);
    }
}

// R119: three initiators, two of them each behind a NAT of its own, one behind two NATs in a chain, all with the same
// ports inside; each is found at its own public address, and a new mapping moves one of them alone.
#[test]
fn several_initiators_behind_nats_of_their_own_and_in_a_chain() {
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let inside = |n: u32| ip(&format!("192.168.{n}.2"));
    let public = |n: u32| ip(&format!("203.0.113.{n}"));
    let mut pair = Pair::empty(62);
    let mut any = super::any_connection();
    any.remote_id = Identity::Any;
    any.children[0].selectors = vec![selector("10.2.0.0/24", "10.1.0.0/16")];
    pair.command(Side::B, Command::Configure(Box::new(any)));
    pair.nats = [(inside(0), (public(0), 20_000)), (inside(1), (public(1), 20_000))].into();
    pair.nats.extend([(inside(2), (ip("100.64.0.7"), 5_000)), (ip("100.64.0.7"), (public(2), 20_000))]);
    for n in 0..3 {
        let mut c = Pair::connection(Side::A);
        (c.id, c.local, c.children[0].id) = (ConnectionId(10 + n), Some(inside(n)), ChildId(10 + n));
        c.local_id = Identity::Fqdn(format!("p{n}.lab"));
        c.children[0].selectors = vec![selector(&format!("10.1.{n}.0/24"), "10.2.0.0/24")];
        c.dpd_delay = Duration::from_secs(20);
        pair.command(Side::A, Command::Configure(Box::new(c)));
    }
    pair.run_secs(2);
    let at = |pair: &Pair| -> Vec<(String, SocketAddr)> {
        let mut all: Vec<_> = pair.live(Side::B).into_iter().map(|sa| (sa.remote_id, sa.remote)).collect();
        all.sort();
        all
    };
    let mapped = |n: u32, port: u16| (format!("p{n}.lab"), SocketAddr::new(public(n), port));
    assert_eq!(at(&pair), [mapped(0, 24_500), mapped(1, 24_500), mapped(2, 29_500)], "{:#?}", pair.b.log);
    let sees =
        |pair: &Pair, side: Side| pair.live(side).into_iter().map(|sa| (sa.nat_local, sa.nat_remote, sa.udp));
    assert!(sees(&pair, Side::A).all(|seen| seen == (true, false, true)));
    assert!(sees(&pair, Side::B).all(|seen| seen == (false, true, true)));
    let outer: BTreeSet<SocketAddr> = pair.b.pairs().iter().map(|p| p.remote).collect();
    assert_eq!(outer, at(&pair).into_iter().map(|(_, at)| at).collect());
    // Both sides reach each other by them.
    for id in pair.b.pairs().iter().map(|p| p.id).collect::<Vec<_>>() {
        pair.command(Side::B, Command::RekeyChild(id));
    }
    for n in 0..3 {
        pair.command(Side::A, Command::RekeyIke(ConnectionId(10 + n)));
    }
    pair.run_secs(30);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len(), pair.live(Side::B).len()), (3, 3, 3));
    // The inner NAT of the chain forgets.
    pair.nats.insert(inside(2), (ip("100.64.0.7"), 9_000));
    pair.run_secs(60);
    assert_eq!(at(&pair), [mapped(0, 24_500), mapped(1, 24_500), mapped(2, 33_500)]);
    assert_eq!(pair.b.pairs().len(), 3);
    pair.assert_same_tables();
}
