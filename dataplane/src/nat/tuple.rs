//! What a flow is known by: protocol, and two ends of address and port.
//!
//! Decides: what stands for a port where a protocol has none. Reads: an IPv4 header's fields and what lies behind it.
//! Never: changes anything; knows of rules.

use ravelin_wire::icmp::{ECHO, ECHO_REPLY, TIMESTAMP, TIMESTAMP_REPLY};
use ravelin_wire::protocol;

/// An address and a port in host order. Of an ICMP query the identifier is the port of who asks, and who answers has 0;
/// of protocols without ports both are 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct End {
    pub(crate) addr: u32,
    pub(crate) port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tuple {
    pub(crate) protocol: u8,
    pub(crate) src: End,
    pub(crate) dst: End,
    /// Of ESP, otherwise 0.
    pub(crate) spi: u32,
}

impl Tuple {
    /// Of the packet that answers this one.
    pub(crate) const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, ..self }
    }
}

/// What the payload of an IPv4 packet that is no later fragment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Upper {
    /// Source and destination port, or what stands for them.
    Ends(u16, u16),
    /// An ICMP error, about a packet that it quotes.
    Error,
    /// Neither a query nor an error of ICMP, or cut short before its ports.
    Unknown,
}

/// Where the identifier of an ICMP query stands.
pub(super) const ICMP_ID: usize = 4;

pub(crate) fn upper(protocol: u8, payload: &[u8]) -> Upper {
    let word = |at: usize| Some(u16::from_be_bytes(*payload.get(at..)?.first_chunk::<2>()?));
    match protocol {
        protocol::TCP | protocol::UDP => {
            word(0).zip(word(2)).map_or(Upper::Unknown, |(src, dst)| Upper::Ends(src, dst))
        }
        protocol::ICMP => match (payload.first(), word(ICMP_ID)) {
            (Some(&(ECHO | TIMESTAMP)), Some(id)) => Upper::Ends(id, 0),
            (Some(&(ECHO_REPLY | TIMESTAMP_REPLY)), Some(id)) => Upper::Ends(0, id),
            (Some(&(3 | 4 | 5 | 11 | 12)), _) => Upper::Error,
            _ => Upper::Unknown,
        },
        _ => Upper::Ends(0, 0),
    }
}

/// What ESP says of its flow, in one direction.
pub(crate) fn spi(protocol: u8, payload: &[u8]) -> u32 {
    let word = payload.first_chunk().filter(|_| protocol == protocol::ESP);
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

/// Whether ports, or what stands for them, tell flows of this protocol apart.
pub(crate) const fn has_ends(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::ICMP)
}
