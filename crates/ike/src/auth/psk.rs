//! Pre-shared keys (RFC 7296 §2.15).
//!
//! Decides: what AUTH must be. Never: compares in variable time.

use crate::config::{Prf, Secret};
use crate::crypto::{Wiped, prf};

/// AUTH = prf(prf(secret, "Key Pad for IKEv2"), octets).
pub(crate) fn make(kind: Prf, secret: &Secret, octets: &[u8]) -> Wiped {
    by_key(kind, secret.expose(), octets)
}

/// The same by any shared key.
pub(super) fn by_key(kind: Prf, key: &[u8], octets: &[u8]) -> Wiped {
    let key = prf::prf(kind, key, &[b"Key Pad for IKEv2"]);
    prf::prf(kind, &key, &[octets])
}

/// An empty secret proves nothing.
pub(crate) fn verify(kind: Prf, secret: &Secret, octets: &[u8], got: &[u8]) -> bool {
    !secret.expose().is_empty() && prf::equal(&make(kind, secret, octets), got)
}
