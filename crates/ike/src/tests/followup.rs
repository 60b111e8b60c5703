//! IKE_FOLLOWUP_KE: ML-KEM in CREATE_CHILD_SA (RFC 9370 §2.2.4), lost, repeated, crossing, forgotten and forged.

use super::hostile::{inject_as_a, seal_as_a};
use super::hybrid::{HYBRID, exchanges};
use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::counters::Counter;
use crate::header::{Exchange, Header};
use crate::payload::{Notify, Payload, notify};
use core::time::Duration;

pub(super) const PFS: EspProposal =
    EspProposal { group: Some(Group::Curve25519), kem: Some(Kem::MlKem768), ..ESP };
const CLASSICAL: EspProposal = EspProposal { kem: None, ..PFS };

/// Both SAs by ML-KEM alone.
pub(super) fn quantum(_: Side, c: &mut Connection) {
    c.proposals = vec![HYBRID];
    c.children[0].proposals = vec![PFS];
}

/// Each side prefers another proposal: what A begins has one key exchange, what B begins has two.
pub(super) fn mixed(side: Side, c: &mut Connection) {
    let (ike, esp) = (vec![HYBRID, GCM], vec![PFS, CLASSICAL]);
    (c.proposals, c.children[0].proposals) = match side {
        Side::A => (ike, esp),
        Side::B => (ike.into_iter().rev().collect(), esp.into_iter().rev().collect()),
    };
}

fn up(seed: u64, change: impl Fn(Side, &mut Connection)) -> Pair {
    let mut pair = Pair::with(seed, change);
    pair.run_secs(1);
    pair.assert_one_pair();
    pair.watch = true;
    pair
}

fn followups(pair: &Pair) -> usize {
    let all = [Side::A, Side::B].map(|side| exchanges(pair, side));
    all.iter().flatten().filter(|e| **e == Exchange::IkeFollowupKe).count()
}

fn exchange_of(bytes: &[u8]) -> Exchange {
    Header::parse(bytes).unwrap().0.exchange
}

// A → B: HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}
//                                 B → A: HDR, SK {SA, Nr, KEr, TSi, TSr, N(ADDITIONAL_KEY_EXCHANGE)(link)}
// A → B: HDR(IKE_FOLLOWUP_KE), SK {KEi(1), N(ADDITIONAL_KEY_EXCHANGE)(link)}        B → A: HDR, SK {KEr(1)}
#[test]
fn rekeys_of_both_kinds_have_both_key_exchanges() {
    for side in [Side::A, Side::B] {
        let mut pair = up(400, quantum);
        assert_eq!(followups(&pair), 0, "IKE_AUTH makes its child of the keys of IKE_INTERMEDIATE");
        let (child, ike) = (pair.a.pairs()[0].id, pair.live(Side::A)[0].id);
        pair.rekey_child(side);
        pair.run_secs(5);
        pair.assert_one_pair();
        assert_ne!(pair.a.pairs()[0].id, child);
        assert!(pair.a.pairs().iter().chain(&pair.b.pairs()).all(|p| p.proposal == PFS));
        let after_child = followups(&pair);
        assert!(after_child >= 2, "{after_child}");
        pair.rekey_ike(side);
        pair.run_secs(5);
        pair.assert_one_pair();
        assert_ne!(pair.live(Side::A)[0].id, ike);
        for at in [Side::A, Side::B] {
            assert_eq!(
                pair.live(at)[0].proposal,
                Some(HYBRID),
                "the new IKE SA is no weaker than the old one"
            );
        }
        assert!(followups(&pair) >= after_child + 2);
        // And what comes from that one.
        pair.rekey_child(side.other());
        pair.run_secs(5);
        pair.assert_one_pair();
        assert_eq!(pair.see(side.other()).count(Counter::Hybrid) + pair.see(side).count(Counter::Hybrid), 4);
    }
}

// R140: a further child, and where only one side has a second key exchange
#[test]
fn a_new_child_has_it_too_and_a_peer_without_it_gets_the_classical_proposal() {
    for (theirs, wanted) in [(vec![PFS, CLASSICAL], PFS), (vec![CLASSICAL], CLASSICAL)] {
        let mut pair = up(401, |side, c| {
            c.proposals = vec![HYBRID, GCM];
            c.children[0].proposals = if side == Side::A { vec![PFS, CLASSICAL] } else { theirs.clone() };
        });
        // Deleted and asked for again: CREATE_CHILD_SA without REKEY_SA.
        pair.watch = false;
        let id = *pair.a.outbound.get(&CHILD).unwrap();
        pair.command(Side::A, Command::DeleteChild(id));
        pair.run_secs(30);
        pair.assert_one_pair();
        assert_eq!(pair.a.pairs()[0].proposal, wanted);
        assert_eq!(followups(&pair) > 0, wanted == PFS);
    }
}

// RFC 9370 §2.2.4: the exchange with the lowest nonce stops, whichever of the two has a second key exchange
#[test]
fn both_sides_at_once() {
    for (seed, change) in [(402, quantum as fn(Side, &mut Connection)), (403, mixed)] {
        for seed in (0..12).map(|n| seed * 100 + n) {
            let mut pair = up(seed, change);
            let child = pair.a.pairs()[0].id;
            pair.rekey_child(Side::A);
            pair.rekey_child(Side::B);
            pair.run_secs(40);
            pair.assert_one_pair();
            assert_ne!(pair.a.pairs()[0].id, child, "seed {seed}");
            let ike = pair.live(Side::A)[0].id;
            pair.rekey_ike(Side::A);
            pair.rekey_ike(Side::B);
            pair.run_secs(90);
            pair.assert_one_pair();
            assert_ne!(pair.live(Side::A)[0].id, ike, "seed {seed}");
            assert_eq!(pair.a.count(Counter::Collisions) + pair.b.count(Counter::Collisions), 4);
            assert_eq!(pair.a.count(Counter::StateNotFound) + pair.b.count(Counter::StateNotFound), 0);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Act {
    Child,
    Ike,
}

fn act(pair: &mut Pair, side: Side, what: Act) {
    match what {
        Act::Child if pair.see(side).outbound.contains_key(&CHILD) => pair.rekey_child(side),
        Act::Child => {}
        Act::Ike => pair.rekey_ike(side),
    }
}

// What A begins × what B begins × how far apart, and then each message lost once.
#[test]
fn crossing_at_every_moment() {
    for (n, change) in [quantum as fn(Side, &mut Connection), mixed].into_iter().enumerate() {
        for a in [Act::Child, Act::Ike] {
            for b in [Act::Child, Act::Ike] {
                for apart in (n as u64..14).step_by(3) {
                    let mut pair = up(500 + n as u64, change);
                    pair.traffic = apart % 2 == 0;
                    act(&mut pair, Side::A, a);
                    pair.run(Duration::from_millis(apart * 5));
                    act(&mut pair, Side::B, b);
                    pair.run_secs(150);
                    pair.assert_one_pair();
                }
                for lost in (n..14).step_by(1 + n) {
                    let mut pair = up(510 + n as u64, change);
                    let mut n = 0;
                    pair.filter = Some(Box::new(move |_, _| {
                        n += 1;
                        n == lost + 1
                    }));
                    act(&mut pair, Side::A, a);
                    act(&mut pair, Side::B, b);
                    pair.run_secs(200);
                    pair.assert_one_pair();
                }
            }
        }
    }
}

// RFC 9370 §2.2.4: a request that was lost and comes when the peer is at its second key exchange is too late
#[test]
fn a_late_rekey_gets_temporary_failure() {
    for what in [Act::Child, Act::Ike] {
        let mut pair = up(404, quantum);
        let mut lost = (false, false);
        pair.filter = Some(Box::new(move |side, bytes| {
            let response = Header::parse(bytes).unwrap().0.response;
            match (side, exchange_of(bytes)) {
                (Side::B, Exchange::CreateChildSa) if !response => !core::mem::replace(&mut lost.0, true),
                (Side::A, Exchange::IkeFollowupKe) => !core::mem::replace(&mut lost.1, true),
                _ => false,
            }
        }));
        act(&mut pair, Side::A, what);
        act(&mut pair, Side::B, what);
        pair.run_secs(90);
        pair.assert_one_pair();
        assert!(pair.b.count(Counter::TemporaryFailures) >= 1, "{what:?}");
        assert_eq!(pair.a.count(Counter::TemporaryFailures), 0, "{what:?}");
    }
}

/// A's exchanges of this kind are lost until `until`.
fn lose(pair: &mut Pair, exchange: Exchange, secs: u64) {
    let held = std::rc::Rc::new(std::cell::Cell::new(true));
    let until = held.clone();
    pair.filter =
        Some(Box::new(move |side, bytes| side == Side::A && until.get() && exchange_of(bytes) == exchange));
    pair.run_secs(secs);
    held.set(false);
}

// RFC 9370 §2.2.4: the responder forgets; STATE_NOT_FOUND is not fatal; the whole series begins again
#[test]
fn a_second_exchange_that_comes_too_late_begins_anew() {
    for what in [Act::Child, Act::Ike] {
        let mut pair = up(405, quantum);
        let (child, ike) = (pair.a.pairs()[0].id, pair.live(Side::A)[0].id);
        act(&mut pair, Side::A, what);
        lose(&mut pair, Exchange::IkeFollowupKe, 21);
        assert_eq!(pair.a.pairs()[0].id, child);
        pair.run_secs(60);
        pair.assert_one_pair();
        assert_eq!((pair.a.count(Counter::StateNotFound), pair.b.count(Counter::StateNotFound)), (1, 1));
        match what {
            Act::Child => assert_ne!(pair.a.pairs()[0].id, child),
            Act::Ike => assert_ne!(pair.live(Side::A)[0].id, ike),
        }
    }
}

// What B began for A is not stored: the next process does not know it.
#[test]
fn either_side_may_crash_between_the_two_exchanges() {
    for what in [Act::Child, Act::Ike] {
        for crashed in [Side::A, Side::B] {
            for millis in (0..60).step_by(5) {
                let mut pair = up(406, quantum);
                act(&mut pair, Side::A, what);
                pair.run(Duration::from_millis(millis));
                pair.watch = false;
                let mut c = Pair::connection(crashed);
                quantum(crashed, &mut c);
                pair.crash_into(crashed, millis, vec![c]);
                // What cannot be continued (an IKE rekey of its own) is made anew when the peer notices.
                if crashed == Side::A && what == Act::Ike {
                    pair.initiate(Side::A);
                }
                pair.run_secs(300);
                pair.assert_one_pair();
                pair.rekey_child(Side::A);
                pair.run_secs(60);
                pair.assert_one_pair();
            }
        }
    }
}

#[test]
fn a_peer_that_forgets_again_and_again_loses_the_ike_sa() {
    let mut pair = up(407, quantum);
    let ike = pair.live(Side::A)[0].id;
    pair.watch = false;
    for _ in 0..4 {
        // Its memory is as short as it gets.
        pair.rekey_child(Side::A);
        pair.run(LATENCY * 2);
        if let Some((_, e)) = pair.b.ep.first_established() {
            e.series.clear();
        }
        pair.run(LATENCY * 2);
        // What is tried again by itself comes to nothing either.
        if let Some((_, e)) = pair.a.ep.first_established() {
            e.queue.clear();
        }
    }
    assert_eq!(pair.a.count(Counter::StateNotFound), 4);
    pair.run_secs(60);
    pair.assert_one_pair();
    assert_ne!(pair.live(Side::A)[0].id, ike);
}

fn create(pair: &mut Pair, nonce: u8) {
    let spi = ravelin_wire::Spi::try_from(0x4444_0000 + u32::from(nonce)).unwrap();
    let mut c = child("10.1.0.0/24", "10.2.0.0/24");
    c.proposals = vec![PFS];
    let (sa, i, r) = crate::child_sa::offer::request(&c, spi, true, None);
    let ke = super::hostile::lawful_ke();
    let bytes = seal_as_a(
        pair,
        Exchange::CreateChildSa,
        false,
        Some(2 + u32::from(nonce)),
        &[sa, Payload::Nonce(vec![nonce; 32]), ke, i, r],
    );
    inject_as_a(pair, &bytes);
}

#[test]
fn unknown_links_and_unlawful_values_make_nothing() {
    let ke = |group, len| Payload::KeyExchange { group, data: vec![0xff; len] };
    let link = |data: Vec<u8>| Payload::Notify(Notify::with_data(notify::ADDITIONAL_KEY_EXCHANGE, data));
    let known = |pair: &mut Pair| pair.b.ep.first_established().unwrap().1.series_links().pop().unwrap();
    // Many series: the last few are remembered, and none of them has made a pair.
    let mut pair = up(408, quantum);
    pair.watch = false;
    (1..60).for_each(|n| create(&mut pair, n));
    assert_eq!(pair.b.ep.first_established().unwrap().1.series.len(), 1, "the same child each time");
    assert_eq!(pair.b.pairs().len(), 1);
    let send = |pair: &mut Pair, inner: &[Payload]| {
        let bytes = seal_as_a(pair, Exchange::IkeFollowupKe, false, Some(62), inner);
        inject_as_a(pair, &bytes);
        pair.b.ep.snapshot(pair.now).ike_sas[0].state
    };
    // Not fatal.
    assert_eq!(send(&mut pair, &[ke(36, 1184), link(vec![1; 16])]), "established");
    assert_eq!(pair.b.count(Counter::StateNotFound), 1);
    for value in [Some((36, 1184)), Some((36, 1183)), Some((37, 1568)), None] {
        let mut pair = up(409, quantum);
        pair.watch = false;
        (1..60).for_each(|n| create(&mut pair, n));
        let link = link(known(&mut pair));
        let inner: Vec<_> = value.map(|(group, len)| ke(group, len)).into_iter().chain([link]).collect();
        assert_eq!(send(&mut pair, &inner), "closed", "{inner:?}");
        assert!(pair.b.pairs().is_empty());
    }
    // What is not gone on with is forgotten, and holds nothing up.
    let mut pair = up(410, quantum);
    pair.watch = false;
    pair.filter = Some(Box::new(|side, _| side == Side::A));
    create(&mut pair, 1);
    assert_eq!(pair.b.ep.first_established().unwrap().1.series.len(), 1);
    pair.run_secs(21);
    assert!(pair.b.ep.first_established().unwrap().1.series.is_empty());
}
