//! Which outside end a new mapping has.
//!
//! Decides: an address of the pool, the same for all that one inside host does (RFC 4787 REQ-2); the port the host
//! itself has where it is free, otherwise one by chance (RFC 6056), even or odd as the host's is (REQ-4).
//! Never: gives a port to two (REQ-3), or one that is another worker's.

use super::Inside;
use crate::nat::rules::Pool;
use crate::nat::tuple::{End, has_ends};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::WorkerId;

/// Ports looked at by chance with the parity of the inside one, and then with any.
const TRIES: (u32, u32) = (128, 1024);
/// Addresses looked at for a protocol without ports.
const ADDRESSES: u32 = 16;

/// Numbers that nobody outside foresees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Below `bound`.
    #[allow(clippy::cast_possible_truncation)] // the high half is meant
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(bound.max(1))) >> 32) as u32
    }
}

/// The part of a pool that this worker may choose from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) me: WorkerId,
    pub(crate) workers: u16,
}

impl Choice<'_> {
    /// Whether the pool, as it is now, has this end, and it is this worker's.
    pub(crate) fn allows(&self, outside: End, protocol: u8) -> bool {
        let mine = || self.pool.owner(outside.port, self.workers) == Some(self.me);
        self.pool.contains(outside.addr) && (!has_ends(protocol) || mine())
    }

    /// Those that a host may have for a protocol without ports, the best first.
    pub(super) fn addresses(&self, inside: Inside) -> impl Iterator<Item = End> {
        let pool = *self.pool;
        let first = pool.of_host(inside.end.addr);
        (0..ADDRESSES.min(pool.len())).map(move |n| End { addr: pool.next(first, n), port: 0 })
    }

    pub(super) fn pick(
        &self,
        inside: Inside,
        chance: &mut Chance,
        free: impl Fn(End) -> bool,
    ) -> Result<End, Drop> {
        let addr = self.pool.of_host(inside.end.addr);
        if !has_ends(inside.protocol) {
            return self.addresses(inside).find(|end| free(*end)).ok_or(Drop::NatBusy);
        }
        let (first, count) = self.pool.part(self.me, self.workers);
        let may = |port: u16| {
            let end = End { addr, port };
            free(end).then_some(end)
        };
        let own = inside.end.port;
        let within = u32::from(own).checked_sub(u32::from(first)).is_some_and(|n| n < count);
        if within && let Some(end) = may(own) {
            return Ok(end);
        }
        let begin = chance.below(count);
        let port = |n: u32| u16::try_from(u32::from(first) + (begin + n) % count.max(1)).unwrap_or(first);
        let alike = (0..count.min(TRIES.0 * 2)).map(port).filter(|port| port & 1 == own & 1);
        let any = (0..count.min(TRIES.1)).map(port);
        alike.chain(any).find_map(may).ok_or(Drop::NatNoPort)
    }
}
