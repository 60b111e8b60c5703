//! IKE fragmentation (RFC 7383): messages in pieces, each sealed on its own.
//!
//! Decides: how a message is cut; whether a piece belongs to what is there already. Reads: authentic pieces.
//! Writes: pieces it holds, and how much of the common room they take. Never: keeps a piece whose tag it did not see
//! checked, or more than the room it was given.

mod store;

pub(crate) use store::{Fragments, Room, Taken};

use crate::crypto::Wiped;
use crate::crypto::cipher::Protection;
use crate::error::Malformed;
use crate::header::{self, Header};
use crate::message::Unreadable;
use crate::payload::{self, Payload, Reader, kind};
use rand_core::Rng;
use zeroize::Zeroizing;

/// Generic header, fragment number, total.
const HEAD: usize = 8;
/// Enough for the longest message at the smallest size; more is refused.
pub(crate) const MAX_FRAGMENTS: u16 = 255;

/// The head of an Encrypted Fragment payload (RFC 7383 §2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fragment {
    /// From 1 to `total`.
    pub(crate) number: u16,
    pub(crate) total: u16,
    /// The first payload of the whole message; only fragment 1 has it.
    pub(crate) first: u8,
}

impl Fragment {
    /// What a fragment says of itself. Nothing of it is authentic yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let body = bytes.get(header::LEN..).ok_or(Malformed::Short("message"))?;
        let mut r = Reader::new(body, "fragment");
        let first = r.u8()?;
        r.u8()?;
        if usize::from(r.u16()?) != body.len() {
            return Err(Malformed::Length("fragment"));
        }
        let (number, total) = (r.u16()?, r.u16()?);
        if number == 0 || number > total || total > MAX_FRAGMENTS {
            return Err(Malformed::Value("fragment number"));
        }
        // RFC 7383 §2.5: only the first names what the message begins with.
        if number != 1 && first != kind::NONE {
            return Err(Malformed::Value("next payload of a fragment"));
        }
        Ok(Self { number, total, first })
    }

    /// Its piece of the message, when the tag is right.
    pub(crate) fn open(bytes: &[u8], keys: &Protection) -> Result<Wiped, Unreadable> {
        keys.open(bytes, header::LEN + HEAD).map_err(|_| Unreadable::Integrity)
    }
}

/// The message in one Encrypted payload when it is not longer than `limit`, else in fragments that are not. `None`: a
/// key is unusable, or the message too long. `limit` counts from the IKE header on; without one nothing is cut.
pub(crate) fn protect(
    header: Header,
    payloads: &[Payload],
    keys: &mut Protection,
    rng: &mut dyn Rng,
    limit: Option<usize>,
) -> Option<Vec<Vec<u8>>> {
    let mut inner = Zeroizing::new(Vec::with_capacity(512));
    payload::write_chain(payloads, &mut inner);
    let whole = header::LEN + 4 + sealed_len(keys, inner.len());
    let first = payload::first_kind(payloads);
    match limit.filter(|&limit| whole > limit) {
        None => Some(vec![crate::message::sealed_bytes(header, first, inner, keys, rng)?]),
        Some(limit) => cut(header, first, &inner, keys, rng, limit),
    }
}

/// IV, text, padding, pad length and tag.
fn sealed_len(keys: &Protection, plain: usize) -> usize {
    keys.iv_len() + plain + keys.pad_len(plain) + 1 + keys.tag_len()
}

fn cut(
    mut header: Header,
    first: u8,
    inner: &[u8],
    keys: &mut Protection,
    rng: &mut dyn Rng,
    limit: usize,
) -> Option<Vec<Vec<u8>>> {
    let room = limit.checked_sub(header::LEN + HEAD)?;
    let most = (1..room).rev().find(|&n| sealed_len(keys, n) <= room)?;
    let total = u16::try_from(inner.len().div_ceil(most)).ok().filter(|&n| n <= MAX_FRAGMENTS)?;
    header.next_payload = kind::ENCRYPTED_FRAGMENT;
    let pieces = (1..=total).zip(inner.chunks(most));
    pieces
        .map(|(number, piece)| seal_piece(header, Fragment { number, total, first }, piece, keys, rng))
        .collect()
}

fn seal_piece(
    header: Header,
    fragment: Fragment,
    piece: &[u8],
    keys: &mut Protection,
    rng: &mut dyn Rng,
) -> Option<Vec<u8>> {
    let len = HEAD + sealed_len(keys, piece.len());
    let mut out = Vec::with_capacity(header::LEN + len);
    header.write(&mut out);
    out.extend_from_slice(&[if fragment.number == 1 { fragment.first } else { kind::NONE }, 0]);
    out.extend_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    out.extend_from_slice(&fragment.number.to_be_bytes());
    out.extend_from_slice(&fragment.total.to_be_bytes());
    header::set_length(&mut out, header::LEN + len);
    keys.seal(&mut out, Zeroizing::new(piece.to_vec()), rng).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests;
