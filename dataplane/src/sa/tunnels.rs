//! What one worker knows of the tunnels: by which SA each sends, and what waits for one.
//!
//! Decides: which slot a tunnel has, and when another may have it. Reads: the tunnels of the tables in force, between two
//! batches. Never: makes a slot for a packet; forgets a tunnel that sends, or for which something waits.

use super::{IndexMap, Throttle};
use ravelin_ring::msg::{TunnelId, WorkerId};

/// What this worker knows of the tunnels.
#[derive(Debug)]
pub(crate) struct Tunnels {
    by_id: IndexMap,
    slots: Vec<Tunnel>,
    /// For each tunnel of the SPD in force its slot.
    by_policy: Vec<u32>,
    /// Places of tunnels that are no more.
    free: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) id: TunnelId,
    pub(crate) outbound: Outbound,
    pub(crate) acquired: Throttle,
    /// Packets wait for an outbound SA: so says the policy.
    pub(crate) hold: bool,
    /// So many wait now.
    pub(crate) held: u16,
    /// A policy of the tables in force names it, or a route leads to it.
    named: bool,
}

/// By which SA a tunnel's packets leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outbound {
    None,
    /// Place in the slab.
    Here(u32),
    /// At another worker.
    There(WorkerId),
}

impl Tunnels {
    /// Room for so many at a time, taken once.
    pub(super) fn new(room: usize) -> Self {
        Self { by_id: IndexMap::new(room), slots: vec![], by_policy: vec![], free: vec![] }
    }

    /// Makes a slot for every tunnel that policies name or routes lead to, so that no packet has to.
    pub(crate) fn follow(&mut self, policies: &[(TunnelId, bool)], routed: &[(TunnelId, bool)]) {
        self.by_policy.clear();
        self.forget(policies.iter().chain(routed).map(|(id, _)| *id));
        for (id, hold) in policies.iter().chain(routed) {
            let place = self.place(*id);
            self.by_policy.push(place);
            if let Some(tunnel) = self.slots.get_mut(place as usize) {
                tunnel.hold = *hold;
            }
        }
    }

    /// Makes room for others where a tunnel is not among `named`, sends by no SA, and has nothing waiting: a peer that
    /// may be anybody has another number each time it comes.
    fn forget(&mut self, named: impl Iterator<Item = TunnelId>) {
        self.slots.iter_mut().for_each(|tunnel| tunnel.named = false);
        for id in named {
            let place = self.by_id.get(id.0);
            if let Some(tunnel) = place.and_then(|place| self.slots.get_mut(place as usize)) {
                tunnel.named = true;
            }
        }
        for (place, tunnel) in (0u32..).zip(&self.slots) {
            let idle = !tunnel.named && tunnel.outbound == Outbound::None && tunnel.held == 0;
            if idle && self.by_id.get(tunnel.id.0) == Some(place) {
                self.by_id.remove(tunnel.id.0);
                self.free.push(place);
            }
        }
    }

    /// One packet less of this tunnel waits.
    pub(crate) fn let_go(&mut self, id: TunnelId) {
        if let Some(tunnel) = self.get_mut(id) {
            tunnel.held = tunnel.held.saturating_sub(1);
        }
    }

    #[inline]
    pub(crate) fn of_policy(&mut self, place: u32) -> Option<&mut Tunnel> {
        let slot = *self.by_policy.get(place as usize)?;
        self.slots.get_mut(slot as usize)
    }

    /// Of a tunnel that there is; none is made for it.
    pub(crate) fn get_mut(&mut self, id: TunnelId) -> Option<&mut Tunnel> {
        self.slots.get_mut(self.by_id.get(id.0)? as usize)
    }

    /// As [`Self::get_mut`], with a new slot when the tunnel has none. `None`: no room.
    pub(super) fn get_or_make(&mut self, id: TunnelId) -> Option<&mut Tunnel> {
        let place = self.place(id);
        self.slots.get_mut(place as usize)
    }

    /// Where the tunnel's slot is; a new one when it has none. `u32::MAX`: no room.
    fn place(&mut self, id: TunnelId) -> u32 {
        if let Some(place) = self.by_id.get(id.0) {
            return place;
        }
        let fresh = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let place = self.free.last().copied().unwrap_or(fresh);
        if place == u32::MAX || !self.by_id.insert(id.0, place) {
            return u32::MAX;
        }
        let (outbound, acquired) = (Outbound::None, Throttle::default());
        let tunnel = Tunnel { id, outbound, acquired, hold: false, held: 0, named: false };
        match self.slots.get_mut(place as usize) {
            Some(slot) => {
                *slot = tunnel;
                self.free.pop();
            }
            None => self.slots.push(tunnel),
        }
        place
    }

    /// The place of the outbound SA that the tunnel uses, when it is this worker's.
    pub(crate) fn in_use(&self, id: TunnelId) -> Option<u32> {
        let slot = self.slots.get(self.by_id.get(id.0)? as usize)?;
        match slot.outbound {
            Outbound::Here(place) => Some(place),
            Outbound::None | Outbound::There(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R213: a peer that may be anybody has a tunnel number of its own for each login; a gateway lives through more of them
    // than it has room for at a time.
    #[test]
    fn room_is_for_those_who_are_there() {
        let mut tunnels = Tunnels::new(8);
        let site = (TunnelId(0), true);
        for n in 1..=10_000 {
            let (now, before) = (TunnelId(n), TunnelId(n - 1));
            tunnels.follow(&[site, (now, false)], &[]);
            assert_eq!(
                tunnels.of_policy(1).map(|t| (t.id, t.outbound, t.hold)),
                Some((now, Outbound::None, false))
            );
            tunnels.get_or_make(now).expect("room").outbound = Outbound::There(WorkerId(1));
            assert_eq!(tunnels.of_policy(0).map(|t| (t.id, t.hold)), Some((site.0, true)));
            // The login before this one ends; its policies went with these tables.
            if n > 1 {
                tunnels.get_mut(before).expect("it sent until now").outbound = Outbound::None;
            }
        }
        assert!(tunnels.slots.len() <= 4, "{}", tunnels.slots.len());
    }

    #[test]
    fn who_sends_or_waits_is_not_forgotten() {
        let mut tunnels = Tunnels::new(4);
        let (sends, waits, idle) = (TunnelId(1), TunnelId(2), TunnelId(3));
        tunnels.follow(&[(sends, false), (waits, true)], &[(idle, false)]);
        tunnels.get_mut(sends).unwrap().outbound = Outbound::Here(9);
        tunnels.get_mut(waits).unwrap().held = 2;
        tunnels.follow(&[], &[]);
        assert_eq!(tunnels.in_use(sends), Some(9));
        assert!(tunnels.get_mut(idle).is_none());
        tunnels.follow(&[(TunnelId(4), false)], &[]);
        assert_eq!(tunnels.get_mut(TunnelId(4)).map(|t| (t.outbound, t.held)), Some((Outbound::None, 0)));
        tunnels.let_go(waits);
        tunnels.let_go(waits);
        tunnels.get_mut(sends).unwrap().outbound = Outbound::None;
        tunnels.follow(&[], &[]);
        assert!([sends, waits, TunnelId(4)].into_iter().all(|id| tunnels.get_mut(id).is_none()));
        assert_eq!(tunnels.slots.len(), 3, "the idle one's place was taken");
    }
}
