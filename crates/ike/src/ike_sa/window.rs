//! Message ids, retransmission, and answers kept for repeated requests (RFC 7296 §2.1 to §2.3); both windows are 1.
//!
//! Decides: whether a message id is the next one, and when to send again. Never: looks into a message.

use crate::config::Realm;
use crate::endpoint::{Timers, Transmit};
use crate::error::Malformed;
use crate::payload::Reader;
use crate::record::{Out, bytes_of, ip_of, socket_of};
use core::time::Duration;
use sha2::{Digest, Sha256};
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Window {
    next_request: u32,
    outstanding: Option<Outstanding>,
    expected: u32,
    answered: Option<Answered>,
}

#[derive(Debug)]
struct Outstanding {
    id: u32,
    /// The datagrams of the request; several when it goes in fragments.
    datagrams: Vec<Vec<u8>>,
    tries: u32,
    /// Fewer than the timers allow.
    most: u32,
    at: Instant,
}

/// The last request of the peer, by its digest, and our answer (absent while it is held back).
#[derive(Debug)]
struct Answered {
    id: u32,
    digest: [u8; 32],
    reply: Option<Vec<Transmit>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Incoming {
    /// Next in order.
    New,
    /// The peer did not get our answer.
    Repeated(Vec<Transmit>),
    /// Our answer is not ready yet.
    Pending,
    OutOfWindow,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    Again(Vec<Vec<u8>>),
    GiveUp,
}

impl Window {
    pub(crate) const fn ids(&self) -> (u32, u32) {
        (self.next_request, self.expected)
    }

    pub(crate) const fn is_free(&self) -> bool {
        self.outstanding.is_none()
    }

    pub(crate) const fn next_request_id(&self) -> u32 {
        self.next_request
    }

    /// Remembers a request that goes out now. Ids run out after 2^32 requests; a rekey comes long before.
    pub(crate) fn sent(&mut self, now: Instant, datagrams: Vec<Vec<u8>>, timers: &Timers, jitter: Duration) {
        let id = self.next_request;
        self.next_request = id.saturating_add(1);
        let at = now + timers.retransmit_first + jitter;
        self.outstanding = Some(Outstanding { id, datagrams, tries: 0, most: u32::MAX, at });
    }

    /// The outstanding request is sent so many times more, and not longer.
    pub(crate) fn shorten(&mut self, tries: u32) {
        if let Some(o) = &mut self.outstanding {
            o.most = o.tries.saturating_add(tries);
        }
    }

    /// The way is another one: the outstanding request is sent again now, and as often as if it were new.
    pub(crate) const fn hurry(&mut self, now: Instant) {
        if let Some(o) = &mut self.outstanding {
            (o.at, o.tries) = (now, 0);
        }
    }

    pub(crate) fn retransmit_at(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|o| o.at)
    }

    /// [`Self::due`] would give up.
    pub(crate) fn is_exhausted(&self, now: Instant, timers: &Timers) -> bool {
        self.outstanding
            .as_ref()
            .is_some_and(|o| o.at <= now && o.tries >= timers.retransmit_tries.min(o.most))
    }

    /// `jitter` is added to the next pause.
    pub(crate) fn due(&mut self, now: Instant, timers: &Timers, jitter: Duration) -> Due {
        let Some(o) = self.outstanding.as_mut().filter(|o| o.at <= now) else { return Due::Nothing };
        if o.tries >= timers.retransmit_tries.min(o.most) {
            self.outstanding = None;
            return Due::GiveUp;
        }
        o.tries += 1;
        o.at = now + pause(timers, o.tries) + jitter;
        Due::Again(o.datagrams.clone())
    }

    /// The answer to the outstanding request came, and is authentic.
    pub(crate) fn answered(&mut self) {
        self.outstanding = None;
    }

    pub(crate) fn awaits(&self, id: u32) -> bool {
        self.outstanding.as_ref().is_some_and(|o| o.id == id)
    }

    /// What has been answered already must come in the same bytes.
    pub(crate) fn classify(&self, id: u32, bytes: &[u8]) -> Incoming {
        match self.answered.as_ref().filter(|last| last.id == id) {
            Some(last) if last.digest != digest(bytes) => Incoming::OutOfWindow,
            _ => self.classify_id(id),
        }
    }

    /// By the id alone: a repeated request may have been cut into other pieces, so their tags must tell.
    pub(crate) fn classify_id(&self, id: u32) -> Incoming {
        if let Some(last) = self.answered.as_ref().filter(|last| last.id == id) {
            return match &last.reply {
                Some(reply) => Incoming::Repeated(reply.clone()),
                None => Incoming::Pending,
            };
        }
        let pending = self.answered.as_ref().is_some_and(|last| last.reply.is_none());
        match id == self.expected {
            // The peer's window is 1: while our answer is held back there can be no next request.
            true if pending => Incoming::OutOfWindow,
            true => Incoming::New,
            false => Incoming::OutOfWindow,
        }
    }

    /// An authentic request was taken on; its answer follows by [`Self::reply`].
    pub(crate) fn received(&mut self, id: u32, bytes: &[u8]) {
        self.expected = id.saturating_add(1);
        self.answered = Some(Answered { id, digest: digest(bytes), reply: None });
    }

    /// For the process after this one. A request whose answer is held back has not been taken on yet.
    pub(crate) fn write(&self, out: &mut Out) {
        let answered = self.answered.as_ref().and_then(|a| Some((a, a.reply.as_ref()?)));
        let pending = self.answered.as_ref().filter(|a| a.reply.is_none());
        out.u32(self.next_request);
        out.u32(pending.map_or(self.expected, |a| a.id));
        out.u8(u8::from(self.outstanding.is_some()));
        if let Some(o) = &self.outstanding {
            out.u32(o.id);
            write_list(&o.datagrams, out);
        }
        out.u8(u8::from(answered.is_some()));
        if let Some((a, reply)) = answered {
            out.u32(a.id);
            out.raw(&a.digest);
            out.u16(u16::try_from(reply.len()).unwrap_or(0));
            reply.iter().for_each(|t| write_transmit(t, out));
        }
    }

    /// A request that waited is sent again at once.
    pub(crate) fn read(r: &mut Reader<'_>, realm: Realm, now: Instant) -> Result<Self, Malformed> {
        let (next_request, expected) = (r.u32()?, r.u32()?);
        let outstanding = match r.u8()? {
            0 => None,
            _ => Some(Outstanding {
                id: r.u32()?,
                datagrams: read_list(r)?,
                tries: 0,
                most: u32::MAX,
                at: now,
            }),
        };
        let answered = match r.u8()? {
            0 => None,
            _ => Some(Answered { id: r.u32()?, digest: r.array()?, reply: Some(read_replies(r, realm)?) }),
        };
        Ok(Self { next_request, outstanding, expected, answered })
    }

    pub(crate) fn reply(&mut self, reply: Vec<Transmit>) {
        if let Some(last) = &mut self.answered {
            last.reply = Some(reply);
        }
    }
}

fn write_list(datagrams: &[Vec<u8>], out: &mut Out) {
    out.u16(u16::try_from(datagrams.len()).unwrap_or(0));
    datagrams.iter().for_each(|d| out.bytes(d));
}

fn read_list(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
    (0..r.u16()?).map(|_| Ok(bytes_of(r)?.to_vec())).collect()
}

fn write_transmit(t: &Transmit, out: &mut Out) {
    out.u8(u8::from(t.local.is_some()));
    t.local.into_iter().for_each(|ip| out.ip(ip));
    out.socket(t.remote);
    out.u8(u8::from(t.natt));
    out.bytes(&t.bytes);
}

fn read_replies(r: &mut Reader<'_>, realm: Realm) -> Result<Vec<Transmit>, Malformed> {
    let one = |r: &mut Reader<'_>| {
        let local = if r.u8()? == 0 { None } else { Some(ip_of(r)?) };
        let (remote, natt) = (socket_of(r)?, r.u8()? != 0);
        Ok(Transmit { local, remote, natt, keepalive: false, realm, bytes: bytes_of(r)?.to_vec() })
    };
    (0..r.u16()?).map(|_| one(r)).collect()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The pause after the n-th retransmission: doubling, up to a bound.
pub(crate) fn pause(timers: &Timers, n: u32) -> Duration {
    let factor = 1u32.checked_shl(n).unwrap_or(u32::MAX);
    timers.retransmit_first.saturating_mul(factor).min(timers.retransmit_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers() -> Timers {
        Timers::default()
    }

    fn reply() -> Vec<Transmit> {
        vec![Transmit {
            local: None,
            remote: "192.0.2.1:500".parse().unwrap(),
            natt: false,
            keepalive: false,
            realm: Realm(0),
            bytes: vec![1],
        }]
    }

    // R180: RFC 7296 §2.1
    #[test]
    fn the_pauses_double_and_end() {
        let mut w = Window::default();
        let t0 = Instant::now();
        w.sent(t0, vec![vec![7], vec![8]], &timers(), Duration::ZERO);
        let mut at = vec![];
        while let Some(next) = w.retransmit_at() {
            match w.due(next, &timers(), Duration::ZERO) {
                Due::Again(all) => assert_eq!(all, [[7], [8]]),
                Due::GiveUp => {}
                Due::Nothing => panic!("early"),
            }
            at.push(next.duration_since(t0).as_secs());
        }
        assert_eq!(at, [1, 3, 7, 15, 31, 47], "five times more, then given up");
        assert!(w.is_free());
    }

    #[test]
    fn only_the_same_bytes_get_the_same_answer() {
        let mut w = Window::default();
        assert_eq!(w.classify(0, b"a"), Incoming::New);
        assert_eq!(w.classify(1, b"a"), Incoming::OutOfWindow);
        w.received(0, b"a");
        assert_eq!(w.classify(0, b"a"), Incoming::Pending);
        assert_eq!(w.classify(1, b"b"), Incoming::OutOfWindow, "our answer is held back");
        w.reply(reply());
        assert_eq!(w.classify(0, b"a"), Incoming::Repeated(reply()));
        assert_eq!(w.classify(0, b"x"), Incoming::OutOfWindow);
        assert_eq!(w.classify(1, b"b"), Incoming::New);
    }
}
