//! The compression functions (FIPS 180-4 §6.1.2, §6.2.2) on sixteen lanes.
//!
//! Decides nothing. Reads and writes: the lanes' states and one block of each. Never: pads or counts.

use core::arch::x86_64::*;

use super::{Narrow, Sha1, Sha256};

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
