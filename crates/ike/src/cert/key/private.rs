//! Private keys, and what they sign.
//!
//! Decides: which files hold one that we can use. Reads: DER and PEM.
//! Never: prints a key, leaves one in memory, signs without fresh randomness where it can be had.

use super::super::scheme::{ED25519, Hash, Scheme, tlv};
#[cfg(test)]
use super::Family;
use super::{PublicKey, check_bits, pkcs1v15, widened};
use crate::cert::CertError;
use core::fmt;
use der::Decode;
use ecdsa::signature::Signer;
use ecdsa::signature::hazmat::RandomizedPrehashSigner;
use pkcs8::DecodePrivateKey;
use rand_core::CryptoRng;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{Pss, RsaPrivateKey};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

/// Wiped on drop, never printed. Two are equal when their public keys are.
#[derive(Clone)]
pub struct PrivateKey {
    public: PublicKey,
    kind: Private,
}

#[derive(Clone)]
enum Private {
    Rsa(Box<RsaPrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(Box<p521::ecdsa::SigningKey>),
    Ed25519(ed25519_dalek::SigningKey),
}

impl PrivateKey {
    /// From PEM or DER: PKCS#8, and what older tools write (PKCS#1, SEC 1). Not encrypted ones.
    pub fn read(bytes: &[u8]) -> Result<Self, CertError> {
        if bytes.first() == Some(&0x30) {
            return Self::from_pkcs8(bytes);
        }
        // `openssl ecparam -genkey` puts the curve's parameters before the key.
        let text = core::str::from_utf8(bytes).map_err(|_| CertError::Key("it is neither PEM nor DER"))?;
        let begin =
            text.find("-----BEGIN EC PARAMETERS-----").and_then(|_| text.find("-----BEGIN EC PRIVATE KEY"));
        let text = text.get(begin.unwrap_or(0)..).unwrap_or_default();
        let (label, der) = der::pem::decode_vec(text.trim_start().as_bytes())
            .map_err(|_| CertError::Key("it is neither PEM nor DER"))?;
        let der = Zeroizing::new(der);
        match label {
            "PRIVATE KEY" => Self::from_pkcs8(&der),
            "RSA PRIVATE KEY" => rsa_private(RsaPrivateKey::from_pkcs1_der(&der).ok()),
            "EC PRIVATE KEY" => sec1(&der),
            "ENCRYPTED PRIVATE KEY" => {
                Err(CertError::Key("it is encrypted; store it without a password, mode 0600"))
            }
            _ => Err(CertError::Key("it is not a PRIVATE KEY")),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, CertError> {
        let info =
            pkcs8::PrivateKeyInfoRef::from_der(der).map_err(|_| CertError::Key("it is no PKCS#8 key"))?;
        let bad = CertError::Key("its numbers are unlawful");
        match info.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" => rsa_private(RsaPrivateKey::from_pkcs8_der(der).ok()),
            ED25519 => {
                let key = ed25519_dalek::SigningKey::from_pkcs8_der(der).map_err(|_| bad)?;
                Self::ed25519(key)
            }
            "1.2.840.10045.2.1" => {
                let p256 = || p256::ecdsa::SigningKey::from_pkcs8_der(der).ok().map(Private::P256);
                let p384 = || p384::ecdsa::SigningKey::from_pkcs8_der(der).ok().map(Private::P384);
                let p521 =
                    || Some(Private::P521(Box::new(p521::ecdsa::SigningKey::from_pkcs8_der(der).ok()?)));
                ec_private(p256().or_else(p384).or_else(p521))
            }
            _ => Err(CertError::Key("its algorithm is not RSA, ECDSA or Ed25519")),
        }
    }

    fn ed25519(key: ed25519_dalek::SigningKey) -> Result<Self, CertError> {
        let bits = tlv(3, &[&[0], key.verifying_key().as_bytes()]);
        let spki = tlv(0x30, &[&Scheme::Ed25519.identifier(), &bits]);
        Ok(Self { public: PublicKey::from_spki(&spki)?, kind: Private::Ed25519(key) })
    }

    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature (ECDSA: in ASN.1). `None`: the scheme is not this key's, or the key does not work.
    pub(crate) fn sign(
        &self,
        scheme: Scheme,
        message: &[u8],
        mut rng: &mut dyn CryptoRng,
    ) -> Option<Vec<u8>> {
        match (&self.kind, scheme) {
            (Private::Rsa(key), Scheme::Rsa(hash)) => {
                key.sign_with_rng(&mut rng, pkcs1v15(hash), &hash.digest(message)).ok()
            }
            (Private::Rsa(key), Scheme::Pss { hash, salt }) => {
                sign_pss(key, (hash, salt.into()), message, rng)
            }
            (Private::P256(key), Scheme::Ecdsa(hash)) => {
                let made: p256::ecdsa::Signature =
                    key.sign_prehash_with_rng(&mut rng, &hash.digest(message)).ok()?;
                Some(made.to_der().as_bytes().to_vec())
            }
            (Private::P384(key), Scheme::Ecdsa(hash)) => {
                let hashed = widened(hash.digest(message), 24);
                let made: p384::ecdsa::Signature = key.sign_prehash_with_rng(&mut rng, &hashed).ok()?;
                Some(made.to_der().as_bytes().to_vec())
            }
            (Private::P521(key), Scheme::Ecdsa(hash)) => {
                let hashed = widened(hash.digest(message), 33);
                let made: p521::ecdsa::Signature = key.sign_prehash_with_rng(&mut rng, &hashed).ok()?;
                Some(made.to_der().as_bytes().to_vec())
            }
            (Private::Ed25519(key), Scheme::Ed25519) => Some(key.try_sign(message).ok()?.to_bytes().to_vec()),
            _ => None,
        }
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, …)", self.public)
    }
}

fn spki_of(key: &impl spki::EncodePublicKey) -> Result<Vec<u8>, CertError> {
    Ok(key.to_public_key_der().map_err(|_| CertError::Key("it has no public key"))?.as_bytes().to_vec())
}

fn rsa_private(key: Option<RsaPrivateKey>) -> Result<PrivateKey, CertError> {
    let key = key.ok_or(CertError::Key("its RSA numbers are unlawful"))?;
    check_bits(key.n())?;
    let spki = spki_of(&key.to_public_key())?;
    Ok(PrivateKey { public: PublicKey::from_spki(&spki)?, kind: Private::Rsa(Box::new(key)) })
}

fn sec1(der: &[u8]) -> Result<PrivateKey, CertError> {
    let p256 = || Some(Private::P256(p256::SecretKey::from_sec1_der(der).ok()?.into()));
    let p384 = || Some(Private::P384(p384::SecretKey::from_sec1_der(der).ok()?.into()));
    let p521 = || Some(Private::P521(Box::new(p521::SecretKey::from_sec1_der(der).ok()?.into())));
    ec_private(p256().or_else(p384).or_else(p521))
}

fn ec_private(kind: Option<Private>) -> Result<PrivateKey, CertError> {
    let kind = kind.ok_or(CertError::Key("its curve is not P-256, P-384 or P-521"))?;
    let spki = match &kind {
        Private::P256(key) => spki_of(key.verifying_key())?,
        Private::P384(key) => spki_of(key.verifying_key())?,
        Private::P521(key) => spki_of(key.verifying_key())?,
        Private::Rsa(_) | Private::Ed25519(_) => return Err(CertError::Key("it is not of a curve")),
    };
    Ok(PrivateKey { public: PublicKey::from_spki(&spki)?, kind })
}

fn sign_pss(
    key: &RsaPrivateKey,
    (hash, salt): (Hash, usize),
    message: &[u8],
    mut rng: &mut dyn CryptoRng,
) -> Option<Vec<u8>> {
    let hashed = hash.digest(message);
    let rng = &mut rng;
    match hash {
        Hash::Sha1 => key.sign_with_rng(rng, Pss::<Sha1>::new_with_salt(salt), &hashed).ok(),
        Hash::Sha256 => key.sign_with_rng(rng, Pss::<Sha256>::new_with_salt(salt), &hashed).ok(),
        Hash::Sha384 => key.sign_with_rng(rng, Pss::<Sha384>::new_with_salt(salt), &hashed).ok(),
        Hash::Sha512 => key.sign_with_rng(rng, Pss::<Sha512>::new_with_salt(salt), &hashed).ok(),
    }
}

#[cfg(test)]
impl PrivateKey {
    pub(crate) fn generate(family: Family, rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = [0; 66];
        rng.fill_bytes(&mut bytes);
        bytes[0] = 0;
        let kind = match family {
            Family::P256 => Private::P256(p256::ecdsa::SigningKey::from_slice(&bytes[..32]).unwrap()),
            Family::P384 => Private::P384(p384::ecdsa::SigningKey::from_slice(&bytes[..48]).unwrap()),
            Family::P521 => Private::P521(Box::new(p521::ecdsa::SigningKey::from_slice(&bytes).unwrap())),
            Family::Ed25519 => {
                let seed = bytes[..32].try_into().unwrap();
                return Self::ed25519(ed25519_dalek::SigningKey::from_bytes(&seed)).unwrap();
            }
            Family::Rsa => return Self::read(include_bytes!("../../tests/keys/rsa-pkcs1.pem")).unwrap(),
        };
        ec_private(Some(kind)).unwrap()
    }
}
