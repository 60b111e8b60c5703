//! Many peers of one connection for any address (R75, R122, R131, R141): each with SAs of its own.

use super::pair::*;
use super::{any_connection, logins};
use crate::command::Command;
use crate::config::*;
use crate::event::Event;
use core::time::Duration;
use ravelin_testkit::selector;
use std::collections::BTreeSet;

const PEERS: u32 = 3;
/// RFC 7296 §3.1.
const IKE_AUTH: u8 = 35;

/// A plays three peers, B has one connection for all.
fn many(change: impl Fn(u32, &mut Connection)) -> Pair {
    many_of(template(None), change)
}

fn many_of(any: Connection, change: impl Fn(u32, &mut Connection)) -> Pair {
    let mut pair = Pair::empty(900);
    pair.command(Side::B, Command::Configure(Box::new(any)));
    for n in 0..PEERS {
        let mut c = Pair::connection(Side::A);
        (c.id, c.children[0].id) = (ConnectionId(10 + n), ChildId(10 + n));
        c.local_id = Identity::Fqdn(format!("p{n}.lab"));
        c.children[0].selectors = vec![selector(&format!("10.1.{n}.0/24"), "10.2.0.0/24")];
        change(n, &mut c);
        pair.command(Side::A, Command::Configure(Box::new(c)));
    }
    pair.run_secs(3);
    pair
}

fn children_at_b(pair: &Pair) -> BTreeSet<ChildId> {
    pair.b.pairs().iter().map(|sa| sa.child).collect()
}

#[test]
fn each_peer_sends_and_is_sent_to_by_its_own_pair() {
    let mut pair = many(|_, _| {});
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (3, 3));
    assert_eq!(children_at_b(&pair).len(), 3, "one outbound SA each");
    assert_eq!(pair.b.outbound.len(), 3);
    pair.assert_same_tables();
    for sa in pair.b.pairs() {
        assert_eq!(pair.b.outbound.get(&sa.child), Some(&sa.id));
        let other = pair.a.pairs().into_iter().find(|a| a.inbound_spi == sa.outbound_spi).unwrap().clone();
        assert_eq!(other.selectors[0].local, sa.selectors[0].remote);
    }
    let known = |e: &&Event| matches!(e, Event::PeerKnown { template: CONNECTION, children, .. } if children[0].0 == CHILD);
    assert_eq!(pair.b.events.iter().filter(known).count(), 3);
    // Rekeys of one leave the others alone.
    let before = children_at_b(&pair);
    let id = *pair.b.outbound.values().next().unwrap();
    pair.command(Side::B, Command::RekeyChild(id));
    pair.run_secs(20);
    pair.command(Side::A, Command::RekeyIke(ConnectionId(11)));
    pair.run_secs(20);
    assert_eq!((pair.b.pairs().len(), children_at_b(&pair)), (3, before));
    pair.assert_same_tables();
}

#[test]
fn who_goes_takes_nothing_of_the_others_and_who_comes_back_is_the_same() {
    let mut pair = many(|_, _| {});
    let before = children_at_b(&pair);
    pair.command(Side::A, Command::Terminate { connection: ConnectionId(11) });
    pair.run_secs(60);
    assert_eq!(pair.b.pairs().len(), 2);
    let gone = |pair: &Pair| pair.b.events.iter().filter(|e| matches!(e, Event::PeerGone { .. })).count();
    assert_eq!(gone(&pair), 1);
    pair.command(Side::A, Command::Initiate { connection: ConnectionId(11), child: None });
    pair.run_secs(3);
    assert_eq!((pair.b.pairs().len(), pair.b.outbound.len()), (3, 3));
    assert_eq!(children_at_b(&pair).intersection(&before).count(), 2);
    // INITIAL_CONTACT of one that lost its state ends its own IKE SA only.
    pair.restart(Side::A, 5);
    let mut c = Pair::connection(Side::A);
    (c.id, c.children[0].id) = (ConnectionId(12), ChildId(12));
    c.local_id = Identity::Fqdn("p2.lab".into());
    c.children[0].selectors = vec![selector("10.1.2.0/24", "10.2.0.0/24")];
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run(Duration::from_secs(3));
    assert_eq!(pair.b.pairs().len(), 3, "{:#?}", pair.b.log);
}

// A reload or `down` of the connection ends what its peers have.
#[test]
fn what_is_done_to_the_connection_is_done_to_its_peers() {
    let mut pair = many(|_, c| c.start = Start::Respond);
    for n in 0..PEERS {
        pair.command(Side::A, Command::Initiate { connection: ConnectionId(10 + n), child: None });
    }
    pair.run_secs(3);
    assert_eq!(pair.b.pairs().len(), 3);
    pair.command(Side::B, Command::Terminate { connection: CONNECTION });
    pair.run_secs(60);
    assert!(pair.b.pairs().is_empty() && pair.a.pairs().is_empty());
    assert_eq!(pair.b.events.iter().filter(|e| matches!(e, Event::PeerGone { .. })).count(), 3);
}

// R232, R234: the gateway clears one peer, which comes back as who it was; the others do not notice.
#[test]
fn one_peer_is_cleared() {
    let mut pair = many(|_, _| {});
    let before = of_b(&pair);
    let sas = pair.live(Side::B);
    let chosen = sas.iter().find(|sa| sa.remote_id == "p1.lab").unwrap();
    let others: BTreeSet<u64> =
        sas.iter().filter(|sa| sa.id != chosen.id).map(|sa| sa.initiator_spi).collect();
    pair.command(Side::B, Command::ClearIke(chosen.id));
    pair.run_secs(10);
    assert_eq!((of_b(&pair).len(), of_b(&pair).intersection(&before).count()), (3, 2));
    let now: BTreeSet<u64> = pair.live(Side::B).iter().map(|sa| sa.initiator_spi).collect();
    assert!(now.len() == 3 && now.is_superset(&others));
    pair.assert_same_tables();
}

// R141: what the tunnel does not allow, no peer gets.
#[test]
fn selectors_outside_of_the_allowed_pair_are_refused() {
    let pair = many(|n, c| {
        if n == 1 {
            c.children[0].selectors = vec![selector("10.7.0.0/24", "10.2.0.0/24")];
        }
    });
    assert_eq!(pair.b.pairs().len(), 2);
    assert!(pair.b.count(crate::counters::Counter::TsUnacceptable) >= 1);
}

fn of_b(pair: &Pair) -> BTreeSet<(ChildId, ravelin_wire::Spi)> {
    pair.b.pairs().iter().map(|sa| (sa.child, sa.inbound_spi)).collect()
}

fn template(pool: Option<&str>) -> Connection {
    let mut any = any_connection();
    any.remote_id = Identity::Any;
    any.children[0].selectors = vec![selector("10.2.0.0/24", "10.1.0.0/16")];
    any.pool = pool.map(|p| Pool { addresses: vec![prefix(p).into()], dns: vec![] });
    any
}

// R306 for peers of connections for any address: the next process goes on with all of them, under the same numbers
#[test]
fn peers_outlive_the_control_process() {
    let mut pair = many(|_, _| {});
    let (before, ike) = (of_b(&pair), pair.live(Side::B).len());
    let records: Vec<Vec<u8>> = pair.b.records.values().cloned().collect();
    let taken = pair.crash_into(Side::B, 3, vec![template(None)]);
    assert_eq!((taken.ike_sas, taken.pairs.len(), taken.refused.len()), (3, 3, 0));
    assert_eq!(taken.peers.iter().map(|p| p.children[0].1).collect::<BTreeSet<_>>(), children_at_b(&pair));
    // What may pass is known before anything is changed.
    let mut fresh = Pair::empty(1);
    let all = fresh.b.ep.peers_of(pair.now, &[template(None)], records.iter().map(Vec::as_slice));
    assert_eq!(all, taken.peers);
    assert!(fresh.b.ep.peers_of(pair.now, &[], records.iter().map(Vec::as_slice)).is_empty());
    pair.run_secs(30);
    assert_eq!((of_b(&pair), pair.live(Side::B).len()), (before, ike));
    pair.assert_same_tables();
    // Rekeys of both sides go on with it, and one that comes new gets numbers of its own.
    let id = *pair.b.outbound.values().next().unwrap();
    pair.command(Side::B, Command::RekeyChild(id));
    pair.command(Side::A, Command::RekeyIke(ConnectionId(11)));
    pair.run_secs(30);
    assert_eq!(pair.b.pairs().len(), 3);
    let mut c = Pair::connection(Side::A);
    (c.id, c.children[0].id) = (ConnectionId(20), ChildId(20));
    c.local_id = Identity::Fqdn("p9.lab".into());
    c.children[0].selectors = vec![selector("10.1.9.0/24", "10.2.0.0/24")];
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(3);
    assert_eq!((pair.b.pairs().len(), pair.b.outbound.len()), (4, 4));
    pair.assert_same_tables();
    // A second kill, and the peers that go are told.
    assert_eq!(pair.crash_into(Side::B, 4, vec![template(None)]).ike_sas, 4);
    let before = of_b(&pair);
    pair.command(Side::B, Command::Terminate { connection: CONNECTION });
    pair.run_secs(60);
    assert!(of_b(&pair).is_disjoint(&before));
}

// Its address is the peer's still, whatever became of the list of leases; and a pool that changed lets nobody in by it
#[test]
fn addresses_outlive_the_control_process() {
    let asks = |n: u32, c: &mut Connection| {
        c.exchanges.addresses = vec!["0.0.0.0".parse().unwrap()];
        c.children[0].selectors = vec![selector("0.0.0.0/0", "10.2.0.0/24")];
        c.local_id = Identity::Fqdn(format!("p{n}.lab"));
    };
    let up = || {
        let mut pair = Pair::empty(901);
        pair.command(Side::B, Command::Configure(Box::new(template(Some("10.1.0.0/24")))));
        for n in 0..2 {
            let mut c = Pair::connection(Side::A);
            (c.id, c.children[0].id) = (ConnectionId(10 + n), ChildId(10 + n));
            asks(n, &mut c);
            pair.command(Side::A, Command::Configure(Box::new(c)));
        }
        pair.run_secs(3);
        assert_eq!(pair.b.pairs().len(), 2);
        pair
    };
    let remotes =
        |pair: &Pair| pair.b.pairs().iter().map(|p| p.selectors[0].remote.start()).collect::<BTreeSet<_>>();
    let mut pair = up();
    let before = remotes(&pair);
    assert_eq!(pair.crash_into(Side::B, 5, vec![template(Some("10.1.0.0/24"))]).ike_sas, 2);
    pair.run_secs(10);
    assert_eq!(remotes(&pair), before);
    let mut c = Pair::connection(Side::A);
    (c.id, c.children[0].id) = (ConnectionId(15), ChildId(15));
    asks(5, &mut c);
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(3);
    assert_eq!((pair.b.pairs().len(), remotes(&pair).len()), (3, 3), "nobody gets an address twice");
    for pool in [None, Some("10.1.7.0/24")] {
        let mut pair = up();
        let taken = pair.crash_into(Side::B, 6, vec![template(pool)]);
        assert_eq!((taken.ike_sas, taken.refused.len(), taken.peers.len()), (0, 2, 0));
    }
}

// RFC 7296 §2.4: an identity is one peer, whatever addresses it asks for and however it is spelled. What it had gives way,
// at once when it says that it lost it.
#[test]
fn who_asks_for_other_addresses_leaves_nothing_behind() {
    for crashed in [false, true] {
        let mut any = template(Some("10.1.0.0/24"));
        any.pool.as_mut().unwrap().addresses.push(prefix("2001:db8:1::/120").into());
        any.children[0].selectors.push(selector("2001:db8:2::/64", "2001:db8:1::/64"));
        let mut pair = Pair::empty(902);
        pair.command(Side::B, Command::Configure(Box::new(any)));
        let come = |pair: &mut Pair, n: u32, name: &str, ask: &str, selectors| {
            let mut c = Pair::connection(Side::A);
            (c.id, c.children[0].id, c.start) = (ConnectionId(n), ChildId(n), Start::Respond);
            c.local_id = Identity::Fqdn(name.to_owned());
            c.exchanges.addresses = vec![ask.parse().unwrap()];
            c.children[0].selectors = vec![selectors];
            pair.command(Side::A, Command::Configure(Box::new(c)));
            pair.command(Side::A, Command::Initiate { connection: ConnectionId(n), child: None });
            pair.run_secs(1);
        };
        come(&mut pair, 10, "van.lab", "0.0.0.0", selector("0.0.0.0/0", "10.2.0.0/24"));
        let before = of_b(&pair);
        assert_eq!(before.len(), 1, "{:#?}", pair.b.log);
        if crashed {
            pair.restart(Side::A, 5);
        }
        come(&mut pair, 11, "VAN.lab", "::", selector("::/0", "2001:db8:2::/64"));
        if !crashed {
            pair.run_secs(60);
        }
        assert_eq!((of_b(&pair).len(), pair.live(Side::B).len()), (1, 1), "{crashed}: {:#?}", pair.b.log);
        assert!(of_b(&pair).is_disjoint(&before));
        assert!(pair.b.pairs()[0].selectors[0].remote.start().is_ipv6());
    }
}

/// What carries each peer's traffic at B: its child, the resource, the pair.
fn carried(pair: &Pair) -> BTreeSet<(ChildId, u16, ravelin_wire::Spi)> {
    let b = &pair.b;
    let first = b.outbound.iter().map(|(child, id)| (*child, 0, b.sas[id].sa.inbound_spi));
    let more = b.lanes.iter().map(|((child, resource), id)| (*child, *resource, b.sas[id].sa.inbound_spi));
    first.chain(more).collect()
}

fn users(pair: &Pair) -> BTreeSet<String> {
    pair.live(Side::B).into_iter().map(|sa| sa.remote_id).collect()
}

// R306, R206: peers that logged in by EAP are gone on with as who they have proven to be, and need not log in again.
#[test]
fn peers_that_logged_in_outlive_the_control_process() {
    const NAMES: [&str; PEERS as usize] = ["carol", "dave", "erin"];
    let any = |names: &[&str]| {
        let mut any = template(None);
        logins::lets_in(&mut any, names);
        any
    };
    let mut pair = many_of(any(&NAMES), |n, c| logins::as_user(c, NAMES[n as usize]));
    let before = of_b(&pair);
    assert_eq!((before.len(), users(&pair)), (3, NAMES.map(str::to_owned).into()), "{:#?}", pair.b.log);
    let killed = pair.now;
    let taken = pair.crash_into(Side::B, 7, vec![any(&NAMES)]);
    assert_eq!((taken.ike_sas, taken.pairs.len(), taken.refused.len()), (3, 3, 0));
    pair.run_secs(30);
    assert_eq!((of_b(&pair), users(&pair)), (before.clone(), NAMES.map(str::to_owned).into()));
    pair.assert_same_tables();
    let id = *pair.b.outbound.values().next().unwrap();
    pair.command(Side::B, Command::RekeyChild(id));
    pair.command(Side::B, Command::RekeyIke(CONNECTION));
    pair.run_secs(30);
    assert_eq!((of_b(&pair).len(), users(&pair).len()), (3, 3));
    let logins = pair.sent_by(Side::A, killed).iter().filter(|(_, t)| t.bytes[18] == IKE_AUTH).count();
    assert_eq!(logins, 0, "nobody had to log in again");
    pair.assert_same_tables();
    // Who logs in anew is the same peer, and takes nothing of the others.
    let others: BTreeSet<ChildId> = children_at_b(&pair);
    let ike = pair.live(Side::A).iter().find(|sa| sa.connection == Some(ConnectionId(10))).unwrap().id;
    pair.command(Side::A, Command::ClearIke(ike));
    pair.run_secs(5);
    assert_eq!((of_b(&pair).len(), children_at_b(&pair)), (3, others));
    // Other users than before, while no process was there to compare them: all have to log in again.
    let taken = pair.crash_into(Side::B, 8, vec![any(&NAMES[..2])]);
    assert_eq!((taken.ike_sas, taken.refused.len()), (0, 3), "{:?}", taken.refused);
    assert!(users(&pair).is_empty());
}

// R206: what a reload adds for others, and what counts from the next time on, disturbs nobody who is there.
#[test]
fn added_users_and_other_times_disturb_no_peer() {
    let any = |names: &[&str]| {
        let mut any = template(None);
        logins::lets_in(&mut any, names);
        any
    };
    let mut pair =
        many_of(any(&["carol", "dave"]), |n, c| logins::as_user(c, ["carol", "dave", "erin"][n as usize]));
    let before = of_b(&pair);
    assert_eq!(before.len(), 2);
    let mut more = any(&["carol", "dave", "erin"]);
    (more.lifetime, more.dpd_delay) = (Duration::from_secs(3000), Duration::from_secs(30));
    pair.command(Side::B, Command::Configure(Box::new(more.clone())));
    pair.command(Side::A, Command::Initiate { connection: ConnectionId(12), child: None });
    pair.run_secs(60);
    assert!(of_b(&pair).len() == 3 && of_b(&pair).is_superset(&before), "{:#?}", pair.b.log);
    assert!(pair.b.count(crate::counters::Counter::LivenessChecks) > 0, "the new times are in force");
    // One user fewer: nobody is believed any more.
    pair.command(Side::B, Command::Configure(Box::new(any(&["carol", "erin"]))));
    assert!(of_b(&pair).is_empty());
}

// R306, RFC 9611: each peer has a pair for each resource, and the next process goes on with all of them at their places.
#[test]
fn peers_with_a_pair_for_each_resource_outlive_the_control_process() {
    let any = || {
        let mut any = template(None);
        any.children[0].resources = 3;
        any
    };
    // One of them has more resources than B, one fewer, one none.
    let mut pair = many_of(any(), |n, c| c.children[0].resources = [4, 2, 1][n as usize]);
    pair.run_secs(20);
    let before = carried(&pair);
    let of = |child: &ChildId| before.iter().filter(|(of, ..)| of == child).count();
    let mut counts: Vec<usize> = pair.b.outbound.keys().map(of).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 3, 3], "{before:?}");
    pair.assert_same_tables();
    let all = of_b(&pair);
    for seed in [9, 10] {
        let taken = pair.crash_into(Side::B, seed, vec![any()]);
        assert_eq!((taken.ike_sas, taken.pairs.len(), taken.refused.len()), (3, all.len(), 0));
        pair.run_secs(30);
        assert_eq!((carried(&pair), of_b(&pair)), (before.clone(), all.clone()));
        pair.assert_same_tables();
        pair.assert_works();
    }
    // Each of them is rekeyed at its place.
    let ids: Vec<_> = pair.b.lanes.values().chain(pair.b.outbound.values()).copied().collect();
    for id in ids {
        pair.command(Side::B, Command::RekeyChild(id));
        pair.run_secs(20);
    }
    let after = carried(&pair);
    let places = |all: &BTreeSet<(ChildId, u16, _)>| all.iter().map(|(c, r, _)| (*c, *r)).collect::<Vec<_>>();
    assert_eq!(places(&after), places(&before));
    assert!(after.is_disjoint(&before));
    pair.assert_same_tables();
    pair.assert_works();
}
