//! Signatures in AUTH: RFC 7427, and the older forms of RFC 7296 and RFC 4754.
//!
//! Decides: with which scheme we sign, which of the peer's we take. Never: takes SHA-1 in RFC 7427, signs with a hash
//! that the peer did not name.

use super::hashes::{Hashes, OURS};
use super::{METHOD_ECDSA, METHOD_RSA, METHOD_SIGNATURE};
use crate::cert::scheme::{Hash, Scheme};
use crate::cert::{Family, PublicKey};
use crate::config::OwnKey;
use rand_core::CryptoRng;

/// Method and data of AUTH. `None`: the peer takes nothing that our key can make.
pub(crate) fn sign(
    own: &OwnKey,
    octets: &[u8],
    hashes: Option<Hashes>,
    rng: &mut dyn CryptoRng,
) -> Option<(u8, Vec<u8>)> {
    let family = own.key.public().family();
    match hashes {
        Some(hashes) => {
            let scheme = choose(family, hashes, own.prefer_pss)?;
            let signature = own.key.sign(scheme, octets, rng)?;
            let identifier = scheme.identifier();
            let mut data = vec![u8::try_from(identifier.len()).ok()?];
            data.extend_from_slice(&identifier);
            data.extend_from_slice(&signature);
            Some((METHOD_SIGNATURE, data))
        }
        None => {
            let (method, scheme) = old(family)?;
            let signature = own.key.sign(scheme, octets, rng)?;
            let data =
                if method == METHOD_RSA { signature } else { own.key.public().raw_of_der(&signature)? };
            Some((method, data))
        }
    }
}

/// The hash that belongs to the strength of the key, else any other that the peer takes.
fn choose(family: Family, hashes: Hashes, pss: bool) -> Option<Scheme> {
    let first = match family {
        Family::Rsa | Family::P256 => Hash::Sha256,
        Family::P384 => Hash::Sha384,
        Family::P521 => Hash::Sha512,
        Family::Ed25519 => return hashes.has_identity().then_some(Scheme::Ed25519),
    };
    let hash = [first].into_iter().chain(OURS).find(|hash| hashes.has(*hash))?;
    Some(match family {
        Family::Rsa if pss => Scheme::pss(hash),
        Family::Rsa => Scheme::Rsa(hash),
        Family::P256 | Family::P384 | Family::P521 | Family::Ed25519 => Scheme::Ecdsa(hash),
    })
}

/// Without RFC 7427 nothing is negotiated. RFC 7296 §2.15 has SHA-1 for RSA, the only one that every such peer takes.
const fn old(family: Family) -> Option<(u8, Scheme)> {
    match family {
        Family::Rsa => Some((METHOD_RSA, Scheme::Rsa(Hash::Sha1))),
        Family::P256 => Some((METHOD_ECDSA[0], Scheme::Ecdsa(Hash::Sha256))),
        Family::P384 => Some((METHOD_ECDSA[1], Scheme::Ecdsa(Hash::Sha384))),
        Family::P521 => Some((METHOD_ECDSA[2], Scheme::Ecdsa(Hash::Sha512))),
        Family::Ed25519 => None,
    }
}

/// Whether the peer's AUTH is a signature by `key`. `negotiated`: both sides speak RFC 7427, and then nothing older.
pub(crate) fn verify(key: &PublicKey, octets: &[u8], negotiated: bool, (method, data): (u8, &[u8])) -> bool {
    match method {
        METHOD_SIGNATURE if negotiated => {
            let Some((length, rest)) = data.split_first() else { return false };
            let Some((identifier, signature)) = rest.split_at_checked(usize::from(*length)) else {
                return false;
            };
            let scheme = Scheme::parse(identifier).filter(|scheme| scheme.hash() != Some(Hash::Sha1));
            scheme.is_some_and(|scheme| key.verify(scheme, octets, signature))
        }
        METHOD_RSA if key.family() == Family::Rsa => {
            // Peers without negotiation sign with SHA-1 or, where they know that we can more, with SHA-2.
            let mut hashes = OURS.into_iter().chain((!negotiated).then_some(Hash::Sha1));
            hashes.any(|hash| key.verify(Scheme::Rsa(hash), octets, data))
        }
        method => {
            let Some((wanted, scheme)) = old(key.family()) else { return false };
            method == wanted
                && method != METHOD_RSA
                && key.der_of_raw(data).is_some_and(|der| key.verify(scheme, octets, &der))
        }
    }
}
