//! GHASH's arithmetic on 512-bit carry-less multiplication: products of many blocks, summed, and reduced once.
//!
//! Decides nothing. Reads: blocks, and the powers of a key. Never touches a packet.

use core::arch::x86_64::*;

use crate::Key;

/// Sums of products before reduction: low, middle and high 128 bits per lane.
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

    /// Adds block × power, lane by lane; `before` is the hash of all that came before the first block.
    ///
    /// # Safety
    /// `powers` points to `N` × 64 readable bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) unsafe fn add<const N: usize>(
        &mut self,
        blocks: &[__m512i; N],
        before: __m128i,
        powers: *const u8,
    ) {
        for (v, block) in blocks.iter().enumerate() {
            let block =
                if v == 0 { _mm512_xor_si512(*block, _mm512_zextsi128_si512(before)) } else { *block };
            // SAFETY: the caller's promise.
            let power = unsafe { _mm512_loadu_si512(powers.add(v * 64).cast()) };
            self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(block, power));
            self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(block, power));
            let cross = _mm512_clmulepi64_epi128::<0x01>(block, power);
            self.middle = _mm512_ternarylogic_epi64::<0x96>(
                self.middle,
                cross,
                _mm512_clmulepi64_epi128::<0x10>(block, power),
            );
        }
    }

    /// Folds the four lanes and reduces once (Montgomery's way, as POLYVAL has it: RFC 8452 §3).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(super) fn reduce(self) -> __m128i {
        let (low, middle, high) = (fold(self.low), fold(self.middle), fold(self.high));
        let low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
        let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
        let poly = _mm_set_epi64x(0xc200_0000_0000_0000u64.cast_signed(), 1);
        let once = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x10>(low, poly));
        let twice = _mm_clmulepi64_si128::<0x10>(once, poly);
        _mm_ternarylogic_epi64::<0x96>(high, _mm_shuffle_epi32::<0x4e>(once), twice)
    }
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
fn fold(lanes: __m512i) -> __m128i {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}
