//! The compression function of SHA-384 and SHA-512 (FIPS 180-4 §6.4.2) on eight lanes.
//!
//! Decides nothing. Reads and writes: the lanes' states and one block of each. Never: pads or counts.

use core::arch::x86_64::*;

use super::constants::K512;
use super::{Hash, Sha384, Sha512, turn};

macro_rules! round {
    ($w:ident, $k:ident, $t:literal, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        let key = _mm512_add_epi64($w[$t], _mm512_set1_epi64($k[$t].cast_signed()));
        let sum = xor3(_mm512_ror_epi64::<14>($e), _mm512_ror_epi64::<18>($e), _mm512_ror_epi64::<41>($e));
        let choice = _mm512_ternarylogic_epi64::<0xca>($e, $f, $g);
        let first = add(add($h, key), add(sum, choice));
        let sum = xor3(_mm512_ror_epi64::<28>($a), _mm512_ror_epi64::<34>($a), _mm512_ror_epi64::<39>($a));
        let majority = _mm512_ternarylogic_epi64::<0xe8>($a, $b, $c);
        $d = add($d, first);
        $h = add(first, add(sum, majority));
    };
}

/// Word $t of the next sixteen.
macro_rules! word {
    ($w:ident, $t:literal) => {
        $w[$t] = add(
            add($w[$t], small_sigma_0($w[($t + 1) & 15])),
            add($w[($t + 9) & 15], small_sigma_1($w[($t + 14) & 15])),
        );
    };
}

/// Sixteen rounds; unless they are the first ones, each makes its word before.
macro_rules! sixteen {
    ($w:ident, $k:ident, $step:ident, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        $step!($w, $k, 0, $a $b $c $d $e $f $g $h);
        $step!($w, $k, 1, $h $a $b $c $d $e $f $g);
        $step!($w, $k, 2, $g $h $a $b $c $d $e $f);
        $step!($w, $k, 3, $f $g $h $a $b $c $d $e);
        $step!($w, $k, 4, $e $f $g $h $a $b $c $d);
        $step!($w, $k, 5, $d $e $f $g $h $a $b $c);
        $step!($w, $k, 6, $c $d $e $f $g $h $a $b);
        $step!($w, $k, 7, $b $c $d $e $f $g $h $a);
        $step!($w, $k, 8, $a $b $c $d $e $f $g $h);
        $step!($w, $k, 9, $h $a $b $c $d $e $f $g);
        $step!($w, $k, 10, $g $h $a $b $c $d $e $f);
        $step!($w, $k, 11, $f $g $h $a $b $c $d $e);
        $step!($w, $k, 12, $e $f $g $h $a $b $c $d);
        $step!($w, $k, 13, $d $e $f $g $h $a $b $c);
        $step!($w, $k, 14, $c $d $e $f $g $h $a $b);
        $step!($w, $k, 15, $b $c $d $e $f $g $h $a);
    };
}

macro_rules! round_with_word {
    ($w:ident, $k:ident, $t:literal, $($state:ident)*) => {
        word!($w, $t);
        round!($w, $k, $t, $($state)*);
    };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn compress(state: &mut [__m512i; 8], mut w: [__m512i; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    let [first, rest @ ..] = K512.as_chunks::<16>().0 else { return };
    sixteen!(w, first, round, a b c d e f g h);
    for k in rest {
        sixteen!(w, k, round_with_word, a b c d e f g h);
    }
    for (old, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *old = add(*old, new);
    }
}

impl Hash for Sha512 {
    const BLOCK: usize = 128;
    const DIGEST: usize = 64;
    type Turn = turn::Wide;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn compress(state: &mut [__m512i; 8], w: [__m512i; 16]) {
        compress(state, w);
    }
}

impl Hash for Sha384 {
    const BLOCK: usize = 128;
    const DIGEST: usize = 48;
    type Turn = turn::Wide;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn compress(state: &mut [__m512i; 8], w: [__m512i; 16]) {
        compress(state, w);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn small_sigma_0(x: __m512i) -> __m512i {
    xor3(_mm512_ror_epi64::<1>(x), _mm512_ror_epi64::<8>(x), _mm512_srli_epi64::<7>(x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn small_sigma_1(x: __m512i) -> __m512i {
    xor3(_mm512_ror_epi64::<19>(x), _mm512_ror_epi64::<61>(x), _mm512_srli_epi64::<6>(x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}
