//! Flows not known yet: what their packets will be known by, and what was decided about them.
//!
//! Decides: nothing. Reads: where packets go. Writes: the table of flows, the lists. Never: remembers a drop.

use super::key::Key;
use super::{CLEAR, Flows, Known, NONE, Place, Sorted, low, v6, version};
use crate::batch::{Batch, MAX_BATCH, Places};
use crate::packet::{Meta, Packet};
use crate::route;
use crate::sa::SaDb;
use arrayvec::ArrayVec;

/// Packets to be decided about, with the keys they will be known by.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    pub(crate) places: Places,
    pub(super) keys: ArrayVec<(Place, u32), MAX_BATCH>,
    /// Of those of IPv6, by place.
    pub(super) keys_v6: ArrayVec<(u16, v6::Key), MAX_BATCH>,
}

impl Unknown {
    pub(super) fn add(&mut self, at: u16, packet: &Packet, key: &Key, came: u32, flows: &Flows) {
        let place = Place { key: *key, line: packet.meta.flow };
        self.places.push(at);
        self.keys.push((if place.line == NONE { Place::default() } else { place }, came));
        if let Some(key) = v6::Key::of(packet).filter(|_| !flows.v6.is_empty()) {
            self.keys_v6.push((at, key));
        }
    }
}

/// Remembers what was decided about the unknown packets: `protect` and `bypass` are where they are now. Adds them to the
/// ones whose flows were known. True: one is larger than its way takes.
pub(crate) fn learn(
    batch: &Batch,
    (protect, bypass): (&Places, &Places),
    flows: &mut Flows,
    db: &SaDb,
    epoch: u64,
    sorted: &mut Sorted<'_>,
) -> bool {
    let mut large = false;
    let Unknown { places, keys, keys_v6 } = &*sorted.unknown;
    for (at, (place, came)) in places.iter().zip(keys) {
        let Some(packet) = batch.packets.get(usize::from(*at)).filter(|p| p.pending()) else { continue };
        let meta = &packet.meta;
        large |= meta.ip.total_len > meta.limit;
        let (sa, stamp) = if protect.binary_search(at).is_ok() {
            sorted.protect.push(*at);
            (meta.sa, db.outbound.stamp(meta.sa))
        } else if bypass.binary_search(at).is_ok() {
            sorted.bypass.push(*at);
            (CLEAR, 0)
        } else {
            continue;
        };
        let Meta { limit, port, mac, .. } = *meta;
        let mac = route::word(mac);
        let known = Known {
            epoch: low(epoch),
            came: *came,
            sa,
            stamp,
            limit,
            port,
            version: version(epoch, db),
            mac,
        };
        if meta.fleeting {
            continue;
        }
        if place.key != Key::default() {
            flows.put(*place, known);
        } else if let Ok(found) = keys_v6.binary_search_by_key(at, |(at, _)| *at)
            && let Some((_, key)) = keys_v6.get(found)
        {
            flows.v6.put(*key, known);
        }
    }
    // In the order of the batch again.
    sorted.protect.sort_unstable();
    sorted.bypass.sort_unstable();
    large
}
