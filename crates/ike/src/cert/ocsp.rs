//! Asking a responder whether a certificate is revoked (RFC 6960, in the narrow form of RFC 5019).
//!
//! Decides: what an answer says of the certificate it was asked about, if it may say anything. Reads: DER of a stranger,
//! the time it is given. Never: sends anything, believes an answer that neither the issuer nor its delegate signed, that
//! is about another certificate, out of date, or made for another question.

use super::Certificate;
use super::scheme::{Hash, Scheme, tlv};
use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader};
use sha1::{Digest, Sha1};

/// Real ones have 300 to 4,000 bytes.
pub const MAX_LEN: usize = 64 * 1024;
/// Certificates of delegates in one answer.
const MAX_DELEGATES: usize = 4;
/// Clocks differ.
const SKEW: u64 = 300;
/// An answer that does not say until when it holds is good for so long.
const NO_END: u64 = 3600;

const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];

/// One certificate, and the number by which its answer is known to be new.
#[derive(Clone, Debug)]
pub struct Question {
    /// CertID, DER.
    id: Vec<u8>,
    nonce: [u8; 32],
}

/// What a responder said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    pub revoked: bool,
    /// Until this second since 1970.
    pub until: u64,
}

impl Question {
    /// Of `certificate`, which `issuer` issued. SHA-1 here only finds the entry (RFC 5019 §2.1.1).
    pub fn new(certificate: &Certificate, issuer: &Certificate, nonce: [u8; 32]) -> Self {
        let name = Sha1::digest(certificate.issuer().der());
        let key = Sha1::digest(public_bits(issuer.key().spki()).unwrap_or_default());
        let algorithm = tlv(0x30, &[&tlv(6, &[SHA1]), &[5, 0]]);
        // A first bit would make it a negative number.
        let serial = certificate.serial();
        let sign: &[u8] = if serial.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
        let serial = tlv(2, &[sign, serial]);
        let id = tlv(0x30, &[&algorithm, &tlv(4, &[&name]), &tlv(4, &[&key]), &serial]);
        Self { id, nonce }
    }

    /// OCSPRequest, for the body of a POST.
    pub fn request(&self) -> Vec<u8> {
        let list = tlv(0x30, &[&tlv(0x30, &[&self.id])]);
        let nonce = tlv(4, &[&tlv(4, &[&self.nonce])]);
        let extension = tlv(0x30, &[&tlv(6, &[NONCE]), &nonce]);
        let extensions = tlv(0xa2, &[&tlv(0x30, &[&extension])]);
        tlv(0x30, &[&tlv(0x30, &[&list, &extensions])])
    }

    /// What the answer says. `Err`: it says nothing that could be believed; why.
    pub fn judge(&self, answer: &[u8], issuer: &Certificate, now: u64) -> Result<Said, &'static str> {
        if answer.len() > MAX_LEN {
            return Err("the OCSP answer is too large");
        }
        let basic = Basic::parse(answer)?;
        let data = Data::parse(basic.data, &self.id).ok_or("the OCSP answer is malformed")?;
        if data.nonce.is_some_and(|nonce| nonce != self.nonce) {
            return Err("the OCSP answer is for another question");
        }
        basic.check_signature(issuer, now)?;
        let single = data.single.ok_or("the OCSP answer is about another certificate")?;
        let until = single.next.unwrap_or_else(|| single.this.saturating_add(NO_END));
        match single.status {
            // What was revoked once stays so.
            Status::Revoked => Ok(Said { revoked: true, until }),
            _ if single.this > now.saturating_add(SKEW) => Err("the OCSP answer is not valid yet"),
            _ if until.saturating_add(SKEW) < now => Err("the OCSP answer is out of date"),
            Status::Good => Ok(Said { revoked: false, until }),
            Status::Unknown => Err("the OCSP responder does not know the certificate"),
        }
    }
}

/// BasicOCSPResponse.
struct Basic<'a> {
    data: &'a [u8],
    scheme: Option<Scheme>,
    signature: &'a [u8],
    delegates: Vec<Certificate>,
}

impl<'a> Basic<'a> {
    fn parse(answer: &'a [u8]) -> Result<Self, &'static str> {
        let malformed = "the OCSP answer is malformed";
        let mut outer = parts(answer, 0x30).ok_or(malformed)?;
        match value(&mut outer, 0x0a).ok_or(malformed)? {
            [0] => {}
            [1] => return Err("the OCSP responder found the question malformed"),
            [3] => return Err("the OCSP responder asks to try later"),
            [5 | 6] => return Err("the OCSP responder does not serve us"),
            _ => return Err("the OCSP responder had an error"),
        }
        let basic = Self::inner(&mut outer).ok_or(malformed)?;
        Self::parts(basic).ok_or(malformed)
    }

    fn inner(outer: &mut SliceReader<'a>) -> Option<&'a [u8]> {
        let mut bytes = parts(value(outer, 0xa0)?, 0x30)?;
        if value(&mut bytes, 6)? != BASIC {
            return None;
        }
        value(&mut bytes, 4)
    }

    fn parts(basic: &'a [u8]) -> Option<Self> {
        let mut r = parts(basic, 0x30)?;
        let (data, algorithm) = (r.tlv_bytes().ok()?, r.tlv_bytes().ok()?);
        let (unused, signature) = value(&mut r, 3)?.split_first()?;
        let mut delegates = Vec::new();
        if !r.is_finished() {
            let mut list = parts(value(&mut r, 0xa0)?, 0x30)?;
            while !list.is_finished() && delegates.len() < MAX_DELEGATES {
                delegates.extend(Certificate::from_der(list.tlv_bytes().ok()?).ok());
            }
        }
        (*unused == 0).then(|| Self { data, scheme: Scheme::parse(algorithm), signature, delegates })
    }

    /// By the issuer itself, or by whom the issuer gave that task to (RFC 6960 §4.2.2.2).
    fn check_signature(&self, issuer: &Certificate, now: u64) -> Result<(), &'static str> {
        let Some(scheme) = self.scheme.filter(|scheme| scheme.hash() != Some(Hash::Sha1)) else {
            return Err("the OCSP answer is signed in a way that we do not take");
        };
        let signed = |by: &Certificate| by.key().verify(scheme, self.data, self.signature);
        let delegated = |by: &&Certificate| {
            by.issuer() == issuer.subject()
                && by.is_ocsp_signer()
                && by.check_time(now).is_ok()
                && by.is_signed_by(issuer.key())
        };
        if signed(issuer) || self.delegates.iter().filter(delegated).any(signed) {
            Ok(())
        } else {
            Err("the OCSP answer is not signed by the issuer of the certificate or its delegate")
        }
    }
}

/// ResponseData.
struct Data<'a> {
    /// About our certificate.
    single: Option<Single>,
    nonce: Option<&'a [u8]>,
}

#[derive(Clone, Copy)]
struct Single {
    status: Status,
    this: u64,
    next: Option<u64>,
}

#[derive(Clone, Copy)]
enum Status {
    Good,
    Revoked,
    Unknown,
}

impl<'a> Data<'a> {
    fn parse(data: &'a [u8], id: &[u8]) -> Option<Self> {
        let mut r = parts(data, 0x30)?;
        let mut next = r.tlv_bytes().ok()?;
        if next.first() == Some(&0xa0) {
            // The version, which has but one value, and that is the default.
            next = r.tlv_bytes().ok()?;
        }
        // Who answers, and when: what counts is who signed, and until when it holds.
        matches!(next.first(), Some(0xa1 | 0xa2)).then_some(())?;
        time(r.tlv_bytes().ok()?)?;
        let mut list = SliceReader::new(value(&mut r, 0x30)?).ok()?;
        let mut single = None;
        while !list.is_finished() {
            let bytes = list.tlv_bytes().ok()?;
            if let Some(found) = Single::parse(bytes, id)? {
                // Two entries that differ: the worse one.
                single = match single {
                    Some(Single { status: Status::Revoked, .. }) => single,
                    _ => Some(found),
                };
            }
        }
        let nonce = if r.is_finished() { None } else { nonce(value(&mut r, 0xa1)?)? };
        r.is_finished().then_some(Self { single, nonce })
    }
}

impl Single {
    /// `Some(None)`: it is about another certificate.
    fn parse(bytes: &[u8], id: &[u8]) -> Option<Option<Self>> {
        let mut r = parts(bytes, 0x30)?;
        let same = is_same(r.tlv_bytes().ok()?, id);
        let status = match r.tlv_bytes().ok()?.first()? {
            0x80 => Status::Good,
            0xa1 => Status::Revoked,
            0x82 => Status::Unknown,
            _ => return None,
        };
        let (this, mut next) = (time(r.tlv_bytes().ok()?)?, None);
        while !r.is_finished() {
            let bytes = r.tlv_bytes().ok()?;
            match bytes.first()? {
                0xa0 => next = Some(time(AnyRef::from_der(bytes).ok()?.value())?),
                0xa1 => {}
                _ => return None,
            }
        }
        Some(same.then_some(Self { status, this, next }))
    }
}

/// Some write the NULL of the algorithm, some leave it out.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    fn split(id: &[u8]) -> Option<(&[u8], &[u8])> {
        let mut r = parts(id, 0x30)?;
        let mut algorithm = parts(r.tlv_bytes().ok()?, 0x30)?;
        let name = value(&mut algorithm, 6)?;
        let inside = AnyRef::from_der(id).ok()?.value();
        let rest = inside.get(inside.len() - usize::try_from(r.remaining_len()).ok()?..)?;
        Some((name, rest))
    }
    a == b || split(a).is_some_and(|a| Some(a) == split(b))
}

/// The nonce among extensions. `Some(None)`: there is none.
fn nonce(extensions: &[u8]) -> Option<Option<&[u8]>> {
    let mut list = parts(extensions, 0x30)?;
    let mut found = None;
    while !list.is_finished() {
        let mut r = SliceReader::new(value(&mut list, 0x30)?).ok()?;
        if value(&mut r, 6)? != NONCE {
            continue;
        }
        // A flag may stand before the value.
        let mut last = r.tlv_bytes().ok()?;
        while !r.is_finished() {
            last = r.tlv_bytes().ok()?;
        }
        let wrapped = AnyRef::from_der(last).ok()?.value();
        found = Some(AnyRef::from_der(wrapped).map_or(wrapped, |inner| inner.value()));
    }
    Some(found)
}

/// What stands inside a value of this kind that fills `bytes`.
fn parts(bytes: &[u8], tag: u8) -> Option<SliceReader<'_>> {
    (bytes.first() == Some(&tag)).then_some(())?;
    SliceReader::new(AnyRef::from_der(bytes).ok()?.value()).ok()
}

/// The contents of the next value, which must be of this kind.
fn value<'a>(r: &mut SliceReader<'a>, tag: u8) -> Option<&'a [u8]> {
    let bytes = r.tlv_bytes().ok()?;
    (bytes.first() == Some(&tag)).then_some(())?;
    Some(AnyRef::from_der(bytes).ok()?.value())
}

fn time(bytes: &[u8]) -> Option<u64> {
    Some(der::asn1::GeneralizedTime::from_der(bytes).ok()?.to_unix_duration().as_secs())
}

/// The bits of a public key, without what says of which kind it is.
fn public_bits(spki: &[u8]) -> Option<&[u8]> {
    let mut r = parts(spki, 0x30)?;
    r.tlv_bytes().ok()?;
    value(&mut r, 3)?.split_first().map(|(_, bits)| bits)
}

#[cfg(test)]
mod tests;
