//! Loss, repetition, reordering: whatever the seed, one working pair is left and both ends agree.

use super::pair::*;
use crate::config::{Connection, Start};
use crate::counters::Counter;
use core::time::Duration;
use rand_core::Rng;

fn run(seed: u64, both_begin: bool) {
    run_with(seed, both_begin, |_, _| {});
}

fn run_with(seed: u64, both_begin: bool, change: impl Fn(Side, &mut Connection)) {
    let mut pair = Pair::with(seed, |side, c| {
        change(side, c);
        if both_begin || side == Side::A {
            c.start = Start::Immediately;
        }
        c.dpd_delay = Duration::from_secs(20);
    });
    pair.faults = Faults { loss: 5 + seed % 20, repeat: seed % 15, reorder: seed % 25 };
    pair.run_secs(30);
    for _ in 0..6 {
        for side in [Side::A, Side::B] {
            match pair.rng.next_u64() % 4 {
                0 if pair.see(side).outbound.contains_key(&CHILD) => pair.rekey_child(side),
                1 => pair.rekey_ike(side),
                _ => {}
            }
        }
        let pause = Duration::from_millis(pair.rng.next_u64() % 4000);
        pair.run(pause);
    }
    pair.faults = Faults::default();
    pair.run_secs(300);
    pair.assert_one_pair();
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.count(Counter::BadIntegrity), 0, "seed {seed}");
        assert_eq!(node.count(Counter::MalformedAuthentic), 0, "seed {seed}");
    }
}

#[test]
fn seeds_with_one_initiator() {
    (0..150).for_each(|seed| run(seed, false));
}

#[test]
fn seeds_with_two_initiators() {
    (1000..1150).for_each(|seed| run(seed, true));
}

#[test]
fn seeds_with_messages_in_pieces() {
    (2000..2060).for_each(|seed| run_with(seed, seed % 2 == 0, super::fragments::long_messages));
}

#[test]
fn seeds_with_two_key_exchanges_in_pieces() {
    let change = |side, c: &mut Connection| {
        super::fragments::long_messages(side, c);
        c.proposals = vec![super::hybrid::HYBRID];
    };
    (3000..3060).for_each(|seed| run_with(seed, seed % 2 == 0, change));
}

// RFC 9370 §2.2.4: rekeys with a second key exchange, of both sides or of one only
#[test]
fn seeds_with_second_key_exchanges() {
    (4000..4060).for_each(|seed| run_with(seed, seed % 2 == 0, super::followup::quantum));
    (4100..4160).for_each(|seed| run_with(seed, seed % 2 == 0, super::followup::mixed));
}

// Seeds that once ended in two pairs: a peer that goes on with its own IKE SA while two rekeys cross.
#[test]
fn seeds_that_were_wrong_once() {
    [5259, 5389, 5896, 6536, 6588, 7778].into_iter().for_each(|seed| run(seed, false));
    [10_329, 10_373, 10_435, 11_639, 11_968, 12_653, 12_735].into_iter().for_each(|seed| run(seed, true));
    [1_001_247, 1_003_357].into_iter().for_each(|seed| run(seed, true));
}
