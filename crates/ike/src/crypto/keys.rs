//! Keys of IKE SAs and child SAs (RFC 7296 §2.14, §2.17, §2.18).
//!
//! Decides: how long each key is and in which order they are cut. Never: keeps SKEYSEED.

use super::cipher::{Protection, is_aead, key_len};
use super::{Wiped, prf};
use crate::config::{EspProposal, IkeProposal, Prf};
use crate::event::ChildKeys;
use crate::snapshot::Role;
use core::fmt;
use zeroize::Zeroizing;

/// What an IKE SA is keyed with.
pub(crate) struct IkeKeys {
    pub(crate) prf: Prf,
    pub(crate) d: Wiped,
    /// SK_pi, SK_pr: for AUTH.
    pub(crate) pi: Wiped,
    pub(crate) pr: Wiped,
    pub(crate) from_initiator: Protection,
    pub(crate) from_responder: Protection,
}

impl IkeKeys {
    pub(crate) const fn sk_p(&self, of: Role) -> &Wiped {
        match of {
            Role::Initiator => &self.pi,
            Role::Responder => &self.pr,
        }
    }

    /// What we seal with.
    pub(crate) const fn sealing(&mut self, our_role: Role) -> &mut Protection {
        match our_role {
            Role::Initiator => &mut self.from_initiator,
            Role::Responder => &mut self.from_responder,
        }
    }

    /// What the peer seals with.
    pub(crate) const fn opening(&self, our_role: Role) -> &Protection {
        match our_role {
            Role::Initiator => &self.from_responder,
            Role::Responder => &self.from_initiator,
        }
    }
}

impl fmt::Debug for IkeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IkeKeys(…)")
    }
}

/// Nonces and SPIs of the exchange that makes an IKE SA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ingredients<'a> {
    pub(crate) ni: &'a [u8],
    pub(crate) nr: &'a [u8],
    pub(crate) initiator_spi: u64,
    pub(crate) responder_spi: u64,
}

/// SKEYSEED = prf(Ni | Nr, g^ir).
pub(crate) fn seed(kind: Prf, ni: &[u8], nr: &[u8], shared: &[u8]) -> Wiped {
    let key = Zeroizing::new([ni, nr].concat());
    prf::prf(kind, &key, &[shared])
}

/// SKEYSEED = prf(SK_d (old), SK(0) | Ni | Nr | SK(1)), with the PRF of the old SA (RFC 7296 §2.18, RFC 9370 §2.2.4);
/// `second`, SK(1), is empty without an additional key exchange.
pub(crate) fn rekey_seed(old: &IkeKeys, ni: &[u8], nr: &[u8], shared: &[u8], second: &[u8]) -> Wiped {
    prf::prf(old.prf, &old.d, &[shared, ni, nr, second])
}

/// SKEYSEED = prf(SK_d (old), "Resumption" | Ni | Nr) (RFC 5723 §5.1).
pub(crate) fn resumed_seed(kind: Prf, d: &[u8], ni: &[u8], nr: &[u8]) -> Wiped {
    prf::prf(kind, d, &[b"Resumption", ni, nr])
}

/// SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr).
pub(crate) fn ike_keys(proposal: &IkeProposal, seed: &[u8], from: Ingredients<'_>) -> IkeKeys {
    let kind = proposal.prf;
    let p = prf::len(kind);
    let a = match proposal.integrity {
        Some(integrity) if !is_aead(proposal.encryption) => prf::integrity_key_len(integrity),
        _ => 0,
    };
    let e = key_len(proposal.encryption);
    let salt =
        [from.ni, from.nr, &from.initiator_spi.to_be_bytes(), &from.responder_spi.to_be_bytes()].concat();
    let mut cut = Cutter(prf::prf_plus(kind, seed, &salt, 3 * p + 2 * a + 2 * e), 0);
    let d = cut.next(p);
    let (ai, ar) = (cut.next(a), cut.next(a));
    let (ei, er) = (cut.next(e), cut.next(e));
    let (pi, pr) = (cut.next(p), cut.next(p));
    IkeKeys {
        prf: kind,
        d,
        pi,
        pr,
        from_initiator: Protection::new(proposal, ei, ai),
        from_responder: Protection::new(proposal, er, ar),
    }
}

/// What one or two key exchanges gave; empty: there was none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fresh<'a> {
    pub(crate) first: &'a [u8],
    pub(crate) second: &'a [u8],
}

impl fmt::Debug for Fresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(…)")
    }
}

/// KEYMAT = prf+(SK_d, [SK(0) |] Ni | Nr [| SK(1)]): keys of the exchange's initiator as sender first, then of its responder.
pub(crate) fn child_keys(
    ike: &IkeKeys,
    proposal: &EspProposal,
    ni: &[u8],
    nr: &[u8],
    fresh: Fresh<'_>,
) -> (ChildKeys, ChildKeys) {
    let integrity = match proposal.integrity {
        Some(integrity) if !proposal.encryption.is_some_and(is_aead) => prf::integrity_key_len(integrity),
        _ => 0,
    };
    let len = proposal.encryption.map_or(0, key_len) + integrity;
    let seed = Zeroizing::new([fresh.first, ni, nr, fresh.second].concat());
    let mut cut = Cutter(prf::prf_plus(ike.prf, &ike.d, &seed, 2 * len), 0);
    let first = ChildKeys(cut.next(len).to_vec());
    (first, ChildKeys(cut.next(len).to_vec()))
}

struct Cutter(Wiped, usize);

impl Cutter {
    fn next(&mut self, n: usize) -> Wiped {
        let piece = self.0.get(self.1..self.1 + n).unwrap_or_default().to_vec();
        self.1 += n;
        Zeroizing::new(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Encryption, Group, Integrity};

    // RFC 5723 §5.1: ten octets of ASCII, without an end
    #[test]
    fn a_resumed_ike_sa_is_seeded_by_the_old_one() {
        let octets = [b"Resumption".as_slice(), &[1; 32], &[2; 16]].concat();
        let want = prf::prf(Prf::HmacSha384, &[5; 48], &[&octets]);
        assert_eq!(resumed_seed(Prf::HmacSha384, &[5; 48], &[1; 32], &[2; 16]), want);
        assert_ne!(resumed_seed(Prf::HmacSha384, &[5; 48], &[2; 32], &[1; 16]), want);
    }

    #[test]
    fn keys_are_as_long_as_their_algorithms_want() {
        let ike = IkeProposal {
            encryption: Encryption::AesCbc256,
            integrity: Some(Integrity::HmacSha256_128),
            prf: Prf::HmacSha384,
            group: Group::Curve25519,
            kem: None,
        };
        let from = Ingredients { ni: &[1; 32], nr: &[2; 32], initiator_spi: 3, responder_spi: 4 };
        let keys = ike_keys(&ike, &[5; 48], from);
        assert_eq!((keys.d.len(), keys.pi.len(), keys.pr.len()), (48, 48, 48));
        assert_ne!(keys.pi, keys.pr);
        let lens = [
            (Encryption::AesGcm16_128, None, 20),
            (Encryption::AesGcm16_256, None, 36),
            (Encryption::ChaCha20Poly1305, None, 36),
            (Encryption::AesGmac128, None, 20),
            (Encryption::AesGmac192, None, 28),
            (Encryption::AesGmac256, None, 36),
            (Encryption::AesCtr128, Some(Integrity::HmacSha1_96), 40),
            (Encryption::AesCtr192, Some(Integrity::HmacSha256_128), 60),
            (Encryption::AesCtr256, Some(Integrity::HmacSha512_256), 100),
            (Encryption::AesCbc128, Some(Integrity::HmacSha1_96), 36),
            (Encryption::AesCbc256, Some(Integrity::HmacSha256_128), 64),
        ]
        .map(|(encryption, integrity, want)| (Some(encryption), integrity, want));
        // AH has an integrity key alone.
        let ah = [(None, Some(Integrity::HmacSha256_128), 32), (None, Some(Integrity::HmacSha512_256), 64)];
        for (encryption, integrity, want) in lens.into_iter().chain(ah) {
            let esp = EspProposal { encryption, integrity, group: None, kem: None, esn: false };
            let (i, r) = child_keys(&keys, &esp, &[1; 32], &[2; 32], Fresh::default());
            assert_eq!((i.0.len(), r.0.len()), (want, want));
            assert_ne!(i.0, r.0);
            let pfs = Fresh { first: &[9; 32], second: &[] };
            let (with_pfs, _) = child_keys(&keys, &esp, &[1; 32], &[2; 32], pfs);
            assert_ne!(i.0, with_pfs.0);
            // RFC 9370 §2.2.4: SK(1) stands behind the nonces.
            let both = Fresh { first: &[9; 32], second: &[7; 32] };
            let (first, _) = child_keys(&keys, &esp, &[1; 32], &[2; 32], both);
            let seed = [[9; 32], [1; 32], [2; 32], [7; 32]].concat();
            assert_eq!(first.0, prf::prf_plus(keys.prf, &keys.d, &seed, want)[..]);
        }
    }
}
