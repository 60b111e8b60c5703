//! AES-CBC: encryption of many packets in lock-step, decryption of one packet at a time.
//!
//! Decides nothing. Reads: keys, plaintext or ciphertext. Writes: IVs and ciphertext, or plaintext. Never: framing, ICVs.
//!
//! A CBC chain is serial, so one packet alone waits for every round. Different packets are independent: each lane of the
//! vectors carries a packet with its own key. A lane whose packet ends takes the next one at once, so that packets of
//! different lengths keep all lanes busy.

use core::arch::x86_64::*;

use crate::Key;
use crate::engine::Kernel;
use crate::portable::iv_input;

/// One packet to encrypt: `blocks` × 16 bytes from the IV's place on.
pub(super) struct Unit<'a> {
    pub(super) key: &'a Key,
    pub(super) seq: u64,
    pub(super) at: *mut u8,
    pub(super) blocks: usize,
}

/// Encrypts all units; each of them must have a key of `rounds`.
///
/// # Safety
/// The CPU has what `kernel` needs; every unit's memory is valid, its own, and at least one block long.
pub(super) unsafe fn encrypt<'a>(kernel: Kernel, rounds: u8, units: impl Iterator<Item = Unit<'a>>) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match (kernel, rounds) {
            (Kernel::Vaes512, 10) => Lanes::<16>::new().run(units, |lanes, n| lanes.steps_vaes::<10>(n)),
            (Kernel::Vaes512, 12) => Lanes::<16>::new().run(units, |lanes, n| lanes.steps_vaes::<12>(n)),
            (Kernel::Vaes512, _) => Lanes::<16>::new().run(units, |lanes, n| lanes.steps_vaes::<14>(n)),
            (_, 10) => Lanes::<8>::new().run(units, |lanes, n| lanes.steps_aes_ni::<10>(n)),
            (_, 12) => Lanes::<8>::new().run(units, |lanes, n| lanes.steps_aes_ni::<12>(n)),
            (_, _) => Lanes::<8>::new().run(units, |lanes, n| lanes.steps_aes_ni::<14>(n)),
        }
    }
}

/// The packets under way, one per lane.
#[repr(C, align(64))]
pub(super) struct Lanes<const L: usize> {
    /// Round keys, transposed: one row per round, one column per lane.
    pub(super) keys: [[[u8; 16]; L]; 15],
    pub(super) chain: [[u8; 16]; L],
    /// Where each lane reads and writes next; an idle one on `nowhere`.
    pub(super) at: [*mut u8; L],
    /// Blocks to go; `IDLE` without a packet.
    pub(super) left: [usize; L],
    /// Whose round keys a lane has: packets of one SA often follow each other.
    whose: [*const Key; L],
}

pub(super) const IDLE: usize = usize::MAX;

/// Blocks that fit on `nowhere`.
pub(super) const STRIDE: usize = 32;

impl<const L: usize> Lanes<L> {
    pub(super) fn new() -> Self {
        Self {
            keys: [[[0; 16]; L]; 15],
            chain: [[0; 16]; L],
            at: [core::ptr::null_mut(); L],
            left: [IDLE; L],
            whose: [core::ptr::null(); L],
        }
    }

    /// Keeps the lanes filled until no packet is left. `steps` encrypts that many blocks in every lane.
    ///
    /// # Safety
    /// As [`encrypt`]; `steps` touches 16 bytes per step from `at` on.
    unsafe fn run<'a>(
        &mut self,
        mut units: impl Iterator<Item = Unit<'a>>,
        steps: impl Fn(&mut Self, usize),
    ) {
        let mut nowhere = [[0u8; 16]; STRIDE];
        let nowhere = nowhere.as_mut_ptr().cast();
        for lane in 0..L {
            self.fill(lane, units.next(), nowhere);
        }
        loop {
            let least = self.left.iter().copied().min().unwrap_or(IDLE);
            if least == IDLE {
                break;
            }
            let blocks = if self.left.contains(&IDLE) { least.min(STRIDE) } else { least };
            steps(self, blocks);
            for lane in 0..L {
                if self.left[lane] == IDLE {
                    continue;
                }
                self.at[lane] = self.at[lane].wrapping_add(blocks * 16);
                self.left[lane] -= blocks;
                if self.left[lane] == 0 {
                    self.fill(lane, units.next(), nowhere);
                }
            }
        }
        self.wipe();
    }

    pub(super) fn fill(&mut self, lane: usize, unit: Option<Unit>, nowhere: *mut u8) {
        let Some(unit) = unit else {
            self.at[lane] = nowhere;
            self.left[lane] = IDLE;
            return;
        };
        if !core::ptr::eq(self.whose[lane], unit.key) {
            self.whose[lane] = unit.key;
            for (row, key) in self.keys.iter_mut().zip(&unit.key.schedule) {
                row[lane] = *key;
            }
        }
        self.chain[lane] = [0; 16];
        self.at[lane] = unit.at;
        self.left[lane] = unit.blocks;
        let first = iv_input(unit.key, unit.seq);
        // SAFETY: a unit is at least one block long, and the block is the IV's place.
        unsafe { unit.at.cast::<[u8; 16]>().write_unaligned(first) };
    }

    /// The round keys do not stay on the stack.
    pub(super) fn wipe(&mut self) {
        self.keys = [[[0; 16]; L]; 15];
        // The compiler must assume that somebody reads the zeros.
        core::hint::black_box(&mut self.keys);
    }
}

impl Lanes<16> {
    fn steps_vaes<const R: usize>(&mut self, count: usize) {
        // A copy that no store through a packet's pointer can change: the compiler need not read it anew.
        let at = self.at;
        // SAFETY: only `encrypt` calls this, for a kernel that the CPU has.
        unsafe { self.steps_vaes_at::<R>(&at, count) }
    }

    /// # Safety
    /// Every lane has `count` blocks at `at`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
    pub(super) unsafe fn steps_vaes_at<const R: usize>(&mut self, at: &[*mut u8; 16], count: usize) {
        let mut chain = [_mm512_setzero_si512(); 4];
        for (v, chain) in chain.iter_mut().enumerate() {
            // SAFETY: four chain blocks are 64 bytes.
            *chain = unsafe { _mm512_loadu_si512(self.chain[v * 4..].as_ptr().cast()) };
        }
        for offset in (0..count * 16).step_by(16) {
            for (v, chain) in chain.iter_mut().enumerate() {
                // SAFETY: the caller's promise for these four lanes.
                let plain = unsafe { gather(&at[v * 4..], offset) };
                *chain = _mm512_ternarylogic_epi64::<0x96>(*chain, plain, row(&self.keys[0], v));
            }
            for round in 1..R {
                for (v, chain) in chain.iter_mut().enumerate() {
                    *chain = _mm512_aesenc_epi128(*chain, row(&self.keys[round], v));
                }
            }
            for (v, chain) in chain.iter_mut().enumerate() {
                *chain = _mm512_aesenclast_epi128(*chain, row(&self.keys[R], v));
                // SAFETY: the caller's promise for these four lanes.
                unsafe { scatter(&at[v * 4..], offset, *chain) };
            }
        }
        for (v, chain) in chain.iter().enumerate() {
            // SAFETY: four chain blocks are 64 bytes.
            unsafe { _mm512_storeu_si512(self.chain[v * 4..].as_mut_ptr().cast(), *chain) };
        }
    }
}

/// Keys `4 v` to `4 v + 3`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
pub(super) fn row(keys: &[[u8; 16]; 16], v: usize) -> __m512i {
    // SAFETY: four keys are 64 bytes.
    unsafe { _mm512_loadu_si512(keys[v * 4..][..4].as_ptr().cast()) }
}

/// # Safety
/// The first four pointers have 16 readable bytes each behind `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
pub(super) unsafe fn gather(at: &[*mut u8], offset: usize) -> __m512i {
    let block = |lane: usize| at[lane].wrapping_add(offset);
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(block(0))), load(block(1)));
        let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(block(2))), load(block(3)));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// # Safety
/// The first four pointers have 16 writable bytes each behind `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
pub(super) unsafe fn scatter(at: &[*mut u8], offset: usize, blocks: __m512i) {
    let block = |lane: usize| at[lane].wrapping_add(offset);
    // SAFETY: the caller's promise.
    unsafe {
        _mm_storeu_si128(block(0).cast(), _mm512_castsi512_si128(blocks));
        _mm_storeu_si128(block(1).cast(), _mm512_extracti32x4_epi32::<1>(blocks));
        _mm_storeu_si128(block(2).cast(), _mm512_extracti32x4_epi32::<2>(blocks));
        _mm_storeu_si128(block(3).cast(), _mm512_extracti32x4_epi32::<3>(blocks));
    }
}

impl Lanes<8> {
    fn steps_aes_ni<const R: usize>(&mut self, count: usize) {
        // SAFETY: only `encrypt` calls this, for a kernel that the CPU has.
        unsafe { self.steps_aes_ni_inner::<R>(count) }
    }

    /// # Safety
    /// Every lane has `count` blocks from `at` on.
    #[target_feature(enable = "aes,sse4.1")]
    unsafe fn steps_aes_ni_inner<const R: usize>(&mut self, count: usize) {
        let mut chain = [_mm_setzero_si128(); 8];
        for (chain, saved) in chain.iter_mut().zip(&self.chain) {
            // SAFETY: 16 readable bytes.
            *chain = unsafe { _mm_loadu_si128(saved.as_ptr().cast()) };
        }
        let at = self.at;
        for offset in (0..count * 16).step_by(16) {
            for (lane, chain) in chain.iter_mut().enumerate() {
                // SAFETY: the caller's promise for this lane.
                let plain = unsafe { load(at[lane].wrapping_add(offset)) };
                *chain = _mm_xor_si128(_mm_xor_si128(*chain, plain), vector(&self.keys[0][lane]));
            }
            for round in 1..R {
                for (chain, key) in chain.iter_mut().zip(&self.keys[round]) {
                    *chain = _mm_aesenc_si128(*chain, vector(key));
                }
            }
            for (lane, chain) in chain.iter_mut().enumerate() {
                *chain = _mm_aesenclast_si128(*chain, vector(&self.keys[R][lane]));
                // SAFETY: the caller's promise for this lane.
                unsafe { _mm_storeu_si128(at[lane].wrapping_add(offset).cast(), *chain) };
            }
        }
        for (chain, saved) in chain.iter().zip(&mut self.chain) {
            // SAFETY: 16 writable bytes.
            unsafe { _mm_storeu_si128(saved.as_mut_ptr().cast(), *chain) };
        }
    }
}

/// Decrypts one packet in place; `unit` is its IV and body, whole blocks.
///
/// # Safety
/// The CPU has what `kernel` needs.
pub(super) unsafe fn decrypt(kernel: Kernel, key: &Key, unit: &mut [u8]) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match (kernel, key.rounds) {
            (Kernel::Vaes512, 10) => decrypt_vaes::<10>(key, unit),
            (Kernel::Vaes512, 12) => decrypt_vaes::<12>(key, unit),
            (Kernel::Vaes512, _) => decrypt_vaes::<14>(key, unit),
            (_, 10) => decrypt_aes_ni::<10>(key, unit),
            (_, 12) => decrypt_aes_ni::<12>(key, unit),
            (_, _) => decrypt_aes_ni::<14>(key, unit),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
fn decrypt_vaes<const R: usize>(key: &Key, unit: &mut [u8]) {
    let Some((iv, body)) = unit.split_first_chunk::<16>() else { return };
    let mut before = _mm512_broadcast_i32x4(vector(iv));
    let blocks = body.len() / 16;
    let body = unit[16..].as_mut_ptr();
    let mut done = 0;
    while done < blocks {
        let mut cipher = [_mm512_setzero_si512(); 4];
        let mut masks = [0; 4];
        for v in 0..4 {
            masks[v] = quads((blocks - done).saturating_sub(v * 4));
            // SAFETY: the mask leaves only whole blocks of the body.
            cipher[v] =
                unsafe { _mm512_maskz_loadu_epi64(masks[v], body.wrapping_add((done + v * 4) * 16).cast()) };
        }
        let mut plain = cipher;
        for state in &mut plain {
            *state = _mm512_xor_si512(*state, broadcast(&key.table[0]));
        }
        for round in 1..R {
            let round_key = broadcast(&key.table[round]);
            for state in &mut plain {
                *state = _mm512_aesdec_epi128(*state, round_key);
            }
        }
        for v in 0..4 {
            let previous = _mm512_alignr_epi64::<6>(cipher[v], before);
            before = cipher[v];
            let state =
                _mm512_xor_si512(_mm512_aesdeclast_epi128(plain[v], broadcast(&key.table[R])), previous);
            // SAFETY: as for the load.
            unsafe {
                _mm512_mask_storeu_epi64(body.wrapping_add((done + v * 4) * 16).cast(), masks[v], state)
            };
        }
        done += 16;
    }
}

/// The 64-bit elements of a vector that hold the first `blocks` blocks.
#[inline]
fn quads(blocks: usize) -> __mmask8 {
    const MASKS: [__mmask8; 5] = [0, 0b11, 0b1111, 0b11_1111, 0xff];
    MASKS[blocks.min(4)]
}

#[target_feature(enable = "aes,sse4.1")]
fn decrypt_aes_ni<const R: usize>(key: &Key, unit: &mut [u8]) {
    let Some((iv, body)) = unit.split_first_chunk_mut::<16>() else { return };
    let mut before = vector(iv);
    let (groups, rest) = body.as_chunks_mut::<16>().0.as_chunks_mut::<8>();
    for group in groups {
        before = decrypt_group::<R, 8>(key, before, group);
    }
    for block in rest {
        before = decrypt_group::<R, 1>(key, before, core::array::from_mut(block));
    }
}

#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn decrypt_group<const R: usize, const N: usize>(
    key: &Key,
    mut before: __m128i,
    group: &mut [[u8; 16]; N],
) -> __m128i {
    let mut state = [_mm_setzero_si128(); N];
    for (state, block) in state.iter_mut().zip(group.iter()) {
        *state = _mm_xor_si128(vector(block), vector(&key.table[0]));
    }
    for round in 1..R {
        let round_key = vector(&key.table[round]);
        for state in &mut state {
            *state = _mm_aesdec_si128(*state, round_key);
        }
    }
    for (state, block) in state.iter().zip(group) {
        let plain = _mm_xor_si128(_mm_aesdeclast_si128(*state, vector(&key.table[R])), before);
        before = vector(block);
        // SAFETY: 16 writable bytes.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), plain) };
    }
    before
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,aes,vaes")]
fn broadcast(key: &[u8; 16]) -> __m512i {
    _mm512_broadcast_i32x4(vector(key))
}

#[inline]
fn vector(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 readable bytes; SSE2 is part of x86-64.
    unsafe { load(bytes.as_ptr()) }
}

/// # Safety
/// 16 readable bytes.
#[inline]
unsafe fn load(at: *const u8) -> __m128i {
    // SAFETY: the caller's promise; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(at.cast()) }
}
