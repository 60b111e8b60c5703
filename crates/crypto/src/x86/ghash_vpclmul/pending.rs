//! The hash of a packet's whole groups, a step at a time, beside the AES of other groups.
//!
//! Decides nothing. Reads: blocks, and the powers of a key. Never touches a packet.

use core::arch::x86_64::*;
use core::marker::PhantomData;

use super::{Products, order, power, reduce_first, reduce_second};
use crate::Key;
use crate::key::Strides;

/// How a group's blocks meet the powers of H.
pub(in crate::x86) trait Powers {
    /// Bytes of one vector's powers, and of two vectors' halves.
    const BYTES: usize;
    /// The group ends a sum of products: all lanes become one hash.
    const LAST: bool;

    /// # Safety
    /// `from` points to [`Self::BYTES`] readable bytes.
    unsafe fn load(from: *const u8) -> __m512i;

    /// Where the powers and the halves of them begin; `groups` of this kind lie ahead, this one among them.
    fn of_key(key: &Key, groups: usize) -> (*const u8, *const u8);
}

/// H^16 … H^1, one for each block.
pub(in crate::x86) enum EachBlock {}

/// [`Key::strides`]: one for the four blocks of a vector.
pub(in crate::x86) enum EachVector {}

impl Powers for EachBlock {
    const BYTES: usize = 64;
    const LAST: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn load(from: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline]
    fn of_key(key: &Key, _: usize) -> (*const u8, *const u8) {
        (power(key, 16), key.halves().as_ptr())
    }
}

impl Powers for EachVector {
    const BYTES: usize = 16;
    const LAST: bool = false;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn load(from: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline]
    fn of_key(key: &Key, groups: usize) -> (*const u8, *const u8) {
        let first = 4 * (SPAN - groups);
        let Strides { powers, halves } = &key.strides;
        (powers[first..].as_ptr().cast(), halves[first..].as_ptr().cast())
    }
}

/// Groups that are summed before one reduction, at most.
const SPAN: usize = 4;

/// A packet's hash after some of its groups: vectors alone, because among them the compiler would keep numbers in one, too.
pub(in crate::x86) struct Hash {
    /// Four hashes, one for each lane, or one in the first lane.
    lanes: __m512i,
    /// Products of the groups after those, not reduced yet.
    sum: Products,
    /// E(K, J0).
    pub(in crate::x86) mask: __m128i,
}

impl Hash {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(in crate::x86) fn new() -> Self {
        Self { lanes: _mm512_setzero_si512(), sum: Products::zero(), mask: _mm_setzero_si128() }
    }

    /// When all lanes are one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(in crate::x86) fn whole(&self) -> __m128i {
        _mm512_castsi512_si128(self.lanes)
    }
}

/// Of `groups` groups the last has powers for each block; those before it are summed as many at a time as possible, but for
/// the first sum. Returns how many groups that has.
#[inline]
pub(in crate::x86) fn first_sum(groups: usize) -> usize {
    groups.saturating_sub(2) % SPAN + 1
}

/// How many groups the sum has still after one more; `ahead` were it before.
#[inline]
pub(in crate::x86) fn after_one(ahead: usize) -> usize {
    if ahead > 1 { ahead - 1 } else { SPAN }
}

/// The hash of a group of 16 blocks under way: a step of it for each round of the AES beside it, so that the multiplier
/// and the AES unit work at the same time.
pub(in crate::x86) struct Pending<P> {
    blocks: [__m512i; 4],
    powers: *const u8,
    halves: *const u8,
    products: Products,
    /// Before the last steps: the sum's halves, half reduced.
    sum: (__m128i, __m128i),
    kind: PhantomData<P>,
}

impl<P: Powers> Pending<P> {
    /// `before`: the hash of all that came before. `ahead`: groups until the sum is reduced, this one among them; at most
    /// [`SPAN`].
    ///
    /// # Safety
    /// `key` is a GCM key and lives until the last step.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(in crate::x86) unsafe fn new(blocks: [__m512i; 4], before: &Hash, ahead: usize, key: &Key) -> Self {
        let zero = _mm_setzero_si128();
        let (powers, halves) = P::of_key(key, ahead);
        let products = if P::LAST { Products::zero() } else { before.sum };
        let mut me = Self { blocks, powers, halves, products, sum: (zero, zero), kind: PhantomData };
        me.blocks[0] = _mm512_xor_si512(blocks[0], before.lanes);
        me
    }

    /// Steps 1 to 9, as many as the shortest AES has rounds but the last. The first block waits longest for what came
    /// before: it is multiplied last. By Karatsuba's way: three multiplications for four.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(in crate::x86) fn step<const N: usize>(&mut self) {
        let (first, last) = ([self.blocks[0], self.blocks[1]], [self.blocks[2], self.blocks[3]]);
        match N {
            // SAFETY: the powers of four vectors and all their halves; the key lives (promised to `new`).
            1 => unsafe { self.products.add_ends::<P>(&last, self.powers.add(2 * P::BYTES)) },
            // SAFETY: as above.
            2 => unsafe { self.products.add_halves::<P>(&last, self.halves.add(P::BYTES)) },
            // SAFETY: as above.
            3 => unsafe { self.products.add_ends::<P>(&first, self.powers) },
            // SAFETY: as above.
            4 => unsafe { self.products.add_halves::<P>(&first, self.halves) },
            5 if P::LAST => self.products.settle_middle(),
            7 if P::LAST => self.sum = self.products.halves(),
            8 if P::LAST => self.sum.0 = reduce_first(self.sum.0),
            9 if P::LAST => self.sum.1 = reduce_second(self.sum.0, self.sum.1),
            _ => {}
        }
        if N <= 4 {
            order(&mut self.products.low);
            order(&mut self.products.middle);
            order(&mut self.products.high);
        }
    }

    /// All steps with nothing beside them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(in crate::x86) fn finish(mut self, hash: &mut Hash, ahead: usize) {
        self.step::<1>();
        self.step::<2>();
        self.step::<3>();
        self.step::<4>();
        self.step::<5>();
        self.step::<7>();
        self.step::<8>();
        self.step::<9>();
        self.settle(hash, ahead);
    }

    /// After all steps. `ahead` is what it was in [`Self::new`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    pub(in crate::x86) fn settle(&self, hash: &mut Hash, ahead: usize) {
        hash.lanes = _mm512_setzero_si512();
        if P::LAST {
            hash.lanes = _mm512_zextsi128_si512(self.sum.1);
        } else if ahead > 1 {
            hash.sum = self.products;
        } else {
            hash.lanes = self.products.reduce_lanes();
            hash.sum = Products::zero();
        }
    }
}
