//! IKE_SA_INIT in both roles (RFC 7296 §1.2), with COOKIE and INVALID_KE_PAYLOAD.
//!
//! Decides: the IKE proposal, the group, whether a NAT is on the way. Reads: unauthenticated messages, so it believes
//! little. Never: keeps state for a peer before its request is good.

pub(super) mod extensions;
pub(super) mod half_open;

use super::ike_auth::{self, AuthSent};
use super::intermediate::IntermediateSent;
use super::{lowest, redirect};
use crate::auth::{self, ppk};
use crate::config::{Connection, IkeProposal, Kem, RedirectAt};
use crate::counters::Counter;
use crate::crypto::group::KeyExchange;
use crate::crypto::keys::{self, IkeKeys, Ingredients};
use crate::endpoint::Cx;
use crate::error::{Error, Incompatible, Malformed, Misbehaved};
use crate::event::IkeSaId;
use crate::header::{self, Exchange, Header};
use crate::ike_sa::{Core, IkeSa, Path, State, Via, Window};
use crate::message::{self, View};
use crate::negotiate::algorithm;
use crate::negotiate::proposal::{self, group_by_number};
use crate::payload::{Notify, Payload, notify};
use crate::snapshot::Role;
use crate::ticket::Resumed;
use core::net::IpAddr;
use extensions::{
    childless, first_answer, found, fragmentation_supported, intermediate_supported, is_new_cookie,
    knows_fragments,
};
use half_open::{exchange, half_open};
use std::sync::Arc;

/// Cookies and other groups that a peer may ask for before it must come to the point.
pub(super) const MAX_RESTARTS: u8 = 5;
/// After an error that is not authentic: retransmissions before it is believed.
const TRIES_AFTER_REFUSAL: u32 = 2;

/// Initiator: holds the private value; it is gone afterwards.
#[derive(Debug)]
pub(crate) struct InitSent {
    ke: KeyExchange,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    restarts: u8,
    request: Vec<u8>,
    /// Why somebody said that there is no IKE SA to be had.
    pub(crate) refusal: Option<String>,
    /// The child that IKE_AUTH shall bring.
    child: Option<crate::config::ChildId>,
    /// The gateway that sent us here.
    from: Option<IpAddr>,
}

/// Responder: what it needs until IKE_AUTH.
#[derive(Debug)]
pub(crate) struct InitAnswered {
    pub(crate) keys: IkeKeys,
    pub(crate) proposal: IkeProposal,
    /// The exchange that IKE_INTERMEDIATE must bring before IKE_AUTH.
    pub(crate) pending: Option<Kem>,
    /// IntAuth_i | IntAuth_r, afterwards.
    pub(crate) int_auth: Vec<u8>,
    pub(crate) ni: Vec<u8>,
    pub(crate) nr: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) hashes: Option<auth::Hashes>,
    pub(crate) ppk: bool,
    pub(crate) redirects: redirect::Can,
    /// By IKE_SESSION_RESUME.
    pub(crate) resumed: Option<Box<Resumed>>,
}

/// Sends the first request. `None`: no key can be made.
pub(crate) fn start(
    cx: &mut Cx<'_>,
    connection: Arc<Connection>,
    path: Path,
    child: Option<crate::config::ChildId>,
    from: Option<IpAddr>,
) -> Option<IkeSa> {
    let group = connection.proposals.first()?.group;
    let ke = KeyExchange::new(group, &mut *cx.rng)?;
    let nonce = cx.nonce();
    let (id, spi) = (IkeSaId(cx.fresh_id()), cx.ike_spi());
    let mut core = Core::new(id, Role::Initiator, (spi, 0), connection, path, cx.now);
    let mut state =
        InitSent { ke, nonce, cookie: None, restarts: 0, request: Vec::new(), refusal: None, child, from };
    state.send(&mut core, cx);
    Some(IkeSa { core, state: State::InitSent(Box::new(state)) })
}

impl InitSent {
    /// HDR, [N(COOKIE),] SAi1, KEi, Ni, N(NAT_DETECTION_*)
    fn send(&mut self, core: &mut Core, cx: &mut Cx<'_>) {
        let cookie = self.cookie.clone().map(|c| Payload::Notify(Notify::with_data(notify::COOKIE, c)));
        let mut payloads: Vec<Payload> = cookie.into_iter().collect();
        payloads.push(Payload::Sa(proposal::offer_ike(&core.connection.proposals, None)));
        payloads.extend([super::child_keys::ke_payload(&self.ke), Payload::Nonce(self.nonce.clone())]);
        payloads.extend(core.path.detection(&cx.config, core.spis()));
        payloads.extend(core.connection.fragment_size.map(|_| fragmentation_supported()));
        payloads
            .extend(core.connection.proposals.iter().find_map(|p| p.kem).map(|_| intermediate_supported()));
        payloads.extend(auth::offer(&cx.config, &core.connection));
        payloads.extend(redirect::offer(core, self.from));
        payloads.extend(core.connection.ppk.as_ref().map(|_| ppk::offer()));
        let header = core.header(Exchange::IkeSaInit, false, 0);
        core.trace_message(cx, "out", &header, &payloads);
        self.request = message::plain(header, &payloads);
        core.window = Window::default();
        core.request(cx, vec![self.request.clone()]);
    }

    pub(crate) fn on_response(
        self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        header: &Header,
        bytes: &[u8],
        via: Via,
    ) -> State {
        let Some(payloads) = first_answer(core, cx, header, bytes) else { return State::InitSent(self) };
        let view = View(&payloads);
        if !view.has_sa() {
            return self.on_notify(core, cx, view);
        }
        match self.agree(core, cx, header, view, via) {
            Ok((keys, proposal)) => self.authenticate(core, cx, (keys, proposal), bytes, view),
            Err(error) => {
                tracing::debug!(ike = core.id.0, %error, "IKE_SA_INIT answer is of no use");
                core.trace(cx, || format!("the answer is of no use: {error}"));
                cx.count(match error {
                    Error::Peer(Misbehaved::BadPublicValue) => Counter::BadPublicValue,
                    Error::Mismatch(_) => Counter::NoProposal,
                    Error::Malformed(_) | Error::Peer(_) | Error::Refused(_) | Error::Local(_) => {
                        Counter::Malformed
                    }
                });
                State::InitSent(self)
            }
        }
    }

    /// An answer without SA payload: come again, or not at all. It is not authentic; all it can do is to repeat
    /// this attempt or to make it shorter.
    fn on_notify(mut self: Box<Self>, core: &mut Core, cx: &mut Cx<'_>, view: View<'_>) -> State {
        if let Some(cookie) = view.notify(notify::COOKIE) {
            if !is_new_cookie(cx, self.cookie.as_ref(), cookie) {
                return State::InitSent(self);
            }
            self.cookie = Some(cookie.data.clone());
            return self.again(core, cx);
        }
        if view.notify(notify::REDIRECT).is_some() {
            return match redirect::wanted(core, cx, view, Some(&self.nonce)) {
                Some(to) => {
                    redirect::follow(core, cx, to);
                    State::Gone
                }
                None => State::InitSent(self),
            };
        }
        if let Some(number) = view.wanted_group() {
            cx.count(Counter::InvalidKe);
            // Likewise: we have gone over to that group already.
            if number == algorithm::group_number(self.ke.group()) {
                return State::InitSent(self);
            }
            let groups = core.connection.proposals.iter().map(|p| p.group);
            let group = group_by_number(groups, number);
            let Some(ke) = group.and_then(|g| KeyExchange::new(g, &mut *cx.rng)) else {
                let why =
                    format!("the peer wants key exchange group {number}, which no proposal of ours has");
                return self.refused(core, why);
            };
            self.ke = ke;
            return self.again(core, cx);
        }
        match view.error() {
            Some(n) => {
                if n.kind == notify::NO_PROPOSAL_CHOSEN {
                    cx.count(Counter::NoProposal);
                }
                self.refused(core, format!("the peer answered {}", notify::name(n.kind)))
            }
            None => State::InitSent(self),
        }
    }

    /// RFC 7296 §2.21.1: anybody may have said it, so we go on trying, though not as long as with a silent peer.
    fn refused(mut self: Box<Self>, core: &mut Core, why: String) -> State {
        if self.refusal.is_none() {
            core.window.shorten(TRIES_AFTER_REFUSAL);
        }
        self.refusal = Some(why);
        State::InitSent(self)
    }

    fn again(mut self: Box<Self>, core: &mut Core, cx: &mut Cx<'_>) -> State {
        self.restarts += 1;
        if self.restarts > MAX_RESTARTS {
            return IkeSa::fail(core, cx, "the peer asks again and again".to_owned());
        }
        self.send(core, cx);
        State::InitSent(self)
    }

    fn agree(
        &self,
        core: &mut Core,
        cx: &mut Cx<'_>,
        header: &Header,
        view: View<'_>,
        via: Via,
    ) -> Result<(IkeKeys, IkeProposal), Error> {
        if header.responder_spi == 0 {
            return Err(Malformed::Value("responder SPI").into());
        }
        let ours = &core.connection.proposals;
        let answer = view.sa()?;
        let chosen = proposal::accept_ike(ours, answer, false)
            .ok_or_else(|| Error::Mismatch(Incompatible::Proposal(proposal::explain_ike(ours, answer))))?;
        if chosen.ours.kem.is_some() && view.notify(notify::INTERMEDIATE_EXCHANGE_SUPPORTED).is_none() {
            return Err(Error::Peer(Misbehaved::BadAnswer("a second key exchange without IKE_INTERMEDIATE")));
        }
        let nr = view.nonce()?;
        let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
        let wanted = algorithm::group_number(self.ke.group());
        if number != wanted || chosen.ours.group != self.ke.group() {
            return Err(Error::Peer(Misbehaved::BadAnswer("key exchange of another group")));
        }
        let shared = self.ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
        found(core, cx, header, (&self.nonce, nr), (view, via));
        let (initiator_spi, responder_spi) = core.spis();
        let seed = keys::seed(chosen.ours.prf, &self.nonce, nr, &shared);
        let from = Ingredients { ni: &self.nonce, nr, initiator_spi, responder_spi };
        let keys = keys::ike_keys(&chosen.ours, &seed, from);
        cx.log_keys(core.spis(), &chosen.ours, &keys);
        core.trace(cx, || format!("chosen: {}", proposal::describe_ike(&chosen.ours)));
        Ok((keys, chosen.ours))
    }

    fn authenticate(
        self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        agreed: (IkeKeys, IkeProposal),
        response: &[u8],
        view: View<'_>,
    ) -> State {
        let Ok(nr) = view.nonce() else { return State::InitSent(self) };
        core.window.answered();
        let ppk = match ppk::negotiated(core.connection.ppk.as_ref(), view) {
            Ok(ppk) => ppk,
            Err(why) => return IkeSa::fail(core, cx, why.to_owned()),
        };
        let exchange = ike_auth::Init {
            keys: agreed.0,
            proposal: agreed.1,
            request: self.request,
            response: response.to_vec(),
            ni: self.nonce,
            nr: nr.to_vec(),
            int_auth: Vec::new(),
            hashes: auth::Hashes::of(view),
            childless: childless(core, view),
            ppk,
            ppk_used: false,
            redirects: redirect::Can::default(),
            wanted: view.cert_requests().cloned().collect(),
            resumed: None,
        };
        match exchange.proposal.kem {
            Some(kem) => IntermediateSent::send(core, cx, exchange, kem, self.child),
            None => AuthSent::send(core, cx, exchange, self.child),
        }
    }
}

/// What becomes of a stranger's first request.
pub(crate) enum Answer {
    /// One answer, no state.
    Stateless(Vec<u8>),
    Begun(Box<IkeSa>),
}

/// As responder. `candidates` are the connections that the addresses allow, the best first; the cookie, where one was
/// wanted, has been checked.
pub(crate) fn respond(
    cx: &mut Cx<'_>,
    candidates: &[Arc<Connection>],
    header: &Header,
    bytes: &[u8],
    view: View<'_>,
    via: Via,
) -> Result<Answer, Error> {
    let offered = view.sa()?;
    let ni = view.nonce()?;
    let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    // RFC 9370 §2.2.1: no second exchange with a peer that has no exchange for it.
    let intermediate = view.notify(notify::INTERMEDIATE_EXCHANGE_SUPPORTED).is_some();
    let usable = |c: &Connection| -> Vec<IkeProposal> {
        c.proposals.iter().filter(|p| intermediate || p.kem.is_none()).copied().collect()
    };
    let found = candidates.iter().find_map(|c| Some((c, proposal::choose_ike(&usable(c), offered, false)?)));
    let Some((connection, chosen)) = found else {
        let ours: Vec<IkeProposal> = candidates.iter().flat_map(|c| c.proposals.iter().copied()).collect();
        return Err(Error::Mismatch(Incompatible::Proposal(proposal::explain_ike(&ours, offered))));
    };
    let can = redirect::Can::of(view);
    if let Some(to) = can.target(connection, RedirectAt::Init) {
        cx.count(Counter::RedirectsSent);
        return Ok(stateless(header, redirect::send(to, ni)));
    }
    if number != algorithm::group_number(chosen.ours.group) {
        return Err(Error::Mismatch(Incompatible::Group(algorithm::group_number(chosen.ours.group))));
    }
    let (ke, shared) = exchange(cx, chosen.ours.group, public)?;
    let nr = cx.nonce();
    let mut core = half_open(cx, connection.clone(), header.initiator_spi, via);
    core.lowest_nonce = lowest(ni, &nr).to_vec();
    let (initiator_spi, responder_spi) = core.spis();
    // The peer hashed its addresses before it knew our SPI.
    let _ = core.path.detect(view, (initiator_spi, 0), via.local, via.remote);
    let seed = keys::seed(chosen.ours.prf, ni, &nr, &shared);
    let from = Ingredients { ni, nr: &nr, initiator_spi, responder_spi };
    let keys = keys::ike_keys(&chosen.ours, &seed, from);
    cx.log_keys(core.spis(), &chosen.ours, &keys);
    core.trace_message(cx, "in", header, view.0);
    core.trace(cx, || format!("chosen: {}", proposal::describe_ike(&chosen.ours)));
    let mut payloads = vec![
        Payload::Sa(proposal::answer_ike(&chosen, None)),
        super::child_keys::ke_payload(&ke),
        Payload::Nonce(nr.clone()),
    ];
    payloads.extend(core.path.detection(&cx.config, core.spis()));
    core.fragmentation = knows_fragments(&core, view);
    payloads.extend(core.fragmentation.then(fragmentation_supported));
    payloads.extend(chosen.ours.kem.map(|_| intermediate_supported()));
    // RFC 6023 §3: an IKE_AUTH without a child is as good as one with.
    payloads.push(Payload::Notify(Notify::new(notify::CHILDLESS_IKEV2_SUPPORTED)));
    let hashes = auth::answer(&cx.config, candidates, view, &mut payloads);
    let ppk = ppk::answer(candidates, view, &mut payloads);
    let response = half_open::answer(&mut core, cx, Exchange::IkeSaInit, bytes, via, &payloads);
    let state = InitAnswered {
        keys,
        proposal: chosen.ours,
        pending: chosen.ours.kem,
        int_auth: Vec::new(),
        ni: ni.to_vec(),
        nr,
        request: bytes.to_vec(),
        response,
        hashes,
        ppk,
        redirects: can,
        resumed: None,
    };
    Ok(Answer::Begun(Box::new(IkeSa { core, state: State::InitAnswered(Box::new(state)) })))
}

/// An unprotected answer that keeps no state.
pub(crate) fn stateless(header: &Header, notify: Notify) -> Answer {
    let reply = Header { responder_spi: 0, from_initiator: false, response: true, ..*header };
    let reply = Header { version: header::VERSION, ..reply };
    Answer::Stateless(message::plain(reply, &[Payload::Notify(notify)]))
}
