//! Authentication of the peers (RFC 7296 §2.15): what AUTH covers, and the ways to make and check it.
//!
//! Decides: which way fits a connection, whether the peer's proof holds. Reads: first messages, nonces, identities,
//! keys. Never: compares a secret in variable time, takes a way that the connection does not name.

mod hashes;
pub(crate) mod ppk;
mod presented;
mod proof;
mod psk;
mod signature;

#[cfg(test)]
pub(crate) use hashes::notify;
pub(crate) use hashes::{Hashes, answer, offer};
pub(crate) use presented::{certificates, requests};
pub(crate) use proof::{Proven, Prover, bad};

use crate::config::{LocalAuth, Prf};
use crate::crypto::keys::IkeKeys;
use crate::crypto::{Wiped, prf};
use crate::payload::{Id, Payload};
use crate::snapshot::Role;
use rand_core::CryptoRng;

/// RSA with PKCS#1 v1.5, for peers without RFC 7427.
pub(crate) const METHOD_RSA: u8 = 1;
/// Shared Key Message Integrity Code.
pub(crate) const METHOD_PSK: u8 = 2;
/// ECDSA on P-256, P-384, P-521, each with its hash (RFC 4754), for peers without RFC 7427.
pub(crate) const METHOD_ECDSA: [u8; 3] = [9, 10, 11];
/// Digital Signature (RFC 7427).
pub(crate) const METHOD_SIGNATURE: u8 = 14;

/// Why [`payload`] has nothing.
pub(crate) const NO_SCHEME: &str = "the peer takes no signature that our key can make";

/// What the signer of an AUTH payload covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// The signer's IKE_SA_INIT message, header included.
    pub(crate) message: &'a [u8],
    /// The other side's nonce.
    pub(crate) nonce: &'a [u8],
    /// The signer's identity.
    pub(crate) id: &'a Id,
    /// What the IKE_INTERMEDIATE exchanges add (RFC 9242 §3.3.1); empty when there were none.
    pub(crate) int_auth: &'a [u8],
}

/// The signer's SK_p, as it was made or with a post-quantum pre-shared key in it.
#[derive(Clone, Copy)]
pub(crate) struct ProofKey<'a> {
    pub(crate) prf: Prf,
    pub(crate) sk_p: &'a [u8],
}

impl IkeKeys {
    pub(crate) fn proof(&self, of: Role) -> ProofKey<'_> {
        ProofKey { prf: self.prf, sk_p: self.sk_p(of) }
    }
}

impl Signed<'_> {
    /// message | nonce | prf(SK_p, ID') | IntAuth
    pub(crate) fn octets(&self, key: ProofKey<'_>) -> Vec<u8> {
        let id = prf::prf(key.prf, key.sk_p, &[&self.id.body()]);
        [self.message, self.nonce, &id, self.int_auth].concat()
    }
}

/// AUTH of who resumes an IKE SA (RFC 5723 §5.1).
pub(crate) fn by_sk_p(key: ProofKey<'_>, signed: Signed<'_>) -> Wiped {
    prf::prf(key.prf, key.sk_p, &[&signed.octets(key)])
}

/// AUTH after EAP: by the key that the method made, else by SK_p (RFC 7296 §2.16).
pub(crate) fn after_eap(key: ProofKey<'_>, signed: Signed<'_>, msk: Option<&Wiped>) -> Payload {
    Payload::Auth { method: METHOD_PSK, data: by_eap(key, signed, msk) }
}

/// Whether the peer's AUTH after EAP is right.
pub(crate) fn verify_after_eap(
    key: ProofKey<'_>,
    signed: Signed<'_>,
    msk: Option<&Wiped>,
    (method, got): (u8, &[u8]),
) -> bool {
    method == METHOD_PSK && prf::equal(&by_eap(key, signed, msk), got)
}

fn by_eap(key: ProofKey<'_>, signed: Signed<'_>, msk: Option<&Wiped>) -> Wiped {
    psk::by_key(key.prf, msk.map_or(key.sk_p, |msk| msk.as_slice()), &signed.octets(key))
}

/// Our AUTH. `hashes` are the peer's, if it speaks RFC 7427. `None`: no scheme of our key is one of the peer's.
pub(crate) fn payload(
    key: ProofKey<'_>,
    auth: &LocalAuth,
    signed: Signed<'_>,
    hashes: Option<Hashes>,
    rng: &mut dyn CryptoRng,
) -> Option<Payload> {
    let octets = signed.octets(key);
    match auth {
        LocalAuth::Psk(secret) => {
            Some(Payload::Auth { method: METHOD_PSK, data: psk::make(key.prf, secret, &octets) })
        }
        LocalAuth::Key(own) => {
            let (method, data) = signature::sign(own, &octets, hashes, rng)?;
            Some(Payload::Auth { method, data: data.into() })
        }
        // Its AUTH comes later: see `after_eap`.
        LocalAuth::Eap(_) => None,
    }
}
