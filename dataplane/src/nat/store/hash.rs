//! Which chain an entry is in: nobody outside knows.

use super::{End, Inside, Store};
use crate::nat::tuple::has_ends;

impl Store {
    pub(super) fn inside_hash(&self, inside: Inside) -> u64 {
        let Inside { protocol, end, pool, remote } = inside;
        let a = u64::from(end.addr) << 32 | u64::from(end.port) << 16 | u64::from(protocol);
        self.hash(a, u64::from(pool) << 32 | u64::from(remote))
    }

    /// `remote`: of a protocol without ports, where many hosts may speak with many by one address.
    pub(super) fn outside_hash(&self, protocol: u8, end: End, remote: u32) -> u64 {
        let remote = if has_ends(protocol) { 0 } else { remote };
        let a = u64::from(end.addr) << 32 | u64::from(end.port) << 16 | u64::from(protocol);
        self.hash(a, 1 | u64::from(remote) << 32)
    }

    pub(super) fn session_hash(&self, mapping: u32, remote: End) -> u64 {
        self.hash(u64::from(remote.addr) << 32 | u64::from(mapping), 2 | u64::from(remote.port) << 32)
    }

    #[allow(clippy::cast_possible_truncation)] // two halves of a product, folded
    pub(super) fn hash(&self, a: u64, b: u64) -> u64 {
        let product = u128::from(a ^ self.seed[0]) * u128::from(b ^ self.seed[1]);
        (product >> 64) as u64 ^ product as u64
    }
}
