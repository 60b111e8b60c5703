//! AES-GCM, and its halves GMAC and CTR, for ESP on 512-bit vectors (VAES, VPCLMULQDQ): the whole burst in one function,
//! one packet after the other, so that the out-of-order core overlaps neighbours. Within a long packet the hash of one
//! group runs beside the AES of another.
//!
//! Decides: whether an ICV is right, in constant time; no packet comes out decrypted whose ICV is not. Reads and writes: bodies and ICVs
//! of prepared packets, and the header when sealing. Never: padding and trailers, they are `frame`'s.
//!
//! In lane 0 of the first vector ride the two guests of block 0 (see `gcm`). Sixteen blocks (a *group*) are
//! encrypted together. Up to four groups share one reduction, and so do the ends of four packets: it is the longest chain
//! of a short packet, and not worth its vector's width for one.

mod aes;
mod run;
mod open;
mod gmac;

use core::arch::x86_64::*;

use super::gcm::Unit;
use crate::engine::{ByRounds, Group, members};
use crate::x86::ghash_vpclmul::{EachBlock, EachVector, Four, Hash, Products, after_one, first_sum};
use crate::{OpenJob, SealJob};
pub(super) use gmac::gmac_unit;
use open::open_each;
#[cfg(test)]
pub(super) use open::open_unit;
use run::Run;

/// Bytes encrypted together: 16 blocks in 4 vectors.
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
        let job = &mut jobs[n];
        let stream = job.packet.len() - 16;
        let at = four.len();
        // SAFETY: a unit of a prepared job covers its packet, at whose end the ICV has room.
        unsafe {
            if stream <= 3 * VECTOR {
                four.push(seal_short::<R>(&Unit::sealing(job), stream));
            } else {
                seal_long::<R>(job, next, &mut four);
            }
            // Taken last: the unit borrowed the packet, which ends what pointers there were.
            icvs[at] = job.packet.as_mut_ptr().add(stream);
        }
        if four.len() == Four::SIZE || group == 0 {
            let tags = four.take();
            // SAFETY: as above.
            unsafe { tags.store(&icvs) };
        }
    }
}

/// All of a packet of up to three vectors but its ICV; returns what makes that.
///
/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, `unit.body` > 0, both but the ICV are `stream`
/// bytes, and `unit.key` is an AES-GCM key with `R` rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_short<const R: usize>(unit: &Unit, stream: usize) -> Products {
    // SAFETY: the packet is header, body and ICV: more than 20 bytes, and the stream lies in it.
    unsafe {
        match stream.div_ceil(VECTOR) {
            1 => seal_stream::<R, 1>(unit, stream),
            2 => seal_stream::<R, 2>(unit, stream),
            _ => seal_stream::<R, 3>(unit, stream),
        }
    }
}

/// As [`seal_short`], of a longer packet. Apart from it, and its unit too: what is known of a short packet shall stay in
/// registers, and what was written to memory in parts shall not be read from there as a whole.
///
/// # Safety
/// As [`seal_short`], of the job's unit. `next`: where the burst's next packet lies. `four` has room.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_long<const R: usize>(job: &mut SealJob, next: Option<*const u8>, four: &mut Four) {
    let mut unit = Unit::sealing(job);
    unit.next = next.unwrap_or(unit.next);
    let stream = 16 + unit.body;
    // SAFETY: the caller's promise, passed on.
    four.push(unsafe { seal_groups::<R>(&unit, stream) });
}

/// A packet of one group, not a full one.
///
/// # Safety
/// As [`seal_short`]; the stream has `N` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_stream<const R: usize, const N: usize>(unit: &Unit, stream: usize) -> Products {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let mut run = Run::of_packet(unit);
        let mut hash = Hash::new();
        let blocks = run.encrypt_first::<R, N>(&mut hash, stream);
        run.finish_hash(&hash, &blocks, stream)
    }
}

/// A longer packet: each group is hashed while the next one is encrypted.
///
/// # Safety
/// As [`seal_short`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_groups<const R: usize>(unit: &Unit, stream: usize) -> Products {
    let full = (stream - 1) / GROUP;
    let rest = stream - full * GROUP;
    // SAFETY: `full` groups and `rest` bytes are exactly the stream.
    unsafe {
        let mut run = Run::of_packet(unit);
        let mut hash = Hash::new();
        let mut blocks = run.encrypt_first::<R, 4>(&mut hash, stream.min(GROUP));
        if full == 0 {
            return run.finish_hash(&hash, &blocks, stream);
        }
        let mut ahead = first_sum(full);
        for _ in 1..full {
            blocks = run.encrypt_next::<EachVector, R, 4>((&mut hash, ahead), blocks, GROUP);
            ahead = after_one(ahead);
        }
        match rest.div_ceil(VECTOR) {
            1 => seal_end::<R, 1>(&mut run, &mut hash, blocks, rest),
            2 => seal_end::<R, 2>(&mut run, &mut hash, blocks, rest),
            3 => seal_end::<R, 3>(&mut run, &mut hash, blocks, rest),
            _ => seal_end::<R, 4>(&mut run, &mut hash, blocks, rest),
        }
    }
}

/// # Safety
/// As [`seal_groups`]; `rest` bytes lie ahead.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_end<const R: usize, const N: usize>(
    run: &mut Run,
    hash: &mut Hash,
    blocks: [__m512i; 4],
    rest: usize,
) -> Products {
    // SAFETY: the caller's promise, passed on.
    let last = unsafe { run.encrypt_next::<EachBlock, R, N>((hash, 1), blocks, rest) };
    run.finish_hash(hash, &last, rest)
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
            10 => seal_one::<10>(unit),
            12 => seal_one::<12>(unit),
            _ => seal_one::<14>(unit),
        });
        four.take().store(&[unit.packet.add(16 + unit.body); Four::SIZE]);
    }
}

/// # Safety
/// As [`seal_unit`], and the key has `R` rounds.
#[cfg(test)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn seal_one<const R: usize>(unit: &Unit) -> Products {
    let stream = 16 + unit.body;
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if stream <= 3 * VECTOR { seal_short::<R>(unit, stream) } else { seal_groups::<R>(unit, stream) }
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
