//! AES-GCM, and its halves GMAC and CTR, for ESP on 512-bit vectors (VAES, VPCLMULQDQ): the whole burst in one function,
//! one packet after the other, so that the out-of-order core overlaps neighbours. Within a long packet the hash of one
//! group runs beside the AES of another.
//!
//! Decides: whether an ICV is right, in constant time; no packet comes out decrypted whose ICV is not. Reads and writes: bodies and ICVs
//! of prepared packets, and the header when sealing. Never: padding and trailers, they are `frame`'s.
//!
//! In lane 0 of the first vector ride the two guests of block 0 (see `gcm`). Sixteen blocks (a *group*) share one
//! reduction, and so do the ends of four packets: it is the longest chain of a short packet, and not worth its vector's
//! width for one.

mod aes;
mod run;
mod open;

use core::arch::x86_64::*;

use super::gcm::Unit;
use crate::engine::{ByRounds, Group, members};
use crate::x86::ghash_vpclmul::{Four, Products};
use crate::{OpenJob, SealJob};
use aes::encrypt;
use open::open_each;
#[cfg(test)]
pub(super) use open::open_unit;
use run::Run;

/// Bytes under one reduction: 16 blocks in 4 vectors.
const GROUP: usize = 256;
const VECTOR: usize = 64;

/// Seals the prepared AES-GCM jobs of the groups.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn seal(jobs: &mut [SealJob], [short, middle, long]: &ByRounds) {
    seal_each::<10>(jobs, *short);
    seal_each::<12>(jobs, *middle);
    seal_each::<14>(jobs, *long);
}

/// Opens the AES-GCM packets of the groups; the authentic ones are answered and decrypted.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn open(jobs: &mut [OpenJob], [short, middle, long]: &ByRounds) -> Group {
    open_each::<10>(jobs, *short) | open_each::<12>(jobs, *middle) | open_each::<14>(jobs, *long)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
fn seal_each<const R: usize>(jobs: &mut [SealJob], mut group: Group) {
    let mut four = Four::new();
    let mut icvs = [core::ptr::null_mut(); Four::SIZE];
    for n in members(group) {
        group &= group - 1;
        let next = jobs.get(group.trailing_zeros() as usize).map(|job| job.packet.as_ptr());
        let mut unit = Unit::sealing(&mut jobs[n]);
        unit.next = next.unwrap_or(unit.next);
        // SAFETY: a unit of a prepared job covers its packet, at whose end the ICV has room.
        unsafe {
            icvs[four.len()] = unit.packet.add(16 + unit.body);
            four.push(seal_rounds::<R>(&unit));
        }
        if four.len() == Four::SIZE || group == 0 {
            let tags = four.take();
            // SAFETY: as above.
            unsafe { tags.store(&icvs) };
        }
    }
}

/// All of the packet but its ICV; returns what makes that.
///
/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, `unit.body` > 0, and `unit.key` is an
/// AES-GCM key with `R` rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_rounds<const R: usize>(unit: &Unit) -> Products {
    let stream = 16 + unit.body;
    // SAFETY: the packet is header, body and ICV: more than 20 bytes, and the stream lies in it.
    unsafe {
        match stream.div_ceil(VECTOR) {
            1 => seal_stream::<R, 1>(unit, stream),
            2 => seal_stream::<R, 2>(unit, stream),
            3 => seal_stream::<R, 3>(unit, stream),
            // A copy: its address is taken, and what is known of a short packet shall stay in registers.
            _ => seal_groups::<R>(&mut Run::of_packet(&{ *unit }), stream),
        }
    }
}

/// A packet of one group, not a full one.
///
/// # Safety
/// As [`seal_rounds`]; header and body are `stream` bytes in `N` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_stream<const R: usize, const N: usize>(unit: &Unit, stream: usize) -> Products {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let mut run = Run::of_packet(unit);
        let blocks = run.encrypt_first::<R, N>(stream);
        run.finish_hash(&blocks, stream)
    }
}

/// A longer packet: each group is hashed while the next one is encrypted.
///
/// # Safety
/// As [`seal_rounds`], of the packet under way, whose header and body are `stream` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_groups<const R: usize>(run: &mut Run, stream: usize) -> Products {
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
unsafe fn seal_end<const R: usize, const N: usize>(
    run: &mut Run,
    blocks: [__m512i; 4],
    rest: usize,
) -> Products {
    // SAFETY: the caller's promise, passed on.
    let last = unsafe { run.encrypt_next::<R, N>(blocks, rest) };
    run.finish_hash(&last, rest)
}

/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, `unit.body` > 0, and `unit.key` is an
/// AES-GCM key.
#[cfg(test)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) unsafe fn seal_unit(unit: &Unit) {
    let mut four = Four::new();
    // SAFETY: the caller's promise, passed on; the ICV follows the body.
    unsafe {
        four.push(match unit.key.rounds {
            10 => seal_rounds::<10>(unit),
            12 => seal_rounds::<12>(unit),
            _ => seal_rounds::<14>(unit),
        });
        four.take().store(&[unit.packet.add(16 + unit.body); Four::SIZE]);
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
        if full > 0 {
            run.hash_group::<true>();
        }
        for _ in 1..full {
            run.hash_group::<false>();
        }
        let products = match (full, rest.div_ceil(VECTOR)) {
            (0, 1) => run.hash_last::<1, true>(rest),
            (0, 2) => run.hash_last::<2, true>(rest),
            (0, 3) => run.hash_last::<3, true>(rest),
            (0, _) => run.hash_last::<4, true>(rest),
            (_, 1) => run.hash_last::<1, false>(rest),
            (_, 2) => run.hash_last::<2, false>(rest),
            (_, 3) => run.hash_last::<3, false>(rest),
            (_, _) => run.hash_last::<4, false>(rest),
        };
        products.tag()
    }
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
