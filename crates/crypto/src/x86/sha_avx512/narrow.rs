//! The compression functions of SHA-1 and SHA-256 (FIPS 180-4 §6.1.2, §6.2.2) on sixteen lanes.
//!
//! Decides nothing. Reads and writes: the lanes' states and one block of each. Never: pads or counts.
//!
//! Rounds are macros with literal numbers: in a loop the compiler keeps the schedule in memory, at half the speed.

use core::arch::x86_64::*;

use super::constants::K256;
use super::{Beside, Hash, HashBeside, Sha1, Sha256, turn};

macro_rules! sha256_round {
    ($w:ident, $k:ident, $beside:ident $part:expr, $t:literal, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        let key = _mm512_add_epi32($w[$t], _mm512_set1_epi32($k[$t].cast_signed()));
        let sum = xor3(_mm512_ror_epi32::<6>($e), _mm512_ror_epi32::<11>($e), _mm512_ror_epi32::<25>($e));
        let choice = _mm512_ternarylogic_epi32::<0xca>($e, $f, $g);
        let first = add(add($h, key), add(sum, choice));
        let sum = xor3(_mm512_ror_epi32::<2>($a), _mm512_ror_epi32::<13>($a), _mm512_ror_epi32::<22>($a));
        let majority = _mm512_ternarylogic_epi32::<0xe8>($a, $b, $c);
        $d = add($d, first);
        $h = add(first, add(sum, majority));
        // SAFETY: the promise of whoever hashes.
        unsafe { $beside.step::<$t>($part) };
    };
}

/// Word $t of the next sixteen.
macro_rules! sha256_word {
    ($w:ident, $t:literal) => {
        $w[$t] = add(
            add($w[$t], small_sigma_0($w[($t + 1) & 15])),
            add($w[($t + 9) & 15], small_sigma_1($w[($t + 14) & 15])),
        );
    };
}

/// Sixteen rounds; unless they are the first ones, each makes its word before.
macro_rules! sha256_sixteen {
    ($w:ident, $k:ident, $beside:ident $part:expr, $step:ident, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        $step!($w, $k, $beside $part, 0, $a $b $c $d $e $f $g $h);
        $step!($w, $k, $beside $part, 1, $h $a $b $c $d $e $f $g);
        $step!($w, $k, $beside $part, 2, $g $h $a $b $c $d $e $f);
        $step!($w, $k, $beside $part, 3, $f $g $h $a $b $c $d $e);
        $step!($w, $k, $beside $part, 4, $e $f $g $h $a $b $c $d);
        $step!($w, $k, $beside $part, 5, $d $e $f $g $h $a $b $c);
        $step!($w, $k, $beside $part, 6, $c $d $e $f $g $h $a $b);
        $step!($w, $k, $beside $part, 7, $b $c $d $e $f $g $h $a);
        $step!($w, $k, $beside $part, 8, $a $b $c $d $e $f $g $h);
        $step!($w, $k, $beside $part, 9, $h $a $b $c $d $e $f $g);
        $step!($w, $k, $beside $part, 10, $g $h $a $b $c $d $e $f);
        $step!($w, $k, $beside $part, 11, $f $g $h $a $b $c $d $e);
        $step!($w, $k, $beside $part, 12, $e $f $g $h $a $b $c $d);
        $step!($w, $k, $beside $part, 13, $d $e $f $g $h $a $b $c);
        $step!($w, $k, $beside $part, 14, $c $d $e $f $g $h $a $b);
        $step!($w, $k, $beside $part, 15, $b $c $d $e $f $g $h $a);
    };
}

macro_rules! sha256_round_with_word {
    ($w:ident, $k:ident, $beside:ident $part:expr, $t:literal, $($state:ident)*) => {
        sha256_word!($w, $t);
        sha256_round!($w, $k, $beside $part, $t, $($state)*);
    };
}

/// One block in every lane, and the work beside it.
macro_rules! sha256_block {
    ($state:ident, $w:ident, $work:ident) => {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *$state;
        let [first, rest @ ..] = K256.as_chunks::<16>().0 else { return };
        sha256_sixteen!($w, first, $work 0, sha256_round, a b c d e f g h);
        for (n, k) in rest.iter().enumerate() {
            sha256_sixteen!($w, k, $work n + 1, sha256_round_with_word, a b c d e f g h);
        }
        for (old, new) in $state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *old = add(*old, new);
        }
    };
}

impl Hash for Sha256 {
    const BLOCK: usize = 64;
    const DIGEST: usize = 32;
    type Turn = turn::Narrow;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn compress(state: &mut [__m512i; 8], mut w: [__m512i; 16]) {
        let mut nothing = ();
        sha256_block!(state, w, nothing);
    }
}

impl HashBeside for Sha256 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
    unsafe fn compress_beside<B: Beside>(state: &mut [__m512i; 8], mut w: [__m512i; 16], beside: &mut B) {
        // A copy, which no store through a pointer of its can change: it stays in registers.
        let mut work = *beside;
        sha256_block!(state, w, work);
        *beside = work;
    }
}

macro_rules! sha1_round {
    ($w:ident, $k:ident, $beside:ident, $logic:literal, $t:expr, $a:ident $b:ident $c:ident $d:ident $e:ident) => {
        if $t >= 16 {
            let far = _mm512_xor_si512($w[($t + 8) & 15], $w[($t + 13) & 15]);
            $w[$t & 15] = _mm512_rol_epi32::<1>(xor3($w[$t & 15], $w[($t + 2) & 15], far));
        }
        let logic = _mm512_ternarylogic_epi32::<$logic>($b, $c, $d);
        let sum = add(add($e, $k), add($w[$t & 15], logic));
        $e = add(sum, _mm512_rol_epi32::<5>($a));
        $b = _mm512_rol_epi32::<30>($b);
        // SAFETY: the promise of whoever hashes.
        unsafe { $beside.step::<{ $t % 20 }>($t / 20) };
    };
}

/// Twenty rounds with one logical function and one constant.
macro_rules! sha1_twenty {
    ($w:ident, $k:literal, $beside:ident, $logic:literal, $a:ident $b:ident $c:ident $d:ident $e:ident, $($t:literal)*) => {
        let k = _mm512_set1_epi32(u32::cast_signed($k));
        $(
            sha1_round!($w, k, $beside, $logic, $t, $a $b $c $d $e);
            sha1_round!($w, k, $beside, $logic, $t + 1, $e $a $b $c $d);
            sha1_round!($w, k, $beside, $logic, $t + 2, $d $e $a $b $c);
            sha1_round!($w, k, $beside, $logic, $t + 3, $c $d $e $a $b);
            sha1_round!($w, k, $beside, $logic, $t + 4, $b $c $d $e $a);
        )*
    };
}

/// One block in every lane, and the work beside it.
macro_rules! sha1_block {
    ($state:ident, $w:ident, $work:ident) => {
        let [mut a, mut b, mut c, mut d, mut e, ..] = *$state;
        sha1_twenty!($w, 0x5a82_7999, $work, 0xca, a b c d e, 0 5 10 15);
        sha1_twenty!($w, 0x6ed9_eba1, $work, 0x96, a b c d e, 20 25 30 35);
        sha1_twenty!($w, 0x8f1b_bcdc, $work, 0xe8, a b c d e, 40 45 50 55);
        sha1_twenty!($w, 0xca62_c1d6, $work, 0x96, a b c d e, 60 65 70 75);
        for (old, new) in $state.iter_mut().zip([a, b, c, d, e]) {
            *old = add(*old, new);
        }
    };
}

impl Hash for Sha1 {
    const BLOCK: usize = 64;
    const DIGEST: usize = 20;
    type Turn = turn::Narrow;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn compress(state: &mut [__m512i; 8], mut w: [__m512i; 16]) {
        let mut nothing = ();
        sha1_block!(state, w, nothing);
    }
}

impl HashBeside for Sha1 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
    unsafe fn compress_beside<B: Beside>(state: &mut [__m512i; 8], mut w: [__m512i; 16], beside: &mut B) {
        let mut work = *beside;
        sha1_block!(state, w, work);
        *beside = work;
    }
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
