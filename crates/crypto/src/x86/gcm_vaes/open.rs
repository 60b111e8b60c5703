//! Opening: nothing comes out of a packet whose ICV is not right.
//!
//! Decides: whether an ICV is right, in constant time. Reads: packets. Writes: the bodies of authentic ones.
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
        // SAFETY: a unit of a packet of possible length covers it; what is held is written before the jobs are given back.
        unsafe {
            if stream > GROUP {
                authentic |= Group::from(open_groups::<R>(&unit, stream)) << n;
            } else {
                held.open::<R>(&unit, 1 << n);
            }
            if held.four.len() == Four::SIZE || group == 0 {
                authentic |= held.settle();
            }
        }
    }
    held.wipe();
    authentic
}

/// Packets of one group that are decrypted, but not in their places yet: until their tags are known, four at a time.
struct Held {
    four: Four,
    plain: [[__m512i; 4]; Four::SIZE],
    /// Where each packet begins, how long its header and body are, and its bit in the group of those that are authentic.
    packets: [(*mut u8, usize, Group); Four::SIZE],
}

impl Held {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn new() -> Self {
        Self {
            four: Four::new(),
            plain: [[_mm512_setzero_si512(); 4]; Four::SIZE],
            packets: [(core::ptr::null_mut(), 0, 0); Four::SIZE],
        }
    }

    /// # Safety
    /// `unit.packet` points to `16 + unit.body + 16` bytes that nobody else touches until [`Self::settle`], `unit.body` > 0,
    /// both together at most [`GROUP`], and `unit.key` is an AES-GCM key with `R` rounds.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn open<const R: usize>(&mut self, unit: &Unit, bit: Group) {
        let stream = 16 + unit.body;
        self.packets[self.four.len()] = (unit.packet, stream, bit);
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match stream.div_ceil(VECTOR) {
                1 => self.open_stream::<R, 1>(unit, stream),
                2 => self.open_stream::<R, 2>(unit, stream),
                3 => self.open_stream::<R, 3>(unit, stream),
                _ => self.open_stream::<R, 4>(unit, stream),
            }
        }
    }

    /// # Safety
    /// As [`Self::open`]; header and body fill `N` vectors, the last perhaps in part.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn open_stream<const R: usize, const N: usize>(&mut self, unit: &Unit, stream: usize) {
        // SAFETY: the packet is header, body and ICV: more than 20 bytes.
        let mut run = unsafe { Run::of_packet(unit) };
        let keystream = encrypt::<R, N>(unit.key, run.counters());
        run.mask = _mm512_castsi512_si128(keystream[0]);
        let plain = &mut self.plain[self.four.len()];
        // SAFETY: the stream lies in the packet.
        let (data, products) = unsafe { run.read_last::<N, true>(stream) };
        for v in 0..N {
            plain[v] = _mm512_xor_si512(data[v], keystream[v]);
        }
        self.four.push(products);
    }

    /// With a forged packet's bytes beside it, what was made of them is keystream.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    fn wipe(&mut self) {
        for vector in self.plain.as_flattened_mut() {
            // SAFETY: a valid reference; volatile, so that it is done though nobody reads it.
            unsafe { core::ptr::write_volatile(vector, _mm512_setzero_si512()) };
        }
    }

    /// Puts the authentic ones into their places; returns their bits.
    ///
    /// # Safety
    /// The packets given to [`Self::open`] are there still.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn settle(&mut self) -> Group {
        let held = self.four.len();
        let tags = self.four.take();
        let mut authentic = 0;
        for (n, &(packet, stream, bit)) in self.packets.iter().enumerate().take(held) {
            // SAFETY: the ICV follows header and body.
            if unsafe { !tags.is(n, packet.add(stream)) } {
                continue;
            }
            authentic |= bit;
            let vectors = stream.div_ceil(VECTOR);
            for v in 0..vectors {
                // The header stays as it is.
                let part = part(stream, v, vectors) & if v == 0 { !0xffff } else { !0 };
                // SAFETY: `part` masks what lies behind the stream.
                unsafe { _mm512_mask_storeu_epi8(packet.add(v * VECTOR).cast(), part, self.plain[n][v]) };
            }
        }
        authentic
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
            return open_groups::<R>(unit, stream);
        }
        held.open::<R>(unit, 1);
        held.settle() == 1
    }
}

/// A packet of more than one group is decrypted while it is hashed, but for its first group and its end. One that turns
/// out to be forged becomes what it was before anybody sees it.
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
