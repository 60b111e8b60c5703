//! Opening: nothing comes out of a packet whose ICV is not right. One that was decrypted before that was known is made what
//! it was, before the burst is given back.
//!
//! Decides: whether an ICV is right, in constant time. Reads: packets. Writes: their bodies; those of forged ones twice.
//! Never: padding and trailers, they are `frame`'s.

use core::arch::x86_64::*;

use super::aes::encrypt;
use super::run::{Run, part};
use super::{GROUP, VECTOR};
use crate::OpenJob;
use crate::engine::{Group, members};
use crate::x86::gcm::Unit;
use crate::x86::ghash_vpclmul::{Four, Products};

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(super) fn open_each<const R: usize>(jobs: &mut [OpenJob], mut group: Group) -> Group {
    let mut authentic = 0;
    let mut held = Held::new();
    for n in members(group) {
        group &= group - 1;
        let next = jobs.get(group.trailing_zeros() as usize).map(|job| job.packet.as_ptr());
        let mut unit = Unit::opening(&mut jobs[n]);
        unit.next = next.unwrap_or(unit.next);
        let stream = 16 + unit.body;
        // SAFETY: a unit of a packet of possible length covers it; what is held is settled before the jobs are given back.
        unsafe {
            if stream > GROUP {
                if open_groups::<R>(&unit, stream) {
                    authentic |= 1 << n;
                } else {
                    undo::<R>(&Unit::opening(&mut jobs[n]));
                }
            } else {
                held.open::<R>(&unit, n);
            }
            if held.four.len() == Four::SIZE || group == 0 {
                let forged = held.settle();
                authentic |= held.all & !forged;
                held.all = 0;
                if forged != 0 {
                    members(forged).for_each(|n| undo_short::<R>(&Unit::opening(&mut jobs[n])));
                }
            }
        }
    }
    authentic
}

/// Packets of one group that are decrypted, and whose tags are not compared yet: that is done four at a time.
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

    /// # Safety
    /// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches until [`Self::settle`], `unit.body` > 0,
    /// both together at most [`GROUP`], and `unit.key` is an AES-GCM key with `R` rounds.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn open<const R: usize>(&mut self, unit: &Unit, place: usize) {
        let (stream, at) = (16 + unit.body, self.four.len());
        // SAFETY: the ICV follows header and body.
        self.icvs[at] = unsafe { unit.packet.add(stream) };
        self.places[at] = place;
        self.all |= 1 << place;
        // SAFETY: the caller's promise, passed on.
        unsafe {
            self.four.push(match stream.div_ceil(VECTOR) {
                1 => open_stream::<R, 1>(unit, stream),
                2 => open_stream::<R, 2>(unit, stream),
                3 => open_stream::<R, 3>(unit, stream),
                _ => open_stream::<R, 4>(unit, stream),
            });
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

/// Decrypts; returns what makes the tag.
///
/// # Safety
/// As [`Held::open`]; header and body are `stream` bytes in `N` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn open_stream<const R: usize, const N: usize>(unit: &Unit, stream: usize) -> Products {
    // SAFETY: the packet is header, body and ICV: more than 20 bytes, and the stream lies in it.
    unsafe {
        let mut run = Run::of_packet(unit);
        let keystream = encrypt::<R, N>(unit.key, run.counters());
        run.mask = _mm512_castsi512_si128(keystream[0]);
        let (data, products) = run.read_last::<N, true>(stream);
        for (v, (data, keystream)) in data.iter().zip(&keystream).enumerate() {
            // The header stays as it is.
            let part = part(stream, v, N) & if v == 0 { !0xffff } else { !0 };
            let plain = _mm512_xor_si512(*data, *keystream);
            _mm512_mask_storeu_epi8(unit.packet.add(v * VECTOR).cast(), part, plain);
        }
        products
    }
}

/// Makes of a packet that [`open_stream`] has decrypted what it was.
///
/// # Safety
/// As [`Held::open`].
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn undo_short<const R: usize>(unit: &Unit) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match (16 + unit.body).div_ceil(VECTOR) {
            1 => crypt::<R, 1>(unit),
            2 => crypt::<R, 2>(unit),
            3 => crypt::<R, 3>(unit),
            _ => crypt::<R, 4>(unit),
        }
    }
}

/// # Safety
/// As [`open_stream`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn crypt<const R: usize, const N: usize>(unit: &Unit) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let mut run = Run::of_packet(unit);
        let keystream = encrypt::<R, N>(unit.key, run.counters());
        run.apply::<N, true>(keystream, 16 + unit.body);
    }
}

/// # Safety
/// As [`Held::open`], but of any length.
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
    let mut held = Held::new();
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if stream > GROUP {
            let good = open_groups::<R>(unit, stream);
            if !good {
                undo::<R>(unit);
            }
            return good;
        }
        held.open::<R>(unit, 0);
        let forged = held.settle() != 0;
        if forged {
            undo_short::<R>(unit);
        }
        !forged
    }
}

/// A packet of more than one group is decrypted while it is hashed, but for its first group and its end. One that turns
/// out to be forged has to become what it was: the caller's to do ([`undo`]).
///
/// # Safety
/// As [`Held::open`], but header and body are `stream` bytes, more than [`GROUP`].
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
        let (_, products) = run.read_last::<N, false>(rest);
        let good = is_tag(products, at.add(rest));
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
unsafe fn is_tag(products: Products, icv: *const u8) -> bool {
    // SAFETY: the caller's promise.
    let difference = _mm_xor_si128(unsafe { _mm_loadu_si128(icv.cast()) }, products.tag());
    _mm_testz_si128(difference, difference) == 1
}

/// Encrypts again what [`open_groups`] decrypted: the groups after the first, but not the end.
///
/// # Safety
/// As [`open_groups`].
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
unsafe fn undo<const R: usize>(unit: &Unit) {
    let full = (16 + unit.body - 1) / GROUP;
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
