//! Pseudo-random functions and prf+ (RFC 7296 §2.13).
//!
//! Decides: nothing. Never: keeps a key.

use super::Wiped;
use crate::config::{Integrity, Prf};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

macro_rules! hmac {
    ($hash:ty, $key:expr, $parts:expr) => {{
        match Hmac::<$hash>::new_from_slice($key) {
            Ok(mut mac) => {
                $parts.iter().for_each(|part| mac.update(part));
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            }
            // HMAC takes keys of every length; were it not so, an empty tag matches nothing.
            Err(_) => Zeroizing::new(Vec::new()),
        }
    }};
}

/// prf(key, parts joined).
pub(crate) fn prf(kind: Prf, key: &[u8], parts: &[&[u8]]) -> Wiped {
    match kind {
        Prf::HmacSha1 => hmac!(Sha1, key, parts),
        Prf::HmacSha256 => hmac!(Sha256, key, parts),
        Prf::HmacSha384 => hmac!(Sha384, key, parts),
        Prf::HmacSha512 => hmac!(Sha512, key, parts),
    }
}

/// Output and preferred key length in bytes.
pub(crate) const fn len(kind: Prf) -> usize {
    match kind {
        Prf::HmacSha1 => 20,
        Prf::HmacSha256 => 32,
        Prf::HmacSha384 => 48,
        Prf::HmacSha512 => 64,
    }
}

/// `wanted` bytes of prf+(key, seed); T1 | T2 | … with T_n = prf(key, T_(n-1) | seed | n).
pub(crate) fn prf_plus(kind: Prf, key: &[u8], seed: &[u8], wanted: usize) -> Wiped {
    let mut out = Zeroizing::new(Vec::with_capacity(wanted + len(kind)));
    let mut last = Zeroizing::new(Vec::new());
    // 255 rounds of the shortest PRF are 5,100 bytes; no suite needs 400.
    for n in 1..=u8::MAX {
        if out.len() >= wanted {
            break;
        }
        last = prf(kind, key, &[&last, seed, &[n]]);
        out.extend_from_slice(&last);
    }
    out.truncate(wanted);
    out
}

/// The truncated HMAC that protects a message.
pub(crate) fn integrity(kind: Integrity, key: &[u8], data: &[u8]) -> Wiped {
    let parts = [data];
    let mut tag = match kind {
        Integrity::HmacSha1_96 => hmac!(Sha1, key, parts),
        Integrity::HmacSha256_128 => hmac!(Sha256, key, parts),
        Integrity::HmacSha384_192 => hmac!(Sha384, key, parts),
        Integrity::HmacSha512_256 => hmac!(Sha512, key, parts),
        // Of AH alone. No tag is right, see `equal`.
        Integrity::AesGmac128 | Integrity::AesGmac192 | Integrity::AesGmac256 => return Wiped::default(),
    };
    tag.truncate(integrity_len(kind));
    tag
}

/// Length of the tag on the wire in messages.
pub(crate) const fn integrity_len(kind: Integrity) -> usize {
    match kind {
        Integrity::HmacSha1_96 => 12,
        Integrity::HmacSha256_128 => 16,
        Integrity::HmacSha384_192 => 24,
        Integrity::HmacSha512_256 => 32,
        Integrity::AesGmac128 | Integrity::AesGmac192 | Integrity::AesGmac256 => 0,
    }
}

pub(crate) const fn integrity_key_len(kind: Integrity) -> usize {
    match kind {
        Integrity::HmacSha1_96 => 20,
        Integrity::HmacSha256_128 => 32,
        Integrity::HmacSha384_192 => 48,
        Integrity::HmacSha512_256 => 64,
        // RFC 4543 §5.1: the last four bytes are the salt.
        Integrity::AesGmac128 => 20,
        Integrity::AesGmac192 => 28,
        Integrity::AesGmac256 => 36,
    }
}

/// In constant time; an empty tag equals nothing.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    !a.is_empty() && bool::from(a.ct_eq(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    // R281: RFC 4231 §4.2 (test case 1) and §4.3 (test case 2)
    #[test]
    fn rfc4231() {
        let key = [0x0b; 20];
        let case = |kind, key: &[u8], data: &[u8]| prf(kind, key, &[data]).to_vec();
        assert_eq!(
            case(Prf::HmacSha256, &key, b"Hi There"),
            hex!("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        );
        assert_eq!(
            case(Prf::HmacSha384, &key, b"Hi There"),
            hex!(
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6"
            )
        );
        assert_eq!(
            case(Prf::HmacSha512, b"Jefe", b"what do ya want for nothing?"),
            hex!(
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            )
        );
        // RFC 2202 §3, test case 1
        assert_eq!(case(Prf::HmacSha1, &key, b"Hi There"), hex!("b617318655057264e28bc0b6fb378c8ef146be00"));
    }

    #[test]
    fn prf_plus_chains_its_blocks() {
        let (key, seed) = (b"key".as_slice(), b"seed".as_slice());
        let t1 = prf(Prf::HmacSha256, key, &[seed, &[1]]);
        let t2 = prf(Prf::HmacSha256, key, &[&t1, seed, &[2]]);
        let t3 = prf(Prf::HmacSha256, key, &[&t2, seed, &[3]]);
        let all = prf_plus(Prf::HmacSha256, key, seed, 80);
        assert_eq!(all.len(), 80);
        assert_eq!(*all, [&t1[..], &t2[..], &t3[..16]].concat());
    }

    #[test]
    fn an_empty_tag_equals_nothing() {
        assert!(!equal(&[], &[]));
        assert!(!equal(&[1], &[1, 2]));
        assert!(equal(&[1, 2], &[1, 2]));
    }
}
