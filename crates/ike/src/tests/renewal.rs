//! A new IKE SA beside the one that is up: reauthentication (RFC 7296 §2.8.3), and IKE_AUTH without a child (RFC 6023).

use super::pair::*;
use crate::command::Command;
use crate::config::{ChildId, Start};
use crate::counters::Counter;
use crate::event::Event;
use crate::header::{Exchange, Header};
use core::time::Duration;

const EVERY: Duration = Duration::from_secs(600);

fn reauthenticating(seed: u64, sides: &[Side]) -> Pair {
    let mut pair = Pair::with(seed, |side, c| {
        c.dpd_delay = Duration::from_secs(20);
        if sides.contains(&side) {
            c.exchanges.reauthentication = EVERY;
        }
    });
    pair.traffic = true;
    pair.run_secs(2);
    pair.assert_one_pair();
    pair
}

fn ike_spi(pair: &Pair) -> u64 {
    pair.live(Side::A)[0].initiator_spi
}

fn exchanges(pair: &Pair, exchange: Exchange) -> usize {
    let is = |bytes: &[u8]| {
        Header::parse(bytes).is_ok_and(|(h, _)| h.exchange == exchange && !h.response && h.from_initiator)
    };
    pair.sent.iter().filter(|(_, side, t)| *side == Side::A && is(&t.bytes)).count()
}

#[test]
fn both_sides_prove_themselves_anew_and_no_packet_is_lost() {
    for traffic in [true, false] {
        let mut pair = reauthenticating(900, &[Side::A]);
        pair.traffic = traffic;
        pair.watch = true;
        let first = ike_spi(&pair);
        pair.run_secs(610);
        assert_ne!(ike_spi(&pair), first);
        pair.run_secs(60);
        pair.assert_one_pair();
        assert_eq!(exchanges(&pair, Exchange::IkeAuth), 2);
        pair.run_secs(1200);
        pair.assert_one_pair();
        assert!((3..=4).contains(&exchanges(&pair, Exchange::IkeAuth)));
        assert_eq!(pair.a.count(Counter::InitialContactSent), 1, "the first one only");
        assert!(!pair.a.events.iter().any(|e| matches!(e, Event::ChildDown { .. })));
    }
}

#[test]
fn a_rekey_does_not_put_it_off() {
    let mut pair = reauthenticating(901, &[Side::A]);
    for _ in 0..5 {
        pair.run_secs(90);
        pair.rekey_ike(Side::A);
    }
    assert_eq!(exchanges(&pair, Exchange::IkeAuth), 1);
    pair.run_secs(180);
    assert_eq!(exchanges(&pair, Exchange::IkeAuth), 2, "nobody proved anything by a rekey");
    pair.assert_one_pair();
}

// RFC 7296 §2.8.2, by analogy
#[test]
fn both_sides_at_once_end_with_one() {
    for seed in 0..20 {
        let mut pair = Pair::with(seed, |_, c| c.start = Start::Immediately);
        pair.traffic = true;
        pair.run_secs(60);
        pair.assert_one_pair();
        pair.watch = true;
        for side in [Side::A, Side::B] {
            pair.command(side, Command::Renew { connection: CONNECTION });
        }
        pair.run_secs(60);
        pair.assert_one_pair();
    }
}

#[test]
fn a_peer_that_refuses_it_keeps_what_is_up() {
    let mut pair = reauthenticating(902, &[Side::A]);
    let first = ike_spi(&pair);
    pair.watch = true;
    pair.filter = Some(Box::new(|_, bytes| bytes[18] == 34));
    pair.run_secs(700);
    assert_eq!(ike_spi(&pair), first);
    pair.filter = None;
    pair.run_secs(180);
    pair.assert_one_pair();
    assert_ne!(ike_spi(&pair), first, "tried again");
}

fn ended_unproved(pair: &Pair) -> usize {
    let why = |e: &&Event| matches!(e, Event::IkeDown { why, .. } if why.contains("prove itself anew"));
    pair.b.events.iter().filter(why).count()
}

// A peer that only rekeys is not let stay for ever: what it proved an hour ago may have been revoked since.
#[test]
fn whoever_only_answers_leaves_it_to_the_other_and_ends_what_nobody_proved() {
    let mut pair = reauthenticating(903, &[Side::B]);
    for _ in 0..6 {
        pair.run_secs(118);
        pair.rekey_ike(Side::A);
    }
    assert_eq!((exchanges(&pair, Exchange::IkeAuth), ended_unproved(&pair)), (1, 0), "not before its margin");
    pair.run_secs(60);
    assert_eq!((exchanges(&pair, Exchange::IkeAuth), ended_unproved(&pair)), (2, 1), "the peer comes back");
    pair.assert_one_pair();

    // One that does it as often as is wanted is never ended.
    let mut pair = reauthenticating(906, &[Side::A, Side::B]);
    pair.run_secs(3000);
    assert!(exchanges(&pair, Exchange::IkeAuth) >= 5);
    assert_eq!(ended_unproved(&pair), 0);
}

#[test]
fn all_children_go_over() {
    let mut pair = Pair::with(904, |side, c| {
        let second = match side {
            Side::A => child("10.1.1.0/24", "10.2.1.0/24"),
            Side::B => child("10.2.1.0/24", "10.1.1.0/24"),
        };
        c.children.push(crate::config::Child { id: ChildId(8), ..second });
        c.exchanges.reauthentication = EVERY;
    });
    pair.traffic = true;
    pair.run_secs(5);
    assert_eq!(pair.a.pairs().len(), 2);
    let count = pair.a.events.len();
    pair.run_secs(700);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (2, 2));
    assert_eq!(exchanges(&pair, Exchange::IkeAuth), 2);
    assert!(!pair.a.events[count..].iter().any(|e| matches!(e, Event::ChildDown { .. })));
    assert_eq!(pair.live(Side::A).len(), 1);
}

#[test]
fn it_is_not_forgotten_by_the_next_control_process() {
    let mut pair = reauthenticating(905, &[Side::A]);
    pair.run_secs(300);
    let mut c = Pair::connection(Side::A);
    c.exchanges.reauthentication = EVERY;
    let taken = pair.crash_into(Side::A, 6, vec![c]);
    assert_eq!(taken.ike_sas, 1);
    pair.run_secs(330);
    assert_eq!(exchanges(&pair, Exchange::IkeAuth), 2, "counted from the proof, not from the crash");
    pair.assert_one_pair();
}

#[test]
fn with_loss_and_repeats_one_pair_stays() {
    for seed in 0..40 {
        let mut pair = Pair::with(seed, |_, c| {
            c.start = Start::Immediately;
            c.dpd_delay = Duration::from_secs(20);
            c.exchanges.reauthentication = Duration::from_secs(120);
        });
        pair.traffic = true;
        pair.run_secs(30);
        pair.faults = Faults { loss: 5 + seed % 20, repeat: seed % 15, reorder: seed % 25 };
        pair.run_secs(400);
        pair.faults = Faults::default();
        for side in [Side::A, Side::B] {
            pair.command(side, Command::Configure(Box::new(Pair::connection(side))));
        }
        pair.run_secs(400);
        pair.assert_one_pair();
    }
}

// HDR, SK {IDi, AUTH, IDr}, and then CREATE_CHILD_SA with a KE payload of the child's own
#[test]
fn without_a_child_in_ike_auth_the_first_one_comes_by_its_own_exchange() {
    let mut pair = Pair::with(910, |side, c| {
        c.exchanges.childless = side == Side::A;
        c.children[0].proposals[0].group = Some(crate::config::Group::Curve25519);
    });
    pair.run_secs(2);
    pair.assert_one_pair();
    let of = |e| {
        pair.sent.iter().filter(move |(_, _, t)| Header::parse(&t.bytes).unwrap().0.exchange == e).count()
    };
    assert_eq!((of(Exchange::IkeAuth), of(Exchange::CreateChildSa)), (2, 2));
    assert_eq!(pair.a.pairs()[0].proposal.group, Some(crate::config::Group::Curve25519));
}

#[test]
fn the_hard_lifetime_ends_an_ike_sa_that_cannot_be_rekeyed() {
    let mut pair = Pair::with(911, |_, c| c.lifetime = Duration::from_secs(100));
    pair.run_secs(2);
    // From now on no CREATE_CHILD_SA gets through, and nothing begins anew.
    pair.filter = Some(Box::new(|_, bytes| bytes[18] == 36 || bytes[18] == 34));
    pair.run_secs(98 + 61);
    for side in [Side::A, Side::B] {
        assert!(pair.see(side).pairs().is_empty(), "{side:?}: {:#?}", pair.see(side).log);
    }
    pair.filter = None;
    pair.run_secs(120);
    pair.assert_one_pair();
}
