//! Packets of EAP (RFC 3748 §4): bytes to types and back.
//!
//! Decides: whether a packet is well formed. Never: judges whether it may come now.

use crate::crypto::Wiped;
use crate::payload::Reader;
use zeroize::Zeroizing;

pub(crate) const REQUEST: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const SUCCESS: u8 = 3;
pub(crate) const FAILURE: u8 = 4;

pub(crate) const IDENTITY: u8 = 1;
pub(crate) const NOTIFICATION: u8 = 2;
pub(crate) const NAK: u8 = 3;
pub(crate) const MD5: u8 = 4;
pub(crate) const TLS: u8 = 13;
pub(crate) const MSCHAPV2: u8 = 26;

/// One packet as it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) code: u8,
    pub(crate) id: u8,
    /// With requests and responses.
    pub(crate) kind: Option<u8>,
    pub(crate) data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None`: it breaks the format. IKE carries one packet in one payload, so nothing may stand behind it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(bytes, "EAP packet");
        let (code, id, len) = (r.u8().ok()?, r.u8().ok()?, r.u16().ok()?);
        if usize::from(len) != bytes.len() || bytes.len() > super::MAX_PACKET {
            return None;
        }
        let kind = match code {
            REQUEST | RESPONSE => Some(r.u8().ok()?),
            SUCCESS | FAILURE if r.is_empty() => None,
            _ => return None,
        };
        Some(Self { code, id, kind, data: r.rest() })
    }
}

/// A request or response.
pub(crate) fn write(code: u8, id: u8, kind: u8, data: &[u8]) -> Wiped {
    let len = u16::try_from(5 + data.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = Zeroizing::new(Vec::with_capacity(5 + data.len()));
    out.extend_from_slice(&[code, id, len[0], len[1], kind]);
    out.extend_from_slice(data);
    out
}

/// Success or failure: to the response with this number.
pub(crate) fn verdict(code: u8, id: u8) -> Wiped {
    Zeroizing::new(vec![code, id, 0, 4])
}

/// For the trace: what kind of packet it is.
pub(crate) fn name(bytes: &[u8]) -> String {
    let Some(packet) = Packet::parse(bytes) else { return "malformed".to_owned() };
    let kind = match packet.kind {
        None => String::new(),
        Some(IDENTITY) => " Identity".to_owned(),
        Some(NOTIFICATION) => " Notification".to_owned(),
        Some(NAK) => " Nak".to_owned(),
        Some(MD5) => " MD5-Challenge".to_owned(),
        Some(TLS) => " TLS".to_owned(),
        Some(MSCHAPV2) => " MSCHAPv2".to_owned(),
        Some(other) => format!(" type {other}"),
    };
    let code = match packet.code {
        REQUEST => "Request",
        RESPONSE => "Response",
        SUCCESS => "Success",
        _ => "Failure",
    };
    format!("{code}{kind}")
}
