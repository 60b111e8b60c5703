//! AES-GCM, and its halves GMAC and CTR, for ESP on 256-bit vectors (VAES and VPCLMULQDQ with AVX2), for CPUs without
//! AVX-512: sixteen blocks side by side.
//!
//! Decides: whether an ICV is right, in constant time, before the packet is decrypted. Reads and writes: bodies and ICVs
//! of prepared packets, and the header when sealing. Never: padding and trailers, they are `frame`'s.

use core::arch::x86_64::*;

use super::gcm::Unit;
use crate::engine::{Group, members};
use crate::{Key, OpenJob, SealJob};

/// Bytes encrypted side by side, and hashed under one reduction: 16 blocks in 8 vectors.
const GROUP: usize = 256;
const VECTOR: usize = 32;
type Blocks = [__m256i; 8];

/// Seals the prepared AES-GCM jobs of `group`.
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
pub(super) fn seal(jobs: &mut [SealJob], group: Group) {
    for n in members(group) {
        // SAFETY: a unit of a prepared job covers its packet.
        unsafe { seal_unit(&Unit::sealing(&mut jobs[n])) };
    }
}

/// Opens the AES-GCM packets of `group`; the authentic ones are answered and decrypted.
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
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
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
pub(super) unsafe fn seal_unit(unit: &Unit) {
    let stream = 16 + unit.body;
    let mut hash = Hash { unit, state: _mm_setzero_si128() };
    let mut mask = _mm_setzero_si128();
    for start in (0..stream).step_by(GROUP) {
        let bytes = (stream - start).min(GROUP);
        let keystream = keystream(unit, start, bytes);
        // SAFETY: `bytes` bytes of the stream, which lies in the packet, are read and written.
        unsafe {
            let at = unit.packet.add(start);
            let mut blocks = load(at, bytes);
            for (block, stream) in blocks.iter_mut().zip(&keystream) {
                *block = _mm256_xor_si256(*block, *stream);
            }
            if start == 0 {
                mask = _mm256_castsi256_si128(keystream[0]);
                blocks[0] = with_lane_0(blocks[0], unit.iv.swap_bytes(), unit.header.swap_bytes());
            }
            store(at, bytes, &mut blocks);
            hash.group(&blocks, start, stream);
        }
    }
    // SAFETY: the ICV's 16 bytes follow the stream.
    unsafe { _mm_storeu_si128(unit.packet.add(stream).cast(), _mm_xor_si128(hash.tag(), mask)) };
}

/// # Safety
/// As [`seal_unit`].
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
pub(super) unsafe fn open_unit(unit: &Unit) -> bool {
    let stream = 16 + unit.body;
    // SAFETY: the caller's promise, passed on; the ICV's 16 bytes follow the stream.
    let (hash, received) = unsafe { (hash_stream(unit), _mm_loadu_si128(unit.packet.add(stream).cast())) };
    let first = keystream(unit, 0, stream.min(GROUP));
    let right = _mm_xor_si128(hash, _mm256_castsi256_si128(first[0]));
    let difference = _mm_xor_si128(received, right);
    if _mm_testz_si128(difference, difference) == 0 {
        return false;
    }
    for start in (0..stream).step_by(GROUP) {
        let bytes = (stream - start).min(GROUP);
        let mut keystream = if start == 0 { first } else { keystream(unit, start, bytes) };
        if start == 0 {
            // The header stays as it is.
            keystream[0] = with_lane_0(keystream[0], 0, 0);
        }
        // SAFETY: `bytes` bytes of the stream, which lies in the packet, are read and written.
        unsafe { apply(unit.packet.add(start), bytes, &keystream) };
    }
    true
}

/// The tag of an AES-GMAC packet.
///
/// # Safety
/// `unit` is made by `Unit::authenticating` of a packet with a body, and its key is an AES-GMAC key.
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
pub(super) unsafe fn gmac_unit(unit: &Unit) -> __m128i {
    // SAFETY: the caller's promise, passed on.
    let hash = unsafe { hash_stream(unit) };
    _mm_xor_si128(hash, _mm256_castsi256_si128(keystream(unit, 0, VECTOR)[0]))
}

/// En- or decrypts the body of an AES-CTR packet.
///
/// # Safety
/// `unit` is made by `Unit::counting` of a packet that nobody else touches, and its key is an AES-CTR key.
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
pub(super) unsafe fn ctr_unit(unit: &Unit) {
    for start in (0..unit.body).step_by(GROUP) {
        let bytes = (unit.body - start).min(GROUP);
        // SAFETY: `bytes` bytes of the body, which begins 16 bytes into the packet, are read and written.
        unsafe { apply(unit.packet.add(16 + start), bytes, &keystream(unit, start, bytes)) };
    }
}

/// The hash of the whole stream as the tag has it; the stream's block 0 is not read.
///
/// # Safety
/// The stream's blocks from 1 on are readable.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
unsafe fn hash_stream(unit: &Unit) -> __m128i {
    let stream = 16 + unit.body;
    let mut hash = Hash { unit, state: _mm_setzero_si128() };
    for start in (0..stream).step_by(GROUP) {
        let bytes = (stream - start).min(GROUP);
        let at = unit.packet.wrapping_add(start);
        // SAFETY: the caller's promise.
        let blocks = unsafe { if start == 0 { load_from(16, at, bytes) } else { load(at, bytes) } };
        hash.group(&blocks, start, stream);
    }
    hash.tag()
}

/// GHASH under way, on byte-reversed blocks (see `tables`).
struct Hash<'a> {
    unit: &'a Unit<'a>,
    state: __m128i,
}

impl Hash<'_> {
    /// The group that begins at byte `start` of the stream, zero behind its end, and behind the last group the block of
    /// lengths. In the first block's place the associated data is hashed.
    #[inline]
    #[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
    fn group(&mut self, blocks: &Blocks, start: usize, stream: usize) {
        let count = (stream - start).min(GROUP).div_ceil(16);
        let last = start + GROUP >= stream;
        // A full last group leaves no power for the lengths: they are hashed apart.
        let together = last && count < 16;
        let mut sum = Products::zero();
        let powers = power(self.unit.key, count + usize::from(together));
        for (v, block) in blocks.iter().enumerate().take(count.div_ceil(2)) {
            let mut block = reverse(*block);
            if v == 0 {
                if start == 0 {
                    let (high, low) = self.unit.aad;
                    block = with_lane_0(block, high, low);
                }
                block = _mm256_xor_si256(block, _mm256_zextsi128_si256(self.state));
            }
            // SAFETY: the powers of these blocks; a lane behind the table, in the key still, meets zeros.
            sum.add(block, unsafe { _mm256_loadu_si256(powers.wrapping_add(v * VECTOR).cast()) });
        }
        if last && !together {
            self.state = sum.reduce();
            sum = Products::zero();
        }
        if last {
            let lengths = _mm_set_epi64x(self.unit.aad_bits.cast_signed(), self.unit.text_bits.cast_signed());
            let before = if together { _mm_setzero_si128() } else { self.state };
            let block = _mm256_zextsi128_si256(_mm_xor_si128(lengths, before));
            // SAFETY: power 1, and a lane behind the table, in the key still, that meets zeros.
            sum.add(block, unsafe { _mm256_loadu_si256(power(self.unit.key, 1).cast()) });
        }
        self.state = sum.reduce();
    }

    #[inline]
    #[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
    fn tag(&self) -> __m128i {
        _mm256_castsi256_si128(reverse(_mm256_castsi128_si256(self.state)))
    }
}

/// Sums of products before reduction.
struct Products {
    low: __m256i,
    middle: __m256i,
    high: __m256i,
}

impl Products {
    #[inline]
    #[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
    fn zero() -> Self {
        let zero = _mm256_setzero_si256();
        Self { low: zero, middle: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
    fn add(&mut self, block: __m256i, power: __m256i) {
        self.low = _mm256_xor_si256(self.low, _mm256_clmulepi64_epi128::<0x00>(block, power));
        self.high = _mm256_xor_si256(self.high, _mm256_clmulepi64_epi128::<0x11>(block, power));
        self.middle = _mm256_xor_si256(self.middle, _mm256_clmulepi64_epi128::<0x01>(block, power));
        self.middle = _mm256_xor_si256(self.middle, _mm256_clmulepi64_epi128::<0x10>(block, power));
    }

    /// Folds the lanes and reduces once (Montgomery's way, as POLYVAL has it: RFC 8452 §3).
    #[inline]
    #[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
    fn reduce(&self) -> __m128i {
        let (low, middle, high) = (fold(self.low), fold(self.middle), fold(self.high));
        let poly = _mm_set_epi64x(0xc200_0000_0000_0000u64.cast_signed(), 1);
        let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
        let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
        let once = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x10>(low, poly));
        let twice = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(once), _mm_clmulepi64_si128::<0x10>(once, poly));
        _mm_xor_si128(high, twice)
    }
}

/// Keystream for `bytes` of the stream from byte `start` on, the rest zero; the stream's block 0 has counter 1.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
fn keystream(unit: &Unit, start: usize, bytes: usize) -> Blocks {
    match unit.key.rounds {
        10 => rounds::<10>(unit, start, bytes),
        12 => rounds::<12>(unit, start, bytes),
        _ => rounds::<14>(unit, start, bytes),
    }
}

#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
fn rounds<const R: usize>(unit: &Unit, start: usize, bytes: usize) -> Blocks {
    let mut stream = [_mm256_setzero_si256(); 8];
    match bytes.div_ceil(VECTOR) {
        0..=2 => stream[..2].copy_from_slice(&encrypt::<R, 2>(unit, start)),
        3..=4 => stream[..4].copy_from_slice(&encrypt::<R, 4>(unit, start)),
        _ => stream = encrypt::<R, 8>(unit, start),
    }
    stream
}

#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
fn encrypt<const R: usize, const N: usize>(unit: &Unit, start: usize) -> [__m256i; N] {
    let salt = u64::from(u32::from_le_bytes(unit.key.salt));
    let iv = unit.iv.swap_bytes();
    let nonce = _mm_set_epi64x((iv >> 32).cast_signed(), (salt | iv << 32).cast_signed());
    let nonce = _mm256_broadcastsi128_si256(nonce);
    let swap = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 15, 14, 13, 12,
    ));
    #[allow(clippy::cast_possible_truncation, reason = "a packet has at most 4,096 blocks")]
    let first = (start / 16) as u32 as i32;
    let mut counter = _mm256_setr_epi32(0, 0, 0, first + 1, 0, 0, 0, first + 2);
    let key = broadcast(&unit.key.schedule[0]);
    let mut blocks = [nonce; N];
    for block in &mut blocks {
        *block = _mm256_xor_si256(_mm256_or_si256(*block, _mm256_shuffle_epi8(counter, swap)), key);
        counter = _mm256_add_epi32(counter, _mm256_setr_epi32(0, 0, 0, 2, 0, 0, 0, 2));
    }
    for round in 1..R {
        let key = broadcast(&unit.key.schedule[round]);
        for block in &mut blocks {
            *block = _mm256_aesenc_epi128(*block, key);
        }
    }
    let key = broadcast(&unit.key.schedule[R]);
    for block in &mut blocks {
        *block = _mm256_aesenclast_epi128(*block, key);
    }
    blocks
}

/// Adds keystream to `bytes` (1 to 256) in place.
///
/// # Safety
/// They are readable and writable.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
unsafe fn apply(at: *mut u8, bytes: usize, keystream: &Blocks) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut blocks = load(at, bytes);
        for (block, stream) in blocks.iter_mut().zip(keystream) {
            *block = _mm256_xor_si256(*block, *stream);
        }
        store(at, bytes, &mut blocks);
    }
}

/// `bytes` (1 to 256) bytes, zeros behind them.
///
/// # Safety
/// They are readable.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
unsafe fn load(at: *const u8, bytes: usize) -> Blocks {
    // SAFETY: the caller's promise.
    unsafe { if bytes == GROUP { vectors(at) } else { load_from(0, at, bytes) } }
}

/// As [`load`], but what lies before `from` is not read, and zero.
///
/// # Safety
/// The bytes from there on are readable.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
unsafe fn load_from(from: usize, at: *const u8, bytes: usize) -> Blocks {
    let mut part = [0u8; GROUP];
    // SAFETY: the caller's promise.
    unsafe {
        core::ptr::copy_nonoverlapping(at.wrapping_add(from), part.as_mut_ptr().add(from), bytes - from);
        vectors(part.as_ptr())
    }
}

/// # Safety
/// 256 bytes at `at` are readable.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
unsafe fn vectors(at: *const u8) -> Blocks {
    let mut blocks = [_mm256_setzero_si256(); 8];
    for (v, block) in blocks.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *block = unsafe { _mm256_loadu_si256(at.add(v * VECTOR).cast()) };
    }
    blocks
}

/// Writes `bytes` (1 to 256) bytes; what lies behind them in `blocks` becomes zero.
///
/// # Safety
/// They are writable.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
unsafe fn store(at: *mut u8, bytes: usize, blocks: &mut Blocks) {
    let mut part = [0u8; GROUP];
    let to = if bytes == GROUP { at } else { part.as_mut_ptr() };
    // SAFETY: the caller's promise; both places have 256 bytes where they are used.
    unsafe {
        for (v, block) in blocks.iter().enumerate() {
            _mm256_storeu_si256(to.add(v * VECTOR).cast(), *block);
        }
        if bytes < GROUP {
            part[bytes..].fill(0);
            core::ptr::copy_nonoverlapping(part.as_ptr(), at, bytes);
            *blocks = vectors(part.as_ptr());
        }
    }
}

/// H^`n` and, behind it, the lower powers. 1 ≤ n ≤ 16.
#[inline]
fn power(key: &Key, n: usize) -> *const u8 {
    const TABLE: usize = core::mem::offset_of!(Key, table);
    // From the whole key, because a lane may lie behind the table; it is in the key still.
    core::ptr::from_ref(key).cast::<u8>().wrapping_add(TABLE + (16 - n) * 16)
}

#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
fn with_lane_0(vector: __m256i, high: u64, low: u64) -> __m256i {
    _mm256_inserti128_si256::<0>(vector, _mm_set_epi64x(high.cast_signed(), low.cast_signed()))
}

#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
fn fold(lanes: __m256i) -> __m128i {
    _mm_xor_si128(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes))
}

#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
fn broadcast(key: &[u8; 16]) -> __m256i {
    // SAFETY: 16 readable bytes, no alignment asked for.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(key.as_ptr().cast()) })
}

/// Turns every block's bytes round.
#[inline]
#[target_feature(enable = "avx2,aes,pclmulqdq,ssse3,sse4.1,vaes,vpclmulqdq")]
fn reverse(blocks: __m256i) -> __m256i {
    let order = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    _mm256_shuffle_epi8(blocks, _mm256_broadcastsi128_si256(order))
}
