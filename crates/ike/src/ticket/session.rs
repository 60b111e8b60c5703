//! What of an IKE SA goes on in the one that is resumed from it (RFC 5723 §5).
//!
//! Decides: nothing. Reads and writes: a ticket's inside. Never: prints a key.

use crate::config::ConnectionId;
use crate::crypto::Hidden;
use crate::error::Malformed;
use crate::payload::{Id, Reader};
use crate::record::{Clock, Out, bytes_of, wiped_of};
use crate::ticket::{LIFETIME, TicketId};
use std::time::Instant;

/// Tickets of one peer within a lifetime of them. One that was lost with a process or an answer is given again, but nobody
/// fills the list of the spent ones.
const MAX_TICKETS: u8 = 8;

#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Of the configuration, and what an IKE SA by it depends on, credentials included.
    pub(crate) connection: ConnectionId,
    pub(crate) fingerprint: [u8; 32],
    /// Which of the connection's.
    pub(crate) proposal: u8,
    /// SK_d.
    pub(crate) d: Hidden,
    /// As whom the peer is known.
    pub(crate) peer: Id,
    /// Its IDi, where it logged in as a user by EAP.
    pub(crate) claimed: Option<Id>,
    pub(crate) ours: Id,
    /// When both sides are to prove themselves anew.
    pub(crate) reauthenticate_at: Option<Instant>,
    /// When the ticket was given; it counts into the peer's budget.
    pub(crate) given: Instant,
    pub(crate) budget: Budget,
}

/// How many tickets a peer was given since when: across rekeys and resumed IKE SAs, until it proves itself anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    count: u8,
    since: Option<Instant>,
}

impl Budget {
    /// `None`: it has had its share of this hour.
    pub(crate) fn one_more(self, now: Instant) -> Option<Self> {
        let over = |since: Instant| now.saturating_duration_since(since) >= LIFETIME;
        let now_on = if self.since.is_none_or(over) { Self { count: 0, since: Some(now) } } else { self };
        (now_on.count < MAX_TICKETS).then(|| Self { count: now_on.count + 1, ..now_on })
    }

    fn write(self, clock: &Clock, out: &mut Out) {
        out.u8(self.count);
        out.u8(u8::from(self.since.is_some()));
        self.since.into_iter().for_each(|at| out.time(clock, at));
    }

    fn read(clock: &Clock, r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { count: r.u8()?, since: if r.u8()? == 0 { None } else { Some(clock.read(r)?) } })
    }
}

/// A session that an IKE SA is being resumed from.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) session: Session,
    /// As gateway: to be spent with it, and until when it is to be remembered.
    pub(crate) ticket: Option<(TicketId, Instant)>,
}

/// What an established IKE SA knows of resumption.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// As gateway: the peer's ticket.
    pub(crate) ticket: Option<(TicketId, Instant)>,
    pub(crate) budget: Budget,
    /// As gateway: the peer's IDi, where it is known as the user that it logged in as.
    pub(crate) claimed: Option<Id>,
    /// It was made by a ticket.
    pub(crate) resumed: bool,
}

impl Given {
    pub(crate) fn write(&self, clock: &Clock, out: &mut Out) {
        out.u8(u8::from(self.ticket.is_some()));
        if let Some((id, until)) = self.ticket {
            out.raw(&id);
            out.time(clock, until);
        }
        self.budget.write(clock, out);
        out.u8(u8::from(self.claimed.is_some()));
        self.claimed.iter().for_each(|id| write_id(id, out));
        out.u8(u8::from(self.resumed));
    }

    pub(crate) fn read(clock: &Clock, r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            ticket: if r.u8()? == 0 { None } else { Some((r.array()?, clock.read(r)?)) },
            budget: Budget::read(clock, r)?,
            claimed: if r.u8()? == 0 { None } else { Some(read_id(r)?) },
            resumed: r.u8()? != 0,
        })
    }
}

#[cfg(any(test, fuzzing))]
impl Session {
    /// Of some IKE SA.
    pub(crate) fn example(now: Instant) -> Self {
        let id = |name: &str| Id { kind: crate::payload::id::FQDN, data: name.as_bytes().to_vec() };
        Self {
            connection: ConnectionId(7),
            fingerprint: [3; 32],
            proposal: 1,
            d: crate::crypto::Wiped::new(vec![9; 32]).into(),
            peer: id("a.lab"),
            claimed: Some(id("carol")),
            ours: id("b.lab"),
            reauthenticate_at: Some(now + core::time::Duration::from_secs(60)),
            given: now,
            budget: Budget::default(),
        }
    }
}

impl Session {
    /// Which IDi the peer, as initiator, must send.
    pub(crate) fn id_i(&self) -> &Id {
        self.claimed.as_ref().unwrap_or(&self.peer)
    }

    pub(super) fn write(&self, clock: &Clock, out: &mut Out) {
        out.u32(self.connection.0);
        out.raw(&self.fingerprint);
        out.u8(self.proposal);
        out.bytes(&self.d);
        write_id(&self.peer, out);
        write_id(&self.ours, out);
        out.u8(u8::from(self.claimed.is_some()));
        self.claimed.iter().for_each(|id| write_id(id, out));
        out.u8(u8::from(self.reauthenticate_at.is_some()));
        self.reauthenticate_at.into_iter().for_each(|at| out.time(clock, at));
        out.time(clock, self.given);
        self.budget.write(clock, out);
    }

    pub(super) fn read(clock: &Clock, mut r: Reader<'_>) -> Result<Self, Malformed> {
        let r = &mut r;
        let session = Self {
            connection: ConnectionId(r.u32()?),
            fingerprint: r.array()?,
            proposal: r.u8()?,
            d: wiped_of(r)?.into(),
            peer: read_id(r)?,
            ours: read_id(r)?,
            claimed: if r.u8()? == 0 { None } else { Some(read_id(r)?) },
            reauthenticate_at: if r.u8()? == 0 { None } else { Some(clock.read(r)?) },
            given: clock.read(r)?,
            budget: Budget::read(clock, r)?,
        };
        if r.is_empty() { Ok(session) } else { Err(Malformed::Length("ticket")) }
    }
}

fn write_id(id: &Id, out: &mut Out) {
    out.u8(id.kind);
    out.bytes(&id.data);
}

fn read_id(r: &mut Reader<'_>) -> Result<Id, Malformed> {
    Ok(Id { kind: r.u8()?, data: bytes_of(r)?.to_vec() })
}
