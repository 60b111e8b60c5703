//! The burst interface: groups jobs by algorithm and hands each group to the fastest kernel the CPU has.
//!
//! Decides: which kernel serves which algorithm, once per engine. Reads: the class of each job's key. Writes: outcomes.
//! Never: looks at the CPU per packet, skips a kernel silently ([`Engine::describe`] names them all), or allocates.

use core::fmt;

use crate::frame;
use crate::group::Groups;
pub(crate) use crate::group::{ByRounds, Group, all, members};
use crate::mac;
use crate::portable;
use crate::suite::{Cipher, HEADER, Integrity};
use crate::{Found, OpenBurst, OpenError, OpenJob, SealBurst, SealJob, Suite};

/// Jobs are treated in groups of this many; longer bursts are cut.
pub const BURST: usize = 64;

/// How far an engine may go. The default is the highest; lower ones are for tests, benches and distrust of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tier {
    /// RustCrypto, on any CPU.
    Portable,
    /// x86-64 with 128-bit AES, carry-less multiplication and SHA instructions, each where the CPU has it.
    Sse,
    /// 256-bit vectors: AVX2, VAES and VPCLMULQDQ, as CPUs without AVX-512 have them.
    Avx2,
    /// 512-bit vectors: AVX-512 with VAES and VPCLMULQDQ.
    Avx512,
}

/// What serves one algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kernel {
    Portable,
    AesNi,
    Vaes256,
    Vaes512,
    ShaNi,
    Avx2,
    Avx512,
}

/// Cheap to copy: a handful of choices. Each worker has its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Engine {
    /// GMAC and CTR too: GCM's halves.
    gcm: Kernel,
    cbc: Kernel,
    chacha: Kernel,
    sha1: Kernel,
    sha256: Kernel,
    /// SHA-384 and SHA-512.
    sha512: Kernel,
    /// See [`Engine::without_crypto`].
    frames_only: bool,
}

impl Engine {
    /// The fastest kernels that this CPU has.
    pub fn new() -> Self {
        Self::with_tier(Tier::Avx512)
    }

    /// As [`new`](Self::new), but nothing above `tier`.
    pub fn with_tier(tier: Tier) -> Self {
        let portable = Self {
            gcm: Kernel::Portable,
            cbc: Kernel::Portable,
            chacha: Kernel::Portable,
            sha1: Kernel::Portable,
            sha256: Kernel::Portable,
            sha512: Kernel::Portable,
            frames_only: false,
        };
        #[cfg(target_arch = "x86_64")]
        let chosen = Self {
            gcm: crate::x86::gcm_kernel(tier),
            cbc: crate::x86::cbc_kernel(tier),
            chacha: crate::x86::chacha_kernel(tier),
            sha1: crate::x86::sha_kernel(tier),
            sha256: crate::x86::sha_kernel(tier),
            sha512: crate::x86::sha512_kernel(tier),
            frames_only: false,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let chosen = portable;
        if tier == Tier::Portable { portable } else { chosen }
    }

    /// Writes and reads all of ESP around the payload, but neither encrypts nor authenticates: what the way of a packet
    /// costs without its crypto. For benches alone; `scripts/check-rules` keeps the name out of everything else.
    #[doc(hidden)]
    pub fn without_crypto() -> Self {
        Self { frames_only: true, ..Self::with_tier(Tier::Portable) }
    }

    /// Protects every packet of the burst in place. Returns how many jobs were refused because their lengths
    /// contradict each other; the packets of those are zeroed and must not be sent.
    pub fn seal(&self, jobs: &mut [SealJob]) -> usize {
        jobs.chunks_mut(BURST).map(|burst| self.seal_jobs(burst)).sum()
    }

    /// Verifies and decrypts every packet of the burst in place, and writes every job's outcome.
    pub fn open(&self, jobs: &mut [OpenJob]) {
        jobs.chunks_mut(BURST).for_each(|burst| self.open_jobs(burst));
    }

    /// Cipher kernel and integrity kernel of a suite; they are one for an AEAD.
    pub fn kernels(&self, suite: Suite) -> (Kernel, Kernel) {
        let cipher = match suite.cipher() {
            Cipher::Gcm | Cipher::Gmac => return (self.gcm, self.gcm),
            Cipher::ChaCha => return (self.chacha, self.chacha),
            Cipher::Cbc => self.cbc,
            Cipher::Ctr => self.gcm,
            Cipher::Null => Kernel::Portable,
        };
        (cipher, self.mac_kernel(suite.integrity()))
    }

    /// One line for `show workers`.
    pub fn describe(&self) -> String {
        let Self { gcm, cbc, chacha, sha1, sha256, sha512, frames_only } = self;
        if *frames_only {
            return "NO ENCRYPTION, NO AUTHENTICATION".to_owned();
        }
        format!(
            "aes-gcm {gcm}, aes-gmac {gcm}, aes-ctr {gcm}, aes-cbc {cbc}, chacha20-poly1305 {chacha}, \
             sha1 {sha1}, sha2-256 {sha256}, sha2-512 {sha512}"
        )
    }

    pub(crate) fn mac_kernel(&self, integrity: Integrity) -> Kernel {
        match integrity {
            Integrity::Sha1 => self.sha1,
            Integrity::Sha256 => self.sha256,
            Integrity::Sha384 | Integrity::Sha512 => self.sha512,
            Integrity::None => Kernel::Portable,
        }
    }

    /// Seals what is in the burst, which is empty then. Returns how many packets were refused; those are zeroed and must
    /// not be sent.
    pub fn seal_burst(&self, burst: &mut SealBurst) -> usize {
        self.seal_prepared(&mut burst.jobs, &burst.groups);
        burst.jobs.clear();
        burst.groups = Groups::default();
        core::mem::take(&mut burst.refused)
    }

    /// Verifies and decrypts what is in the burst, which is empty then.
    pub fn open_burst(&self, burst: &mut OpenBurst) -> Found {
        let groups = core::mem::take(&mut burst.groups);
        let possible = core::mem::take(&mut burst.possible);
        let authentic = self.verify(&mut burst.jobs, groups);
        burst.jobs.clear();
        Found { possible, authentic }
    }

    fn seal_jobs(&self, jobs: &mut [SealJob]) -> usize {
        let mut groups = Groups::default();
        let mut refused = 0;
        for (n, job) in jobs.iter_mut().enumerate() {
            if frame::prepare(job) {
                groups.add(n, job.key);
            } else {
                refused += 1;
            }
        }
        self.seal_prepared(jobs, &groups);
        refused
    }

    fn seal_prepared(&self, jobs: &mut [SealJob], groups: &Groups) {
        if self.frames_only {
            return;
        }
        self.seal_gcm(jobs, &groups.gcm);
        self.seal_gmac(jobs, groups.gmac);
        self.seal_chacha(jobs, groups.chacha);
        if groups.macs() != 0 {
            let both = self.seal_cbc_hmac(jobs, groups);
            self.encrypt_cbc(jobs, groups.cbc & !both);
            self.encrypt_ctr(jobs, groups.ctr);
            for (integrity, group) in groups.by_integrity() {
                mac::seal(self.mac_kernel(integrity), integrity, jobs, group & !both);
            }
        }
    }

    fn open_jobs(&self, jobs: &mut [OpenJob]) {
        let mut groups = Groups::default();
        for (n, job) in jobs.iter_mut().enumerate() {
            if frame::is_possible(job) {
                job.outcome = Err(OpenError::BadIcv);
                groups.add(n, job.key);
            } else {
                job.outcome = Err(OpenError::BadEsp);
            }
        }
        for n in members(self.verify(jobs, groups)) {
            frame::finish(&mut jobs[n]);
        }
    }

    /// The authentic ones of jobs of possible length, which are decrypted.
    fn verify(&self, jobs: &mut [OpenJob], groups: Groups) -> Group {
        if self.frames_only {
            return groups.all();
        }
        let mut authentic = groups.unprotected;
        authentic |= self.open_gcm(jobs, &groups.gcm);
        authentic |= self.open_gmac(jobs, groups.gmac);
        authentic |= self.open_chacha(jobs, groups.chacha);
        if groups.macs() != 0 {
            for (integrity, group) in groups.by_integrity() {
                authentic |= mac::verify(self.mac_kernel(integrity), integrity, jobs, group);
            }
            self.decrypt_cbc(jobs, groups.cbc & authentic);
            self.decrypt_ctr(jobs, groups.ctr & authentic);
        }
        authentic
    }

    fn seal_gcm(&self, jobs: &mut [SealJob], groups: &ByRounds) {
        if all(groups) == 0 {
            return;
        }
        match self.gcm {
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes512 | Kernel::Vaes256 | Kernel::AesNi => crate::x86::seal_gcm(self.gcm, jobs, groups),
            _ => members(all(groups)).for_each(|n| portable::seal_aead(&mut jobs[n])),
        }
    }

    fn open_gcm(&self, jobs: &mut [OpenJob], groups: &ByRounds) -> Group {
        if all(groups) == 0 {
            return 0;
        }
        match self.gcm {
            #[cfg(target_arch = "x86_64")]
            Kernel::Vaes512 | Kernel::Vaes256 | Kernel::AesNi => crate::x86::open_gcm(self.gcm, jobs, groups),
            _ => open_each(jobs, all(groups), portable::open_aead),
        }
    }

    fn seal_gmac(&self, jobs: &mut [SealJob], group: Group) {
        #[cfg(target_arch = "x86_64")]
        if self.gcm != Kernel::Portable && group != 0 {
            return crate::x86::seal_gmac(self.gcm, jobs, group);
        }
        members(group).for_each(|n| portable::seal_gmac(&mut jobs[n]));
    }

    fn open_gmac(&self, jobs: &mut [OpenJob], group: Group) -> Group {
        #[cfg(target_arch = "x86_64")]
        if self.gcm != Kernel::Portable && group != 0 {
            return crate::x86::open_gmac(self.gcm, jobs, group);
        }
        open_each(jobs, group, portable::open_gmac)
    }

    fn encrypt_ctr(&self, jobs: &mut [SealJob], group: Group) {
        #[cfg(target_arch = "x86_64")]
        if self.gcm != Kernel::Portable && group != 0 {
            return crate::x86::encrypt_ctr(self.gcm, jobs, group);
        }
        members(group).for_each(|n| portable::crypt_ctr(jobs[n].key, jobs[n].packet));
    }

    fn decrypt_ctr(&self, jobs: &mut [OpenJob], group: Group) {
        #[cfg(target_arch = "x86_64")]
        if self.gcm != Kernel::Portable && group != 0 {
            return crate::x86::decrypt_ctr(self.gcm, jobs, group);
        }
        members(group).for_each(|n| portable::crypt_ctr(jobs[n].key, jobs[n].packet));
    }

    fn seal_chacha(&self, jobs: &mut [SealJob], group: Group) {
        if group == 0 {
            return;
        }
        match self.chacha {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 | Kernel::Avx2 => crate::x86::seal_chacha(self.chacha, jobs, group),
            _ => members(group).for_each(|n| portable::seal_aead(&mut jobs[n])),
        }
    }

    fn open_chacha(&self, jobs: &mut [OpenJob], group: Group) -> Group {
        if group == 0 {
            return 0;
        }
        match self.chacha {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 | Kernel::Avx2 => crate::x86::open_chacha(self.chacha, jobs, group),
            _ => open_each(jobs, group, portable::open_aead),
        }
    }

    /// Seals what a kernel does in one go, cipher and hash; which jobs that were.
    fn seal_cbc_hmac(&self, jobs: &mut [SealJob], groups: &Groups) -> Group {
        #[cfg(target_arch = "x86_64")]
        return groups.by_integrity().into_iter().fold(0, |sealed, (integrity, group)| {
            let kernels = (self.cbc, self.mac_kernel(integrity));
            sealed | crate::x86::seal_cbc_hmac(kernels, integrity, jobs, group & groups.cbc)
        });
        #[cfg(not(target_arch = "x86_64"))]
        0
    }

    fn encrypt_cbc(&self, jobs: &mut [SealJob], group: Group) {
        #[cfg(target_arch = "x86_64")]
        if self.cbc != Kernel::Portable {
            return crate::x86::encrypt_cbc(self.cbc, jobs, group);
        }
        for n in members(group) {
            let job = &mut jobs[n];
            let end = job.packet.len() - job.key.suite().icv_len();
            portable::encrypt_cbc(job.key, job.seq, &mut job.packet[HEADER..end]);
        }
    }

    fn decrypt_cbc(&self, jobs: &mut [OpenJob], group: Group) {
        for n in members(group) {
            let job = &mut jobs[n];
            let end = job.packet.len() - job.key.suite().icv_len();
            let unit = &mut job.packet[HEADER..end];
            match self.cbc {
                #[cfg(target_arch = "x86_64")]
                Kernel::Vaes512 | Kernel::AesNi => crate::x86::decrypt_cbc(self.cbc, job.key, unit),
                _ => portable::decrypt_cbc(job.key, unit),
            }
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::AesNi => "aes-ni",
            Self::Vaes256 => "vaes-avx2",
            Self::Vaes512 => "vaes-avx512",
            Self::ShaNi => "sha-ni",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

fn open_each(jobs: &mut [OpenJob], group: Group, open: impl Fn(&mut OpenJob) -> bool) -> Group {
    members(group).filter(|&n| open(&mut jobs[n])).fold(0, |set, n| set | 1 << n)
}
