//! Many peers of one connection for any address (R75, R122, R131, R141): each with SAs of its own.

use super::any_connection;
use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::event::Event;
use core::time::Duration;
use ravelin_testkit::selector;
use std::collections::BTreeSet;

const PEERS: u32 = 3;

/// A plays three peers, B has one connection for all.
fn many(change: impl Fn(u32, &mut Connection)) -> Pair {
    let mut pair = Pair::empty(900);
    let mut any = any_connection();
    any.remote_id = Identity::Any;
    any.children[0].selectors = vec![selector("10.2.0.0/24", "10.1.0.0/16")];
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
