//! Mappings and sessions of one worker: who inside speaks from which outside end, and with whom.
//!
//! Decides: whether a packet has a session or may open one, from which outside end (RFC 4787 §4.1: the same for every
//! destination), when a session is over, and which one gives way. Reads: the clock of the batch.
//! Writes: its tables. Never: takes memory after it was made; lets one inside host take what others need: each has its
//! limit, and where it is reached, or the table is full, what was never answered gives way, the oldest first.

mod hash;
mod index;
mod peek;
mod ports;
mod room;
mod session;
mod spi;

pub(crate) use ports::Choice;
pub(crate) use session::Way;

use super::tuple::{End, has_ends};
use index::{Index, Lists, Slab};
use ports::Chance;
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::NatSettings;
use session::{Class, Session};

/// Sessions that end of themselves, per call.
const LOOKS: usize = 256;

#[derive(Debug)]
pub(crate) struct Store {
    mappings: Slab<Mapping>,
    sessions: Slab<Session>,
    hosts: Slab<Host>,
    by_inside: Index,
    by_outside: Index,
    by_session: Index,
    by_host: Index,
    /// Of mappings of ESP.
    spis: Slab<spi::Spis>,
    births: u64,
    /// The session that a packet counted for since this was last asked; of several none.
    touched: Option<u32>,
    touches: u8,
    /// One list per class, in the order in which their time is over.
    due: Lists,
    /// Never answered, the oldest first: of all, and of each host.
    fresh: Lists,
    fresh_of: Lists,
    seed: [u64; 2],
    chance: Chance,
    /// See [`super::Nat::dry`].
    pub(crate) dry: bool,
    pub(crate) counts: Counts,
}

/// Since they were last taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    /// Of those closed: they gave way to others.
    pub(crate) evicted: u64,
}

/// What a mapping is found by from inside. Different pools are different mappings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Inside {
    pub(crate) protocol: u8,
    pub(crate) end: End,
    /// First address of the pool.
    pub(crate) pool: u32,
    /// Of a protocol without ports: the one host it speaks with (R58). Otherwise 0: any.
    pub(crate) remote: u32,
}

impl Inside {
    pub(crate) fn new(protocol: u8, end: End, pool: u32, remote: u32) -> Self {
        Self { protocol, end, pool, remote: if has_ends(protocol) { 0 } else { remote } }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Mapping {
    inside: Inside,
    outside: End,
    sessions: u32,
    spis: u32,
    /// Found no more; its sessions end as their time comes.
    dead: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Host {
    addr: u32,
    sessions: u32,
}

/// What a packet says of its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) now: u64,
    /// Of TCP.
    pub(crate) flags: u8,
    /// Of ESP, otherwise 0.
    pub(crate) spi: u32,
}

impl Store {
    pub(crate) fn new(flows: usize) -> Self {
        let mut seed = [[0; 8]; 3];
        // Without chance a stranger may know which flows share a chain, and which port comes next; that costs time.
        let _ = getrandom::fill(seed.as_flattened_mut());
        let [a, b, c] = seed.map(u64::from_ne_bytes);
        Self {
            mappings: Slab::new(flows),
            sessions: Slab::new(flows),
            hosts: Slab::new(flows),
            by_inside: Index::new(flows),
            by_outside: Index::new(flows),
            by_session: Index::new(flows),
            by_host: Index::new(flows),
            spis: Slab::new((flows / 4).max(16)),
            births: 0,
            touched: None,
            touches: 0,
            due: Lists::new(Class::COUNT, flows),
            fresh: Lists::new(1, flows),
            fresh_of: Lists::new(flows, flows),
            seed: [a, b],
            chance: Chance::new(c),
            dry: false,
            counts: Counts::default(),
        }
    }

    pub(crate) fn open_sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The outside end from which the packet goes on; opens what is not there yet.
    pub(crate) fn outbound(
        &mut self,
        inside: Inside,
        remote: End,
        seen: Seen,
        settings: &NatSettings,
        choice: &Choice<'_>,
    ) -> Result<End, Drop> {
        if let Some((outside, session)) = self.find(inside, remote, seen.now, settings) {
            if choice.allows(outside, inside.protocol) {
                if seen.spi != 0 {
                    self.speak_in(session, seen)?;
                }
                self.observe(session, Way::Out, seen);
                return Ok(outside);
            }
            self.kill(session);
        }
        if self.dry {
            return self.would_open(inside, remote, seen.now, settings, choice);
        }
        self.make_room(inside.end.addr, Way::Out, seen.now, settings)?;
        let mapping = match self.mapping_of(inside) {
            Some(at) if self.allowed(at, choice) => at,
            Some(at) => {
                self.bury(at);
                self.map(inside, remote, seen.now, choice)?
            }
            None => self.map(inside, remote, seen.now, choice)?,
        };
        let session = self.open(mapping, inside, remote, Way::Out, seen).ok_or(Drop::NatFull)?;
        self.speak(mapping, seen)?;
        self.observe(session, Way::Out, seen);
        self.mappings.get(mapping).map(|m| m.outside).ok_or(Drop::NatFull)
    }

    /// The inside end of a packet that came to an outside one. `open`: from anybody (RFC 4787 §5, endpoint-independent
    /// filtering), otherwise only from whom a packet went to.
    pub(crate) fn inbound(
        &mut self,
        protocol: u8,
        outside: End,
        remote: End,
        seen: Seen,
        settings: &NatSettings,
    ) -> Result<Inside, Drop> {
        let at = self.whose(protocol, outside, remote.addr, seen)?;
        let inside = self.mappings.get(at).map(|m| m.inside).ok_or(Drop::NatNoMapping)?;
        if let Some((_, session)) = self.find(inside, remote, seen.now, settings) {
            self.observe(session, Way::In, seen);
            return Ok(inside);
        }
        if !settings.endpoint_independent_filter {
            return Err(Drop::NatFiltered);
        }
        if self.dry {
            return Ok(inside);
        }
        self.make_room(inside.end.addr, Way::In, seen.now, settings)?;
        // Making room may have ended the mapping's last session, and the mapping with it.
        let at = self.mapping_of(inside).ok_or(Drop::NatNoMapping)?;
        let session = self.open(at, inside, remote, Way::In, seen).ok_or(Drop::NatFull)?;
        self.observe(session, Way::In, seen);
        Ok(inside)
    }

    /// Ends what has been silent too long, some at a time.
    pub(crate) fn expire(&mut self, now: u64, settings: &NatSettings) {
        let mut looks = if self.dry { 0 } else { LOOKS };
        for class in Class::ALL {
            let time = class.time(settings);
            while looks > 0
                && let Some(at) = self.due.first(class as usize)
                && let Some(session) = self.sessions.get(at)
            {
                if session.last.saturating_add(time) > now {
                    break;
                }
                looks -= 1;
                self.close(at);
            }
        }
    }

    fn find(&self, inside: Inside, remote: End, now: u64, settings: &NatSettings) -> Option<(End, u32)> {
        let at = self.mapping_of(inside)?;
        let same = |slot| self.sessions.get(slot).is_some_and(|s| s.mapping == at && s.remote == remote);
        let session = self.by_session.find(self.session_hash(at, remote), same)?;
        let alive =
            self.sessions.get(session)?.last.saturating_add(self.sessions.get(session)?.class.time(settings))
                > now;
        alive.then_some((self.mappings.get(at)?.outside, session))
    }

    fn mapping_of(&self, inside: Inside) -> Option<u32> {
        let same = |slot| self.mappings.get(slot).is_some_and(|m| m.inside == inside);
        self.by_inside.find(self.inside_hash(inside), same)
    }

    /// Who has this outside end; of a protocol without ports, towards this host.
    fn outside(&self, protocol: u8, outside: End, remote: u32) -> Option<u32> {
        let same = |slot| {
            self.mappings.get(slot).is_some_and(|m| {
                let towards = m.inside.remote == 0 || m.inside.remote == remote;
                m.outside == outside && m.inside.protocol == protocol && towards
            })
        };
        self.by_outside.find(self.outside_hash(protocol, outside, remote), same)
    }

    fn allowed(&self, mapping: u32, choice: &Choice<'_>) -> bool {
        self.mappings.get(mapping).is_some_and(|m| choice.allows(m.outside, m.inside.protocol))
    }

    fn map(&mut self, inside: Inside, remote: End, now: u64, choice: &Choice<'_>) -> Result<u32, Drop> {
        let mut chance = self.chance;
        let free = |end: End| self.outside(inside.protocol, end, remote.addr).is_none();
        let picked = choice.pick(inside, &mut chance, free);
        let outside = self.or_shared(picked, inside, now, choice)?;
        self.chance = chance;
        let mapping = Mapping { inside, outside, sessions: 0, spis: index::NONE, dead: false };
        let at = self.mappings.put(mapping).ok_or(Drop::NatFull)?;
        self.give_spis(at);
        self.by_inside.insert(self.inside_hash(inside), at);
        self.by_outside.insert(self.outside_hash(inside.protocol, outside, inside.remote), at);
        Ok(at)
    }

    fn open(&mut self, mapping: u32, inside: Inside, remote: End, way: Way, seen: Seen) -> Option<u32> {
        let host = self.host(inside.end.addr)?;
        self.births += 1;
        let session = Session::new(self.births, (mapping, host), remote, inside.protocol, way, seen.now);
        let class = session.class;
        let at = self.sessions.put(session)?;
        self.by_session.insert(self.session_hash(mapping, remote), at);
        self.due.push(class as usize, at);
        // Nobody inside asked for what a stranger began: until somebody answers, it gives way first.
        for (lists, list) in [(&mut self.fresh, 0), (&mut self.fresh_of, host as usize)] {
            match way {
                Way::Out => lists.push(list, at),
                Way::In => lists.push_first(list, at),
            }
        }
        if let Some(mapping) = self.mappings.get_mut(mapping) {
            mapping.sessions += 1;
        }
        if let Some(host) = self.hosts.get_mut(host) {
            host.sessions += 1;
        }
        self.counts.opened += 1;
        Some(at)
    }

    fn host(&mut self, addr: u32) -> Option<u32> {
        let hash = self.hash(u64::from(addr), 3);
        let same = |slot| self.hosts.get(slot).is_some_and(|h| h.addr == addr);
        if let Some(at) = self.by_host.find(hash, same) {
            return Some(at);
        }
        let at = self.hosts.put(Host { addr, sessions: 0 })?;
        self.by_host.insert(hash, at);
        Some(at)
    }

    fn observe(&mut self, at: u32, way: Way, seen: Seen) {
        let Some(session) = self.sessions.get_mut(at).filter(|_| !self.dry) else { return };
        let (class, host, fresh, last) = (session.class, session.host, !session.answered, session.last);
        session.observe(way, seen);
        (self.touched, self.touches) = (Some(at), self.touches.saturating_add(1));
        let (next, answered) = (session.class, session.answered);
        if next != class || session.last != last {
            self.due.remove(class as usize, at);
            self.due.push(next as usize, at);
        }
        if fresh && answered {
            self.fresh.remove(0, at);
            self.fresh_of.remove(host as usize, at);
        }
    }

    /// The session and its mapping are not what the rules say any more.
    fn kill(&mut self, session: u32) {
        if let Some(mapping) = self.sessions.get(session).map(|s| s.mapping).filter(|_| !self.dry) {
            self.bury(mapping);
        }
    }

    fn bury(&mut self, at: u32) {
        let Some(mapping) = self.mappings.get_mut(at).filter(|m| !m.dead) else { return };
        mapping.dead = true;
        let (inside, outside, unused) = (mapping.inside, mapping.outside, mapping.sessions == 0);
        self.by_inside.remove(self.inside_hash(inside), at);
        self.by_outside.remove(self.outside_hash(inside.protocol, outside, inside.remote), at);
        self.free_spis(at);
        if unused {
            self.mappings.free(at);
        }
    }

    fn close(&mut self, at: u32) {
        let Some(&Session { mapping, host, remote, class, answered, .. }) = self.sessions.get(at) else {
            return;
        };
        self.by_session.remove(self.session_hash(mapping, remote), at);
        self.due.remove(class as usize, at);
        if !answered {
            self.fresh.remove(0, at);
            self.fresh_of.remove(host as usize, at);
        }
        if let Some(session) = self.sessions.get_mut(at) {
            session.born = 0;
        }
        self.sessions.free(at);
        self.counts.closed += 1;
        self.leave_host(host);
        let Some(used) = self.mappings.get_mut(mapping) else { return };
        used.sessions = used.sessions.saturating_sub(1);
        match (used.sessions, used.dead) {
            (0, true) => self.mappings.free(mapping),
            (0, false) => self.bury(mapping),
            _ => {}
        }
    }

    fn leave_host(&mut self, at: u32) {
        let Some(host) = self.hosts.get_mut(at) else { return };
        host.sessions = host.sessions.saturating_sub(1);
        if host.sessions == 0 {
            let addr = host.addr;
            self.by_host.remove(self.hash(u64::from(addr), 3), at);
            self.hosts.free(at);
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod spi_tests;
