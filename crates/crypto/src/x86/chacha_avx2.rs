//! ChaCha20 on AVX2: eight blocks at a time, for CPUs without AVX-512.
//!
//! Decides nothing. Reads: rows. Reads and writes: the bytes that they belong to.

use core::arch::x86_64::*;

use super::chacha::Waiting;

/// Makes the keystream of the first `filled` rows and adds it to their bytes.
///
/// # Safety
/// The CPU has AVX2. `filled` is at most 8; their bytes, at most 64 each, are valid and nobody else's.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn crypt(waiting: &Waiting<8>, filled: usize) {
    let mut start = [_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let mut rows = [_mm256_setzero_si256(); 8];
        for (vector, row) in rows.iter_mut().zip(&waiting.rows) {
            // SAFETY: half a row is 32 bytes.
            *vector = unsafe { _mm256_loadu_si256(row[half * 8..].as_ptr().cast()) };
        }
        start[half * 8..][..8].copy_from_slice(&transpose(rows));
    }
    let words = rounds(&start);
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = words;
    let first = transpose([a, b, c, d, e, f, g, h]);
    let second = transpose([i, j, k, l, m, n, o, p]);
    for (lane, (first, second)) in first.iter().zip(&second).enumerate().take(filled) {
        let (to, bytes) = (waiting.to[lane], waiting.bytes[lane]);
        // SAFETY: the caller's promise: `bytes` bytes at `to`.
        unsafe {
            if bytes == 64 {
                add(to, *first);
                add(to.add(32), *second);
                continue;
            }
            let mut block = [0u8; 64];
            core::ptr::copy_nonoverlapping(to, block.as_mut_ptr(), bytes);
            add(block.as_mut_ptr(), *first);
            add(block.as_mut_ptr().add(32), *second);
            core::ptr::copy_nonoverlapping(block.as_ptr(), to, bytes);
        }
    }
}

/// # Safety
/// 32 bytes at `to` are readable and writable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add(to: *mut u8, keystream: __m256i) {
    // SAFETY: the caller's promise.
    unsafe {
        let data = _mm256_loadu_si256(to.cast());
        _mm256_storeu_si256(to.cast(), _mm256_xor_si256(data, keystream));
    }
}

/// Twenty rounds and the addition of the start (RFC 8439 §2.3), word by word across lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn rounds(start: &[__m256i; 16]) -> [__m256i; 16] {
    let swap_16 =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    let turn_8 =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14));
    let mut x = *start;
    for _ in 0..10 {
        quarters!(x, swap_16, turn_8, [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]);
        quarters!(x, swap_16, turn_8, [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]);
    }
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm256_add_epi32(*word, *start);
    }
    x
}

/// Four quarter rounds side by side.
macro_rules! quarters {
    ($x:ident, $swap_16:ident, $turn_8:ident, $([$a:literal, $b:literal, $c:literal, $d:literal]),*) => {
        $($x[$a] = _mm256_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm256_shuffle_epi8(_mm256_xor_si256($x[$d], $x[$a]), $swap_16);)*
        $($x[$c] = _mm256_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = turn::<12, 20>(_mm256_xor_si256($x[$b], $x[$c]));)*
        $($x[$a] = _mm256_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm256_shuffle_epi8(_mm256_xor_si256($x[$d], $x[$a]), $turn_8);)*
        $($x[$c] = _mm256_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = turn::<7, 25>(_mm256_xor_si256($x[$b], $x[$c]));)*
    };
}
use quarters;

#[inline]
#[target_feature(enable = "avx2")]
fn turn<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

/// An 8 × 8 matrix of 32-bit words.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let mut quarter = rows;
    for q in 0..2 {
        let [a, b, c, d] = [rows[q * 4], rows[q * 4 + 1], rows[q * 4 + 2], rows[q * 4 + 3]];
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        quarter[q * 4] = _mm256_unpacklo_epi64(ab_low, cd_low);
        quarter[q * 4 + 1] = _mm256_unpackhi_epi64(ab_low, cd_low);
        quarter[q * 4 + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        quarter[q * 4 + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    // quarter[q * 4 + w], lane l: word 4 l + w of rows 4 q to 4 q + 3.
    let mut columns = rows;
    for w in 0..4 {
        columns[w] = _mm256_permute2x128_si256::<0x20>(quarter[w], quarter[4 + w]);
        columns[4 + w] = _mm256_permute2x128_si256::<0x31>(quarter[w], quarter[4 + w]);
    }
    columns
}
