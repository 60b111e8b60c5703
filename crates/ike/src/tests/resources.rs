//! Child SAs side by side, one for each resource of either side (RFC 9611; R301).

use super::pair::*;
use crate::command::Command;
use crate::counters::Counter;
use crate::event::{ChildSaId, Event};
use core::time::Duration;
use rand_core::Rng;
use std::collections::BTreeSet;

fn sides(seed: u64, a: u16, b: u16) -> Pair {
    Pair::with(seed, |side, c| {
        c.children[0].resources = if side == Side::A { a } else { b };
        c.dpd_delay = Duration::from_secs(20);
    })
}

/// Up, and watched: no event may leave a resource whose packets do not arrive.
fn grouped(a: u16, b: u16) -> Pair {
    let mut pair = sides(1, a, b);
    pair.run_secs(1);
    pair.watch = true;
    pair.run_secs(20);
    assert_group(&pair, a, b);
    pair
}

/// By which pair each resource sends.
fn lanes(pair: &Pair, side: Side) -> Vec<ChildSaId> {
    let node = pair.see(side);
    node.outbound.get(&CHILD).into_iter().chain(node.lanes.values()).copied().collect()
}

/// Every resource of each side has a pair of its own that works, and both sides hold the same.
fn assert_group(pair: &Pair, a: u16, b: u16) {
    pair.assert_same_tables();
    pair.assert_works();
    for (side, n) in [(Side::A, a), (Side::B, b)] {
        let all = lanes(pair, side);
        let different: BTreeSet<_> = all.iter().collect();
        assert_eq!((all.len(), different.len()), (usize::from(n), usize::from(n)), "{side:?}: {all:?}");
    }
    assert_eq!(pair.live(Side::A).len(), 1);
}

fn requests(pair: &Pair, side: Side) -> u64 {
    pair.see(side).count(Counter::MessagesOut)
}

#[test]
fn each_resource_of_both_sides_gets_a_pair() {
    for (a, b) in [(2, 2), (4, 4), (4, 2), (2, 4), (3, 8)] {
        let pair = grouped(a, b);
        let all = usize::from(a.max(b));
        assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (all, all), "{a} and {b}");
        // RFC 9611 §4: keys of their own, all else the same.
        let of = pair.a.pairs();
        let keys: BTreeSet<_> = of.iter().map(|p| p.inbound_keys.0.clone()).collect();
        assert_eq!(keys.len(), all);
        assert!(of.iter().all(|p| p.selectors == of[0].selectors && p.proposal == of[0].proposal));
        let side = |side| pair.see(side).count(Counter::ResourceSas) as usize;
        assert_eq!(side(Side::A), all - 1);
    }
}

// RFC 9611 §4: a responder that does not answer with SA_RESOURCE_INFO is asked for one SA only.
#[test]
fn a_peer_that_cannot_is_not_asked() {
    for (a, b) in [(4, 1), (1, 4), (4, 0)] {
        let mut pair = sides(2, a, b);
        pair.run_secs(5);
        pair.assert_one_pair();
        let before = requests(&pair, Side::A);
        pair.run_secs(60);
        assert!(requests(&pair, Side::A) - before <= 8, "only liveness checks");
        pair.rekey_child(Side::A);
        pair.run_secs(20);
        pair.assert_one_pair();
        assert_eq!(pair.a.count(Counter::ResourceSas) + pair.b.count(Counter::ResourceSas), 0);
    }
}

// RFC 9611 §4: TS_MAX_QUEUE, not NO_ADDITIONAL_SAS; and the peer that hears it does not go on asking.
#[test]
fn enough_is_enough() {
    let mut pair = sides(3, 80, 2);
    pair.run_secs(60);
    assert_eq!(pair.a.pairs().len(), 64, "as many as B makes for one child");
    pair.assert_same_tables();
    pair.assert_works();
    let hits = |pair: &Pair| (pair.a.count(Counter::ResourceLimit), pair.b.count(Counter::ResourceLimit));
    assert_eq!(hits(&pair), (1, 1));
    pair.run_secs(900);
    assert_eq!(hits(&pair), (1, 1), "no storm");
    // With another first pair it is asked once more: there may be room now.
    pair.rekey_child(Side::A);
    pair.run_secs(30);
    assert_eq!(hits(&pair), (2, 2));
}

#[test]
fn a_rekey_keeps_the_resource() {
    for by in [vec![Side::A], vec![Side::B], vec![Side::A, Side::B]] {
        for resource in 0..3usize {
            let mut pair = grouped(3, 3);
            let before = (lanes(&pair, Side::A), lanes(&pair, Side::B));
            let victim = pair.a.sas[&before.0[resource]].sa.inbound_spi;
            for side in by.iter().copied() {
                let node = pair.see(side);
                let own = |r: &&Recorded| [r.sa.inbound_spi, r.sa.outbound_spi].contains(&victim);
                let id = node.sas.values().find(own).unwrap().sa.id;
                pair.command(side, Command::RekeyChild(id));
            }
            pair.run_secs(30);
            assert_group(&pair, 3, 3);
            assert_eq!(pair.a.pairs().len(), 3, "by {by:?}");
            let after = (lanes(&pair, Side::A), lanes(&pair, Side::B));
            for (old, new) in [(&before.0, &after.0), (&before.1, &after.1)] {
                assert_eq!(old.iter().zip(new).filter(|(a, b)| a != b).count(), 1, "one lane, and no other");
            }
            assert_ne!(before.0[resource], after.0[resource]);
        }
    }
}

#[test]
fn what_ended_by_itself_is_made_anew_and_the_rest_carries_on() {
    for side in [Side::A, Side::B] {
        for resource in 0..2usize {
            let mut pair = grouped(2, 2);
            pair.watch = false; // the end of a lifetime is not negotiated
            let id = lanes(&pair, side)[resource];
            pair.command(side, Command::DeleteChild(id));
            assert!(pair.see(side).outbound.contains_key(&CHILD), "the other one serves all");
            pair.run_secs(20);
            assert_group(&pair, 2, 2);
            assert_eq!(pair.a.pairs().len(), 2);
            let down = |e: &Event| matches!(e, Event::ChildDown { .. } | Event::Failed { .. });
            assert!(!pair.a.events.iter().chain(&pair.b.events).any(down), "the child was never down");
        }
    }
}

#[test]
fn a_data_plane_that_is_full_leaves_the_first_pair() {
    let mut pair = sides(5, 2, 2);
    pair.run(LATENCY * 4 + INSTALL * 2 + Duration::from_millis(1));
    assert_eq!(pair.a.pairs().len(), 1);
    (pair.a.refuse_installs, pair.b.refuse_installs) = (1, 0);
    pair.run_secs(2);
    pair.assert_same_tables();
    assert!(pair.a.outbound.contains_key(&CHILD));
    assert_eq!(pair.a.count(Counter::InstallFailed), 1);
    pair.run_secs(20);
    pair.assert_works();
    pair.assert_same_tables();
}

#[test]
fn groups_outlive_rekeys_and_renewals_of_the_ike_sa() {
    let mut pair = grouped(3, 3);
    for side in [Side::A, Side::B] {
        pair.rekey_ike(side);
        pair.run_secs(20);
        assert_group(&pair, 3, 3);
    }
    pair.rekey_ike(Side::A);
    pair.rekey_ike(Side::B);
    pair.run_secs(60);
    assert_group(&pair, 3, 3);
    pair.command(Side::A, Command::Renew { connection: CONNECTION });
    pair.run_secs(60);
    assert_group(&pair, 3, 3);
}

// kill -9 of either control process: the next one goes on with every pair, each at its resource.
#[test]
fn groups_outlive_the_control_process() {
    for side in [Side::A, Side::B] {
        let mut pair = grouped(3, 3);
        let spis = |pair: &Pair| -> Vec<_> {
            lanes(pair, side).iter().map(|id| pair.see(side).sas[id].sa.inbound_spi).collect()
        };
        let before = spis(&pair);
        let mut c = Pair::connection(side);
        c.children[0].resources = 3;
        let taken = pair.crash_into(side, 7, vec![c]);
        assert_eq!(taken.pairs.len(), 3);
        pair.run_secs(30);
        assert_group(&pair, 3, 3);
        assert_eq!(spis(&pair), before);
        // One that was lost with it is made anew.
        let id = lanes(&pair, side)[1];
        pair.command(side, Command::RekeyChild(id));
        pair.run_secs(20);
        assert_group(&pair, 3, 3);
    }
}

#[test]
fn down_takes_all_of_them() {
    let mut pair = grouped(3, 2);
    pair.watch = false;
    pair.command(Side::A, Command::Terminate { connection: CONNECTION });
    pair.run_secs(30);
    pair.assert_nothing();
}

/// Loss, repetition, reordering; both sides rekey pairs of any resource, and end some.
fn lossy(seed: u64) {
    let (a, b) = (1 + (seed % 4) as u16, 2 + (seed % 3) as u16);
    let mut pair = sides(seed, a, b);
    pair.traffic = !seed.is_multiple_of(3);
    pair.faults = Faults { loss: seed % 20, repeat: seed % 15, reorder: seed % 25 };
    pair.run_secs(20);
    for _ in 0..6 {
        for side in [Side::A, Side::B] {
            let all = lanes(&pair, side);
            let Some(id) = all.get((pair.rng.next_u64() % 5) as usize).copied() else { continue };
            match pair.rng.next_u64() % 5 {
                0 | 1 => pair.command(side, Command::RekeyChild(id)),
                2 => pair.rekey_ike(side),
                3 => pair.command(side, Command::DeleteChild(id)),
                _ => {}
            }
        }
        let pause = Duration::from_millis(pair.rng.next_u64() % 4000);
        pair.run(pause);
    }
    pair.faults = Faults::default();
    pair.run_secs(200);
    // A refusal on the way may have said enough until the next rekey of the first pair.
    pair.rekey_child(Side::A);
    pair.run_secs(60);
    let (a, b) = if a > 1 { (a, b) } else { (1, 1) };
    pair.assert_same_tables();
    pair.assert_works();
    for (side, n) in [(Side::A, a), (Side::B, b)] {
        assert_eq!(lanes(&pair, side).len(), usize::from(n), "seed {seed}, {side:?}");
        assert_eq!(pair.see(side).count(Counter::BadIntegrity), 0, "seed {seed}");
        assert_eq!(pair.see(side).count(Counter::MalformedAuthentic), 0, "seed {seed}");
    }
    assert!(pair.a.pairs().len() <= usize::from(a) * 3 + usize::from(b) * 3, "seed {seed}");
}

#[test]
fn seeds() {
    (0..120).for_each(lossy);
}
