//! Key exchange: one private value, its public value, and the secret shared with the peer's.
//!
//! Decides: whether the peer's public value is lawful (RFC 6989, RFC 7748 §6.1). Never: uses a private value twice.

use super::Wiped;
use super::modp::{Exponent, Prime, prime};
use crate::config::Group;
use core::fmt;
use p256::elliptic_curve::sec1::ToSec1Point;
use rand_core::Rng;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

enum Private {
    Modp(Exponent, &'static Prime),
    Ecp256(p256::SecretKey),
    Ecp384(p384::SecretKey),
    Ecp521(p521::SecretKey),
    Curve25519(StaticSecret),
}

/// Our half of a key exchange. The private half is wiped on drop.
pub(crate) struct KeyExchange {
    group: Group,
    private: Private,
    pub(crate) public: Vec<u8>,
}

impl fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyExchange({:?}, …)", self.group)
    }
}

/// The peer's public value is not one of its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadPublicValue;

impl KeyExchange {
    /// `None` only if the generator never yields a lawful scalar.
    pub(crate) fn new(group: Group, rng: &mut dyn Rng) -> Option<Self> {
        let private = match group {
            Group::Modp1024
            | Group::Modp1536
            | Group::Modp2048
            | Group::Modp3072
            | Group::Modp4096
            | Group::Modp6144
            | Group::Modp8192 => {
                let prime = prime(group)?;
                Private::Modp(prime.exponent(rng)?, prime)
            }
            Group::Ecp256 => Private::Ecp256(scalar::<32, _>(rng, |b| p256::SecretKey::from_slice(b).ok())?),
            Group::Ecp384 => Private::Ecp384(scalar::<48, _>(rng, |b| p384::SecretKey::from_slice(b).ok())?),
            Group::Ecp521 => Private::Ecp521(p521_scalar(rng)?),
            Group::Curve25519 => {
                let mut bytes = Zeroizing::new([0; 32]);
                rng.fill_bytes(&mut *bytes);
                Private::Curve25519(StaticSecret::from(*bytes))
            }
        };
        let public = public(&private);
        Some(Self { group, private, public })
    }

    pub(crate) const fn group(&self) -> Group {
        self.group
    }

    pub(crate) fn shared(&self, peer: &[u8]) -> Result<Wiped, BadPublicValue> {
        match &self.private {
            Private::Modp(x, prime) => prime.shared(x, peer).ok_or(BadPublicValue),
            Private::Ecp256(x) => {
                let peer = p256::PublicKey::from_sec1_bytes(&point(peer, 64)?).map_err(|_| BadPublicValue)?;
                Ok(Zeroizing::new(x.diffie_hellman(&peer).raw_secret_bytes().to_vec()))
            }
            Private::Ecp384(x) => {
                let peer = p384::PublicKey::from_sec1_bytes(&point(peer, 96)?).map_err(|_| BadPublicValue)?;
                Ok(Zeroizing::new(x.diffie_hellman(&peer).raw_secret_bytes().to_vec()))
            }
            Private::Ecp521(x) => {
                let peer =
                    p521::PublicKey::from_sec1_bytes(&point(peer, 132)?).map_err(|_| BadPublicValue)?;
                Ok(Zeroizing::new(x.diffie_hellman(&peer).raw_secret_bytes().to_vec()))
            }
            Private::Curve25519(x) => {
                let peer: [u8; 32] = peer.try_into().map_err(|_| BadPublicValue)?;
                let secret = x.diffie_hellman(&peer.into());
                // RFC 8031 §5: an all-zero result must be refused.
                if secret.was_contributory() {
                    Ok(Zeroizing::new(secret.as_bytes().to_vec()))
                } else {
                    Err(BadPublicValue)
                }
            }
        }
    }
}

/// A scalar below the order; the chance of another round is below 2^-32.
fn scalar<const N: usize, K>(rng: &mut dyn Rng, make: impl Fn(&[u8]) -> Option<K>) -> Option<K> {
    let mut bytes = Zeroizing::new([0; N]);
    (0..64).find_map(|_| {
        rng.fill_bytes(&mut *bytes);
        make(bytes.as_slice())
    })
}

/// 521 bits: all but one bit of the first byte must be zero, or next to no draw would be below the order.
fn p521_scalar(rng: &mut dyn Rng) -> Option<p521::SecretKey> {
    scalar::<66, _>(rng, |b| {
        let mut bytes = Zeroizing::new(<[u8; 66]>::try_from(b).ok()?);
        bytes[0] &= 1;
        p521::SecretKey::from_slice(bytes.as_slice()).ok()
    })
}

fn public(private: &Private) -> Vec<u8> {
    match private {
        Private::Modp(x, prime) => prime.public(x),
        Private::Ecp256(x) => uncompressed(x.public_key().to_sec1_point(false)),
        Private::Ecp384(x) => uncompressed(x.public_key().to_sec1_point(false)),
        Private::Ecp521(x) => uncompressed(x.public_key().to_sec1_point(false)),
        Private::Curve25519(x) => x25519_dalek::PublicKey::from(x).as_bytes().to_vec(),
    }
}

/// x | y without the leading 4 of SEC 1 (RFC 5903 §7).
fn uncompressed(sec1: impl AsRef<[u8]>) -> Vec<u8> {
    sec1.as_ref().get(1..).unwrap_or_default().to_vec()
}

/// The SEC 1 form of x | y; that the point lies on the curve is checked where it is parsed.
fn point(peer: &[u8], len: usize) -> Result<Vec<u8>, BadPublicValue> {
    if peer.len() != len {
        return Err(BadPublicValue);
    }
    Ok([&[4], peer].concat())
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm)]
impl KeyExchange {
    /// With a given private value, for vectors.
    pub(crate) fn of_scalar(group: Group, scalar: &[u8]) -> Option<Self> {
        let private = match group {
            Group::Ecp256 => Private::Ecp256(p256::SecretKey::from_slice(scalar).ok()?),
            Group::Ecp384 => Private::Ecp384(p384::SecretKey::from_slice(scalar).ok()?),
            Group::Ecp521 => Private::Ecp521(p521::SecretKey::from_slice(scalar).ok()?),
            Group::Curve25519 => Private::Curve25519(<[u8; 32]>::try_from(scalar).ok()?.into()),
            _ => return None,
        };
        Some(Self { group, public: public(&private), private })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const ALL: [Group; 11] = [
        Group::Modp1024,
        Group::Modp1536,
        Group::Modp2048,
        Group::Modp3072,
        Group::Modp4096,
        Group::Modp6144,
        Group::Modp8192,
        Group::Ecp256,
        Group::Ecp384,
        Group::Ecp521,
        Group::Curve25519,
    ];

    fn with(group: Group, private: Private) -> KeyExchange {
        KeyExchange { group, public: public(&private), private }
    }

    #[test]
    fn both_sides_find_the_same_secret() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for group in ALL {
            let a = KeyExchange::new(group, &mut rng).unwrap();
            let b = KeyExchange::new(group, &mut rng).unwrap();
            assert_ne!(a.public, b.public);
            assert_eq!(a.shared(&b.public).unwrap(), b.shared(&a.public).unwrap(), "{group:?}");
        }
    }

    // RFC 7748 §6.1
    #[test]
    fn rfc7748() {
        let a = hex!("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let b = hex!("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let a = with(Group::Curve25519, Private::Curve25519(a.into()));
        let b = with(Group::Curve25519, Private::Curve25519(b.into()));
        assert_eq!(a.public, hex!("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        let shared = hex!("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(*a.shared(&b.public).unwrap(), shared);
        assert_eq!(*b.shared(&a.public).unwrap(), shared);
    }

    // RFC 5903 §8.1
    #[test]
    fn rfc5903_256() {
        let i = hex!("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433");
        let r = hex!("c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53");
        let i = with(Group::Ecp256, Private::Ecp256(p256::SecretKey::from_slice(&i).unwrap()));
        let r = with(Group::Ecp256, Private::Ecp256(p256::SecretKey::from_slice(&r).unwrap()));
        assert_eq!(
            i.public,
            hex!(
                "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c37725811805271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
            )
        );
        let shared = hex!("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");
        assert_eq!(*i.shared(&r.public).unwrap(), shared);
        assert_eq!(*r.shared(&i.public).unwrap(), shared);
    }

    // R205: RFC 6989 §2, RFC 7748 §6.1
    #[test]
    fn unlawful_public_values_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for group in ALL {
            let x = KeyExchange::new(group, &mut rng).unwrap();
            let len = x.public.len();
            let mut one = vec![0; len];
            one[len - 1] = 1;
            let mut off_curve = KeyExchange::new(group, &mut rng).unwrap().public;
            off_curve[len - 1] ^= 1;
            for bad in [vec![], vec![0; len], vec![0; len - 1], vec![1; len + 1], vec![0xff; len]] {
                let lawful = group == Group::Curve25519 && bad == vec![0xff; len];
                assert_eq!(x.shared(&bad).is_err(), !lawful, "{group:?} {} bytes", bad.len());
            }
            if group == Group::Curve25519 {
                // Low order: u = 1.
                let mut low = vec![0; 32];
                low[0] = 1;
                assert_eq!(x.shared(&low), Err(BadPublicValue));
            } else {
                assert_eq!(x.shared(&one), Err(BadPublicValue), "{group:?}");
            }
            if matches!(group, Group::Ecp256 | Group::Ecp384 | Group::Ecp521) {
                assert_eq!(x.shared(&off_curve), Err(BadPublicValue));
            }
        }
    }
}
