//! SAs that go within each other (see `inbound::bundle`).
//!
//! Decides: which two may. Reads: records of SAs. Writes: nothing. Never: takes a partner that is not there.

use super::{Direction, Protocol, SaDb};
use ravelin_ring::msg::{Mode, SaId, SaSpec};
use ravelin_wire::ah;

impl SaDb {
    /// Some inbound SA is part of a bundle.
    #[inline]
    pub(crate) fn has_bundles(&self) -> bool {
        self.bundles > 0
    }

    /// ESP with this SPI comes within AH, or not at all.
    pub(crate) fn is_bundled(&self, spi: u32) -> bool {
        self.find(spi).is_some_and(|place| self.is_around(place))
    }

    /// The inbound SA at this place has a partner.
    pub(crate) fn is_around(&self, place: u32) -> bool {
        self.partner(place).is_some()
    }

    /// AH at this place goes around ESP with this SPI, and that within it.
    pub(crate) fn are_partners(&self, ah: u32, spi: Option<u32>) -> bool {
        let Some(esp) = spi.and_then(|spi| self.find(spi)) else { return false };
        let id = |place: u32| Some(self.inbound.cold.get(place as usize)?.as_ref()?.id);
        let names = |one: u32, other: u32| self.partner(one).is_some_and(|p| Some(p) == id(other));
        names(ah, esp) && names(esp, ah)
    }

    fn partner(&self, place: u32) -> Option<SaId> {
        self.inbound.cold.get(place as usize)?.as_ref()?.partner
    }

    /// Where an outbound SA is.
    pub(crate) fn outbound_place(&self, id: SaId) -> Option<u32> {
        self.by_id
            .get(&id)
            .filter(|(direction, _)| *direction == Direction::Outbound)
            .map(|(_, place)| *place)
    }

    /// Where an inbound SA is.
    pub(crate) fn inbound_place(&self, id: SaId) -> Option<u32> {
        self.by_id.get(&id).filter(|(direction, _)| *direction == Direction::Inbound).map(|(_, place)| *place)
    }

    /// Of an SA to be installed: its partner is there, if it is the inner one, and is one that it can have. So many bytes
    /// go around its packets.
    pub(super) fn around(&self, spec: &SaSpec) -> Option<u16> {
        let Some(partner) = spec.extras.partner else { return Some(0) };
        if spec.suite.protocol() == Protocol::Ah {
            return (spec.mode == Mode::Transport).then_some(0);
        }
        let &(direction, at) = self.by_id.get(&partner).filter(|(d, _)| *d == spec.direction)?;
        let at = at as usize;
        let (suite, tunnel, ends, theirs, key) = match direction {
            Direction::Inbound => {
                let sa = self.inbound.cold.get(at)?.as_ref()?;
                (sa.suite, sa.tunnel, (sa.local, sa.remote), sa.partner, self.inbound.key(at))
            }
            Direction::Outbound => {
                let sa = self.outbound.cold.get(at)?.as_ref()?;
                (sa.suite, sa.tunnel, (sa.local, sa.remote), sa.partner, self.outbound.key(at))
            }
        };
        let fits = suite.protocol() == Protocol::Ah
            && (tunnel, ends) == (spec.tunnel, (spec.local, spec.remote))
            && theirs == Some(spec.id);
        let icv = key.map(|key| ah::icv_field(key.suite().ah_icv_len(), spec.remote.is_ipv6()))?;
        u16::try_from(ah::HEADER + icv).ok().filter(|_| fits)
    }
}
