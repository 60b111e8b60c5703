//! ICMP for IPv4 (RFC 792): type and code, echo, and the errors that a gateway sends.

use crate::checksum;
use core::ops::Deref;

/// Type, code, checksum and four bytes whose meaning the type tells.
pub const HEADER: usize = 8;
/// An error with its IP header is no longer than this (RFC 1812 §4.3.2.3).
const MAX_ERROR: usize = 576;
/// The longest message that [`Error::write`] makes.
pub const MAX_MESSAGE: usize = MAX_ERROR - crate::ipv4::HEADER;

pub const ECHO_REPLY: u8 = 0;
pub const UNREACHABLE: u8 = 3;
pub const SOURCE_QUENCH: u8 = 4;
pub const REDIRECT: u8 = 5;
pub const ECHO: u8 = 8;
pub const TIME_EXCEEDED: u8 = 11;
pub const PARAMETER_PROBLEM: u8 = 12;
pub const TIMESTAMP: u8 = 13;
pub const TIMESTAMP_REPLY: u8 = 14;
/// Code of [`UNREACHABLE`] (RFC 1191).
pub const FRAGMENTATION_NEEDED: u8 = 4;

/// What messages of both families begin with.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) bytes: &'a [u8],
    header: &'a [u8; HEADER],
}

impl<'a> Message<'a> {
    /// `None`: cut short.
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { bytes, header: bytes.first_chunk()? })
    }

    #[inline]
    pub const fn kind(&self) -> u8 {
        self.header[0]
    }

    #[inline]
    pub const fn code(&self) -> u8 {
        self.header[1]
    }

    /// The last four bytes of the header.
    #[inline]
    pub const fn rest(&self) -> [u8; 4] {
        let h = self.header;
        [h[4], h[5], h[6], h[7]]
    }

    /// Echo data, or the packet that an error quotes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a>(Message<'a>);

impl<'a> Deref for Icmp<'a> {
    type Target = Message<'a>;

    #[inline]
    fn deref(&self) -> &Message<'a> {
        &self.0
    }
}

impl<'a> Icmp<'a> {
    /// `None`: cut short. The checksum is a question of its own.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        Message::parse(message).map(Self)
    }

    /// An error message never provokes another one (RFC 1122 §3.2.2).
    #[inline]
    pub const fn is_error(&self) -> bool {
        matches!(self.0.kind(), UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }

    #[inline]
    pub fn checksum_holds(&self) -> bool {
        checksum::holds(self.bytes)
    }
}

/// The errors that a gateway sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Too big and DF: the next hop takes `mtu` bytes (RFC 1191 §4).
    FragmentationNeeded {
        mtu: u16,
    },
    /// TTL ran out on the way.
    TimeExceeded,
    NetUnreachable,
    HostUnreachable,
    /// "Communication administratively prohibited" (RFC 1812 §5.2.7.1).
    Prohibited,
}

impl Error {
    /// Writes the ICMP message, quoting as much of `packet` (from its IP header on) as RFC 1812 allows and `out` holds,
    /// and returns its length. `None`: `out` does not hold the header. The IP header before it is the caller's.
    pub fn write(self, out: &mut [u8], packet: &[u8]) -> Option<usize> {
        let (kind, code, mtu) = match self {
            Self::FragmentationNeeded { mtu } => (UNREACHABLE, FRAGMENTATION_NEEDED, mtu),
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
            Self::NetUnreachable => (UNREACHABLE, 0, 0),
            Self::HostUnreachable => (UNREACHABLE, 1, 0),
            Self::Prohibited => (UNREACHABLE, 13, 0),
        };
        let [m0, m1] = mtu.to_be_bytes();
        message(out, [kind, code, 0, 0, 0, 0, m0, m1], packet, MAX_MESSAGE)
    }
}

/// Writes an echo request or reply; `None` where `out` does not hold it whole.
pub fn write_echo(out: &mut [u8], reply: bool, id: u16, seq: u16, data: &[u8]) -> Option<usize> {
    if out.len() < HEADER + data.len() {
        return None;
    }
    let ([i0, i1], [s0, s1]) = (id.to_be_bytes(), seq.to_be_bytes());
    let kind = if reply { ECHO_REPLY } else { ECHO };
    message(out, [kind, 0, 0, 0, i0, i1, s0, s1], data, usize::MAX)
}

/// Header and as much of `payload` as `limit` and `out` allow, with the checksum.
fn message(out: &mut [u8], header: [u8; HEADER], payload: &[u8], limit: usize) -> Option<usize> {
    let len = place(out, header, payload, limit)?;
    let sum = checksum::of(out.get(..len)?).to_be_bytes();
    out.get_mut(2..4)?.copy_from_slice(&sum);
    Some(len)
}

/// [`message`] without the checksum, which ICMPv6 computes otherwise.
pub(crate) fn place(out: &mut [u8], header: [u8; HEADER], payload: &[u8], limit: usize) -> Option<usize> {
    let (head, body) = out.split_first_chunk_mut::<HEADER>()?;
    let room = body.len().min(limit.saturating_sub(HEADER));
    let quoted = payload.get(..room).unwrap_or(payload);
    *head = header;
    body.get_mut(..quoted.len())?.copy_from_slice(quoted);
    Some(HEADER + quoted.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn fragmentation_needed_carries_the_mtu() {
        let mut out = [0; 1500];
        let n = Error::FragmentationNeeded { mtu: 1438 }.write(&mut out, &[0x45; 1500]).unwrap();
        assert_eq!(n, MAX_MESSAGE);
        let m = Icmp::parse(&out[..n]).unwrap();
        assert_eq!((m.kind(), m.code(), m.rest()), (3, 4, [0, 0, 0x05, 0x9e]));
        assert!(m.checksum_holds() && m.is_error());
        assert_eq!(m.payload(), &[0x45; MAX_MESSAGE - HEADER]);
        assert_eq!(Error::TimeExceeded.write(&mut out[..7], &[]), None);
    }

    proptest! {
        #[test]
        fn echo_round_trips(id: u16, seq: u16, reply: bool, data: Vec<u8>) {
            let mut out = std::vec![0; data.len() + HEADER];
            let n = write_echo(&mut out, reply, id, seq, &data).unwrap();
            let m = Icmp::parse(&out[..n]).unwrap();
            prop_assert_eq!((m.kind(), m.payload(), m.checksum_holds()), (if reply { 0 } else { 8 }, data.as_slice(), true));
            let [rest_id @ .., _, _] = m.rest();
            let [_, _, rest_seq @ ..] = m.rest();
            prop_assert_eq!((u16::from_be_bytes(rest_id), u16::from_be_bytes(rest_seq)), (id, seq));
            prop_assert_eq!(write_echo(&mut out[..n - 1], reply, id, seq, &data), None);
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>, room in 0usize..64) {
            if let Some(m) = Icmp::parse(&bytes) {
                let _ = (m.payload(), m.is_error(), m.checksum_holds());
            }
            let mut out = std::vec![0; room];
            if let Some(n) = Error::Prohibited.write(&mut out, &bytes) {
                prop_assert!(checksum::holds(&out[..n]));
            }
        }
    }
}
