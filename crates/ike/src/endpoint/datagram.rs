//! A datagram's way to its IKE SA, and strangers' first requests.
//!
//! Decides: whether a stranger is heard: version, address, cookie, limits. Never: keeps anything of one who is not.

use super::{Cx, Endpoint, Shutdown};
use crate::counters::Counter;
use crate::error::{Error, Incompatible, Malformed, Misbehaved};
use crate::event::IkeSaId;
use crate::header::{self, Exchange, Header};
use crate::ike_sa::{Via, error_payload};
use crate::message::View;
use crate::payload::{self, Notify, Payload, notify};
use crate::task::ike_init::{self, Answer};
use crate::task::resume;
use std::time::Instant;

impl Endpoint {
    pub(super) fn on_datagram(&mut self, now: Instant, via: Via, bytes: &[u8]) {
        let Ok((header, body)) = Header::parse(bytes) else {
            return self.shared.count(Counter::Malformed);
        };
        if header.major() != header::VERSION >> 4 {
            return self.wrong_version(&header, via);
        }
        let first = header.exchange.is_first() && !header.response;
        if first && header.responder_spi == 0 && header.from_initiator {
            return self.on_first(now, &header, bytes, body, via);
        }
        match self.find(&header) {
            // Its SPIs are known where its peer is, and to nobody else who may have the same address.
            Some(id) if self.sas.get(&id).is_some_and(|sa| sa.core.realm() != via.realm) => {
                self.shared.count(Counter::WrongRealm);
            }
            Some(id) => self.with_sa(now, id, |sa, cx| sa.on_message(cx, &header, bytes, via)),
            None => self.shared.count(Counter::UnknownSpi),
        }
    }

    /// Both SPIs must be those of the SA; the peer's is not known before its first answer.
    fn find(&self, header: &Header) -> Option<IkeSaId> {
        let (ours, theirs) = if header.from_initiator {
            (header.responder_spi, header.initiator_spi)
        } else {
            (header.initiator_spi, header.responder_spi)
        };
        let id = self.tables.by_spi(ours)?;
        let known = self.sas.get(&id)?.core.peer_spi;
        (known == 0 || known == theirs).then_some(id)
    }

    /// RFC 7296 §2.5: a higher version is told ours; IKEv1 is not spoken here.
    fn wrong_version(&mut self, header: &Header, via: Via) {
        self.shared.count(Counter::WrongVersion);
        if header.major() > header::VERSION >> 4 && !header.response {
            self.reply(header, via, Notify::new(notify::INVALID_MAJOR_VERSION));
        }
    }

    fn reply(&mut self, header: &Header, via: Via, notify: Notify) {
        self.take(ike_init::stateless(header, notify), via);
    }

    fn take(&mut self, answer: Answer, via: Via) {
        match answer {
            Answer::Begun(sa) => {
                self.add(*sa);
            }
            Answer::Stateless(bytes) => {
                let natt = self.shared.config.natt_port;
                self.shared.transmit(via.transmit(natt, bytes));
            }
        }
    }

    /// IKE_SA_INIT or IKE_SESSION_RESUME of somebody who may be anybody.
    fn on_first(&mut self, now: Instant, header: &Header, bytes: &[u8], body: &[u8], via: Via) {
        if let Some(id) = self.tables.by_peer(via.from(), header.initiator_spi) {
            return self.with_sa(now, id, |sa, cx| sa.on_message(cx, header, bytes, via));
        }
        if self.shutdown != Shutdown::No {
            return;
        }
        if header.message_id != 0 {
            return self.shared.count(Counter::OutOfWindow);
        }
        match payload::parse_chain(header.next_payload, body) {
            Ok(payloads) => self.on_stranger(now, header, bytes, View(&payloads), via),
            Err(why) => self.refuse_stranger(header, via, &why.into()),
        }
    }

    fn on_stranger(&mut self, now: Instant, header: &Header, bytes: &[u8], view: View<'_>, via: Via) {
        if !self.has_room(now, header, view, via) {
            return;
        }
        if header.exchange == Exchange::IkeSessionResume {
            let mut cx = Cx::new(now, &mut self.shared);
            let answer = resume::respond(&mut cx, header, bytes, view, via);
            return match answer {
                Ok(answer) => self.take(answer, via),
                Err(error) => self.refuse_stranger(header, via, &error),
            };
        }
        let candidates = self.shared.candidates(via.realm, Some(via.local.ip()), via.remote.ip());
        if candidates.is_empty() {
            self.shared.count(Counter::NoConnection);
            let why = "no connection is configured for this address".to_owned();
            self.shared.rejected(None, via.remote, why);
            return self.reply(header, via, Notify::new(notify::NO_PROPOSAL_CHOSEN));
        }
        let mut cx = Cx::new(now, &mut self.shared);
        match ike_init::respond(&mut cx, &candidates, header, bytes, view, via) {
            Ok(answer) => self.take(answer, via),
            Err(error) => {
                if matches!(error, Error::Mismatch(Incompatible::Proposal(_))) {
                    let connection = candidates.first().map(|c| c.id);
                    self.shared.rejected(connection, via.remote, error.to_string());
                }
                self.refuse_stranger(header, via, &error);
            }
        }
    }

    /// RFC 7296 §2.21.1: only what helps an honest peer is answered.
    fn refuse_stranger(&mut self, header: &Header, via: Via, error: &Error) {
        let (counter, answer) = match error {
            Error::Malformed(Malformed::Critical(_)) => (Counter::CriticalUnknown, true),
            Error::Mismatch(Incompatible::Proposal(_)) => (Counter::NoProposal, true),
            Error::Mismatch(Incompatible::Group(_)) => (Counter::InvalidKe, true),
            Error::Peer(Misbehaved::BadPublicValue) => (Counter::BadPublicValue, false),
            Error::Malformed(_) | Error::Peer(_) | Error::Mismatch(_) => (Counter::Malformed, false),
            Error::Refused(_) | Error::Local(_) => (Counter::OutOfPlace, false),
        };
        self.shared.count(counter);
        if let (true, Payload::Notify(n)) = (answer, error_payload(error)) {
            self.reply(header, via, n);
        }
    }

    /// Cookie and limits (RFC 7296 §2.6).
    fn has_room(&mut self, now: Instant, header: &Header, view: View<'_>, via: Via) -> bool {
        let limits = self.shared.config.limits;
        let (half_open, from) = (self.tables.half_open(), via.from());
        // Half of all is for peers whose address the configuration names: strangers, who may have many, do not shut them out.
        let (here, most) = if self.shared.connections.names(via.remote.ip()) {
            (self.tables.half_open_at(from), limits.half_open)
        } else {
            (self.tables.half_open_near(from), limits.half_open / 2)
        };
        // The second half of an address's room is for those who have shown that they are there: forged requests
        // in a peer's name must not shut that peer out.
        let pressed = half_open >= limits.cookie_threshold || here >= limits.half_open_per_address / 2;
        if pressed && !self.shows_cookie(now, header, view, via) {
            return false;
        }
        let full =
            half_open >= most || here >= limits.half_open_per_address || self.sas.len() >= limits.ike_sas;
        if full {
            self.shared.count(Counter::HalfOpenFull);
        }
        !full
    }

    fn shows_cookie(&mut self, now: Instant, header: &Header, view: View<'_>, via: Via) -> bool {
        let Ok(nonce) = view.nonce() else {
            self.shared.count(Counter::Malformed);
            return false;
        };
        let (spi, rng) = (header.initiator_spi, &mut *self.shared.rng);
        if let Some(n) = view.notify(notify::COOKIE)
            && self.cookies.check(now, rng, nonce, spi, via.remote, &n.data)
        {
            self.shared.count(Counter::CookiesAccepted);
            return true;
        }
        let cookie = self.cookies.make(now, rng, nonce, spi, via.remote);
        self.shared.count(Counter::CookiesSent);
        self.reply(header, via, Notify::with_data(notify::COOKIE, cookie));
        false
    }
}
