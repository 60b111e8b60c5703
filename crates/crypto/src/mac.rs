//! HMAC over many packets at once: gathers what is to be hashed, calls a kernel, places or compares the ICVs.
//!
//! Decides: whether an ICV is right, in constant time. Reads: ciphertext and header. Writes: ICVs when sealing, nothing
//! when opening. Never encrypts or decrypts.

use arrayvec::ArrayVec;

use crate::Engine;
use crate::engine::{BURST, Group, Kernel, members};
use crate::portable::{self, Digest};
use crate::suite::Integrity;
use crate::{Key, OpenJob, SealJob};

/// One message: the packet without its ICV, and the sequence number if its upper half is authenticated too.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) key: &'a Key,
    pub(crate) data: &'a [u8],
    pub(crate) esn: Option<u64>,
}

/// Writes the ICV of every packet of the group.
pub(crate) fn seal(kernel: Kernel, integrity: Integrity, jobs: &mut [SealJob], group: Group) {
    if group == 0 {
        return;
    }
    let mut digests = [[0; 64]; BURST];
    let messages: ArrayVec<Message, BURST> = members(group)
        .map(|n| {
            let job = &jobs[n];
            let end = job.packet.len() - job.key.suite().icv_len();
            Message { key: job.key, data: &job.packet[..end], esn: job.esn.then_some(job.seq) }
        })
        .collect();
    digest(kernel, integrity, &messages, &mut digests);
    drop(messages);
    for (n, digest) in members(group).zip(&digests) {
        let job = &mut jobs[n];
        let icv = job.key.suite().icv_len();
        let end = job.packet.len() - icv;
        job.packet[end..].copy_from_slice(&digest[..icv]);
    }
}

/// The authentic ones of the group.
pub(crate) fn verify(kernel: Kernel, integrity: Integrity, jobs: &[OpenJob], group: Group) -> Group {
    if group == 0 {
        return 0;
    }
    let mut digests = [[0; 64]; BURST];
    let messages: ArrayVec<Message, BURST> = members(group)
        .map(|n| {
            let job = &jobs[n];
            let end = job.packet.len() - job.key.suite().icv_len();
            Message { key: job.key, data: &job.packet[..end], esn: job.esn.then_some(job.seq) }
        })
        .collect();
    digest(kernel, integrity, &messages, &mut digests);
    let mut authentic = 0;
    for (n, digest) in members(group).zip(&digests) {
        let job = &jobs[n];
        let icv = job.key.suite().icv_len();
        let end = job.packet.len() - icv;
        if portable::same(&job.packet[end..], &digest[..icv]) {
            authentic |= 1 << n;
        }
    }
    authentic
}

/// AH (RFC 4302) authenticates what its caller has put together, and encrypts nothing.
impl Engine {
    /// The ICV over `data` and, of an extended sequence number, the upper half behind it (RFC 4302 §2.5.1), by a key of
    /// one of the suites without a cipher. `false`: `icv` is not of the suite's length, or the suite has no HMAC.
    #[must_use]
    pub fn authenticate(&self, key: &Key, data: &[u8], esn: Option<u64>, icv: &mut [u8]) -> bool {
        let Some(digest) = self.one(key, data, esn, icv.len()) else { return false };
        icv.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        true
    }

    /// Whether `icv` is the one that [`Self::authenticate`] would write; compared in constant time.
    #[must_use]
    pub fn is_authentic(&self, key: &Key, data: &[u8], esn: Option<u64>, icv: &[u8]) -> bool {
        let digest = self.one(key, data, esn, icv.len());
        digest.is_some_and(|digest| digest.get(..icv.len()).is_some_and(|right| portable::same(icv, right)))
    }

    fn one(&self, key: &Key, data: &[u8], esn: Option<u64>, len: usize) -> Option<Digest> {
        let integrity = key.suite().integrity();
        if integrity.icv_len() != len || len == 0 {
            return None;
        }
        let mut digests = [[0; 64]];
        digest(self.mac_kernel(integrity), integrity, &[Message { key, data, esn }], &mut digests);
        Some(digests[0])
    }
}

/// Hashes the messages, all of one algorithm, with its kernel; digests stand in the messages' order.
pub(crate) fn digest(kernel: Kernel, integrity: Integrity, messages: &[Message], out: &mut [Digest]) {
    #[cfg(target_arch = "x86_64")]
    if matches!(kernel, Kernel::Avx512 | Kernel::ShaNi) {
        return crate::x86::hmac(kernel, integrity, messages, out);
    }
    for (message, digest) in messages.iter().zip(out) {
        *digest = portable::hmac(message.key, message.data, message.esn);
    }
}
