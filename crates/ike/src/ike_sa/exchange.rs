//! A message for an IKE SA: window, protection, and the way to the state that must judge it.
//!
//! Decides: whether a message is new and authentic. Reads: the message. Writes: window, path.
//! Never: judges payloads.

use super::{Asked, IkeSa, Incoming, Phase, State, Via, count_error, error_payload};
use crate::counters::Counter;
use crate::crypto::keys::IkeKeys;
use crate::endpoint::{Action, Cx};
use crate::error::Error;
use crate::fragment::{Fragment, Taken};
use crate::header::{Exchange, Header};
use crate::message::{self, Opened, Unreadable, View};
use crate::payload::{Payload, kind};
use crate::snapshot::Role;
use crate::task::intermediate;

/// A new message of the peer.
#[derive(Debug)]
pub(crate) struct Authentic {
    pub(crate) header: Header,
    pub(crate) via: Via,
    pub(crate) payloads: Vec<Payload>,
    pub(crate) opened: Opened,
    /// The datagram by which a repeated request is known: the only one, or fragment 1.
    head: Vec<u8>,
}

impl IkeSa {
    /// The one way of a message through an IKE SA.
    pub(crate) fn on_message(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8], via: Via) {
        // What we sent ourselves must not come back to us as the peer's.
        if header.from_initiator != (self.core.role == Role::Responder) {
            return cx.count(Counter::OutOfPlace);
        }
        if header.exchange.is_first() {
            return self.on_init(cx, header, bytes, via);
        }
        if header.next_payload == kind::ENCRYPTED_FRAGMENT {
            return self.on_fragment(cx, header, bytes, via);
        }
        if !self.is_in_window(cx, header, bytes, via) {
            return;
        }
        let Some(keys) = self.state.keys() else { return cx.count(Counter::OutOfPlace) };
        match message::open(header, bytes, keys.opening(self.core.role)) {
            Ok(opened) => self.on_opened(cx, header, bytes.to_vec(), via, opened),
            Err(why) => count_unreadable(cx, &why),
        }
    }

    /// A piece of a message (RFC 7383 §2.6): the cheap questions first, then its tag, then a place for it.
    fn on_fragment(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8], via: Via) {
        let Ok(fragment) = Fragment::parse(bytes) else { return cx.count(Counter::Malformed) };
        let (response, id) = (header.response, header.message_id);
        let Some(keys) = self.state.keys().filter(|_| self.core.fragmentation) else {
            return cx.count(Counter::OutOfPlace);
        };
        // In the same bytes it is known without its tag: the keys may have changed meanwhile (IKE_INTERMEDIATE).
        if !response && let Incoming::Repeated(reply) = self.core.window.classify(id, bytes) {
            return repeat(cx, reply, via);
        }
        let repeated = match self.core.window.classify_id(id) {
            _ if response && self.core.window.awaits(id) => None,
            Incoming::New if !response => None,
            // §2.6.1: only the first piece of a repeated request brings the answer again.
            Incoming::Repeated(reply) if !response && fragment.number == 1 => Some(reply),
            Incoming::Repeated(_) | Incoming::Pending if !response => {
                return cx.count(Counter::FragmentsUseless);
            }
            Incoming::New | Incoming::Repeated(_) | Incoming::Pending | Incoming::OutOfWindow => {
                return cx.count(Counter::OutOfWindow);
            }
        };
        if repeated.is_none() && !self.core.fragments.is_news(response, id, fragment) {
            return cx.count(Counter::FragmentsUseless);
        }
        let piece = match Fragment::open(bytes, keys.opening(self.core.role)) {
            Ok(piece) => piece,
            Err(why) => return count_unreadable(cx, &why),
        };
        cx.count(Counter::FragmentsReceived);
        if let Some(reply) = repeated {
            return repeat(cx, reply, via);
        }
        let stranger = matches!(self.state, State::InitAnswered(_) | State::LoggingIn(_));
        let room = if stranger { &cx.strangers_room } else { &cx.peers_room };
        let until = cx.now + cx.config.timers.reassembly;
        match self.core.fragments.take((response, id), fragment, (bytes, piece), room, until) {
            Taken::Kept => {}
            Taken::NoRoom => cx.count(Counter::FragmentsNoRoom),
            Taken::Whole(whole) => {
                cx.count(Counter::Reassembled);
                let opened = Opened { first: whole.first, plain: whole.plain };
                self.on_opened(cx, header, whole.head, via, opened);
            }
        }
    }

    fn on_opened(&mut self, cx: &mut Cx<'_>, header: &Header, head: Vec<u8>, via: Via, opened: Opened) {
        self.core.fragments.forget(header.response);
        match opened.payloads() {
            Ok(payloads) => {
                let message = Authentic { header: *header, via, payloads, opened, head };
                if let Some(message) = self.not_claimed(cx, message) {
                    self.on_authentic(cx, &message);
                }
            }
            Err(why) => self.on_nonsense(cx, header, &head, via, why.into()),
        }
    }

    fn on_init(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8], via: Via) {
        if !header.response {
            // A repeated request: the window has its answer.
            let _ = self.is_in_window(cx, header, bytes, via);
            return;
        }
        let awaited = match &self.state {
            State::InitSent(_) => header.exchange == Exchange::IkeSaInit,
            State::ResumeSent(_) => header.exchange == Exchange::IkeSessionResume,
            State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Judging(_)
            | State::Established(_)
            | State::Closed { .. }
            | State::Gone => false,
        };
        if !awaited || header.message_id != 0 {
            return cx.count(Counter::OutOfPlace);
        }
        self.step(cx, |state, core, cx| match state {
            State::InitSent(s) => s.on_response(core, cx, header, bytes, via),
            State::ResumeSent(s) => s.on_response(core, cx, header, bytes, via),
            other @ (State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Judging(_)
            | State::Established(_)
            | State::Closed { .. }
            | State::Gone) => other,
        });
    }

    /// What was asked about the peer's certificates is known, or will not be.
    pub(crate) fn on_revocation(
        &mut self,
        cx: &mut Cx<'_>,
        question: u32,
        answers: &[crate::command::Status],
    ) {
        if !matches!(self.state, State::Judging(_)) || question != self.core.questions {
            return;
        }
        self.step(cx, |state, core, cx| match state {
            State::Judging(s) => s.on_answer(core, cx, answers),
            other @ (State::InitSent(_)
            | State::ResumeSent(_)
            | State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Established(_)
            | State::Closed { .. }
            | State::Gone) => other,
        });
    }

    /// Takes the state by value and puts the next one in its place.
    fn step(&mut self, cx: &mut Cx<'_>, next: impl FnOnce(State, &mut super::Core, &mut Cx<'_>) -> State) {
        let before = self.state_name();
        let state = core::mem::replace(&mut self.state, State::Gone);
        self.state = next(state, &mut self.core, cx);
        let after = self.state_name();
        if before != after {
            self.core.trace(cx, || format!("{before} -> {after}"));
        }
    }

    /// True for a new request and for the answer we wait for.
    fn is_in_window(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8], via: Via) -> bool {
        if header.response {
            let awaited = self.core.window.awaits(header.message_id);
            if !awaited {
                cx.count(Counter::OutOfWindow);
            }
            return awaited;
        }
        match self.core.window.classify(header.message_id, bytes) {
            Incoming::New => return true,
            Incoming::Repeated(reply) => {
                if let State::Established(e) = &mut self.state {
                    e.repeated(cx);
                }
                repeat(cx, reply, via);
            }
            Incoming::Pending => {}
            Incoming::OutOfWindow => cx.count(Counter::OutOfWindow),
        }
        false
    }

    pub(crate) fn on_authentic(&mut self, cx: &mut Cx<'_>, message: &Authentic) {
        let Authentic { header, via, payloads, head, .. } = message;
        let via = *via;
        self.core.trace_message(cx, "in", header, payloads);
        let asked = Asked { exchange: header.exchange, id: header.message_id, via };
        if header.response {
            self.core.window.answered();
        } else {
            self.core.window.received(header.message_id, head);
        }
        let (response, view) = (header.response, View(payloads));
        self.step(cx, |state, core, cx| match state {
            State::InitAnswered(s) if !response && asked.exchange == Exchange::IkeIntermediate => {
                intermediate::respond(s, core, cx, asked, message)
            }
            State::IntermediateSent(s) if response => s.on_response(core, cx, message),
            State::InitAnswered(s) if !response => s.on_request(core, cx, asked, view),
            State::LoggingIn(s) if !response => s.on_request(core, cx, asked, view),
            State::AuthSent(s) if response => s.on_response(core, cx, asked, view),
            State::Established(mut e) => {
                e.heard(core, cx, via);
                e.heard_from(core, cx, via, response);
                let next = if response {
                    e.on_response(core, cx, asked, view)
                } else {
                    e.on_request(core, cx, asked, view)
                };
                next.unwrap_or_else(|| {
                    e.run(core, cx);
                    State::Established(e)
                })
            }
            other @ (State::InitSent(_)
            | State::ResumeSent(_)
            | State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Judging(_)
            | State::Closed { .. }
            | State::Gone) => {
                cx.count(Counter::OutOfPlace);
                other
            }
        });
    }

    /// While two IKE rekeys collide, the peer goes on with the SA that its own exchange made: so for the peer there
    /// was no collision, or it won. The children come here before the message is judged: then it waits for them.
    fn not_claimed(&mut self, cx: &mut Cx<'_>, message: Authentic) -> Option<Authentic> {
        let id = self.core.id;
        let Some((_, e)) = self.parts() else { return Some(message) };
        let gives_up = View(&message.payloads).deletes().any(|d| *d == crate::payload::Delete::Ike);
        if message.header.response || gives_up || e.phase != Phase::Live {
            return Some(message);
        }
        let Some(from) = e.predecessor.take() else { return Some(message) };
        cx.act(Action::Claim { from, to: id, message: Box::new(message) });
        None
    }

    /// The peer itself sent nonsense (RFC 7296 §2.21.2, §2.21.3). An unknown critical payload is answered and
    /// forgotten; anything else ends the SA.
    fn on_nonsense(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8], via: Via, why: Error) {
        count_error(cx, &why);
        if header.response {
            self.core.window.answered();
        } else {
            self.core.window.received(header.message_id, bytes);
        }
        let asked = Asked { exchange: header.exchange, id: header.message_id, via };
        let fatal = why.notify() != crate::payload::notify::UNSUPPORTED_CRITICAL_PAYLOAD;
        let response = header.response;
        self.step(cx, |state, core, cx| match state {
            State::Established(mut e) => {
                if response {
                    e.active = None;
                    e.begin_delete(core, cx, &format!("the peer's answer cannot be read: {why}"));
                    e.run(core, cx);
                    return State::Established(e);
                }
                core.answer(cx, &mut e.keys, asked, &[error_payload(&why)]);
                if !fatal || e.phase == Phase::Deleting {
                    return State::Established(e);
                }
                e.close(core, cx, &why.to_string())
            }
            State::InitAnswered(mut s) => {
                core.answer(cx, &mut s.keys, asked, &[error_payload(&why)]);
                State::Closed { until: cx.now + cx.config.timers.linger, stranger: true }
            }
            State::LoggingIn(mut s) => {
                core.answer(cx, s.keys_mut(), asked, &[error_payload(&why)]);
                State::Closed { until: cx.now + cx.config.timers.linger, stranger: true }
            }
            State::IntermediateSent(_) | State::AuthSent(_) => Self::fail(core, cx, why.to_string()),
            other @ (State::InitSent(_)
            | State::ResumeSent(_)
            | State::Judging(_)
            | State::Closed { .. }
            | State::Gone) => other,
        });
    }
}

impl State {
    /// Where there are keys.
    pub(crate) const fn keys(&self) -> Option<&IkeKeys> {
        match self {
            Self::InitAnswered(s) => Some(&s.keys),
            Self::LoggingIn(s) => Some(s.keys()),
            Self::IntermediateSent(s) => Some(s.keys()),
            Self::AuthSent(s) => Some(s.keys()),
            Self::Established(e) => Some(&e.keys),
            // What comes meanwhile is not even received: the peer will come again.
            Self::Judging(_) | Self::InitSent(_) | Self::ResumeSent(_) | Self::Closed { .. } | Self::Gone => {
                None
            }
        }
    }
}

/// Back to where the repeated request came from, which may be another port than that of the first (RFC 7296 §2.11).
fn repeat(cx: &mut Cx<'_>, reply: Vec<crate::endpoint::Transmit>, via: Via) {
    cx.count(Counter::RepliesRepeated);
    let natt = cx.config.natt_port;
    reply.into_iter().for_each(|t| cx.transmit(via.transmit(natt, t.bytes)));
}

fn count_unreadable(cx: &mut Cx<'_>, why: &Unreadable) {
    cx.count(match why {
        Unreadable::Shape(_) => Counter::Malformed,
        Unreadable::Integrity => Counter::BadIntegrity,
    });
}
