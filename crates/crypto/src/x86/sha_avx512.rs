//! HMAC with SHA-1 or SHA-256, sixteen messages at a time: word n of every lane stands in one 512-bit vector.
//!
//! Decides nothing. Reads: messages and pad states. Writes: digests. Never compares an ICV.
//!
//! Lanes have messages of different lengths and keys. A lane that ends its inner hash goes on to its outer one, then
//! takes the next message, so that all stay busy while there is work.

mod rounds;

use core::arch::x86_64::*;

use crate::frame::high_half;
use crate::mac::Message;
use crate::portable::Digest;

/// A hash with 64-byte blocks and 32-bit words.
pub(super) trait Narrow {
    /// Words of the digest.
    const WORDS: usize;

    /// Hashes one block in every lane: `state[word]` and `block[word]` across lanes.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and DQ.
    unsafe fn compress(state: &mut [__m512i; 8], block: [__m512i; 16]);
}

#[derive(Debug)]
pub(super) struct Sha1;

#[derive(Debug)]
pub(super) struct Sha256;

/// Hashes every message; digests stand in the messages' order.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL and DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn hmac<'a, H: Narrow>(messages: impl Iterator<Item = Message<'a>>, out: &mut [Digest]) {
    let mut lanes = Lanes::new();
    let mut numbered = messages.enumerate();
    for lane in 0..LANES {
        lanes.start(lane, numbered.next());
    }
    while let Some(blocks) = lanes.jobs.iter().flatten().map(|job| job.ahead).min() {
        // SAFETY: no lane has fewer blocks ahead, and the caller knows the CPU.
        unsafe { lanes.run::<H>(blocks) };
        for lane in 0..LANES {
            let Some(job) = &mut lanes.jobs[lane] else { continue };
            job.ahead -= blocks;
            if job.ahead > 0 {
                continue;
            }
            match job.phase {
                Phase::Whole => lanes.last_blocks(lane),
                Phase::Last => lanes.outer::<H>(lane),
                Phase::Outer => {
                    let place = job.place;
                    if let Some(digest) = out.get_mut(place) {
                        lanes.write_digest::<H>(lane, digest);
                    }
                    lanes.start(lane, numbered.next());
                }
            }
        }
    }
}

const LANES: usize = 16;
const BLOCK: usize = 64;

/// Where a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Whole blocks of the packet itself.
    Whole,
    /// Its rest, the number's upper half and SHA's padding, in the lane's scratch.
    Last,
    /// The inner digest under the outer pad, in the lane's scratch.
    Outer,
}

#[derive(Clone, Copy)]
struct Job<'a> {
    message: Message<'a>,
    place: usize,
    phase: Phase,
    /// Blocks until something changes; at least 1.
    ahead: usize,
}

#[repr(C, align(64))]
struct Lanes<'a> {
    /// `state[word][lane]`.
    state: [[u32; LANES]; 8],
    /// Two last blocks per lane.
    scratch: [[u8; 2 * BLOCK]; LANES],
    /// What an idle lane hashes.
    nothing: [u8; BLOCK],
    at: [*const u8; LANES],
    stride: [usize; LANES],
    jobs: [Option<Job<'a>>; LANES],
}

impl<'a> Lanes<'a> {
    fn new() -> Self {
        Self {
            state: [[0; LANES]; 8],
            scratch: [[0; 2 * BLOCK]; LANES],
            nothing: [0; BLOCK],
            at: [core::ptr::null(); LANES],
            stride: [0; LANES],
            jobs: [None; LANES],
        }
    }

    /// The next message, or rest.
    fn start(&mut self, lane: usize, next: Option<(usize, Message<'a>)>) {
        let Some((place, message)) = next else {
            self.jobs[lane] = None;
            self.at[lane] = self.nothing.as_ptr();
            self.stride[lane] = 0;
            return;
        };
        self.set_state(lane, &message.key.pads[0]);
        let ahead = message.data.len() / BLOCK;
        self.jobs[lane] = Some(Job { message, place, phase: Phase::Whole, ahead });
        self.at[lane] = message.data.as_ptr();
        self.stride[lane] = BLOCK;
        if ahead == 0 {
            self.last_blocks(lane);
        }
    }

    /// Rest of the message, number, one bit, zeros, length in bits (FIPS 180-4 §5.1.1). The pad block counts too.
    fn last_blocks(&mut self, lane: usize) {
        let Some(job) = &mut self.jobs[lane] else { return };
        let data = job.message.data;
        let rest = &data[data.len() / BLOCK * BLOCK..];
        let scratch = &mut self.scratch[lane];
        scratch[..rest.len()].copy_from_slice(rest);
        let mut len = rest.len();
        let mut bytes = BLOCK + data.len();
        if let Some(seq) = job.message.esn {
            scratch[len..len + 4].copy_from_slice(&high_half(seq));
            len += 4;
            bytes += 4;
        }
        scratch[len] = 0x80;
        let blocks = if len + 9 <= BLOCK { 1 } else { 2 };
        let end = blocks * BLOCK;
        scratch[len + 1..end - 8].fill(0);
        scratch[end - 8..end].copy_from_slice(&(bytes as u64 * 8).to_be_bytes());
        job.phase = Phase::Last;
        job.ahead = blocks;
        self.at[lane] = scratch.as_ptr();
        self.stride[lane] = BLOCK;
    }

    fn outer<H: Narrow>(&mut self, lane: usize) {
        let scratch = &mut self.scratch[lane];
        let digest = H::WORDS * 4;
        for (bytes, word) in scratch.as_chunks_mut::<4>().0.iter_mut().zip(&self.state[..H::WORDS]) {
            *bytes = word[lane].to_be_bytes();
        }
        scratch[digest] = 0x80;
        scratch[digest + 1..BLOCK - 8].fill(0);
        scratch[BLOCK - 8..BLOCK].copy_from_slice(&((BLOCK + digest) as u64 * 8).to_be_bytes());
        self.at[lane] = scratch.as_ptr();
        let Some(job) = &mut self.jobs[lane] else { return };
        job.phase = Phase::Outer;
        job.ahead = 1;
        let pad = job.message.key.pads[1];
        self.set_state(lane, &pad);
    }

    fn write_digest<H: Narrow>(&self, lane: usize, digest: &mut Digest) {
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(&self.state[..H::WORDS]) {
            *bytes = word[lane].to_be_bytes();
        }
    }

    fn set_state(&mut self, lane: usize, from: &[u32; 8]) {
        for (row, word) in self.state.iter_mut().zip(from) {
            row[lane] = *word;
        }
    }

    /// # Safety
    /// Every lane has `blocks` readable blocks from `at` on, or stands still on one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn run<H: Narrow>(&mut self, blocks: usize) {
        let mut state = [_mm512_setzero_si512(); 8];
        for (vector, row) in state.iter_mut().zip(&self.state) {
            // SAFETY: a row is 64 bytes.
            *vector = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        }
        for _ in 0..blocks {
            // SAFETY: the caller's promise.
            unsafe { H::compress(&mut state, load_words(&self.at)) };
            for (at, stride) in self.at.iter_mut().zip(&self.stride) {
                *at = at.wrapping_add(*stride);
            }
        }
        for (vector, row) in state.iter().zip(&mut self.state) {
            // SAFETY: a row is 64 bytes.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), *vector) };
        }
    }
}

/// One block of each lane, turned so that vector n holds word n of all lanes, in native byte order.
///
/// # Safety
/// Every pointer has 64 readable bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn load_words(at: &[*const u8; LANES]) -> [__m512i; 16] {
    let swap = _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
    let mut rows = [_mm512_setzero_si512(); 16];
    for (row, at) in rows.iter_mut().zip(at) {
        // SAFETY: the caller's promise.
        *row = _mm512_shuffle_epi8(unsafe { _mm512_loadu_si512(at.cast()) }, swap);
    }
    transpose(rows)
}

/// A 16 × 16 matrix of 32-bit words: first within 128-bit lanes, then the lanes themselves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
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
