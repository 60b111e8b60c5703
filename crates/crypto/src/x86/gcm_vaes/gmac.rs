//! AES-GMAC: the hash of AES-GCM over a packet that is not encrypted.
//!
//! Decides nothing. Reads: packets. Never writes.

use core::arch::x86_64::*;

use super::aes::encrypt;
use super::run::Run;
use super::{GROUP, VECTOR};
use crate::x86::gcm::Unit;
use crate::x86::ghash_vpclmul::{
    EachBlock, EachVector, Hash, Pending, Powers, Products, after_one, first_sum,
};

/// The tag of an AES-GMAC packet.
///
/// # Safety
/// `unit` is made by `Unit::authenticating` of a packet with a body, and its key is an AES-GMAC key.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
pub(in crate::x86) unsafe fn gmac_unit(unit: &Unit) -> __m128i {
    let stream = 16 + unit.body;
    let mut run = Run::new(unit);
    let full = (stream - 1) / GROUP;
    let rest = stream - full * GROUP;
    let counters = run.counters();
    let [first] = match unit.key.rounds {
        10 => encrypt::<10, 1>(unit.key, counters),
        12 => encrypt::<12, 1>(unit.key, counters),
        _ => encrypt::<14, 1>(unit.key, counters),
    };
    let mut hash = Hash::new();
    hash.mask = _mm512_castsi512_si128(first);
    // SAFETY: `full` groups and `rest` bytes are exactly the stream; all but its block 0, which is not read, lies in the
    // packet.
    unsafe {
        run.hash_groups(&mut hash, full);
        let products = match (full, rest.div_ceil(VECTOR)) {
            (0, 1) => run.hash_last::<1, true>(&hash, rest),
            (0, 2) => run.hash_last::<2, true>(&hash, rest),
            (0, 3) => run.hash_last::<3, true>(&hash, rest),
            (0, _) => run.hash_last::<4, true>(&hash, rest),
            (_, 1) => run.hash_last::<1, false>(&hash, rest),
            (_, 2) => run.hash_last::<2, false>(&hash, rest),
            (_, 3) => run.hash_last::<3, false>(&hash, rest),
            (_, _) => run.hash_last::<4, false>(&hash, rest),
        };
        products.tag()
    }
}

impl Run<'_> {
    /// Hashes `groups` groups, of which the first is the packet's.
    ///
    /// # Safety
    /// They lie ahead.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn hash_groups(&mut self, hash: &mut Hash, groups: usize) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match groups {
                0 => {}
                1 => self.hash_group::<EachBlock, true>(hash, 1),
                _ => {
                    let mut ahead = first_sum(groups);
                    self.hash_group::<EachVector, true>(hash, ahead);
                    for _ in 2..groups {
                        ahead = after_one(ahead);
                        self.hash_group::<EachVector, false>(hash, ahead);
                    }
                    self.hash_group::<EachBlock, false>(hash, 1);
                }
            }
        }
    }

    /// # Safety
    /// 256 bytes of the packet lie ahead. `FIRST`: of block 0 on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn hash_group<P: Powers, const FIRST: bool>(&mut self, hash: &mut Hash, ahead: usize) {
        // SAFETY: the caller's promise, passed on.
        let blocks = unsafe { self.data_ahead::<4, FIRST>(GROUP).1 };
        self.at = self.at.wrapping_add(GROUP);
        // SAFETY: the unit's key.
        unsafe { Pending::<P>::new(blocks, hash, ahead, self.unit.key) }.finish(hash, ahead);
    }

    /// Hashes the end of the packet.
    ///
    /// # Safety
    /// `bytes` bytes of the packet lie ahead; they fill `N` vectors, the last perhaps in part.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2,aes,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn hash_last<const N: usize, const FIRST: bool>(&self, hash: &Hash, bytes: usize) -> Products {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.read_last::<N, FIRST>(hash, bytes).1 }
    }
}
