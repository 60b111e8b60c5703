//! kill -9 of one side's control process and a new one in its place: the peer never notices (R306).

use super::pair::*;
use crate::command::Command;
use crate::config::{Group, Start};
use crate::counters::Counter;
use crate::event::Event;
use crate::record::Refused;
use core::time::Duration;
use rand_core::Rng;

const BOTH: [Side; 2] = [Side::A, Side::B];

fn spis(pair: &Pair) -> (u64, u64) {
    let live = pair.live(Side::A);
    (live[0].initiator_spi, live[0].responder_spi)
}

/// IKE_SA_INIT went once to and once fro, and never again.
fn no_setup(pair: &Pair) {
    assert_eq!(pair.sent.iter().filter(|(_, _, t)| t.bytes.get(18) == Some(&34)).count(), 2);
}

#[test]
fn the_new_process_goes_on_with_the_same_sas() {
    for side in BOTH {
        let mut pair = Pair::established();
        pair.run_secs(60);
        let before = spis(&pair);
        let taken = pair.crash(side, 3);
        assert_eq!((taken.ike_sas, taken.pairs.len(), taken.refused), (1, 1, vec![]), "{side:?}");
        pair.run_secs(30);
        assert_eq!(spis(&pair), before);
        pair.assert_one_pair();
        // Both kinds of rekey, begun by either side, and a liveness check of the peer's.
        for starter in BOTH {
            pair.rekey_child(starter);
            pair.run_secs(30);
            pair.assert_one_pair();
            pair.rekey_ike(starter);
            pair.run_secs(60);
            pair.assert_one_pair();
        }
        no_setup(&pair);
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.count(Counter::BadIntegrity), 0);
            assert_eq!(node.count(Counter::GaveUp), 0);
        }
        assert_eq!(pair.see(side).count(Counter::Restored), 1);
    }
}

#[test]
fn the_new_process_asks_at_once_whether_the_peer_lives_and_checks_go_on() {
    for side in BOTH {
        let mut pair = Pair::with(1, |_, c| c.dpd_delay = Duration::from_secs(20));
        pair.run_secs(1);
        let since = pair.now;
        pair.crash_into(
            side,
            3,
            vec![{
                let mut c = Pair::connection(side);
                c.dpd_delay = Duration::from_secs(20);
                c
            }],
        );
        pair.run_secs(3);
        assert_eq!(pair.see(side).count(Counter::LivenessChecks), 1);
        assert_eq!(pair.sent_by(side, since).len(), 1);
        pair.run_secs(100);
        assert!(pair.see(side).count(Counter::LivenessChecks) > 2);
        pair.assert_one_pair();
        no_setup(&pair);
    }
}

#[test]
fn a_delete_works_from_either_side() {
    for (crashed, ends) in [(Side::A, Side::A), (Side::A, Side::B), (Side::B, Side::A), (Side::B, Side::B)] {
        let mut pair = Pair::established();
        pair.watch = false;
        pair.crash(crashed, 4);
        pair.run_secs(5);
        pair.command(ends, Command::Terminate { connection: CONNECTION });
        // A wants it up: after the peer's Delete it comes back by itself, so look at once.
        pair.run(Duration::from_millis(500));
        pair.assert_nothing();
        assert!(pair.a.records.is_empty() && pair.b.records.is_empty(), "nothing is left on disk");
    }
}

/// Kills one side so many milliseconds after an exchange began. An IKE rekey that is lost is found by liveness checks.
fn crash_in_exchange(crashed: Side, begin: impl Fn(&mut Pair), millis: u64) {
    let dpd = |c: &mut crate::config::Connection| c.dpd_delay = Duration::from_secs(20);
    let mut pair = Pair::with(1, |_, c| dpd(c));
    pair.run_secs(10);
    begin(&mut pair);
    pair.run(Duration::from_millis(millis));
    let mut c = Pair::connection(crashed);
    dpd(&mut c);
    pair.crash_into(crashed, millis % 10, vec![c]);
    pair.run_secs(150);
    pair.assert_one_pair();
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.count(Counter::BadIntegrity), 0, "after {millis} ms");
        assert_eq!(node.count(Counter::MalformedAuthentic), 0, "after {millis} ms");
    }
}

#[test]
fn at_any_moment_of_a_rekey() {
    for crashed in BOTH {
        for starter in BOTH {
            for steps in 0..60 {
                crash_in_exchange(crashed, |p| p.rekey_child(starter), steps);
                crash_in_exchange(crashed, |p| p.rekey_ike(starter), steps);
            }
        }
    }
}

#[test]
fn seeds_with_loss_rekeys_and_crashes() {
    for seed in 0..60 {
        let dpd = |c: &mut crate::config::Connection| c.dpd_delay = Duration::from_secs(20);
        let mut pair = Pair::with(seed, |_, c| dpd(c));
        pair.run_secs(5);
        pair.faults = Faults { loss: 5 + seed % 10, repeat: seed % 15, reorder: seed % 25 };
        for round in 0..4 {
            for side in BOTH {
                match pair.rng.next_u64() % 4 {
                    0 if pair.see(side).outbound.contains_key(&CHILD) => pair.rekey_child(side),
                    1 => pair.rekey_ike(side),
                    _ => {}
                }
            }
            let pause = Duration::from_millis(pair.rng.next_u64() % 3000);
            pair.run(pause);
            let side = BOTH[(pair.rng.next_u64() % 2) as usize];
            let mut c = Pair::connection(side);
            dpd(&mut c);
            pair.crash_into(side, seed * 10 + round, vec![c]);
        }
        pair.faults = Faults::default();
        pair.run_secs(400);
        pair.assert_one_pair();
    }
}

// An id that was used must not be used again, whatever the time of the crash (RFC 7296 §2.2).
#[test]
fn no_message_id_is_used_for_two_requests() {
    for steps in 0..40 {
        let mut pair = Pair::established();
        pair.watch = false;
        let since = pair.now;
        pair.rekey_child(Side::A);
        pair.run(Duration::from_millis(steps));
        pair.crash(Side::A, steps);
        pair.run_secs(60);
        let mut seen = std::collections::BTreeMap::new();
        for (_, t) in pair.sent_by(Side::A, since) {
            let key = (t.bytes[..16].to_vec(), t.bytes[19] & 0x20, t.bytes[20..24].to_vec());
            let before = seen.entry(key).or_insert_with(|| t.bytes.clone());
            assert_eq!(*before, t.bytes, "step {steps}: another message under the same id");
        }
    }
}

#[test]
fn a_peer_that_went_meanwhile_is_noticed_and_found_again() {
    let mut pair = Pair::established();
    pair.watch = false;
    // The peer lost everything; nobody told us, we were dead.
    pair.restart(Side::B, 77);
    pair.command(Side::B, Command::Configure(Box::new(Pair::connection(Side::B))));
    pair.crash(Side::A, 5);
    pair.run_secs(200);
    pair.assert_one_pair();
    assert!(pair.a.count(Counter::PeerDead) > 0);
}

#[test]
fn what_the_data_plane_does_not_have_is_not_taken_on() {
    let mut pair = Pair::established();
    pair.watch = false;
    pair.a.sas.values_mut().for_each(|r| r.in_force = false);
    let taken = pair.crash(Side::A, 6);
    assert_eq!((taken.ike_sas, taken.pairs.len()), (1, 0));
    pair.run_secs(60);
    pair.assert_one_pair();
    no_setup(&pair);
}

#[test]
fn another_secret_or_another_child_is_not_continued() {
    let mut pair = Pair::established();
    pair.watch = false;
    let mut other = Pair::connection(Side::A);
    psk(&mut other, b"another one");
    let taken = pair.crash_into(Side::A, 7, vec![other]);
    assert_eq!((taken.ike_sas, taken.refused), (0, vec![Refused::Connection]));

    let mut pair = Pair::established();
    pair.watch = false;
    let mut other = Pair::connection(Side::A);
    other.children[0].proposals[0].group = Some(Group::Curve25519);
    let taken = pair.crash_into(Side::A, 8, vec![other]);
    assert_eq!((taken.ike_sas, taken.pairs.len()), (1, 0), "the IKE SA goes on, the child does not");

    let mut pair = Pair::established();
    assert_eq!(pair.crash_into(Side::A, 9, vec![]).refused, vec![Refused::Connection]);
}

#[test]
fn a_lifetime_counts_on_while_nobody_is_there() {
    let mut pair = Pair::established();
    pair.watch = false;
    let records = pair.a.records.clone();
    pair.run_secs(3500);
    pair.crash(Side::A, 10);
    pair.run_secs(200);
    let rekeys = pair.a.count(Counter::ChildRekeyed) + pair.b.count(Counter::ChildRekeyed);
    assert_eq!(rekeys, 1, "an hour after it was made, not after the crash");
    pair.assert_one_pair();
    no_setup(&pair);

    let mut pair = Pair::with(1, |_, c| c.start = Start::Respond);
    pair.a.records = records;
    pair.run_secs(20_000);
    assert_eq!(pair.crash(Side::A, 11).refused, vec![Refused::Expired]);
}

#[test]
fn a_copy_of_an_old_record_meets_no_iv_again() {
    let mut pair = Pair::established();
    pair.watch = false;
    let old = pair.a.records.clone();
    let since = pair.now;
    for round in 0..3 {
        pair.a.records = old.clone();
        pair.crash(Side::A, 12 + round);
        pair.run_secs(3);
    }
    let mut ivs = std::collections::BTreeSet::new();
    let requests: Vec<_> = pair.sent_by(Side::A, since).into_iter().map(|(_, t)| t.bytes).collect();
    let distinct: std::collections::BTreeSet<_> = requests.iter().collect();
    assert!(distinct.len() >= 3);
    assert!(distinct.iter().all(|b| ivs.insert(b[32..40].to_vec())), "an IV was used for two messages");
}

#[test]
fn events_of_a_restored_pair_speak_of_what_was_restored() {
    let mut pair = Pair::established();
    let count = pair.a.events.len();
    let taken = pair.crash(Side::A, 15);
    let new: Vec<_> = pair.a.events[count..].to_vec();
    assert!(new.iter().any(|e| matches!(e, Event::UseOutbound { sa, .. } if *sa == taken.pairs[0].id)));
    assert!(!new.iter().any(|e| matches!(e, Event::Install { .. })), "nothing is installed again");
}

mod parser {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Vec<u8> {
        let pair = Pair::established();
        pair.a.records.values().next().expect("one IKE SA").clone()
    }

    fn refused(bytes: Vec<u8>) -> Vec<Refused> {
        let mut pair = Pair::empty(2);
        pair.a.records.insert(1, bytes);
        let taken = pair.crash(Side::A, 1);
        pair.run(Duration::from_millis(1));
        taken.refused
    }

    #[test]
    fn cut_short_at_any_byte_it_is_refused() {
        let whole = record();
        for len in 0..whole.len() {
            let why = refused(whole[..len].to_vec());
            assert!(why == [Refused::Malformed] || why == [Refused::Connection], "{len}: {why:?}");
        }
        let longer = [whole, vec![0]].concat();
        assert_eq!(refused(longer), [Refused::Malformed]);
    }

    #[test]
    fn another_version_is_refused() {
        let mut other = record();
        other[0] += 1;
        assert_eq!(refused(other), [Refused::Version]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        // What was altered is either refused or a lawful record of other values: never a panic, never half an SA.
        #[test]
        fn altered_bytes_do_no_harm(at in 0usize..2000, to: u8, second in 0usize..2000, value: u8) {
            let mut bytes = record();
            let len = bytes.len();
            bytes[at % len] = to;
            bytes[second % len] = value;
            let _ = refused(bytes);
        }

        #[test]
        fn any_bytes_do_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), valid: bool) {
            if valid {
                let start = record();
                let keep = start.len().min(50);
                bytes.splice(0..0, start[..keep].iter().copied());
            }
            let _ = refused(bytes);
        }
    }
}
