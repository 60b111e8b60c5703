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
        "aes-gcm portable, aes-cbc portable, chacha20-poly1305 portable, sha1 portable, sha2-256 portable"
    );
}

#[test]
fn the_best_tier_is_the_default() {
    assert_eq!(Engine::new(), Engine::with_tier(Tier::Avx512));
    assert_eq!(Engine::default(), Engine::new());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_cpu_with_vaes_uses_it() {
    let vaes = is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq");
    if vaes {
        for suite in [Suite::Aes128Gcm16, Suite::Aes192Gcm16, Suite::Aes256Gcm16] {
            assert_eq!(Engine::new().kernels(suite), (Kernel::Vaes512, Kernel::Vaes512));
        }
    }
}
