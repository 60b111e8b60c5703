//! Realms: the same two addresses, and identities, belong to other gateways in each (R68, R78).

use super::pair::{Pair, Side, psk};
use crate::command::Command;
use crate::config::{ChildId, Connection, ConnectionId, Realm};
use crate::counters::Counter;
use crate::endpoint::Transmit;
use crate::event::Event;
use std::collections::BTreeMap;

const REALMS: [Realm; 2] = [Realm(1), Realm(2)];

/// Each realm has a secret of its own, so that nobody proves himself in another one.
fn connection(side: Side, realm: Realm) -> Connection {
    let mut c = Pair::connection(side);
    c.id = ConnectionId(realm.0.into());
    c.children[0].id = ChildId(realm.0.into());
    c.exchanges.realm = realm;
    psk(&mut c, &[7, 7, 7, realm.0 as u8]);
    c
}

fn pair(seed: u64) -> Pair {
    let mut pair = Pair::empty(seed);
    for realm in REALMS {
        for side in [Side::B, Side::A] {
            pair.command(side, Command::Configure(Box::new(connection(side, realm))));
        }
    }
    pair.run_secs(5);
    pair
}

fn is_up(pair: &Pair, side: Side, realm: Realm) -> bool {
    pair.see(side).outbound.contains_key(&ChildId(realm.0.into()))
}

/// The last datagram of `from` in this realm.
fn last(pair: &Pair, from: Side, realm: Realm) -> Transmit {
    let mut of = pair.sent.iter().rev().filter(|(_, side, t)| *side == from && t.realm == realm);
    of.next().expect("it spoke").2.clone()
}

#[test]
fn the_same_gateways_in_two_realms_have_an_ike_sa_each() {
    let pair = pair(1);
    for (side, realm) in [Side::A, Side::B].into_iter().flat_map(|s| REALMS.map(|r| (s, r))) {
        assert!(is_up(&pair, side, realm), "{realm:?} {:#?}", pair.see(side).log);
    }
    assert_eq!((pair.live(Side::A).len(), pair.live(Side::B).len()), (2, 2));
    // All messages of an IKE SA are in one realm, and who has one in a realm may say that it is the only one there.
    let mut spoken: BTreeMap<[u8; 8], Realm> = BTreeMap::new();
    for (_, _, t) in &pair.sent {
        let realm = *spoken.entry(t.bytes[..8].try_into().unwrap()).or_insert(t.realm);
        assert_eq!(realm, t.realm);
    }
    assert_eq!(pair.a.count(Counter::InitialContactSent), 2);
}

#[test]
fn a_message_of_another_realm_is_nobodys() {
    let mut pair = pair(2);
    let (from, other) = (REALMS[0], REALMS[1]);
    let up = pair.a.outbound[&ChildId(from.0.into())];
    pair.command(Side::A, Command::RekeyChild(up));
    pair.run_secs(2);
    let before = (pair.sent.len(), pair.b.count(Counter::RepliesRepeated));
    for realm in [other, Realm(3)] {
        for side in [Side::A, Side::B] {
            let t = last(&pair, side, from);
            pair.repeat_in(realm, side, &t);
        }
    }
    assert_eq!(pair.a.count(Counter::WrongRealm) + pair.b.count(Counter::WrongRealm), 4);
    assert_eq!((pair.sent.len(), pair.b.count(Counter::RepliesRepeated)), before, "and nobody answers");
}

// Strangers are heard where they are: what they use up is their realm's.
#[test]
fn first_messages_and_their_bounds_are_of_a_realm() {
    let mut pair = pair(3);
    let first = pair.sent.iter().find(|(_, side, t)| *side == Side::A && t.realm == REALMS[0]);
    let first = first.expect("it began").2.clone();
    assert_eq!(first.bytes[18], 34, "IKE_SA_INIT");
    pair.b.ep.limits().half_open_per_address = 3;
    let mut forged = first.clone();
    for n in 0..20 {
        forged.bytes[..8].copy_from_slice(&[9, 9, 9, 9, 9, 9, 9, n]);
        pair.repeat_in(REALMS[0], Side::A, &forged);
    }
    // No connection is there.
    let none = pair.b.count(Counter::NoConnection);
    pair.repeat_in(Realm(3), Side::A, &forged);
    assert_eq!(pair.b.count(Counter::NoConnection), none + 1);
    // Whoever has that address in the other realm is answered, and asked for no cookie.
    let cookies = pair.b.count(Counter::CookiesSent);
    assert!(cookies > 0);
    pair.repeat_in(REALMS[1], Side::A, &forged);
    assert_eq!(pair.b.count(Counter::CookiesSent), cookies);
    let answer = last(&pair, Side::B, REALMS[1]);
    assert_eq!((answer.bytes[18], &answer.bytes[..8]), (34, &forged.bytes[..8]));
}

#[test]
fn another_realm_makes_the_tunnel_anew_there() {
    let mut pair = pair(4);
    for side in [Side::B, Side::A] {
        let mut moved = connection(side, REALMS[0]);
        moved.exchanges.realm = Realm(9);
        pair.command(side, Command::Configure(Box::new(moved)));
    }
    pair.run_secs(10);
    let child = ChildId(REALMS[0].0.into());
    assert!(pair.a.outbound.contains_key(&child), "{:#?}", pair.a.log);
    assert!(pair.a.events.iter().any(|e| matches!(e, Event::ChildDown { child: c, .. } if *c == child)));
    assert!(!pair.a.events.iter().any(|e| matches!(e, Event::ChildDown { child: c, .. } if *c != child)));
    assert_eq!(last(&pair, Side::A, Realm(9)).realm, Realm(9));
    assert_eq!((pair.live(Side::A).len(), pair.live(Side::B).len()), (2, 2));
}

// kill -9: each goes on in its realm; a record of another realm is of no use.
#[test]
fn what_goes_on_stays_in_its_realm() {
    let mut pair = pair(5);
    let taken = pair.crash_into(Side::B, 50, REALMS.map(|r| connection(Side::B, r)).to_vec());
    assert_eq!((taken.ike_sas, taken.refused.len()), (2, 0));
    let since = pair.now;
    pair.run_secs(5);
    let asked = pair.sent_by(Side::B, since);
    assert!(
        REALMS.iter().all(|r| asked.iter().any(|(_, t)| t.realm == *r)),
        "both were asked whether they live"
    );
    assert_eq!(pair.a.count(Counter::WrongRealm), 0);
    let mut moved = connection(Side::B, REALMS[0]);
    moved.exchanges.realm = Realm(9);
    let taken = pair.crash_into(Side::B, 51, vec![moved, connection(Side::B, REALMS[1])]);
    assert_eq!((taken.ike_sas, taken.refused.len()), (1, 1));
}
