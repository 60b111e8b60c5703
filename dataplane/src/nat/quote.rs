//! ICMP errors and the packets that they quote (RFC 5508 §4): both are translated, or neither goes on.
//!
//! Decides: whether an error is whole. Reads and writes: the error's message. Never: changes a session: an error ends none
//! (RFC 4787 REQ-12).

use super::rewrite::{Side, rewrite};
use super::tuple::{End, Tuple, Upper, spi, upper};
use ravelin_ring::counters::Drop;
use ravelin_wire::checksum;
use ravelin_wire::ipv4::HEADER;

const ICMP_HEADER: usize = 8;

/// The packet that an error quotes; its header has `header_len` bytes before the message.
pub(crate) fn quoted(packet: &[u8], header_len: usize) -> Option<Tuple> {
    let quote = packet.get(header_len + ICMP_HEADER..)?;
    let fixed: &[u8; HEADER] = quote.first_chunk()?;
    let inner = usize::from(fixed[0] & 0x0f) * 4;
    let later = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0;
    if fixed[0] >> 4 != 4 || inner < HEADER || later {
        return None;
    }
    let long = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let Upper::Ends(src, dst) = upper(fixed[9], quote.get(inner..)?) else { return None };
    let (src, dst) = (End { addr: long(12), port: src }, End { addr: long(16), port: dst });
    let spi = spi(fixed[9], quote.get(inner..)?);
    Some(Tuple { protocol: fixed[9], src, dst, spi })
}

/// Puts another end into the quoted packet. The error's own addresses are the caller's.
pub(crate) fn requote(packet: &mut [u8], header_len: usize, side: Side, new: End) -> Result<(), Drop> {
    let message = packet.get_mut(header_len..).ok_or(Drop::NatBadIcmp)?;
    // RFC 5508 REQ-3: an error whose checksums do not hold is dropped without a word.
    if !checksum::holds(message) {
        return Err(Drop::NatBadIcmp);
    }
    let quote = message.get_mut(ICMP_HEADER..).ok_or(Drop::NatBadIcmp)?;
    let inner = usize::from(quote.first().map_or(0, |b| b & 0x0f)) * 4;
    if !quote.get(..inner).is_some_and(checksum::holds) {
        return Err(Drop::NatBadIcmp);
    }
    rewrite(quote, side, new, true).map_err(|_| Drop::NatBadIcmp)?;
    message.get_mut(2..4).ok_or(Drop::NatBadIcmp)?.fill(0);
    let sum = checksum::of(message).to_be_bytes();
    message.get_mut(2..4).ok_or(Drop::NatBadIcmp)?.copy_from_slice(&sum);
    Ok(())
}
