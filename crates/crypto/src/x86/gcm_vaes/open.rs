//! Opening: nothing comes out of a packet whose ICV is not right. It is decrypted before that is known, and made what it was
//! before the burst is given back.
//!
//! Decides: whether an ICV is right, in constant time. Reads: packets. Writes: their bodies; those of forged ones twice.
//! Never: padding and trailers, they are `frame`'s.

use super::aes::encrypt;
use super::run::Run;
use super::{GROUP, VECTOR};
use crate::OpenJob;
use crate::engine::{Group, members};
use crate::x86::gcm::Unit;
use crate::x86::ghash_vpclmul::{EachBlock, EachVector, Four, Hash, Products, after_one, first_sum};

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn open_each<const R: usize>(jobs: &mut [OpenJob], mut group: Group) -> Group {
    let mut authentic = 0;
    let mut held = Held::new();
    for n in members(group) {
        group &= group - 1;
        let next = jobs.get(group.trailing_zeros() as usize).map(|job| job.packet.as_ptr());
        // SAFETY: a unit of a packet of possible length covers it; what is held is settled before the jobs are given back.
        unsafe {
            held.open::<R>(&mut jobs[n], n, next);
            if held.four.len() == Four::SIZE || group == 0 {
                let forged = held.settle();
                authentic |= held.all & !forged;
                held.all = 0;
                if forged != 0 {
                    members(forged).for_each(|n| undo::<R>(&Unit::opening(&mut jobs[n])));
                }
            }
        }
    }
    authentic
}

/// Packets that are decrypted, and whose tags are not compared yet: that is done four at a time.
struct Held {
    four: Four,
    /// Where the ICV of each stands, and which packet of the burst it is.
    icvs: [*const u8; Four::SIZE],
    places: [usize; Four::SIZE],
    /// As a set.
    all: Group,
}

impl Held {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn new() -> Self {
        let icvs = [core::ptr::null(); Four::SIZE];
        Self { four: Four::new(), icvs, places: [0; Four::SIZE], all: 0 }
    }

    /// `next`: where the burst's next packet lies.
    ///
    /// # Safety
    /// The job's packet is long enough for AES-GCM, nobody else touches it until [`Self::settle`], and its key is an AES-GCM
    /// key with `R` rounds.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn open<const R: usize>(&mut self, job: &mut OpenJob, place: usize, next: Option<*const u8>) {
        let (stream, at) = (job.packet.len() - 16, self.four.len());
        self.places[at] = place;
        self.all |= 1 << place;
        // SAFETY: the caller's promise, passed on.
        unsafe {
            if stream <= GROUP {
                self.four.push(open_short::<R>(&Unit::opening(job), stream));
            } else {
                open_long::<R>(job, next, &mut self.four);
            }
            // Taken last: the unit borrowed the packet, which ends what pointers there were.
            self.icvs[at] = job.packet.as_ptr().add(stream);
        }
    }

    /// The forged ones, which have to be undone.
    ///
    /// # Safety
    /// The packets given to [`Self::open`] are there still.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn settle(&mut self) -> Group {
        let held = self.four.len();
        if held == 0 {
            return 0;
        }
        let tags = self.four.take();
        // SAFETY: as many as are held point to ICVs.
        let right = unsafe { tags.are(&self.icvs) };
        if right == (1 << held) - 1 {
            return 0;
        }
        let wrong = self.places.iter().enumerate().take(held).filter(|(n, _)| right & 1 << n == 0);
        wrong.fold(0, |set, (_, place)| set | 1 << place)
    }
}

/// Decrypts a packet of one group; returns what makes the tag.
///
/// # Safety
/// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches, `unit.body` > 0, both but the ICV are `stream`
/// bytes, at most [`GROUP`], and `unit.key` is an AES-GCM key with `R` rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_short<const R: usize>(unit: &Unit, stream: usize) -> Products {
    // SAFETY: the packet is header, body and ICV: more than 20 bytes, and the stream lies in it.
    unsafe {
        let (mut run, mut hash) = (Run::of_packet(unit), Hash::new());
        match stream.div_ceil(VECTOR) {
            1 => run.decrypt_last::<R, 1, true>(&mut hash, stream),
            2 => run.decrypt_last::<R, 2, true>(&mut hash, stream),
            3 => run.decrypt_last::<R, 3, true>(&mut hash, stream),
            _ => run.decrypt_last::<R, 4, true>(&mut hash, stream),
        }
    }
}

/// As [`open_short`], of a longer packet; apart from short ones: see `seal_long`. `four` has room.
///
/// # Safety
/// As [`Held::open`]; the packet is of more than [`GROUP`] bytes and the ICV.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_long<const R: usize>(job: &mut OpenJob, next: Option<*const u8>, four: &mut Four) {
    let mut unit = Unit::opening(job);
    unit.next = next.unwrap_or(unit.next);
    let stream = 16 + unit.body;
    // SAFETY: the caller's promise, passed on.
    four.push(unsafe { open_groups::<R>(&unit, stream) });
}

/// Each group is decrypted while it is hashed.
///
/// # Safety
/// As [`open_short`], but header and body are more than [`GROUP`] bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_groups<const R: usize>(unit: &Unit, stream: usize) -> Products {
    let full = (stream - 1) / GROUP;
    let rest = stream - full * GROUP;
    // SAFETY: the packet is header, body and ICV: more than 20 bytes; `full` groups and `rest` bytes are exactly the stream.
    unsafe {
        let (mut run, mut hash) = (Run::of_packet(unit), Hash::new());
        if full == 1 {
            run.decrypt_group::<EachBlock, R, true>(&mut hash, 1);
        } else {
            let mut ahead = first_sum(full);
            run.decrypt_group::<EachVector, R, true>(&mut hash, ahead);
            for _ in 2..full {
                ahead = after_one(ahead);
                run.decrypt_group::<EachVector, R, false>(&mut hash, ahead);
            }
            run.decrypt_group::<EachBlock, R, false>(&mut hash, 1);
        }
        match rest.div_ceil(VECTOR) {
            1 => run.decrypt_last::<R, 1, false>(&mut hash, rest),
            2 => run.decrypt_last::<R, 2, false>(&mut hash, rest),
            3 => run.decrypt_last::<R, 3, false>(&mut hash, rest),
            _ => run.decrypt_last::<R, 4, false>(&mut hash, rest),
        }
    }
}

/// Makes of a packet that was decrypted what it was.
///
/// # Safety
/// As [`open_short`], of any length.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn undo<const R: usize>(unit: &Unit) {
    let stream = 16 + unit.body;
    let full = (stream - 1) / GROUP;
    // SAFETY: the packet is header, body and ICV: more than 20 bytes; `full` groups and the rest are exactly the stream.
    unsafe {
        let mut run = Run::of_packet(unit);
        if full > 0 {
            crypt::<R, 4, true>(&mut run, GROUP);
        }
        for _ in 1..full {
            crypt::<R, 4, false>(&mut run, GROUP);
        }
        let rest = stream - full * GROUP;
        match (full, rest.div_ceil(VECTOR)) {
            (0, 1) => crypt::<R, 1, true>(&mut run, rest),
            (0, 2) => crypt::<R, 2, true>(&mut run, rest),
            (0, 3) => crypt::<R, 3, true>(&mut run, rest),
            (0, _) => crypt::<R, 4, true>(&mut run, rest),
            (_, 1) => crypt::<R, 1, false>(&mut run, rest),
            (_, 2) => crypt::<R, 2, false>(&mut run, rest),
            (_, 3) => crypt::<R, 3, false>(&mut run, rest),
            (_, _) => crypt::<R, 4, false>(&mut run, rest),
        }
    }
}

/// # Safety
/// As [`Run::apply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn crypt<const R: usize, const N: usize, const FIRST: bool>(run: &mut Run, bytes: usize) {
    let keystream = encrypt::<R, N>(run.unit.key, run.counters());
    // SAFETY: the caller's promise, passed on.
    unsafe { run.apply::<N, FIRST>(keystream, bytes) };
}

/// # Safety
/// As [`open_short`], of any length.
#[cfg(test)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(in crate::x86) unsafe fn open_unit(unit: &Unit) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match unit.key.rounds {
            10 => open_one::<10>(unit),
            12 => open_one::<12>(unit),
            _ => open_one::<14>(unit),
        }
    }
}

/// # Safety
/// As [`open_unit`], and the key has `R` rounds.
#[cfg(test)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_one<const R: usize>(unit: &Unit) -> bool {
    let stream = 16 + unit.body;
    let mut four = Four::new();
    // SAFETY: the caller's promise, passed on; the ICV follows the body.
    unsafe {
        four.push(if stream <= GROUP {
            open_short::<R>(unit, stream)
        } else {
            open_groups::<R>(unit, stream)
        });
        let good = four.take().are(&[unit.packet.add(stream).cast_const(); Four::SIZE]) == 1;
        if !good {
            undo::<R>(unit);
        }
        good
    }
}
