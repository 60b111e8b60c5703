//! AES-CBC and HMAC of many packets at once, for sealing: the rounds of the cipher run between those of the hash.
//!
//! Decides nothing. Reads: keys, plaintext. Writes: IVs, ciphertext, ICVs. Never: framing.
//!
//! An AES round waits for the one before, and what it waits is free for SHA, which is never short of work. A block of
//! SHA-1 and SHA-256 is as long as four of AES: in one step every lane of the cipher encrypts four blocks while every lane
//! of the hash takes in one. A packet's hash begins a step behind its encryption and never overtakes it.

use core::arch::x86_64::*;

use arrayvec::ArrayVec;

use super::cbc::{self, IDLE, STRIDE};
use super::sha_avx512::{Beside, HashBeside, Inner, Lanes, Sha1, Sha256, Source, outer_all};
use crate::engine::{BURST, Group, members};
use crate::mac;
use crate::portable::Digest;
use crate::suite::{HEADER, Integrity};
use crate::{Key, SealJob};

/// One packet: `len` bytes without its ICV.
struct Unit<'a> {
    key: &'a Key,
    seq: u64,
    esn: bool,
    at: *mut u8,
    len: usize,
}

/// Seals the jobs of `group`, prepared AES-CBC jobs whose keys have `rounds` and `integrity`, SHA-1 or SHA-256.
///
/// # Safety
/// The CPU has what [`seal`] needs.
pub(super) unsafe fn seal_jobs(integrity: Integrity, rounds: u8, jobs: &mut [SealJob], group: Group) {
    let units: ArrayVec<_, BURST> = members(group)
        .map(|n| {
            let job = &mut jobs[n];
            let len = job.packet.len() - job.key.suite().icv_len();
            Unit { key: job.key, seq: job.seq, esn: job.esn, at: job.packet.as_mut_ptr(), len }
        })
        .collect();
    let mut digests = [[0; 64]; BURST];
    let out = &mut digests;
    // SAFETY: the caller knows the CPU. Each unit is a packet of its own; `frame::prepare` checked that IV and body are
    // whole blocks.
    unsafe {
        match (integrity, rounds) {
            (Integrity::Sha1, 10) => seal::<Sha1, 10>(&units, out),
            (Integrity::Sha1, 12) => seal::<Sha1, 12>(&units, out),
            (Integrity::Sha1, _) => seal::<Sha1, 14>(&units, out),
            (_, 10) => seal::<Sha256, 10>(&units, out),
            (_, 12) => seal::<Sha256, 12>(&units, out),
            (_, _) => seal::<Sha256, 14>(&units, out),
        }
    }
    drop(units);
    mac::place(jobs, group, &digests);
}

/// Encrypts all units and hashes what becomes of them; digests stand in the units' order.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL and DQ, BMI2 and VAES. There are at most `BURST` units; each has a key of `R` rounds, its
/// memory is valid and its own, and header, IV and whole blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
unsafe fn seal<H: HashBeside, const R: usize>(units: &[Unit], out: &mut [Digest]) {
    let mut nowhere = [[0u8; 16]; STRIDE];
    let mut inner = Inner::new();
    let mut both = Both {
        units,
        cipher: cbc::Lanes::new(),
        hash: Lanes::new(),
        nowhere: nowhere.as_mut_ptr().cast(),
        begun: 0,
        ready: 0,
        hashed: 0,
    };
    // SAFETY: the caller's promise.
    unsafe {
        both.run::<H, R>(&mut inner);
        outer_all::<H>(units.len(), |n| units[n].key, &inner, out);
    }
}

struct Both<'a> {
    units: &'a [Unit<'a>],
    cipher: cbc::Lanes<16>,
    hash: Lanes,
    /// Where lanes without a packet, and packets without a whole step, read and write.
    nowhere: *mut u8,
    /// Units whose encryption was begun, those of them that are a step ahead, those whose hash was begun.
    begun: usize,
    ready: usize,
    hashed: usize,
}

/// Blocks of AES in a step.
const STEP: usize = 4;

impl Both<'_> {
    /// # Safety
    /// As [`seal`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    unsafe fn run<H: HashBeside, const R: usize>(&mut self, inner: &mut Inner) {
        for lane in 0..16 {
            self.fill(lane);
        }
        loop {
            // SAFETY: the caller's promise.
            unsafe { self.start_hashes::<H>() };
            let (ciphers, hashes) = (self.cipher_steps(), self.hash.least());
            let steps = match (ciphers, hashes) {
                (None, None) => break,
                (Some(_), None) => 1,
                (None, Some(steps)) => steps,
                // A lane that waits for a packet gets it after one step.
                (Some(_), Some(_)) if self.hashed < self.begun && self.hash.ahead.contains(&0) => 1,
                (Some(one), Some(other)) => one.min(other),
            };
            // SAFETY: no busy lane of either has fewer steps ahead.
            unsafe {
                match (ciphers, hashes) {
                    (Some(_), None) => self.encrypt::<R>(),
                    (None, _) => self.hash.run::<H>(steps),
                    (Some(_), Some(_)) => self.encrypt_and_hash::<H, R>(steps),
                }
            }
            self.ready = self.begun;
            for lane in 0..16 {
                self.advance_cipher(lane, steps);
                // SAFETY: the caller's promise; the cipher is done with a packet when its hash comes to its rest.
                unsafe { self.hash.advance::<H>(lane, steps, &mut inner.0) };
            }
        }
        self.cipher.wipe();
    }

    /// The next packet for a lane of the cipher, or rest.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    fn fill(&mut self, lane: usize) {
        let unit = self.units.get(self.begun).map(|unit| {
            self.begun += 1;
            let at = unit.at.wrapping_add(HEADER);
            cbc::Unit { key: unit.key, seq: unit.seq, at, blocks: (unit.len - HEADER) / 16 }
        });
        self.cipher.fill(lane, unit, self.nowhere);
    }

    /// # Safety
    /// As [`seal`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    unsafe fn start_hashes<H: HashBeside>(&mut self) {
        for lane in 0..16 {
            if self.hashed == self.ready {
                return;
            }
            if self.hash.ahead[lane] == 0 {
                let unit = &self.units[self.hashed];
                let esn = unit.esn.then_some(unit.seq);
                let source = Source { key: unit.key, esn, at: unit.at, len: unit.len };
                // SAFETY: the caller's promise; encryption is a step ahead.
                unsafe { self.hash.start::<H>(lane, self.hashed, &source) };
                self.hashed += 1;
            }
        }
    }

    /// Steps until something changes in a busy lane of the cipher.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    fn cipher_steps(&self) -> Option<usize> {
        let least = self.cipher.left.iter().copied().min().filter(|&left| left != IDLE)?;
        let steps = (least / STEP).max(1);
        Some(if self.cipher.left.contains(&IDLE) { steps.min(STRIDE / STEP) } else { steps })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    fn advance_cipher(&mut self, lane: usize, steps: usize) {
        if self.cipher.left[lane] == IDLE {
            return;
        }
        self.cipher.at[lane] = self.cipher.at[lane].wrapping_add(steps * STEP * 16);
        self.cipher.left[lane] = self.cipher.left[lane].saturating_sub(steps * STEP);
        if self.cipher.left[lane] == 0 {
            self.fill(lane);
        }
    }

    /// Where each of a step's blocks lies in every lane. A packet that ends within the step has the others nowhere.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    fn places(&self) -> [[*mut u8; 16]; STEP] {
        let mut places = [self.cipher.at; STEP];
        for (block, row) in places.iter_mut().enumerate() {
            for (place, left) in row.iter_mut().zip(&self.cipher.left) {
                let here = place.wrapping_add(block * 16);
                *place = if *left > block { here } else { self.nowhere };
            }
        }
        places
    }

    /// One step of the cipher alone.
    ///
    /// # Safety
    /// As [`seal`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    unsafe fn encrypt<const R: usize>(&mut self) {
        for at in &self.places() {
            // SAFETY: each place has one block.
            unsafe { self.cipher.steps_vaes_at::<R>(at, 1) };
        }
    }

    /// # Safety
    /// As [`seal`]; no busy lane has fewer steps ahead.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,vaes")]
    unsafe fn encrypt_and_hash<H: HashBeside, const R: usize>(&mut self, steps: usize) {
        let places = self.places();
        let (chain, _) = self.cipher.chain.as_chunks_mut::<4>();
        let mut rounds = Rounds::<R> {
            keys: &self.cipher.keys,
            places: &places,
            offset: 0,
            chain: [_mm512_setzero_si512(); 4],
        };
        for (vector, saved) in rounds.chain.iter_mut().zip(&*chain) {
            // SAFETY: four chain blocks are 64 bytes.
            *vector = unsafe { _mm512_loadu_si512(saved.as_ptr().cast()) };
        }
        let next = |rounds: &mut Rounds<R>, n| rounds.offset = n * STEP * 16;
        // SAFETY: the caller's promise for both.
        unsafe { self.hash.run_beside::<H, _>(steps, &mut rounds, next) };
        for (vector, saved) in rounds.chain.iter().zip(chain) {
            // SAFETY: four chain blocks are 64 bytes.
            unsafe { _mm512_storeu_si512(saved.as_mut_ptr().cast(), *vector) };
        }
    }
}

/// The cipher's part in a step.
#[derive(Clone, Copy)]
struct Rounds<'a, const R: usize> {
    keys: &'a [[[u8; 16]; 16]; 15],
    places: &'a [[*mut u8; 16]; STEP],
    offset: usize,
    chain: [__m512i; 4],
}

impl<const R: usize> Beside for Rounds<'_, R> {
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and DQ and VAES; every place has a block behind `offset`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
    unsafe fn step<const S: usize>(&mut self, part: usize) {
        if S > R {
            return;
        }
        let at = &self.places[part];
        let keys = &self.keys[S];
        for (v, chain) in self.chain.iter_mut().enumerate() {
            let key = cbc::row(keys, v);
            // SAFETY: the caller's promise for these four lanes.
            unsafe {
                if S == 0 {
                    let plain = cbc::gather(&at[v * 4..], self.offset);
                    *chain = _mm512_ternarylogic_epi64::<0x96>(*chain, plain, key);
                } else if S < R {
                    *chain = _mm512_aesenc_epi128(*chain, key);
                } else {
                    *chain = _mm512_aesenclast_epi128(*chain, key);
                    cbc::scatter(&at[v * 4..], self.offset, *chain);
                }
            }
        }
    }
}
