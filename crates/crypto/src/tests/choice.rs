//! No kernel is skipped silently: what the CPU has is what the engine uses.

use super::*;
use crate::Kernel;

#[test]
fn the_portable_tier_is_portable() {
    let engine = Engine::with_tier(Tier::Portable);
    for suite in Suite::ALL {
        assert_eq!(engine.kernels(suite), (Kernel::Portable, Kernel::Portable));
    }
    assert_eq!(
        engine.describe(),
        "aes-gcm portable, aes-gmac portable, aes-ctr portable, aes-cbc portable, chacha20-poly1305 portable, sha1 portable, sha2-256 portable, \
         sha2-512 portable"
    );
}

#[test]
fn the_best_tier_is_the_default() {
    assert_eq!(Engine::new(), Engine::with_tier(Tier::Avx512));
    assert_eq!(Engine::default(), Engine::new());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_cpu_with_vector_aes_uses_it() {
    if avx512() && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq") {
        let engine = Engine::new();
        for suite in [Suite::Aes128Gcm16, Suite::Aes192Gcm16, Suite::Aes256Gcm16, Suite::Aes128Gmac] {
            assert_eq!(engine.kernels(suite), (Kernel::Vaes512, Kernel::Vaes512));
        }
        assert_eq!(engine.kernels(Suite::Aes128CtrSha1).0, Kernel::Vaes512);
        for suite in [Suite::Aes128CbcSha1, Suite::Aes192CbcSha256, Suite::Aes256CbcSha512] {
            assert_eq!(engine.kernels(suite).0, Kernel::Vaes512);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_cpu_with_avx512_uses_it() {
    if avx512() {
        let engine = Engine::new();
        if is_x86_feature_detected!("avx512ifma") {
            assert_eq!(engine.kernels(Suite::ChaCha20Poly1305), (Kernel::Avx512, Kernel::Avx512));
        }
        assert_eq!(engine.kernels(Suite::NullSha1).1, Kernel::Avx512);
        assert_eq!(engine.kernels(Suite::NullSha256).1, Kernel::Avx512);
        assert_eq!(engine.kernels(Suite::NullSha384).1, Kernel::Avx512);
        assert_eq!(engine.kernels(Suite::NullSha512).1, Kernel::Avx512);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_cpu_with_avx2_uses_it_below_avx512() {
    let engine = Engine::with_tier(Tier::Avx2);
    if is_x86_feature_detected!("avx2") {
        assert_eq!(engine.kernels(Suite::ChaCha20Poly1305), (Kernel::Avx2, Kernel::Avx2));
        if is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq") {
            for suite in [Suite::Aes128Gcm16, Suite::Aes256Gcm16, Suite::Aes192Gmac] {
                assert_eq!(engine.kernels(suite), (Kernel::Vaes256, Kernel::Vaes256));
            }
            assert_eq!(engine.kernels(Suite::Aes256CtrSha256).0, Kernel::Vaes256);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_cpu_with_aes_and_sha_instructions_uses_them() {
    let engine = Engine::with_tier(Tier::Sse);
    if is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("sse4.1")
    {
        assert_eq!(engine.kernels(Suite::Aes256CbcSha1).0, Kernel::AesNi);
        assert_eq!(engine.kernels(Suite::Aes192Gcm16), (Kernel::AesNi, Kernel::AesNi));
        assert_eq!(engine.kernels(Suite::Aes192Gmac), (Kernel::AesNi, Kernel::AesNi));
        assert_eq!(engine.kernels(Suite::Aes192CtrSha1).0, Kernel::AesNi);
    }
    if is_x86_feature_detected!("sha") {
        assert_eq!(engine.kernels(Suite::NullSha1).1, Kernel::ShaNi);
        assert_eq!(engine.kernels(Suite::NullSha256).1, Kernel::ShaNi);
    }
}

#[cfg(target_arch = "x86_64")]
fn avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("bmi2")
}

/// Frames of the bench's "way without crypto" are whole and open again, and say aloud what they are.
#[test]
fn without_crypto_only_the_frame_is_made() {
    let engine = Engine::without_crypto();
    assert!(engine.describe().contains("NO ENCRYPTION"));
    let plans: Vec<Plan> =
        (0..70).map(|n| Plan::new(Suite::ALL[n % Suite::ALL.len()], n as u64, n)).collect();
    let mut packets = seal_all(&engine, &plans);
    let opened = open_all(&engine, &plans, &mut packets);
    for ((plan, packet), opened) in plans.iter().zip(&packets).zip(opened) {
        assert_eq!(payload(packet, opened.unwrap()), plan.payload, "{}", plan.suite.name());
    }
    assert!(open_all(&Engine::new(), &plans, &mut packets).iter().all(|o| *o == Err(OpenError::BadIcv)));
}
