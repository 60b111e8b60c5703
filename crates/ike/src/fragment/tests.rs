//! Cutting and putting together, and what pieces of a hostile peer cost.

use super::*;
use crate::config::{Encryption, Group, IkeProposal, Integrity, Prf};
use crate::crypto::keys::{Ingredients, ike_keys};
use crate::header::{Exchange, VERSION};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::time::{Duration, Instant};

const GCM: IkeProposal = IkeProposal {
    encryption: Encryption::AesGcm16_128,
    integrity: None,
    prf: Prf::HmacSha256,
    group: Group::Curve25519,
    kem: None,
};
const CBC: IkeProposal =
    IkeProposal { encryption: Encryption::AesCbc256, integrity: Some(Integrity::HmacSha256_128), ..GCM };

fn keys(suite: &IkeProposal) -> Protection {
    let from = Ingredients { ni: &[1; 32], nr: &[2; 32], initiator_spi: 3, responder_spi: 4 };
    ike_keys(suite, &[9; 32], from).from_initiator
}

fn header() -> Header {
    Header {
        initiator_spi: 5,
        responder_spi: 6,
        next_payload: 0,
        version: VERSION,
        exchange: Exchange::IkeAuth,
        from_initiator: true,
        response: false,
        message_id: 1,
    }
}

fn long(n: usize) -> Vec<Payload> {
    vec![Payload::Nonce(vec![3; 32]), Payload::KeyExchange { group: 14, data: vec![7; n] }]
}

fn cut_up(suite: &IkeProposal, payloads: &[Payload], limit: usize) -> Option<Vec<Vec<u8>>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    protect(header(), payloads, &mut keys(suite), &mut rng, Some(limit))
}

fn room() -> Room {
    Room::new(1 << 20, 1 << 16)
}

fn take(store: &mut Fragments, bytes: &[u8], suite: &IkeProposal, room: &Room) -> Taken {
    let fragment = Fragment::parse(bytes).unwrap();
    assert!(store.is_news(false, 1, fragment));
    let piece = Fragment::open(bytes, &keys(suite)).unwrap();
    store.take((false, 1), fragment, (bytes, piece), room, Instant::now())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    // RFC 7383 §2.5: no piece is longer than wanted, in whatever order they come the message is whole again.
    #[test]
    fn what_is_cut_is_whole_again(n in 1usize..9000, limit in 500usize..3000, cbc in any::<bool>(), turn in any::<usize>()) {
        let suite = if cbc { &CBC } else { &GCM };
        let mut all = cut_up(suite, &long(n), limit).unwrap();
        prop_assert!(all.iter().all(|d| d.len() <= limit));
        if let [one] = all.as_slice() {
            let (h, _) = Header::parse(one).unwrap();
            let opened = crate::message::open(&h, one, &keys(suite)).unwrap();
            prop_assert_eq!(opened.payloads().unwrap(), long(n));
            return Ok(());
        }
        let len = all.len();
        all.rotate_left(turn % len);
        let (room, mut store) = (room(), Fragments::default());
        for (i, bytes) in all.iter().enumerate() {
            let (h, _) = Header::parse(bytes).unwrap();
            prop_assert_eq!(h.next_payload, kind::ENCRYPTED_FRAGMENT);
            match take(&mut store, bytes, suite, &room) {
                Taken::Kept => prop_assert!(i + 1 < len),
                Taken::Whole(w) => {
                    prop_assert_eq!(i + 1, len);
                    prop_assert_eq!(payload::parse_chain(w.first, &w.plain).unwrap(), long(n));
                }
                Taken::NoRoom => prop_assert!(false),
            }
        }
        prop_assert_eq!(room.used(), 0, "all room is given back");
    }

    #[test]
    fn any_bytes_are_no_danger(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(f) = Fragment::parse(&bytes) {
            prop_assert!(f.number >= 1 && f.number <= f.total && f.total <= MAX_FRAGMENTS);
        }
        prop_assert!(Fragment::open(&bytes, &keys(&GCM)).is_err());
    }
}

#[test]
fn every_bit_of_a_fragment_is_authentic() {
    for suite in [&GCM, &CBC] {
        let all = cut_up(suite, &long(900), 500).unwrap();
        assert!(all.len() >= 2);
        for bit in 0..all[0].len() * 8 {
            let mut bad = all[0].clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Fragment::open(&bad, &keys(suite)).is_err(), "bit {bit}");
        }
    }
}

// RFC 7383 §2.5 and §2.6
#[test]
fn heads_that_lie_are_refused() {
    let all = cut_up(&GCM, &long(2000), 600).unwrap();
    let with = |at: usize, value: [u8; 2]| {
        let mut bad = all[1].clone();
        bad[at..at + 2].copy_from_slice(&value);
        Fragment::parse(&bad)
    };
    assert!(Fragment::parse(&all[1]).is_ok());
    assert!(with(32, [0, 0]).is_err(), "number 0");
    assert!(with(32, [0, 200]).is_err(), "number above the total");
    assert!(with(34, [1, 0]).is_err(), "more than we take");
    assert!(with(30, [0, 9]).is_err(), "length");
    assert!(with(28, [33, 0]).is_err(), "only the first names the payload");
}

#[test]
fn duplicates_and_coarser_cuts_cost_no_decryption_and_finer_ones_begin_anew() {
    let (room, mut store) = (room(), Fragments::default());
    let (coarse, fine) = (cut_up(&GCM, &long(2000), 900).unwrap(), cut_up(&GCM, &long(2000), 600).unwrap());
    assert!(fine.len() > coarse.len());
    assert!(matches!(take(&mut store, &coarse[0], &GCM, &room), Taken::Kept));
    let head = |d: &[u8]| Fragment::parse(d).unwrap();
    assert!(!store.is_news(false, 1, head(&coarse[0])), "a duplicate");
    assert!(store.is_news(true, 1, head(&coarse[0])), "answers are another message");
    assert!(matches!(take(&mut store, &fine[0], &GCM, &room), Taken::Kept));
    assert!(!store.is_news(false, 1, head(&coarse[1])), "coarser than what is there");
    for bytes in &fine[1..fine.len() - 1] {
        assert!(matches!(take(&mut store, bytes, &GCM, &room), Taken::Kept));
    }
    let Taken::Whole(w) = take(&mut store, fine.last().unwrap(), &GCM, &room) else { panic!("not whole") };
    assert_eq!(payload::parse_chain(w.first, &w.plain).unwrap(), long(2000));
}

#[test]
fn room_is_bounded_and_given_back() {
    let all = cut_up(&GCM, &long(4000), 600).unwrap();
    // One message may have less than it needs.
    let (small, mut store) = (Room::new(1 << 20, 1200), Fragments::default());
    assert!(matches!(take(&mut store, &all[0], &GCM, &small), Taken::Kept));
    assert!(matches!(take(&mut store, &all[1], &GCM, &small), Taken::Kept));
    assert!(matches!(take(&mut store, &all[2], &GCM, &small), Taken::NoRoom));
    assert_eq!(small.used(), 0);
    // All messages together may.
    let shared = Room::new(1500, 1 << 16);
    let mut stores: Vec<Fragments> = (0..3).map(|_| Fragments::default()).collect();
    let taken: Vec<bool> =
        stores.iter_mut().map(|s| matches!(take(s, &all[0], &GCM, &shared), Taken::Kept)).collect();
    assert_eq!(taken, [true, true, false]);
    drop(stores);
    assert_eq!(shared.used(), 0);
}

#[test]
fn what_never_comes_whole_is_forgotten() {
    let all = cut_up(&GCM, &long(2000), 600).unwrap();
    let (room, mut store, now) = (room(), Fragments::default(), Instant::now());
    let fragment = Fragment::parse(&all[0]).unwrap();
    let piece = Fragment::open(&all[0], &keys(&GCM)).unwrap();
    let until = now + Duration::from_secs(20);
    assert!(matches!(store.take((false, 1), fragment, (&all[0], piece), &room, until), Taken::Kept));
    assert_eq!(store.expires_at(), Some(until));
    assert_eq!(store.expire(until - Duration::from_millis(1)), 0);
    assert_eq!(store.expire(until), 1);
    assert_eq!((store.expires_at(), room.used()), (None, 0));
}

#[test]
fn a_message_that_needs_too_many_pieces_is_not_sent() {
    assert_eq!(cut_up(&GCM, &long(60_000), 120), None);
    assert_eq!(cut_up(&GCM, &long(600), 60), None, "no room for anything");
    assert!(cut_up(&GCM, &long(60_000), 500).is_some_and(|all| all.len() <= 255));
}
