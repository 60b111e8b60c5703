//! One packet on its way through AES-GCM: counters, keystream, hash.
//!
//! Decides nothing. Reads and writes: the packet of its unit. Never: compares an ICV.

use core::arch::x86_64::*;

use super::{GROUP, VECTOR};
use crate::Key;
use crate::x86::gcm::Unit;
use crate::x86::ghash_vpclmul::{Products, power};

/// The state of one packet under way.
pub(super) struct Run<'a> {
    unit: &'a Unit<'a>,
    pub(super) at: *mut u8,
    /// Salt and IV in every lane; the counter words are 0.
    nonce: __m512i,
    /// Counters of the next group's first four blocks, as numbers.
    counters: __m512i,
    hash: __m128i,
    /// E(K, J0).
    pub(super) mask: __m128i,
}

impl<'a> Run<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn new(unit: &'a Unit<'a>) -> Self {
        let salt = u64::from(u32::from_le_bytes(unit.key.salt));
        let iv = unit.iv.swap_bytes();
        let nonce = _mm_set_epi64x((iv >> 32).cast_signed(), (salt | iv << 32).cast_signed());
        Self {
            unit,
            at: unit.packet,
            nonce: _mm512_broadcast_i32x4(nonce),
            counters: _mm512_setr_epi32(0, 0, 0, 17, 0, 0, 0, 18, 0, 0, 0, 19, 0, 0, 0, 20),
            hash: _mm_setzero_si128(),
            mask: _mm_setzero_si128(),
        }
    }

    /// Counters 1 (J0) to 4 × N of the first group, whose big-endian words need no carry.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn first_counters<const N: usize>(&self) -> [__m512i; N] {
        let mut counters = [self.nonce; N];
        let mut word = 1 << 24;
        for counter in &mut counters {
            let words = _mm512_setr_epi32(
                0,
                0,
                0,
                word,
                0,
                0,
                0,
                word + (1 << 24),
                0,
                0,
                0,
                word + (2 << 24),
                0,
                0,
                0,
                word + (3 << 24),
            );
            *counter = _mm512_or_si512(*counter, words);
            word += 4 << 24;
        }
        counters
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn next_counters<const N: usize>(&mut self) -> [__m512i; N] {
        let swap = _mm512_broadcast_i32x4(_mm_setr_epi8(
            -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 15, 14, 13, 12,
        ));
        let step = _mm512_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4);
        let mut counters = [self.nonce; N];
        for counter in &mut counters {
            *counter = _mm512_or_si512(*counter, _mm512_shuffle_epi8(self.counters, swap));
            self.counters = _mm512_add_epi32(self.counters, step);
        }
        counters
    }

    /// Encrypts and hashes a group that is not the last, of 256 bytes.
    ///
    /// # Safety
    /// 256 bytes of the packet lie ahead. `FIRST`: of block 0 on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn seal_group<const R: usize, const N: usize, const FIRST: bool>(
        &mut self,
        bytes: usize,
    ) {
        // SAFETY: the caller's promise, passed on.
        let blocks = unsafe { self.encrypt_ahead::<R, N, FIRST>(bytes) };
        let mut products = Products::zero();
        // SAFETY: powers 16 to 1, the whole table.
        unsafe { products.add(&blocks, self.hash, power(self.unit.key, 16)) };
        self.hash = products.reduce();
    }

    /// Encrypts and hashes the last `bytes` (1 to 256), and then the lengths.
    ///
    /// # Safety
    /// `bytes` bytes of the packet lie ahead.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn seal_last<const R: usize, const FIRST: bool>(&mut self, bytes: usize) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match bytes.div_ceil(VECTOR) {
                1 => self.seal_last_vectors::<R, 1, FIRST>(bytes),
                2 => self.seal_last_vectors::<R, 2, FIRST>(bytes),
                3 => self.seal_last_vectors::<R, 3, FIRST>(bytes),
                _ => self.seal_last_vectors::<R, 4, FIRST>(bytes),
            }
        }
    }

    /// # Safety
    /// As [`Self::seal_last`], and `bytes` fill `N` vectors, the last perhaps in part.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn seal_last_vectors<const R: usize, const N: usize, const FIRST: bool>(&mut self, bytes: usize) {
        // SAFETY: the caller's promise, passed on.
        let blocks = unsafe { self.encrypt_ahead::<R, N, FIRST>(bytes) };
        self.finish_hash(&blocks, bytes);
    }

    /// Encrypts `bytes` in `N` vectors and moves on; returns them as hash blocks, zero behind the end.
    ///
    /// # Safety
    /// As [`Self::seal_last_vectors`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn encrypt_ahead<const R: usize, const N: usize, const FIRST: bool>(
        &mut self,
        bytes: usize,
    ) -> [__m512i; N] {
        let counters = if FIRST { self.first_counters() } else { self.next_counters() };
        let keystream = encrypt::<R, N>(self.unit.key, counters);
        let mut blocks = [_mm512_setzero_si512(); N];
        for (v, block) in blocks.iter_mut().enumerate() {
            let part = part(bytes, v, N);
            // SAFETY: `part` masks what lies behind the `bytes` that the caller promised.
            let plain = unsafe { _mm512_maskz_loadu_epi8(part, self.at.add(v * VECTOR).cast()) };
            let mut cipher = _mm512_xor_si512(plain, keystream[v]);
            if FIRST && v == 0 {
                let head = _mm_set_epi64x(
                    self.unit.iv.swap_bytes().cast_signed(),
                    self.unit.header.swap_bytes().cast_signed(),
                );
                cipher = _mm512_mask_mov_epi64(cipher, LANE_0, _mm512_castsi128_si512(head));
            }
            // SAFETY: as for the load.
            unsafe { _mm512_mask_storeu_epi8(self.at.add(v * VECTOR).cast(), part, cipher) };
            let whole = if v + 1 < N { cipher } else { _mm512_maskz_mov_epi8(part, cipher) };
            *block = _mm512_shuffle_epi8(whole, reversal());
        }
        if FIRST {
            self.mask = _mm512_castsi512_si128(keystream[0]);
            blocks[0] = self.with_associated_data(blocks[0]);
        }
        // SAFETY: only the last group may be shorter than N vectors, and nothing is read behind it but the ICV.
        self.at = unsafe { self.at.add(bytes) };
        blocks
    }

    /// # Safety
    /// 256 bytes of the packet lie ahead. `FIRST`: of block 0 on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn hash_group<const FIRST: bool>(&mut self) {
        // SAFETY: the caller's promise, passed on.
        let blocks = unsafe { self.load_ahead::<4, FIRST>(GROUP) };
        let mut products = Products::zero();
        // SAFETY: powers 16 to 1, the whole table.
        unsafe { products.add(&blocks, self.hash, power(self.unit.key, 16)) };
        self.hash = products.reduce();
    }

    /// # Safety
    /// `bytes` bytes of the packet lie ahead; they fill `N` vectors, the last perhaps in part.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn hash_last<const N: usize, const FIRST: bool>(&mut self, bytes: usize) {
        // SAFETY: the caller's promise, passed on.
        let blocks = unsafe { self.load_ahead::<N, FIRST>(bytes) };
        self.finish_hash(&blocks, bytes);
    }

    /// # Safety
    /// As [`Self::hash_last`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn load_ahead<const N: usize, const FIRST: bool>(&mut self, bytes: usize) -> [__m512i; N] {
        let mut blocks = [_mm512_setzero_si512(); N];
        for (v, block) in blocks.iter_mut().enumerate() {
            // Block 0 is not read: the associated data takes its place.
            let part = part(bytes, v, N) & if FIRST && v == 0 { !0xffff } else { !0 };
            // SAFETY: `part` masks what lies behind the `bytes` that the caller promised.
            let data = unsafe { _mm512_maskz_loadu_epi8(part, self.at.wrapping_add(v * VECTOR).cast()) };
            *block = _mm512_shuffle_epi8(data, reversal());
        }
        if FIRST {
            blocks[0] = self.with_associated_data(blocks[0]);
        }
        self.at = self.at.wrapping_add(bytes);
        blocks
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn with_associated_data(&self, block: __m512i) -> __m512i {
        let (high, low) = self.unit.aad;
        let aad = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
        _mm512_mask_mov_epi64(block, LANE_0, _mm512_castsi128_si512(aad))
    }

    /// Hashes the last group and the block of lengths. Blocks behind `bytes` are zero, so it does not matter which
    /// power they meet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn finish_hash<const N: usize>(&mut self, blocks: &[__m512i; N], bytes: usize) {
        let key = self.unit.key;
        let lengths = _mm_set_epi64x(self.unit.aad_bits.cast_signed(), self.unit.text_bits.cast_signed());
        let count = bytes.div_ceil(16);
        let mut products = Products::zero();
        if N == 4 && count == 16 {
            // SAFETY: powers 16 to 1, the whole table.
            unsafe { products.add(blocks, self.hash, power(key, 16)) };
            let so_far = products.reduce();
            products = Products::zero();
            // SAFETY: power 1, and three lanes behind the table that meet zeros.
            unsafe { products.add(&[_mm512_zextsi128_si512(lengths)], so_far, power(key, 1)) };
        } else {
            // SAFETY: powers count + 1 (at most 16) downwards; lanes behind the table meet zeros.
            unsafe {
                products.add(blocks, self.hash, power(key, count + 1));
                products.add(&[_mm512_zextsi128_si512(lengths)], _mm_setzero_si128(), power(key, 1));
            }
        }
        self.hash = products.reduce();
    }

    /// Goes to the body, whose first block has counter 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn skip_header(&mut self) {
        self.at = self.at.wrapping_add(16);
        self.counters = _mm512_setr_epi32(0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn tag(&self) -> __m128i {
        _mm_xor_si128(_mm_shuffle_epi8(self.hash, _mm512_castsi512_si128(reversal())), self.mask)
    }

    /// Makes the keystream of `bytes` in `N` vectors and applies it.
    ///
    /// # Safety
    /// As [`Self::hash_last`]; not the packet's first group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn crypt_group<const R: usize, const N: usize>(&mut self, bytes: usize) {
        let counters = self.next_counters();
        // SAFETY: the caller's promise, passed on.
        unsafe { self.apply::<N, false>(encrypt::<R, N>(self.unit.key, counters), bytes) };
    }

    /// # Safety
    /// As [`Self::hash_last`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn apply<const N: usize, const FIRST: bool>(
        &mut self,
        mut keystream: [__m512i; N],
        bytes: usize,
    ) {
        if FIRST {
            // The header stays as it is.
            keystream[0] = _mm512_maskz_mov_epi64(!LANE_0, keystream[0]);
        }
        for (v, stream) in keystream.iter().enumerate() {
            let part = part(bytes, v, N);
            // SAFETY: `part` masks what lies behind the `bytes` that the caller promised.
            unsafe {
                let at = self.at.add(v * VECTOR);
                let data = _mm512_maskz_loadu_epi8(part, at.cast());
                _mm512_mask_storeu_epi8(at.cast(), part, _mm512_xor_si512(data, *stream));
            }
        }
        // SAFETY: the bytes lie in the packet.
        self.at = unsafe { self.at.add(bytes) };
    }
}

/// The two 64-bit elements of a vector's first lane.
const LANE_0: __mmask8 = 0b11;

/// Which bytes of vector `v` of `n` are data, when `bytes` fill them up to somewhere in the last.
#[inline]
#[target_feature(enable = "bmi2")]
fn part(bytes: usize, v: usize, n: usize) -> __mmask64 {
    if v + 1 < n {
        return !0;
    }
    #[allow(clippy::cast_possible_truncation, reason = "at most 64 when it is the last vector")]
    let ahead = (bytes - v * VECTOR) as u32;
    _bzhi_u64(!0, ahead)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn encrypt<const R: usize, const N: usize>(key: &Key, mut blocks: [__m512i; N]) -> [__m512i; N] {
    let first = round_key(key, 0);
    for block in &mut blocks {
        *block = _mm512_xor_si512(*block, first);
    }
    for round in 1..R {
        let round_key = round_key(key, round);
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, round_key);
        }
    }
    let last = round_key(key, R);
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, last);
    }
    blocks
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn round_key(key: &Key, round: usize) -> __m512i {
    // SAFETY: 16 readable bytes, no alignment asked for.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(key.schedule[round].as_ptr().cast()) })
}

/// Turns every block's bytes round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn reversal() -> __m512i {
    _mm512_broadcast_i32x4(_mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
}
