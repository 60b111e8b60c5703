//! One IKE SA: what every state has, which states there are, and what each does with a message.
//!
//! Decides: which state is next. Reads: messages of its peer. Writes: its own state, events and datagrams through
//! [`Cx`]. Never: touches another IKE SA.

mod established;
mod exchange;
mod ending;
mod elsewhere;
mod path;
mod refusal;
mod timers;
mod window;

use elsewhere::Elsewhere;
pub(crate) use established::{Established, Held, Phase, Rival, Waiting};
pub(crate) use exchange::Authentic;
pub(crate) use path::{Path, Via};
pub(crate) use refusal::{count_error, error_payload};
pub(crate) use window::{Due, Incoming, Window, pause};

use crate::config::{Connection, ConnectionId};
use crate::counters::Counter;
use crate::crypto::keys::IkeKeys;
use crate::endpoint::{Action, Cx, Transmit};
use crate::event::IkeSaId;
use crate::fragment::{self, Fragments};
use crate::header::{self, Exchange, Header};
use crate::payload::Payload;
use crate::snapshot::Role;
use crate::task::address::Assigned;
use crate::task::ike_auth::{AuthSent, Judging, LoggingIn};
use crate::task::ike_init::{InitAnswered, InitSent};
use crate::task::intermediate::IntermediateSent;
use crate::task::mobike::Mobility;
use crate::task::resume::ResumeSent;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A gateway that has a substitute is not waited for as long as the only one: 15 seconds, by the default timers.
const TRIES_OF_SEVERAL: u32 = 3;

/// What every state has.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: IkeSaId,
    pub(crate) role: Role,
    pub(crate) our_spi: u64,
    /// 0 until the peer answered.
    pub(crate) peer_spi: u64,
    /// As responder: the first that fits the address, until IKE_AUTH names the right one.
    pub(crate) connection: Arc<Connection>,
    pub(crate) path: Path,
    pub(crate) window: Window,
    pub(crate) created: Instant,
    pub(crate) last_sent: Instant,
    pub(crate) retransmits: u64,
    /// The lower of the two nonces that made it: the lowest of two SAs is the redundant one (RFC 7296 §2.8.2).
    pub(crate) lowest_nonce: Vec<u8>,
    /// To be deleted as soon as it is established.
    pub(crate) doomed: bool,
    /// Both sides said that they know fragments (RFC 7383 §2.3).
    pub(crate) fragmentation: bool,
    pub(crate) fragments: Fragments,
    pub(crate) mobility: Mobility,
    /// Where else we are, as the peer knows it.
    pub(crate) told: Vec<IpAddr>,
    /// Other addresses of the peer, the next to be tried first, and how many were since it last answered (RFC 4555).
    pub(crate) others: VecDeque<IpAddr>,
    pub(crate) others_tried: u8,
    /// Where the peer was heard while it was asked where it is by our word.
    pub(crate) elsewhere: Option<Elsewhere>,
    /// As which address and port the peer last saw us, hashed (RFC 4555 §3.8); empty: it does not say.
    pub(crate) seen_as: Option<Vec<u8>>,
    /// As initiator: what we asked the peer for and got.
    pub(crate) assigned: Assigned,
    /// How often it was asked whether certificates are revoked.
    pub(crate) questions: u32,
}

#[derive(Debug)]
pub(crate) enum State {
    /// We asked IKE_SA_INIT; holds the private value.
    InitSent(Box<InitSent>),
    /// We asked IKE_SESSION_RESUME; holds the ticket.
    ResumeSent(Box<ResumeSent>),
    /// We answered IKE_SA_INIT; has keys, knows no identity.
    InitAnswered(Box<InitAnswered>),
    /// We proved ourselves; the peer does so by EAP.
    LoggingIn(Box<LoggingIn>),
    /// We asked IKE_INTERMEDIATE.
    IntermediateSent(Box<IntermediateSent>),
    /// We asked IKE_AUTH.
    AuthSent(Box<AuthSent>),
    /// The peer proved who it is by a certificate; whether that is revoked has been asked.
    Judging(Box<Judging>),
    /// The only one that can own children.
    Established(Box<Established>),
    /// Ended; still repeats its last answer to a peer that did not get it. `stranger`: that peer never proved who it
    /// is, so this still counts among the half-open ones.
    Closed { until: Instant, stranger: bool },
    /// Nothing is left to do.
    Gone,
}

#[derive(Debug)]
pub(crate) struct IkeSa {
    pub(crate) core: Core,
    pub(crate) state: State,
}

impl Core {
    /// `spis`: ours and the peer's.
    pub(crate) fn new(
        id: IkeSaId,
        role: Role,
        spis: (u64, u64),
        connection: Arc<Connection>,
        path: Path,
        now: Instant,
    ) -> Self {
        Self {
            id,
            role,
            our_spi: spis.0,
            peer_spi: spis.1,
            connection,
            path,
            window: Window::default(),
            created: now,
            last_sent: now,
            retransmits: 0,
            lowest_nonce: Vec::new(),
            doomed: false,
            fragmentation: false,
            fragments: Fragments::default(),
            mobility: Mobility::Off,
            told: Vec::new(),
            others: VecDeque::new(),
            others_tried: 0,
            elsewhere: None,
            seen_as: None,
            assigned: Assigned::default(),
            questions: 0,
        }
    }

    /// Initiator's and responder's.
    pub(crate) const fn spis(&self) -> (u64, u64) {
        match self.role {
            Role::Initiator => (self.our_spi, self.peer_spi),
            Role::Responder => (self.peer_spi, self.our_spi),
        }
    }

    pub(crate) const fn header(&self, exchange: Exchange, response: bool, message_id: u32) -> Header {
        let (initiator_spi, responder_spi) = self.spis();
        Header {
            initiator_spi,
            responder_spi,
            next_payload: 0,
            version: header::VERSION,
            exchange,
            from_initiator: matches!(self.role, Role::Initiator),
            response,
            message_id,
        }
    }

    /// By the SA's own path.
    pub(crate) fn send(&mut self, cx: &mut Cx<'_>, datagrams: Vec<Vec<u8>>) {
        self.last_sent = cx.now;
        let Path { local, remote, natt, .. } = self.path;
        for bytes in datagrams {
            cx.transmit(Transmit { local, remote, natt, keepalive: false, realm: self.realm(), bytes });
        }
    }

    /// A request of ours goes out and is remembered.
    pub(crate) fn request(&mut self, cx: &mut Cx<'_>, datagrams: Vec<Vec<u8>>) {
        let jitter = self.jitter(cx, 0);
        self.window.sent(cx.now, datagrams.clone(), &cx.config.timers, jitter);
        let several = !self.connection.exchanges.backups.is_empty() || !self.others.is_empty();
        let most = self.connection.exchanges.retransmissions.or_else(|| several.then_some(TRIES_OF_SEVERAL));
        let most = if self.elsewhere.is_some() { Some(elsewhere::TRIES) } else { most };
        most.into_iter().for_each(|most| self.window.shorten(most));
        self.send(cx, datagrams);
    }

    /// The message in as many datagrams as it needs; none: no key or no room.
    fn protect(
        &self,
        cx: &mut Cx<'_>,
        keys: &mut IkeKeys,
        header: Header,
        payloads: &[Payload],
    ) -> Option<Vec<Vec<u8>>> {
        let limit = self.connection.fragment_size.filter(|_| self.fragmentation);
        let limit = limit.map(|size| self.path.room(size));
        let all = fragment::protect(header, payloads, keys.sealing(self.role), &mut *cx.rng, limit)?;
        if all.len() > 1 {
            all.iter().for_each(|_| cx.count(Counter::FragmentsSent));
        }
        Some(all)
    }

    /// Up to a tenth of the pause, so that many tunnels do not send in step.
    fn jitter(&self, cx: &mut Cx<'_>, n: u32) -> Duration {
        let most = pause(&cx.config.timers, n) / 10;
        cx.random_up_to(most)
    }

    /// Names of payloads, never their contents.
    pub(crate) fn trace_message(&self, cx: &mut Cx<'_>, way: &str, header: &Header, payloads: &[Payload]) {
        self.trace(cx, || {
            let kind = if header.response { "response" } else { "request" };
            format!("{way} {} {kind} {}: {payloads:?}", header.exchange.name(), header.message_id)
        });
    }

    pub(crate) fn trace(&self, cx: &mut Cx<'_>, text: impl FnOnce() -> String) {
        cx.trace(self.connection.id, self.id, text);
    }

    /// Seals `payloads` as a request and sends it. False: no key or no room, and the SA is of no use any more.
    pub(crate) fn request_sealed(
        &mut self,
        cx: &mut Cx<'_>,
        keys: &mut IkeKeys,
        exchange: Exchange,
        payloads: &[Payload],
    ) -> bool {
        let header = self.header(exchange, false, self.window.next_request_id());
        self.trace_message(cx, "out", &header, payloads);
        let Some(datagrams) = self.protect(cx, keys, header, payloads) else { return false };
        self.request(cx, datagrams);
        true
    }

    /// Seals and sends the answer to the request `id`, and keeps it for repeats.
    pub(crate) fn answer(&mut self, cx: &mut Cx<'_>, keys: &mut IkeKeys, to: Asked, payloads: &[Payload]) {
        let header = self.header(to.exchange, true, to.id);
        self.trace_message(cx, "out", &header, payloads);
        let Some(datagrams) = self.protect(cx, keys, header, payloads) else { return };
        self.last_sent = cx.now;
        let natt = cx.config.natt_port;
        let reply: Vec<Transmit> = datagrams.into_iter().map(|d| to.via.transmit(natt, d)).collect();
        self.window.reply(reply.clone());
        reply.into_iter().for_each(|t| cx.transmit(t));
    }
}

/// The request that an answer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) exchange: Exchange,
    pub(crate) id: u32,
    pub(crate) via: Via,
}

impl IkeSa {
    pub(crate) fn connection_id(&self) -> ConnectionId {
        self.core.connection.id
    }

    pub(crate) const fn is_half_open(&self) -> bool {
        match &self.state {
            State::InitAnswered(_) | State::LoggingIn(_) | State::Closed { stranger: true, .. } => true,
            State::Judging(_) => matches!(self.core.role, Role::Responder),
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Established(_)
            | State::Closed { stranger: false, .. }
            | State::Gone => false,
        }
    }

    /// An attempt of ours whose request has not had to be repeated.
    pub(crate) const fn is_starting(&self) -> bool {
        matches!(self.state, State::InitSent(_) | State::ResumeSent(_) | State::AuthSent(_))
            && self.core.retransmits == 0
    }

    /// It is up or on its way up, by our wish or the peer's proven one.
    pub(crate) fn is_alive(&self) -> bool {
        match &self.state {
            State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) | State::AuthSent(_) => {
                !self.core.doomed
            }
            State::Judging(_) => !self.core.doomed && self.core.role == Role::Initiator,
            // One that a crossing rekey of the peer made is not ours to use before it is known which one stays.
            State::Established(e) => e.phase == Phase::Live && e.predecessor.is_none(),
            State::InitAnswered(_) | State::LoggingIn(_) | State::Closed { .. } | State::Gone => false,
        }
    }

    pub(crate) const fn established(&self) -> Option<&Established> {
        match &self.state {
            State::Established(e) => Some(e),
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Judging(_)
            | State::Closed { .. }
            | State::Gone => None,
        }
    }

    /// The parts that work on an established SA.
    pub(crate) const fn parts(&mut self) -> Option<(&mut Core, &mut Established)> {
        match &mut self.state {
            State::Established(e) => Some((&mut self.core, e)),
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Judging(_)
            | State::Closed { .. }
            | State::Gone => None,
        }
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match &self.state {
            State::InitSent(_) => "IKE_SA_INIT sent",
            State::ResumeSent(_) => "IKE_SESSION_RESUME sent",
            State::InitAnswered(_) => "IKE_SA_INIT answered",
            State::LoggingIn(_) => "EAP asked",
            State::IntermediateSent(_) => "IKE_INTERMEDIATE sent",
            State::AuthSent(_) => "IKE_AUTH sent",
            State::Judging(_) => "checking revocation",
            State::Established(e) => e.phase.name(),
            State::Closed { .. } | State::Gone => "closed",
        }
    }

    /// Ends an attempt that did not get to the end.
    pub(crate) fn fail(core: &Core, cx: &mut Cx<'_>, why: String) -> State {
        tracing::debug!(ike = core.id.0, connection = core.connection.name, why, "attempt failed");
        core.trace(cx, || format!("the attempt failed: {why}"));
        if core.role == Role::Initiator {
            let connection = core.connection.id;
            cx.act(Action::Down { connection, ike: core.id, why, announced: false });
        }
        State::Gone
    }

    /// The operator, or a changed configuration, wants it gone.
    pub(crate) fn terminate(&mut self, cx: &mut Cx<'_>, why: &str) {
        match &mut self.state {
            // The peer holds nothing that it would not forget by itself.
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::InitAnswered(_)
            | State::LoggingIn(_)
            | State::IntermediateSent(_) => self.state = State::Gone,
            // The peer may already have children.
            State::AuthSent(_) => self.core.doomed = true,
            State::Judging(_) if self.core.role == Role::Initiator => self.core.doomed = true,
            State::Judging(_) => self.state = State::Gone,
            State::Established(e) => {
                if e.phase == Phase::Live {
                    e.begin_delete(&self.core, cx, why);
                }
                e.run(&mut self.core, cx);
            }
            State::Closed { .. } | State::Gone => {}
        }
    }

    /// Forgets it at once: its peer lost it (INITIAL_CONTACT), or time is up.
    pub(crate) fn forget(&mut self, cx: &mut Cx<'_>, why: &str) {
        if let State::Established(e) = &mut self.state {
            e.drop_children(cx, why);
            e.announce_down(&self.core, cx, why);
        }
        self.state = State::Gone;
    }
}
