//! HMAC with SHA-1 or SHA-256, sixteen messages at a time: word n of every lane stands in one 512-bit vector.
//!
//! Decides nothing. Reads: messages and pad states. Writes: digests. Never compares an ICV.
//!
//! Lanes have messages of different lengths and keys. A lane that ends its inner hash goes on to its outer one, then
//! takes the next message, so that all stay busy while there is work.

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

impl Narrow for Sha256 {
    const WORDS: usize = 8;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn compress(state: &mut [__m512i; 8], mut w: [__m512i; 16]) {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
        for (sixteen, constants) in K256.as_chunks::<16>().0.iter().enumerate() {
            for (t, constant) in constants.iter().enumerate() {
                if sixteen > 0 {
                    w[t] = add(
                        add(w[t], small_sigma_0(w[(t + 1) & 15])),
                        add(w[(t + 9) & 15], small_sigma_1(w[(t + 14) & 15])),
                    );
                }
                let key = _mm512_add_epi32(w[t], _mm512_set1_epi32(constant.cast_signed()));
                let sum_e =
                    xor3(_mm512_ror_epi32::<6>(e), _mm512_ror_epi32::<11>(e), _mm512_ror_epi32::<25>(e));
                let choice = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
                let first = add(add(h, key), add(sum_e, choice));
                let sum_a =
                    xor3(_mm512_ror_epi32::<2>(a), _mm512_ror_epi32::<13>(a), _mm512_ror_epi32::<22>(a));
                let majority = _mm512_ternarylogic_epi32::<0xe8>(a, b, c);
                (h, g, f, e) = (g, f, e, add(d, first));
                (d, c, b, a) = (c, b, a, add(first, add(sum_a, majority)));
            }
        }
        for (old, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *old = add(*old, new);
        }
    }
}

impl Narrow for Sha1 {
    const WORDS: usize = 5;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn compress(state: &mut [__m512i; 8], mut w: [__m512i; 16]) {
        let mut s = [state[0], state[1], state[2], state[3], state[4]];
        twenty::<0, 0xca>(&mut s, &mut w, 0x5a82_7999);
        twenty::<20, 0x96>(&mut s, &mut w, 0x6ed9_eba1);
        twenty::<40, 0xe8>(&mut s, &mut w, 0x8f1b_bcdc);
        twenty::<60, 0x96>(&mut s, &mut w, 0xca62_c1d6);
        for (old, new) in state.iter_mut().zip(s) {
            *old = add(*old, new);
        }
    }
}

/// Twenty rounds of SHA-1 from round `FIRST` on, with one logical function and one constant (FIPS 180-4 §6.1.2).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn twenty<const FIRST: usize, const LOGIC: i32>(s: &mut [__m512i; 5], w: &mut [__m512i; 16], constant: u32) {
    let constant = _mm512_set1_epi32(constant.cast_signed());
    let [mut a, mut b, mut c, mut d, mut e] = *s;
    for n in 0..20 {
        let t = (FIRST + n) & 15;
        if FIRST + n >= 16 {
            let mixed = xor3(w[t], w[(t + 2) & 15], _mm512_xor_si512(w[(t + 8) & 15], w[(t + 13) & 15]));
            w[t] = _mm512_rol_epi32::<1>(mixed);
        }
        let logic = _mm512_ternarylogic_epi32::<LOGIC>(b, c, d);
        let next = add(add(add(e, constant), w[t]), add(logic, _mm512_rol_epi32::<5>(a)));
        (e, d, c, b, a) = (d, c, _mm512_rol_epi32::<30>(b), a, next);
    }
    *s = [a, b, c, d, e];
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn small_sigma_0(x: __m512i) -> __m512i {
    xor3(_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x), _mm512_srli_epi32::<3>(x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn small_sigma_1(x: __m512i) -> __m512i {
    xor3(_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x), _mm512_srli_epi32::<10>(x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

/// FIPS 180-4 §4.2.2.
const K256: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];
