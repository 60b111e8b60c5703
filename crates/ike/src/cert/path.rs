//! From a peer's certificate to a CA that is trusted (RFC 5280 §6.1, with the profile of RFC 4945).
//!
//! Decides: whether there is such a path, and which. Reads: certificates, the time it is given.
//! Never: fetches anything, asks whether one is revoked (the caller does), tries more than [`MAX_SIGNATURES`].

use super::{CertError, Certificate};
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;

/// Certificates in a path, with both ends.
pub const MAX_DEPTH: usize = 8;
/// Signatures that are checked for one peer: a hostile chain may branch.
pub const MAX_SIGNATURES: usize = 24;

/// Purposes that a certificate for IKE may have, if it names any: IKE's own, those that RFC 4945 §5.1.3.12 has from
/// before, any, and those of TLS, which is what most CAs issue.
const PURPOSES: [&str; 8] = [
    "1.3.6.1.5.5.7.3.17",
    "1.3.6.1.5.5.7.3.5",
    "1.3.6.1.5.5.7.3.6",
    "1.3.6.1.5.5.7.3.7",
    "1.3.6.1.5.5.8.2.2",
    "2.5.29.37.0",
    "1.3.6.1.5.5.7.3.1",
    "1.3.6.1.5.5.7.3.2",
];

/// The path from `leaf` through some of `others` to one of `anchors`, all of them valid at `now` (seconds since 1970).
pub fn find<'a>(
    leaf: &'a Certificate,
    others: &'a [Certificate],
    anchors: &'a [Certificate],
    now: u64,
) -> Result<Vec<&'a Certificate>, CertError> {
    leaf.check_time(now)?;
    check_critical(leaf)?;
    check_usage(leaf)?;
    // A peer's own certificate may be trusted by itself.
    if let Some(own) = anchors.iter().find(|anchor| *anchor == leaf) {
        return Ok(vec![own]);
    }
    let mut search = Search { others, anchors, now, signatures: MAX_SIGNATURES, why: None };
    let mut path = vec![leaf];
    if search.extend(&mut path) {
        return Ok(path);
    }
    Err(search
        .why
        .unwrap_or_else(|| CertError::NoIssuer(leaf.subject().to_string(), leaf.issuer().to_string())))
}

struct Search<'a> {
    others: &'a [Certificate],
    anchors: &'a [Certificate],
    now: u64,
    signatures: usize,
    /// The first thing that stood in the way.
    why: Option<CertError>,
}

impl<'a> Search<'a> {
    /// True: `path` ends at an anchor. False: `path` is as it was.
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) -> bool {
        let Some(last) = path.last().copied() else { return false };
        let (anchors, others) = (self.anchors, self.others);
        let fits = |issuer: &&Certificate| issuer.may_have_issued(last);
        for anchor in anchors.iter().filter(fits) {
            match self.may_follow(anchor, path) {
                Ok(()) => {
                    path.push(anchor);
                    return true;
                }
                Err(why) => self.keep(why),
            }
        }
        for issuer in others.iter().filter(fits) {
            if path.len() + 1 >= MAX_DEPTH || path.iter().any(|c| c.key() == issuer.key()) {
                continue;
            }
            if let Err(why) = self.may_follow(issuer, path) {
                self.keep(why);
                continue;
            }
            path.push(issuer);
            if self.extend(path) {
                return true;
            }
            path.pop();
        }
        if self.why.is_none() {
            self.keep(CertError::NoIssuer(last.subject().to_string(), last.issuer().to_string()));
        }
        false
    }

    fn keep(&mut self, why: CertError) {
        self.why.get_or_insert(why);
    }

    /// `issuer` may stand above all of `path`.
    fn may_follow(&mut self, issuer: &Certificate, path: &[&Certificate]) -> Result<(), CertError> {
        let name = || issuer.subject().to_string();
        let Some(last) = path.last() else { return Err(CertError::Budget) };
        issuer.check_time(self.now)?;
        check_critical(issuer)?;
        let constraints = issuer.ca.as_ref().ok_or_else(|| CertError::NotCa(name()))?;
        if issuer.usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(CertError::NotCa(name()));
        }
        // RFC 5280 §4.2.1.9: intermediates below it that are not self-issued.
        let below = path.iter().skip(1).filter(|c| !c.is_self_issued()).count();
        if constraints.path_len_constraint.is_some_and(|most| below > usize::from(most)) {
            return Err(CertError::PathLength(name()));
        }
        path.iter().try_for_each(|c| check_names(issuer, c))?;
        self.signatures = self.signatures.checked_sub(1).ok_or(CertError::Budget)?;
        if last.is_signed_by(issuer.key()) {
            Ok(())
        } else {
            Err(CertError::BadSignature(last.subject().to_string()))
        }
    }
}

/// RFC 5280 §4.2: what is critical and not understood forbids the certificate.
fn check_critical(c: &Certificate) -> Result<(), CertError> {
    match &c.critical {
        Some(oid) => Err(CertError::Critical(c.subject().to_string(), oid.clone())),
        None => Ok(()),
    }
}

/// RFC 4945 §5.1.3.2 and §5.1.3.12.
fn check_usage(c: &Certificate) -> Result<(), CertError> {
    let signs = c.usage.is_none_or(|usage| usage.digital_signature() || usage.non_repudiation());
    let known = |oid: &ObjectIdentifier| PURPOSES.contains(&oid.to_string().as_str());
    let for_ike = c.purposes.as_ref().is_none_or(|list| list.iter().any(known));
    if signs && for_ike { Ok(()) } else { Err(CertError::Usage(c.subject().to_string())) }
}

/// RFC 5280 §4.2.1.10, for every kind of name that an identity can be of. A constraint on another kind forbids that
/// kind altogether.
fn check_names(issuer: &Certificate, below: &Certificate) -> Result<(), CertError> {
    let Some(constraints) = &issuer.constraints else { return Ok(()) };
    let subject = below.subject();
    let directory = (!subject.is_empty()).then_some(Name::Directory(subject));
    let names = below.alt.iter().map(Name::Alternative).chain(directory);
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    for name in names {
        let of_kind = |list: &[GeneralSubtree]| list.iter().any(|tree| name.is_of_kind(&tree.base));
        let within =
            |list: &[GeneralSubtree]| list.iter().any(|tree| name.is_within(&tree.base).unwrap_or(false));
        let unclear = |list: &[GeneralSubtree]| {
            list.iter().any(|tree| name.is_of_kind(&tree.base) && name.is_within(&tree.base).is_none())
        };
        if (of_kind(permitted) && !within(permitted))
            || within(excluded)
            || unclear(permitted)
            || unclear(excluded)
        {
            return Err(CertError::Constrained(issuer.subject().to_string()));
        }
    }
    Ok(())
}

enum Name<'a> {
    Alternative(&'a GeneralName),
    Directory(&'a super::Dn),
}

impl Name<'_> {
    fn is_of_kind(&self, base: &GeneralName) -> bool {
        match self {
            Self::Alternative(name) => core::mem::discriminant(*name) == core::mem::discriminant(base),
            Self::Directory(_) => matches!(base, GeneralName::DirectoryName(_)),
        }
    }

    /// `None`: this kind of constraint is not understood.
    fn is_within(&self, base: &GeneralName) -> Option<bool> {
        match (self, base) {
            (Self::Alternative(GeneralName::DnsName(name)), GeneralName::DnsName(base)) => {
                Some(is_subdomain(name.as_str(), base.as_str()))
            }
            (Self::Alternative(GeneralName::Rfc822Name(name)), GeneralName::Rfc822Name(base)) => {
                Some(is_mailbox_of(name.as_str(), base.as_str()))
            }
            (Self::Alternative(GeneralName::IpAddress(name)), GeneralName::IpAddress(base)) => {
                Some(is_in_network(name.as_bytes(), base.as_bytes()))
            }
            (Self::Directory(name), GeneralName::DirectoryName(base)) => {
                super::dn(base).ok().map(|base| base.is_above(name))
            }
            (Self::Alternative(GeneralName::DirectoryName(name)), GeneralName::DirectoryName(base)) => {
                super::dn(base).ok().zip(super::dn(name).ok()).map(|(base, name)| base.is_above(&name))
            }
            (name, base) if name.is_of_kind(base) => None,
            _ => Some(false),
        }
    }
}

fn is_subdomain(name: &str, base: &str) -> bool {
    let (name, base) = (name.to_ascii_lowercase(), base.to_ascii_lowercase());
    let bare = base.strip_prefix('.').unwrap_or(&base);
    let below = name.strip_suffix(bare).is_some_and(|head| bare.is_empty() || head.ends_with('.'));
    below || (name == bare && !base.starts_with('.'))
}

/// One mailbox, all of a host, or (with a dot first) all of a domain's hosts.
fn is_mailbox_of(name: &str, base: &str) -> bool {
    let host = name.rsplit_once('@').map_or(name, |(_, host)| host);
    match base.strip_prefix('.') {
        _ if base.contains('@') => name.eq_ignore_ascii_case(base),
        Some(domain) => !host.eq_ignore_ascii_case(domain) && is_subdomain(host, domain),
        None => host.eq_ignore_ascii_case(base),
    }
}

/// Address and mask side by side.
fn is_in_network(address: &[u8], base: &[u8]) -> bool {
    if address.len() * 2 != base.len() {
        return false;
    }
    let (network, mask) = base.split_at(address.len());
    address.iter().zip(network).zip(mask).all(|((a, n), m)| a & m == n & m)
}
