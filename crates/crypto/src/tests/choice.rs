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

/// What the names of the tiers promise to the tests that go through [`TIERS`]: by suite, tier and place in
/// [`Engine::kernels`].
const PROMISED: [(Suite, Tier, usize, Kernel); 9] = [
    (Suite::Aes128Gcm16, Tier::Sse, 0, Kernel::AesNi),
    (Suite::Aes128CbcSha1, Tier::Sse, 0, Kernel::AesNi),
    (Suite::NullSha256, Tier::Sse, 1, Kernel::ShaNi),
    (Suite::Aes128Gcm16, Tier::Avx2, 0, Kernel::Vaes256),
    (Suite::ChaCha20Poly1305, Tier::Avx2, 0, Kernel::Avx2),
    (Suite::Aes128Gcm16, Tier::Avx512, 0, Kernel::Vaes512),
    (Suite::Aes128CbcSha1, Tier::Avx512, 0, Kernel::Vaes512),
    (Suite::ChaCha20Poly1305, Tier::Avx512, 0, Kernel::Avx512),
    (Suite::NullSha256, Tier::Avx512, 1, Kernel::Avx512),
];

/// Where the CPU lacks a kernel, all tests of its tier run a lower one and prove nothing of it. That must not pass for a
/// success: only who names those kernels in `RAVELIN_UNTESTED_KERNELS`, separated by commas, is excused.
#[test]
fn every_kernel_is_tested_or_named_as_untested() {
    let excused = std::env::var("RAVELIN_UNTESTED_KERNELS").unwrap_or_default();
    let excused: Vec<&str> = excused.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in &excused {
        let known = PROMISED.iter().any(|(.., kernel)| kernel.to_string() == *name);
        assert!(known, "RAVELIN_UNTESTED_KERNELS: no kernel {name}");
    }
    for (suite, tier, place, promised) in PROMISED {
        let (cipher, mac) = Engine::with_tier(tier).kernels(suite);
        let used = [cipher, mac][place];
        assert!(
            used == promised || excused.contains(&promised.to_string().as_str()),
            "this CPU has no {promised}: {tier:?} runs {used} for {}, and the tests prove nothing of {promised}. Test on a \
             CPU that has it, or say RAVELIN_UNTESTED_KERNELS={promised}",
            suite.name()
        );
    }
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
