//! How a flow lies in memory: with its key in half a cache line, and apart from that what is asked for after changes alone.
//!
//! Decides: nothing. Reads and writes: [`Known`], which comes back as it was put in. Never: keeps more than 48 bits of a link
//! address.

use super::key::Key;
use super::{CLEAR, Known};
use ravelin_ring::msg::PortId;

/// Flows in one cache line.
pub(super) const IN_LINE: usize = 2;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [Entry; IN_LINE]);

/// A flow, and of what is [`Known`] all that its packets need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// See [`crate::route::word`]; above it the limit.
    link: u64,
    /// The SA by which it leaves, whose place has 22 bits; or [`BY_PORT`] and the port.
    to: u32,
    /// When all of this was last found to hold ([`super::version`]).
    pub(super) version: u32,
}

const BY_PORT: u32 = 1 << 31;

/// On what a decision rests: asked for after a change alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis {
    pub(super) epoch: u32,
    pub(super) came: u32,
    pub(super) stamp: u32,
}

const _: () = assert!(size_of::<Line>() == 64);

impl Entry {
    pub(super) fn new(key: Key, known: &Known) -> Self {
        let link = known.mac & (u64::MAX >> 16) | u64::from(known.limit) << 48;
        let to = if known.sa == CLEAR { BY_PORT | u32::from(known.port.0) } else { known.sa };
        Self { key, link, to, version: known.version }
    }

    /// The link address ([`crate::route::word`]) to which a packet of this length leaves in clear by this port, as was found
    /// to hold at `version`. `None`: it goes another way.
    #[inline(always)]
    pub(super) fn leaves(&self, port: PortId, version: u32, len: u16) -> Option<u64> {
        let Self { link, to, version: held, .. } = *self;
        let known = to == BY_PORT | u32::from(port.0) && held == version;
        (known && link >> 48 >= u64::from(len)).then_some(link)
    }

    /// But for what it rests on.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // parts of words
    pub(super) fn known(&self) -> Known {
        let Self { link, to, version, .. } = *self;
        let sa = if to & BY_PORT == 0 { to } else { CLEAR };
        let (limit, port) = ((link >> 48) as u16, PortId(to as u16));
        Known { sa, limit, port, version, mac: link, ..Known::NOTHING }
    }
}
