//! Whether an identity of IKE is in a certificate (RFC 4945 §3.1, §5.1).
//!
//! Decides: that. Reads: subject and alternative names. Never: looks for a host in the common name (RFC 4945 §3.1.2.1),
//! expands a wildcard of the certificate.

use super::name::Dn;
use super::{Certificate, DnPattern};
use crate::cert::scheme::Hash;
use crate::payload::Id;
use crate::payload::id;
use x509_cert::ext::pkix::name::GeneralName;

#[allow(clippy::wildcard_enum_match_arm)] // other kinds of names are no identities of IKE
impl Certificate {
    /// The certificate speaks for this identity.
    pub(crate) fn has_identity(&self, identity: &Id) -> bool {
        let data = identity.data.as_slice();
        let text = |name: &str| name.as_bytes().eq_ignore_ascii_case(data);
        let alt = |is: &dyn Fn(&GeneralName) -> bool| self.alt.iter().any(is);
        match identity.kind {
            id::IPV4_ADDR | id::IPV6_ADDR => {
                alt(&|name| matches!(name, GeneralName::IpAddress(a) if a.as_bytes() == data))
            }
            id::FQDN => alt(&|name| matches!(name, GeneralName::DnsName(n) if text(n.as_str()))),
            id::RFC822_ADDR => alt(&|name| matches!(name, GeneralName::Rfc822Name(n) if text(n.as_str()))),
            id::DER_ASN1_DN => Dn::from_der(data).is_some_and(|dn| !dn.is_empty() && dn == self.subject),
            id::KEY_ID => self.subject_key_id.as_deref() == Some(data) || self.key.sha1() == data,
            _ => false,
        }
    }

    /// A name of this kind as the certificate spells it.
    pub(crate) fn spelling(&self, identity: &Id) -> Option<String> {
        let text = |name: &str| name.as_bytes().eq_ignore_ascii_case(&identity.data).then(|| name.to_owned());
        self.alt.iter().find_map(|name| match (identity.kind, name) {
            (id::FQDN, GeneralName::DnsName(n)) => text(n.as_str()),
            (id::RFC822_ADDR, GeneralName::Rfc822Name(n)) => text(n.as_str()),
            _ => None,
        })
    }

    /// What to call ourselves when nothing is configured: the subject, or the first alternative name.
    pub fn default_identity(&self) -> Option<crate::config::Identity> {
        use crate::config::Identity;
        if !self.subject.is_empty() {
            return Some(Identity::Dn(DnPattern::exact(&self.subject)));
        }
        self.alt.iter().find_map(|name| match name {
            GeneralName::DnsName(n) => Some(Identity::Fqdn(n.as_str().to_owned())),
            GeneralName::Rfc822Name(n) => Some(Identity::UserFqdn(n.as_str().to_owned())),
            GeneralName::IpAddress(a) => match a.as_bytes().len() {
                4 => Some(Identity::Address(<[u8; 4]>::try_from(a.as_bytes()).ok()?.into())),
                16 => Some(Identity::Address(<[u8; 16]>::try_from(a.as_bytes()).ok()?.into())),
                _ => None,
            },
            _ => None,
        })
    }

    /// The certificate speaks for this identity of ours, or would for one that the pattern covers.
    pub fn speaks_for(&self, identity: &crate::config::Identity) -> bool {
        match identity {
            crate::config::Identity::Dn(pattern) => pattern.matches(&self.subject),
            other => Id::of(other).is_none_or(|id| self.has_identity(&id)),
        }
    }

    /// What its key may be used for (RFC 5280 §4.2.1.3); `None`: it does not say, and everything is allowed.
    pub fn key_usage(&self) -> Option<Vec<String>> {
        let usage = self.usage.as_ref()?;
        let all = [
            ("digital signature", usage.digital_signature()),
            ("non-repudiation", usage.non_repudiation()),
            ("key encipherment", usage.key_encipherment()),
            ("data encipherment", usage.data_encipherment()),
            ("key agreement", usage.key_agreement()),
            ("certificate signature", usage.key_cert_sign()),
            ("CRL signature", usage.crl_sign()),
            ("encipher only", usage.encipher_only()),
            ("decipher only", usage.decipher_only()),
        ];
        Some(all.into_iter().filter(|(_, may)| *may).map(|(what, _)| what.to_owned()).collect())
    }

    /// SHA-256 of the whole certificate, as other tools print it.
    pub fn fingerprint(&self) -> Vec<u8> {
        Hash::Sha256.digest(self.der())
    }

    /// As operators know them: `a.lab, 192.0.2.1`.
    pub fn alternative_names(&self) -> Vec<String> {
        self.alt
            .iter()
            .filter_map(|name| match name {
                GeneralName::DnsName(n) | GeneralName::Rfc822Name(n) => {
                    Some(n.as_str().escape_default().to_string())
                }
                GeneralName::IpAddress(a) => match a.as_bytes().len() {
                    4 => Some(core::net::IpAddr::from(<[u8; 4]>::try_from(a.as_bytes()).ok()?).to_string()),
                    16 => Some(core::net::IpAddr::from(<[u8; 16]>::try_from(a.as_bytes()).ok()?).to_string()),
                    _ => None,
                },
                _ => None,
            })
            .collect()
    }
}
