//! Payloads (RFC 7296 §3.2 to §3.16): bytes to types and back.
//!
//! Decides: whether a payload is well formed. Reads and writes: bytes. Never: judges whether a payload may stand
//! where it stands (that is for tasks), panics, or keeps more than the bounds below.

pub(crate) mod cert;
pub(crate) mod cp;
pub(crate) mod delete;
pub(crate) mod id;
pub(crate) mod notify;
mod reader;
pub(crate) mod sa;
pub(crate) mod ts;

pub(crate) use cert::Cert;
pub(crate) use cp::Cp;
pub(crate) use delete::Delete;
pub(crate) use id::Id;
pub(crate) use notify::Notify;
pub(crate) use reader::Reader;
pub(crate) use sa::{Proposal, Transform};
pub(crate) use ts::TrafficSelector;

use crate::error::Malformed;
use core::fmt;
use zeroize::Zeroizing;

/// Far more than any lawful message has; a message with more is refused.
pub(crate) const MAX_PAYLOADS: usize = 128;

pub(crate) mod kind {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const SA: u8 = 33;
    pub(crate) const KE: u8 = 34;
    pub(crate) const ID_I: u8 = 35;
    pub(crate) const ID_R: u8 = 36;
    pub(crate) const CERT: u8 = 37;
    pub(crate) const CERTREQ: u8 = 38;
    pub(crate) const AUTH: u8 = 39;
    pub(crate) const NONCE: u8 = 40;
    pub(crate) const NOTIFY: u8 = 41;
    pub(crate) const DELETE: u8 = 42;
    pub(crate) const TS_I: u8 = 44;
    pub(crate) const TS_R: u8 = 45;
    pub(crate) const ENCRYPTED: u8 = 46;
    pub(crate) const CP: u8 = 47;
    pub(crate) const EAP: u8 = 48;
    /// RFC 7383 §2.5.
    pub(crate) const ENCRYPTED_FRAGMENT: u8 = 53;
    /// The last type that RFC 7296 defines; the first is SA.
    pub(crate) const LAST_KNOWN: u8 = EAP;
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Sa(Vec<Proposal>),
    KeyExchange {
        group: u16,
        data: Vec<u8>,
    },
    IdI(Id),
    IdR(Id),
    Cert(Cert),
    CertReq(Cert),
    Auth {
        method: u8,
        data: Zeroizing<Vec<u8>>,
    },
    Nonce(Vec<u8>),
    Notify(Notify),
    Delete(Delete),
    TsI(Vec<TrafficSelector>),
    TsR(Vec<TrafficSelector>),
    Cp(Cp),
    /// One packet of EAP, which [`crate::eap`] reads.
    Eap(Zeroizing<Vec<u8>>),
    /// Understood as a type, of no use to us (vendor ids, and so on).
    Ignored(u8),
}

/// Names the payload; contents stay out of logs.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notify(n) => write!(f, "N({})", notify::name(n.kind)),
            Self::KeyExchange { group, .. } => write!(f, "KE({group})"),
            Self::Eap(packet) => write!(f, "EAP({})", crate::eap::name(packet)),
            Self::Ignored(kind) => write!(f, "payload {kind}"),
            Self::Sa(_)
            | Self::IdI(_)
            | Self::IdR(_)
            | Self::Cert(_)
            | Self::CertReq(_)
            | Self::Auth { .. }
            | Self::Nonce(_)
            | Self::Delete(_)
            | Self::TsI(_)
            | Self::TsR(_)
            | Self::Cp(_) => f.write_str(self.name()),
        }
    }
}

impl Payload {
    pub(crate) const fn kind(&self) -> u8 {
        match self {
            Self::Sa(_) => kind::SA,
            Self::KeyExchange { .. } => kind::KE,
            Self::IdI(_) => kind::ID_I,
            Self::IdR(_) => kind::ID_R,
            Self::Cert(_) => kind::CERT,
            Self::CertReq(_) => kind::CERTREQ,
            Self::Auth { .. } => kind::AUTH,
            Self::Nonce(_) => kind::NONCE,
            Self::Notify(_) => kind::NOTIFY,
            Self::Delete(_) => kind::DELETE,
            Self::TsI(_) => kind::TS_I,
            Self::TsR(_) => kind::TS_R,
            Self::Cp(_) => kind::CP,
            Self::Eap(_) => kind::EAP,
            Self::Ignored(kind) => *kind,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Sa(_) => "SA",
            Self::KeyExchange { .. } => "KE",
            Self::IdI(_) => "IDi",
            Self::IdR(_) => "IDr",
            Self::Cert(_) => "CERT",
            Self::CertReq(_) => "CERTREQ",
            Self::Auth { .. } => "AUTH",
            Self::Nonce(_) => "Nonce",
            Self::Notify(_) => "N",
            Self::Delete(_) => "D",
            Self::TsI(_) => "TSi",
            Self::TsR(_) => "TSr",
            Self::Cp(_) => "CP",
            Self::Eap(_) => "EAP",
            Self::Ignored(_) => "ignored",
        }
    }

    fn parse(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            kind::SA => Self::Sa(sa::parse(body)?),
            kind::KE => parse_ke(body)?,
            kind::ID_I => Self::IdI(Id::parse(body)?),
            kind::ID_R => Self::IdR(Id::parse(body)?),
            kind::CERT => Self::Cert(Cert::parse(body)?),
            kind::CERTREQ => Self::CertReq(Cert::parse(body)?),
            kind::AUTH => parse_auth(body)?,
            kind::NONCE => parse_nonce(body)?,
            kind::NOTIFY => Self::Notify(Notify::parse(body)?),
            kind::DELETE => Self::Delete(Delete::parse(body)?),
            kind::TS_I => Self::TsI(ts::parse(body)?),
            kind::TS_R => Self::TsR(ts::parse(body)?),
            kind::CP => Self::Cp(Cp::parse(body)?),
            kind::EAP => Self::Eap(Zeroizing::new(body.to_vec())),
            other => Self::Ignored(other),
        })
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sa(proposals) => sa::write(proposals, out),
            Self::KeyExchange { group, data } => {
                out.extend_from_slice(&group.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(data);
            }
            Self::IdI(id) | Self::IdR(id) => id.write(out),
            Self::Cert(cert) | Self::CertReq(cert) => cert.write(out),
            Self::Auth { method, data } => {
                out.extend_from_slice(&[*method, 0, 0, 0]);
                out.extend_from_slice(data);
            }
            Self::Nonce(data) => out.extend_from_slice(data),
            Self::Eap(data) => out.extend_from_slice(data),
            Self::Notify(n) => n.write(out),
            Self::Delete(d) => d.write(out),
            Self::TsI(list) | Self::TsR(list) => ts::write(list, out),
            Self::Cp(cp) => cp.write(out),
            Self::Ignored(_) => {}
        }
    }
}

fn parse_ke(body: &[u8]) -> Result<Payload, Malformed> {
    let mut r = Reader::new(body, "KE payload");
    let group = r.u16()?;
    r.u16()?;
    let data = r.rest().to_vec();
    if data.is_empty() {
        return Err(Malformed::Short("KE payload"));
    }
    Ok(Payload::KeyExchange { group, data })
}

fn parse_auth(body: &[u8]) -> Result<Payload, Malformed> {
    let mut r = Reader::new(body, "AUTH payload");
    let method = r.u8()?;
    r.take(3)?;
    Ok(Payload::Auth { method, data: Zeroizing::new(r.rest().to_vec()) })
}

/// RFC 7296 §3.9: 16 to 256 bytes.
fn parse_nonce(body: &[u8]) -> Result<Payload, Malformed> {
    if !(16..=256).contains(&body.len()) {
        return Err(Malformed::Length("nonce"));
    }
    Ok(Payload::Nonce(body.to_vec()))
}

/// A chain of payloads that fills `bytes` to the last one.
pub(crate) fn parse_chain(first: u8, bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    let mut payloads = Vec::new();
    let mut next = first;
    let mut r = Reader::new(bytes, "payload");
    while next != kind::NONE {
        if payloads.len() >= MAX_PAYLOADS {
            return Err(Malformed::TooMany("payloads"));
        }
        let kind = next;
        next = r.u8()?;
        let critical = r.u8()? & 0x80 != 0;
        let len = usize::from(r.u16()?).checked_sub(4).ok_or(Malformed::Length("payload"))?;
        let body = r.take(len)?;
        // An encrypted payload stands alone at the end of a message and is opened before this is called.
        if matches!(kind, kind::ENCRYPTED | kind::ENCRYPTED_FRAGMENT) {
            return Err(Malformed::Value("place of the encrypted payload"));
        }
        // RFC 7296 §2.5: the flag counts only for types that are not understood.
        if critical && !(kind::SA..=kind::LAST_KNOWN).contains(&kind) {
            return Err(Malformed::Critical(kind));
        }
        payloads.push(Payload::parse(kind, body)?);
    }
    if r.is_empty() { Ok(payloads) } else { Err(Malformed::Length("payload chain")) }
}

/// Appends the chain; the type of its first payload is what [`first_kind`] says.
pub(crate) fn write_chain(payloads: &[Payload], out: &mut Vec<u8>) {
    for (i, payload) in payloads.iter().enumerate() {
        let next = payloads.get(i + 1).map_or(kind::NONE, Payload::kind);
        let start = out.len();
        out.extend_from_slice(&[next, 0, 0, 0]);
        payload.write_body(out);
        patch_len(out, start);
    }
}

pub(crate) fn first_kind(payloads: &[Payload]) -> u8 {
    payloads.first().map_or(kind::NONE, Payload::kind)
}

/// Puts the length of what was written since `start` where generic headers have it. What we write never comes near
/// 64 KiB; were it so, the peer would refuse the message.
pub(crate) fn patch_len(out: &mut [u8], start: usize) {
    let value = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    if let Some(field) = out.get_mut(start + 2..start + 4) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
