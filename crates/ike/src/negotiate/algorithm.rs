//! Algorithms and their transforms (IANA's IKEv2 registry), and their names for operators.
//!
//! Decides: numbers and names. Never: prefers one.

use crate::config::{Encryption, EspProposal, Group, IkeProposal, Integrity, Kem, Prf};
use crate::payload::Transform;
use crate::payload::sa::transform;

const AES_CBC: u16 = 12;
const AES_CTR: u16 = 13;
const AES_GCM_16: u16 = 20;
const NULL_AUTH_AES_GMAC: u16 = 21;
const CHACHA20_POLY1305: u16 = 28;

pub(crate) const fn encryption(e: Encryption) -> Transform {
    let (id, bits) = match e {
        Encryption::AesGcm16_128 => (AES_GCM_16, Some(128)),
        Encryption::AesGcm16_256 => (AES_GCM_16, Some(256)),
        Encryption::AesCbc128 => (AES_CBC, Some(128)),
        Encryption::AesCbc256 => (AES_CBC, Some(256)),
        Encryption::ChaCha20Poly1305 => (CHACHA20_POLY1305, None),
        Encryption::AesCtr128 => (AES_CTR, Some(128)),
        Encryption::AesCtr192 => (AES_CTR, Some(192)),
        Encryption::AesCtr256 => (AES_CTR, Some(256)),
        Encryption::AesGmac128 => (NULL_AUTH_AES_GMAC, Some(128)),
        Encryption::AesGmac192 => (NULL_AUTH_AES_GMAC, Some(192)),
        Encryption::AesGmac256 => (NULL_AUTH_AES_GMAC, Some(256)),
    };
    Transform::new(transform::ENCRYPTION, id, bits)
}

pub(crate) const fn integrity(i: Integrity) -> Transform {
    let id = match i {
        Integrity::HmacSha1_96 => 2,
        Integrity::HmacSha256_128 => 12,
        Integrity::HmacSha384_192 => 13,
        Integrity::HmacSha512_256 => 14,
        Integrity::AesGmac128 => 9,
        Integrity::AesGmac192 => 10,
        Integrity::AesGmac256 => 11,
    };
    Transform::new(transform::INTEGRITY, id, None)
}

pub(crate) const fn prf(p: Prf) -> Transform {
    let id = match p {
        Prf::HmacSha1 => 2,
        Prf::HmacSha256 => 5,
        Prf::HmacSha384 => 6,
        Prf::HmacSha512 => 7,
    };
    Transform::new(transform::PRF, id, None)
}

pub(crate) const fn group_number(g: Group) -> u16 {
    match g {
        Group::Modp1024 => 2,
        Group::Modp1536 => 5,
        Group::Modp2048 => 14,
        Group::Modp3072 => 15,
        Group::Modp4096 => 16,
        Group::Modp6144 => 17,
        Group::Modp8192 => 18,
        Group::Ecp256 => 19,
        Group::Ecp384 => 20,
        Group::Ecp521 => 21,
        Group::Curve25519 => 31,
    }
}

pub(crate) const fn group(g: Group) -> Transform {
    Transform::new(transform::GROUP, group_number(g), None)
}

/// One registry of key exchange methods for both.
pub(crate) const fn kem_number(kem: Kem) -> u16 {
    match kem {
        Kem::MlKem512 => 35,
        Kem::MlKem768 => 36,
        Kem::MlKem1024 => 37,
    }
}

/// RFC 9370 §2.2.1: Additional Key Exchange 1.
const fn additional(kem: Kem) -> Transform {
    Transform::new(transform::ADDITIONAL_KE_1, kem_number(kem), None)
}

pub(crate) const fn esn(on: bool) -> Transform {
    Transform::new(transform::ESN, if on { 1 } else { 0 }, None)
}

pub(crate) fn ike_transforms(p: &IkeProposal) -> Vec<Transform> {
    let mut list = vec![encryption(p.encryption)];
    list.extend(p.integrity.map(integrity));
    list.push(prf(p.prf));
    list.push(group(p.group));
    list.extend(p.kem.map(additional));
    list
}

/// `pfs`: whether the exchange can carry a key exchange; in IKE_AUTH it cannot (RFC 7296 §1.2).
pub(crate) fn esp_transforms(p: &EspProposal, pfs: bool) -> Vec<Transform> {
    let mut list: Vec<Transform> = p.encryption.map(encryption).into_iter().collect();
    list.extend(p.integrity.map(integrity));
    list.extend(p.group.filter(|_| pfs).map(group));
    list.push(esn(p.esn));
    list.extend(p.kem.filter(|_| pfs).map(additional));
    list
}

/// What an operator calls a kind of transform.
pub(crate) const fn kind_name(kind: u8) -> &'static str {
    match kind {
        transform::ENCRYPTION => "encryption",
        transform::PRF => "prf",
        transform::INTEGRITY => "integrity",
        transform::GROUP => "group",
        transform::ESN => "esn",
        transform::ADDITIONAL_KE_1..=transform::ADDITIONAL_KE_7 => "additional key exchange",
        _ => "unknown transform",
    }
}

/// As in configurations; unknown ones by their number.
pub(crate) fn name(t: &Transform) -> String {
    let known = match (t.kind, t.id, t.key_length) {
        (transform::ENCRYPTION, 3, _) => "3des",
        (transform::ENCRYPTION, AES_CBC, Some(128)) => "aes128",
        (transform::ENCRYPTION, AES_CBC, Some(192)) => "aes192",
        (transform::ENCRYPTION, AES_CBC, Some(256)) => "aes256",
        (transform::ENCRYPTION, AES_GCM_16, Some(128)) => "aes128gcm16",
        (transform::ENCRYPTION, AES_GCM_16, Some(192)) => "aes192gcm16",
        (transform::ENCRYPTION, AES_GCM_16, Some(256)) => "aes256gcm16",
        (transform::ENCRYPTION, CHACHA20_POLY1305, _) => "chacha20poly1305",
        (transform::ENCRYPTION, AES_CTR, Some(128)) => "aes128ctr",
        (transform::ENCRYPTION, AES_CTR, Some(192)) => "aes192ctr",
        (transform::ENCRYPTION, AES_CTR, Some(256)) => "aes256ctr",
        (transform::ENCRYPTION, NULL_AUTH_AES_GMAC, Some(128)) => "aes128gmac",
        (transform::ENCRYPTION, NULL_AUTH_AES_GMAC, Some(192)) => "aes192gmac",
        (transform::ENCRYPTION, NULL_AUTH_AES_GMAC, Some(256)) => "aes256gmac",
        (transform::PRF, 2, _) => "prfsha1",
        (transform::PRF, 5, _) => "prfsha256",
        (transform::PRF, 6, _) => "prfsha384",
        (transform::PRF, 7, _) => "prfsha512",
        (transform::INTEGRITY | transform::GROUP, 0, _) => "none",
        (transform::ADDITIONAL_KE_1..=transform::ADDITIONAL_KE_7, 0, _) => "none",
        (transform::ADDITIONAL_KE_1..=transform::ADDITIONAL_KE_7, 35, _) => "mlkem512",
        (transform::ADDITIONAL_KE_1..=transform::ADDITIONAL_KE_7, 36, _) => "mlkem768",
        (transform::ADDITIONAL_KE_1..=transform::ADDITIONAL_KE_7, 37, _) => "mlkem1024",
        (transform::INTEGRITY, 2, _) => "sha1",
        (transform::INTEGRITY, 12, _) => "sha256",
        (transform::INTEGRITY, 13, _) => "sha384",
        (transform::INTEGRITY, 14, _) => "sha512",
        (transform::INTEGRITY, 9, _) => "aes128gmac",
        (transform::INTEGRITY, 10, _) => "aes192gmac",
        (transform::INTEGRITY, 11, _) => "aes256gmac",
        (transform::GROUP, 2, _) => "modp1024",
        (transform::GROUP, 5, _) => "modp1536",
        (transform::GROUP, 14, _) => "modp2048",
        (transform::GROUP, 15, _) => "modp3072",
        (transform::GROUP, 16, _) => "modp4096",
        (transform::GROUP, 17, _) => "modp6144",
        (transform::GROUP, 18, _) => "modp8192",
        (transform::GROUP, 19, _) => "ecp256",
        (transform::GROUP, 20, _) => "ecp384",
        (transform::GROUP, 21, _) => "ecp521",
        (transform::GROUP, 31, _) => "x25519",
        (transform::GROUP, 32, _) => "x448",
        (transform::ESN, 0, _) => "off",
        (transform::ESN, 1, _) => "on",
        (_, id, Some(bits)) => return format!("{id}/{bits}"),
        (_, id, None) => return id.to_string(),
    };
    known.to_owned()
}
