//! Identification payloads (RFC 7296 §3.5).
//!
//! Decides: whether an identity is well formed. Never: compares it with the configuration (that is `auth`).

use super::Reader;
use crate::cert::Dn;
use crate::config::Identity;
use crate::error::Malformed;
use core::fmt;
use core::net::IpAddr;

pub(crate) const IPV4_ADDR: u8 = 1;
pub(crate) const FQDN: u8 = 2;
pub(crate) const RFC822_ADDR: u8 = 3;
pub(crate) const IPV6_ADDR: u8 = 5;
pub(crate) const DER_ASN1_DN: u8 = 9;
pub(crate) const KEY_ID: u8 = 11;
/// Longer names are refused: no lawful one is so long, and they are kept as long as the SA.
const MAX_LEN: usize = 1024;

/// As on the wire: AUTH covers these very bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) kind: u8,
    pub(crate) data: Vec<u8>,
}

impl Id {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "ID payload");
        let kind = r.u8()?;
        r.take(3)?;
        let data = r.rest().to_vec();
        let lawful = match kind {
            IPV4_ADDR => data.len() == 4,
            IPV6_ADDR => data.len() == 16,
            _ => (1..=MAX_LEN).contains(&data.len()),
        };
        if lawful { Ok(Self { kind, data }) } else { Err(Malformed::Length("ID payload")) }
    }

    /// `None` for [`Identity::Any`] and for patterns, which are no identity.
    pub(crate) fn of(identity: &Identity) -> Option<Self> {
        let (kind, data) = match identity {
            Identity::Address(IpAddr::V4(a)) => (IPV4_ADDR, a.octets().to_vec()),
            Identity::Address(IpAddr::V6(a)) => (IPV6_ADDR, a.octets().to_vec()),
            Identity::Fqdn(name) => (FQDN, name.as_bytes().to_vec()),
            Identity::UserFqdn(name) => (RFC822_ADDR, name.as_bytes().to_vec()),
            Identity::KeyId(bytes) => (KEY_ID, bytes.clone()),
            Identity::Dn(name) => (DER_ASN1_DN, name.der()?),
            Identity::Any => return None,
        };
        Some(Self { kind, data })
    }

    /// A user who proved itself by another name than IKE's.
    pub(crate) fn user(name: &str) -> Self {
        let kind = if name.contains('@') { RFC822_ADDR } else { FQDN };
        Self { kind, data: name.as_bytes().to_vec() }
    }

    /// Names compare without regard to case, distinguished names by their parts, all else byte by byte.
    pub(crate) fn matches(&self, wanted: &Identity) -> bool {
        if let Identity::Dn(pattern) = wanted {
            return self.kind == DER_ASN1_DN
                && Dn::from_der(&self.data).is_some_and(|dn| pattern.matches(&dn));
        }
        match Self::of(wanted) {
            None => true,
            Some(w) if matches!(self.kind, FQDN | RFC822_ADDR) => {
                w.kind == self.kind && w.data.eq_ignore_ascii_case(&self.data)
            }
            Some(w) => w == *self,
        }
    }

    /// One spelling for all that [`Self::matches`] takes for the same name.
    pub(crate) fn canonical(&self) -> Self {
        let data = match self.kind {
            FQDN | RFC822_ADDR => self.data.to_ascii_lowercase(),
            DER_ASN1_DN => Dn::from_der(&self.data).map_or_else(|| self.data.clone(), |dn| dn.canonical()),
            _ => self.data.clone(),
        };
        Self { kind: self.kind, data }
    }

    /// They name one peer.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self == other || self.canonical() == other.canonical()
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.body());
    }

    /// The payload without its generic header, as AUTH covers it (RFC 7296 §2.15).
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut out = vec![self.kind, 0, 0, 0];
        out.extend_from_slice(&self.data);
        out
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            IPV4_ADDR => match <[u8; 4]>::try_from(self.data.as_slice()) {
                Ok(a) => write!(f, "{}", IpAddr::from(a)),
                Err(_) => f.write_str("?"),
            },
            IPV6_ADDR => match <[u8; 16]>::try_from(self.data.as_slice()) {
                Ok(a) => write!(f, "{}", IpAddr::from(a)),
                Err(_) => f.write_str("?"),
            },
            DER_ASN1_DN => match Dn::from_der(&self.data) {
                Some(dn) => fmt::Display::fmt(&dn, f),
                None => f.write_str("?"),
            },
            FQDN | RFC822_ADDR => write!(f, "{}", self.data.escape_ascii()),
            kind => {
                write!(f, "{}:", if kind == KEY_ID { "key-id" } else { "id" })?;
                self.data.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{self, Payload};

    // R190, R136, RFC 7296 §3.5: next payload, length, type, three reserved bytes, data; octet by octet.
    #[test]
    fn each_type_octet_by_octet() {
        let fqdn = Identity::Fqdn("a.lab".into());
        let six = "2001:db8::1".parse().unwrap();
        let cases: [(Identity, &[u8]); 5] = [
            (Identity::Address("198.18.0.1".parse().unwrap()), &[0, 0, 0, 12, 1, 0, 0, 0, 198, 18, 0, 1]),
            (fqdn, b"\0\0\0\x0d\x02\0\0\0a.lab"),
            (Identity::UserFqdn("b@a.lab".into()), b"\0\0\0\x0f\x03\0\0\0b@a.lab"),
            (Identity::Address(six), b"\0\0\0\x18\x05\0\0\0\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"),
            (Identity::KeyId(vec![0xca, 0xfe]), &[0, 0, 0, 10, 11, 0, 0, 0, 0xca, 0xfe]),
        ];
        const ID_I: u8 = 35;
        for (identity, octets) in cases {
            let id = Id::of(&identity).unwrap();
            assert_eq!(id.body(), octets[4..], "{identity:?}");
            let read = payload::parse_chain(ID_I, octets).unwrap();
            assert!(matches!(read.as_slice(), [Payload::IdI(got)] if *got == id), "{identity:?}: {read:?}");
            assert!(id.matches(&identity));
        }
        // An address of another length is none, and no identity is empty.
        for bad in [&[1, 0, 0, 0, 198, 18, 0][..], &[5, 0, 0, 0, 1, 2, 3, 4], &[2, 0, 0, 0], &[2, 0, 0]] {
            assert!(Id::parse(bad).is_err(), "{bad:?}");
        }
    }
}
