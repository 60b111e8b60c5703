//! AES-GCM, and its halves GMAC and CTR, for ESP on 512-bit vectors (VAES, VPCLMULQDQ): the whole burst in one function, one packet after the other,
//! so that the out-of-order core overlaps neighbours.
//!
//! Decides: whether an ICV is right, in constant time, before the packet is decrypted. Reads and writes: bodies and ICVs
//! of prepared packets, and the header when sealing. Never: padding and trailers, they are `frame`'s.
//!
//! In lane 0 of the first vector ride the two guests of block 0 (see `gcm`). Sixteen blocks (a *group*) share one
//! reduction.

mod run;

use core::arch::x86_64::*;

use super::gcm::Unit;
use crate::engine::{Group, members};
use crate::{OpenJob, SealJob};
use run::{Run, encrypt};

/// Bytes under one reduction: 16 blocks in 4 vectors.
const GROUP: usize = 256;
const VECTOR: usize = 64;

/// Seals the prepared AES-GCM jobs of `group`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn seal(jobs: &mut [SealJob], group: Group) {
    for n in members(group) {
        // SAFETY: a unit of a prepared job covers its packet.
        unsafe { seal_unit(&Unit::sealing(&mut jobs[n])) };
    }
}

/// Opens the AES-GCM packets of `group`; the authentic ones are answered and decrypted.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn open(jobs: &mut [OpenJob], group: Group) -> Group {
    let mut authentic = 0;
    for n in members(group) {
        // SAFETY: a unit of a packet of possible length covers it.
        if unsafe { open_unit(&Unit::opening(&mut jobs[n])) } {
            authentic |= 1 << n;
        }
    }
    authentic
}

/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, `unit.body` > 0, and `unit.key` is an
/// AES-GCM key.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) unsafe fn seal_unit(unit: &Unit) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match unit.key.rounds {
            10 => seal_rounds::<10>(unit),
            12 => seal_rounds::<12>(unit),
            _ => seal_rounds::<14>(unit),
        }
    }
}

/// # Safety
/// As [`seal_unit`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) unsafe fn open_unit(unit: &Unit) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match unit.key.rounds {
            10 => open_rounds::<10>(unit),
            12 => open_rounds::<12>(unit),
            _ => open_rounds::<14>(unit),
        }
    }
}

/// # Safety
/// As [`seal_unit`], and the key has `R` rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_rounds<const R: usize>(unit: &Unit) {
    let stream = 16 + unit.body;
    let mut run = Run::new(unit);
    let full = (stream - 1) / GROUP;
    // SAFETY: `full` groups and `rest` bytes are exactly the stream, which lies in the packet; the ICV follows it.
    unsafe {
        if full == 0 {
            run.seal_last::<R, true>(stream);
        } else {
            run.seal_group::<R, 4, true>(GROUP);
            for _ in 1..full {
                run.seal_group::<R, 4, false>(GROUP);
            }
            run.seal_last::<R, false>(stream - full * GROUP);
        }
        _mm_storeu_si128(unit.packet.add(stream).cast(), run.tag());
    }
}

/// # Safety
/// As [`seal_rounds`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_rounds<const R: usize>(unit: &Unit) -> bool {
    let stream = 16 + unit.body;
    // SAFETY: as in `seal_rounds`.
    unsafe {
        match stream.div_ceil(VECTOR) {
            1 => open_stream::<R, 1>(unit, stream),
            2 => open_stream::<R, 2>(unit, stream),
            3 => open_stream::<R, 3>(unit, stream),
            _ => open_stream::<R, 4>(unit, stream),
        }
    }
}

/// `N`: vectors in the packet's first group. Their keystream is made while the packet is hashed, and used once the tag
/// is known to be right.
///
/// # Safety
/// As [`seal_rounds`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_stream<const R: usize, const N: usize>(unit: &Unit, stream: usize) -> bool {
    let mut run = Run::new(unit);
    let full = (stream - 1) / GROUP;
    let rest = stream - full * GROUP;
    let keystream = encrypt::<R, N>(unit.key, run.first_counters());
    run.mask = _mm512_castsi512_si128(keystream[0]);
    // SAFETY: `full` groups and `rest` bytes are exactly the stream, which lies in the packet; the ICV follows it.
    unsafe {
        if full == 0 {
            run.hash_last::<N, true>(stream);
        } else {
            run.hash_group::<true>();
            for _ in 1..full {
                run.hash_group::<false>();
            }
            match rest.div_ceil(VECTOR) {
                1 => run.hash_last::<1, false>(rest),
                2 => run.hash_last::<2, false>(rest),
                3 => run.hash_last::<3, false>(rest),
                _ => run.hash_last::<4, false>(rest),
            }
        }
        let received = _mm_loadu_si128(unit.packet.add(stream).cast());
        let difference = _mm_xor_si128(received, run.tag());
        if _mm_testz_si128(difference, difference) == 0 {
            return false;
        }
        run.at = unit.packet;
        run.apply::<N, true>(keystream, stream.min(GROUP));
        for _ in 1..full {
            run.crypt_group::<R, 4>(GROUP);
        }
        if full > 0 {
            match rest.div_ceil(VECTOR) {
                1 => run.crypt_group::<R, 1>(rest),
                2 => run.crypt_group::<R, 2>(rest),
                3 => run.crypt_group::<R, 3>(rest),
                _ => run.crypt_group::<R, 4>(rest),
            }
        }
    }
    true
}

/// The tag of an AES-GMAC packet.
///
/// # Safety
/// `unit` is made by `Unit::authenticating` of a packet with a body, and its key is an AES-GMAC key.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) unsafe fn gmac_unit(unit: &Unit) -> __m128i {
    let stream = 16 + unit.body;
    let mut run = Run::new(unit);
    let full = (stream - 1) / GROUP;
    let rest = stream - full * GROUP;
    let counters = run.first_counters();
    let [first] = match unit.key.rounds {
        10 => encrypt::<10, 1>(unit.key, counters),
        12 => encrypt::<12, 1>(unit.key, counters),
        _ => encrypt::<14, 1>(unit.key, counters),
    };
    run.mask = _mm512_castsi512_si128(first);
    // SAFETY: `full` groups and `rest` bytes are exactly the stream; all but its block 0, which is not read, lies in the
    // packet.
    unsafe {
        if full == 0 {
            match rest.div_ceil(VECTOR) {
                1 => run.hash_last::<1, true>(rest),
                2 => run.hash_last::<2, true>(rest),
                3 => run.hash_last::<3, true>(rest),
                _ => run.hash_last::<4, true>(rest),
            }
        } else {
            run.hash_group::<true>();
            for _ in 1..full {
                run.hash_group::<false>();
            }
            match rest.div_ceil(VECTOR) {
                1 => run.hash_last::<1, false>(rest),
                2 => run.hash_last::<2, false>(rest),
                3 => run.hash_last::<3, false>(rest),
                _ => run.hash_last::<4, false>(rest),
            }
        }
    }
    run.tag()
}

/// En- or decrypts the body of an AES-CTR packet.
///
/// # Safety
/// `unit` is made by `Unit::counting` of a packet that nobody else touches, and its key is an AES-CTR key.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) unsafe fn ctr_unit(unit: &Unit) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match unit.key.rounds {
            10 => ctr_rounds::<10>(unit),
            12 => ctr_rounds::<12>(unit),
            _ => ctr_rounds::<14>(unit),
        }
    }
}

/// # Safety
/// As [`ctr_unit`], and the key has `R` rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn ctr_rounds<const R: usize>(unit: &Unit) {
    let mut run = Run::new(unit);
    run.skip_header();
    let (full, rest) = (unit.body / GROUP, unit.body % GROUP);
    // SAFETY: `full` groups and `rest` bytes are exactly the body.
    unsafe {
        for _ in 0..full {
            run.crypt_group::<R, 4>(GROUP);
        }
        match rest.div_ceil(VECTOR) {
            0 => {}
            1 => run.crypt_group::<R, 1>(rest),
            2 => run.crypt_group::<R, 2>(rest),
            3 => run.crypt_group::<R, 3>(rest),
            _ => run.crypt_group::<R, 4>(rest),
        }
    }
}
