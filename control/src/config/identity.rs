//! Identities as the operator writes them (RFC 7296 §3.5).
//!
//! Decides: which kind of identity a word is. Reads: text. Writes: nothing. Never: resolves a name.

use core::fmt;
use core::net::IpAddr;
use ravelin_ike::cert::DnPattern;
use ravelin_ike::config::Identity;

use super::value::Bad;

/// Longest identity in bytes; certificates aside, real ones are far shorter.
const MAX: usize = 255;

const EXPECTED: &str =
    "a name (a.lab), an address (192.0.2.1), user@name, keyid:HEX, dn:NAME, or for remote-id also \"any\"";

/// `any` is lawful where `remote` is true.
pub(crate) fn parse_identity(text: &str, remote: bool) -> Result<Identity, Bad> {
    let bad = |found: &str, cure: &str| Err(Bad::new(found, EXPECTED, cure));
    if text.is_empty() || text.len() > MAX {
        return bad("an empty identity, or one of over 255 bytes", "write the name the peer knows");
    }
    if text == "any" {
        return if remote {
            Ok(Identity::Any)
        } else {
            bad("\"any\" as our own identity", "write the name the peer knows us by")
        };
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Identity::Address(address));
    }
    if let Some(digits) = text.strip_prefix("keyid:") {
        return key_id(digits);
    }
    if let Some(name) = text.strip_prefix("dn:") {
        return distinguished(name.trim(), remote);
    }
    if text.chars().any(|c| !c.is_ascii_graphic()) {
        return bad("white space or a character outside of ASCII in an identity", "write it without");
    }
    if text.split_once('/').is_some() {
        return bad("a prefix as an identity", "write an address without /LENGTH, or a name");
    }
    if looks_like_address(text) {
        return bad("a broken address as an identity", "write four numbers of 0 to 255, or a name");
    }
    Ok(if text.contains('@') { Identity::UserFqdn(text.into()) } else { Identity::Fqdn(text.into()) })
}

/// 10.1.0.300 is a mistyped address, not a name.
fn looks_like_address(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.') || text.contains(':')
}

/// Patterns are lawful where `remote` is true.
fn distinguished(name: &str, remote: bool) -> Result<Identity, Bad> {
    let cure = "write for example dn:C=DE, O=Example, CN=gw1, in the order of the certificate";
    let pattern = DnPattern::parse(name).map_err(|why| Bad::new(why, EXPECTED, cure))?;
    if pattern.has_wildcard() && !remote {
        return Err(Bad::new("a pattern (*) as our own identity", EXPECTED, "write the whole name"));
    }
    Ok(Identity::Dn(pattern))
}

fn key_id(digits: &str) -> Result<Identity, Bad> {
    let nibbles: Option<Vec<u8>> =
        digits.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let bytes = nibbles.filter(|n| !n.is_empty() && n.len() % 2 == 0).map(|nibbles| {
        nibbles.chunks(2).map(|pair| pair.iter().fold(0u8, |byte, nibble| byte << 4 | nibble)).collect()
    });
    bytes.map(Identity::KeyId).ok_or_else(|| {
        Bad::new(
            "a keyid that is not pairs of hexadecimal digits",
            EXPECTED,
            "write for example keyid:00c0ffee",
        )
    })
}

/// An identity in the form that `parse_identity` takes.
#[derive(Clone, Copy, Debug)]
pub struct IdText<'a>(pub &'a Identity);

impl fmt::Display for IdText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Identity::Address(address) => address.fmt(f),
            Identity::Fqdn(name) | Identity::UserFqdn(name) => f.write_str(name),
            Identity::KeyId(bytes) => {
                f.write_str("keyid:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Identity::Dn(name) => write!(f, "dn:{name}"),
            Identity::Any => f.write_str("any"),
        }
    }
}
