//! Who gives way when there is no room: fair under a scan.
//!
//! Decides: which session ends for a new one. One that was answered never does; those that strangers began go first.

use super::session::Class;
use super::{Choice, End, Inside, Seen, Store, Way};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::NatSettings;

impl Store {
    /// What [`Self::outbound`] would say of a session that is not there yet.
    pub(super) fn would_open(
        &self,
        inside: Inside,
        remote: End,
        now: u64,
        settings: &NatSettings,
        choice: &Choice<'_>,
    ) -> Result<End, Drop> {
        let (host, has) = self.sessions_of(inside.end.addr);
        let oldest = host.and_then(|at| self.fresh_of.first(at as usize));
        if has >= settings.per_host && oldest.is_none() {
            return Err(Drop::NatHostLimit);
        }
        if self.sessions.is_full() && self.fresh.first(0).is_none() {
            return Err(Drop::NatFull);
        }
        let mapped = self.mapping_of(inside).and_then(|at| self.mappings.get(at)).map(|m| m.outside);
        if let Some(outside) = mapped.filter(|outside| choice.allows(*outside, inside.protocol)) {
            return Ok(outside);
        }
        let mut chance = self.chance;
        let free = |end| self.outside(inside.protocol, end, remote.addr).is_none();
        let picked = choice.pick(inside, &mut chance, free);
        self.or_shared(picked, inside, now, choice)
    }

    fn sessions_of(&self, addr: u32) -> (Option<u32>, u32) {
        let same = |slot: u32| self.hosts.get(slot).is_some_and(|h| h.addr == addr);
        let host = self.by_host.find(self.hash(u64::from(addr), 3), same);
        (host, host.and_then(|at| self.hosts.get(at)).map_or(0, |h| h.sessions))
    }

    /// The one session that was observed since this was last asked, and its birth, which tells it from others at its place.
    pub(crate) fn take_touched(&mut self) -> Option<(u32, u64)> {
        let (at, touches) = (self.touched.take(), std::mem::take(&mut self.touches));
        let at = at.filter(|_| touches == 1)?;
        Some((at, self.sessions.get(at)?.born))
    }

    /// A packet of a session that is known. False: that one is over, or it matters which packet it sees first.
    pub(crate) fn goes_on(
        &mut self,
        (at, born): (u32, u64),
        way: Way,
        seen: Seen,
        settings: &NatSettings,
    ) -> bool {
        let Some(session) = self.sessions.get(at).filter(|s| s.born == born) else { return false };
        let alive = session.last.saturating_add(session.class.time(settings)) > seen.now;
        // What comes in counts before what goes out: an acknowledgement, for what it acknowledges.
        let settled = way == Way::In || session.class != Class::TcpTransitory;
        if alive && settled {
            self.observe(at, way, seen);
        }
        alive && settled
    }

    /// Room for one more session of this host. What a stranger begins takes none from who is inside.
    pub(super) fn make_room(
        &mut self,
        addr: u32,
        way: Way,
        now: u64,
        settings: &NatSettings,
    ) -> Result<(), Drop> {
        let (host, has) = self.sessions_of(addr);
        if has >= settings.per_host {
            self.expire(now, settings);
            let first = host.and_then(|at| self.fresh_of.first(at as usize));
            self.evict(first, way, Drop::NatHostLimit)?;
        }
        if self.sessions.is_full() {
            self.expire(now, settings);
        }
        if self.sessions.is_full() {
            self.evict(self.fresh.first(0), way, Drop::NatFull)?;
        }
        Ok(())
    }

    fn evict(&mut self, first: Option<u32>, way: Way, why: Drop) -> Result<(), Drop> {
        let may = |at: &u32| way == Way::Out || self.sessions.get(*at).is_some_and(|s| s.opened == Way::In);
        self.close(first.filter(may).ok_or(why)?);
        self.counts.evicted += 1;
        Ok(())
    }
}
