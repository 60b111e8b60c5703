//! HMAC with SHA-1 and SHA-2 on 512-bit vectors: word n of every lane stands in one of them. Sixteen messages at a time
//! with 32-bit words, eight with 64-bit ones.
//!
//! Decides nothing. Reads: messages and pad states. Writes: digests. Never compares an ICV.
//!
//! Lanes have messages of different lengths and keys. A lane that ends its message takes the next one, so that all stay
//! busy while there is work; one without work hashes what another one does, to no effect. The outer hashes, one block
//! each, are made when all inner ones are there.

mod turn;
mod narrow;
mod wide;
mod constants;

use core::arch::x86_64::*;

use crate::engine::BURST;
use crate::frame::high_half;
use crate::key::Pad;
use crate::mac::Message;
use crate::portable::Digest;
use turn::Turn;

pub(super) use turn::transpose;

/// A hash as its lanes see it.
pub(super) trait Hash {
    /// Bytes per block and per digest.
    const BLOCK: usize;
    const DIGEST: usize;
    type Turn: Turn;

    /// Hashes one block in every lane: `state[word]` and `block[word]` across lanes.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and DQ.
    unsafe fn compress(state: &mut [__m512i; 8], block: [__m512i; 16]);
}

pub(super) struct Sha1;
pub(super) struct Sha256;
pub(super) struct Sha384;
pub(super) struct Sha512;

/// Hashes every message (at most `BURST`); digests stand in the messages' order.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL and DQ.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
pub(super) unsafe fn hmac<H: Hash>(messages: &[Message], out: &mut [Digest]) {
    let mut inner = Inner([[0; 64]; BURST]);
    let mut lanes = Lanes::new();
    // SAFETY: the caller knows the CPU.
    unsafe {
        lanes.run_all::<H>(messages, &mut inner.0);
        for (at, group) in messages.chunks(H::Turn::LANES).enumerate() {
            let from = at * H::Turn::LANES;
            outer::<H>(group, &inner.0[from..], &mut out[from..]);
        }
    }
}

/// Inner digests as words in native byte order, wiped when done: with them anybody could make the outer ones' input.
#[repr(C, align(64))]
struct Inner([[u8; 64]; BURST]);

/// Sixteen lanes at most.
const LANES: usize = 16;

#[repr(C, align(64))]
struct Lanes {
    /// `state[word]`: that word of every lane.
    state: [[u8; 64]; 8],
    /// What follows the last whole block of a lane's message: two blocks at most.
    tail: [[u8; 256]; LANES],
    at: [*const u8; LANES],
    /// Blocks until something changes; 0 without a message.
    ahead: [usize; LANES],
    jobs: [Job; LANES],
}

#[derive(Clone, Copy)]
struct Job {
    place: usize,
    /// Blocks in the tail; 0 once they are under way.
    tail: usize,
}

impl Lanes {
    fn new() -> Self {
        Self {
            state: [[0; 64]; 8],
            tail: [[0; 256]; LANES],
            at: [core::ptr::null(); LANES],
            ahead: [0; LANES],
            jobs: [Job { place: 0, tail: 0 }; LANES],
        }
    }

    /// The inner hash of every message.
    ///
    /// # Safety
    /// As [`hmac()`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn run_all<H: Hash>(&mut self, messages: &[Message], inner: &mut [[u8; 64]; BURST]) {
        let mut next = messages.iter().enumerate();
        let lanes = H::Turn::LANES;
        for lane in 0..lanes {
            self.start::<H>(lane, next.next());
        }
        while let Some(blocks) = self.ahead.iter().copied().filter(|&n| n > 0).min() {
            // SAFETY: no busy lane has fewer blocks ahead; the caller knows the CPU.
            unsafe { self.run::<H>(blocks) };
            for lane in 0..lanes {
                if self.ahead[lane] == 0 {
                    continue;
                }
                self.ahead[lane] -= blocks;
                self.at[lane] = self.at[lane].wrapping_add(blocks * H::BLOCK);
                if self.ahead[lane] > 0 {
                    continue;
                }
                let job = self.jobs[lane];
                if job.tail > 0 {
                    self.turn_to_tail(lane);
                    continue;
                }
                self.save::<H>(lane, &mut inner[job.place]);
                self.start::<H>(lane, next.next());
            }
        }
    }

    /// The next message, or rest.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    fn start<H: Hash>(&mut self, lane: usize, next: Option<(usize, &Message)>) {
        let Some((place, message)) = next else { return };
        let pad = message.key.pad(Pad::Inner);
        for (row, word) in self.state.iter_mut().zip(pad.chunks_exact(H::Turn::WORD)) {
            row[lane * H::Turn::WORD..][..H::Turn::WORD].copy_from_slice(word);
        }
        let whole = message.data.len() / H::BLOCK;
        let tail = self.write_tail::<H>(lane, message);
        self.jobs[lane] = Job { place, tail };
        self.at[lane] = message.data.as_ptr();
        self.ahead[lane] = whole;
        if whole == 0 {
            self.turn_to_tail(lane);
        }
    }

    #[inline]
    fn turn_to_tail(&mut self, lane: usize) {
        self.at[lane] = self.tail[lane].as_ptr();
        self.ahead[lane] = core::mem::take(&mut self.jobs[lane].tail);
    }

    /// Rest of the message, number, one bit, zeros, length in bits (FIPS 180-4 §5.1.1, §5.1.2): one block or two. The
    /// pad's block counts too.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    fn write_tail<H: Hash>(&mut self, lane: usize, message: &Message) -> usize {
        let rest = &message.data[message.data.len() / H::BLOCK * H::BLOCK..];
        let room = &mut self.tail[lane];
        for (n, part) in room.as_chunks_mut::<64>().0.iter_mut().enumerate().take(H::BLOCK / 32) {
            #[allow(clippy::cast_possible_truncation, reason = "less than a block")]
            let mask = _bzhi_u64(!0, rest.len().saturating_sub(n * 64).min(64) as u32);
            // SAFETY: the mask leaves what of the rest falls into this part; 64 bytes are writable.
            unsafe {
                let bytes = _mm512_maskz_loadu_epi8(mask, rest.as_ptr().wrapping_add(n * 64).cast());
                _mm512_storeu_si512(part.as_mut_ptr().cast(), bytes);
            }
        }
        let mut len = rest.len();
        let mut bytes = H::BLOCK + message.data.len();
        if let Some(seq) = message.esn {
            room[len..len + 4].copy_from_slice(&high_half(seq));
            len += 4;
            bytes += 4;
        }
        room[len] = 0x80;
        let blocks = if len + 1 + 2 * H::Turn::WORD <= H::BLOCK { 1 } else { 2 };
        let end = blocks * H::BLOCK;
        room[end - 8..end].copy_from_slice(&(bytes as u64 * 8).to_be_bytes());
        blocks
    }

    /// A lane's state is a message's inner digest.
    #[inline]
    fn save<H: Hash>(&self, lane: usize, inner: &mut [u8; 64]) {
        for (word, row) in inner.chunks_exact_mut(H::Turn::WORD).zip(&self.state) {
            word.copy_from_slice(&row[lane * H::Turn::WORD..][..H::Turn::WORD]);
        }
    }

    /// # Safety
    /// As [`hmac()`], and every busy lane has `blocks` readable blocks from `at` on; one lane is busy.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn run<H: Hash>(&mut self, blocks: usize) {
        let busy = self.ahead.iter().position(|&n| n > 0).unwrap_or(0);
        let mut at = self.at;
        for (at, ahead) in at.iter_mut().zip(&self.ahead) {
            if *ahead == 0 {
                *at = self.at[busy];
            }
        }
        let mut state = [_mm512_setzero_si512(); 8];
        for (vector, row) in state.iter_mut().zip(&self.state) {
            // SAFETY: a row is 64 bytes.
            *vector = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        }
        for n in 0..blocks {
            // SAFETY: the caller's promise.
            unsafe { H::compress(&mut state, H::Turn::block(&at, n * H::BLOCK)) };
        }
        for (vector, row) in state.iter().zip(&mut self.state) {
            // SAFETY: a row is 64 bytes.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), *vector) };
        }
    }
}

/// The outer hashes of at most one message per lane: one block of inner digest, one bit, zeros, length in bits.
///
/// # Safety
/// As [`hmac()`]; `group` is not empty.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
unsafe fn outer<H: Hash>(group: &[Message], inner: &[[u8; 64]], out: &mut [Digest]) {
    // Lanes without a message repeat the first one.
    let mut pads = [group[0].key.pad(Pad::Outer).as_ptr(); LANES];
    let mut digests = [inner[0].as_ptr(); LANES];
    for (lane, message) in group.iter().enumerate() {
        pads[lane] = message.key.pad(Pad::Outer).as_ptr();
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
    out[..group.len()].copy_from_slice(&rows[..group.len()]);
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

impl Drop for Inner {
    fn drop(&mut self) {
        self.0 = [[0; 64]; BURST];
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.0);
    }
}
