//! ML-KEM beside the first key exchange: IKE_INTERMEDIATE (RFC 9242), multiple key exchanges (RFC 9370).

use super::pair::*;
use crate::config::*;
use crate::counters::Counter;
use crate::header::{Exchange, Header};
use crate::message;
use crate::payload::{Notify, Payload, notify};
use core::time::Duration;
use rand_core::SeedableRng;

pub(super) const HYBRID: IkeProposal = IkeProposal { kem: Some(Kem::MlKem768), ..GCM };

pub(super) fn exchanges(pair: &Pair, side: Side) -> Vec<Exchange> {
    let of_side = pair.sent.iter().filter(|(_, s, _)| *s == side);
    of_side.map(|(_, _, t)| Header::parse(&t.bytes).unwrap().0.exchange).collect()
}

// A → B: HDR, SAi1, KEi, Ni, N(INTERMEDIATE_EXCHANGE_SUPPORTED)   B → A: the same
// A → B: HDR, SKF {KEi(1)}, twice                                 B → A: HDR, SK(F) {KEr(1)}
// A → B: HDR, SK {IDi, AUTH, …}                                   B → A: HDR, SK {IDr, AUTH, …}
// R310
#[test]
fn both_key_exchanges_make_the_keys() {
    for kem in [Kem::MlKem512, Kem::MlKem768, Kem::MlKem1024] {
        let mut pair = Pair::with(300, |_, c| c.proposals = vec![IkeProposal { kem: Some(kem), ..GCM }, GCM]);
        pair.run_secs(1);
        pair.assert_one_pair();
        assert_eq!(pair.live(Side::A)[0].proposal.unwrap().kem, Some(kem));
        assert_eq!(pair.live(Side::B)[0].proposal.unwrap().kem, Some(kem));
        let pieces = exchanges(&pair, Side::A).iter().filter(|e| **e == Exchange::IkeIntermediate).count();
        assert_eq!(pieces, if kem == Kem::MlKem512 { 1 } else { 2 }, "{kem:?} with packets of 1280 bytes");
        assert_eq!(pair.b.count(Counter::Hybrid), 1);
        // What follows goes under the new keys.
        pair.rekey_child(Side::B);
        pair.run_secs(10);
        pair.rekey_ike(Side::A);
        pair.run_secs(10);
        pair.rekey_ike(Side::B);
        pair.run_secs(10);
        pair.assert_one_pair();
    }
}

// R310: the classical fallback
#[test]
fn a_peer_without_it_gets_the_classical_proposal() {
    for classical in [Side::A, Side::B] {
        let mut pair = Pair::with(301, |side, c| {
            c.proposals = if side == classical { vec![GCM] } else { vec![HYBRID, GCM] };
        });
        pair.run_secs(1);
        pair.assert_one_pair();
        assert_eq!(pair.live(Side::A)[0].proposal, Some(GCM));
        assert!(!exchanges(&pair, Side::A).contains(&Exchange::IkeIntermediate));
    }
    // Where it is the only one, the difference has a name.
    let mut pair = Pair::with(302, |side, c| c.proposals = vec![if side == Side::A { HYBRID } else { GCM }]);
    // A refusal that is not authentic is believed after two more tries.
    pair.run_secs(8);
    pair.assert_nothing();
    let told = format!("{:?}", pair.b.log);
    assert!(told.contains("additional key exchange: wanted nothing, got mlkem768"), "{told}");
}

#[test]
fn whoever_prefers_it_gets_it_and_a_restart_with_another_group_too() {
    let ecp = IkeProposal { group: Group::Ecp256, ..HYBRID };
    let mut pair = Pair::with(303, |side, c| {
        c.proposals = if side == Side::A { vec![GCM, HYBRID, ecp] } else { vec![ecp, GCM] };
    });
    pair.run_secs(1);
    pair.assert_one_pair();
    assert_eq!(pair.live(Side::B)[0].proposal, Some(ecp));
    assert_eq!(pair.a.count(Counter::InvalidKe), 1);
}

#[test]
fn a_lost_piece_of_either_half_is_sent_again() {
    for from in [Side::A, Side::B] {
        let mut pair = Pair::with(304, |_, c| {
            c.proposals = vec![HYBRID];
            c.fragment_size = Some(576);
        });
        let mut lost = false;
        pair.filter = Some(Box::new(move |side, bytes| {
            let hit = !lost
                && side == from
                && Header::parse(bytes).unwrap().0.exchange == Exchange::IkeIntermediate;
            lost |= hit;
            hit
        }));
        pair.run_secs(5);
        pair.assert_one_pair();
        assert_eq!(pair.a.count(Counter::Retransmits), 1);
        // The keys had changed when the request came again: it is known by its bytes.
        assert_eq!(pair.b.count(Counter::BadIntegrity), 0);
    }
}

/// A waits for the answer to its IKE_INTERMEDIATE, which B never saw; then A's keys send something else.
fn instead(exchange: Exchange, payloads: &[Payload]) -> Pair {
    let mut pair = Pair::with(305, |_, c| c.proposals = vec![HYBRID]);
    pair.filter = Some(Box::new(|_, bytes| Header::parse(bytes).unwrap().0.exchange != Exchange::IkeSaInit));
    pair.run(Duration::from_millis(100));
    let (core, keys) = pair.a.ep.first_intermediate().expect("IKE_INTERMEDIATE sent");
    let header = core.header(exchange, false, 1);
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let bytes = message::sealed(header, payloads, keys.sealing(core.role), &mut rng).unwrap();
    pair.inject(Side::B, "198.18.0.2:500".parse().unwrap(), "198.18.0.1:500".parse().unwrap(), &bytes);
    pair
}

// RFC 9370 §2.2.2: no way around the second exchange, and nothing unlawful in it
#[test]
fn the_second_exchange_cannot_be_left_out_or_be_nonsense() {
    let ke = |group, data| Payload::KeyExchange { group, data };
    let cases: [(Exchange, Vec<Payload>); 5] = [
        (Exchange::IkeAuth, vec![Payload::IdI(crate::payload::Id { kind: 2, data: b"a.lab".to_vec() })]),
        (Exchange::IkeIntermediate, vec![]),
        (Exchange::IkeIntermediate, vec![ke(37, vec![0; 1184])]),
        (Exchange::IkeIntermediate, vec![ke(36, vec![0; 1183])]),
        (Exchange::IkeIntermediate, vec![ke(36, vec![0xff; 1184])]),
    ];
    for (exchange, payloads) in cases {
        let mut pair = instead(exchange, &payloads);
        assert_eq!(pair.b.ep.snapshot(pair.now).ike_sas[0].state, "closed", "{exchange:?} {payloads:?}");
        assert_eq!(pair.b.count(Counter::Hybrid), 0);
        pair.run_secs(60);
        assert!(pair.b.pairs().is_empty());
    }
}

// RFC 9370 §2.2.1: without IKE_INTERMEDIATE there is no second exchange
#[test]
fn a_peer_that_forgets_to_say_that_it_can_is_not_asked_for_it() {
    let mut pair = Pair::empty(306);
    let mut c = Pair::connection(Side::B);
    c.proposals = vec![HYBRID, GCM];
    pair.command(Side::B, crate::command::Command::Configure(Box::new(c)));
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(9);
    let ke = crate::crypto::group::KeyExchange::new(Group::Curve25519, &mut rng).unwrap();
    for (says, transforms) in [(false, 3), (true, 4)] {
        let mut payloads = vec![
            Payload::Sa(crate::negotiate::proposal::offer_ike(&[HYBRID, GCM], None)),
            Payload::KeyExchange { group: 31, data: ke.public.clone() },
            Payload::Nonce(vec![4; 32]),
        ];
        payloads.extend(says.then(|| Payload::Notify(Notify::new(notify::INTERMEDIATE_EXCHANGE_SUPPORTED))));
        let bytes = super::hostile::first_request(7 + u64::from(says), &payloads);
        let before = pair.sent.len();
        pair.inject(Side::B, "198.18.0.2:500".parse().unwrap(), "198.18.0.1:500".parse().unwrap(), &bytes);
        let reply = &pair.sent[before].2.bytes;
        let (h, body) = Header::parse(reply).unwrap();
        let reply = crate::payload::parse_chain(h.next_payload, body).unwrap();
        let sa = message::View(&reply).sa().unwrap();
        assert_eq!(sa[0].transforms.len(), transforms);
    }
}
