//! The jobs of a burst, sorted by what serves them.
//!
//! Decides nothing. Reads: the class of each job's key. Writes: sets of places. Never touches a packet.

use crate::Key;
use crate::engine::BURST;
use crate::suite::{Cipher, Integrity};

/// A set of jobs of one burst: bit n stands for job n.
pub(crate) type Group = u64;

const _: () = assert!(BURST <= Group::BITS as usize);

/// Jobs of AES by the rounds of their keys, 10, 12 and 14, so that a kernel knows them and does not look.
pub(crate) type ByRounds = [Group; 3];

#[inline]
pub(crate) fn all(groups: &ByRounds) -> Group {
    groups[0] | groups[1] | groups[2]
}

/// The jobs of a group, in order.
#[inline]
pub(crate) fn members(mut group: Group) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        if group == 0 {
            return None;
        }
        let n = group.trailing_zeros() as usize;
        group &= group - 1;
        Some(n)
    })
}

/// A job is in exactly one of `gcm`, `gmac`, `chacha`, `unprotected` and the four hash groups; in `cbc` or `ctr` besides
/// a hash group.
#[derive(Default)]
pub(crate) struct Groups {
    pub(crate) gcm: ByRounds,
    pub(crate) gmac: Group,
    pub(crate) chacha: Group,
    pub(crate) cbc: Group,
    pub(crate) ctr: Group,
    sha1: Group,
    sha256: Group,
    sha384: Group,
    sha512: Group,
    pub(crate) unprotected: Group,
}

impl Groups {
    #[inline(always)]
    pub(crate) fn add(&mut self, n: usize, key: &Key) {
        if key.cipher != Cipher::Gcm {
            return self.add_other(n, key);
        }
        match key.rounds {
            10 => self.gcm[0] |= 1 << n,
            12 => self.gcm[1] |= 1 << n,
            _ => self.gcm[2] |= 1 << n,
        }
    }

    #[inline(never)]
    fn add_other(&mut self, n: usize, key: &Key) {
        let bit = 1 << n;
        match key.cipher {
            Cipher::Gcm | Cipher::Null => {}
            Cipher::Gmac => return self.gmac |= bit,
            Cipher::ChaCha => return self.chacha |= bit,
            Cipher::Cbc => self.cbc |= bit,
            Cipher::Ctr => self.ctr |= bit,
        }
        match key.integrity {
            Integrity::Sha1 => self.sha1 |= bit,
            Integrity::Sha256 => self.sha256 |= bit,
            Integrity::Sha384 => self.sha384 |= bit,
            Integrity::Sha512 => self.sha512 |= bit,
            Integrity::None => self.unprotected |= bit,
        }
    }

    pub(crate) fn all(&self) -> Group {
        all(&self.gcm) | self.gmac | self.chacha | self.unprotected | self.macs()
    }

    pub(crate) fn macs(&self) -> Group {
        self.sha1 | self.sha256 | self.sha384 | self.sha512
    }

    pub(crate) fn by_integrity(&self) -> [(Integrity, Group); 4] {
        [
            (Integrity::Sha1, self.sha1),
            (Integrity::Sha256, self.sha256),
            (Integrity::Sha384, self.sha384),
            (Integrity::Sha512, self.sha512),
        ]
    }
}
