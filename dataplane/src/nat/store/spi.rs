//! ESP has no ports: its SPIs tell inside hosts apart that speak with one outside host by one address (R58, RFC 3715 §2.1).
//!
//! Decides: who may share an address, and whose an SPI from outside is. Each end chooses the SPI that it receives by, and
//! says it nowhere in clear, so that it is learnt: of one host alone behind an address any SPI is that host's; of several,
//! one at a time, which has sent by a new SPI, waits a while for what answers it, and what comes from outside by an SPI that
//! nobody has is taken for that. An answer does not end that time, since anybody may have sent it: until it is over the true
//! one is not another's. Reads: the clock of the batch. Writes: SPIs of mappings.
//! Never: grows; lets the times of two overlap; gives an SPI that somebody has to another.

use super::index::NONE;
use super::{Choice, End, Inside, Seen, Store};
use arrayvec::ArrayVec;
use ravelin_ring::counters::Drop;
use ravelin_wire::protocol;

/// SPIs of one direction that are known of one mapping; the longest unused gives way.
const KNOWN: usize = 8;
/// Inside hosts behind one address towards one outside host.
const SHARERS: usize = 16;
/// So long a new SPI waits for its answer,
const WAIT_MS: u64 = 5_000;
/// so long others may after it, when none came,
const REST_MS: u64 = 10_000;
/// and so long, when one did.
const TURN_MS: u64 = 1_000;

/// What is known of one inside host towards one outside host; an SPI of 0 is none (RFC 4303 §2.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spis {
    out: [u32; KNOWN],
    back: [u32; KNOWN],
    /// It has sent by a new SPI, and no new one has come back.
    open: bool,
    /// Until then what nobody knows is its answer.
    waits: u64,
    /// From then on it may have such a time again.
    rests: u64,
}

type Sharers = ArrayVec<u32, SHARERS>;

fn has(list: &[u32; KNOWN], spi: u32) -> bool {
    spi != 0 && list.contains(&spi)
}

/// To the front: the last is the longest unused.
fn note(list: &mut [u32; KNOWN], spi: u32) {
    let at = list.iter().position(|known| *known == spi).unwrap_or(KNOWN - 1);
    if let Some(part) = list.get_mut(..=at) {
        part.rotate_right(1);
    }
    list[0] = spi;
}

impl Store {
    /// Room for a mapping's SPIs; where there is none, it is alone behind its address or not at all.
    pub(super) fn give_spis(&mut self, mapping: u32) {
        let Some(mapping) = self.mappings.get_mut(mapping) else { return };
        if mapping.inside.protocol == protocol::ESP {
            mapping.spis = self.spis.put(Spis::default()).unwrap_or(NONE);
        }
    }

    pub(super) fn free_spis(&mut self, mapping: u32) {
        let Some(mapping) = self.mappings.get_mut(mapping) else { return };
        let at = std::mem::replace(&mut mapping.spis, NONE);
        if at != NONE {
            self.spis.free(at);
        }
    }

    /// Those behind this address that speak with `remote`.
    fn sharers(&self, protocol: u8, outside: End, remote: u32) -> Sharers {
        let of = |slot: &u32| {
            let same = |m: &super::Mapping| {
                m.outside == outside && m.inside.protocol == protocol && m.inside.remote == remote
            };
            self.mappings.get(*slot).is_some_and(same)
        };
        self.by_outside.chain(self.outside_hash(protocol, outside, remote)).filter(of).take(SHARERS).collect()
    }

    fn spis_of(&self, mapping: u32) -> Option<&Spis> {
        self.spis.get(self.mappings.get(mapping)?.spis)
    }

    fn spis_mut(&mut self, mapping: u32) -> Option<&mut Spis> {
        let at = self.mappings.get(mapping)?.spis;
        self.spis.get_mut(at)
    }

    fn waits(&self, mapping: u32, now: u64) -> bool {
        self.spis_of(mapping).is_some_and(|s| s.waits > now)
    }

    /// What was picked; where no address is free, one that others have already towards this host.
    pub(super) fn or_shared(
        &self,
        picked: Result<End, Drop>,
        inside: Inside,
        now: u64,
        choice: &Choice<'_>,
    ) -> Result<End, Drop> {
        if picked != Err(Drop::NatBusy) {
            return picked;
        }
        if inside.protocol != protocol::ESP || self.spis.is_full() {
            return Err(Drop::NatBusy);
        }
        let may = |end: &End| {
            let others = self.sharers(inside.protocol, *end, inside.remote);
            others.len() < SHARERS
                && others.iter().all(|at| self.spis_of(*at).is_some() && !self.waits(*at, now))
        };
        choice.addresses(inside).find(may).ok_or(Drop::NatBusy)
    }

    pub(super) fn speak_in(&mut self, session: u32, seen: Seen) -> Result<(), Drop> {
        let mapping = self.sessions.get(session).map(|s| s.mapping);
        mapping.map_or(Ok(()), |mapping| self.speak(mapping, seen))
    }

    /// A packet from inside. `Err`: its SPI is new or not answered, and another host waits for an answer from there.
    pub(super) fn speak(&mut self, mapping: u32, seen: Seen) -> Result<(), Drop> {
        let Some(&Spis { out, open, waits, .. }) = self.spis_of(mapping).filter(|_| seen.spi != 0) else {
            return Ok(());
        };
        let known = has(&out, seen.spi);
        if known && (!open || waits > seen.now) {
            return Ok(());
        }
        let Some(m) = self.mappings.get(mapping).copied() else { return Ok(()) };
        let others = self.sharers(m.inside.protocol, m.outside, m.inside.remote);
        if others.iter().any(|at| *at != mapping && self.waits(*at, seen.now)) {
            return Err(Drop::NatBusy);
        }
        let dry = self.dry;
        let Some(spis) = self.spis_mut(mapping).filter(|_| !dry) else { return Ok(()) };
        note(&mut spis.out, seen.spi);
        spis.open = true;
        // Who waits already, or has just done so, does not wait longer for yet another SPI: others have their turn.
        if seen.now >= spis.rests && seen.now >= waits {
            spis.waits = seen.now.saturating_add(WAIT_MS);
            spis.rests = spis.waits.saturating_add(REST_MS);
        }
        Ok(())
    }

    /// Whose a packet from outside is.
    pub(super) fn whose(&mut self, protocol: u8, outside: End, remote: u32, seen: Seen) -> Result<u32, Drop> {
        if protocol != protocol::ESP {
            return self.outside(protocol, outside, remote).ok_or(Drop::NatNoMapping);
        }
        let all = self.sharers(protocol, outside, remote);
        let known = |at: &&u32| self.spis_of(**at).is_some_and(|s| has(&s.back, seen.spi));
        if let Some(&at) = all.iter().find(known) {
            self.learn(at, seen.spi, false);
            return Ok(at);
        }
        let at = match all.as_slice() {
            [] => return Err(Drop::NatNoMapping),
            [alone] => Some(alone),
            several => self.awaited(several, seen.now),
        };
        let at = *at.filter(|_| seen.spi != 0 || all.len() == 1).ok_or(Drop::NatUnknownSpi)?;
        self.learn(at, seen.spi, true);
        Ok(at)
    }

    /// The one whose time it is.
    fn awaited<'a>(&self, several: &'a [u32], now: u64) -> Option<&'a u32> {
        let mut in_time = several.iter().filter(|at| self.waits(**at, now));
        in_time.next().filter(|_| in_time.next().is_none())
    }

    /// `answers`: nobody has had it.
    fn learn(&mut self, mapping: u32, spi: u32, answers: bool) {
        let dry = self.dry || spi == 0;
        let Some(spis) = self.spis_mut(mapping).filter(|_| !dry) else { return };
        note(&mut spis.back, spi);
        if answers {
            spis.open = false;
            spis.rests = spis.rests.min(spis.waits.saturating_add(TURN_MS));
        }
    }

    /// Who has sent what an ICMP error quotes.
    pub(super) fn sender(&self, protocol: u8, outside: End, remote: u32, spi: u32) -> Option<u32> {
        if protocol != protocol::ESP {
            return self.outside(protocol, outside, remote);
        }
        let all = self.sharers(protocol, outside, remote);
        let sent = |at: &&u32| self.spis_of(**at).is_some_and(|s| has(&s.out, spi));
        all.iter().find(sent).or_else(|| all.first().filter(|_| all.len() == 1)).copied()
    }
}
