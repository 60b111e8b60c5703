//! Exchanges that cross on the wire (RFC 7296 §2.8, §2.25).

use super::pair::*;
use crate::command::Command;
use crate::counters::Counter;
use core::time::Duration;

/// What one side begins.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Act {
    RekeyChild,
    RekeyIke,
    DeleteChild,
}

fn act(pair: &mut Pair, side: Side, what: Act) {
    match what {
        Act::RekeyChild => {
            if pair.see(side).outbound.contains_key(&CHILD) {
                pair.rekey_child(side);
            }
        }
        Act::RekeyIke => pair.rekey_ike(side),
        Act::DeleteChild => {
            if let Some(id) = pair.see(side).outbound.get(&CHILD).copied() {
                pair.command(side, Command::DeleteChild(id));
            }
        }
    }
}

// A and B both ask before either has the other's request.
#[test]
fn both_sides_rekey_the_child_at_once() {
    for traffic in [true, false] {
        let mut pair = Pair::established();
        pair.traffic = traffic;
        pair.rekey_child(Side::A);
        pair.rekey_child(Side::B);
        pair.run_secs(30);
        pair.assert_one_pair();
        assert_eq!(pair.a.count(Counter::Collisions) + pair.b.count(Counter::Collisions), 2);
    }
}

#[test]
fn both_sides_rekey_the_ike_sa_at_once() {
    let mut pair = Pair::established();
    let child = pair.a.pairs()[0].id;
    pair.rekey_ike(Side::A);
    pair.rekey_ike(Side::B);
    pair.run_secs(60);
    pair.assert_one_pair();
    assert_eq!(pair.a.pairs()[0].id, child);
    assert_eq!(pair.a.count(Counter::Collisions) + pair.b.count(Counter::Collisions), 2);
}

// The whole matrix: what A begins × what B begins × how far apart. No seed may leave a gap in a rekey.
#[test]
fn matrix() {
    let acts = [Act::RekeyChild, Act::RekeyIke, Act::DeleteChild];
    for a in acts {
        for b in acts {
            for apart in 0..12u64 {
                let mut pair = Pair::with(apart + 50, |side, c| {
                    // Who deletes brings it back: in this matrix either side may.
                    if side == Side::B {
                        c.start = crate::config::Start::Immediately;
                        c.remote = c.remote.filter(|_| true);
                    }
                });
                pair.run_secs(60);
                pair.assert_one_pair();
                pair.watch = a != Act::DeleteChild && b != Act::DeleteChild;
                pair.traffic = apart % 2 == 0;
                act(&mut pair, Side::A, a);
                pair.run(Duration::from_millis(apart * 4));
                act(&mut pair, Side::B, b);
                pair.run_secs(120);
                pair.assert_one_pair();
            }
        }
    }
}

// The same with every single message of the crossing lost once.
#[test]
fn matrix_with_each_message_lost_once() {
    for a in [Act::RekeyChild, Act::RekeyIke] {
        for b in [Act::RekeyChild, Act::RekeyIke] {
            for lost in 0..8 {
                let mut pair = Pair::established();
                let mut n = 0;
                pair.filter = Some(Box::new(move |_, _| {
                    n += 1;
                    n == lost + 1
                }));
                act(&mut pair, Side::A, a);
                act(&mut pair, Side::B, b);
                pair.run_secs(180);
                pair.assert_one_pair();
            }
        }
    }
}

// RFC 7296 §2.25.2: a child rekey while the IKE SA is being rekeyed gets TEMPORARY_FAILURE, and comes again.
#[test]
fn a_child_rekey_against_an_ike_rekey() {
    let mut pair = Pair::established();
    let (ike, child) = (pair.live(Side::A)[0].id, pair.a.pairs()[0].id);
    pair.rekey_ike(Side::A);
    pair.rekey_child(Side::B);
    pair.run_secs(60);
    pair.assert_one_pair();
    assert!(pair.a.count(Counter::TemporaryFailures) >= 1 && pair.b.count(Counter::TemporaryFailures) >= 1);
    assert_ne!(pair.live(Side::A)[0].id, ike, "both came through in the end");
    assert_ne!(pair.a.pairs()[0].id, child);
}

#[test]
fn delete_of_the_ike_sa_against_everything() {
    for what in [Act::RekeyChild, Act::RekeyIke, Act::DeleteChild] {
        for apart in 0..10 {
            let mut pair = Pair::established();
            pair.watch = false;
            act(&mut pair, Side::A, what);
            pair.run(Duration::from_millis(apart * 4));
            pair.command(Side::B, Command::Terminate { connection: CONNECTION });
            pair.command(Side::A, Command::Terminate { connection: CONNECTION });
            pair.run_secs(180);
            pair.assert_nothing();
        }
    }
}
