//! ChaCha20 on AVX-512: sixteen blocks at a time, of whichever packets.
//!
//! Decides: which lane makes which block. Reads: keys, nonces. Reads and writes: the bytes that blocks are added to.
//!
//! The words of a run stand one to a vector, a lane for each block, and lanes are filled by broadcasting: blocks of one
//! packet differ in their counters alone, packets of one SA in counters and IVs. What a run before left is kept.

use core::arch::x86_64::*;
use core::ptr;

use super::chacha::{BLOCK, HEAD, ICV, Keystream, Unit};
use super::sha_avx512::transpose;
use crate::Key;

const LANES: usize = 16;

/// "expand 32-byte k" (RFC 8439 §2.3).
const CONSTANTS: [i32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Blocks to be made together.
#[repr(C, align(64))]
pub(super) struct Run {
    words: [__m512i; 16],
    /// Where each block is added.
    to: [__m512i; 2],
    /// To which bytes of it.
    part: [__mmask64; LANES],
    filled: usize,
    /// Whose words all lanes from `filled` on have; null: nobody's.
    key: *const Key,
    /// That key is in all lanes.
    alone: bool,
}

impl Run {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn empty() -> Self {
        let mut words = [_mm512_setzero_si512(); 16];
        for (word, constant) in words.iter_mut().zip(CONSTANTS) {
            *word = _mm512_set1_epi32(constant);
        }
        Self {
            words,
            to: [_mm512_setzero_si512(); 2],
            part: [u64::MAX; LANES],
            filled: 0,
            key: ptr::null(),
            alone: false,
        }
    }

    /// Blocks `counter` to `end` (exclusive) of the unit's keystream; block 0 goes to `one_time_key`.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and DQ. Body and key stay valid and untouched until the next flush is over.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn push(&mut self, unit: &mut Unit, mut counter: usize, end: usize, one_time_key: *mut u8) {
        let bytes = unit.packet.len() - HEAD - ICV;
        // One block before the body, which is where block 0 would lie.
        let before = unit.packet.as_mut_ptr().wrapping_add(HEAD).wrapping_sub(BLOCK);
        while counter < end {
            let first = self.filled;
            let lanes = (end - counter).min(LANES - first);
            self.fill(unit, counter);
            self.aim(before.wrapping_add(counter * BLOCK));
            if counter == 0 {
                self.part[first] = u64::from(u32::MAX);
                // SAFETY: one of sixteen addresses.
                unsafe { self.to.as_mut_ptr().cast::<*mut u8>().add(first).write(one_time_key) };
            }
            counter += lanes;
            if counter == end && end > 1 {
                self.part[first + lanes - 1] = u64::MAX >> (bytes.wrapping_neg() % BLOCK);
            }
            self.filled += lanes;
            if self.filled == LANES {
                // SAFETY: the caller's promise.
                unsafe { self.make() };
            }
        }
    }

    /// Lets the lanes that are not filled go to one block after the other.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn aim(&mut self, to: *mut u8) {
        let to = to.wrapping_sub(self.filled * BLOCK);
        let lanes: __mmask16 = u16::MAX << self.filled;
        let [low, high] = lanes.to_le_bytes();
        let first = _mm512_set1_epi64(to as i64);
        let steps = _mm512_setr_epi64(0, 64, 128, 192, 256, 320, 384, 448);
        self.to[0] = _mm512_mask_add_epi64(self.to[0], low, first, steps);
        let first = _mm512_add_epi64(first, _mm512_set1_epi64(512));
        self.to[1] = _mm512_mask_add_epi64(self.to[1], high, first, steps);
    }

    /// The words of the unit in every lane that is not filled, with counters from this one on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn fill(&mut self, unit: &Unit, counter: usize) {
        let lanes: __mmask16 = u16::MAX << self.filled;
        let words = &mut self.words;
        let mut set = |word: usize, bytes: [u8; 4]| {
            words[word] = _mm512_mask_set1_epi32(words[word], lanes, i32::from_le_bytes(bytes));
        };
        if self.key != ptr::from_ref(unit.key) {
            let (key, _) = unit.key.schedule.as_flattened().as_chunks::<4>();
            for (word, bytes) in (4..12).zip(key) {
                set(word, *bytes);
            }
            set(13, unit.key.salt);
            (self.key, self.alone) = (unit.key, self.filled == 0);
        }
        for (word, bytes) in (14..16).zip(unit.packet[8..HEAD].as_chunks::<4>().0) {
            set(word, *bytes);
        }
        let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "blocks of one packet"
        )]
        let first = (counter as i32).wrapping_sub(self.filled as i32);
        words[12] = _mm512_mask_add_epi32(words[12], lanes, numbers, _mm512_set1_epi32(first));
    }

    /// Makes the keystream of the filled lanes and adds it to their bytes.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and DQ; where the lanes point to is valid and nobody else's.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn make(&mut self) {
        let keystream = transpose(rounds(&self.words));
        let to = self.to.as_ptr().cast::<*mut __m512i>();
        for (lane, block) in keystream.iter().enumerate().take(self.filled) {
            let part = self.part[lane];
            // SAFETY: the caller's promise; the mask leaves no other bytes.
            unsafe {
                let to = to.add(lane).read();
                let data = _mm512_maskz_loadu_epi8(part, to.cast());
                _mm512_mask_storeu_epi8(to.cast(), part, _mm512_xor_si512(data, *block));
            }
        }
        self.part = [u64::MAX; LANES];
        self.filled = 0;
        if !self.alone {
            self.key = ptr::null();
        }
    }
}

impl Keystream for Run {
    fn new() -> Self {
        // SAFETY: only used by the AVX-512 kernel, which the engine has where the CPU has these instructions.
        unsafe { Self::empty() }
    }

    #[inline]
    unsafe fn all(&mut self, unit: &mut Unit, one_time_key: *mut u8) {
        let end = blocks(unit);
        // SAFETY: as in `new`; the caller's promise.
        unsafe { self.push(unit, 0, end, one_time_key) };
    }

    #[inline]
    unsafe fn key(&mut self, unit: &mut Unit, one_time_key: *mut u8) {
        // SAFETY: as in `new`; the caller's promise.
        unsafe { self.push(unit, 0, 1, one_time_key) };
    }

    #[inline]
    unsafe fn body(&mut self, unit: &mut Unit) {
        let end = blocks(unit);
        // SAFETY: as in `new`; the caller's promise.
        unsafe { self.push(unit, 1, end, ptr::null_mut()) };
    }

    fn flush(&mut self) {
        if self.filled > 0 {
            // SAFETY: as in `new`; those who pushed promised that the bytes are valid.
            unsafe { self.make() };
        }
    }
}

/// Of a packet's keystream, with the one that its one-time key is taken of.
fn blocks(unit: &Unit) -> usize {
    1 + (unit.packet.len() - HEAD - ICV).div_ceil(BLOCK)
}

/// The words hold keys.
impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        self.words = [unsafe { core::mem::zeroed() }; 16];
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.words);
    }
}

/// Twenty rounds and the addition of the start (RFC 8439 §2.3), word by word across lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn rounds(start: &[__m512i; 16]) -> [__m512i; 16] {
    let mut x = *start;
    for _ in 0..10 {
        quarters!(x, [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]);
        quarters!(x, [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]);
    }
    // Read again: kept, the start would be copied to where nobody wipes it.
    for (word, start) in x.iter_mut().zip(core::hint::black_box(start)) {
        *word = _mm512_add_epi32(*word, *start);
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
