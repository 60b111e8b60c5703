//! HMAC over many packets at once: gathers what is to be hashed, calls a kernel, places or compares the ICVs. And what AH
//! has of single packets, HMAC or GMAC.
//!
//! Decides: whether an ICV is right, in constant time. Reads: ciphertext and header. Writes: ICVs when sealing, nothing
//! when opening. Never encrypts or decrypts.

use arrayvec::ArrayVec;
use subtle::ConstantTimeEq;

use crate::Engine;
use crate::engine::{BURST, Group, Kernel, members};
use crate::frame::{MAX_PACKET, high_half};
use crate::portable::{self, Digest};
use crate::suite::{AH_IV, Cipher, Integrity};
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
    place(jobs, group, &digests);
}

/// What stands first of each digest is the packet's ICV.
pub(crate) fn place(jobs: &mut [SealJob], group: Group, digests: &[Digest]) {
    for (n, digest) in members(group).zip(digests) {
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
        if same(&job.packet[end..], digest) {
            authentic |= 1 << n;
        }
    }
    authentic
}

/// Whether a digest begins with the ICV, whole words of it; in constant time.
fn same(icv: &[u8], digest: &Digest) -> bool {
    let (words, rest) = icv.as_chunks::<4>();
    let (right, _) = digest.as_chunks::<4>();
    let differ = words
        .iter()
        .zip(right)
        .fold(0, |differ, (word, right)| differ | u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(*right));
    rest.is_empty() && icv.len() <= digest.len() && differ.ct_eq(&0).into()
}

/// AH (RFC 4302) authenticates what its caller has put together, and encrypts nothing.
impl Engine {
    /// The ICV over `data` and, of an extended sequence number, the upper half behind it (RFC 4302 §2.5.1), by a key of
    /// one of the suites without a cipher or of AES-GMAC. The latter's begins with an IV that is the number: a key must
    /// never see one twice (RFC 4543 §4). `false`: `icv` is not of the suite's length, or it is a suite of ESP alone.
    #[must_use]
    pub fn authenticate(&self, key: &Key, data: &[u8], (seq, esn): (u64, bool), icv: &mut [u8]) -> bool {
        let iv = seq.to_be_bytes();
        let Some(digest) = self.one(key, data, esn.then_some(seq), (iv, icv.len())) else { return false };
        let room = match icv.split_first_chunk_mut() {
            Some((front, tag)) if key.cipher == Cipher::Gmac => {
                *front = iv;
                tag
            }
            _ => icv,
        };
        room.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        true
    }

    /// Whether `icv` is the one that [`Self::authenticate`] would write, of AES-GMAC with the same IV; compared in
    /// constant time.
    #[must_use]
    pub fn is_authentic(&self, key: &Key, data: &[u8], (seq, esn): (u64, bool), icv: &[u8]) -> bool {
        let (iv, tag) = match icv.split_first_chunk() {
            Some((iv, tag)) if key.cipher == Cipher::Gmac => (*iv, tag),
            _ => ([0; AH_IV], icv),
        };
        let digest = self.one(key, data, esn.then_some(seq), (iv, icv.len()));
        digest.is_some_and(|digest| digest.get(..tag.len()).is_some_and(|right| portable::same(tag, right)))
    }

    /// `iv`: of AES-GMAC. `len`: of all that AH carries.
    fn one(
        &self,
        key: &Key,
        data: &[u8],
        esn: Option<u64>,
        (iv, len): ([u8; AH_IV], usize),
    ) -> Option<Digest> {
        if key.suite().ah_icv_len() != len || len == 0 {
            return None;
        }
        let mut digests = [[0; 64]];
        if key.cipher == Cipher::Gmac {
            digests[0][..16].copy_from_slice(&self.gmac(key, iv, data, esn)?);
            return Some(digests[0]);
        }
        let integrity = key.suite().integrity();
        digest(self.mac_kernel(integrity), integrity, &[Message { key, data, esn }], &mut digests);
        Some(digests[0])
    }

    /// `None`: no packet is so short, or so long.
    fn gmac(&self, key: &Key, iv: [u8; AH_IV], data: &[u8], esn: Option<u64>) -> Option<[u8; 16]> {
        #[cfg(target_arch = "x86_64")]
        if let (kernel, _) = self.kernels(key.suite())
            && kernel != Kernel::Portable
        {
            let iv = u64::from_be_bytes(iv);
            let Some(seq) = esn else { return crate::x86::gmac_of(kernel, key, iv, data) };
            // Only what lies in one piece can be hashed.
            let mut whole: ArrayVec<u8, { MAX_PACKET + 4 }> = ArrayVec::new();
            whole.try_extend_from_slice(data).ok()?;
            whole.try_extend_from_slice(&high_half(seq)).ok()?;
            return crate::x86::gmac_of(kernel, key, iv, &whole);
        }
        let mut head = [0; 16];
        head[16 - AH_IV..].copy_from_slice(&iv);
        let upper = esn.map(high_half);
        Some(portable::gmac_of(key, &head, [data, upper.as_ref().map_or(&[], |half| half), &[]]))
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
