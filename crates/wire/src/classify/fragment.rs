//! Fragments in UDP to a gateway address: whose they are, the first one tells.
//!
//! Decides: whether one goes to the worker. Reads: the frame, what is remembered of first fragments. Writes: that.
//! Never: keeps a fragment.

use super::{Class, Features, Steer, SteerTables, Upper};
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

/// What the first fragment of a datagram was; the number is what the XDP program remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// ESP.
    Worker = 1,
    /// IKE, on a port that admits the VPN alone.
    Kernel = 2,
}

impl Upper {
    #[inline(always)]
    pub(super) const fn is_part_of_datagram(&self) -> bool {
        self.fragment && self.protocol == protocol::UDP
    }

    /// Of a fragment in UDP: the first one is remembered, the later ones follow it. `None`: the ranges decide.
    #[inline(always)]
    pub(super) fn part<B: Bytes + ?Sized, T: SteerTables>(
        &self,
        frame: &B,
        tables: &T,
        key: &FragmentKey,
        first: bool,
    ) -> Option<Steer> {
        let what = if first {
            let what = match self.datagram(frame, tables) {
                Some(Steer::ToWorker(_)) => Some(First::Worker),
                Some(_) => Some(First::Kernel),
                None if self.is_other_ike(frame, tables) => Some(First::Kernel),
                None => None,
            };
            // Where everything passes that is nobody's, those of IKE do too.
            what.filter(|what| *what == First::Worker || vpn_only(tables))
        } else {
            tables.first_of(key)
        };
        if first {
            tables.note_first(key, what);
        }
        match what {
            Some(First::Worker) => Some(Steer::ToWorker(Class::IpsecFragment)),
            Some(First::Kernel) if vpn_only(tables) => Some(Steer::Pass),
            Some(First::Kernel) | None => None,
        }
    }
}

#[inline(always)]
fn vpn_only<T: SteerTables>(tables: &T) -> bool {
    tables.features().has(Features::VPN_ONLY)
}

#[inline(always)]
pub(super) const fn wide([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
