//! Fragments in UDP to a gateway address: whose they are, the first one tells.
//!
//! Decides: whether one goes to the worker. Reads: the frame, what is remembered of first fragments. Writes: that.
//! Never: keeps a fragment.

use super::{Steer, SteerTables, Upper};
use crate::{Bytes, protocol};

/// By what the fragments of one datagram know each other (RFC 791 §2.3, RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FragmentKey {
    /// Of IPv4 the first four bytes.
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub id: u32,
    /// 4 or 6.
    pub version: u32,
}

impl Upper {
    #[inline(always)]
    pub(super) const fn is_part_of_datagram(&self) -> bool {
        self.fragment && self.protocol == protocol::UDP
    }

    /// Of a fragment in UDP: the first one is remembered, the later ones follow it.
    #[inline(always)]
    pub(super) fn is_ours<B: Bytes + ?Sized, T: SteerTables>(
        &self,
        frame: &B,
        tables: &T,
        key: &FragmentKey,
        first: bool,
    ) -> bool {
        if !first {
            return tables.follows_first(key);
        }
        let ours = matches!(self.datagram(frame, tables), Some(Steer::ToWorker(_)));
        tables.note_first(key, ours);
        ours
    }
}

#[inline(always)]
pub(super) const fn wide([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
