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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ProofKey, Signed};
    use crate::payload::{Id, id};
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().to_vec()
    }

    // R213, RFC 7296 §2.15: AUTH rests on the secret, SK_p, the identity with its type, the nonce and the first message;
    // with any other of them it is another one. What it must be is written down here once more, part by part.
    #[test]
    fn auth_is_of_the_secret_the_keys_and_the_identity() {
        let fqdn = |data: &[u8]| Id { kind: id::FQDN, data: data.to_vec() };
        let secret = Secret::new(b"correct horse".to_vec());
        let auth = |sk_p: &[u8], secret: &Secret, message: &[u8], nonce: &[u8], id: &Id| {
            let signed = Signed { message, nonce, id, int_auth: &[] };
            let key = ProofKey { prf: Prf::HmacSha256, sk_p };
            make(Prf::HmacSha256, secret, &signed.octets(key))
        };
        let good = auth(&[7; 32], &secret, b"first message", &[9; 32], &fqdn(b"a.lab"));
        let id_body = [&[id::FQDN, 0, 0, 0][..], b"a.lab"].concat();
        let octets = [b"first message", &[9; 32][..], &hmac(&[7; 32], &[&id_body])].concat();
        let expected = hmac(&hmac(b"correct horse", &[b"Key Pad for IKEv2"]), &[&octets]);
        assert_eq!(good[..], expected);
        let checks = |octets: &[u8], got: &[u8]| verify(Prf::HmacSha256, &secret, octets, got);
        assert!(checks(&octets, &good));
        let user = Id { kind: id::RFC822_ADDR, data: b"a.lab".to_vec() };
        for (what, other) in [
            ("identity", auth(&[7; 32], &secret, b"first message", &[9; 32], &fqdn(b"b.lab"))),
            ("its type", auth(&[7; 32], &secret, b"first message", &[9; 32], &user)),
            ("SK_p", auth(&[8; 32], &secret, b"first message", &[9; 32], &fqdn(b"a.lab"))),
            (
                "secret",
                auth(
                    &[7; 32],
                    &Secret::new(b"wrong horse".to_vec()),
                    b"first message",
                    &[9; 32],
                    &fqdn(b"a.lab"),
                ),
            ),
            ("nonce", auth(&[7; 32], &secret, b"first message", &[8; 32], &fqdn(b"a.lab"))),
            ("message", auth(&[7; 32], &secret, b"First message", &[9; 32], &fqdn(b"a.lab"))),
        ] {
            assert_ne!(other, good, "{what}");
            assert!(!checks(&octets, &other), "{what}");
        }
        assert!(!checks(&octets, &good[..31]) && !checks(&octets, &[]));
        // Who has no secret proves nothing, not even with the AUTH of an empty one.
        let empty = Secret::new(Vec::new());
        let forged = make(Prf::HmacSha256, &empty, &octets);
        assert!(!verify(Prf::HmacSha256, &empty, &octets, &forged));
    }
}
