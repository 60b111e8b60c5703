//! Kernels for x86-64 on `std::arch`.
//!
//! Decides: which kernel a tier may use on this CPU, and fills the tables of a key that they need. Reads and writes what
//! the kernels below it do. Never calls a kernel whose instructions the CPU lacks: each entry point here is only reached
//! with a [`Kernel`] that the functions below have answered, and they ask the CPU.

mod tables;
mod gcm;
mod gcm_vaes;
mod ghash_vpclmul;
mod gcm_aes_ni;
mod cbc;
mod sha_avx512;
mod sha_ni;
mod chacha_avx512;
mod poly1305;
mod poly1305_ifma;

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use arrayvec::ArrayVec;

use crate::engine::{BURST, Group, Kernel, Tier, members};
use crate::frame::Aad;
use crate::mac::Message;
use crate::portable::{Digest, header};
use crate::suite::{Cipher, HEADER, Integrity};
use crate::{Key, OpenJob, SealJob};

/// AES, carry-less multiplication and byte shuffles on 128 bits: what the tables of [`Key`] are made with.
fn has_aes() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("bmi2")
}

fn has_vaes512() -> bool {
    has_aes() && has_avx512() && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq")
}

pub(crate) fn gcm_kernel(tier: Tier) -> Kernel {
    aes_kernel(tier)
}

pub(crate) fn cbc_kernel(tier: Tier) -> Kernel {
    aes_kernel(tier)
}

fn aes_kernel(tier: Tier) -> Kernel {
    if tier >= Tier::Avx512 && has_vaes512() {
        Kernel::Vaes512
    } else if tier >= Tier::Sse && has_aes() {
        Kernel::AesNi
    } else {
        Kernel::Portable
    }
}

pub(crate) fn chacha_kernel(tier: Tier) -> Kernel {
    let has = has_avx512() && is_x86_feature_detected!("avx512ifma");
    if tier >= Tier::Avx512 && has { Kernel::Avx512 } else { Kernel::Portable }
}

/// For SHA-1 and SHA-256 alike.
pub(crate) fn sha_kernel(tier: Tier) -> Kernel {
    if tier >= Tier::Avx512 && has_avx512() {
        Kernel::Avx512
    } else if tier >= Tier::Sse && has_sha_ni() {
        Kernel::ShaNi
    } else {
        Kernel::Portable
    }
}

fn has_sha_ni() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

/// Asks for the cache lines that the suite's kernels will read.
#[inline]
pub(crate) fn prefetch(key: &Key) {
    let start = core::ptr::from_ref(key).cast::<i8>();
    // SAFETY: prefetching cannot fault; SSE is part of x86-64.
    let fetch = |line: usize| unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64)) };
    match key.cipher {
        Cipher::Gcm => (0..8).for_each(fetch),
        Cipher::ChaCha => [0, 3].into_iter().for_each(fetch),
        Cipher::Cbc => (0..9).for_each(fetch),
        Cipher::Null => [3].into_iter().for_each(fetch),
    }
    if key.cipher == Cipher::Null && key.integrity != Integrity::None {
        fetch(8);
    }
}

/// Key schedules and hash powers, on CPUs that have what the kernels reading them need.
pub(crate) fn fill_tables(key: &mut Key, cipher_key: &[u8]) {
    if !has_aes() {
        return;
    }
    match key.cipher {
        // SAFETY: `has_aes` found every feature that these two functions are compiled for.
        Cipher::Gcm => unsafe { tables::gcm(key, cipher_key) },
        // SAFETY: as above.
        Cipher::Cbc => unsafe { tables::cbc(key, cipher_key) },
        Cipher::ChaCha | Cipher::Null => {}
    }
}

/// Seals the jobs of `group`, which are prepared AES-GCM jobs.
#[inline]
pub(crate) fn seal_gcm(kernel: Kernel, jobs: &mut [SealJob], group: Group) {
    // SAFETY: the engine has a kernel other than the portable one only where `gcm_kernel` answered it.
    unsafe {
        if kernel == Kernel::Vaes512 { gcm_vaes::seal(jobs, group) } else { gcm_aes_ni::seal(jobs, group) }
    }
}

/// Opens the jobs of `group`, AES-GCM packets of possible length; returns the authentic ones.
#[inline]
pub(crate) fn open_gcm(kernel: Kernel, jobs: &mut [OpenJob], group: Group) -> Group {
    // SAFETY: as in `seal_gcm`.
    unsafe {
        if kernel == Kernel::Vaes512 { gcm_vaes::open(jobs, group) } else { gcm_aes_ni::open(jobs, group) }
    }
}

/// Seals the jobs of `group`, which are prepared ChaCha20-Poly1305 jobs.
pub(crate) fn seal_chacha(jobs: &mut [SealJob], group: Group) {
    let aads: ArrayVec<Aad, BURST> =
        members(group).map(|n| Aad::new(header(jobs[n].packet), jobs[n].seq, jobs[n].esn)).collect();
    let of_these = jobs.iter_mut().enumerate().filter(|(n, _)| group >> n & 1 == 1).map(|(_, job)| job);
    let mut units: ArrayVec<chacha_avx512::Unit, BURST> = of_these
        .zip(&aads)
        .map(|(job, aad)| chacha_avx512::Unit { key: job.key, aad: aad.as_slice(), packet: job.packet })
        .collect();
    // SAFETY: the engine has this kernel only where `chacha_kernel` answered it.
    unsafe { chacha_avx512::seal(&mut units) };
}

/// Opens the jobs of `group`, ChaCha20-Poly1305 packets of possible length; returns the authentic ones.
pub(crate) fn open_chacha(jobs: &mut [OpenJob], group: Group) -> Group {
    let aads: ArrayVec<Aad, BURST> =
        members(group).map(|n| Aad::new(header(jobs[n].packet), jobs[n].seq, jobs[n].esn)).collect();
    let of_these = jobs.iter_mut().enumerate().filter(|(n, _)| group >> n & 1 == 1).map(|(_, job)| job);
    let mut units: ArrayVec<chacha_avx512::Unit, BURST> = of_these
        .zip(&aads)
        .map(|(job, aad)| chacha_avx512::Unit { key: job.key, aad: aad.as_slice(), packet: job.packet })
        .collect();
    // SAFETY: as in `seal_chacha`.
    let authentic = unsafe { chacha_avx512::open(&mut units) };
    members(group)
        .enumerate()
        .filter(|(unit, _)| authentic >> unit & 1 == 1)
        .fold(0, |set, (_, n)| set | 1 << n)
}

/// Encrypts the jobs of `group`, which are prepared AES-CBC jobs, and writes their IVs.
pub(crate) fn encrypt_cbc(kernel: Kernel, jobs: &mut [SealJob], group: Group) {
    for rounds in [10, 12, 14] {
        let of_these =
            members(group).filter(|&n| jobs[n].key.rounds == rounds).fold(0, |set: Group, n| set | 1 << n);
        if of_these == 0 {
            continue;
        }
        let units = members(of_these).map(|n| {
            let job = &mut jobs[n];
            let end = job.packet.len() - job.key.suite().icv_len();
            let unit = &mut job.packet[HEADER..end];
            cbc::Unit { key: job.key, seq: job.seq, blocks: unit.len() / 16, at: unit.as_mut_ptr() }
        });
        // SAFETY: the engine has a kernel other than the portable one only where `cbc_kernel` answered it. Each unit is
        // a packet of its own; `frame::prepare` checked that IV and body are whole blocks.
        unsafe { cbc::encrypt(kernel, rounds, units) };
    }
}

/// Decrypts IV and body of one packet in place.
pub(crate) fn decrypt_cbc(kernel: Kernel, key: &Key, unit: &mut [u8]) {
    // SAFETY: as in `encrypt_cbc`.
    unsafe { cbc::decrypt(kernel, key, unit) }
}

/// HMAC of every message, `count` of them, with SHA-1 or SHA-256. Where the vector kernel would leave too many lanes
/// empty, the SHA instructions are the faster choice, on CPUs that have them.
pub(crate) fn hmac<'a>(
    kernel: Kernel,
    integrity: Integrity,
    count: usize,
    messages: impl Iterator<Item = Message<'a>>,
    out: &mut [Digest],
) {
    let worthwhile = if integrity == Integrity::Sha1 { 5 } else { 9 };
    match (kernel == Kernel::Avx512 && count >= worthwhile, integrity) {
        // SAFETY: the engine has this kernel only where `sha_kernel` answered it.
        (true, Integrity::Sha1) => unsafe { sha_avx512::hmac::<sha_avx512::Sha1>(messages, out) },
        // SAFETY: as above.
        (true, _) => unsafe { sha_avx512::hmac::<sha_avx512::Sha256>(messages, out) },
        (false, Integrity::Sha1) => sha_ni::hmac_sha1(messages, out),
        (false, _) => sha_ni::hmac_sha256(messages, out),
    }
}

/// The bare primitive of [`seal_gcm`] and [`open_gcm`] for vectors with other associated data than ESP's: at most one
/// block of it.
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "halves of a number")]
pub(crate) fn bare_gcm(kernel: Kernel, key: &Key, aad: &[u8], packet: &mut [u8], seal: bool) -> bool {
    let mut block = [0; 16];
    block[..aad.len()].copy_from_slice(aad);
    let aad_bits = aad.len() as u64 * 8;
    let aad = u128::from_be_bytes(block);
    let head = u128::from_be_bytes(*packet.first_chunk().unwrap());
    let unit = gcm::Unit {
        key,
        body: packet.len() - 32,
        packet: packet.as_mut_ptr(),
        iv: head as u64,
        header: (head >> 64) as u64,
        aad: ((aad >> 64) as u64, aad as u64),
        aad_bits,
    };
    assert_eq!(kernel, gcm_kernel(if kernel == Kernel::Vaes512 { Tier::Avx512 } else { Tier::Sse }));
    // SAFETY: header and ICV were subtracted from the length, and the CPU was asked.
    unsafe {
        match (kernel, seal) {
            (Kernel::Vaes512, true) => gcm_vaes::seal_unit(&unit),
            (Kernel::Vaes512, false) => return gcm_vaes::open_unit(&unit),
            (_, true) => gcm_aes_ni::seal_unit(&unit),
            (_, false) => return gcm_aes_ni::open_unit(&unit),
        }
    }
    true
}

/// The bare primitive of [`seal_chacha`] and [`open_chacha`], for vectors.
#[cfg(test)]
pub(crate) fn bare_chacha(key: &Key, aad: &[u8], packet: &mut [u8], seal: bool) -> bool {
    assert_eq!(chacha_kernel(Tier::Avx512), Kernel::Avx512);
    let mut unit = [chacha_avx512::Unit { key, aad, packet }];
    // SAFETY: the CPU was asked.
    unsafe {
        if seal {
            chacha_avx512::seal(&mut unit);
            return true;
        }
        chacha_avx512::open(&mut unit) == 1
    }
}
