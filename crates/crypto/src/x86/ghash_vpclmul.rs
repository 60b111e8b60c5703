//! GHASH's arithmetic on 512-bit carry-less multiplication: products of many blocks, summed, and reduced once.
//!
//! Decides nothing. Reads: blocks, and the powers of a key. Never touches a packet.

mod pending;

use core::arch::x86_64::*;

use crate::Key;
pub(super) use pending::{EachBlock, EachVector, Hash, Pending, Powers, after_one, first_sum};

/// Sums of products before reduction: low, middle and high 128 bits per lane.
#[derive(Clone, Copy)]
pub(super) struct Products {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl Products {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: zero, middle: zero, high: zero }
    }

    /// Sums block × power, lane by lane; `before` is the hash of all that came before the first block.
    ///
    /// # Safety
    /// `powers` points to `N` × 64 readable bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn of<const N: usize>(
        blocks: &[__m512i; N],
        before: __m128i,
        powers: *const u8,
    ) -> Self {
        let mut sum = Self::zero();
        for (v, block) in blocks.iter().enumerate() {
            let block =
                if v == 0 { _mm512_xor_si512(*block, _mm512_zextsi128_si512(before)) } else { *block };
            // SAFETY: the caller's promise.
            unsafe { sum.add(block, powers.add(v * 64)) };
        }
        sum
    }

    /// # Safety
    /// `powers` points to 64 readable bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn add(&mut self, block: __m512i, powers: *const u8) {
        // SAFETY: the caller's promise.
        let power = unsafe { _mm512_loadu_si512(powers.cast()) };
        self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(block, power));
        self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(block, power));
        let crossed = _mm512_xor_si512(
            _mm512_clmulepi64_epi128::<0x01>(block, power),
            _mm512_clmulepi64_epi128::<0x10>(block, power),
        );
        self.middle = _mm512_xor_si512(self.middle, crossed);
    }

    /// The outer products of two vectors of blocks.
    ///
    /// # Safety
    /// `powers` points to as many readable bytes as two loads of `P` read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn add_ends<P: Powers>(&mut self, blocks: &[__m512i; 2], powers: *const u8) {
        let [a, b] = *blocks;
        // SAFETY: the caller's promise.
        let [p, q] = unsafe { [P::load(powers), P::load(powers.add(P::BYTES))] };
        self.low =
            sum3(self.low, _mm512_clmulepi64_epi128::<0x00>(a, p), _mm512_clmulepi64_epi128::<0x00>(b, q));
        self.high =
            sum3(self.high, _mm512_clmulepi64_epi128::<0x11>(a, p), _mm512_clmulepi64_epi128::<0x11>(b, q));
    }

    /// Their products of (low + high), for the middle.
    ///
    /// # Safety
    /// `halves` points to as many readable bytes as a load of `P` reads: the halves of the same powers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn add_halves<P: Powers>(&mut self, blocks: &[__m512i; 2], halves: *const u8) {
        let [a, b] = *blocks;
        let sums = _mm512_xor_si512(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        // SAFETY: the caller's promise.
        let halves = unsafe { P::load(halves) };
        self.middle = sum3(
            self.middle,
            _mm512_clmulepi64_epi128::<0x00>(sums, halves),
            _mm512_clmulepi64_epi128::<0x11>(sums, halves),
        );
    }

    /// The middle of products made by Karatsuba's way, which holds low and high ones too until then.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn settle_middle(&mut self) {
        self.middle = sum3(self.middle, self.low, self.high);
    }

    /// Each lane for itself.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn reduce_lanes(mut self) -> __m512i {
        self.settle_middle();
        let low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(self.middle));
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(self.middle));
        reduce(low, high)
    }

    /// Reduces once.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn reduce(self) -> __m128i {
        let (low, high) = self.halves();
        reduce_second(reduce_first(low), high)
    }

    /// What the tag is masked with belongs to the sum from now on: reduction leaves the high half as it is.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn masked(mut self, mask: __m128i) -> Self {
        let mask = _mm512_maskz_shuffle_epi8(0xffff, _mm512_castsi128_si512(mask), reversal());
        self.high = _mm512_xor_si512(self.high, mask);
        self
    }

    /// The tag, of a masked sum.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn tag(self) -> __m128i {
        _mm_shuffle_epi8(self.reduce(), _mm512_castsi512_si128(reversal()))
    }

    /// The sum of all lanes: low and high 128 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn halves(self) -> (__m128i, __m128i) {
        let low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(self.middle));
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(self.middle));
        // Both at once: a pair of lanes for each.
        let pairs = _mm512_xor_si512(
            _mm512_shuffle_i64x2::<0x44>(low, high),
            _mm512_shuffle_i64x2::<0xee>(low, high),
        );
        let sums = _mm512_xor_si512(pairs, _mm512_shuffle_i64x2::<0xb1>(pairs, pairs));
        (_mm512_castsi512_si128(sums), _mm512_extracti32x4_epi32::<2>(sums))
    }
}

/// The masked sums of up to four packets, which are reduced together.
pub(super) struct Four {
    low: [__m512i; Self::SIZE],
    middle: [__m512i; Self::SIZE],
    high: [__m512i; Self::SIZE],
    len: usize,
}

/// The tags of up to four packets, a lane each.
#[derive(Clone, Copy)]
pub(super) struct Tags {
    tags: __m512i,
    len: usize,
}

impl Four {
    pub(super) const SIZE: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn new() -> Self {
        let zero = [_mm512_setzero_si512(); Self::SIZE];
        Self { low: zero, middle: zero, high: zero, len: 0 }
    }

    /// How many sums are in here.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// There is room for one more.
    #[inline]
    pub(super) fn push(&mut self, products: Products) {
        let at = self.len;
        (self.low[at], self.middle[at], self.high[at]) = (products.low, products.middle, products.high);
        self.len = at + 1;
    }

    /// Takes all out.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn take(&mut self) -> Tags {
        let [low, middle, high] = [sums(&self.low), sums(&self.middle), sums(&self.high)];
        let low = _mm512_xor_si512(low, _mm512_bslli_epi128::<8>(middle));
        let high = _mm512_xor_si512(high, _mm512_bsrli_epi128::<8>(middle));
        Tags { tags: _mm512_shuffle_epi8(reduce(low, high), reversal()), len: core::mem::take(&mut self.len) }
    }
}

impl Tags {
    /// # Safety
    /// As many of `places` as there are tags point to 16 bytes each that nobody else touches.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn store(self, places: &[*mut u8; Four::SIZE]) {
        let tags = [
            _mm512_castsi512_si128(self.tags),
            _mm512_extracti32x4_epi32::<1>(self.tags),
            _mm512_extracti32x4_epi32::<2>(self.tags),
            _mm512_extracti32x4_epi32::<3>(self.tags),
        ];
        for (tag, place) in tags.iter().zip(places).take(self.len) {
            // SAFETY: the caller's promise.
            unsafe { _mm_storeu_si128(place.cast(), *tag) };
        }
    }

    /// Which of them are what stands there, in constant time.
    ///
    /// # Safety
    /// As many of `icvs` as there are tags point to 16 readable bytes each, the first in any case.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn are(self, icvs: &[*const u8; Four::SIZE]) -> u8 {
        // SAFETY: the caller's promise; behind their number the first one stands in.
        let icv = |n: usize| unsafe { _mm_loadu_si128(icvs[if n < self.len { n } else { 0 }].cast()) };
        let first = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(icv(0)), icv(1));
        let icvs = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(first, icv(2)), icv(3));
        let halves = _mm512_cmpeq_epi64_mask(icvs, self.tags);
        #[allow(clippy::cast_possible_truncation, reason = "four bits")]
        let whole = _pext_u32(u32::from(halves & halves >> 1), 0x55) as u8;
        whole & ((1 << self.len) - 1)
    }
}

/// In lane n the sum of the lanes of vector n.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn sums([a, b, c, d]: &[__m512i; 4]) -> __m512i {
    let halves =
        |a, b| _mm512_xor_si512(_mm512_shuffle_i64x2::<0x44>(a, b), _mm512_shuffle_i64x2::<0xee>(a, b));
    let (ab, cd) = (halves(*a, *b), halves(*c, *d));
    _mm512_xor_si512(_mm512_shuffle_i64x2::<0x88>(ab, cd), _mm512_shuffle_i64x2::<0xdd>(ab, cd))
}

/// Holds the compiler to the order of the source: it would gather the rounds of one block, and with them the waiting.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn order(vector: &mut __m512i) {
    // SAFETY: no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(zmm_reg) * vector, options(nomem, nostack, preserves_flags))
    };
}

/// Montgomery's reduction, as POLYVAL has it (RFC 8452 §3), in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn reduce(low: __m512i, high: __m512i) -> __m512i {
    let poly = _mm512_broadcast_i32x4(polynomial());
    let swapped = |v| _mm512_shuffle_epi32::<0x4e>(v);
    let once = _mm512_xor_si512(swapped(low), _mm512_clmulepi64_epi128::<0x10>(low, poly));
    let twice = _mm512_clmulepi64_epi128::<0x10>(once, poly);
    _mm512_ternarylogic_epi64::<0x96>(high, swapped(once), twice)
}

/// Its two steps, of one lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn reduce_first(low: __m128i) -> __m128i {
    _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x10>(low, polynomial()))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn reduce_second(once: __m128i, high: __m128i) -> __m128i {
    let twice = _mm_clmulepi64_si128::<0x10>(once, polynomial());
    _mm_ternarylogic_epi64::<0x96>(high, _mm_shuffle_epi32::<0x4e>(once), twice)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn polynomial() -> __m128i {
    _mm_set_epi64x(0xc200_0000_0000_0000u64.cast_signed(), 1)
}

/// H^`n` and, behind it, the lower powers. 1 ≤ n ≤ 16.
#[inline]
pub(super) fn power(key: &Key, n: usize) -> *const u8 {
    const TABLE: usize = core::mem::offset_of!(Key, table);
    // From the whole key, because three lanes may lie behind the table; they are in the key still.
    core::ptr::from_ref(key).cast::<u8>().wrapping_add(TABLE + (16 - n) * 16)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn sum3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// Turns every block's bytes round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn reversal() -> __m512i {
    _mm512_broadcast_i32x4(_mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
}
