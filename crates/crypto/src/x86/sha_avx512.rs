//! HMAC with SHA-1 and SHA-2 on 512-bit vectors: word n of every lane stands in one of them. Sixteen messages at a time
//! with 32-bit words, eight with 64-bit ones.
//!
//! Decides nothing. Reads: messages and pad states. Writes: digests. Never compares an ICV.
//!
//! Lanes have messages of different lengths and keys. A lane that ends its message takes the next one, so that all stay
//! busy while there is work; one without work hashes what another one does, to no effect. The outer hashes, one block
//! each, are made when all inner ones are there.

mod turn;
mod outer;
mod narrow;
mod wide;
mod constants;

use core::arch::x86_64::*;

use crate::Key;
use crate::engine::BURST;
use crate::frame::high_half;
use crate::key::Pad;
use crate::mac::Message;
use crate::portable::Digest;
use turn::Turn;

pub(super) use outer::{Inner, outer_all};
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

/// A hash that shares the CPU with a cipher.
pub(super) trait HashBeside: Hash {
    /// [`Hash::compress`], and the 64 or 80 steps of one block's work beside it.
    ///
    /// # Safety
    /// As that, and the CPU has VAES; what [`Beside::step`] wants.
    unsafe fn compress_beside<B: Beside>(state: &mut [__m512i; 8], block: [__m512i; 16], beside: &mut B);
}

/// Work that waits for its own results most of the time, done between the rounds of a hash.
pub(super) trait Beside: Copy {
    /// Step `S` of part `part`: four parts, of 16 steps beside SHA-256 and of 20 beside SHA-1.
    ///
    /// # Safety
    /// The implementor's.
    unsafe fn step<const S: usize>(&mut self, part: usize);
}

impl Beside for () {
    #[inline]
    unsafe fn step<const S: usize>(&mut self, _: usize) {}
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
    let mut inner = Inner::new();
    let mut lanes = Lanes::new();
    // SAFETY: the caller knows the CPU.
    unsafe {
        lanes.run_all::<H>(messages, &mut inner.0);
        outer_all::<H>(messages.len(), |n| messages[n].key, &inner, out);
    }
}

/// Sixteen lanes at most.
const LANES: usize = 16;

/// Messages under way, one per lane. They are raw memory: a cipher beside may still write what is hashed later.
#[repr(C, align(64))]
pub(super) struct Lanes {
    /// `state[word]`: that word of every lane.
    state: [[u8; 64]; 8],
    /// What follows the last whole block of a lane's message: two blocks at most.
    tail: [[u8; 256]; LANES],
    at: [*const u8; LANES],
    /// Blocks until something changes; 0 without a message.
    pub(super) ahead: [usize; LANES],
    jobs: [Job; LANES],
}

/// What a lane is to hash.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) key: &'a Key,
    pub(super) esn: Option<u64>,
    pub(super) at: *const u8,
    pub(super) len: usize,
}

#[derive(Clone, Copy)]
struct Job {
    place: usize,
    /// Length of the message, and the number behind it.
    len: usize,
    esn: Option<u64>,
    in_tail: bool,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            state: [[0; 64]; 8],
            tail: [[0; 256]; LANES],
            at: [core::ptr::null(); LANES],
            ahead: [0; LANES],
            jobs: [Job { place: 0, len: 0, esn: None, in_tail: false }; LANES],
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
        let mut start = |lanes: &mut Self, lane| {
            let Some((place, message)) = next.next() else { return };
            let (at, len) = (message.data.as_ptr(), message.data.len());
            // SAFETY: the message is readable.
            unsafe { lanes.start::<H>(lane, place, &Source { key: message.key, esn: message.esn, at, len }) };
        };
        (0..H::Turn::LANES).for_each(|lane| start(self, lane));
        while let Some(blocks) = self.least() {
            // SAFETY: no busy lane has fewer blocks ahead; the caller knows the CPU.
            unsafe { self.run::<H>(blocks) };
            for lane in 0..H::Turn::LANES {
                // SAFETY: the lane's message is still readable.
                if unsafe { self.advance::<H>(lane, blocks, inner) } {
                    start(self, lane);
                }
            }
        }
    }

    /// Blocks until something changes in a busy lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    pub(super) fn least(&self) -> Option<usize> {
        // An idle lane's 0 becomes the largest number, which has no next one.
        self.ahead.iter().map(|n| n.wrapping_sub(1)).min()?.checked_add(1)
    }

    /// Puts a message into an idle lane.
    ///
    /// # Safety
    /// As [`hmac()`]; the source is readable memory when it is hashed, and its rest behind whole blocks when they are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    pub(super) unsafe fn start<H: Hash>(&mut self, lane: usize, place: usize, source: &Source) {
        let pad = source.key.pad(Pad::Inner);
        for (row, word) in self.state.iter_mut().zip(pad.chunks_exact(H::Turn::WORD)) {
            row[lane * H::Turn::WORD..][..H::Turn::WORD].copy_from_slice(word);
        }
        self.jobs[lane] = Job { place, len: source.len, esn: source.esn, in_tail: false };
        self.at[lane] = source.at;
        self.ahead[lane] = source.len / H::BLOCK;
        if self.ahead[lane] == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.turn_to_tail::<H>(lane) };
        }
    }

    /// Counts blocks that were hashed. True when that ended a message, whose digest is in `inner` then.
    ///
    /// # Safety
    /// As [`Self::start`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    pub(super) unsafe fn advance<H: Hash>(
        &mut self,
        lane: usize,
        blocks: usize,
        inner: &mut [[u8; 64]; BURST],
    ) -> bool {
        if self.ahead[lane] == 0 {
            return false;
        }
        self.ahead[lane] -= blocks;
        self.at[lane] = self.at[lane].wrapping_add(blocks * H::BLOCK);
        if self.ahead[lane] > 0 {
            return false;
        }
        if self.jobs[lane].in_tail {
            self.save::<H>(lane, &mut inner[self.jobs[lane].place]);
            return true;
        }
        // SAFETY: the caller's promise.
        unsafe { self.turn_to_tail::<H>(lane) };
        false
    }

    /// Rest of the message, number, one bit, zeros, length in bits (FIPS 180-4 §5.1.1, §5.1.2): one block or two. The
    /// pad's block counts too.
    ///
    /// # Safety
    /// `at` stands where the message's whole blocks end, and the rest is readable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    unsafe fn turn_to_tail<H: Hash>(&mut self, lane: usize) {
        let Job { len: whole, esn, .. } = self.jobs[lane];
        let mut len = whole % H::BLOCK;
        let mut bytes = H::BLOCK + whole;
        let room = &mut self.tail[lane];
        for (n, part) in room.as_chunks_mut::<64>().0.iter_mut().enumerate().take(H::BLOCK / 32) {
            #[allow(clippy::cast_possible_truncation, reason = "less than a block")]
            let mask = _bzhi_u64(!0, len.saturating_sub(n * 64).min(64) as u32);
            // SAFETY: the mask leaves what of the rest falls into this part; 64 bytes are writable.
            unsafe {
                let bytes = _mm512_maskz_loadu_epi8(mask, self.at[lane].wrapping_add(n * 64).cast());
                _mm512_storeu_si512(part.as_mut_ptr().cast(), bytes);
            }
        }
        if let Some(seq) = esn {
            room[len..len + 4].copy_from_slice(&high_half(seq));
            len += 4;
            bytes += 4;
        }
        room[len] = 0x80;
        let blocks = if len + 1 + 2 * H::Turn::WORD <= H::BLOCK { 1 } else { 2 };
        let end = blocks * H::BLOCK;
        room[end - 8..end].copy_from_slice(&(bytes as u64 * 8).to_be_bytes());
        self.at[lane] = room.as_ptr();
        self.ahead[lane] = blocks;
        self.jobs[lane].in_tail = true;
    }

    /// A lane's state is a message's inner digest.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    fn save<H: Hash>(&self, lane: usize, inner: &mut [u8; 64]) {
        for (word, row) in inner.chunks_exact_mut(H::Turn::WORD).zip(&self.state) {
            word.copy_from_slice(&row[lane * H::Turn::WORD..][..H::Turn::WORD]);
        }
    }

    /// # Safety
    /// As [`hmac()`], and every busy lane has `blocks` readable blocks from `at` on; one lane is busy.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    pub(super) unsafe fn run<H: Hash>(&mut self, blocks: usize) {
        let at = self.pointers();
        let mut state = self.load();
        for n in 0..blocks {
            // SAFETY: the caller's promise.
            unsafe { H::compress(&mut state, H::Turn::block(&at, n * H::BLOCK)) };
        }
        self.store(&state);
    }

    /// [`Self::run`] with work beside it; `next` is called before each block of it.
    ///
    /// # Safety
    /// As that, and what the work wants.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    pub(super) unsafe fn run_beside<H: HashBeside, B: Beside>(
        &mut self,
        blocks: usize,
        beside: &mut B,
        next: impl Fn(&mut B, usize),
    ) {
        let at = self.pointers();
        let mut state = self.load();
        for n in 0..blocks {
            next(beside, n);
            // SAFETY: the caller's promise.
            unsafe { H::compress_beside(&mut state, H::Turn::block(&at, n * H::BLOCK), beside) };
        }
        self.store(&state);
    }

    /// Where lanes read: one without a message does what a busy one does.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    fn pointers(&self) -> [*const u8; LANES] {
        let busy = self.ahead.iter().position(|&n| n > 0).unwrap_or(0);
        let mut at = self.at;
        for (at, ahead) in at.iter_mut().zip(&self.ahead) {
            *at = if *ahead == 0 { self.at[busy] } else { *at };
        }
        at
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    fn load(&self) -> [__m512i; 8] {
        let mut state = [_mm512_setzero_si512(); 8];
        for (vector, row) in state.iter_mut().zip(&self.state) {
            // SAFETY: a row is 64 bytes.
            *vector = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
        }
        state
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
    fn store(&mut self, state: &[__m512i; 8]) {
        for (vector, row) in state.iter().zip(&mut self.state) {
            // SAFETY: a row is 64 bytes.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), *vector) };
        }
    }
}
