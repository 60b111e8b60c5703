//! A message for an IKE SA: window, protection, and the way to the state that must judge it.
//!
//! Decides: whether a message is new and authentic. Reads: the message. Writes: window, path.
//! Never: judges payloads.

use super::{Asked, IkeSa, Incoming, Phase, State, Via, count_error, error_payload};
use crate::counters::Counter;
use crate::endpoint::{Action, Cx};
use crate::error::Error;
use crate::header::{Exchange, Header};
use crate::message::{self, Unreadable, View};
use crate::payload::Payload;
use crate::snapshot::Role;

impl IkeSa {
    /// The one way of a message through an IKE SA.
    pub(crate) fn on_message(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8], via: Via) {
        // What we sent ourselves must not come back to us as the peer's.
        if header.from_initiator != (self.core.role == Role::Responder) {
            return cx.count(Counter::OutOfPlace);
        }
        if header.exchange == Exchange::IkeSaInit {
            return self.on_init(cx, header, bytes, via);
        }
        if !self.is_in_window(cx, header, bytes) {
            return;
        }
        let role = self.core.role;
        let keys = match &self.state {
            State::InitAnswered(s) => s.keys.opening(role),
            State::AuthSent(s) => s.keys.opening(role),
            State::Established(e) => e.keys.opening(role),
            State::InitSent(_) | State::Closed { .. } | State::Gone => return cx.count(Counter::OutOfPlace),
        };
        match message::open(header, bytes, keys) {
            Ok(payloads) => self.on_authentic(cx, header, bytes, via, &payloads),
            Err(Unreadable::Shape(_)) => cx.count(Counter::Malformed),
            Err(Unreadable::Integrity) => cx.count(Counter::BadIntegrity),
            Err(Unreadable::Inside(why)) => self.on_nonsense(cx, header, bytes, via, why.into()),
        }
    }

    fn on_init(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8], via: Via) {
        if !header.response {
            // A repeated request: the window has its answer.
            let _ = self.is_in_window(cx, header, bytes);
            return;
        }
        if !matches!(self.state, State::InitSent(_)) || header.message_id != 0 {
            return cx.count(Counter::OutOfPlace);
        }
        self.step(cx, |state, core, cx| match state {
            State::InitSent(s) => s.on_response(core, cx, header, bytes, via),
            other @ (State::InitAnswered(_)
            | State::AuthSent(_)
            | State::Established(_)
            | State::Closed { .. }
            | State::Gone) => other,
        });
    }

    /// Takes the state by value and puts the next one in its place.
    fn step(&mut self, cx: &mut Cx<'_>, next: impl FnOnce(State, &mut super::Core, &mut Cx<'_>) -> State) {
        let state = core::mem::replace(&mut self.state, State::Gone);
        self.state = next(state, &mut self.core, cx);
    }

    /// True for a new request and for the answer we wait for.
    fn is_in_window(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) -> bool {
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
                cx.count(Counter::RepliesRepeated);
                cx.transmit(reply);
            }
            Incoming::Pending => {}
            Incoming::OutOfWindow => cx.count(Counter::OutOfWindow),
        }
        false
    }

    fn on_authentic(
        &mut self,
        cx: &mut Cx<'_>,
        header: &Header,
        bytes: &[u8],
        via: Via,
        payloads: &[Payload],
    ) {
        if self.must_claim(cx, header, bytes, via, View(payloads)) {
            return;
        }
        tracing::trace!(ike = self.core.id.0, id = header.message_id, exchange = ?header.exchange,
            response = header.response, ?payloads, "in");
        let asked = Asked { exchange: header.exchange, id: header.message_id, via };
        if header.response {
            self.core.window.answered();
        } else {
            self.core.window.received(header.message_id, bytes);
        }
        let (response, view) = (header.response, View(payloads));
        self.step(cx, |state, core, cx| match state {
            State::InitAnswered(s) if !response => s.on_request(core, cx, asked, view),
            State::AuthSent(s) if response => s.on_response(core, cx, asked, view),
            State::Established(mut e) => {
                e.heard(core, cx, via);
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
            | State::InitAnswered(_)
            | State::AuthSent(_)
            | State::Closed { .. }
            | State::Gone) => {
                cx.count(Counter::OutOfPlace);
                other
            }
        });
    }

    /// While two IKE rekeys collide, the peer goes on with the SA that its own exchange made: so for the peer there
    /// was no collision, or it won. The children come here before the message is judged (again).
    fn must_claim(
        &mut self,
        cx: &mut Cx<'_>,
        header: &Header,
        bytes: &[u8],
        via: Via,
        view: View<'_>,
    ) -> bool {
        let id = self.core.id;
        let Some((_, e)) = self.parts() else { return false };
        let gives_up = view.deletes().any(|d| *d == crate::payload::Delete::Ike);
        if header.response || gives_up || e.phase != Phase::Live {
            return false;
        }
        let Some(from) = e.predecessor.take() else { return false };
        cx.act(Action::Claim { from, to: id, bytes: bytes.to_vec(), via });
        true
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
            State::AuthSent(_) => Self::fail(core, cx, why.to_string()),
            other @ (State::InitSent(_) | State::Closed { .. } | State::Gone) => other,
        });
    }
}
