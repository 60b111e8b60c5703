//! The Delete payload (RFC 7296 §3.11).
//!
//! Decides: whether it is well formed. Never: deletes.

use super::Reader;
use super::sa::{PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_IKE};
use crate::error::Malformed;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Delete {
    /// The IKE SA that carries the message.
    Ike,
    /// Inbound SPIs of the sender.
    Esp(Vec<u32>),
    /// The same of AH.
    Ah(Vec<u32>),
    /// Unknown protocols, which we do not have.
    Other,
}

impl Delete {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "delete");
        let protocol = r.u8()?;
        let spi_len = r.u8()?;
        let count = usize::from(r.u16()?);
        match protocol {
            PROTOCOL_IKE if spi_len == 0 && count == 0 && r.is_empty() => Ok(Self::Ike),
            PROTOCOL_IKE => Err(Malformed::Value("delete of an IKE SA")),
            PROTOCOL_ESP | PROTOCOL_AH if spi_len == 4 => {
                let spis = (0..count).map(|_| r.u32()).collect::<Result<Vec<_>, _>>()?;
                if !r.is_empty() {
                    return Err(Malformed::Length("delete"));
                }
                Ok(if protocol == PROTOCOL_AH { Self::Ah(spis) } else { Self::Esp(spis) })
            }
            PROTOCOL_ESP | PROTOCOL_AH => Err(Malformed::Value("SPI size in a delete")),
            _ => {
                r.take(count.checked_mul(spi_len.into()).ok_or(Malformed::Length("delete"))?)?;
                Ok(Self::Other)
            }
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ike | Self::Other => out.extend_from_slice(&[PROTOCOL_IKE, 0, 0, 0]),
            Self::Esp(spis) | Self::Ah(spis) => {
                let protocol = if matches!(self, Self::Ah(_)) { PROTOCOL_AH } else { PROTOCOL_ESP };
                out.extend_from_slice(&[protocol, 4]);
                out.extend_from_slice(&u16::try_from(spis.len()).unwrap_or(u16::MAX).to_be_bytes());
                spis.iter().for_each(|spi| out.extend_from_slice(&spi.to_be_bytes()));
            }
        }
    }
}
