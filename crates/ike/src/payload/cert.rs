//! Certificate and Certificate Request payloads (RFC 7296 §3.6, §3.7).
//!
//! Decides: whether they are well formed. Never: looks into a certificate.

use super::Reader;
use crate::error::Malformed;

/// X.509 Certificate - Signature: one certificate in DER.
pub(crate) const X509: u8 = 4;
/// Hash and URL, of a certificate and of a bundle: we never say that we look things up, so nobody may send them.
pub(crate) const HASH_AND_URL: [u8; 2] = [12, 13];
/// SubjectPublicKeyInfo (RFC 7670).
pub(crate) const RAW_KEY: u8 = 15;

/// Longer ones are refused before anybody looks into them.
const MAX_LEN: usize = crate::cert::MAX_LEN;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cert {
    pub(crate) encoding: u8,
    pub(crate) data: Vec<u8>,
}

impl Cert {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "certificate payload");
        let encoding = r.u8()?;
        let data = r.rest();
        if data.len() > MAX_LEN {
            return Err(Malformed::Length("certificate payload"));
        }
        Ok(Self { encoding, data: data.to_vec() })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.encoding);
        out.extend_from_slice(&self.data);
    }
}
