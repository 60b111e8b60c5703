//! Between packets and lanes: a message lies in a row, a lane's word in a column.
//!
//! Decides nothing. Reads: messages, pad states, digests in rows. Writes: digests.

use core::arch::x86_64::*;

/// How the words of one width are turned.
pub(in crate::x86) trait Turn {
    const LANES: usize;
    /// Bytes per word.
    const WORD: usize;

    /// One block of each lane: vector n of the answer has word n of all lanes, in native byte order.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and DQ; each of the first `LANES` pointers has a whole block behind `offset`.
    unsafe fn block(at: &[*const u8; 16], offset: usize) -> [__m512i; 16];

    /// Eight words of each lane from each of two places, in native byte order.
    ///
    /// # Safety
    /// The CPU as above; each of the first `LANES` pointers of both has eight words.
    unsafe fn words(first: &[*const u8; 16], second: &[*const u8; 16]) -> [[__m512i; 8]; 2];

    /// Eight words of each lane, big-endian, in rows.
    ///
    /// # Safety
    /// The CPU as above.
    unsafe fn rows(words: &[__m512i; 8], rows: &mut [[u8; 64]; 16]);
}

/// Words of 32 bits in sixteen lanes.
pub(in crate::x86) struct Narrow;

impl Turn for Narrow {
    const LANES: usize = 16;
    const WORD: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn block(at: &[*const u8; 16], offset: usize) -> [__m512i; 16] {
        let mut rows = [_mm512_setzero_si512(); 16];
        for (row, at) in rows.iter_mut().zip(at) {
            // SAFETY: the caller's promise.
            let bytes = unsafe { _mm512_loadu_si512(at.wrapping_add(offset).cast()) };
            *row = _mm512_shuffle_epi8(bytes, swap_32());
        }
        transpose(rows)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn words(first: &[*const u8; 16], second: &[*const u8; 16]) -> [[__m512i; 8]; 2] {
        let mut rows = [_mm512_setzero_si512(); 16];
        for ((row, first), second) in rows.iter_mut().zip(first).zip(second) {
            // SAFETY: the caller's promise: eight words are 32 bytes.
            let (low, high) =
                unsafe { (_mm256_loadu_si256(first.cast()), _mm256_loadu_si256(second.cast())) };
            *row = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = transpose(rows);
        [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn rows(words: &[__m512i; 8], rows: &mut [[u8; 64]; 16]) {
        let mut columns = [_mm512_setzero_si512(); 16];
        columns[..8].copy_from_slice(words);
        for (bytes, row) in rows.iter_mut().zip(transpose(columns)) {
            // SAFETY: 64 writable bytes.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_shuffle_epi8(row, swap_32())) };
        }
    }
}

/// Words of 64 bits in eight lanes.
pub(in crate::x86) struct Wide;

impl Turn for Wide {
    const LANES: usize = 8;
    const WORD: usize = 8;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn block(at: &[*const u8; 16], offset: usize) -> [__m512i; 16] {
        // SAFETY: the caller's promise: a block is 128 bytes.
        let (mut low, mut high) = unsafe { (rows_of_8(at, offset), rows_of_8(at, offset + 64)) };
        for row in low.iter_mut().chain(&mut high) {
            *row = _mm512_shuffle_epi8(*row, swap_64());
        }
        let [a, b, c, d, e, f, g, h] = transpose_8(low);
        let [i, j, k, l, m, n, o, p] = transpose_8(high);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn words(first: &[*const u8; 16], second: &[*const u8; 16]) -> [[__m512i; 8]; 2] {
        // SAFETY: the caller's promise: eight words are 64 bytes.
        unsafe { [transpose_8(rows_of_8(first, 0)), transpose_8(rows_of_8(second, 0))] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn rows(words: &[__m512i; 8], rows: &mut [[u8; 64]; 16]) {
        for (bytes, row) in rows.iter_mut().zip(transpose_8(*words)) {
            // SAFETY: 64 writable bytes.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_shuffle_epi8(row, swap_64())) };
        }
    }
}

/// # Safety
/// Each of the first eight pointers has 64 readable bytes behind `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn rows_of_8(at: &[*const u8; 16], offset: usize) -> [__m512i; 8] {
    let mut rows = [_mm512_setzero_si512(); 8];
    for (row, at) in rows.iter_mut().zip(at) {
        // SAFETY: the caller's promise.
        *row = unsafe { _mm512_loadu_si512(at.wrapping_add(offset).cast()) };
    }
    rows
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn swap_32() -> __m512i {
    _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn swap_64() -> __m512i {
    _mm512_broadcast_i32x4(_mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8))
}

/// An 8 × 8 matrix of 64-bit words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn transpose_8(rows: [__m512i; 8]) -> [__m512i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let low = |x, y| _mm512_unpacklo_epi64(x, y);
    let high = |x, y| _mm512_unpackhi_epi64(x, y);
    // even[q], lane l: word 2 l of rows 2 q and 2 q + 1; odd: word 2 l + 1.
    let (even, odd) =
        ([low(a, b), low(c, d), low(e, f), low(g, h)], [high(a, b), high(c, d), high(e, f), high(g, h)]);
    let turn = |[p, q, r, s]: [__m512i; 4]| {
        let (pq_even, pq_odd) = (_mm512_shuffle_i64x2::<0x88>(p, q), _mm512_shuffle_i64x2::<0xdd>(p, q));
        let (rs_even, rs_odd) = (_mm512_shuffle_i64x2::<0x88>(r, s), _mm512_shuffle_i64x2::<0xdd>(r, s));
        [
            _mm512_shuffle_i64x2::<0x88>(pq_even, rs_even),
            _mm512_shuffle_i64x2::<0x88>(pq_odd, rs_odd),
            _mm512_shuffle_i64x2::<0xdd>(pq_even, rs_even),
            _mm512_shuffle_i64x2::<0xdd>(pq_odd, rs_odd),
        ]
    };
    let ([w0, w2, w4, w6], [w1, w3, w5, w7]) = (turn(even), turn(odd));
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// A 16 × 16 matrix of 32-bit words: first within 128-bit lanes, then the lanes themselves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(in crate::x86) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut quarter = rows;
    for q in 0..4 {
        let [a, b, c, d] = [rows[q * 4], rows[q * 4 + 1], rows[q * 4 + 2], rows[q * 4 + 3]];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        quarter[q * 4] = _mm512_unpacklo_epi64(ab_low, cd_low);
        quarter[q * 4 + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
        quarter[q * 4 + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        quarter[q * 4 + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // quarter[q * 4 + w], lane l: word 4 l + w of rows 4 q to 4 q + 3.
    let mut columns = rows;
    for w in 0..4 {
        let [a, b, c, d] = [quarter[w], quarter[4 + w], quarter[8 + w], quarter[12 + w]];
        let (ab_even, ab_odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        columns[w] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
        columns[8 + w] = _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even);
        columns[4 + w] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        columns[12 + w] = _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd);
    }
    columns
}
