//! What the kernels of AES-GCM, GMAC and CTR share: one packet in the form they work on.
//!
//! Decides nothing. Reads: jobs. Never touches a body.
//!
//! A packet is read as a stream of 16-byte blocks from its first byte on: block 0 is SPI, sequence number and IV, and the
//! blocks of the body follow. Block 0 is not encrypted, so two guests take its place: in the counter blocks J0, whose
//! encryption masks the tag, and in the hash the associated data.

use crate::{Key, OpenJob, SealJob};

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Unit<'a> {
    pub(super) key: &'a Key,
    /// First byte of the ESP header; `16 + body + 16` bytes are ours.
    pub(super) packet: *mut u8,
    pub(super) body: usize,
    /// The explicit IV as a big-endian number.
    pub(super) iv: u64,
    /// SPI and sequence number as a big-endian number: the first half of block 0.
    pub(super) header: u64,
    /// Associated data, zero-padded to a block, as a big-endian number in two halves.
    pub(super) aad: (u64, u64),
    pub(super) aad_bits: u64,
    /// The associated data is SPI and sequence number as they stand in the packet.
    pub(super) plain_aad: bool,
    /// Where the burst's next packet lies: only hints to the cache go there. Here, because both lengths would be read at
    /// once if they were neighbours, and such a read of two fresh writes stalls.
    pub(super) next: *const u8,
    /// What is encrypted; none of it in GMAC.
    pub(super) text_bits: u64,
}

impl<'a> Unit<'a> {
    /// Of a prepared AES-GCM job: `frame::prepare` checked that header, IV, a body and the ICV are there. The header's
    /// numbers come as such, because reading back what was just written stalls.
    #[inline]
    pub(super) fn sealing(job: &'a mut SealJob) -> Self {
        let spi = u64::from(job.spi) << 32;
        Self::new(job.key, job.packet, spi | (job.seq & LOW), job.seq, (job.seq, job.esn))
    }

    /// Of a received packet that `frame::body_end` found long enough.
    #[inline]
    pub(super) fn opening(job: &'a mut OpenJob) -> Self {
        let head = u128::from_be_bytes(job.packet.first_chunk().copied().unwrap_or_default());
        #[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
        let (header, iv) = ((head >> 64) as u64, head as u64);
        Self::new(job.key, job.packet, header, iv, (job.seq, job.esn))
    }

    /// RFC 4106 §5: the associated data is SPI and sequence number, 64 bits of the latter with ESN.
    #[inline]
    fn new(key: &'a Key, packet: &'a mut [u8], header: u64, iv: u64, (seq, esn): (u64, bool)) -> Self {
        let extended = ((header & !LOW) | seq >> 32, header << 32);
        let (aad, aad_bits) = if esn { (extended, 96) } else { ((header, 0), 64) };
        let body = packet.len() - 32;
        let text_bits = body as u64 * 8;
        let packet = packet.as_mut_ptr();
        Self { key, body, packet, iv, header, aad, aad_bits, plain_aad: !esn, text_bits, next: packet }
    }

    /// To be hashed, not encrypted: a packet of AES-GMAC that is long enough, without its ICV. RFC 4543 §3.3: all of it
    /// is associated data, with ESN the upper half of the number too, behind the SPI. Then the stream begins 4 bytes
    /// before the packet; its block 0 is never read from there.
    #[inline]
    pub(super) fn authenticating(key: &'a Key, packet: &'a mut [u8], seq: u64, esn: bool) -> Self {
        let head = u128::from_be_bytes(packet.first_chunk().copied().unwrap_or_default());
        #[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
        let (header, iv) = ((head >> 64) as u64, head as u64);
        let more = if esn { 4 } else { 0 };
        let extended = ((header & !LOW) | seq >> 32, header << 32 | iv >> 32);
        Self {
            key,
            packet: packet.as_mut_ptr().wrapping_sub(more),
            body: packet.len() + more - 16,
            iv,
            header,
            aad: if esn { extended } else { (header, iv) },
            aad_bits: (packet.len() + more) as u64 * 8,
            plain_aad: false,
            text_bits: 0,
            next: packet.as_ptr(),
        }
    }

    /// All of `data` is associated data: as [`Self::authenticating`], but the IV stands elsewhere. `None`: less than a block.
    pub(super) fn hashing(key: &'a Key, data: &'a [u8], iv: u64) -> Option<Self> {
        let (first, body) = data.split_first_chunk()?;
        let first = u128::from_be_bytes(*first);
        #[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
        let aad = ((first >> 64) as u64, first as u64);
        Some(Self {
            key,
            // Nothing is written where nothing is encrypted.
            packet: data.as_ptr().cast_mut(),
            body: body.len(),
            iv,
            header: aad.0,
            aad,
            aad_bits: data.len() as u64 * 8,
            plain_aad: false,
            text_bits: 0,
            next: data.as_ptr(),
        })
    }

    /// A prepared or authentic packet of AES-CTR without its ICV. Its body has the counters from 1 on (RFC 3686 §4), one
    /// less than in GCM.
    #[inline]
    pub(super) fn counting(key: &'a Key, packet: &'a mut [u8], iv: u64) -> Self {
        let (body, packet) = (packet.len() - 16, packet.as_mut_ptr());
        Self {
            key,
            packet,
            body,
            iv,
            header: 0,
            aad: (0, 0),
            aad_bits: 0,
            plain_aad: false,
            text_bits: 0,
            next: packet,
        }
    }
}

const LOW: u64 = 0xffff_ffff;
