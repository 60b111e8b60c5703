//! AES on up to four vectors of blocks, alone or with a hash under way beside it.
//!
//! Decides nothing. Reads: round keys. Never touches a packet.

use core::arch::x86_64::*;

use crate::Key;
use crate::x86::ghash_vpclmul::{Pending, Powers, order};

/// The rounds of blocks to which the first round key is added already (`Run::counters`).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn encrypt<const R: usize, const N: usize>(key: &Key, mut blocks: [__m512i; N]) -> [__m512i; N] {
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

/// [`encrypt`] of a whole group or of a packet's end, and the hash of another group beside it. `OPEN` and `FIRST` make no
/// difference but that each caller has one of its own: what is called from one place alone is inlined there, vectors in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn encrypt_beside<
    P: Powers,
    const R: usize,
    const N: usize,
    const OPEN: bool,
    const FIRST: bool,
>(
    key: &Key,
    mut blocks: [__m512i; N],
    hash: &mut Pending<P>,
) -> [__m512i; N] {
    // One by one, because a loop over steps that differ is not unrolled.
    round::<P, 1, N>(key, &mut blocks, hash);
    round::<P, 2, N>(key, &mut blocks, hash);
    round::<P, 3, N>(key, &mut blocks, hash);
    round::<P, 4, N>(key, &mut blocks, hash);
    round::<P, 5, N>(key, &mut blocks, hash);
    round::<P, 6, N>(key, &mut blocks, hash);
    round::<P, 7, N>(key, &mut blocks, hash);
    round::<P, 8, N>(key, &mut blocks, hash);
    round::<P, 9, N>(key, &mut blocks, hash);
    if R > 10 {
        round::<P, 10, N>(key, &mut blocks, hash);
        round::<P, 11, N>(key, &mut blocks, hash);
    }
    if R > 12 {
        round::<P, 12, N>(key, &mut blocks, hash);
        round::<P, 13, N>(key, &mut blocks, hash);
    }
    let last = round_key(key, R);
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, last);
    }
    blocks
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn round<P: Powers, const ROUND: usize, const N: usize>(
    key: &Key,
    blocks: &mut [__m512i; N],
    hash: &mut Pending<P>,
) {
    let round_key = round_key(key, ROUND);
    for block in blocks {
        *block = _mm512_aesenc_epi128(*block, round_key);
        order(block);
    }
    hash.step::<ROUND>();
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn round_key(key: &Key, round: usize) -> __m512i {
    // SAFETY: 16 readable bytes, no alignment asked for.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(key.schedule[round].as_ptr().cast()) })
}
