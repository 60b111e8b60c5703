//! Kernels for x86-64 on `std::arch`.
//!
//! Decides: which kernel a tier may use on this CPU, and fills the tables of a key that they need. Reads and writes what
//! the kernels below it do. Never calls a kernel whose instructions the CPU lacks: each entry point here is only reached
//! with a [`Kernel`] that the functions below have answered, and they ask the CPU.

mod tables;
mod gcm;
mod gcm_vaes;
mod ghash_vpclmul;
mod gcm_vaes256;
mod gcm_aes_ni;
mod cbc;
mod cbc_sha;
mod sha_avx512;
mod sha_serial;
mod chacha;
mod chacha_avx512;
mod chacha_avx2;
mod poly1305;
mod poly1305_ifma;

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use arrayvec::ArrayVec;

use crate::engine::{BURST, ByRounds, Group, Kernel, Tier, all, members};
use crate::frame::MAX_PACKET;
use crate::mac::Message;
use crate::portable::{Digest, same};
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

fn has_vaes256() -> bool {
    has_aes()
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

/// For GCM, GMAC and CTR.
pub(crate) fn gcm_kernel(tier: Tier) -> Kernel {
    if tier >= Tier::Avx512 && has_vaes512() {
        Kernel::Vaes512
    } else if tier >= Tier::Avx2 && has_vaes256() {
        Kernel::Vaes256
    } else if tier >= Tier::Sse && has_aes() {
        Kernel::AesNi
    } else {
        Kernel::Portable
    }
}

pub(crate) fn cbc_kernel(tier: Tier) -> Kernel {
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
    if tier >= Tier::Avx512 && has {
        Kernel::Avx512
    } else if tier >= Tier::Avx2 && is_x86_feature_detected!("avx2") {
        Kernel::Avx2
    } else {
        Kernel::Portable
    }
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

/// For SHA-384 and SHA-512.
pub(crate) fn sha512_kernel(tier: Tier) -> Kernel {
    if tier >= Tier::Avx512 && has_avx512() { Kernel::Avx512 } else { Kernel::Portable }
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
        Cipher::Gcm | Cipher::Gmac => (0..8).for_each(fetch),
        Cipher::Ctr => (0..4).for_each(fetch),
        Cipher::ChaCha => fetch(0),
        Cipher::Cbc => (0..8).for_each(fetch),
        Cipher::Null => fetch(0),
    }
    if key.integrity != Integrity::None {
        fetch(8);
    }
    if key.integrity.wide() {
        fetch(9);
    }
}

/// Key schedules and hash powers, on CPUs that have what the kernels reading them need.
pub(crate) fn fill_tables(key: &mut Key, cipher_key: &[u8]) {
    if !has_aes() {
        return;
    }
    match key.cipher {
        // SAFETY: `has_aes` found every feature that these functions are compiled for.
        Cipher::Gcm | Cipher::Gmac => unsafe { tables::gcm(key, cipher_key) },
        // SAFETY: as above.
        Cipher::Cbc => unsafe { tables::cbc(key, cipher_key) },
        // SAFETY: as above.
        Cipher::Ctr => unsafe { tables::ctr(key, cipher_key) },
        Cipher::ChaCha | Cipher::Null => {}
    }
}

/// Seals the jobs of the groups, which are prepared AES-GCM jobs.
#[inline]
pub(crate) fn seal_gcm(kernel: Kernel, jobs: &mut [SealJob], groups: &ByRounds) {
    // SAFETY: the engine has a kernel other than the portable one only where `gcm_kernel` answered it.
    unsafe {
        if kernel == Kernel::Vaes512 {
            gcm_vaes::seal(jobs, groups)
        } else if kernel == Kernel::Vaes256 {
            gcm_vaes256::seal(jobs, all(groups))
        } else {
            gcm_aes_ni::seal(jobs, all(groups))
        }
    }
}

/// Opens the jobs of the groups, AES-GCM packets of possible length; returns the authentic ones.
#[inline]
pub(crate) fn open_gcm(kernel: Kernel, jobs: &mut [OpenJob], groups: &ByRounds) -> Group {
    // SAFETY: as in `seal_gcm`.
    unsafe {
        if kernel == Kernel::Vaes512 {
            gcm_vaes::open(jobs, groups)
        } else if kernel == Kernel::Vaes256 {
            gcm_vaes256::open(jobs, all(groups))
        } else {
            gcm_aes_ni::open(jobs, all(groups))
        }
    }
}

/// Writes the ICVs of the jobs of `group`, which are prepared AES-GMAC jobs.
pub(crate) fn seal_gmac(kernel: Kernel, jobs: &mut [SealJob], group: Group) {
    for n in members(group) {
        let job = &mut jobs[n];
        let Some((packet, icv)) = job.packet.split_last_chunk_mut() else { continue };
        *icv = gmac(kernel, &gcm::Unit::authenticating(job.key, packet, job.seq, job.esn));
    }
}

/// The authentic jobs of `group`, AES-GMAC packets of possible length.
pub(crate) fn open_gmac(kernel: Kernel, jobs: &mut [OpenJob], group: Group) -> Group {
    let mut authentic = 0;
    for n in members(group) {
        let job = &mut jobs[n];
        let Some((packet, icv)) = job.packet.split_last_chunk_mut::<16>() else { continue };
        let tag = gmac(kernel, &gcm::Unit::authenticating(job.key, packet, job.seq, job.esn));
        if same(&tag, icv) {
            authentic |= 1 << n;
        }
    }
    authentic
}

/// The tag of AES-GMAC over `data`, which is at least a block of it and no more than a packet is.
pub(crate) fn gmac_of(kernel: Kernel, key: &Key, iv: u64, data: &[u8]) -> Option<[u8; 16]> {
    (data.len() <= MAX_PACKET + 4).then_some(())?;
    Some(gmac(kernel, &gcm::Unit::hashing(key, data, iv)?))
}

fn gmac(kernel: Kernel, unit: &gcm::Unit) -> [u8; 16] {
    // SAFETY: as in `seal_gcm`; the unit covers a packet of at least header, IV and trailer.
    let tag = unsafe {
        if kernel == Kernel::Vaes512 {
            gcm_vaes::gmac_unit(unit)
        } else if kernel == Kernel::Vaes256 {
            gcm_vaes256::gmac_unit(unit)
        } else {
            gcm_aes_ni::gmac_unit(unit)
        }
    };
    tables::bytes(tag)
}

/// Encrypts the jobs of `group`, which are prepared AES-CTR jobs.
pub(crate) fn encrypt_ctr(kernel: Kernel, jobs: &mut [SealJob], group: Group) {
    for n in members(group) {
        let job = &mut jobs[n];
        let end = job.packet.len() - job.key.suite().icv_len();
        crypt_ctr(kernel, &gcm::Unit::counting(job.key, &mut job.packet[..end], job.seq));
    }
}

/// Decrypts the jobs of `group`, which are authentic AES-CTR packets.
pub(crate) fn decrypt_ctr(kernel: Kernel, jobs: &mut [OpenJob], group: Group) {
    for n in members(group) {
        let job = &mut jobs[n];
        let end = job.packet.len() - job.key.suite().icv_len();
        let iv = job.packet[HEADER..].first_chunk().copied().unwrap_or_default();
        crypt_ctr(kernel, &gcm::Unit::counting(job.key, &mut job.packet[..end], u64::from_be_bytes(iv)));
    }
}

fn crypt_ctr(kernel: Kernel, unit: &gcm::Unit) {
    // SAFETY: as in `gmac`.
    unsafe {
        if kernel == Kernel::Vaes512 {
            gcm_vaes::ctr_unit(unit)
        } else if kernel == Kernel::Vaes256 {
            gcm_vaes256::ctr_unit(unit)
        } else {
            gcm_aes_ni::ctr_unit(unit)
        }
    }
}

/// Seals the jobs of `group`, which are prepared ChaCha20-Poly1305 jobs.
pub(crate) fn seal_chacha(kernel: Kernel, jobs: &mut [SealJob], group: Group) {
    let mut units = ArrayVec::<_, BURST>::new();
    for (n, job) in jobs.iter_mut().enumerate().take(BURST) {
        if group >> n & 1 == 1 {
            units.push(chacha::Unit::new(job.key, job.packet, job.seq, job.esn));
        }
    }
    chacha::seal(kernel, &mut units);
}

/// Opens the jobs of `group`, ChaCha20-Poly1305 packets of possible length; returns the authentic ones.
pub(crate) fn open_chacha(kernel: Kernel, jobs: &mut [OpenJob], group: Group) -> Group {
    let mut units = ArrayVec::<_, BURST>::new();
    for (n, job) in jobs.iter_mut().enumerate().take(BURST) {
        if group >> n & 1 == 1 {
            units.push(chacha::Unit::new(job.key, job.packet, job.seq, job.esn));
        }
    }
    let authentic = chacha::open(kernel, &mut units);
    if group == Group::MAX {
        return authentic;
    }
    members(group)
        .enumerate()
        .filter(|(unit, _)| authentic >> unit & 1 == 1)
        .fold(0, |set, (_, n)| set | 1 << n)
}

/// The jobs of `group` by the rounds of their keys.
fn by_rounds(jobs: &[SealJob], group: Group) -> [(u8, Group); 3] {
    let mut sets = [(10, 0), (12, 0), (14, 0)];
    for n in members(group) {
        sets[usize::from(jobs[n].key.rounds.saturating_sub(10) / 2).min(2)].1 |= 1 << n;
    }
    sets
}

/// Encrypts the jobs of `group`, which are prepared AES-CBC jobs, and writes their IVs.
pub(crate) fn encrypt_cbc(kernel: Kernel, jobs: &mut [SealJob], group: Group) {
    for (rounds, of_these) in by_rounds(jobs, group) {
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

/// Seals those jobs of `group`, prepared AES-CBC jobs with one HMAC, whose cipher and hash are worth doing together: that
/// takes 512-bit kernels for both, and enough packets for the lanes. Returns which they were.
pub(crate) fn seal_cbc_hmac(
    (cipher, hash): (Kernel, Kernel),
    integrity: Integrity,
    jobs: &mut [SealJob],
    group: Group,
) -> Group {
    if (cipher, hash) != (Kernel::Vaes512, Kernel::Avx512) || integrity.wide() {
        return 0;
    }
    let mut sealed = 0;
    for (rounds, of_these) in by_rounds(jobs, group) {
        let count = of_these.count_ones() as usize;
        let bytes: usize = members(of_these).map(|n| jobs[n].packet.len()).sum();
        if count >= worthwhile(integrity) && bytes >= count * LONG {
            // SAFETY: as in `encrypt_cbc`; the hash's kernel is one that `sha_kernel` answered.
            unsafe { cbc_sha::seal_jobs(integrity, rounds, jobs, of_these) };
            sealed |= of_these;
        }
    }
    sealed
}

/// Decrypts IV and body of one packet in place.
pub(crate) fn decrypt_cbc(kernel: Kernel, key: &Key, unit: &mut [u8]) {
    // SAFETY: as in `encrypt_cbc`.
    unsafe { cbc::decrypt(kernel, key, unit) }
}

/// HMAC of every message. Where the vector kernel would leave too many lanes empty, one message after the other is the
/// faster choice.
pub(crate) fn hmac(kernel: Kernel, integrity: Integrity, messages: &[Message], out: &mut [Digest]) {
    if kernel == Kernel::Avx512 && messages.len() >= worthwhile(integrity) {
        // SAFETY: the engine has this kernel only where `sha_kernel` answered it.
        return unsafe {
            match integrity {
                Integrity::Sha1 => sha_avx512::hmac::<sha_avx512::Sha1>(messages, out),
                Integrity::Sha256 => sha_avx512::hmac::<sha_avx512::Sha256>(messages, out),
                Integrity::Sha384 => sha_avx512::hmac::<sha_avx512::Sha384>(messages, out),
                Integrity::Sha512 => sha_avx512::hmac::<sha_avx512::Sha512>(messages, out),
                Integrity::None => {}
            }
        };
    }
    match integrity {
        Integrity::Sha1 => sha_serial::hmac_sha1(messages, out),
        Integrity::Sha256 => sha_serial::hmac_sha256(messages, out),
        Integrity::Sha384 => sha_serial::hmac_sha512(messages, out, 48),
        Integrity::Sha512 => sha_serial::hmac_sha512(messages, out, 64),
        Integrity::None => {}
    }
}

/// Mean length from which on a cipher beside the hash beats one after the other (measured as below).
const LONG: usize = 384;

/// Messages from which on the lanes of AVX-512 beat one message after the other (measured: `ravelin-bench crypto`).
const fn worthwhile(integrity: Integrity) -> usize {
    match integrity {
        Integrity::Sha256 => 7,
        Integrity::Sha1 => 5,
        Integrity::Sha384 | Integrity::Sha512 | Integrity::None => 2,
    }
}

#[cfg(test)]
mod bare;

#[cfg(test)]
pub(crate) use bare::{bare_chacha, bare_gcm};
