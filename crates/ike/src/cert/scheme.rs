//! Signature schemes and their names in ASN.1 (RFC 7427 appendix A, RFC 8420, RFC 5280 §4.1.1.2).
//!
//! Decides: which schemes there are. Reads and writes: AlgorithmIdentifier. Never: touches a key.

use der::{Decode, Reader, SliceReader, Tag, Tagged};
use sha1::Digest;

/// Hash algorithms by their numbers in SIGNATURE_HASH_ALGORITHMS (RFC 7427 §7, RFC 8420 §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// The number that stands for "the signature hashes by itself" (RFC 8420 §2).
pub(crate) const IDENTITY: u16 = 5;

impl Hash {
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 2,
            Self::Sha384 => 3,
            Self::Sha512 => 4,
        }
    }

    pub(crate) fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => sha1::Sha1::digest(message).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(message).to_vec(),
        }
    }

    const fn len(self) -> u8 {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Scheme {
    /// RSASSA-PKCS1-v1_5.
    Rsa(Hash),
    /// RSASSA-PSS with MGF1 of the same hash.
    Pss {
        hash: Hash,
        salt: u8,
    },
    Ecdsa(Hash),
    Ed25519,
}

const RSA: [&str; 4] =
    ["1.2.840.113549.1.1.5", "1.2.840.113549.1.1.11", "1.2.840.113549.1.1.12", "1.2.840.113549.1.1.13"];
const ECDSA: [&str; 4] =
    ["1.2.840.10045.4.1", "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4"];
const HASHES: [&str; 4] =
    ["1.3.14.3.2.26", "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"];
const ALL: [Hash; 4] = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
const PSS: &str = "1.2.840.113549.1.1.10";
const MGF1: &str = "1.2.840.113549.1.1.8";
pub(crate) const ED25519: &str = "1.3.101.112";

/// OIDs whose text a program of ours wrote.
fn oid(text: &str) -> der::asn1::ObjectIdentifier {
    der::asn1::ObjectIdentifier::new_unwrap(text)
}

impl Scheme {
    pub(crate) const fn hash(self) -> Option<Hash> {
        match self {
            Self::Rsa(hash) | Self::Pss { hash, .. } | Self::Ecdsa(hash) => Some(hash),
            Self::Ed25519 => None,
        }
    }

    /// PSS with a salt as long as the hash, which every peer takes.
    pub(crate) const fn pss(hash: Hash) -> Self {
        Self::Pss { hash, salt: hash.len() }
    }

    /// From the DER of an AlgorithmIdentifier. `None`: not one of ours.
    pub(crate) fn parse(identifier: &[u8]) -> Option<Self> {
        let (name, parameters) = split(identifier)?;
        let of = |list: [&str; 4]| list.iter().position(|o| oid(o) == name).and_then(|i| ALL.get(i).copied());
        // Some writers leave out the NULL of RSA, some give one to ECDSA.
        let plain = parameters.is_empty() || parameters == [5, 0];
        if let Some(hash) = of(RSA) {
            return plain.then_some(Self::Rsa(hash));
        }
        if let Some(hash) = of(ECDSA) {
            return plain.then_some(Self::Ecdsa(hash));
        }
        if name == oid(ED25519) {
            return parameters.is_empty().then_some(Self::Ed25519);
        }
        (name == oid(PSS)).then(|| pss_parameters(parameters)).flatten()
    }

    /// The DER of its AlgorithmIdentifier.
    pub(crate) fn identifier(self) -> Vec<u8> {
        let at = |hash: Hash, list: [&'static str; 4]| {
            ALL.iter().zip(list).find(|(h, _)| **h == hash).map_or("", |(_, text)| text)
        };
        let null = &[5, 0][..];
        match self {
            Self::Rsa(hash) => sequence(&[&name(at(hash, RSA)), null]),
            Self::Ecdsa(hash) => sequence(&[&name(at(hash, ECDSA))]),
            Self::Ed25519 => sequence(&[&name(ED25519)]),
            Self::Pss { hash, salt } => {
                let digest = sequence(&[&name(at(hash, HASHES)), null]);
                let mgf = sequence(&[&name(MGF1), &digest]);
                let salt = [2, 1, salt];
                let parts = [explicit(0, &digest), explicit(1, &mgf), explicit(2, &salt)];
                let parameters = sequence(&parts.each_ref().map(Vec::as_slice));
                sequence(&[&name(PSS), &parameters])
            }
        }
    }
}

/// OID and the bytes of the parameters, which must end the sequence.
fn split(identifier: &[u8]) -> Option<(der::asn1::ObjectIdentifier, &[u8])> {
    let any = der::asn1::AnyRef::from_der(identifier).ok().filter(|any| any.tag() == Tag::Sequence)?;
    let mut r = SliceReader::new(any.value()).ok()?;
    let name = r.decode::<der::asn1::ObjectIdentifier>().ok()?;
    let rest = if r.is_finished() { &[] } else { r.tlv_bytes().ok()? };
    r.is_finished().then_some((name, rest))
}

/// RFC 4055 §3.1: everything absent has a default, and the defaults are SHA-1.
fn pss_parameters(parameters: &[u8]) -> Option<Scheme> {
    let any = der::asn1::AnyRef::from_der(parameters).ok().filter(|any| any.tag() == Tag::Sequence)?;
    let mut r = SliceReader::new(any.value()).ok()?;
    let (mut hash, mut mask, mut salt) = (Hash::Sha1, Hash::Sha1, 20);
    let hash_of = |identifier: &[u8]| {
        let (name, rest) = split(identifier)?;
        let found = HASHES.iter().position(|o| oid(o) == name)?;
        (rest.is_empty() || rest == [5, 0]).then(|| ALL.get(found).copied()).flatten()
    };
    while !r.is_finished() {
        let bytes = r.tlv_bytes().ok()?;
        let inner = der::asn1::AnyRef::from_der(bytes).ok()?.value();
        match bytes.first()? {
            0xa0 => hash = hash_of(inner)?,
            0xa1 => {
                let (name, of) = split(inner)?;
                mask = (name == oid(MGF1)).then(|| hash_of(of)).flatten()?;
            }
            0xa2 => salt = u8::from_der(inner).ok()?,
            0xa3 => (u8::from_der(inner).ok()? == 1).then_some(())?,
            _ => return None,
        }
    }
    // No hash is longer; a longer salt only costs.
    (hash == mask && salt <= 64).then_some(Scheme::Pss { hash, salt })
}

fn name(text: &str) -> Vec<u8> {
    let oid = oid(text);
    tlv(6, &[oid.as_bytes()])
}

fn explicit(number: u8, inner: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, &[inner])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

/// One value in DER. What we write is short.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![tag];
    match u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes() {
        [0, n] if n < 0x80 => out.push(n),
        [0, n] => out.extend_from_slice(&[0x81, n]),
        [high, low] => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(&body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    // RFC 7427 appendix A.1 to A.4, RFC 8420 appendix A
    #[test]
    fn identifiers_are_those_of_the_rfcs() {
        let vectors: [(Scheme, &[u8]); 9] = [
            (Scheme::Rsa(Hash::Sha1), &hex!("300d06092a864886f70d0101050500")),
            (Scheme::Rsa(Hash::Sha256), &hex!("300d06092a864886f70d01010b0500")),
            (Scheme::Rsa(Hash::Sha384), &hex!("300d06092a864886f70d01010c0500")),
            (Scheme::Rsa(Hash::Sha512), &hex!("300d06092a864886f70d01010d0500")),
            (Scheme::Ecdsa(Hash::Sha256), &hex!("300a06082a8648ce3d040302")),
            (Scheme::Ecdsa(Hash::Sha384), &hex!("300a06082a8648ce3d040303")),
            (Scheme::Ecdsa(Hash::Sha512), &hex!("300a06082a8648ce3d040304")),
            (Scheme::Ed25519, &hex!("300506032b6570")),
            (
                Scheme::pss(Hash::Sha256),
                &hex!(
                    "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
                    "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
                ),
            ),
        ];
        for (scheme, bytes) in vectors {
            assert_eq!(scheme.identifier(), bytes, "{scheme:?}");
            assert_eq!(Scheme::parse(bytes), Some(scheme));
        }
    }

    // RFC 7427 §A.4.1 and §A.4.2: PSS without and with the defaults written
    #[test]
    fn pss_defaults() {
        let sha1 = Scheme::Pss { hash: Hash::Sha1, salt: 20 };
        assert_eq!(Scheme::parse(&hex!("300d06092a864886f70d01010a3000")), Some(sha1));
        let written = hex!(
            "303e06092a864886f70d01010a3031a00b300906052b0e03021a0500"
            "a118301606092a864886f70d010108300906052b0e03021a0500a203020114a303020101"
        );
        assert_eq!(Scheme::parse(&written), Some(sha1));
        let other_mask = hex!(
            "303d06092a864886f70d01010a3030a00d300b0609608648016503040201"
            "a11a301806092a864886f70d010108300b0609608648016503040202a203020120"
        );
        assert_eq!(Scheme::parse(&other_mask), None, "hash and mask differ");
    }

    #[test]
    fn what_is_not_ours() {
        for bytes in
            [&hex!("300506032b6571")[..], &[], &[0x30, 0], &hex!("300706032b65700500"), &[0x30, 0x81]]
        {
            assert_eq!(Scheme::parse(bytes), None, "{bytes:02x?}");
        }
    }
}
