//! ChaCha20 on AVX-512: sixteen blocks at a time.
//!
//! Decides nothing. Reads: rows. Reads and writes: the bytes that they belong to.

use core::arch::x86_64::*;

use super::chacha::Waiting;
use super::sha_avx512::transpose;

/// Makes the keystream of the first `filled` rows and adds it to their bytes.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL and DQ. `filled` is at most 16; their bytes, at most 64 each, are valid and nobody
/// else's.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn crypt(waiting: &Waiting<16>, filled: usize) {
    let mut rows = [_mm512_setzero_si512(); 16];
    for (vector, row) in rows.iter_mut().zip(&waiting.rows) {
        // SAFETY: a row is 64 bytes.
        *vector = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
    }
    let keystream = transpose(rounds(transpose(rows)));
    for (lane, block) in keystream.iter().enumerate().take(filled) {
        let part = u64::MAX >> (64 - waiting.bytes[lane]);
        let to = waiting.to[lane];
        // SAFETY: the caller's promise; the mask leaves no other bytes.
        unsafe {
            let data = _mm512_maskz_loadu_epi8(part, to.cast());
            _mm512_mask_storeu_epi8(to.cast(), part, _mm512_xor_si512(data, *block));
        }
    }
}

/// Twenty rounds and the addition of the start (RFC 8439 §2.3), word by word across lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn rounds(start: [__m512i; 16]) -> [__m512i; 16] {
    let mut x = start;
    for _ in 0..10 {
        quarters!(x, [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]);
        quarters!(x, [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]);
    }
    for (word, start) in x.iter_mut().zip(start) {
        *word = _mm512_add_epi32(*word, start);
    }
    x
}

/// Four quarter rounds side by side. A macro, because as a function it is not inlined, and the words go to memory.
macro_rules! quarters {
    ($x:ident, $([$a:literal, $b:literal, $c:literal, $d:literal]),*) => {
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<16>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<12>(_mm512_xor_si512($x[$b], $x[$c]));)*
        $($x[$a] = _mm512_add_epi32($x[$a], $x[$b]);)*
        $($x[$d] = _mm512_rol_epi32::<8>(_mm512_xor_si512($x[$d], $x[$a]));)*
        $($x[$c] = _mm512_add_epi32($x[$c], $x[$d]);)*
        $($x[$b] = _mm512_rol_epi32::<7>(_mm512_xor_si512($x[$b], $x[$c]));)*
    };
}
use quarters;
