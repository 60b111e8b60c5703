//! The SAs of one worker: hot records in slabs, found by SPI (inbound) or through their tunnel (outbound).
//!
//! Decides: nothing about packets. Reads and writes: SA records. Never: shares an SA with another worker.

mod bundle;
mod command;
mod event;
mod inbound;
mod index;
mod limit;
mod outbound;
mod tunnels;
mod window;

pub(crate) use event::{Events, Throttle};
pub(crate) use inbound::{InboundHot, InboundSa};
pub(crate) use limit::Limits;
pub(crate) use outbound::{OutboundHot, OutboundSa, Outer};
pub(crate) use tunnels::{Outbound, Tunnel, Tunnels};

use index::IndexMap;
use ravelin_crypto::Key;
use ravelin_ring::msg::{Direction, Protocol, SaId, Token, WorkerId};
use ravelin_wire::Selector;
use ravelin_xsk::{Apart, Pairs};
use std::collections::{HashMap, VecDeque};

/// All SAs that one worker owns, and what it knows of every tunnel.
#[derive(Debug)]
pub(crate) struct SaDb {
    pub(crate) worker: WorkerId,
    pub(crate) workers: u16,
    max_sas: usize,
    pub(crate) inbound: Slab<InboundHot, InboundSa>,
    pub(crate) outbound: Slab<OutboundHot, OutboundSa>,
    by_spi: IndexMap,
    /// AH's SPIs have a table of their own: a packet of ESP never finds an SA of AH, nor the other way round.
    by_ah_spi: HashMap<u32, u32>,
    /// Outbound SAs that are not ESP in tunnel mode, have rules, or pad.
    special: usize,
    /// Inbound SAs with rules, and SAs of passive tunnels in both directions.
    ruled: usize,
    passive: usize,
    /// SAs of both directions whose crypto is shared.
    shared: usize,
    /// Inbound SAs with a partner.
    bundles: usize,
    /// Inbound SAs of VRFs.
    apart: usize,
    by_id: HashMap<SaId, (Direction, u32)>,
    pub(crate) tunnels: Tunnels,
    /// Selectors that wait for their `InstallSa`; bounded in [`command`].
    pending: VecDeque<(SaId, Vec<Selector>)>,
    reports: VecDeque<Reports>,
}

/// Records of one direction. The hot one and the key lie side by side; cold ones have their own row at the same place.
#[derive(Debug)]
pub(crate) struct Slab<H, C> {
    /// Hot record and key; `None`: the place is free.
    rows: Pairs<H, Option<Key>>,
    pub(crate) cold: Vec<Option<C>>,
    /// Per place, from 1: rises with every command that changes what may be done with the SA there.
    stamps: Vec<u32>,
    /// How often a stamp changed.
    changes: u64,
    free: Vec<u32>,
    /// There was a key of more than AES-128-GCM.
    long_keys: bool,
    /// There was one that is read whole for every packet.
    whole_keys: bool,
}

/// The cold record of one SA, for who rarely wants it.
#[derive(Debug)]
pub(crate) struct Cold<'a, C> {
    rows: &'a mut [Option<C>],
    at: usize,
}

impl<'a, C> Cold<'a, C> {
    #[inline]
    pub(crate) fn new(rows: &'a mut [Option<C>], at: usize) -> Self {
        Self { rows, at }
    }

    #[inline]
    pub(crate) fn get(&mut self) -> Option<&mut C> {
        self.rows.get_mut(self.at)?.as_mut()
    }
}

/// Hot records, and the keys beside them.
pub(crate) type Rows<'a, H> = Apart<'a, H, Option<Key>>;

/// Bytes of a clear packet that GCM hashes with the powers in the last two lines of a key's table, and perhaps lanes behind
/// it; around an ESP packet of it are [`ESP`] more at least.
const SHORT: usize = 90;
pub(crate) const ESP: usize = 34;
/// From about here on GCM hashes by the strides of a key.
const GROUPS: usize = 480;

/// A report under way: places below `next` are told.
#[derive(Debug)]
struct Reports {
    token: Token,
    direction: Direction,
    next: usize,
}

impl SaDb {
    pub(crate) fn new(worker: WorkerId, workers: u16, max_sas: u32) -> Self {
        let max_sas = (max_sas as usize).clamp(1, 1 << 22);
        Self {
            worker,
            workers: workers.max(1),
            max_sas,
            inbound: Slab::new(max_sas),
            outbound: Slab::new(max_sas),
            by_spi: IndexMap::new(max_sas),
            by_ah_spi: HashMap::new(),
            special: 0,
            ruled: 0,
            passive: 0,
            shared: 0,
            bundles: 0,
            apart: 0,
            by_id: HashMap::new(),
            tunnels: Tunnels::new(max_sas * 2),
            pending: VecDeque::new(),
            reports: VecDeque::new(),
        }
    }

    /// Room for SAs of one direction.
    pub(crate) fn max_sas(&self) -> u32 {
        u32::try_from(self.max_sas).unwrap_or(u32::MAX)
    }

    #[inline]
    pub(crate) fn find(&self, spi: u32) -> Option<u32> {
        self.by_spi.get(spi)
    }

    pub(crate) fn find_ah(&self, spi: u32) -> Option<u32> {
        self.by_ah_spi.get(&spi).copied()
    }

    /// As long as this stays, so do all stamps.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.inbound.changes + self.outbound.changes
    }

    /// Some inbound SA has rules of its own.
    #[inline]
    pub(crate) fn has_rules(&self) -> bool {
        self.ruled > 0
    }

    /// Some inbound SA is of a VRF.
    #[inline]
    pub(crate) fn has_vrfs(&self) -> bool {
        self.apart > 0
    }

    /// Some SA carries what is not lawful.
    #[inline]
    pub(crate) fn has_passive(&self) -> bool {
        self.passive > 0
    }

    /// Some outbound SA is not ESP in tunnel mode, has rules, or pads.
    #[inline]
    pub(crate) fn has_special(&self) -> bool {
        self.special > 0
    }

    pub(crate) fn shared(&self) -> usize {
        self.shared
    }

    /// The crypto of some SA is shared.
    #[inline]
    pub(crate) fn has_shared(&self) -> bool {
        self.shared > 0
    }

    #[inline]
    pub(crate) fn touch_spi(&self, spi: u32) {
        self.by_spi.touch(spi);
    }

    /// Whose SPI this is.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // less than `workers`
    pub(crate) fn owner(&self, spi: u32) -> WorkerId {
        if self.workers == 1 { WorkerId(0) } else { WorkerId((spi % u32::from(self.workers)) as u16) }
    }
}

impl<H: Default, C> Slab<H, C> {
    /// Rows with room for so many SAs never move: a key leaves no copy behind.
    fn new(max_sas: usize) -> Self {
        let (rows, stamps) = (Pairs::new(max_sas), ravelin_xsk::with_room(max_sas));
        Self { rows, cold: vec![], stamps, changes: 0, free: vec![], long_keys: false, whole_keys: false }
    }

    fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    fn insert(&mut self, hot: H, key: Key, cold: C) -> u32 {
        self.long_keys |= !key.is_short();
        self.whole_keys |= key.is_whole();
        match self.free.pop() {
            Some(place) => {
                let at = place as usize;
                if let Some(row) = self.rows.get_mut(at) {
                    (*row.0, *row.1) = (hot, Some(key));
                }
                self.cold[at] = Some(cold);
                self.renew(place);
                place
            }
            None => {
                self.rows.push(hot, Some(key));
                self.cold.push(Some(cold));
                self.stamps.push(1);
                self.changes += 1;
                u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
            }
        }
    }

    /// The key is wiped as it is dropped.
    fn remove(&mut self, place: u32) -> Option<C> {
        let at = place as usize;
        let cold = self.cold.get_mut(at)?.take()?;
        if let Some(row) = self.rows.get_mut(at) {
            (*row.0, *row.1) = (H::default(), None);
        }
        self.renew(place);
        self.free.push(place);
        Some(cold)
    }

    #[inline]
    pub(crate) fn hot(&mut self, place: u32) -> Option<&mut H> {
        self.rows.get_mut(place as usize).map(|(hot, _)| hot)
    }

    pub(crate) fn peek(&self, place: u32) -> Option<&H> {
        self.rows.get(place as usize).map(|(hot, _)| hot)
    }

    pub(crate) fn key(&self, at: usize) -> Option<&Key> {
        self.rows.get(at)?.1.as_ref()
    }

    /// For who puts another in its place for a while.
    pub(crate) fn key_mut(&mut self, place: u32) -> Option<&mut Key> {
        self.rows.get_mut(place as usize)?.1.as_mut()
    }

    /// What was decided about the SA before is to be decided again.
    pub(crate) fn renew(&mut self, place: u32) {
        if let Some(stamp) = self.stamps.get_mut(place as usize) {
            // 0 is no SA's. Four billion commands about one place are years apart.
            *stamp = stamp.wrapping_add(1).max(1);
            self.changes += 1;
        }
    }

    #[inline]
    pub(crate) fn stamp(&self, place: u32) -> u32 {
        self.stamps.get(place as usize).copied().unwrap_or(0)
    }

    /// Asks for the hot record and the key ahead of the stages that work with them, without looking into either.
    /// `len`: bytes of the clear packet. Up to [`SHORT`], its hash takes few powers of a GCM key.
    #[inline]
    pub(crate) fn prefetch(&self, place: u32, len: usize) {
        if let Some((hot, key)) = self.rows.get(place as usize) {
            ravelin_xsk::prefetch_lines(hot, 0..2);
            // The kernels read powers by the vector, which may end in the line behind them.
            ravelin_xsk::prefetch_lines(key, 0..3);
            ravelin_xsk::prefetch_lines(key, 6..9);
            if self.long_keys {
                ravelin_xsk::prefetch_lines(key, 3..4);
            }
            if len > SHORT || self.whole_keys {
                ravelin_xsk::prefetch_lines(key, 4..6);
                ravelin_xsk::prefetch_lines(key, 9..10);
            }
            if len > GROUPS {
                // Of the strides, the last powers and halves for each group of 256 bytes but the last one.
                let groups = (len / 256).min(4);
                ravelin_xsk::prefetch_lines(key, 14 - groups..16);
            }
        }
    }

    /// Hot records with keys, and cold records, for a stage that holds many keys at once.
    #[inline]
    pub(crate) fn rows(&mut self) -> (Rows<'_, H>, &mut [Option<C>]) {
        (self.rows.apart(), &mut self.cold)
    }

    /// Both records at once.
    #[inline]
    pub(crate) fn both(&mut self, place: u32) -> Option<(&mut H, &mut C)> {
        let at = place as usize;
        Some((self.rows.get_mut(at)?.0, self.cold.get_mut(at)?.as_mut()?))
    }
}
