//! RFC 7383 between two endpoints: long messages over a path that takes only short ones.

use super::pair::*;
use crate::config::*;
use crate::counters::Counter;
use crate::header::{Exchange, Header};
use crate::payload::kind;
use core::time::Duration;
use rand_core::SeedableRng;

/// IKE_AUTH and CREATE_CHILD_SA become longer than two packets of 576 bytes.
pub(super) fn long_messages(side: Side, c: &mut Connection) {
    c.fragment_size = Some(576);
    let name = |letter: &str| Identity::Fqdn(letter.repeat(900));
    let (ours, theirs) = if side == Side::A { ("a", "b") } else { ("b", "a") };
    (c.local_id, c.remote_id) = (name(ours), name(theirs));
    let (near, far) = if side == Side::A { (1, 2) } else { (2, 1) };
    let nets = (0..30).map(|i| selector(&format!("10.{near}.{i}.0/24"), &format!("10.{far}.{i}.0/24")));
    c.children[0].selectors = nets.collect();
}

fn is_fragment(bytes: &[u8]) -> bool {
    Header::parse(bytes).is_ok_and(|(h, _)| h.next_payload == kind::ENCRYPTED_FRAGMENT)
}

fn number(bytes: &[u8]) -> u16 {
    crate::fragment::Fragment::parse(bytes).unwrap().number
}

// R188: RFC 7383 §2.3, §2.5
#[test]
fn long_messages_go_in_pieces_that_fit() {
    let mut pair = Pair::with(200, long_messages);
    pair.run_secs(1);
    pair.assert_one_pair();
    pair.rekey_child(Side::B);
    pair.run_secs(10);
    pair.rekey_ike(Side::A);
    pair.run_secs(10);
    pair.rekey_child(Side::A);
    pair.run_secs(10);
    pair.assert_one_pair();
    assert!(pair.sent.iter().all(|(_, _, t)| t.datagram().len() + 28 <= 576));
    for node in [&pair.a, &pair.b] {
        // IKE_AUTH, two CREATE_CHILD_SA for children; the successor of the IKE SA goes on with fragments.
        assert_eq!(node.count(Counter::Reassembled), 3);
        assert_eq!(node.count(Counter::FragmentsUseless), 0);
    }
    assert_eq!(pair.a.count(Counter::FragmentsSent), pair.b.count(Counter::FragmentsReceived));
}

// RFC 7383 §2.3: only when both know it
#[test]
fn without_agreement_nothing_is_cut() {
    for off in [Side::A, Side::B] {
        let mut pair = Pair::with(201, |side, c| {
            long_messages(side, c);
            c.fragment_size = c.fragment_size.filter(|_| side != off);
        });
        pair.run_secs(1);
        pair.assert_one_pair();
        assert!(!pair.sent.iter().any(|(_, _, t)| is_fragment(&t.bytes)));
    }
}

#[test]
fn short_messages_stay_whole() {
    let mut pair = Pair::established();
    pair.rekey_child(Side::A);
    pair.run_secs(5);
    assert!(!pair.sent.iter().any(|(_, _, t)| is_fragment(&t.bytes)));
}

// RFC 7383 §2.6.1: all pieces are sent again, and only the first brings the answer again, once
#[test]
fn a_lost_piece_brings_the_whole_message_again() {
    let mut pair = Pair::with(202, long_messages);
    // The first answer loses its second piece.
    let mut lost = 0;
    pair.filter = Some(Box::new(move |from, bytes| {
        let hit = from == Side::B && is_fragment(bytes) && number(bytes) == 2 && lost == 0;
        lost += usize::from(hit);
        hit
    }));
    pair.run_secs(5);
    pair.assert_one_pair();
    assert_eq!(pair.a.count(Counter::Retransmits), 1);
    assert_eq!(pair.b.count(Counter::RepliesRepeated), 1);
    let pieces = |side| pair.sent.iter().filter(|(_, s, t)| *s == side && is_fragment(&t.bytes)).count();
    let (asked, answered) = (pieces(Side::A), pieces(Side::B));
    assert_eq!((asked % 2, answered % 2), (0, 0), "each twice");
    // A had all but one piece of the answer: the others are not decrypted twice.
    assert_eq!(pair.a.count(Counter::FragmentsReceived), answered as u64 / 2);
}

// The peer, or its path, sends the same message in other pieces
#[test]
fn an_answered_request_in_other_pieces_is_answered_again() {
    let mut pair = Pair::with(203, long_messages);
    pair.run_secs(1);
    let (core, e) = pair.a.ep.first_established().unwrap();
    let header = core.header(Exchange::IkeAuth, false, 1);
    let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
    let inner = [crate::payload::Payload::Nonce(vec![1; 200])];
    let keys = e.keys.sealing(core.role);
    let all = crate::fragment::protect(header, &inner, keys, &mut rng, Some(150)).unwrap();
    assert!(all.len() > 2);
    let (to, from) = ("198.18.0.2:500".parse().unwrap(), "198.18.0.1:500".parse().unwrap());
    all.iter().for_each(|bytes| pair.inject(Side::B, to, from, bytes));
    assert_eq!(pair.b.count(Counter::RepliesRepeated), 1);
    assert_eq!(pair.b.count(Counter::FragmentsUseless), all.len() as u64 - 1);
    pair.assert_one_pair();
}

#[test]
fn forged_pieces_cost_nothing_and_harm_nothing() {
    let mut pair = Pair::with(204, long_messages);
    // Before each true piece come forged ones: other content, other totals, other numbers.
    let (a, b) = ("198.18.0.1:500".parse().unwrap(), "198.18.0.2:500".parse().unwrap());
    for _ in 0..40 {
        let before = pair.sent.len();
        pair.run(Duration::from_millis(5));
        let seen: Vec<_> =
            pair.sent[before..].iter().filter(|(_, _, t)| is_fragment(&t.bytes)).cloned().collect();
        for (_, from, t) in seen {
            for at in [32, 33, 34, 35, 40, 60] {
                let mut bad = t.bytes.clone();
                bad[at] = bad[at].wrapping_add(1);
                let (to, local, remote) = if from == Side::A { (Side::B, b, a) } else { (Side::A, a, b) };
                pair.inject(to, local, remote, &bad);
            }
        }
    }
    pair.run_secs(1);
    pair.assert_one_pair();
    assert!(pair.b.count(Counter::BadIntegrity) > 5);
    assert_eq!(pair.a.count(Counter::Retransmits), 0, "not even a delay");
}

#[test]
fn a_peer_that_never_completes_its_message_leaves_nothing() {
    let mut pair = Pair::with(205, long_messages);
    pair.filter = Some(Box::new(|from, bytes| from == Side::A && is_fragment(bytes) && number(bytes) == 2));
    pair.run_secs(2);
    let (strangers, peers) = pair.b.ep.rooms();
    assert!(strangers > 0, "pieces of one that has not authenticated");
    assert_eq!(peers, 0);
    // A gives up, B forgets the pieces and the half-open SA.
    pair.command(Side::A, crate::command::Command::Remove(CONNECTION));
    pair.run_secs(120);
    assert_eq!(pair.b.ep.rooms(), (0, 0));
    assert!(pair.b.count(Counter::FragmentsExpired) >= 1);
    assert!(pair.b.ep.snapshot(pair.now).ike_sas.is_empty());
}

// Keys, but no manners: pieces of messages that never end, of every total
#[test]
fn pieces_of_an_authenticated_peer_are_bounded() {
    let mut pair = Pair::with(206, long_messages);
    pair.run_secs(1);
    let mut rng = rand_chacha::ChaCha20Rng::from_seed([2; 32]);
    let (to, from) = ("198.18.0.2:500".parse().unwrap(), "198.18.0.1:500".parse().unwrap());
    for n in 2..40usize {
        let (core, e) = pair.a.ep.first_established().unwrap();
        let header = core.header(Exchange::CreateChildSa, false, core.window.next_request_id());
        let inner = [crate::payload::Payload::KeyExchange { group: 14, data: vec![1; 900 * n] }];
        let keys = e.keys.sealing(core.role);
        let all = crate::fragment::protect(header, &inner, keys, &mut rng, Some(1000)).unwrap();
        all[..all.len() - 1].iter().for_each(|bytes| pair.inject(Side::B, to, from, bytes));
        assert!(pair.b.ep.rooms().1 <= 64 << 10);
    }
    pair.run_secs(30);
    assert_eq!(pair.b.ep.rooms(), (0, 0));
    pair.rekey_child(Side::A);
    pair.run_secs(5);
    pair.assert_one_pair();
}
