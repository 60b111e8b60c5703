//! What packets looked like before they were translated: inbound checks speak of that.

use super::quick::Once;
use crate::batch::MAX_BATCH;
use crate::packet::Ip;
use arrayvec::ArrayVec;

/// Of the batch under way, by place.
#[derive(Debug, Default)]
pub(crate) struct Before(ArrayVec<(u16, Came), MAX_BATCH>);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    /// As it came.
    pub(crate) ip: Ip,
    /// Nothing is left to be translated.
    pub(crate) settled: bool,
    /// How often it was translated; and how, if that can be repeated.
    times: u8,
    once: Option<Once>,
}

impl Before {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    #[inline]
    pub(crate) fn get(&self, at: u16) -> Option<&Came> {
        if self.0.is_empty() {
            return None;
        }
        let found = self.0.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        self.0.get(found).map(|(_, came)| came)
    }

    /// The one translation of this packet so far can be repeated for the next ones of its flow.
    pub(super) fn keep(&mut self, at: u16, once: impl FnOnce(&Ip) -> Option<Once>) {
        if let Ok(found) = self.0.binary_search_by_key(&at, |(at, _)| *at)
            && let Some((_, came)) = self.0.get_mut(found)
        {
            came.once = once(&came.ip);
        }
    }

    /// Packets that were translated once and no more, by a session.
    pub(super) fn once(&self) -> impl Iterator<Item = (u16, Once)> {
        let once = |(at, came): &(u16, Came)| Some((*at, came.once.filter(|_| came.times == 1)?));
        self.0.iter().filter_map(once)
    }

    /// The first to say it is right: what was translated already did not come so.
    pub(super) fn put(&mut self, at: u16, ip: Ip, settled: bool) {
        match self.0.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(found) => {
                if let Some((_, came)) = self.0.get_mut(found) {
                    came.settled |= settled;
                    came.times = came.times.saturating_add(1);
                }
            }
            // As much room as a batch has places.
            Err(place) => {
                let _ = self.0.try_insert(place, (at, Came { ip, settled, times: 1, once: None }));
            }
        }
    }
}
