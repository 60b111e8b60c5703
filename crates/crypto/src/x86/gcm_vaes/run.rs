//! One packet on its way through AES-GCM: counters, keystream, hash.
//!
//! Decides nothing. Reads and writes: the packet of its unit. Never: compares an ICV.

use core::arch::x86_64::*;

use super::aes::{encrypt, encrypt_beside, round_key};
use super::{GROUP, VECTOR};
use crate::x86::gcm::Unit;
use crate::x86::ghash_vpclmul::{Hash, Pending, Powers, Products, power, reversal};

/// The state of one packet under way.
pub(super) struct Run<'a> {
    pub(super) unit: &'a Unit<'a>,
    pub(super) at: *mut u8,
    /// Salt and IV in every lane, the counter words 0; and to all of it the first round key is added.
    nonce: __m512i,
    /// Counter of the next group's first block.
    counter: u32,
}

impl<'a> Run<'a> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn new(unit: &'a Unit<'a>) -> Self {
        let salt = u64::from(u32::from_le_bytes(unit.key.salt));
        let iv = unit.iv.swap_bytes();
        let nonce = _mm_set_epi64x((iv >> 32).cast_signed(), (salt | iv << 32).cast_signed());
        Self::with(unit, _mm512_broadcast_i32x4(nonce))
    }

    /// As [`Self::new`], where header and IV stand in the packet: fewer instructions than by way of integers.
    ///
    /// # Safety
    /// `unit.packet` points to 20 readable bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn of_packet(unit: &'a Unit<'a>) -> Self {
        // The IV lies between the sequence number and the body; salt and counter take their places.
        const IV: __mmask16 = 0x6666;
        const SALT: __mmask16 = 0x1111;
        // SAFETY: the caller's promise.
        let around = unsafe { _mm_loadu_si128(unit.packet.add(4).cast()) };
        let nonce = _mm512_maskz_broadcast_i32x4(IV, around);
        Self::with(unit, _mm512_mask_set1_epi32(nonce, SALT, i32::from_le_bytes(unit.key.salt)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn with(unit: &'a Unit<'a>, nonce: __m512i) -> Self {
        Self { unit, at: unit.packet, nonce: _mm512_xor_si512(nonce, round_key(unit.key, 0)), counter: 1 }
    }

    /// The counter blocks of the next group, as far as `N` vectors of them, with the first round key added. The packet's
    /// first block has counter 1: J0 in GCM, which takes the header's place.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn counters<const N: usize>(&mut self) -> [__m512i; N] {
        let first = self.counter;
        self.counter += 16;
        let mut counters = [self.nonce; N];
        for (v, counter) in counters.iter_mut().enumerate() {
            // SAFETY: 64 readable bytes of a table, no alignment asked for.
            let number = unsafe {
                if first < READY {
                    let vector = COUNTERS.as_ptr().cast::<u8>().add((first as usize - 1) * 16 + v * VECTOR);
                    _mm512_loadu_si512(vector.cast())
                } else {
                    let offsets = _mm512_loadu_si512(OFFSETS[v].as_ptr().cast());
                    let first = _mm512_maskz_set1_epi32(WORDS, first.cast_signed());
                    _mm512_shuffle_epi8(_mm512_add_epi32(first, offsets), swap())
                }
            };
            *counter = _mm512_xor_si512(*counter, number);
        }
        counters
    }

    /// Encrypts the packet's first `bytes` in `N` vectors, block 0 among them, and moves on; returns them as hash
    /// blocks, zero behind the end.
    ///
    /// # Safety
    /// `bytes` bytes of the packet lie ahead; they fill `N` vectors, the last perhaps in part.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn encrypt_first<const R: usize, const N: usize>(
        &mut self,
        hash: &mut Hash,
        bytes: usize,
    ) -> [__m512i; N] {
        let keystream = encrypt::<R, N>(self.unit.key, self.counters());
        hash.mask = _mm512_castsi512_si128(keystream[0]);
        // SAFETY: the caller's promise, passed on.
        unsafe { self.write_ahead::<N, true>(keystream, bytes) }
    }

    /// As [`Self::encrypt_first`] for a later group; meanwhile the group before it, `blocks`, is hashed.
    ///
    /// # Safety
    /// As [`Self::encrypt_first`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn encrypt_next<P: Powers, const R: usize, const N: usize>(
        &mut self,
        (hash, ahead): (&mut Hash, usize),
        blocks: [__m512i; 4],
        bytes: usize,
    ) -> [__m512i; N] {
        self.fetch_next();
        // SAFETY: the unit's key.
        let mut pending = unsafe { Pending::<P>::new(blocks, hash, ahead, self.unit.key) };
        let counters = self.counters();
        let keystream = encrypt_beside::<P, R, N, false, false>(self.unit.key, counters, &mut pending);
        pending.settle(hash, ahead);
        // SAFETY: the caller's promise, passed on.
        unsafe { self.write_ahead::<N, false>(keystream, bytes) }
    }

    /// # Safety
    /// As [`Self::encrypt_first`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn write_ahead<const N: usize, const FIRST: bool>(
        &mut self,
        keystream: [__m512i; N],
        bytes: usize,
    ) -> [__m512i; N] {
        let mut blocks = [_mm512_setzero_si512(); N];
        for (v, block) in blocks.iter_mut().enumerate() {
            let part = part(bytes, v, N);
            // SAFETY: `part` masks what lies behind the `bytes` that the caller promised.
            let plain = unsafe { _mm512_maskz_loadu_epi8(part, self.at.add(v * VECTOR).cast()) };
            // The header stays as it is.
            let secret = if FIRST && v == 0 { !LANE_0 } else { !0 };
            let cipher = _mm512_mask_xor_epi64(plain, secret, plain, keystream[v]);
            // SAFETY: as for the load.
            unsafe { _mm512_mask_storeu_epi8(self.at.add(v * VECTOR).cast(), part, cipher) };
            let whole = if v + 1 < N { cipher } else { _mm512_maskz_mov_epi8(part, cipher) };
            *block = _mm512_shuffle_epi8(whole, reversal());
        }
        if FIRST {
            blocks[0] = self.with_associated_data(blocks[0]);
        }
        // SAFETY: only the last group may be shorter than N vectors, and nothing is read behind it but the ICV.
        self.at = unsafe { self.at.add(bytes) };
        blocks
    }

    /// Asks for the lines of the next packet that lie where this one's group does. A batch of long packets is more than
    /// a first-level cache holds.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn fetch_next(&self) {
        let next = self.unit.next.wrapping_add(self.at.addr() - self.unit.packet.addr());
        for line in 0..4 {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line * 64).cast());
        }
    }

    /// Decrypts a whole group, and hashes it meanwhile.
    ///
    /// # Safety
    /// 256 bytes of the packet lie ahead. `FIRST`: of block 0 on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn decrypt_group<P: Powers, const R: usize, const FIRST: bool>(
        &mut self,
        hash: &mut Hash,
        ahead: usize,
    ) {
        self.fetch_next();
        // SAFETY: the caller's promise; the unit's key.
        let mut pending =
            unsafe { Pending::<P>::new(self.data_ahead::<4, FIRST>(GROUP).1, hash, ahead, self.unit.key) };
        let counters = self.counters();
        let keystream = encrypt_beside::<P, R, 4, true, FIRST>(self.unit.key, counters, &mut pending);
        if FIRST {
            hash.mask = _mm512_castsi512_si128(keystream[0]);
        }
        pending.settle(hash, ahead);
        // SAFETY: the caller's promise, passed on.
        unsafe { self.apply::<4, FIRST>(keystream, GROUP) };
    }

    /// Decrypts the end of the packet; returns what makes the tag.
    ///
    /// # Safety
    /// As [`Self::read_last`]. `FIRST`: of block 0 on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn decrypt_last<const R: usize, const N: usize, const FIRST: bool>(
        &mut self,
        hash: &mut Hash,
        bytes: usize,
    ) -> Products {
        let keystream = encrypt::<R, N>(self.unit.key, self.counters());
        if FIRST {
            hash.mask = _mm512_castsi512_si128(keystream[0]);
        }
        // SAFETY: the caller's promise, passed on; `part` masks what lies behind.
        unsafe {
            let (data, products) = self.read_last::<N, FIRST>(hash, bytes);
            for (v, (data, keystream)) in data.iter().zip(&keystream).enumerate() {
                // The header stays as it is.
                let part = part(bytes, v, N) & if FIRST && v == 0 { !0xffff } else { !0 };
                let plain = _mm512_xor_si512(*data, *keystream);
                _mm512_mask_storeu_epi8(self.at.add(v * VECTOR).cast(), part, plain);
            }
            products
        }
    }

    /// Hashes the end of the packet; returns what was read, too.
    ///
    /// # Safety
    /// `bytes` bytes of the packet lie ahead; they fill `N` vectors, the last perhaps in part.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn read_last<const N: usize, const FIRST: bool>(
        &self,
        hash: &Hash,
        bytes: usize,
    ) -> ([__m512i; N], Products) {
        // SAFETY: the caller's promise, passed on.
        let (data, blocks) = unsafe { self.data_ahead::<N, FIRST>(bytes) };
        (data, self.finish_hash(hash, &blocks, bytes))
    }

    /// What lies ahead, zero behind its end, and the same as hash blocks.
    ///
    /// # Safety
    /// As [`Self::read_last`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn data_ahead<const N: usize, const FIRST: bool>(
        &self,
        bytes: usize,
    ) -> ([__m512i; N], [__m512i; N]) {
        let mut data = [_mm512_setzero_si512(); N];
        let mut blocks = data;
        for (v, block) in blocks.iter_mut().enumerate() {
            // Block 0 is not read where other associated data takes its place.
            let hidden = FIRST && v == 0 && !self.unit.plain_aad;
            let part = part(bytes, v, N) & if hidden { !0xffff } else { !0 };
            // SAFETY: `part` masks what lies behind the `bytes` that the caller promised.
            data[v] = unsafe { _mm512_maskz_loadu_epi8(part, self.at.wrapping_add(v * VECTOR).cast()) };
            *block = _mm512_shuffle_epi8(data[v], reversal());
        }
        if FIRST {
            blocks[0] = self.with_associated_data(blocks[0]);
        }
        (data, blocks)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn with_associated_data(&self, block: __m512i) -> __m512i {
        if self.unit.plain_aad {
            return _mm512_maskz_mov_epi64(!1, block); // without the IV
        }
        let (high, low) = self.unit.aad;
        let aad = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
        _mm512_mask_mov_epi64(block, LANE_0, _mm512_castsi128_si512(aad))
    }

    /// Hashes the last group and the block of lengths, all but the reduction, and masks the sum. Blocks behind `bytes` are
    /// zero, so it does not matter which power they meet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn finish_hash<const N: usize>(
        &self,
        hash: &Hash,
        blocks: &[__m512i; N],
        bytes: usize,
    ) -> Products {
        let key = self.unit.key;
        let before = hash.whole();
        let aad_bits = _mm512_set1_epi64(self.unit.aad_bits.cast_signed());
        let lengths = _mm512_mask_set1_epi64(aad_bits, 0x55, self.unit.text_bits.cast_signed());
        let count = bytes.div_ceil(16);
        let free = (4 * N - count) % 4;
        let products = if free > 0 {
            // The block of lengths rides in the lane behind the last block.
            let mut blocks = *blocks;
            blocks[N - 1] = _mm512_mask_mov_epi64(blocks[N - 1], LANE_0 << (8 - 2 * free), lengths);
            // SAFETY: powers count + 1 (at most 16) downwards; lanes behind the table meet zeros.
            unsafe { Products::of(&blocks, before, power(key, count + 1)) }
        } else {
            let mut lengths = _mm512_maskz_mov_epi64(LANE_0, lengths);
            let mut products = Products::zero();
            if N == 4 {
                // SAFETY: powers 16 to 1, the whole table.
                let so_far = unsafe { Products::of(blocks, before, power(key, 16)) }.reduce();
                lengths = _mm512_xor_si512(lengths, _mm512_zextsi128_si512(so_far));
            } else {
                // SAFETY: powers count + 1 downwards.
                products = unsafe { Products::of(blocks, before, power(key, count + 1)) };
            }
            // SAFETY: power 1, and three lanes behind the table that meet zeros.
            unsafe { products.add(lengths, power(key, 1)) };
            products
        };
        products.masked(hash.mask)
    }

    /// Makes the keystream of `bytes` in `N` vectors and applies it.
    ///
    /// # Safety
    /// As [`Self::read_last`]; not the packet's first group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn crypt_group<const R: usize, const N: usize>(&mut self, bytes: usize) {
        let counters = self.counters();
        // SAFETY: the caller's promise, passed on.
        unsafe { self.apply::<N, false>(encrypt::<R, N>(self.unit.key, counters), bytes) };
    }

    /// # Safety
    /// As [`Self::read_last`].
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
pub(super) fn part(bytes: usize, v: usize, n: usize) -> __mmask64 {
    if v + 1 < n {
        return !0;
    }
    #[allow(clippy::cast_possible_truncation, reason = "at most 64 when it is the last vector")]
    let ahead = (bytes - v * VECTOR) as u32;
    _bzhi_u64(!0, ahead)
}

/// The counter words of a vector.
const WORDS: __mmask16 = 0x8888;

/// Counters before this one stand in a table: those of packets up to 3,840 bytes.
#[allow(clippy::cast_possible_truncation, reason = "241")]
const READY: u32 = 1 + 4 * COUNTERS.len() as u32;

/// Four counters in each vector, from 1 on, as big-endian words. No more than one byte of such a word is not 0.
static COUNTERS: [[u32; 16]; 60] = words(1, 24);

/// What the blocks of a group add to its first counter: 0 to 15 in four vectors.
static OFFSETS: [[u32; 16]; 4] = words(0, 0);

/// Numbers from `first` on in the counter words of vectors.
#[allow(clippy::cast_possible_truncation, reason = "up to 240")]
const fn words<const VECTORS: usize>(first: u32, shift: u32) -> [[u32; 16]; VECTORS] {
    let mut words = [[0; 16]; VECTORS];
    let mut block = 0;
    while block < 4 * VECTORS {
        words[block / 4][block % 4 * 4 + 3] = (first + block as u32) << shift;
        block += 1;
    }
    words
}

/// Turns the bytes of the counter words round; the other words become 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn swap() -> __m512i {
    _mm512_broadcast_i32x4(_mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 15, 14, 13, 12))
}
