//! What a key precomputes for the AES kernels: round keys both ways, and the powers of the hash key.
//!
//! Decides nothing. Reads: the cipher key, once. Writes: [`Key::schedule`], [`Key::table`] and [`Key::strides`]. Constant time: no table
//! look-ups, no branch on key bits.

use core::arch::x86_64::{
    __m128i, _mm_aesenclast_si128, _mm_aesimc_si128, _mm_clmulepi64_si128, _mm_cvtsi128_si32,
    _mm_loadu_si128, _mm_set_epi64x, _mm_set1_epi32, _mm_setzero_si128, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_srli_si128, _mm_storeu_si128, _mm_xor_si128,
};

use zeroize::{Zeroize, Zeroizing};

use crate::Key;

/// Forward schedule, and H^16 … H^1 in the form that [`multiply`] wants, and their halves.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) fn gcm(key: &mut Key, cipher_key: &[u8]) {
    expand(key, cipher_key);
    let mut h = encrypt_zero(key);
    // GHASH on byte-reversed blocks is POLYVAL under H·x (RFC 8452, appendix A).
    let number = u128::from_be_bytes(h);
    let carry = 0u128.wrapping_sub(number >> 127);
    let first = (number << 1) ^ (carry & POLYNOMIAL);
    h.zeroize();
    let mut power = first;
    for entry in key.table.iter_mut().rev() {
        *entry = power.to_le_bytes();
        power = multiply(power, first);
    }
    fill_strides(key);
    key.fill_halves();
    power.zeroize();
}

/// H^4 to H^64, when the first sixteen powers stand.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn fill_strides(key: &mut Key) {
    let mut fourth = u128::from_le_bytes(key.table[12]);
    let mut power = fourth;
    for entry in key.strides.powers.iter_mut().rev() {
        *entry = power.to_le_bytes();
        power = multiply(power, fourth);
    }
    power.zeroize();
    fourth.zeroize();
}

/// Forward schedule, and the inverse one in order of its use. The last entry of the table stays what it is.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) fn cbc(key: &mut Key, cipher_key: &[u8]) {
    expand(key, cipher_key);
    let rounds = usize::from(key.rounds);
    for round in 0..=rounds {
        let forward = key.schedule[rounds - round];
        key.table[round] =
            if round == 0 || round == rounds { forward } else { bytes(_mm_aesimc_si128(vector(&forward))) };
    }
}

/// Forward schedule alone.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
pub(super) fn ctr(key: &mut Key, cipher_key: &[u8]) {
    expand(key, cipher_key);
}

/// FIPS 197 §5.2. `cipher_key` has 16, 24 or 32 bytes.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn expand(key: &mut Key, cipher_key: &[u8]) {
    let nk = cipher_key.len() / 4;
    let rounds = nk + 6;
    let mut words = Zeroizing::new([0u32; 60]);
    for (word, bytes) in words.iter_mut().zip(cipher_key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let mut rcon = 1u32;
    for i in nk..4 * (rounds + 1) {
        let mut word = words[i - 1];
        if i % nk == 0 {
            word = sub_word(word.rotate_right(8)) ^ rcon;
            rcon = (rcon << 1) ^ ((rcon >> 7) * 0x11b);
        } else if nk > 6 && i % nk == 4 {
            word = sub_word(word);
        }
        words[i] = words[i - nk] ^ word;
    }
    for (bytes, word) in key.schedule.as_flattened_mut().as_chunks_mut::<4>().0.iter_mut().zip(words.iter()) {
        *bytes = word.to_le_bytes();
    }
    key.rounds = if nk == 4 {
        10
    } else if nk == 6 {
        12
    } else {
        14
    };
}

/// The S-box on each byte: the last round on four equal columns, where shifting rows changes nothing.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn sub_word(word: u32) -> u32 {
    let columns = _mm_set1_epi32(word.cast_signed());
    _mm_cvtsi128_si32(_mm_aesenclast_si128(columns, _mm_setzero_si128())).cast_unsigned()
}

#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn encrypt_zero(key: &Key) -> [u8; 16] {
    let rounds = usize::from(key.rounds);
    let mut state = vector(&key.schedule[0]);
    for round in &key.schedule[1..rounds] {
        state = core::arch::x86_64::_mm_aesenc_si128(state, vector(round));
    }
    bytes(_mm_aesenclast_si128(state, vector(&key.schedule[rounds])))
}

/// x^128 = x^127 + x^126 + x^121 + 1 in POLYVAL's field (RFC 8452 §3).
const POLYNOMIAL: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;

/// a·b·x^-128, POLYVAL's "dot".
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn multiply(a: u128, b: u128) -> u128 {
    let (a, b) = (vector(&a.to_le_bytes()), vector(&b.to_le_bytes()));
    let poly = _mm_set_epi64x(0xc200_0000_0000_0000u64.cast_signed(), 1);
    let middle = _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b));
    let low = _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(a, b), _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(_mm_clmulepi64_si128::<0x11>(a, b), _mm_srli_si128::<8>(middle));
    let once = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), _mm_clmulepi64_si128::<0x10>(low, poly));
    let twice = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(once), _mm_clmulepi64_si128::<0x10>(once, poly));
    u128::from_le_bytes(bytes(_mm_xor_si128(high, twice)))
}

fn vector(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 readable bytes, no alignment asked for; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

pub(super) fn bytes(vector: __m128i) -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: 16 writable bytes, no alignment asked for; SSE2 is part of x86-64.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) };
    bytes
}
