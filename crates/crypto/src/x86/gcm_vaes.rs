//! AES-GCM, and its halves GMAC and CTR, for ESP on 512-bit vectors (VAES, VPCLMULQDQ): the whole burst in one function,
//! one packet after the other, so that the out-of-order core overlaps neighbours. Within a long packet the hash of one
//! group runs beside the AES of another.
//!
//! Decides: whether an ICV is right, in constant time; no packet comes out decrypted whose ICV is not. Reads and writes: bodies and ICVs
//! of prepared packets, and the header when sealing. Never: padding and trailers, they are `frame`'s.
//!
//! In lane 0 of the first vector ride the two guests of block 0 (see `gcm`). Sixteen blocks (a *group*) share one
//! reduction.

mod aes;
mod run;

use core::arch::x86_64::*;

use super::gcm::Unit;
use crate::engine::{Group, members};
use crate::{OpenJob, SealJob};
use aes::encrypt;
use run::Run;

/// Bytes under one reduction: 16 blocks in 4 vectors.
const GROUP: usize = 256;
const VECTOR: usize = 64;

/// Seals the prepared AES-GCM jobs of `group`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn seal(jobs: &mut [SealJob], group: Group) {
    let [short, middle, long] = by_rounds(group, |n| jobs[n].key.rounds);
    seal_each::<10>(jobs, short);
    seal_each::<12>(jobs, middle);
    seal_each::<14>(jobs, long);
}

/// Opens the AES-GCM packets of `group`; the authentic ones are answered and decrypted.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn open(jobs: &mut [OpenJob], group: Group) -> Group {
    let [short, middle, long] = by_rounds(group, |n| jobs[n].key.rounds);
    open_each::<10>(jobs, short) | open_each::<12>(jobs, middle) | open_each::<14>(jobs, long)
}

/// The members of a group by the length of their keys, so that a key's rounds are known to the code and not looked up.
#[inline]
fn by_rounds(group: Group, rounds: impl Fn(usize) -> u8) -> [Group; 3] {
    members(group).fold([0; 3], |mut sets, n| {
        let set = match rounds(n) {
            10 => 0,
            12 => 1,
            _ => 2,
        };
        sets[set] |= 1 << n;
        sets
    })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn seal_each<const R: usize>(jobs: &mut [SealJob], mut group: Group) {
    for n in members(group) {
        group &= group - 1;
        let next = jobs.get(group.trailing_zeros() as usize).map(|job| job.packet.as_ptr());
        let mut unit = Unit::sealing(&mut jobs[n]);
        unit.next = next.unwrap_or(unit.next);
        // SAFETY: a unit of a prepared job covers its packet.
        unsafe { seal_rounds::<R>(&unit) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn open_each<const R: usize>(jobs: &mut [OpenJob], mut group: Group) -> Group {
    let mut authentic = 0;
    for n in members(group) {
        group &= group - 1;
        let next = jobs.get(group.trailing_zeros() as usize).map(|job| job.packet.as_ptr());
        let mut unit = Unit::opening(&mut jobs[n]);
        unit.next = next.unwrap_or(unit.next);
        // SAFETY: a unit of a packet of possible length covers it.
        let good = unsafe { open_rounds::<R>(&unit) };
        authentic |= Group::from(good) << n;
    }
    authentic
}

/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, `unit.body` > 0, and `unit.key` is an
/// AES-GCM key with `R` rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_rounds<const R: usize>(unit: &Unit) {
    let stream = 16 + unit.body;
    // SAFETY: the packet is header, body and ICV: more than 20 bytes.
    let mut run = unsafe { Run::of_packet(unit) };
    // SAFETY: `full` groups and `rest` bytes are exactly the stream, which lies in the packet; the ICV follows it.
    unsafe {
        match stream.div_ceil(VECTOR) {
            1 => seal_stream::<R, 1>(&mut run, stream),
            2 => seal_stream::<R, 2>(&mut run, stream),
            3 => seal_stream::<R, 3>(&mut run, stream),
            _ => seal_groups::<R>(&mut run, stream),
        }
        _mm_storeu_si128(unit.packet.add(stream).cast(), run.tag());
    }
}

/// A packet of one group, not a full one.
///
/// # Safety
/// As [`seal_rounds`], of the packet under way, whose header and body are `stream` bytes in `N` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_stream<const R: usize, const N: usize>(run: &mut Run, stream: usize) {
    // SAFETY: the caller's promise, passed on.
    let blocks = unsafe { run.encrypt_first::<R, N>(stream) };
    run.finish_hash(&blocks, stream);
}

/// A longer packet: each group is hashed while the next one is encrypted.
///
/// # Safety
/// As [`seal_rounds`], of the packet under way, whose header and body are `stream` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_groups<const R: usize>(run: &mut Run, stream: usize) {
    let full = (stream - 1) / GROUP;
    let rest = stream - full * GROUP;
    // SAFETY: `full` groups and `rest` bytes are exactly the stream.
    unsafe {
        let mut blocks = run.encrypt_first::<R, 4>(stream.min(GROUP));
        if full == 0 {
            return run.finish_hash(&blocks, stream);
        }
        for _ in 1..full {
            blocks = run.encrypt_next::<R, 4>(blocks, GROUP);
        }
        match rest.div_ceil(VECTOR) {
            1 => seal_end::<R, 1>(run, blocks, rest),
            2 => seal_end::<R, 2>(run, blocks, rest),
            3 => seal_end::<R, 3>(run, blocks, rest),
            _ => seal_end::<R, 4>(run, blocks, rest),
        }
    }
}

/// # Safety
/// As [`seal_groups`]; `rest` bytes lie ahead.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_end<const R: usize, const N: usize>(run: &mut Run, blocks: [__m512i; 4], rest: usize) {
    // SAFETY: the caller's promise, passed on.
    let last = unsafe { run.encrypt_next::<R, N>(blocks, rest) };
    run.finish_hash(&last, rest);
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
            _ if stream <= GROUP => open_stream::<R, 4>(unit, stream),
            _ => open_groups::<R>(unit, stream),
        }
    }
}

/// A packet of one group. Its keystream is made while the packet is hashed, and used once the tag is known to be right.
///
/// # Safety
/// As [`seal_rounds`]; header and body are `stream` bytes in `N` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_stream<const R: usize, const N: usize>(unit: &Unit, stream: usize) -> bool {
    // SAFETY: the packet is header, body and ICV: more than 20 bytes.
    let mut run = unsafe { Run::of_packet(unit) };
    let keystream = encrypt::<R, N>(unit.key, run.counters());
    run.mask = _mm512_castsi512_si128(keystream[0]);
    // SAFETY: the stream lies in the packet, and the ICV behind it.
    unsafe {
        run.hash_last::<N, true>(stream);
        let good = is_tag(&run, unit.packet.add(stream));
        if good {
            run.at = unit.packet;
            run.apply::<N, true>(keystream, stream);
        }
        good
    }
}

/// A packet of more than one group is decrypted while it is hashed, but for its first group and its end. One that turns
/// out to be forged becomes what it was before anybody sees it.
///
/// # Safety
/// As [`seal_rounds`]; header and body are `stream` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_groups<const R: usize>(unit: &Unit, stream: usize) -> bool {
    // SAFETY: the packet is header, body and ICV: more than 20 bytes.
    let mut run = unsafe { Run::of_packet(unit) };
    let full = (stream - 1) / GROUP;
    let rest = stream - full * GROUP;
    let first = encrypt::<R, 4>(unit.key, run.counters());
    run.mask = _mm512_castsi512_si128(first[0]);
    // SAFETY: `full` groups and `rest` bytes are exactly the stream, which lies in the packet; the ICV follows it.
    unsafe {
        run.hash_group::<true>();
        for _ in 1..full {
            run.decrypt_group::<R>();
        }
        let good = match rest.div_ceil(VECTOR) {
            1 => open_end::<R, 1>(&mut run, rest),
            2 => open_end::<R, 2>(&mut run, rest),
            3 => open_end::<R, 3>(&mut run, rest),
            _ => open_end::<R, 4>(&mut run, rest),
        };
        if good {
            run.at = unit.packet;
            run.apply::<4, true>(first, GROUP);
        } else {
            undo::<R>(unit, full);
        }
        good
    }
}

/// # Safety
/// As [`open_groups`]; `rest` bytes lie ahead, and behind them the ICV.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_end<const R: usize, const N: usize>(run: &mut Run, rest: usize) -> bool {
    let at = run.at;
    let keystream = encrypt::<R, N>(run.unit.key, run.counters());
    // SAFETY: the caller's promise, passed on.
    unsafe {
        run.hash_last::<N, false>(rest);
        let good = is_tag(run, at.add(rest));
        if good {
            run.at = at;
            run.apply::<N, false>(keystream, rest);
        }
        good
    }
}

/// Whether the ICV is the packet's tag, in constant time.
///
/// # Safety
/// `icv` points to 16 readable bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn is_tag(run: &Run, icv: *const u8) -> bool {
    // SAFETY: the caller's promise.
    let difference = _mm_xor_si128(unsafe { _mm_loadu_si128(icv.cast()) }, run.tag());
    _mm_testz_si128(difference, difference) == 1
}

/// Encrypts again what [`open_groups`] decrypted: the groups after the first, but not the end.
///
/// # Safety
/// As [`open_groups`].
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn undo<const R: usize>(unit: &Unit, full: usize) {
    let mut run = Run::new(unit);
    let [] = run.counters();
    // SAFETY: `full` groups lie in the packet.
    unsafe {
        run.at = unit.packet.add(GROUP);
        for _ in 1..full {
            run.crypt_group::<R, 4>(GROUP);
        }
    }
}

/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, `unit.body` > 0, and `unit.key` is an
/// AES-GCM key.
#[cfg(test)]
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
#[cfg(test)]
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
    let counters = run.counters();
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
    run.at = run.at.wrapping_add(16); // the body's first block has counter 1
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
