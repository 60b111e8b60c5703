//! Tickets of session resumption (RFC 5723): what a gateway gives its peers, and what a peer keeps of its gateways.
//!
//! Decides: which tickets are good, and for how long. Reads: tickets, which anybody may have made. Writes: its keys,
//! which ids are spent, the tickets that gateways gave us. Never: keeps anything of a ticket that it did not make.
//!
//! A ticket is a sealed session "by value": the gateway keeps its keys and the ids of tickets that are used up or whose
//! IKE SA ended otherwise than by silence. What an earlier process gave is good only where its IKE SA went on here, since
//! this process does not know what was spent before.

mod held;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use held::{Held, Kept, is_on};
pub(crate) use session::{Budget, Given, Resumed, Session};

use crate::config::ConnectionId;
use crate::counters::Counter;
use crate::crypto::Wiped;
use crate::payload::Reader;
use crate::record::{Clock, Out, wiped_of};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use core::time::Duration;
use rand_core::Rng;
use std::collections::BTreeMap;
use std::time::Instant;
use zeroize::Zeroizing;

/// A ticket's nonce, which no other ticket has.
pub(crate) type TicketId = [u8; NONCE];

/// No ticket is good for longer.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
/// A key makes tickets for so long; those are good until their own end.
const ROTATION: Duration = Duration::from_secs(3600);
/// IKE_SESSION_RESUME goes in one packet that no path cuts.
const MAX: usize = 900;
/// The first byte of a ticket, and of the record of the keys.
const VERSION: u8 = 1;
pub(crate) const RECORD: u8 = b'T';
const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;
const HEAD: usize = 1 + 4;
/// Spent tickets that are remembered. Beyond that all tickets so far are void.
const MAX_SPENT: usize = 65_536;
/// Keys at one time: one for each hour of a lifetime, and a few of processes that ended soon.
const MAX_KEYS: usize = 8;

/// Why a ticket is of no use. All of them lead to a whole exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this gateway did not make it, or not so")]
    Unreadable,
    #[error("its time is over")]
    Expired,
    #[error("it has been used, or its IKE SA has been ended")]
    Spent,
    #[error("what it was given for is not configured any more, or otherwise")]
    Outdated,
}

impl Refusal {
    pub(crate) const fn counter(self) -> Counter {
        match self {
            Self::Unreadable => Counter::TicketUnreadable,
            Self::Expired => Counter::TicketExpired,
            Self::Spent => Counter::TicketSpent,
            Self::Outdated => Counter::TicketOutdated,
        }
    }
}

/// What tickets are sealed with.
struct Key {
    number: u32,
    since: Instant,
    /// Made by this process.
    own: bool,
    bytes: Wiped,
}

/// Keys and ids of the tickets that this gateway gives.
#[derive(Default)]
pub(crate) struct Ring {
    /// The newest last.
    keys: Vec<Key>,
    spent: BTreeMap<TicketId, Instant>,
    /// Given by an earlier process to IKE SAs that went on here.
    inherited: BTreeMap<TicketId, Instant>,
    /// Connections that somebody took down, and when: what was given before is void, also where silence had ended the IKE
    /// SA already.
    ended: BTreeMap<ConnectionId, Instant>,
    changed: bool,
}

impl core::fmt::Debug for Ring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Ring(…)")
    }
}

impl Ring {
    /// `None`: it would be too long.
    pub(crate) fn seal(
        &mut self,
        now: Instant,
        clock: &Clock,
        rng: &mut dyn Rng,
        session: &Session,
        until: Instant,
    ) -> Option<(TicketId, Vec<u8>)> {
        self.rotate(now, rng);
        let key = self.keys.last()?;
        let mut id = [0; NONCE];
        rng.fill_bytes(&mut id);
        let mut plain = Out::default();
        plain.time(clock, until);
        session.write(clock, &mut plain);
        let mut text = plain.finish();
        let head = head(key.number);
        let cipher = XChaCha20Poly1305::new_from_slice(&key.bytes).ok()?;
        let buffer = text.as_mut_slice();
        let tag = cipher.encrypt_inout_detached((&id).into(), &head, buffer.into()).ok()?;
        let ticket = [head.as_slice(), &id, &text, &tag].concat();
        (ticket.len() <= MAX).then_some((id, ticket))
    }

    /// Changes nothing, whoever made it.
    pub(crate) fn open(&self, now: Instant, clock: &Clock, ticket: &[u8]) -> Result<Resumed, Refusal> {
        let (id, own, plain) = self.unseal(ticket).ok_or(Refusal::Unreadable)?;
        let mut r = Reader::new(&plain, "ticket");
        let until = clock.read(&mut r).map_err(|_| Refusal::Unreadable)?;
        let session = Session::read(clock, r).map_err(|_| Refusal::Unreadable)?;
        if until <= now {
            Err(Refusal::Expired)
        } else if self.ended.get(&session.connection).is_some_and(|at| session.given <= *at)
            || self.spent.contains_key(&id)
            || !(own || self.inherited.contains_key(&id))
        {
            Err(Refusal::Spent)
        } else {
            Ok(Resumed { session, ticket: Some((id, until)) })
        }
    }

    fn unseal(&self, ticket: &[u8]) -> Option<(TicketId, bool, Wiped)> {
        let head = ticket.get(..HEAD).filter(|_| ticket.len() <= MAX)?;
        let (id, rest) = ticket.get(HEAD..)?.split_first_chunk::<NONCE>()?;
        let (text, tag) = rest.split_last_chunk::<TAG>()?;
        let key = self.keys.iter().find(|k| self::head(k.number) == *head)?;
        let cipher = XChaCha20Poly1305::new_from_slice(&key.bytes).ok()?;
        let mut plain = Zeroizing::new(text.to_vec());
        let buffer = plain.as_mut_slice();
        cipher.decrypt_inout_detached(id.into(), head, buffer.into(), tag.into()).ok()?;
        Some((*id, key.own, plain))
    }

    pub(crate) fn is_spent(&self, id: &TicketId) -> bool {
        self.spent.contains_key(id)
    }

    /// Somebody took the connection down.
    pub(crate) fn end(&mut self, now: Instant, connection: ConnectionId) {
        self.ended.retain(|_, at| now.saturating_duration_since(*at) < LIFETIME);
        self.ended.insert(connection, now);
    }

    /// It is used, or what it was given for has ended.
    pub(crate) fn spend(&mut self, now: Instant, (id, until): (TicketId, Instant)) {
        self.inherited.remove(&id);
        if self.spent.len() >= MAX_SPENT {
            self.spent.retain(|_, until| *until > now);
        }
        if self.spent.len() >= MAX_SPENT {
            // Better no ticket than one that is good twice.
            let ended = core::mem::take(&mut self.ended);
            *self = Self { changed: true, ended, ..Self::default() };
        } else if until > now {
            self.spent.insert(id, until);
        }
    }

    /// A key lives as long as what it sealed.
    fn rotate(&mut self, now: Instant, rng: &mut dyn Rng) {
        let age = |k: &Key| now.saturating_duration_since(k.since);
        if self.keys.last().is_some_and(|k| k.own && age(k) < ROTATION) {
            return;
        }
        self.keys.retain(|k| age(k) < ROTATION + LIFETIME);
        if self.keys.len() >= MAX_KEYS {
            self.keys.remove(0);
        }
        self.spent.retain(|_, until| *until > now);
        self.inherited.retain(|_, until| *until > now);
        let mut bytes = Zeroizing::new(vec![0; KEY]);
        rng.fill_bytes(&mut bytes);
        self.keys.push(Key { number: rng.next_u32(), since: now, own: true, bytes });
        self.changed = true;
    }

    pub(crate) const fn is_changed(&self) -> bool {
        self.changed
    }

    /// For the process after this one.
    pub(crate) fn record(&mut self, clock: &Clock) -> Wiped {
        self.changed = false;
        let mut out = Out::default();
        out.u8(RECORD);
        out.u8(VERSION);
        for key in &self.keys {
            out.u32(key.number);
            out.time(clock, key.since);
            out.bytes(&key.bytes);
        }
        out.finish()
    }

    /// The keys of an earlier process; of a record that cannot be read, none.
    pub(crate) fn restore(&mut self, clock: &Clock, record: &[u8]) {
        let mut r = Reader::new(record, "keys of tickets");
        if (r.u8(), r.u8()) != (Ok(RECORD), Ok(VERSION)) {
            return;
        }
        let mut keys = Vec::new();
        while !r.is_empty() && keys.len() < MAX_KEYS {
            let (number, since, bytes) = (r.u32(), clock.read(&mut r), wiped_of(&mut r));
            let (Ok(number), Ok(since), Ok(bytes)) = (number, since, bytes) else { return };
            keys.push(Key { number, since, own: false, bytes });
        }
        self.keys = keys;
        self.changed = true;
    }

    /// An IKE SA that an earlier process gave this ticket goes on.
    pub(crate) fn inherit(&mut self, (id, until): (TicketId, Instant)) {
        self.inherited.insert(id, until);
    }
}

fn head(number: u32) -> [u8; HEAD] {
    let [a, b, c, d] = number.to_be_bytes();
    [VERSION, a, b, c, d]
}
