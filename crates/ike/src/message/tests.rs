//! Codec: what is written is read back, and nothing that is read can stop it.

use super::*;
use crate::config::{Encryption, Group, IkeProposal, Integrity, Prf};
use crate::crypto::keys::{Ingredients, ike_keys};
use crate::header::{Exchange, VERSION};
use crate::negotiate::proposal::offer_ike;
use crate::payload::{Delete, Id, Notify, TrafficSelector, kind};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use ravelin_wire::{AddrRange, PortRange};
use zeroize::Zeroizing;

const SUITES: [IkeProposal; 4] = [
    IkeProposal {
        encryption: Encryption::AesGcm16_128,
        integrity: None,
        prf: Prf::HmacSha256,
        group: Group::Curve25519,
        kem: None,
    },
    IkeProposal {
        encryption: Encryption::ChaCha20Poly1305,
        integrity: None,
        prf: Prf::HmacSha512,
        group: Group::Ecp256,
        kem: None,
    },
    IkeProposal {
        encryption: Encryption::AesCbc256,
        integrity: Some(Integrity::HmacSha256_128),
        prf: Prf::HmacSha384,
        group: Group::Ecp384,
        kem: None,
    },
    IkeProposal {
        encryption: Encryption::AesCbc128,
        integrity: Some(Integrity::HmacSha1_96),
        prf: Prf::HmacSha1,
        group: Group::Modp2048,
        kem: None,
    },
];

fn header() -> Header {
    Header {
        initiator_spi: 0x1122_3344_5566_7788,
        responder_spi: 0x99aa_bbcc_ddee_ff00,
        next_payload: 0,
        version: VERSION,
        exchange: Exchange::CreateChildSa,
        from_initiator: true,
        response: false,
        message_id: 7,
    }
}

fn payloads() -> Vec<Payload> {
    let ts = |a: [u8; 4], b: [u8; 4]| TrafficSelector {
        protocol: Some(6),
        addrs: AddrRange::new(a.into(), b.into()).unwrap(),
        ports: Some(PortRange::new(1, 1023).unwrap()),
    };
    let opaque = TrafficSelector { ports: None, protocol: None, addrs: AddrRange::ANY_V6 };
    vec![
        Payload::Sa(offer_ike(&SUITES, Some(9))),
        Payload::KeyExchange { group: 31, data: vec![5; 32] },
        Payload::Nonce(vec![3; 32]),
        Payload::IdI(Id { kind: 2, data: b"a.lab".to_vec() }),
        Payload::IdR(Id { kind: 1, data: vec![192, 0, 2, 1] }),
        Payload::Auth { method: 2, data: Zeroizing::new(vec![8; 32]) },
        Payload::Notify(Notify { protocol: 3, spi: vec![1, 2, 3, 4], kind: 16393, data: vec![] }),
        Payload::Notify(Notify::with_data(16390, vec![7; 33])),
        Payload::Delete(Delete::Esp(vec![0x1000, 0x2000])),
        Payload::Delete(Delete::Ike),
        Payload::TsI(vec![ts([10, 0, 0, 0], [10, 0, 0, 255])]),
        Payload::TsR(vec![ts([10, 1, 0, 0], [10, 1, 0, 7]), opaque]),
    ]
}

fn protection(suite: &IkeProposal) -> Protection {
    let from = Ingredients { ni: &[1; 32], nr: &[2; 32], initiator_spi: 3, responder_spi: 4 };
    ike_keys(suite, &[9; 32], from).from_initiator
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = plain(header(), &payloads());
    let (h, body) = Header::parse(&bytes).unwrap();
    assert_eq!(h, Header { next_payload: kind::SA, ..header() });
    assert_eq!(payload::parse_chain(h.next_payload, body).unwrap(), payloads());
}

#[test]
fn what_is_sealed_is_opened_and_nothing_else() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for suite in &SUITES {
        for some in 0..payloads().len() {
            let list = &payloads()[..some];
            let bytes = sealed(header(), list, &mut protection(suite), &mut rng).unwrap();
            let (h, _) = Header::parse(&bytes).unwrap();
            assert_eq!(open(&h, &bytes, &protection(suite)).unwrap().payloads().unwrap(), list);
        }
        let bytes = sealed(header(), &payloads(), &mut protection(suite), &mut rng).unwrap();
        // Every single bit matters, header included.
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok((h, _)) = Header::parse(&bad) {
                let result = open(&h, &bad, &protection(suite));
                assert!(matches!(result, Err(Unreadable::Integrity | Unreadable::Shape(_))), "bit {bit}");
            }
        }
        for len in 0..bytes.len() {
            let mut cut = bytes[..len].to_vec();
            header::patch_length(&mut cut);
            if let Ok((h, _)) = Header::parse(&cut) {
                assert!(open(&h, &cut, &protection(suite)).is_err());
            }
        }
    }
}

// RFC 5282 §3.1: no IV twice under one key
#[test]
fn every_message_has_its_own_iv() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for suite in &SUITES {
        let mut keys = protection(suite);
        let n = keys.iv_len();
        let ivs: std::collections::BTreeSet<Vec<u8>> = (0..50)
            .map(|_| sealed(header(), &payloads(), &mut keys, &mut rng).unwrap()[32..32 + n].to_vec())
            .collect();
        assert_eq!(ivs.len(), 50);
    }
}

// RFC 7296 §2.5
// R181
#[test]
fn unknown_payloads_are_skipped_unless_critical() {
    // SA (empty body is malformed) is not needed: a chain of one unknown payload, then a nonce.
    let chain = |critical: u8| {
        let mut bytes = vec![kind::NONCE, critical, 0, 6, 1, 2];
        bytes.extend_from_slice(&[0, 0, 0, 20]);
        bytes.extend_from_slice(&[7; 16]);
        bytes
    };
    let read = payload::parse_chain(200, &chain(0)).unwrap();
    assert_eq!(read, [Payload::Ignored(200), Payload::Nonce(vec![7; 16])]);
    assert_eq!(payload::parse_chain(200, &chain(0x80)), Err(Malformed::Critical(200)));
    // A known type with the flag is fine, a vendor id too.
    assert!(payload::parse_chain(43, &chain(0x80)).is_ok());
}

#[test]
fn lengths_that_lie_are_refused() {
    let bytes = plain(header(), &payloads());
    let mut long = bytes.clone();
    long.push(0);
    assert_eq!(Header::parse(&long), Err(Malformed::Length("message")));
    let (_, body) = Header::parse(&bytes).unwrap();
    for len in 0..body.len() {
        assert!(payload::parse_chain(kind::SA, &body[..len]).is_err(), "cut at {len}");
    }
    assert!(payload::parse_chain(kind::SA, &[body, &[0]].concat()).is_err());
    // More payloads than any honest message has.
    let many = [kind::NOTIFY, 0, 0, 8, 0, 0, 0x40, 0].repeat(1000);
    assert_eq!(payload::parse_chain(kind::NOTIFY, &many), Err(Malformed::TooMany("payloads")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_no_danger(bytes in proptest::collection::vec(any::<u8>(), 0..400), first in any::<u8>()) {
        let _ = Header::parse(&bytes);
        let _ = payload::parse_chain(first, &bytes);
        for kind in 33..=48 {
            // One payload with a right generic header, so that its parser is reached.
            let mut one = vec![0, 0];
            one.extend_from_slice(&u16::try_from(bytes.len() + 4).unwrap().to_be_bytes());
            one.extend_from_slice(&bytes);
            let _ = payload::parse_chain(kind, &one);
        }
        for suite in &SUITES {
            let _ = open(&header(), &bytes, &protection(suite)).map(|o| o.payloads());
        }
    }

    #[test]
    fn mutated_messages_are_no_danger(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8)) {
        let mut bytes = plain(header(), &payloads());
        for (at, value) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = value;
        }
        // What can still be read can be written and read again as the same.
        if let Ok((h, body)) = Header::parse(&bytes)
            && let Ok(read) = payload::parse_chain(h.next_payload, body)
        {
            let lossless = |p: &Payload| !matches!(p, Payload::Ignored(_) | Payload::Delete(Delete::Other));
            let read: Vec<Payload> = read.into_iter().filter(lossless).collect();
            let empty = |p: &Payload| matches!(p, Payload::TsI(l) | Payload::TsR(l) if l.is_empty());
            if !read.iter().any(empty) && !read.iter().any(|p| format!("{p:?}").contains("SA")) {
                let again = plain(h, &read);
                let (h, body) = Header::parse(&again).unwrap();
                prop_assert_eq!(payload::parse_chain(h.next_payload, body).unwrap(), read);
            }
        }
    }
}
