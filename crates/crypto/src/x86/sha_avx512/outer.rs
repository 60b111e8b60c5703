//! The second half of an HMAC: the outer hashes, one block each, of inner digests that are all there.
//!
//! Decides nothing. Reads: pad states, inner digests. Writes: digests. Never compares an ICV.

use core::arch::x86_64::*;

use super::turn::Turn;
use super::{Hash, LANES};
use crate::Key;
use crate::engine::BURST;
use crate::key::Pad;
use crate::portable::Digest;

/// Inner digests as words in native byte order, wiped when done: with them anybody could make the outer ones' input.
#[repr(C, align(64))]
pub(in crate::x86) struct Inner(pub(in crate::x86) [[u8; 64]; BURST]);

impl Inner {
    pub(in crate::x86) fn new() -> Self {
        Self([[0; 64]; BURST])
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.0 = [[0; 64]; BURST];
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.0);
    }
}

/// The outer hash of each of `count` inner ones.
///
/// # Safety
/// As [`super::hmac()`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
pub(in crate::x86) unsafe fn outer_all<'a, H: Hash>(
    count: usize,
    key: impl Fn(usize) -> &'a Key,
    inner: &Inner,
    out: &mut [Digest],
) {
    for from in (0..count).step_by(H::Turn::LANES) {
        let lanes = H::Turn::LANES.min(count - from);
        // SAFETY: the caller's promise; there is at least one left.
        unsafe { outer::<H>(lanes, |lane| key(from + lane), &inner.0[from..], &mut out[from..]) };
    }
}

/// The outer hashes of at most one message per lane: one block of inner digest, one bit, zeros, length in bits.
///
/// # Safety
/// As [`super::hmac()`]; `lanes` is not 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn outer<'a, H: Hash>(
    lanes: usize,
    key: impl Fn(usize) -> &'a Key,
    inner: &[[u8; 64]],
    out: &mut [Digest],
) {
    // Lanes without a message repeat the first one.
    let mut pads = [key(0).pad(Pad::Outer).as_ptr(); LANES];
    let mut digests = [inner[0].as_ptr(); LANES];
    for lane in 1..lanes {
        pads[lane] = key(lane).pad(Pad::Outer).as_ptr();
        digests[lane] = inner[lane].as_ptr();
    }
    // SAFETY: pads and inner digests have eight words each; the caller knows the CPU.
    let [mut state, digest] = unsafe { H::Turn::words(&pads, &digests) };
    let mut block = [_mm512_setzero_si512(); 16];
    let words = H::DIGEST / H::Turn::WORD;
    block[..words].copy_from_slice(&digest[..words]);
    block[words] = set1::<H>(1 << (H::Turn::WORD * 8 - 1));
    block[15] = set1::<H>(((H::BLOCK + H::DIGEST) * 8) as u64);
    let mut rows = [[0; 64]; LANES];
    // SAFETY: the caller knows the CPU.
    unsafe {
        H::compress(&mut state, block);
        H::Turn::rows(&state, &mut rows);
    }
    out[..lanes].copy_from_slice(&rows[..lanes]);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
#[allow(clippy::cast_possible_truncation, reason = "the word's width was asked")]
fn set1<H: Hash>(word: u64) -> __m512i {
    if H::Turn::WORD == 4 {
        _mm512_set1_epi32((word as u32).cast_signed())
    } else {
        _mm512_set1_epi64(word.cast_signed())
    }
}
