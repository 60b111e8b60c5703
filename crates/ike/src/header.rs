//! The IKE header (RFC 7296 §3.1).
//!
//! Decides: whether bytes can be an IKE message at all. Reads: 28 bytes. Writes: 28 bytes.
//! Never: looks behind the header.

use crate::error::Malformed;
use crate::payload::Reader;

pub(crate) const LEN: usize = 28;
/// Version 2.0.
pub(crate) const VERSION: u8 = 0x20;
/// No message is longer (UDP could not carry it).
pub(crate) const MAX_MESSAGE: usize = 65_535;

const FLAG_INITIATOR: u8 = 0x08;
const FLAG_VERSION: u8 = 0x10;
const FLAG_RESPONSE: u8 = 0x20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exchange {
    IkeSaInit,
    IkeAuth,
    CreateChildSa,
    Informational,
    /// RFC 5723
    IkeSessionResume,
    /// RFC 9242
    IkeIntermediate,
    /// RFC 9370
    IkeFollowupKe,
    Other(u8),
}

impl Exchange {
    const fn from_wire(raw: u8) -> Self {
        match raw {
            34 => Self::IkeSaInit,
            35 => Self::IkeAuth,
            36 => Self::CreateChildSa,
            37 => Self::Informational,
            38 => Self::IkeSessionResume,
            43 => Self::IkeIntermediate,
            44 => Self::IkeFollowupKe,
            other => Self::Other(other),
        }
    }

    /// It makes the keys of an IKE SA, and goes in clear.
    pub(crate) const fn is_first(self) -> bool {
        matches!(self, Self::IkeSaInit | Self::IkeSessionResume)
    }

    /// As in the RFCs.
    pub(crate) fn name(self) -> String {
        let known = match self {
            Self::IkeSaInit => "IKE_SA_INIT",
            Self::IkeAuth => "IKE_AUTH",
            Self::CreateChildSa => "CREATE_CHILD_SA",
            Self::Informational => "INFORMATIONAL",
            Self::IkeSessionResume => "IKE_SESSION_RESUME",
            Self::IkeIntermediate => "IKE_INTERMEDIATE",
            Self::IkeFollowupKe => "IKE_FOLLOWUP_KE",
            Self::Other(raw) => return format!("exchange {raw}"),
        };
        known.to_owned()
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::IkeSaInit => 34,
            Self::IkeAuth => 35,
            Self::CreateChildSa => 36,
            Self::Informational => 37,
            Self::IkeSessionResume => 38,
            Self::IkeIntermediate => 43,
            Self::IkeFollowupKe => 44,
            Self::Other(raw) => raw,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) initiator_spi: u64,
    pub(crate) responder_spi: u64,
    pub(crate) next_payload: u8,
    pub(crate) version: u8,
    pub(crate) exchange: Exchange,
    /// The sender is the one that began this IKE SA.
    pub(crate) from_initiator: bool,
    pub(crate) response: bool,
    pub(crate) message_id: u32,
}

impl Header {
    /// The header and the rest; the length field must be that of the datagram.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        if bytes.len() > MAX_MESSAGE {
            return Err(Malformed::Length("message"));
        }
        let mut r = Reader::new(bytes, "header");
        let initiator_spi = r.u64()?;
        let responder_spi = r.u64()?;
        let next_payload = r.u8()?;
        let version = r.u8()?;
        let exchange = Exchange::from_wire(r.u8()?);
        let flags = r.u8()?;
        let message_id = r.u32()?;
        let length = r.u32()?;
        if usize::try_from(length) != Ok(bytes.len()) {
            return Err(Malformed::Length("message"));
        }
        if initiator_spi == 0 {
            return Err(Malformed::Value("initiator SPI"));
        }
        let header = Self {
            initiator_spi,
            responder_spi,
            next_payload,
            version,
            exchange,
            from_initiator: flags & FLAG_INITIATOR != 0,
            response: flags & FLAG_RESPONSE != 0,
            message_id,
        };
        Ok((header, r.rest()))
    }

    pub(crate) const fn major(&self) -> u8 {
        self.version >> 4
    }

    /// Appends the header; [`patch_length`] completes it once the length is known.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.initiator_spi.to_be_bytes());
        out.extend_from_slice(&self.responder_spi.to_be_bytes());
        let mut flags = 0;
        if self.from_initiator {
            flags |= FLAG_INITIATOR;
        }
        if self.response {
            flags |= FLAG_RESPONSE;
        }
        // RFC 7296 §3.1: the V flag is cleared by version 2.0, whatever the peer can do.
        flags &= !FLAG_VERSION;
        out.extend_from_slice(&[self.next_payload, self.version, self.exchange.to_wire(), flags]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
    }
}

/// Writes the length of the whole message into its header.
pub(crate) fn patch_length(message: &mut [u8]) {
    set_length(message, message.len());
}

/// The same before the message is complete: the tag covers the length.
pub(crate) fn set_length(message: &mut [u8], len: usize) {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if let Some(field) = message.get_mut(24..28) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}
