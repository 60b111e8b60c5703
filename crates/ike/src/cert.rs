//! X.509 certificates and the keys in them (RFC 5280, with RFC 4945 for IKE).
//!
//! Decides: what a certificate says and whether it is well formed. Reads: DER and PEM of strangers. Writes: nothing.
//! Never: trusts one (that is [`path`]), panics on any bytes, takes one of more than [`MAX_LEN`] bytes.

pub(crate) mod scheme;
pub mod key;
pub mod name;
pub mod path;
pub mod alt;
pub mod crl;
pub mod ocsp;

pub use crl::Crl;
pub use key::{Family, PrivateKey, PublicKey};
pub use name::{Dn, DnPattern};

use core::fmt;
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode, Reader, SliceReader};
use scheme::{Hash, Scheme};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints,
    ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};

/// Real ones have 500 to 3,000 bytes.
pub const MAX_LEN: usize = 16 * 1024;
/// Alternative names of one certificate, and addresses of its revocation services.
const MAX_NAMES: usize = 256;

/// What is wrong with a certificate, a key or a path; a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    #[error("the certificate is malformed: {0}")]
    Malformed(&'static str),
    #[error("the key cannot be used: {0}")]
    Key(&'static str),
    #[error("the certificate of {0} is not valid yet")]
    NotYetValid(String),
    #[error("the certificate of {0} has expired")]
    Expired(String),
    #[error("no trusted CA issued the certificate of {0} (its issuer is {1})")]
    NoIssuer(String, String),
    #[error("the signature of the certificate of {0} is wrong")]
    BadSignature(String),
    #[error("{0} is not a CA that may issue certificates")]
    NotCa(String),
    #[error("the path of certificates is longer than {0} allows")]
    PathLength(String),
    #[error("the certificate of {0} is not for signing in IKE (key usage)")]
    Usage(String),
    #[error("the certificate of {0} has the unknown critical extension {1}")]
    Critical(String, String),
    #[error("the name constraints of {0} do not allow this certificate")]
    Constrained(String),
    #[error("the path of certificates takes too long to find")]
    Budget,
    #[error("{0} is not in the peer's certificate of {1}")]
    Identity(String, String),
    #[error("the certificate of {0} is revoked")]
    Revoked(String),
}

/// What a certificate says. Holding one means that it could be read, not that it is good.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    signature: Vec<u8>,
    scheme: Option<Scheme>,
    serial: Vec<u8>,
    subject: Dn,
    issuer: Dn,
    /// Seconds since 1970.
    valid: (u64, u64),
    key: PublicKey,
    ca: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    purposes: Option<Vec<ObjectIdentifier>>,
    alt: Vec<GeneralName>,
    constraints: Option<NameConstraints>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
    crl: Vec<String>,
    ocsp: Vec<String>,
    critical: Option<String>,
}

impl Certificate {
    pub fn from_der(der: &[u8]) -> Result<Self, CertError> {
        if der.len() > MAX_LEN {
            return Err(CertError::Malformed("it is too large"));
        }
        let parsed = x509_cert::Certificate::from_der(der)
            .map_err(|_| CertError::Malformed("it is not X.509 in DER"))?;
        let (tbs, key) = raw_parts(der).ok_or(CertError::Malformed("its parts cannot be told apart"))?;
        let body = parsed.tbs_certificate();
        let outer = parsed.signature_algorithm().to_der().unwrap_or_default();
        // RFC 5280 §4.1.1.2: the one inside, which is signed, must be the same.
        if body.signature().to_der().ok().as_deref() != Some(&outer) {
            return Err(CertError::Malformed("it names two signature algorithms"));
        }
        let time = |t: x509_cert::time::Time| t.to_unix_duration().as_secs();
        let mut this = Self {
            der: der.to_vec(),
            tbs: tbs.to_vec(),
            signature: parsed.signature().raw_bytes().to_vec(),
            scheme: Scheme::parse(&outer),
            serial: body.serial_number().as_bytes().to_vec(),
            subject: dn(body.subject())?,
            issuer: dn(body.issuer())?,
            valid: (time(body.validity().not_before), time(body.validity().not_after)),
            key: PublicKey::from_spki(key)?,
            ca: None,
            usage: None,
            purposes: None,
            alt: Vec::new(),
            constraints: None,
            subject_key_id: None,
            authority_key_id: None,
            crl: Vec::new(),
            ocsp: Vec::new(),
            critical: None,
        };
        this.read_extensions(body.extensions().map_or(&[], Vec::as_slice))?;
        Ok(this)
    }

    /// Every certificate of a PEM file, in its order; or the one of a DER file.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, CertError> {
        read_all(bytes, "CERTIFICATE", "the file holds no certificate", Self::from_der)
    }

    fn read_extensions(&mut self, list: &[x509_cert::ext::Extension]) -> Result<(), CertError> {
        for (i, extension) in list.iter().enumerate() {
            if list.iter().take(i).any(|before| before.extn_id == extension.extn_id) {
                return Err(CertError::Malformed("an extension stands twice"));
            }
            let known = self
                .read_extension(extension.extn_id, extension.extn_value.as_bytes())
                .map_err(|_| CertError::Malformed("an extension cannot be read"))?;
            if extension.critical && !known {
                self.critical = Some(extension.extn_id.to_string());
            }
        }
        if self.alt.len() > MAX_NAMES || self.crl.len() + self.ocsp.len() > MAX_NAMES {
            return Err(CertError::Malformed("it has too many names"));
        }
        Ok(())
    }

    /// True for one that is understood.
    fn read_extension(&mut self, id: ObjectIdentifier, value: &[u8]) -> der::Result<bool> {
        match id.to_string().as_str() {
            "2.5.29.14" => {
                self.subject_key_id = Some(SubjectKeyIdentifier::from_der(value)?.0.as_bytes().to_vec())
            }
            "2.5.29.15" => self.usage = Some(KeyUsage::from_der(value)?),
            "2.5.29.17" => self.alt = SubjectAltName::from_der(value)?.0,
            "2.5.29.19" => self.ca = Some(BasicConstraints::from_der(value)?).filter(|c| c.ca),
            "2.5.29.30" => self.constraints = Some(NameConstraints::from_der(value)?),
            "2.5.29.35" => {
                let id = AuthorityKeyIdentifier::from_der(value)?.key_identifier;
                self.authority_key_id = id.map(|id| id.as_bytes().to_vec());
            }
            "2.5.29.37" => self.purposes = Some(ExtendedKeyUsage::from_der(value)?.0),
            "2.5.29.31" => self.crl = crl_addresses(&CrlDistributionPoints::from_der(value)?),
            "1.3.6.1.5.5.7.1.1" => self.ocsp = ocsp_addresses(&AuthorityInfoAccessSyntax::from_der(value)?),
            // Policies: without a wish for one each path has the one that is wanted (RFC 5280 §6.1).
            "2.5.29.32" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    pub const fn subject(&self) -> &Dn {
        &self.subject
    }

    pub const fn issuer(&self) -> &Dn {
        &self.issuer
    }

    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// First and last second of its validity, since 1970.
    pub const fn validity(&self) -> (u64, u64) {
        self.valid
    }

    pub const fn is_ca(&self) -> bool {
        self.ca.is_some()
    }

    /// Its subject issued it itself.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// HTTP addresses of its CRLs.
    pub fn crl_addresses(&self) -> &[String] {
        &self.crl
    }

    pub fn ocsp_addresses(&self) -> &[String] {
        &self.ocsp
    }

    /// The key of `issuer` made its signature. SHA-1 proves nothing any more.
    pub(crate) fn is_signed_by(&self, issuer: &PublicKey) -> bool {
        let strong = self.scheme.filter(|scheme| scheme.hash() != Some(Hash::Sha1));
        strong.is_some_and(|scheme| issuer.verify(scheme, &self.tbs, &self.signature))
    }

    /// RFC 6960 §4.2.2.2: its issuer lets it sign answers about the issuer's certificates.
    pub(crate) fn is_ocsp_signer(&self) -> bool {
        let purpose = |oid: &ObjectIdentifier| oid.to_string() == "1.3.6.1.5.5.7.3.9";
        self.purposes.as_ref().is_some_and(|list| list.iter().any(purpose))
            && self.usage.is_none_or(|usage| usage.digital_signature())
            && self.critical.is_none()
    }

    /// It may be the issuer of `other`, as far as names tell.
    fn may_have_issued(&self, other: &Self) -> bool {
        let ids = other.authority_key_id.as_ref().zip(self.subject_key_id.as_ref());
        self.subject == other.issuer && ids.is_none_or(|(a, b)| a == b)
    }

    pub(crate) fn check_time(&self, now: u64) -> Result<(), CertError> {
        match now {
            _ if now < self.valid.0 => Err(CertError::NotYetValid(self.subject.to_string())),
            _ if now > self.valid.1 => Err(CertError::Expired(self.subject.to_string())),
            _ => Ok(()),
        }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {:?})", self.subject, self.key)
    }
}

/// What stands in a PEM file between lines with this label, or the one thing of a DER file.
fn read_all<T>(
    bytes: &[u8],
    label: &str,
    none: &'static str,
    from_der: impl Fn(&[u8]) -> Result<T, CertError>,
) -> Result<Vec<T>, CertError> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![from_der(bytes)?]);
    }
    let text = core::str::from_utf8(bytes).map_err(|_| CertError::Malformed("it is neither PEM nor DER"))?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let from_begin = |part: &'_ str| part.find(&begin);
    let blocks = text.split_inclusive(end.as_str()).filter_map(|part| part.get(from_begin(part)?..));
    let one = |block: &str| {
        let (_, der) =
            der::pem::decode_vec(block.as_bytes()).map_err(|_| CertError::Malformed("its PEM is broken"))?;
        from_der(&der)
    };
    let all = blocks.map(one).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() { Err(CertError::Malformed(none)) } else { Ok(all) }
}

fn dn(name: &x509_cert::name::Name) -> Result<Dn, CertError> {
    let der = name.to_der().map_err(|_| CertError::Malformed("a name cannot be read"))?;
    Dn::from_der(&der).ok_or(CertError::Malformed("a name cannot be read"))
}

/// The signed part and the key as they stand: what is checked are these bytes, not what we would write.
fn raw_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = |bytes| Some(der::asn1::AnyRef::from_der(bytes).ok()?.value());
    let mut r = SliceReader::new(inside(der)?).ok()?;
    let tbs = r.tlv_bytes().ok()?;
    let mut r = SliceReader::new(inside(tbs)?).ok()?;
    let first = r.tlv_bytes().ok()?;
    // [0] version, serial, algorithm, issuer, validity, subject, key; the version may be absent.
    let before = if first.first() == Some(&0xa0) { 5 } else { 4 };
    for _ in 0..before {
        r.tlv_bytes().ok()?;
    }
    Some((tbs, r.tlv_bytes().ok()?))
}

fn crl_addresses(points: &CrlDistributionPoints) -> Vec<String> {
    let names = points.0.iter().filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) if point.crl_issuer.is_none() => Some(names),
        _ => None,
    });
    names.flatten().filter_map(http).collect()
}

fn ocsp_addresses(access: &AuthorityInfoAccessSyntax) -> Vec<String> {
    let ocsp = access.0.iter().filter(|a| a.access_method.to_string() == "1.3.6.1.5.5.7.48.1");
    ocsp.filter_map(|a| http(&a.access_location)).collect()
}

fn http(name: &GeneralName) -> Option<String> {
    let GeneralName::UniformResourceIdentifier(uri) = name else { return None };
    uri.as_str().starts_with("http://").then(|| uri.as_str().to_owned())
}
