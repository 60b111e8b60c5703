//! What surrounds the ciphertext: ESP header, explicit IV, padding and trailer (RFC 4303 §2).
//!
//! Decides: whether a packet's lengths are possible, and whether an authentic packet's padding is right. Reads: jobs.
//! Writes: header, counting IV and trailer before sealing; the outcome after opening. Never encrypts: kernels do.

use crate::suite::{Cipher, TRAILER};
use crate::{OpenError, OpenJob, Opened, SealJob, Suite};

/// No ESP packet is longer (the IP total length has 16 bits), so kernels may count blocks in 32 bits.
pub(crate) const MAX_PACKET: usize = 65_535;

/// Writes all of the packet but CBC's IV, the ciphertext and the ICV. A job whose lengths contradict each other is
/// refused and its packet zeroed: nothing of it may leave in the clear.
#[inline(always)]
pub(crate) fn prepare(job: &mut SealJob) -> bool {
    if job.key.cipher == Cipher::Gcm { prepare_gcm(job) } else { prepare_any(job) }
}

/// Lengths of AES-GCM (RFC 4106), known here without asking the suite.
const GCM_HEAD: usize = 16;
const GCM_ICV: usize = 16;
const GCM_MASK: usize = 3;

/// [`prepare`] where everything but the payload's length is fixed.
#[inline(always)]
fn prepare_gcm(job: &mut SealJob) -> bool {
    write_gcm((job.spi, job.seq), (job.payload_len, job.next_header), job.packet)
}

/// As [`prepare`], of values that need not be in memory.
#[inline(always)]
pub(crate) fn write_gcm((spi, seq): (u32, u64), (payload, next): (usize, u8), packet: &mut [u8]) -> bool {
    let len = packet.len();
    let pad = !payload.wrapping_add(1) & GCM_MASK;
    // Looked at first, no sum below it can overflow.
    if len > MAX_PACKET || payload > len || len != payload + pad + (GCM_HEAD + TRAILER + GCM_ICV) {
        packet.fill(0);
        return false;
    }
    let header = u64::from(spi) << 32 | seq & 0xffff_ffff;
    let Some((head, rest)) = packet.split_first_chunk_mut::<GCM_HEAD>() else { return false };
    let (head, _) = head.as_chunks_mut::<8>();
    (head[0], head[1]) = (header.to_be_bytes(), seq.to_be_bytes());
    let Some(behind) = rest.get_mut(payload..).and_then(|rest| rest.first_chunk_mut::<8>()) else {
        return false;
    };
    // One store; what is too much of it lies where the ICV comes.
    *behind = (PADS[pad] | u64::from(next) << (8 * pad + 8)).to_le_bytes();
    true
}

/// Padding of 0 to 3 bytes and its length, in the order of memory.
const PADS: [u64; 4] = [0x00, 0x01_01, 0x02_02_01, 0x03_03_02_01];

#[inline(never)]
fn prepare_any(job: &mut SealJob) -> bool {
    let suite = job.key.suite();
    // Looked at first, no sum below it can overflow.
    if job.packet.len() > MAX_PACKET || job.payload_len > MAX_PACKET {
        job.packet.fill(0);
        return false;
    }
    if job.packet.len() != suite.sealed_len(job.payload_len) {
        job.packet.fill(0);
        return false;
    }
    let [spi, seq] = [job.spi.to_be_bytes(), sequence_on_wire(job.seq)];
    if suite.iv_len() == 8 {
        if let Some((head, rest)) = job.packet.split_first_chunk_mut::<16>() {
            let head = head.as_chunks_mut::<4>().0;
            [head[0], head[1]] = [spi, seq];
            head[2..].as_flattened_mut().copy_from_slice(&job.seq.to_be_bytes());
            write_trailer(
                rest.get_mut(job.payload_len..).unwrap_or_default(),
                suite.icv_len(),
                job.next_header,
            );
        }
        return true;
    }
    let offset = suite.payload_offset();
    job.packet[..4].copy_from_slice(&spi);
    job.packet[4..8].copy_from_slice(&seq);
    write_trailer(&mut job.packet[offset + job.payload_len..], suite.icv_len(), job.next_header);
    true
}

/// Whether a received packet can be one of its suite, by its length.
#[inline(always)]
pub(crate) fn is_possible(job: &OpenJob) -> bool {
    let len = job.packet.len();
    if job.key.cipher == Cipher::Gcm {
        const LEAST: usize = GCM_HEAD + GCM_MASK + 1 + GCM_ICV;
        return (LEAST..=MAX_PACKET).contains(&len) && len & GCM_MASK == 0;
    }
    body_end(job.key.suite(), len).is_some()
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
#[inline(always)]
pub(crate) fn finish(job: &mut OpenJob) {
    if job.key.cipher == Cipher::Gcm { finish_with(job, GCM_HEAD, GCM_ICV) } else { finish_any(job) }
}

#[inline(never)]
fn finish_any(job: &mut OpenJob) {
    let suite = job.key.suite();
    finish_with(job, suite.payload_offset(), suite.icv_len());
}

/// `icv`: bytes behind the body, which begins at `offset`.
#[inline(always)]
fn finish_with(job: &mut OpenJob, offset: usize, icv: usize) {
    job.outcome = read(job.packet, offset, icv);
}

/// Where the payload of an authentic, decrypted packet lies.
#[inline(always)]
pub(crate) fn read(packet: &[u8], offset: usize, icv: usize) -> Result<Opened, OpenError> {
    let Some(body) = packet.get(offset..packet.len().wrapping_sub(icv)) else {
        return Err(OpenError::BadPadding);
    };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "it lies within the packet, which is at most MAX_PACKET long"
    )]
    let opened = |(len, next_header)| Opened { offset: offset as u16, len, next_header };
    read_trailer(body).map(opened).ok_or(OpenError::BadPadding)
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

/// Padding (1, 2, 3, …), pad length, next header, at most 15 + 2 bytes, at the front of `room`; behind them stays room for
/// the ICV.
#[inline]
fn write_trailer(room: &mut [u8], icv: usize, next_header: u8) {
    const PADDING: u64 = 0x0706_0504_0302_0100;
    let pad = room.len().wrapping_sub(icv + TRAILER);
    if pad < 4
        && icv >= 4
        && let Some(first) = room.first_chunk_mut::<8>()
    {
        // One store; what is too much of it lies where the ICV comes.
        let trailer = (PADDING >> 8) & ((1 << (8 * pad)) - 1);
        let ends = pad as u64 | u64::from(next_header) << 8;
        *first = (trailer | ends << (8 * pad)).to_le_bytes();
        return;
    }
    let room = room.get_mut(..pad.wrapping_add(TRAILER)).unwrap_or_default();
    let Some((pad, [length, next])) = room.split_last_chunk_mut::<TRAILER>() else { return };
    let mut n = 0;
    for byte in pad {
        n += 1;
        *byte = n;
    }
    *length = n;
    *next = next_header;
}

/// By the length of the padding: where it stands in the last eight bytes, and what it is.
const PADDING: [(u64, u64); 4] =
    [(0, 0), (0xff << 40, 0x01 << 40), (0xffff << 32, 0x0201 << 32), (0xff_ffff << 24, 0x03_0201 << 24)];

/// Length of the payload, next header. In parts of one word: what is longer than a register or two would go by way of memory.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "bytes of a word; of a packet of MAX_PACKET bytes at most"
)]
fn read_trailer(body: &[u8]) -> Option<(u16, u8)> {
    let Some(last) = body.last_chunk::<8>() else { return read_any_trailer(body) };
    let last = u64::from_le_bytes(*last);
    let (pad_len, next_header) = ((last >> 48) as u8, (last >> 56) as u8);
    let Some((mask, padding)) = PADDING.get(usize::from(pad_len)) else { return read_any_trailer(body) };
    // What padding there is stands right before the last two bytes.
    let len = body.len().checked_sub(TRAILER + usize::from(pad_len))?;
    (last & mask == *padding).then_some((len as u16, next_header))
}

#[inline(never)]
#[allow(clippy::cast_possible_truncation, reason = "of a packet of MAX_PACKET bytes at most")]
fn read_any_trailer(body: &[u8]) -> Option<(u16, u8)> {
    let (rest, &[pad_len, next_header]) = body.split_last_chunk::<TRAILER>()?;
    let len = rest.len().checked_sub(usize::from(pad_len))?;
    let right = rest[len..].iter().zip(1..=u8::MAX).all(|(&byte, n)| byte == n);
    right.then_some((len as u16, next_header))
}
