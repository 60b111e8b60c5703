//! Whole messages: header, payloads, protection.
//!
//! Decides: whether a message is authentic and well formed, and which of the two failed. Reads, writes: bytes.
//! Never: judges what a message means.

mod view;

pub(crate) use view::View;

use crate::crypto::Wiped;
use crate::crypto::cipher::Protection;
use crate::error::Malformed;
use crate::header::{self, Header};
use crate::payload::{self, Payload, Reader, kind};
use rand_core::Rng;

/// Why an encrypted message could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not even shaped like an encrypted message. Anybody can have sent it.
    Shape(Malformed),
    /// The tag is wrong. Anybody can have sent it.
    Integrity,
}

/// An unprotected message (IKE_SA_INIT, and errors without an SA).
pub(crate) fn plain(mut header: Header, payloads: &[Payload]) -> Vec<u8> {
    header.next_payload = payload::first_kind(payloads);
    let mut out = Vec::with_capacity(512);
    header.write(&mut out);
    payload::write_chain(payloads, &mut out);
    header::patch_length(&mut out);
    out
}

/// A message whose payloads all stand in one Encrypted payload; `inner` is the chain that `first` begins. `None`: a key
/// is unusable or the message too long.
pub(crate) fn sealed_bytes(
    mut header: Header,
    first: u8,
    inner: Wiped,
    keys: &mut Protection,
    rng: &mut dyn Rng,
) -> Option<Vec<u8>> {
    let pad = keys.pad_len(inner.len());
    let body = keys.iv_len() + inner.len() + pad + 1 + keys.tag_len();
    let total = header::LEN + 4 + body;
    if total > header::MAX_MESSAGE {
        return None;
    }
    header.next_payload = kind::ENCRYPTED;
    let mut out = Vec::with_capacity(total);
    header.write(&mut out);
    out.extend_from_slice(&[first, 0]);
    out.extend_from_slice(&u16::try_from(4 + body).ok()?.to_be_bytes());
    // The headers are covered by the tag: their lengths must be right before it is made.
    header::set_length(&mut out, total);
    keys.seal(&mut out, inner, rng).ok()?;
    (out.len() == total).then_some(out)
}

/// An authentic message, decrypted.
pub(crate) struct Opened {
    /// The type of the first payload.
    pub(crate) first: u8,
    /// The chain of payloads as bytes.
    pub(crate) plain: Wiped,
}

impl Opened {
    pub(crate) fn payloads(&self) -> Result<Vec<Payload>, Malformed> {
        payload::parse_chain(self.first, &self.plain)
    }
}

impl core::fmt::Debug for Opened {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Opened({}, …)", self.first)
    }
}

/// Opens an encrypted message. The Encrypted payload must be the first and last of the outer chain: what stood before
/// it would not be ours to trust.
pub(crate) fn open(header: &Header, bytes: &[u8], keys: &Protection) -> Result<Opened, Unreadable> {
    if header.next_payload != kind::ENCRYPTED {
        return Err(Unreadable::Shape(Malformed::Missing("encrypted payload")));
    }
    let body = bytes.get(header::LEN..).ok_or(Unreadable::Shape(Malformed::Short("message")))?;
    let mut r = Reader::new(body, "encrypted payload");
    let shape = |e| Unreadable::Shape(e);
    let first = r.u8().map_err(shape)?;
    r.u8().map_err(shape)?;
    let len = r.u16().map_err(shape)?;
    if usize::from(len) != body.len() {
        return Err(Unreadable::Shape(Malformed::Length("encrypted payload")));
    }
    let plain = keys.open(bytes, header::LEN + 4).map_err(|_| Unreadable::Integrity)?;
    Ok(Opened { first, plain })
}

/// What RFC 9242 §3.3.2 has authenticated of an encrypted message, whether or not it went in pieces: the headers as if
/// nothing were encrypted, then the payloads in clear.
pub(crate) fn as_if_whole(mut header: Header, first: u8, plain: &[u8]) -> Wiped {
    header.next_payload = kind::ENCRYPTED;
    let mut out = Wiped::new(Vec::with_capacity(header::LEN + 4 + plain.len()));
    header.write(&mut out);
    out.extend_from_slice(&[first, 0]);
    out.extend_from_slice(&u16::try_from(4 + plain.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(plain);
    let len = out.len();
    header::set_length(&mut out, len);
    out
}

/// Whole, whatever its length.
#[cfg(test)]
pub(crate) fn sealed(
    header: Header,
    payloads: &[Payload],
    keys: &mut Protection,
    rng: &mut dyn Rng,
) -> Option<Vec<u8>> {
    crate::fragment::protect(header, payloads, keys, rng, None)?.pop()
}

#[cfg(test)]
mod tests;
