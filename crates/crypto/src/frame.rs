//! What surrounds the ciphertext: ESP header, explicit IV, padding and trailer (RFC 4303 §2).
//!
//! Decides: whether a packet's lengths are possible, and whether an authentic packet's padding is right. Reads: jobs.
//! Writes: header, counting IV and trailer before sealing; the outcome after opening. Never encrypts: kernels do.

use crate::suite::{HEADER, TRAILER};
use crate::{OpenError, OpenJob, Opened, SealJob, Suite};

/// No ESP packet is longer (the IP total length has 16 bits), so kernels may count blocks in 32 bits.
pub(crate) const MAX_PACKET: usize = 65_535;

/// Writes all of the packet but CBC's IV, the ciphertext and the ICV. A job whose lengths contradict each other is
/// refused and its packet zeroed: nothing of it may leave in the clear.
#[inline]
pub(crate) fn prepare(job: &mut SealJob) -> bool {
    let suite = job.key.suite();
    if job.packet.len() != suite.sealed_len(job.payload_len) || job.packet.len() > MAX_PACKET {
        job.packet.fill(0);
        return false;
    }
    let offset = suite.payload_offset();
    let end = job.packet.len() - suite.icv_len();
    let (head, body) = job.packet[..end].split_at_mut(offset);
    head[..4].copy_from_slice(&job.spi.to_be_bytes());
    head[4..8].copy_from_slice(&sequence_on_wire(job.seq));
    if suite.iv_len() == 8 {
        head[HEADER..].copy_from_slice(&job.seq.to_be_bytes());
    }
    write_trailer(&mut body[job.payload_len..], job.next_header);
    true
}

/// The lengths of a received packet: `Some` end of the body when it can be an ESP packet of this suite.
#[inline]
pub(crate) fn body_end(suite: Suite, received: usize) -> Option<usize> {
    let end = received.checked_sub(suite.icv_len())?;
    let body = end.checked_sub(suite.payload_offset())?;
    let aligned = body & (suite.alignment() - 1) == 0;
    (aligned && body >= TRAILER && received <= MAX_PACKET).then_some(end)
}

/// Reads the trailer of an authentic, decrypted packet.
//= https://www.rfc-editor.org/rfc/rfc4303#section-2.4
//# When this padding scheme is employed, the receiver SHOULD inspect the Padding field.
#[inline]
pub(crate) fn finish(job: &mut OpenJob, end: usize) {
    let offset = job.key.suite().payload_offset();
    job.outcome = read_trailer(&job.packet[offset..end])
        .map(|(len, next_header)| Opened { offset, len, next_header })
        .ok_or(OpenError::BadPadding);
}

/// Associated data of an AEAD: SPI and sequence number, the latter whole with ESN (RFC 4106 §5, RFC 7634 §2.1).
pub(crate) struct Aad {
    bytes: [u8; 12],
    len: usize,
}

impl Aad {
    /// `header` is the packet's first 8 bytes.
    pub(crate) fn new(header: [u8; 8], seq: u64, esn: bool) -> Self {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&header);
        if esn {
            bytes[8..].copy_from_slice(&header[4..]);
            bytes[4..8].copy_from_slice(&high_half(seq));
        }
        Self { bytes, len: if esn { 12 } else { 8 } }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What ESN appends, unsent, to the data under an HMAC (RFC 4303 §2.2.1).
#[inline]
pub(crate) fn high_half(seq: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = seq.to_be_bytes();
    [a, b, c, d]
}

#[inline]
fn sequence_on_wire(seq: u64) -> [u8; 4] {
    let [.., a, b, c, d] = seq.to_be_bytes();
    [a, b, c, d]
}

/// `room` is padding (1, 2, 3, …), pad length, next header; at most 15 + 2 bytes.
#[inline]
fn write_trailer(room: &mut [u8], next_header: u8) {
    let Some((pad, [length, next])) = room.split_last_chunk_mut::<TRAILER>() else { return };
    let mut n = 0;
    for byte in pad {
        n += 1;
        *byte = n;
    }
    *length = n;
    *next = next_header;
}

#[inline]
fn read_trailer(body: &[u8]) -> Option<(usize, u8)> {
    let (rest, &[pad_len, next_header]) = body.split_last_chunk::<TRAILER>()?;
    let len = rest.len().checked_sub(usize::from(pad_len))?;
    let right = rest[len..].iter().zip(1..=u8::MAX).all(|(&byte, n)| byte == n);
    right.then_some((len, next_header))
}
