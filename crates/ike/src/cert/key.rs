//! Public keys, and whether they made a signature (RSA, ECDSA on P-256, P-384 and P-521, Ed25519).
//!
//! Decides: which keys are strong enough, whether a signature is right. Reads: DER and PEM of strangers.
//! Never: panics on any of it.

mod private;

pub use private::PrivateKey;

use super::CertError;
use super::scheme::{ED25519, Hash, Scheme};
use core::fmt;
use der::Decode;
use ecdsa::signature::hazmat::PrehashVerifier;
use pkcs8::DecodePublicKey;
use rsa::pkcs1::RsaPublicKeyRef;
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, Pkcs1v15Sign, Pss, RsaPublicKey};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// Shorter RSA keys can be broken (RFC 8247 §3.1.1); longer ones only burn time.
const RSA_BITS: core::ops::RangeInclusive<usize> = 2048..=8192;
const MAX_SPKI: usize = 2048;

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Rsa(RsaPublicKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(Box<p521::ecdsa::VerifyingKey>),
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// A key with its SubjectPublicKeyInfo.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    kind: Kind,
}

/// Which family of signatures a key makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo.
    pub fn from_spki(spki: &[u8]) -> Result<Self, CertError> {
        if spki.len() > MAX_SPKI {
            return Err(CertError::Key("it is too large"));
        }
        let info = spki::SubjectPublicKeyInfoRef::from_der(spki)
            .map_err(|_| CertError::Key("it is no SubjectPublicKeyInfo"))?;
        let name = info.algorithm.oid.to_string();
        let kind = match name.as_str() {
            // A key that is for PSS only (id-RSASSA-PSS) has the same body.
            "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => {
                rsa_public(info.subject_public_key.raw_bytes())?
            }
            "1.2.840.10045.2.1" => ec_public(&info)?,
            ED25519 => {
                let key = ed25519_dalek::VerifyingKey::from_public_key_der(spki)
                    .map_err(|_| CertError::Key("its Ed25519 point is unlawful"))?;
                if key.is_weak() {
                    return Err(CertError::Key("its Ed25519 point is of small order"));
                }
                Kind::Ed25519(key)
            }
            _ => return Err(CertError::Key("its algorithm is not RSA, ECDSA or Ed25519")),
        };
        Ok(Self { spki: spki.to_vec(), kind })
    }

    /// From PEM (`BEGIN PUBLIC KEY`) or DER.
    pub fn read(bytes: &[u8]) -> Result<Self, CertError> {
        if bytes.first() == Some(&0x30) {
            return Self::from_spki(bytes);
        }
        let (label, der) =
            der::pem::decode_vec(bytes).map_err(|_| CertError::Key("it is neither PEM nor DER"))?;
        if label == "PUBLIC KEY" {
            Self::from_spki(&der)
        } else {
            Err(CertError::Key("it is not a PUBLIC KEY"))
        }
    }

    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What CERTREQ payloads name a CA by (RFC 7296 §3.7).
    pub(crate) fn sha1(&self) -> Vec<u8> {
        Hash::Sha1.digest(&self.spki)
    }

    pub const fn family(&self) -> Family {
        match self.kind {
            Kind::Rsa(_) => Family::Rsa,
            Kind::P256(_) => Family::P256,
            Kind::P384(_) => Family::P384,
            Kind::P521(_) => Family::P521,
            Kind::Ed25519(_) => Family::Ed25519,
        }
    }

    /// As operators know it: `RSA 3072`, `ECDSA P-256`.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Rsa(key) => format!("RSA {}", key.n().bits()),
            Kind::P256(_) => "ECDSA P-256".to_owned(),
            Kind::P384(_) => "ECDSA P-384".to_owned(),
            Kind::P521(_) => "ECDSA P-521".to_owned(),
            Kind::Ed25519(_) => "Ed25519".to_owned(),
        }
    }

    /// Whether `signature` (ECDSA: in ASN.1) of `message` is of this key.
    pub(crate) fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        match (&self.kind, scheme) {
            (Kind::Rsa(key), Scheme::Rsa(hash)) => {
                let padding = pkcs1v15(hash);
                key.verify(padding, &hash.digest(message), signature).is_ok()
            }
            (Kind::Rsa(key), Scheme::Pss { hash, salt }) => {
                verify_pss(key, (hash, salt.into()), message, signature)
            }
            (Kind::P256(key), Scheme::Ecdsa(hash)) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&hash.digest(message), &s).is_ok()),
            (Kind::P384(key), Scheme::Ecdsa(hash)) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&widened(hash.digest(message), 24), &s).is_ok()),
            (Kind::P521(key), Scheme::Ecdsa(hash)) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|s| key.verify_prehash(&widened(hash.digest(message), 33), &s).is_ok()),
            (Kind::Ed25519(key), Scheme::Ed25519) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|s| key.verify_strict(message, &s).is_ok()),
            _ => false,
        }
    }

    /// ECDSA as r and s side by side, the form of the old methods 9 to 11 (RFC 4754 §7). `None`: not of that form.
    pub(crate) fn der_of_raw(&self, raw: &[u8]) -> Option<Vec<u8>> {
        match self.kind {
            Kind::P256(_) => Some(p256::ecdsa::Signature::from_slice(raw).ok()?.to_der().as_bytes().to_vec()),
            Kind::P384(_) => Some(p384::ecdsa::Signature::from_slice(raw).ok()?.to_der().as_bytes().to_vec()),
            Kind::P521(_) => Some(p521::ecdsa::Signature::from_slice(raw).ok()?.to_der().as_bytes().to_vec()),
            Kind::Rsa(_) | Kind::Ed25519(_) => None,
        }
    }

    /// The other way.
    pub(crate) fn raw_of_der(&self, signature: &[u8]) -> Option<Vec<u8>> {
        match self.kind {
            Kind::P256(_) => Some(p256::ecdsa::Signature::from_der(signature).ok()?.to_vec()),
            Kind::P384(_) => Some(p384::ecdsa::Signature::from_der(signature).ok()?.to_vec()),
            Kind::P521(_) => Some(p521::ecdsa::Signature::from_der(signature).ok()?.to_vec()),
            Kind::Rsa(_) | Kind::Ed25519(_) => None,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

/// A hash that is shorter than half of the curve's order is refused by the curve's code; as a number it is the same
/// with zeros before it (FIPS 186-5 §6.4.1).
fn widened(hash: Vec<u8>, size: usize) -> Vec<u8> {
    let mut wide = vec![0; size.saturating_sub(hash.len())];
    wide.extend_from_slice(&hash);
    wide
}

fn rsa_public(bytes: &[u8]) -> Result<Kind, CertError> {
    let bad = |_| CertError::Key("its RSA numbers are unlawful");
    let parts = RsaPublicKeyRef::from_der(bytes).map_err(bad)?;
    let number = |bytes: &[u8]| {
        let bits = u32::try_from(bytes.len() * 8).unwrap_or(u32::MAX);
        BoxedUint::from_be_slice(bytes, bits).map_err(|_| CertError::Key("its RSA numbers are unlawful"))
    };
    let (n, e) = (number(parts.modulus.as_bytes())?, number(parts.public_exponent.as_bytes())?);
    check_bits(&n)?;
    let key = RsaPublicKey::new_with_size_limits(n, e, RSA_BITS)
        .map_err(|_| CertError::Key("its RSA numbers are unlawful"))?;
    Ok(Kind::Rsa(key))
}

fn check_bits(n: &BoxedUint) -> Result<(), CertError> {
    let bits = usize::try_from(n.bits()).unwrap_or(usize::MAX);
    if RSA_BITS.contains(&bits) {
        Ok(())
    } else {
        Err(CertError::Key("its RSA modulus has not 2048 to 8192 bits"))
    }
}

fn ec_public(info: &spki::SubjectPublicKeyInfoRef<'_>) -> Result<Kind, CertError> {
    let curve = info.algorithm.parameters_oid().map_err(|_| CertError::Key("its curve has no name"))?;
    let point = info.subject_public_key.raw_bytes();
    let bad = |_| CertError::Key("its point is not on its curve");
    Ok(match curve.to_string().as_str() {
        "1.2.840.10045.3.1.7" => Kind::P256(p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(bad)?),
        "1.3.132.0.34" => Kind::P384(p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(bad)?),
        "1.3.132.0.35" => {
            Kind::P521(Box::new(p521::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(bad)?))
        }
        _ => return Err(CertError::Key("its curve is not P-256, P-384 or P-521")),
    })
}

fn pkcs1v15(hash: Hash) -> Pkcs1v15Sign {
    match hash {
        Hash::Sha1 => Pkcs1v15Sign::new::<Sha1>(),
        Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
        Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
        Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
    }
}

fn verify_pss(key: &RsaPublicKey, (hash, salt): (Hash, usize), message: &[u8], signature: &[u8]) -> bool {
    let hashed = hash.digest(message);
    let result = match hash {
        Hash::Sha1 => key.verify(Pss::<Sha1>::new_with_salt(salt), &hashed, signature),
        Hash::Sha256 => key.verify(Pss::<Sha256>::new_with_salt(salt), &hashed, signature),
        Hash::Sha384 => key.verify(Pss::<Sha384>::new_with_salt(salt), &hashed, signature),
        Hash::Sha512 => key.verify(Pss::<Sha512>::new_with_salt(salt), &hashed, signature),
    };
    result.is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::scheme::tlv;
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    // R100
    #[test]
    fn every_family_signs_and_nothing_else_verifies() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for family in [Family::Rsa, Family::P256, Family::P384, Family::P521, Family::Ed25519] {
            let key = PrivateKey::generate(family, &mut rng);
            let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
            let schemes: Vec<Scheme> = match family {
                Family::Rsa => hashes.iter().flat_map(|h| [Scheme::Rsa(*h), Scheme::pss(*h)]).collect(),
                Family::Ed25519 => vec![Scheme::Ed25519],
                Family::P256 | Family::P384 | Family::P521 => {
                    hashes.iter().map(|h| Scheme::Ecdsa(*h)).collect()
                }
            };
            for scheme in schemes {
                let made = key.sign(scheme, b"message", &mut rng).unwrap();
                let public = key.public();
                assert!(public.verify(scheme, b"message", &made), "{scheme:?} {family:?}");
                assert!(!public.verify(scheme, b"massage", &made));
                for at in [0, made.len() / 2, made.len() - 1] {
                    let mut altered = made.clone();
                    altered[at] ^= 1;
                    assert!(!public.verify(scheme, b"message", &altered));
                }
                assert!(!public.verify(scheme, b"message", &made[..made.len() - 1]));
                assert!(!public.verify(scheme, b"message", &[]));
                if let Some(raw) = public.raw_of_der(&made) {
                    assert_eq!(public.der_of_raw(&raw).unwrap(), made);
                }
            }
            let read = PublicKey::from_spki(key.public().spki()).unwrap();
            assert_eq!(&read, key.public());
        }
    }

    // RFC 6979 §A.2.5 to §A.2.7: signatures by others, with hashes shorter and longer than the curve
    #[test]
    fn ecdsa_with_hashes_of_another_length() {
        use hex_literal::hex;
        let spki = |curve: &[u8], point: &[u8]| {
            let algorithm = tlv(0x30, &[&hex!("06072a8648ce3d0201"), curve]);
            tlv(0x30, &[&algorithm, &tlv(3, &[&[0, 4], point])])
        };
        let p521 = hex!(
            "01894550d0785932e00eaa23b694f213f8c3121f86dc97a04e5a7167db4e5bcd371123d46e45db6b5d5370a7f20fb633155d38ffa16d2bd761dcac474b9a2f5023a4"
            "00493101c962cd4d2fddf782285e64584139c2f91b47f87ff82354d6630f746a28a0db25741b5b34a828008b22acc23f924faafbd4d33f81ea66956dfeaa2bfdfcf5"
        );
        let key = PublicKey::from_spki(&spki(&hex!("06052b81040023"), &p521)).unwrap();
        let raw = hex!(
            "01511bb4d675114fe266fc4372b87682baecc01d3cc62cf2303c92b3526012659d16876e25c7c1e57648f23b73564d67f61c6f14d527d54972810421e7d87589e1a7"
            "004a171143a83163d6df460aaf61522695f207a58b95c0644d87e52aa1a347916e4f7a72930b1bc06dbe22ce3f58264afd23704cbb63b29b931f7de6c9d949a7ecfc"
        );
        let der = key.der_of_raw(&raw).unwrap();
        assert!(key.verify(Scheme::Ecdsa(Hash::Sha256), b"sample", &der));
        assert!(!key.verify(Scheme::Ecdsa(Hash::Sha512), b"sample", &der));
    }

    // RFC 8032 §7.1, test 2
    #[test]
    fn ed25519_vector() {
        use hex_literal::hex;
        let point = hex!("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let spki = tlv(0x30, &[&hex!("300506032b6570"), &tlv(3, &[&[0], &point])]);
        let key = PublicKey::from_spki(&spki).unwrap();
        let signature = hex!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(key.verify(Scheme::Ed25519, &[0x72], &signature));
        assert!(!key.verify(Scheme::Ed25519, &[0x73], &signature));
    }

    #[test]
    fn files_of_keys() {
        for (file, bits) in [
            (&include_bytes!("../tests/keys/rsa-pkcs1.pem")[..], "RSA 2048"),
            (&include_bytes!("../tests/keys/rsa-pkcs8.pem")[..], "RSA 3072"),
        ] {
            let key = PrivateKey::read(file).unwrap();
            assert_eq!(key.public().describe(), bits);
            assert!(!format!("{key:?}").contains("BEGIN"));
        }
        let say = |bytes: &[u8]| PrivateKey::read(bytes).unwrap_err().to_string();
        assert!(say(b"hello").contains("neither PEM nor DER"));
        assert!(
            say(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
                .contains("encrypted")
        );
        assert!(PublicKey::from_spki(&[0x30; 3000]).is_err());
    }
}
