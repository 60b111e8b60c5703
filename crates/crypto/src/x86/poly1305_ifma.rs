//! Poly1305 of eight packets at a time on 52-bit multiply-add (AVX-512 IFMA): every lane has its own key and length.
//!
//! Decides: which packets share a pass. Reads: one-time keys, associated data, ciphertext. Answers tags. Constant time in
//! all but lengths.
//!
//! The arithmetic is `poly1305`'s, limbs of 44, 44 and 42 bits, but two blocks a step: (h + a) · r² + b · r. The first
//! pair ends with the associated data or the block behind it, so that the last one ends with the lengths.

use core::arch::x86_64::*;

use crate::engine::BURST;

/// One packet to hash.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) one_time_key: &'a [u8; 32],
    /// One block with zeros behind what there is, which is at least a byte.
    pub(super) aad: &'a [u8; 16],
    pub(super) aad_len: usize,
    /// Not empty.
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    fn blocks(&self) -> usize {
        self.body.len().div_ceil(16)
    }

    /// With an even number of blocks the first of them goes with the associated data.
    fn begins_alone(&self) -> bool {
        self.blocks() % 2 == 1
    }

    /// Pairs of whole blocks between the first pair and the last.
    fn pairs(&self) -> usize {
        (self.blocks() - 1) / 2
    }

    fn middle(&self) -> *const u8 {
        self.body.as_ptr().wrapping_add(if self.begins_alone() { 0 } else { 16 })
    }
}

const LANES: usize = 8;

type Limbs = [__m512i; 3];

/// The tags of all messages, in their order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn tags(messages: &[Message], out: &mut [[u8; 16]; BURST]) {
    let mut order: [u8; BURST] = ORDER;
    let order = &mut order[..messages.len().min(BURST)];
    if !messages.is_sorted_by(|a, b| a.pairs() >= b.pairs()) {
        order.sort_unstable_by_key(|&n| usize::MAX - messages[usize::from(n)].pairs());
    }
    for group in order.chunks(LANES) {
        // A lane without a message reads along with the first one.
        let lane = |n: usize| &messages[usize::from(group.get(n).copied().unwrap_or(group[0]))];
        // SAFETY: in each group the first message is the longest.
        let made = unsafe { tags_of_group(&core::array::from_fn(lane), group.len()) };
        for (tag, &n) in made.iter().zip(group) {
            out[usize::from(n)] = *tag;
        }
    }
}

const ORDER: [u8; BURST] = {
    let mut order = [0; BURST];
    let mut n = 0u8;
    while (n as usize) < BURST {
        order[n as usize] = n;
        n += 1;
    }
    order
};

/// First and last pair of blocks, which do not lie in the packet as they are hashed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn ends(message: &Message) -> (__m256i, __m256i) {
    let body = message.body;
    // SAFETY: a block.
    let aad = unsafe { _mm_loadu_si128(message.aad.as_ptr().cast()) };
    let first = if message.begins_alone() {
        _mm256_set_m128i(aad, _mm_setzero_si128())
    } else {
        _mm256_set_m128i(padded(&body[..16.min(body.len())]), aad)
    };
    #[allow(clippy::cast_possible_wrap, reason = "lengths of a packet")]
    let lengths = _mm_set_epi64x(body.len() as i64, message.aad_len as i64);
    (first, _mm256_set_m128i(lengths, padded(&body[(message.blocks() - 1) * 16..])))
}

/// At most 16 bytes, and zeros behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn padded(bytes: &[u8]) -> __m128i {
    let part = u16::MAX >> (16 - bytes.len().min(16));
    // SAFETY: the mask leaves the slice's bytes.
    unsafe { _mm_maskz_loadu_epi8(part, bytes.as_ptr().cast()) }
}

/// # Safety
/// The first so many of the lanes count. None has more pairs than one before it, and those behind are as the first.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
unsafe fn tags_of_group(lanes: &[&Message; LANES], count: usize) -> [[u8; 16]; LANES] {
    let [a, b, c, d, e, f, g, h] = lanes.map(|message| ends(message));
    let first = turned([a.0, b.0, c.0, d.0, e.0, f.0, g.0, h.0]);
    let last = turned([a.1, b.1, c.1, d.1, e.1, f.1, g.1, h.1]);
    // SAFETY: each points to 32 bytes.
    let keys = unsafe { load(&lanes.map(|message| message.one_time_key.as_ptr()), 0) };
    let [r_low, r_high, pad_low, pad_high] = keys;
    //= https://www.rfc-editor.org/rfc/rfc8439#section-2.5
    //# clamp(r): r &= 0x0ffffffc0ffffffc0ffffffc0fffffff
    let r = limbs(
        _mm512_and_si512(r_low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff)),
        _mm512_and_si512(r_high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc)),
    );
    let once = Factor::new(r);
    let twice = Factor::new(Sums::zero().plus(r, &once).carried());

    let top = _mm512_set1_epi64(1 << 40);
    let alone =
        lanes.iter().enumerate().fold(0, |set: u8, (n, message)| set | u8::from(message.begins_alone()) << n);
    let [mut a, mut b] = [limbs(first[0], first[1]), limbs(first[2], first[3])];
    a[2] = _mm512_mask_add_epi64(a[2], !alone, a[2], top);
    b[2] = _mm512_add_epi64(b[2], top);
    let mut h = Sums::zero().plus(b, &once).plus(a, &twice).carried();

    let step = |h: Limbs, pair: [__m512i; 4]| {
        let [mut a, mut b] = [limbs(pair[0], pair[1]), limbs(pair[2], pair[3])];
        b[2] = _mm512_or_si512(b[2], top);
        a[2] = _mm512_or_si512(a[2], top);
        Sums::zero().plus(b, &once).plus(add(a, h), &twice).carried()
    };
    let mut at = lanes.map(Message::middle);
    let (mut live, mut done) = (count, 0);
    while live > 0 {
        let until = lanes[live - 1].pairs();
        let busy = u8::MAX >> (LANES - live);
        for pair in done..until {
            // SAFETY: all lanes read what a message with that many pairs has.
            let next = step(h, unsafe { load(&at, pair * 32) });
            h = [0, 1, 2].map(|n| _mm512_mask_mov_epi64(h[n], busy, next[n]));
        }
        done = until;
        while live > 0 && lanes[live - 1].pairs() == done {
            live -= 1;
            at[live] = at[0];
        }
    }
    finish(step(h, last), pad_low, pad_high)
}

/// A factor of products: its limbs, and the last two times 20: what wraps round 2^130 comes back five-fold, four of it by
/// the limbs' widths.
struct Factor {
    r: Limbs,
    r20: [__m512i; 2],
}

impl Factor {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn new(r: Limbs) -> Self {
        let times_20 = |x| times_5(_mm512_slli_epi64::<2>(x));
        Self { r, r20: [times_20(r[1]), times_20(r[2])] }
    }
}

/// Sums of products of 104 bits, lower and upper 52 apart.
struct Sums {
    lower: Limbs,
    upper: Limbs,
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn zero() -> Self {
        Self { lower: [_mm512_setzero_si512(); 3], upper: [_mm512_setzero_si512(); 3] }
    }

    /// + x · r
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn plus(mut self, x: Limbs, factor: &Factor) -> Self {
        let ([r0, r1, r2], [r1_20, r2_20]) = (factor.r, factor.r20);
        for (x, r) in x.into_iter().zip([[r0, r1, r2], [r2_20, r0, r1], [r1_20, r2_20, r0]]) {
            for (n, r) in r.into_iter().enumerate() {
                self.lower[n] = _mm512_madd52lo_epu64(self.lower[n], x, r);
                self.upper[n] = _mm512_madd52hi_epu64(self.upper[n], x, r);
            }
        }
        self
    }

    /// As limbs again: an upper half weighs 2^8 of the next limb.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn carried(self) -> Limbs {
        let ([lower_0, lower_1, lower_2], [upper_0, upper_1, upper_2]) = (self.lower, self.upper);
        let (low_44, low_42) = (_mm512_set1_epi64((1 << 44) - 1), _mm512_set1_epi64((1 << 42) - 1));
        let lower_1 = _mm512_add_epi64(lower_1, _mm512_slli_epi64::<8>(upper_0));
        let lower_2 = _mm512_add_epi64(lower_2, _mm512_slli_epi64::<8>(upper_1));
        let lower_1 = _mm512_add_epi64(lower_1, _mm512_srli_epi64::<44>(lower_0));
        let lower_2 = _mm512_add_epi64(lower_2, _mm512_srli_epi64::<44>(lower_1));
        let carry = _mm512_add_epi64(_mm512_srli_epi64::<42>(lower_2), _mm512_slli_epi64::<10>(upper_2));
        let folded = _mm512_add_epi64(_mm512_and_si512(lower_0, low_44), times_5(carry));
        [
            _mm512_and_si512(folded, low_44),
            _mm512_add_epi64(_mm512_and_si512(lower_1, low_44), _mm512_srli_epi64::<44>(folded)),
            _mm512_and_si512(lower_2, low_42),
        ]
    }
}

/// h mod 2^130 − 5, + pad mod 2^128, in bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn finish(h: Limbs, pad_low: __m512i, pad_high: __m512i) -> [[u8; 16]; LANES] {
    let (low_44, low_42) = (_mm512_set1_epi64((1 << 44) - 1), _mm512_set1_epi64((1 << 42) - 1));
    let [h0, h1, h2] = carried(carried(h));
    // h − p, which is h if that would be negative.
    let g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
    let g1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(g0));
    let g2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(g1));
    let over = _mm512_cmpgt_epu64_mask(g2, low_42);
    let h0 = _mm512_mask_and_epi64(h0, over, g0, low_44);
    let h1 = _mm512_mask_and_epi64(h1, over, g1, low_44);
    let h2 = _mm512_mask_and_epi64(h2, over, g2, low_42);
    let low = _mm512_or_si512(h0, _mm512_slli_epi64::<44>(h1));
    let high = _mm512_or_si512(_mm512_srli_epi64::<20>(h1), _mm512_slli_epi64::<24>(h2));
    let low = _mm512_add_epi64(low, pad_low);
    let carry = _mm512_cmplt_epu64_mask(low, pad_low);
    let high = _mm512_add_epi64(high, pad_high);
    let high = _mm512_mask_add_epi64(high, carry, high, _mm512_set1_epi64(1));
    let (even, odd) = (_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
    let mut tags = [[0; 16]; LANES];
    let order = |first| {
        _mm512_setr_epi64(
            first,
            first + 1,
            first + 8,
            first + 9,
            first + 2,
            first + 3,
            first + 10,
            first + 11,
        )
    };
    // SAFETY: eight tags are two vectors.
    unsafe {
        let to: *mut __m512i = tags.as_mut_ptr().cast();
        _mm512_storeu_si512(to, _mm512_permutex2var_epi64(even, order(0), odd));
        _mm512_storeu_si512(to.add(1), _mm512_permutex2var_epi64(even, order(4), odd));
    }
    tags
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn carried([h0, h1, h2]: Limbs) -> Limbs {
    let (low_44, low_42) = (_mm512_set1_epi64((1 << 44) - 1), _mm512_set1_epi64((1 << 42) - 1));
    let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
    let h2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(h1));
    let h0 = _mm512_add_epi64(_mm512_and_si512(h0, low_44), times_5(_mm512_srli_epi64::<42>(h2)));
    let h1 = _mm512_add_epi64(_mm512_and_si512(h1, low_44), _mm512_srli_epi64::<44>(h0));
    [_mm512_and_si512(h0, low_44), h1, _mm512_and_si512(h2, low_42)]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn add(a: Limbs, b: Limbs) -> Limbs {
    [_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn times_5(x: __m512i) -> __m512i {
    _mm512_add_epi64(x, _mm512_slli_epi64::<2>(x))
}

/// A block of 128 bits in limbs of 44, 44 and 40.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn limbs(low: __m512i, high: __m512i) -> Limbs {
    let low_44 = _mm512_set1_epi64((1 << 44) - 1);
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [_mm512_and_si512(low, low_44), _mm512_and_si512(middle, low_44), _mm512_srli_epi64::<24>(high)]
}

/// Two blocks of each lane: lower and upper halves of the first, of the second.
///
/// # Safety
/// Every pointer has 32 readable bytes behind `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
unsafe fn load(at: &[*const u8; LANES], offset: usize) -> [__m512i; 4] {
    let [a, b, c, d, e, f, g, h] = *at;
    // SAFETY: the caller's promise.
    let blocks = |at: *const u8| unsafe { _mm256_loadu_si256(at.add(offset).cast()) };
    turned([blocks(a), blocks(b), blocks(c), blocks(d), blocks(e), blocks(f), blocks(g), blocks(h)])
}

/// From two blocks of each lane: lower and upper halves of all lanes' first, of their second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn turned([a, b, c, d, e, f, g, h]: [__m256i; LANES]) -> [__m512i; 4] {
    let two = |a, b| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
    // Ordered so that lanes come out in theirs.
    let ([ac, eg], [bd, fh]) = ([two(a, c), two(e, g)], [two(b, d), two(f, h)]);
    let (low_a, high_a) = (_mm512_unpacklo_epi64(ac, bd), _mm512_unpackhi_epi64(ac, bd));
    let (low_e, high_e) = (_mm512_unpacklo_epi64(eg, fh), _mm512_unpackhi_epi64(eg, fh));
    [
        _mm512_shuffle_i64x2::<0x88>(low_a, low_e),
        _mm512_shuffle_i64x2::<0x88>(high_a, high_e),
        _mm512_shuffle_i64x2::<0xdd>(low_a, low_e),
        _mm512_shuffle_i64x2::<0xdd>(high_a, high_e),
    ]
}
