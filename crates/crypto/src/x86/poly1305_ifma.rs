//! Poly1305 of eight packets at a time on 52-bit multiply-add (AVX-512 IFMA): every lane has its own key and length.
//!
//! Decides nothing. Reads: one-time keys, associated data, ciphertext. Answers tags. Constant time in all but lengths.
//!
//! The arithmetic is `poly1305`'s, limbs of 44, 44 and 42 bits. A lane that ends its packet takes the next one.

use core::arch::x86_64::*;

use super::poly1305::Hash;

/// One packet to hash, and where its tag goes.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) one_time_key: &'a [u8; 32],
    pub(super) aad: &'a [u8],
    pub(super) body: &'a [u8],
}

const LANES: usize = 8;

/// The tags of all messages, in their order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn tags<'a>(messages: impl Iterator<Item = Message<'a>>, out: &mut [[u8; 16]]) {
    let mut lanes = Lanes::new();
    let mut numbered = messages.enumerate();
    for lane in 0..LANES {
        lanes.start(lane, numbered.next());
    }
    while let Some(blocks) = lanes.jobs.iter().flatten().map(|job| job.blocks).min() {
        // SAFETY: no busy lane has fewer whole blocks ahead.
        unsafe { lanes.run(blocks) };
        for lane in 0..LANES {
            let Some(job) = &mut lanes.jobs[lane] else { continue };
            job.blocks -= blocks;
            if job.blocks > 0 {
                continue;
            }
            let job = *job;
            if let Some(tag) = out.get_mut(job.place) {
                *tag = lanes.finish(lane, &job.message);
            }
            lanes.start(lane, numbered.next());
        }
    }
}

#[derive(Clone, Copy)]
struct Job<'a> {
    message: Message<'a>,
    place: usize,
    /// Whole blocks of the body to go; at least 1.
    blocks: usize,
}

/// `x[limb][lane]`; the rest as in `poly1305`.
#[repr(C, align(64))]
struct Lanes<'a> {
    h: [[u64; LANES]; 3],
    r: [[u64; LANES]; 3],
    nothing: [u8; 16],
    at: [*const u8; LANES],
    stride: [usize; LANES],
    jobs: [Option<Job<'a>>; LANES],
}

impl<'a> Lanes<'a> {
    fn new() -> Self {
        Self {
            h: [[0; LANES]; 3],
            r: [[0; LANES]; 3],
            nothing: [0; 16],
            at: [core::ptr::null(); LANES],
            stride: [0; LANES],
            jobs: [None; LANES],
        }
    }

    /// The next message with its associated data hashed, or rest. A body without a whole block keeps the lane for one
    /// run all the same: it hashes `nothing`, and `finish` begins anew.
    fn start(&mut self, lane: usize, next: Option<(usize, Message<'a>)>) {
        self.at[lane] = self.nothing.as_ptr();
        self.stride[lane] = 0;
        self.jobs[lane] = next.map(|(place, message)| {
            let blocks = message.body.len() / 16;
            if blocks > 0 {
                let hash = begin(&message);
                self.set(lane, hash.h, hash.r);
                self.at[lane] = message.body.as_ptr();
                self.stride[lane] = 16;
            }
            Job { message, place, blocks: blocks.max(1) }
        });
    }

    /// What follows the whole blocks: the rest and the lengths.
    fn finish(&self, lane: usize, message: &Message) -> [u8; 16] {
        let mut hash = begin(message);
        let (blocks, rest) = message.body.as_chunks::<16>();
        if !blocks.is_empty() {
            hash.h = self.h.map(|limb| limb[lane]);
        }
        hash.padded(rest);
        hash.lengths(message.aad.len(), message.body.len());
        hash.finish()
    }

    fn set(&mut self, lane: usize, h: [u64; 3], r: [u64; 3]) {
        for limb in 0..3 {
            self.h[limb][lane] = h[limb];
            self.r[limb][lane] = r[limb];
        }
    }

    /// # Safety
    /// Every lane has `count` readable blocks from `at` on, or stands still on one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    unsafe fn run(&mut self, count: usize) {
        let low_44 = _mm512_set1_epi64((1 << 44) - 1);
        let low_42 = _mm512_set1_epi64((1 << 42) - 1);
        let top = _mm512_set1_epi64(1 << 40);
        let zero = _mm512_setzero_si512();
        let [mut h0, mut h1, mut h2] = load(&self.h);
        let [r0, r1, r2] = load(&self.r);
        let (r1_20, r2_20) = (times_5(_mm512_slli_epi64::<2>(r1)), times_5(_mm512_slli_epi64::<2>(r2)));
        for _ in 0..count {
            // SAFETY: the caller's promise.
            let (low, high) = unsafe { gather(&self.at) };
            let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
            h0 = _mm512_add_epi64(h0, _mm512_and_si512(low, low_44));
            h1 = _mm512_add_epi64(h1, _mm512_and_si512(middle, low_44));
            h2 = _mm512_add_epi64(h2, _mm512_or_si512(_mm512_srli_epi64::<24>(high), top));
            // Products of 104 bits: lower and upper 52 summed apart; an upper half weighs 2^8 of the next limb.
            let sum = |[a, b, c]: [__m512i; 3]| {
                let lower = _mm512_madd52lo_epu64(
                    _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(zero, h0, a), h1, b),
                    h2,
                    c,
                );
                let upper = _mm512_madd52hi_epu64(
                    _mm512_madd52hi_epu64(_mm512_madd52hi_epu64(zero, h0, a), h1, b),
                    h2,
                    c,
                );
                (lower, upper)
            };
            let (lower_0, upper_0) = sum([r0, r2_20, r1_20]);
            let (lower_1, upper_1) = sum([r1, r0, r2_20]);
            let (lower_2, upper_2) = sum([r2, r1, r0]);
            let carry = _mm512_add_epi64(_mm512_srli_epi64::<44>(lower_0), _mm512_slli_epi64::<8>(upper_0));
            let lower_1 = _mm512_add_epi64(lower_1, carry);
            let carry = _mm512_add_epi64(_mm512_srli_epi64::<44>(lower_1), _mm512_slli_epi64::<8>(upper_1));
            let lower_2 = _mm512_add_epi64(lower_2, carry);
            let carry = _mm512_add_epi64(_mm512_srli_epi64::<42>(lower_2), _mm512_slli_epi64::<10>(upper_2));
            let folded = _mm512_add_epi64(_mm512_and_si512(lower_0, low_44), times_5(carry));
            h0 = _mm512_and_si512(folded, low_44);
            h1 = _mm512_add_epi64(_mm512_and_si512(lower_1, low_44), _mm512_srli_epi64::<44>(folded));
            h2 = _mm512_and_si512(lower_2, low_42);
            for (at, stride) in self.at.iter_mut().zip(&self.stride) {
                *at = at.wrapping_add(*stride);
            }
        }
        for (row, limb) in self.h.iter_mut().zip([h0, h1, h2]) {
            // SAFETY: a row is 64 bytes.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), limb) };
        }
    }
}

impl Drop for Lanes<'_> {
    fn drop(&mut self) {
        self.h = [[0; LANES]; 3];
        self.r = [[0; LANES]; 3];
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.r);
        core::hint::black_box(&mut self.h);
    }
}

fn begin(message: &Message) -> Hash {
    let mut hash = Hash::new(message.one_time_key);
    hash.associated_data(message.aad);
    hash
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn load(limbs: &[[u64; LANES]; 3]) -> [__m512i; 3] {
    // SAFETY: a row is 64 bytes.
    limbs.each_ref().map(|row| unsafe { _mm512_loadu_si512(row.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn times_5(x: __m512i) -> __m512i {
    _mm512_add_epi64(x, _mm512_slli_epi64::<2>(x))
}

/// Lower and upper halves of one block per lane.
///
/// # Safety
/// Every pointer has 16 readable bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
unsafe fn gather(at: &[*const u8; LANES]) -> (__m512i, __m512i) {
    // SAFETY: the caller's promise.
    let block = |lane: usize| unsafe { _mm_loadu_si128(at[lane].cast()) };
    let four = |first: usize| {
        let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(block(first)), block(first + 2));
        let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(block(first + 4)), block(first + 6));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    };
    // Even lanes and odd ones, so that unpacking restores the order.
    let (even, odd) = (four(0), four(1));
    (_mm512_unpacklo_epi64(even, odd), _mm512_unpackhi_epi64(even, odd))
}
