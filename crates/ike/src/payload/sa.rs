//! The SA payload (RFC 7296 §3.3): proposals and transforms as on the wire.
//!
//! Decides: whether they are well formed. Never: chooses (that is `negotiate`).

use super::{Reader, patch_len};
use crate::error::Malformed;

/// Bounds far above any lawful offer.
const MAX_PROPOSALS: usize = 64;
const MAX_TRANSFORMS: usize = 255;

pub(crate) const PROTOCOL_IKE: u8 = 1;
pub(crate) const PROTOCOL_AH: u8 = 2;
pub(crate) const PROTOCOL_ESP: u8 = 3;

pub(crate) mod transform {
    pub(crate) const ENCRYPTION: u8 = 1;
    pub(crate) const PRF: u8 = 2;
    pub(crate) const INTEGRITY: u8 = 3;
    pub(crate) const GROUP: u8 = 4;
    pub(crate) const ESN: u8 = 5;
    /// RFC 9370 §2.2.1: the first and the last of seven.
    pub(crate) const ADDITIONAL_KE_1: u8 = 6;
    pub(crate) const ADDITIONAL_KE_7: u8 = 12;
}

const ATTRIBUTE_KEY_LENGTH: u16 = 14;
const ATTRIBUTE_SHORT: u16 = 0x8000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Proposal {
    pub(crate) number: u8,
    pub(crate) protocol: u8,
    pub(crate) spi: Vec<u8>,
    pub(crate) transforms: Vec<Transform>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Transform {
    pub(crate) kind: u8,
    pub(crate) id: u16,
    /// In bits.
    pub(crate) key_length: Option<u16>,
    /// It has an attribute that we do not know, and so must not be chosen (RFC 7296 §3.3.6).
    pub(crate) foreign: bool,
}

impl Transform {
    pub(crate) const fn new(kind: u8, id: u16, key_length: Option<u16>) -> Self {
        Self { kind, id, key_length, foreign: false }
    }
}

pub(crate) fn parse(body: &[u8]) -> Result<Vec<Proposal>, Malformed> {
    let mut proposals = Vec::new();
    let mut r = Reader::new(body, "SA payload");
    loop {
        if proposals.len() >= MAX_PROPOSALS {
            return Err(Malformed::TooMany("proposals"));
        }
        let more = r.u8()?;
        r.u8()?;
        let len = usize::from(r.u16()?).checked_sub(4).ok_or(Malformed::Length("proposal"))?;
        proposals.push(parse_proposal(r.take(len)?)?);
        match more {
            0 if r.is_empty() => return Ok(proposals),
            2 => {}
            _ => return Err(Malformed::Value("proposal chain")),
        }
    }
}

fn parse_proposal(body: &[u8]) -> Result<Proposal, Malformed> {
    let mut r = Reader::new(body, "proposal");
    let number = r.u8()?;
    let protocol = r.u8()?;
    let spi_len = usize::from(r.u8()?);
    let count = usize::from(r.u8()?);
    let spi = r.take(spi_len)?.to_vec();
    let mut transforms = Vec::new();
    for i in 0..count.min(MAX_TRANSFORMS) {
        let more = r.u8()?;
        r.u8()?;
        let len = usize::from(r.u16()?).checked_sub(4).ok_or(Malformed::Length("transform"))?;
        transforms.push(parse_transform(r.take(len)?)?);
        let last = i + 1 == count;
        if more != if last { 0 } else { 3 } {
            return Err(Malformed::Value("transform chain"));
        }
    }
    if r.is_empty() {
        Ok(Proposal { number, protocol, spi, transforms })
    } else {
        Err(Malformed::Length("proposal"))
    }
}

fn parse_transform(body: &[u8]) -> Result<Transform, Malformed> {
    let mut r = Reader::new(body, "transform");
    let kind = r.u8()?;
    r.u8()?;
    let mut transform = Transform::new(kind, r.u16()?, None);
    while !r.is_empty() {
        let attribute = r.u16()?;
        let value = r.u16()?;
        if attribute & ATTRIBUTE_SHORT == 0 {
            // Type, length, value: none of this form is defined.
            r.take(value.into())?;
            transform.foreign = true;
        } else if attribute & !ATTRIBUTE_SHORT == ATTRIBUTE_KEY_LENGTH {
            // Two lengths say nothing (RFC 7296 §3.3.5: no attribute comes twice).
            transform.foreign |= transform.key_length.is_some();
            transform.key_length = Some(value);
        } else {
            transform.foreign = true;
        }
    }
    Ok(transform)
}

pub(crate) fn write(proposals: &[Proposal], out: &mut Vec<u8>) {
    for (i, proposal) in proposals.iter().enumerate() {
        let start = out.len();
        let more = if i + 1 < proposals.len() { 2 } else { 0 };
        let spi_len = u8::try_from(proposal.spi.len()).unwrap_or(0);
        let count = u8::try_from(proposal.transforms.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[more, 0, 0, 0, proposal.number, proposal.protocol, spi_len, count]);
        out.extend_from_slice(&proposal.spi);
        for (j, transform) in proposal.transforms.iter().enumerate() {
            write_transform(transform, j + 1 < proposal.transforms.len(), out);
        }
        patch_len(out, start);
    }
}

fn write_transform(t: &Transform, more: bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[if more { 3 } else { 0 }, 0, 0, 0, t.kind, 0]);
    out.extend_from_slice(&t.id.to_be_bytes());
    if let Some(bits) = t.key_length {
        out.extend_from_slice(&(ATTRIBUTE_SHORT | ATTRIBUTE_KEY_LENGTH).to_be_bytes());
        out.extend_from_slice(&bits.to_be_bytes());
    }
    patch_len(out, start);
}
