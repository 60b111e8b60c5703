//! AES-GCM, and its halves GMAC and CTR, for ESP on 128-bit AES and carry-less multiplication, for CPUs without AVX-512: eight blocks side by side.
//!
//! Decides: whether an ICV is right, in constant time, before the packet is decrypted. Reads and writes: bodies and ICVs
//! of prepared packets, and the header when sealing. Never: padding and trailers, they are `frame`'s.

use core::arch::x86_64::*;

use super::gcm::Unit;
use crate::engine::{Group, members};
use crate::{Key, OpenJob, SealJob};

/// Blocks encrypted side by side, and hashed under one reduction.
const GROUP: usize = 8;

/// Seals the prepared AES-GCM jobs of `group`.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) fn seal(jobs: &mut [SealJob], group: Group) {
    for n in members(group) {
        // SAFETY: a unit of a prepared job covers its packet.
        unsafe { seal_unit(&Unit::sealing(&mut jobs[n])) };
    }
}

/// Opens the AES-GCM packets of `group`; the authentic ones are answered and decrypted.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) fn open(jobs: &mut [OpenJob], group: Group) -> Group {
    let mut authentic = 0;
    for n in members(group) {
        // SAFETY: a unit of a packet of possible length covers it.
        if unsafe { open_unit(&Unit::opening(&mut jobs[n])) } {
            authentic |= 1 << n;
        }
    }
    authentic
}

/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, and `unit.key` is an AES-GCM key.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) unsafe fn seal_unit(unit: &Unit) {
    let stream = 16 + unit.body;
    let mut hash = Hash::new(unit);
    let mut mask = _mm_setzero_si128();
    for start in (0..stream).step_by(GROUP * 16) {
        let keystream = keystream(unit, start);
        let mut blocks = [_mm_setzero_si128(); GROUP];
        let ahead = (stream - start).min(GROUP * 16);
        for (n, block) in blocks.iter_mut().enumerate().take(ahead.div_ceil(16)) {
            // SAFETY: `start + n × 16` lies before the end of the stream, which lies in the packet.
            let at = unsafe { unit.packet.add(start + n * 16) };
            let bytes = (ahead - n * 16).min(16);
            if start + n == 0 {
                mask = keystream[0];
                let head = _mm_set_epi64x(
                    unit.iv.swap_bytes().cast_signed(),
                    unit.header.swap_bytes().cast_signed(),
                );
                // SAFETY: block 0 is whole.
                unsafe { _mm_storeu_si128(at.cast(), head) };
                *block = hash.associated_data();
                continue;
            }
            // SAFETY: `bytes` bytes of the stream lie at `at`.
            *block = reverse(unsafe { apply(at, bytes, keystream[n]) });
        }
        hash.group(&blocks, ahead.div_ceil(16), start + ahead == stream);
    }
    // SAFETY: the ICV's 16 bytes follow the stream.
    unsafe { _mm_storeu_si128(unit.packet.add(stream).cast(), _mm_xor_si128(reverse(hash.state), mask)) };
}

/// # Safety
/// As [`seal_unit`].
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) unsafe fn open_unit(unit: &Unit) -> bool {
    let stream = 16 + unit.body;
    // SAFETY: the caller's promise, passed on.
    let hash = unsafe { hash_stream(unit) };
    let first = keystream(unit, 0);
    // SAFETY: the ICV's 16 bytes follow the stream.
    let received = unsafe { _mm_loadu_si128(unit.packet.add(stream).cast()) };
    let difference = _mm_xor_si128(received, _mm_xor_si128(reverse(hash), first[0]));
    if _mm_testz_si128(difference, difference) == 0 {
        return false;
    }
    for start in (0..stream).step_by(GROUP * 16) {
        let keystream = if start == 0 { first } else { keystream(unit, start) };
        let ahead = (stream - start).min(GROUP * 16);
        for (n, stream) in keystream.iter().enumerate().take(ahead.div_ceil(16)) {
            if start + n > 0 {
                // SAFETY: `bytes` bytes of the stream, which lies in the packet, are read and written.
                unsafe { apply(unit.packet.add(start + n * 16), (ahead - n * 16).min(16), *stream) };
            }
        }
    }
    true
}

/// The hash of the whole stream; its block 0 is not read.
///
/// # Safety
/// The stream's blocks from 1 on are readable.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
unsafe fn hash_stream(unit: &Unit) -> __m128i {
    let stream = 16 + unit.body;
    let mut hash = Hash::new(unit);
    for start in (0..stream).step_by(GROUP * 16) {
        let mut blocks = [_mm_setzero_si128(); GROUP];
        let ahead = (stream - start).min(GROUP * 16);
        for (n, block) in blocks.iter_mut().enumerate().take(ahead.div_ceil(16)) {
            if start + n == 0 {
                *block = hash.associated_data();
                continue;
            }
            // SAFETY: `bytes` bytes of the stream, which lies in the packet, are read.
            *block =
                reverse(unsafe { load(unit.packet.wrapping_add(start + n * 16), (ahead - n * 16).min(16)) });
        }
        hash.group(&blocks, ahead.div_ceil(16), start + ahead == stream);
    }
    hash.state
}

/// The tag of an AES-GMAC packet.
///
/// # Safety
/// `unit` is made by `Unit::authenticating` of a packet with a body, and its key is an AES-GMAC key.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) unsafe fn gmac_unit(unit: &Unit) -> __m128i {
    // SAFETY: the caller's promise, passed on.
    let hash = unsafe { hash_stream(unit) };
    _mm_xor_si128(reverse(hash), keystream(unit, 0)[0])
}

/// En- or decrypts the body of an AES-CTR packet.
///
/// # Safety
/// `unit` is made by `Unit::counting` of a packet that nobody else touches, and its key is an AES-CTR key.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) unsafe fn ctr_unit(unit: &Unit) {
    for start in (0..unit.body).step_by(GROUP * 16) {
        let ahead = (unit.body - start).min(GROUP * 16);
        for (n, stream) in keystream(unit, start).iter().enumerate().take(ahead.div_ceil(16)) {
            // SAFETY: `bytes` bytes of the body, which begins 16 bytes into the packet, are read and written.
            unsafe { apply(unit.packet.add(16 + start + n * 16), (ahead - n * 16).min(16), *stream) };
        }
    }
}

/// GHASH under way, on byte-reversed blocks (see `tables`).
struct Hash<'a> {
    unit: &'a Unit<'a>,
    state: __m128i,
}

impl<'a> Hash<'a> {
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
    fn new(unit: &'a Unit<'a>) -> Self {
        Self { unit, state: _mm_setzero_si128() }
    }

    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
    fn associated_data(&self) -> __m128i {
        let (high, low) = self.unit.aad;
        _mm_set_epi64x(high.cast_signed(), low.cast_signed())
    }

    /// The first `count` blocks, and behind the last group the block of lengths.
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
    fn group(&mut self, blocks: &[__m128i; GROUP], count: usize, last: bool) {
        // Power 9 is there too: a full last group still has room for the lengths.
        let powers = count + usize::from(last);
        let mut sum =
            Products { low: _mm_setzero_si128(), middle: _mm_setzero_si128(), high: _mm_setzero_si128() };
        for (n, block) in blocks.iter().enumerate().take(count) {
            let block = if n == 0 { _mm_xor_si128(*block, self.state) } else { *block };
            sum.add(block, power(self.unit.key, powers - n));
        }
        if last {
            let bits = self.unit.text_bits.cast_signed();
            sum.add(_mm_set_epi64x(self.unit.aad_bits.cast_signed(), bits), power(self.unit.key, 1));
        }
        self.state = sum.reduce();
    }
}

/// Sums of products before reduction.
struct Products {
    low: __m128i,
    middle: __m128i,
    high: __m128i,
}

impl Products {
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
    fn add(&mut self, block: __m128i, power: __m128i) {
        self.low = _mm_xor_si128(self.low, _mm_clmulepi64_si128::<0x00>(block, power));
        self.high = _mm_xor_si128(self.high, _mm_clmulepi64_si128::<0x11>(block, power));
        self.middle = _mm_xor_si128(self.middle, _mm_clmulepi64_si128::<0x01>(block, power));
        self.middle = _mm_xor_si128(self.middle, _mm_clmulepi64_si128::<0x10>(block, power));
    }

    /// Montgomery's way, as POLYVAL has it (RFC 8452 §3).
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
    fn reduce(self) -> __m128i {
        let low = _mm_xor_si128(self.low, _mm_slli_si128::<8>(self.middle));
        let high = _mm_xor_si128(self.high, _mm_srli_si128::<8>(self.middle));
        let poly = _mm_set_epi64x(0xc200_0000_0000_0000u64.cast_signed(), 1);
        let once = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x10>(low, poly));
        let twice = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(once), _mm_clmulepi64_si128::<0x10>(once, poly));
        _mm_xor_si128(high, twice)
    }
}

/// Eight keystream blocks of the stream from byte `start` on; the stream's block 0 has counter 1.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn keystream(unit: &Unit, start: usize) -> [__m128i; GROUP] {
    match unit.key.rounds {
        10 => encrypt::<10>(unit, start),
        12 => encrypt::<12>(unit, start),
        _ => encrypt::<14>(unit, start),
    }
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn encrypt<const R: usize>(unit: &Unit, start: usize) -> [__m128i; GROUP] {
    let salt = u64::from(u32::from_le_bytes(unit.key.salt));
    let iv = unit.iv.swap_bytes();
    let nonce = _mm_set_epi64x((iv >> 32).cast_signed(), (salt | iv << 32).cast_signed());
    #[allow(clippy::cast_possible_truncation, reason = "a packet has at most 4,096 blocks")]
    let mut counter = (start / 16) as u32;
    let mut blocks = [nonce; GROUP];
    for block in &mut blocks {
        counter += 1;
        *block = _mm_insert_epi32::<3>(*block, counter.swap_bytes().cast_signed());
        *block = _mm_xor_si128(*block, vector(&unit.key.schedule[0]));
    }
    for round in 1..R {
        let key = vector(&unit.key.schedule[round]);
        for block in &mut blocks {
            *block = _mm_aesenc_si128(*block, key);
        }
    }
    for block in &mut blocks {
        *block = _mm_aesenclast_si128(*block, vector(&unit.key.schedule[R]));
    }
    blocks
}

/// Adds keystream to `bytes` (1 to 16) in place; answers them, zero-padded.
///
/// # Safety
/// `bytes` bytes at `at` are readable and writable.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
unsafe fn apply(at: *mut u8, bytes: usize, keystream: __m128i) -> __m128i {
    // SAFETY: the caller's promise; 16 bytes are written only where there are 16.
    unsafe {
        let mixed = _mm_xor_si128(load(at, bytes), keystream);
        if bytes == 16 {
            _mm_storeu_si128(at.cast(), mixed);
            return mixed;
        }
        let mut block = [0u8; 16];
        _mm_storeu_si128(block.as_mut_ptr().cast(), mixed);
        block[bytes..].fill(0);
        core::ptr::copy_nonoverlapping(block.as_ptr(), at, bytes);
        vector(&block)
    }
}

/// # Safety
/// `bytes` (1 to 16) bytes at `at` are readable.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
unsafe fn load(at: *const u8, bytes: usize) -> __m128i {
    let mut block = [0u8; 16];
    // SAFETY: the caller's promise.
    unsafe {
        if bytes == 16 {
            return _mm_loadu_si128(at.cast());
        }
        core::ptr::copy_nonoverlapping(at, block.as_mut_ptr(), bytes);
    }
    vector(&block)
}

/// H^`n`, 1 ≤ n ≤ 16.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn power(key: &Key, n: usize) -> __m128i {
    vector(&key.table[16 - n])
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn reverse(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
}

#[inline]
fn vector(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 readable bytes; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
