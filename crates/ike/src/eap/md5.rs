//! EAP-MD5 (RFC 3748 §5.4): a CHAP challenge. Proves only the client, makes no key, and whoever sees one exchange can
//! guess at the password; here it stands inside an IKE SA whose server has proven itself.
//!
//! Decides: what the response must be. Never: compares in variable time.

use super::MAX_NAME;
use crate::crypto::{Wiped, prf};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

pub(super) const CHALLENGE: usize = 16;
const RESPONSE: usize = 16;

/// Type-data of a request.
pub(super) fn challenge(challenge: &[u8; CHALLENGE], name: &str) -> Vec<u8> {
    let mut out = vec![16];
    out.extend_from_slice(challenge);
    out.extend_from_slice(name.as_bytes());
    out
}

/// The value of a request or response; the name behind it says nothing that we need.
pub(super) fn value(data: &[u8]) -> Option<&[u8]> {
    let (len, rest) = data.split_first()?;
    let (value, name) = rest.split_at_checked(usize::from(*len))?;
    (!value.is_empty() && name.len() <= MAX_NAME).then_some(value)
}

/// Type-data of the response.
pub(super) fn respond(id: u8, password: &[u8], challenge: &[u8], name: &str) -> Wiped {
    let mut out = Zeroizing::new(vec![16]);
    out.extend_from_slice(&digest(id, password, challenge));
    out.extend_from_slice(name.as_bytes());
    out
}

pub(super) fn verify(id: u8, password: &[u8], challenge: &[u8], data: &[u8]) -> bool {
    value(data).is_some_and(|got| prf::equal(&digest(id, password, challenge), got))
}

/// MD5(identifier | password | challenge), RFC 1994 §4.1.
fn digest(id: u8, password: &[u8], challenge: &[u8]) -> [u8; RESPONSE] {
    let hash = Md5::new_with_prefix([id]).chain_update(password).chain_update(challenge);
    hash.finalize().into()
}
