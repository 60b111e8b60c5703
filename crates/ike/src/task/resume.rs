//! IKE_SESSION_RESUME in both roles (RFC 5723 §4.3): a ticket in place of key exchange and proofs.
//!
//! Decides: whether a ticket is good for the connection as it is configured now. Reads: unauthenticated messages, so it
//! believes little. Writes: the keys of the new IKE SA, from the old one's. Never: keeps state for a ticket that is not
//! good; spends one before its owner has shown SK_d, for whoever copied it cannot.

use super::ike_auth::{AuthSent, Init};
use super::ike_init::{self, Answer, InitAnswered, extensions, half_open};
use super::redirect;
use crate::auth::{self, METHOD_PSK, bad};
use crate::config::{Connection, IkeProposal, Realm, RedirectAt};
use crate::counters::Counter;
use crate::crypto::keys::{self, IkeKeys, Ingredients};
use crate::crypto::prf;
use crate::endpoint::{Cx, SILENT};
use crate::error::{Error, Malformed};
use crate::event::IkeSaId;
use crate::header::{Exchange, Header};
use crate::ike_sa::{Core, Established, IkeSa, Path, State, Via, Window};
use crate::message::{self, View};
use crate::payload::{Id, Notify, Payload, notify};
use crate::record::fingerprint;
use crate::snapshot::Role;
use crate::ticket::{Held, Refusal, Resumed, is_on};
use core::net::IpAddr;
use std::sync::Arc;

/// Initiator: holds the ticket, and the old SK_d with it.
#[derive(Debug)]
pub(crate) struct ResumeSent {
    held: Held,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    restarts: u8,
    request: Vec<u8>,
    child: Option<crate::config::ChildId>,
}

/// Sends the first request.
pub(crate) fn start(
    cx: &mut Cx<'_>,
    connection: Arc<Connection>,
    path: Path,
    child: Option<crate::config::ChildId>,
    held: Held,
) -> IkeSa {
    let fresh = (cx.ike_spi(), cx.nonce());
    let (spi, nonce) = held.presented.clone().unwrap_or(fresh);
    let mut core = Core::new(IkeSaId(cx.fresh_id()), Role::Initiator, (spi, 0), connection, path, cx.now);
    let mut state = ResumeSent { held, nonce, cookie: None, restarts: 0, request: Vec::new(), child };
    state.send(&mut core, cx);
    IkeSa { core, state: State::ResumeSent(Box::new(state)) }
}

impl ResumeSent {
    /// HDR, [N(COOKIE),] Ni, N(TICKET_OPAQUE), N(NAT_DETECTION_*)
    fn send(&mut self, core: &mut Core, cx: &mut Cx<'_>) {
        let cookie = self.cookie.clone().map(|c| Payload::Notify(Notify::with_data(notify::COOKIE, c)));
        let mut payloads: Vec<Payload> = cookie.into_iter().collect();
        let ticket = Notify::with_data(notify::TICKET_OPAQUE, self.held.ticket.clone());
        payloads.extend([Payload::Nonce(self.nonce.clone()), Payload::Notify(ticket)]);
        payloads.extend(core.path.detection(&cx.config, core.spis()));
        payloads.extend(core.connection.fragment_size.map(|_| extensions::fragmentation_supported()));
        let header = core.header(Exchange::IkeSessionResume, false, 0);
        core.trace_message(cx, "out", &header, &payloads);
        self.request = message::plain(header, &payloads);
        core.window = Window::default();
        core.request(cx, vec![self.request.clone()]);
    }

    /// HDR, Nr; or a cookie to come again with; or what says that the ticket is of no use.
    pub(crate) fn on_response(
        mut self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        header: &Header,
        bytes: &[u8],
        via: Via,
    ) -> State {
        let Some(payloads) = extensions::first_answer(core, cx, header, bytes) else {
            return State::ResumeSent(self);
        };
        let view = View(&payloads);
        if let Some(cookie) = view.notify(notify::COOKIE) {
            if !extensions::is_new_cookie(cx, self.cookie.as_ref(), cookie) {
                return State::ResumeSent(self);
            }
            self.cookie = Some(cookie.data.clone());
            self.restarts += 1;
            if self.restarts > ike_init::MAX_RESTARTS {
                return fall_back(core, cx, "the peer asks again and again");
            }
            self.send(core, cx);
            return State::ResumeSent(self);
        }
        // Whoever forges these makes us do a whole exchange, and that is all.
        let refused = [notify::TICKET_NACK, notify::REDIRECT].iter().any(|kind| view.notify(*kind).is_some());
        if refused || view.error().is_some() {
            return fall_back(core, cx, "the peer does not take our ticket");
        }
        match view.nonce() {
            Ok(nr) if header.responder_spi != 0 => {
                let nr = nr.to_vec();
                self.authenticate(core, cx, (header, bytes), &nr, (view, via))
            }
            _ => {
                cx.count(Counter::Malformed);
                State::ResumeSent(self)
            }
        }
    }

    fn authenticate(
        self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        (header, response): (&Header, &[u8]),
        nr: &[u8],
        (view, via): (View<'_>, Via),
    ) -> State {
        let session = self.held.session;
        let Some(proposal) = core.connection.proposals.get(usize::from(session.proposal)).copied() else {
            return fall_back(core, cx, "our proposals are others by now");
        };
        extensions::found(core, cx, header, (&self.nonce, nr), (view, via));
        let keys = resumed_keys(core, cx, &proposal, &session.d, (&self.nonce, nr));
        core.window.answered();
        let childless = extensions::childless(core, view);
        let init = Init {
            keys,
            proposal,
            request: self.request,
            response: response.to_vec(),
            ni: self.nonce,
            nr: nr.to_vec(),
            int_auth: Vec::new(),
            hashes: None,
            childless,
            ppk: false,
            ppk_used: false,
            redirects: redirect::Can::default(),
            wanted: Vec::new(),
            resumed: Some(Box::new(Resumed { session, ticket: None })),
        };
        AuthSent::send(core, cx, init, self.child)
    }

    /// Nobody answered. The ticket may not even have arrived: the same request is sent again.
    pub(crate) fn unanswered(mut self: Box<Self>, core: &Core, cx: &mut Cx<'_>) -> State {
        self.held.presented = Some((core.our_spi, self.nonce));
        self.held.unanswered += 1;
        cx.kept.keep(core.connection.id, self.held);
        IkeSa::fail(core, cx, SILENT.to_owned())
    }
}

/// The ticket is gone; what is wanted of the connection is begun again at once, without it.
pub(crate) fn fall_back(core: &Core, cx: &mut Cx<'_>, why: &str) -> State {
    cx.count(Counter::ResumptionRefused);
    core.trace(cx, || format!("not resumed: {why}"));
    State::Gone
}

fn resumed_keys(
    core: &Core,
    cx: &mut Cx<'_>,
    proposal: &IkeProposal,
    d: &[u8],
    (ni, nr): (&[u8], &[u8]),
) -> IkeKeys {
    let (initiator_spi, responder_spi) = core.spis();
    let seed = keys::resumed_seed(proposal.prf, d, ni, nr);
    let keys = keys::ike_keys(proposal, &seed, Ingredients { ni, nr, initiator_spi, responder_spi });
    cx.log_keys(core.spis(), proposal, &keys);
    keys
}

/// As gateway. The cookie, where one was wanted, has been checked.
pub(crate) fn respond(
    cx: &mut Cx<'_>,
    header: &Header,
    bytes: &[u8],
    view: View<'_>,
    via: Via,
) -> Result<Answer, Error> {
    let ni = view.nonce()?;
    let ticket = view.notify(notify::TICKET_OPAQUE).ok_or(Malformed::Missing("ticket"))?;
    match judge(cx, &ticket.data, via) {
        Ok((resumed, connection, proposal)) => {
            Ok(begin(cx, (header, bytes), ni, view, via, connection, (resumed, proposal)))
        }
        Err(why) => {
            cx.count(why.counter());
            cx.rejected(None, via.remote, format!("a ticket is not taken: {why}"));
            Ok(ike_init::stateless(header, Notify::new(notify::TICKET_NACK)))
        }
    }
}

fn judge(cx: &Cx<'_>, ticket: &[u8], via: Via) -> Result<(Resumed, Arc<Connection>, IkeProposal), Refusal> {
    let clock = cx.config.records.ok_or(Refusal::Unreadable)?;
    let resumed = cx.tickets.open(cx.now, &clock, ticket)?;
    let ends = (via.realm, Some(via.local.ip()), via.remote.ip());
    let connection = still_configured(cx, &resumed, ends).ok_or(Refusal::Outdated)?;
    let proposal = connection.proposals.get(usize::from(resumed.session.proposal)).copied();
    Ok((resumed, connection, proposal.ok_or(Refusal::Outdated)?))
}

/// The connection that the ticket was given for, if nothing of it has changed that an IKE SA depends on.
fn still_configured(
    cx: &Cx<'_>,
    resumed: &Resumed,
    (realm, local, remote): (Realm, Option<IpAddr>, IpAddr),
) -> Option<Arc<Connection>> {
    let session = &resumed.session;
    // Whoever is sent elsewhere before it proves itself is told so in IKE_SA_INIT.
    let away = |c: &Connection| c.exchanges.redirect_to.is_some_and(|to| to.at == RedirectAt::Init);
    let same = |c: &Arc<Connection>| {
        c.id == session.connection && is_on(c) && !away(c) && fingerprint(c) == session.fingerprint
    };
    cx.candidates(realm, local, remote).into_iter().find(same)
}

/// HDR, Nr, N(NAT_DETECTION_*)
fn begin(
    cx: &mut Cx<'_>,
    (header, bytes): (&Header, &[u8]),
    ni: &[u8],
    view: View<'_>,
    via: Via,
    connection: Arc<Connection>,
    (resumed, proposal): (Resumed, IkeProposal),
) -> Answer {
    let nr = cx.nonce();
    let mut core = half_open::half_open(cx, connection, header.initiator_spi, via);
    core.lowest_nonce = super::lowest(ni, &nr).to_vec();
    // The peer hashed its addresses before it knew our SPI.
    let _ = core.path.detect(view, (header.initiator_spi, 0), via.local, via.remote);
    core.trace_message(cx, "in", header, view.0);
    let keys = resumed_keys(&core, cx, &proposal, &resumed.session.d, (ni, &nr));
    let mut payloads = vec![Payload::Nonce(nr.clone())];
    payloads.extend(core.path.detection(&cx.config, core.spis()));
    core.fragmentation = extensions::knows_fragments(&core, view);
    payloads.extend(core.fragmentation.then(extensions::fragmentation_supported));
    payloads.push(Payload::Notify(Notify::new(notify::CHILDLESS_IKEV2_SUPPORTED)));
    let response = half_open::answer(&mut core, cx, Exchange::IkeSessionResume, bytes, via, &payloads);
    let state = InitAnswered {
        keys,
        proposal,
        pending: None,
        int_auth: Vec::new(),
        ni: ni.to_vec(),
        nr,
        request: bytes.to_vec(),
        response,
        hashes: None,
        ppk: false,
        redirects: redirect::Can::of(view),
        resumed: Some(Box::new(resumed)),
    };
    Answer::Begun(Box::new(IkeSa { core, state: State::InitAnswered(Box::new(state)) }))
}

/// The IKE SA stands: of the old one goes on when both sides have to prove themselves anew. False: it is no resumed one.
pub(super) fn carry_over(e: &mut Established, cx: &mut Cx<'_>, resumed: Option<Box<Resumed>>) -> bool {
    let Some(resumed) = resumed else { return false };
    let now = cx.now;
    resumed.ticket.into_iter().for_each(|ticket| cx.tickets.spend(now, ticket));
    cx.count(Counter::Resumed);
    e.session.resumed = true;
    e.session.budget = resumed.session.budget;
    let proofs = [e.reauthenticate_at, resumed.session.reauthenticate_at];
    e.reauthenticate_at = proofs.into_iter().flatten().min();
    true
}

/// AUTH = prf(SK_p, octets of RFC 7296 §2.15) (§5.1), in place of what the connection proves itself by.
pub(super) fn proof(init: &Init, of: Role, id: &Id) -> Payload {
    let key = init.keys.proof(of);
    Payload::Auth { method: METHOD_PSK, data: auth::by_sk_p(key, init.signed(of, id)) }
}

/// Whether the peer has SK_d, and is who it was.
pub(super) fn check(
    init: &Init,
    resumed: &Resumed,
    core: &Core,
    cx: &Cx<'_>,
    view: View<'_>,
) -> Result<Id, Error> {
    let session = &resumed.session;
    let (of, id) = match core.role {
        Role::Initiator => (Role::Responder, view.id_r()?.ok_or(Malformed::Missing("IDr payload"))?),
        Role::Responder => (Role::Initiator, view.id_i()?),
    };
    let (method, got) = view.auth()?.ok_or(Malformed::Missing("AUTH payload"))?;
    let wanted = auth::by_sk_p(init.keys.proof(of), init.signed(of, id));
    if method != METHOD_PSK || !prf::equal(&wanted, got) {
        return Err(bad("the peer does not have the key of the IKE SA that it resumes"));
    }
    if id != session.id_i() {
        return Err(bad("the peer resumes an IKE SA of another identity"));
    }
    if core.role == Role::Responder {
        let spent = resumed.ticket.is_none_or(|(id, _)| cx.tickets.is_spent(&id));
        let there = still_configured(cx, resumed, (core.realm(), core.path.local, core.path.remote.ip()));
        if spent || there.is_none() || view.id_r()?.is_some_and(|id| *id != session.ours) {
            return Err(bad("what the peer resumes has ended meanwhile"));
        }
    }
    Ok(session.peer.clone())
}
