//! Lists of revoked certificates (RFC 5280 §5).
//!
//! Decides: what a list says of a certificate, if it may say anything. Reads: DER and PEM, the time it is given.
//! Never: fetches one, believes one that its issuer did not sign or that is out of date.

use super::name::Dn;
use super::scheme::{Hash, Scheme};
use super::{CertError, Certificate, dn};
use core::fmt;
use der::{Decode, Encode, Reader, SliceReader};
use std::collections::BTreeSet;

/// Half a million entries.
pub const MAX_LEN: usize = 20 * 1024 * 1024;

#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    issuer: Dn,
    tbs: Vec<u8>,
    signature: Vec<u8>,
    scheme: Option<Scheme>,
    /// Seconds since 1970; without an end it is of no use.
    valid: (u64, u64),
    revoked: BTreeSet<Vec<u8>>,
    /// It has a critical extension: it is partial, a difference, or of other issuers.
    special: bool,
}

impl Crl {
    pub fn from_der(der: &[u8]) -> Result<Self, CertError> {
        let bad = |_| CertError::Malformed("it is no CRL in DER");
        if der.len() > MAX_LEN {
            return Err(CertError::Malformed("the CRL is too large"));
        }
        let parsed =
            x509_cert::crl::CertificateList::<x509_cert::certificate::Rfc5280>::from_der(der).map_err(bad)?;
        let list = parsed.tbs_cert_list;
        let outer = parsed.signature_algorithm.to_der().map_err(bad)?;
        if list.signature.to_der().ok().as_deref() != Some(&outer) {
            return Err(CertError::Malformed("the CRL names two signature algorithms"));
        }
        let tbs = first_part(der).ok_or(CertError::Malformed("it is no CRL in DER"))?;
        let revoked = list.revoked_certificates.unwrap_or_default();
        let critical = |e: &x509_cert::ext::Extensions| e.iter().any(|e| e.critical);
        let special = list.crl_extensions.as_ref().is_some_and(critical)
            || revoked.iter().any(|r| r.crl_entry_extensions.as_ref().is_some_and(critical));
        let time = |t: x509_cert::time::Time| t.to_unix_duration().as_secs();
        Ok(Self {
            issuer: dn(&list.issuer)?,
            tbs: tbs.to_vec(),
            signature: parsed.signature.raw_bytes().to_vec(),
            scheme: Scheme::parse(&outer),
            valid: (time(list.this_update), list.next_update.map_or(0, time)),
            revoked: revoked.iter().map(|r| r.serial_number.as_bytes().to_vec()).collect(),
            special,
        })
    }

    /// The lists of a PEM file, or the one of a DER file.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, CertError> {
        super::read_all(bytes, "X509 CRL", "the file holds no CRL", Self::from_der)
    }

    /// Whether `certificate`, which `issuer` issued, is revoked. `Err`: the list cannot say; why not.
    pub fn is_revoked(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        now: u64,
    ) -> Result<bool, &'static str> {
        if self.issuer != *issuer.subject() || self.issuer != *certificate.issuer() {
            return Err("no CRL of its issuer");
        }
        if issuer.usage.is_some_and(|usage| !usage.crl_sign()) {
            return Err("its issuer may not sign CRLs");
        }
        let scheme = self.scheme.filter(|scheme| scheme.hash() != Some(Hash::Sha1));
        if !scheme.is_some_and(|scheme| issuer.key().verify(scheme, &self.tbs, &self.signature)) {
            return Err("the signature of the CRL is wrong");
        }
        let listed = self.revoked.contains(certificate.serial());
        match now {
            // What was revoked once stays so, however old the list is.
            _ if listed => Ok(true),
            _ if self.special => Err("the CRL is partial"),
            _ if now < self.valid.0 => Err("the CRL is not valid yet"),
            _ if now > self.valid.1 => Err("the CRL is out of date"),
            _ => Ok(false),
        }
    }

    pub const fn issuer(&self) -> &Dn {
        &self.issuer
    }

    /// First and last second of its validity, since 1970.
    pub const fn validity(&self) -> (u64, u64) {
        self.valid
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({}, {} revoked)", self.issuer, self.revoked.len())
    }
}

fn first_part(der: &[u8]) -> Option<&[u8]> {
    let mut r = SliceReader::new(der::asn1::AnyRef::from_der(der).ok()?.value()).ok()?;
    r.tlv_bytes().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::scheme::tlv;
    use crate::tests::pki::*;

    fn crl(issuer: &Made, revoked: &[&Made], until: u64, scheme: Scheme) -> Vec<u8> {
        let entry = |m: &&Made| tlv(0x30, &[&tlv(2, &[m.cert.serial()]), &time(TODAY - 60)]);
        let entries: Vec<_> = revoked.iter().map(entry).collect();
        let list = tlv(0x30, &entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let tbs = tlv(
            0x30,
            &[
                &[2, 1, 1],
                &scheme.identifier(),
                issuer.cert.subject().der(),
                &time(TODAY - 60),
                &time(until),
                if revoked.is_empty() { &[] } else { &list },
            ],
        );
        let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::seed_from_u64(1);
        let signature = issuer.key.sign(scheme, &tbs, &mut rng).unwrap();
        tlv(0x30, &[&tbs, &scheme.identifier(), &tlv(3, &[&[0], &signature])])
    }

    #[test]
    fn lists_speak_for_their_issuer_while_they_are_fresh() {
        let scheme = Scheme::Ecdsa(Hash::Sha256);
        let (root, other) = (ca("CN=Root").root(), ca("CN=Other").root());
        let (good, gone) = (leaf("CN=good", &[]).by(&root), leaf("CN=gone", &[]).by(&root));
        let judge = |der: &[u8], of: &Made, by: &Made| {
            Crl::from_der(der).unwrap().is_revoked(&of.cert, &by.cert, TODAY)
        };
        let list = crl(&root, &[&gone], TODAY + 60, scheme);
        assert_eq!(judge(&list, &good, &root), Ok(false));
        assert_eq!(judge(&list, &gone, &root), Ok(true));
        assert_eq!(judge(&crl(&root, &[], TODAY + 60, scheme), &gone, &root), Ok(false));
        assert_eq!(judge(&crl(&root, &[], TODAY - 1, scheme), &good, &root), Err("the CRL is out of date"));
        assert_eq!(judge(&crl(&root, &[&gone], TODAY - 1, scheme), &gone, &root), Ok(true));
        assert_eq!(
            judge(&crl(&other, &[&good], TODAY + 60, scheme), &good, &root),
            Err("no CRL of its issuer")
        );
        let no_crl = Order { usage: Some(vec![2, 0x04]), ..ca("CN=Root") }.root();
        assert_eq!(judge(&list, &good, &no_crl), Err("its issuer may not sign CRLs"));
        let mut forged = list.clone();
        let at = forged.len() - 1;
        forged[at] ^= 1;
        assert_eq!(judge(&forged, &good, &root), Err("the signature of the CRL is wrong"));
        for at in 0..list.len() {
            assert!(Crl::from_der(&list[..at]).is_err());
        }
    }
}
