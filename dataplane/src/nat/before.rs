//! What packets looked like before they were translated: inbound checks speak of that.

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

    /// The first to say it is right: what was translated already did not come so.
    pub(super) fn put(&mut self, at: u16, ip: Ip, settled: bool) {
        match self.0.binary_search_by_key(&at, |(at, _)| *at) {
            Ok(found) => {
                if let Some((_, came)) = self.0.get_mut(found) {
                    came.settled |= settled;
                }
            }
            // As much room as a batch has places.
            Err(place) => {
                let _ = self.0.try_insert(place, (at, Came { ip, settled }));
            }
        }
    }
}
