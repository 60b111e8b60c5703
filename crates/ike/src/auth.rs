//! Authentication by pre-shared key (RFC 7296 §2.15).
//!
//! Decides: what AUTH must be. Reads: the secret, the first messages, nonces, identities. Never: compares in variable
//! time.

use crate::config::Secret;
use crate::crypto::keys::IkeKeys;
use crate::crypto::{Wiped, prf};
use crate::payload::{Id, Payload};
use crate::snapshot::Role;

/// Shared Key Message Integrity Code.
pub(crate) const METHOD_PSK: u8 = 2;

/// What the signer of an AUTH payload covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// Who signs.
    pub(crate) signer: Role,
    /// The signer's IKE_SA_INIT message, header included.
    pub(crate) message: &'a [u8],
    /// The other side's nonce.
    pub(crate) nonce: &'a [u8],
    /// The signer's identity.
    pub(crate) id: &'a Id,
    /// What the IKE_INTERMEDIATE exchanges add (RFC 9242 §3.3.1); empty when there were none.
    pub(crate) int_auth: &'a [u8],
}

/// AUTH = prf(prf(secret, "Key Pad for IKEv2"), message | nonce | prf(SK_p, ID') | IntAuth).
pub(crate) fn psk(keys: &IkeKeys, secret: &Secret, signed: Signed<'_>) -> Wiped {
    let id = prf::prf(keys.prf, keys.sk_p(signed.signer), &[&signed.id.body()]);
    let key = prf::prf(keys.prf, secret.expose(), &[b"Key Pad for IKEv2"]);
    prf::prf(keys.prf, &key, &[signed.message, signed.nonce, &id, signed.int_auth])
}

pub(crate) fn payload(keys: &IkeKeys, secret: &Secret, signed: Signed<'_>) -> Payload {
    Payload::Auth { method: METHOD_PSK, data: psk(keys, secret, signed) }
}

/// An empty secret proves nothing.
pub(crate) fn verify(keys: &IkeKeys, secret: &Secret, signed: Signed<'_>, got: (u8, &[u8])) -> bool {
    got.0 == METHOD_PSK && !secret.expose().is_empty() && prf::equal(&psk(keys, secret, signed), got.1)
}
