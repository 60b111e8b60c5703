//! IVs: never the same twice under one key; CBC's cannot be predicted from the number.

use std::collections::HashSet;

use super::*;

/// 2^20 numbers around a carry of the lower half: by each kernel that makes IVs of CBC no IV twice, and each counting IV is
/// its number. The latter are written before any kernel sees the packet, by the frame's two ways: that of AES-GCM, and that
/// of all others.
#[test]
fn ivs_are_distinct_over_a_million_numbers() {
    let best = Engine::new();
    for suite in [Suite::Aes128Gcm16, Suite::ChaCha20Poly1305] {
        seal_a_million(&best, suite, |seq, iv| assert_eq!(iv[..8], seq.to_be_bytes(), "{suite:?}"));
    }
    for (suite, tier) in [
        (Suite::Aes128CbcSha1, Tier::Portable),
        (Suite::Aes192CbcSha1, Tier::Sse),
        (Suite::Aes256CbcSha1, Tier::Avx512),
    ] {
        let mut seen = Vec::with_capacity(1 << 20);
        seal_a_million(&Engine::with_tier(tier), suite, |_, iv| seen.push(u128::from_le_bytes(iv)));
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{suite:?}, {tier:?}");
        assert_eq!(seen.len(), 1 << 20);
    }
}

fn seal_a_million(engine: &Engine, suite: Suite, mut each: impl FnMut(u64, [u8; 16])) {
    let key = key(suite, 1);
    let len = suite.sealed_len(1);
    let mut memory = vec![0; len * BURST];
    let first = u64::from(u32::MAX) - (1 << 19);
    for first in (first..).step_by(BURST).take((1 << 20) / BURST) {
        let mut burst = SealBurst::default();
        for (packet, seq) in memory.chunks_exact_mut(len).zip(first..) {
            burst.push(SealJob { key: &key, spi: 1, seq, esn: true, next_header: 4, payload_len: 1, packet });
        }
        assert_eq!(engine.seal_burst(&mut burst), 0);
        drop(burst);
        for (packet, seq) in memory.chunks_exact(len).zip(first..) {
            each(seq, iv(suite, packet));
        }
    }
}

/// RFC 4106 §3.1, RFC 4543 §3.1, RFC 3686 §3.1, RFC 7634 §2: the number itself is the IV.
#[test]
fn an_aead_iv_is_the_whole_number() {
    for suite in Suite::ALL.into_iter().filter(|suite| suite.iv_len() == 8) {
        for tier in TIERS {
            let plan = Plan { esn: true, seq: 0x0102_0304_0506_0708, ..Plan::new(suite, 1, 9) };
            let sealed = seal_all(&Engine::with_tier(tier), &[plan]);
            assert_eq!(sealed[0][..16], [0, 0, 0x10, 1, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }
}

/// Whole bursts of every suite on every tier: 2^12 numbers, no IV twice.
#[test]
fn ivs_are_distinct_in_bursts_of_every_suite() {
    for suite in Suite::ALL.into_iter().filter(|suite| suite.iv_len() > 0) {
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            let plans: Vec<Plan> =
                (0..1 << 12).map(|n| Plan { key_seed: 1, ..Plan::new(suite, n, 1) }).collect();
            let ivs: HashSet<[u8; 16]> =
                seal_all(&engine, &plans[..]).iter().map(|packet| iv(suite, packet)).collect();
            assert_eq!(ivs.len(), plans.len(), "{suite:?} {tier:?}");
        }
    }
}

/// RFC 3602 §3: the IV must be unpredictable. Another secret, another IV; neighbours share nothing visible.
#[test]
fn a_cbc_iv_depends_on_the_secret_and_looks_random() {
    for tier in TIERS {
        let engine = Engine::with_tier(tier);
        let suite = Suite::Aes256CbcSha256;
        let keymat = noise(4, suite.keymat_len());
        let ivs: Vec<[u8; 16]> = [[1; 16], [2; 16]]
            .into_iter()
            .flat_map(|seed| {
                let key = Key::new(suite, &keymat, seed).unwrap();
                [1, 2].map(|seq| {
                    let mut packet = vec![0; suite.sealed_len(0)];
                    let mut jobs = [SealJob {
                        key: &key,
                        spi: 1,
                        seq,
                        esn: false,
                        next_header: 4,
                        payload_len: 0,
                        packet: &mut packet,
                    }];
                    assert_eq!(engine.seal(&mut jobs), 0);
                    iv(suite, &packet)
                })
            })
            .collect();
        for (a, x) in ivs.iter().enumerate() {
            for y in &ivs[..a] {
                let differing: u32 = x.iter().zip(y).map(|(p, q)| (p ^ q).count_ones()).sum();
                assert!((32..=96).contains(&differing), "{tier:?}: {differing} of 128 bits differ");
            }
        }
    }
}

fn iv(suite: Suite, packet: &[u8]) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..suite.iv_len()].copy_from_slice(&packet[8..][..suite.iv_len()]);
    iv
}
