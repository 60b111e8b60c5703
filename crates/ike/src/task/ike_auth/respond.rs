//! IKE_AUTH as responder.
//!
//! Decides: which connection the peer's identity and proof belong to. Never: answers more than an error to others.

use super::judge::Known;
use super::{Init, eap_server, judge, our_id};
use crate::auth::ppk::{self, Choice};
use crate::auth::{self, Proven, Prover, bad};
use crate::child_sa::{self, Agreed, Place, Then, group, offer};
use crate::config::{Connection, Ppk, RedirectAt};
use crate::counters::Counter;
use crate::crypto::keys::Fresh;
use crate::endpoint::{Action, Cx};
use crate::error::{Error, Failure, Malformed};
use crate::event::ChildSaId;
use crate::header::Exchange;
use crate::ike_sa::{Asked, Core, Established, Held, Phase, State, count_error, error_payload};
use crate::message::View;
use crate::payload::{Id, Payload, notify};
use crate::snapshot::Role;
use crate::task::ike_init::InitAnswered;
use crate::task::mobike::{self, Mobility};
use crate::task::{redirect, resume, ticket};
use core::net::IpAddr;
use std::sync::Arc;

/// Keys that one peer's proof is held against: connections with the same key count once.
const MAX_PPKS: usize = 8;

impl InitAnswered {
    /// `HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr}` and what else the peer likes.
    pub(crate) fn on_request(
        self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        asked: Asked,
        view: View<'_>,
    ) -> State {
        // RFC 9370 §2.2.2: not before the key exchange that was agreed on.
        let in_place = asked.exchange == Exchange::IkeAuth && self.pending.is_none();
        let mut int_auth = self.int_auth;
        if !int_auth.is_empty() {
            int_auth.extend_from_slice(&asked.id.to_be_bytes());
        }
        let mut init = Init {
            int_auth,
            keys: self.keys,
            proposal: self.proposal,
            request: self.request,
            response: self.response,
            ni: self.ni,
            nr: self.nr,
            hashes: self.hashes,
            childless: false,
            ppk: self.ppk,
            ppk_used: false,
            redirects: self.redirects,
            wanted: Vec::new(),
            resumed: self.resumed,
        };
        if in_place && init.resumed.is_none() && matches!(view.auth(), Ok(None)) {
            return eap_server::begin(init, core, cx, asked, view);
        }
        let checked = match &init.resumed {
            _ if !in_place => Err(Malformed::Value("exchange type").into()),
            Some(resumed) => {
                let peer = resume::check(&init, resumed, core, cx, view);
                peer.map(|peer| (Arc::clone(&core.connection), peer, Proven::Itself))
            }
            None => check(&init, core, cx, view),
        };
        match checked {
            Ok((connection, peer, proven)) => {
                core.connection = connection;
                init.use_ppk(core, view);
                if init.ppk_used {
                    core.trace(cx, || ppk::USED.to_owned());
                }
                let known = Known { init, peer, child: None, after_eap: None };
                match judge::begin(core, cx, proven, known, (asked, view)) {
                    Ok(waiting) => waiting,
                    Err(Known { init, peer, .. }) => accept(init, core, cx, asked, view, peer),
                }
            }
            Err(error) => {
                let who = view.id_i().map(ToString::to_string).unwrap_or_default();
                refuse(init, core, cx, asked, &error, &who)
            }
        }
    }
}

impl Init {
    /// The connection is known, and the peer has proven itself to it: with its key, where the peer used one.
    fn use_ppk(&mut self, core: &Core, view: View<'_>) {
        let chosen = core.connection.ppk.as_ref().map(|ours| ppk::choose(Some(ours), self.ppk, view, &[]));
        if let Some(Ok(Choice::Mixed(ppk))) = chosen {
            ppk::mix(&self.keys, ppk).install(&mut self.keys);
            self.ppk_used = true;
        }
    }
}

pub(super) fn refuse(
    init: Init,
    core: &mut Core,
    cx: &mut Cx<'_>,
    asked: Asked,
    error: &Error,
    who: &str,
) -> State {
    count_error(cx, error);
    cx.rejected(Some(core.connection.id), asked.via.remote, format!("{who}: {error}"));
    let mut keys = init.keys;
    core.answer(cx, &mut keys, asked, &[error_payload(error)]);
    State::Closed { until: cx.now + cx.config.timers.linger, stranger: true }
}

/// The connection whose identities and proof fit.
fn check(
    init: &Init,
    core: &Core,
    cx: &Cx<'_>,
    view: View<'_>,
) -> Result<(Arc<Connection>, Id, Proven), Error> {
    let id = view.id_i()?;
    let id_r = view.id_r()?;
    let got = view.auth()?.ok_or(Malformed::Missing("AUTH payload"))?;
    let fits = |c: &&Arc<Connection>| fits(c, init, id, id_r);
    let candidates = cx.candidates(core.realm(), core.path.local, core.path.remote.ip());
    let mut proofs = Proofs { init, id, view, auth: got, now: cx.config.clock.unix(), provers: Vec::new() };
    let mut proven: Vec<(&Arc<Connection>, Proven)> = Vec::new();
    let mut why = bad("no connection has these identities");
    // Several connections may serve one peer; their secrets may differ.
    for connection in candidates.iter().filter(fits) {
        match proofs.of(connection) {
            Ok(proof) => proven.push((connection, proof)),
            Err(error) => why = error,
        }
    }
    // Where the secret is the same too, only the traffic that is asked for tells them apart.
    let serves = |(c, _): &&(&Arc<Connection>, Proven)| offer::choose(c.children.iter(), view, false).is_ok();
    let found = proven.iter().find(serves).or_else(|| proven.first());
    let (connection, proof) = found.ok_or(why)?;
    Ok((Arc::clone(connection), id.clone(), proof.clone()))
}

/// What the peer proves, by each post-quantum pre-shared key and by none.
struct Proofs<'a> {
    init: &'a Init,
    id: &'a Id,
    view: View<'a>,
    auth: (u8, &'a [u8]),
    now: u64,
    provers: Vec<(Option<Ppk>, Prover<'a>)>,
}

impl<'a> Proofs<'a> {
    fn of(&mut self, connection: &Connection) -> Result<Proven, Error> {
        let Self { init, id, view, now, .. } = *self;
        let choice = ppk::choose(connection.ppk.as_ref(), init.ppk, view, self.auth.1)?;
        let (ppk, data) = match choice {
            Choice::Plain(data) => (None, data.to_vec()),
            Choice::Mixed(ppk) => (Some(ppk), self.auth.1.to_vec()),
        };
        let at = match self.provers.iter().position(|(of, _)| of.as_ref() == ppk) {
            Some(at) => at,
            None if self.provers.len() >= MAX_PPKS => return Err(bad("too many keys would fit")),
            None => {
                let mixed = ppk.map(|ppk| ppk::mix(&init.keys, ppk));
                let plain = || init.keys.proof(Role::Initiator);
                let key = mixed.as_ref().map_or_else(plain, |mixed| mixed.proof(Role::Initiator));
                let signed = init.signed(Role::Initiator, id);
                let prover = Prover::new(key, signed, (self.auth.0, data), view, init.hashes, now);
                self.provers.push((ppk.cloned(), prover));
                self.provers.len() - 1
            }
        };
        let (_, prover) = self.provers.get_mut(at).ok_or_else(|| bad("no key fits"))?;
        prover.prove(&connection.remote_auth)
    }
}

/// The connection may serve a peer of this identity, which asks for that one.
pub(super) fn fits(c: &Connection, init: &Init, id: &Id, id_r: Option<&Id>) -> bool {
    id.matches(&c.remote_id)
        && id_r.is_none_or(|id| id.matches(&c.local_id))
        && c.proposals.contains(&init.proposal)
}

/// The peer is authentic: our own proof goes with the answer.
pub(super) fn accept(
    init: Init,
    core: &mut Core,
    cx: &mut Cx<'_>,
    asked: Asked,
    view: View<'_>,
    peer: Id,
) -> State {
    follow(core, cx, asked);
    match own_proof(&init, core, cx, view) {
        Ok(head) => stand(init, core, cx, asked, view, peer, head),
        Err(error) => refuse(init, core, cx, asked, &error, &peer.to_string()),
    }
}

/// The peer may have moved to the NAT-T port meanwhile.
pub(super) fn follow(core: &mut Core, cx: &Cx<'_>, asked: Asked) {
    core.path.remote = asked.via.remote;
    core.path.local = Some(asked.via.local.ip());
    core.path.natt = asked.via.local.port() == cx.config.natt_port;
    core.path.force_udp = core.connection.force_udp;
}

/// IDr, `[CERT, ...]` AUTH
pub(super) fn own_proof(
    init: &Init,
    core: &Core,
    cx: &mut Cx<'_>,
    view: View<'_>,
) -> Result<Vec<Payload>, Error> {
    let id = our_id(&core.connection, core).ok_or_else(|| bad("our identity is not known"))?;
    if init.resumed.is_some() {
        let auth = resume::proof(init, Role::Responder, &id);
        return Ok(vec![Payload::IdR(id), auth]);
    }
    let wanted: Vec<_> = view.cert_requests().cloned().collect();
    let local = &core.connection.local_auth;
    let signed = init.signed(Role::Responder, &id);
    let key = init.keys.proof(Role::Responder);
    let auth =
        auth::payload(key, local, signed, init.hashes, &mut *cx.rng).ok_or_else(|| bad(auth::NO_SCHEME))?;
    let mut head = vec![Payload::IdR(id)];
    head.extend(auth::certificates(local, &wanted));
    head.push(auth);
    head.extend(init.ppk_used.then(ppk::agree));
    Ok(head)
}

/// The SA stands. `view`: the peer's first message of IKE_AUTH; `head`: what the answer begins with. It waits for the
/// child, if there is one.
pub(super) fn stand(
    init: Init,
    core: &mut Core,
    cx: &mut Cx<'_>,
    asked: Asked,
    view: View<'_>,
    peer: Id,
    mut head: Vec<Payload>,
) -> State {
    if let Some(to) = init.redirects.target(&core.connection, RedirectAt::Auth) {
        return send_away(init, core, cx, (asked, to), peer, head);
    }
    let admitted = cx.admit(&core.connection, &peer, view);
    core.connection = admitted.connection;
    core.mobility = Mobility::agreed(core, view, false);
    core.told = mobike::elsewhere(core);
    if core.mobility != Mobility::Off {
        head.extend(Mobility::offer(core));
    }
    head.extend(admitted.reply);
    let mut e = Box::new(Established::new(cx, core, init.keys, init.proposal, peer));
    e.session.claimed = ticket::claimed(view, &e.peer_id);
    // Who resumes an IKE SA has it no more (RFC 5723 §4.3.3).
    let resumed = resume::carry_over(&mut e, cx, init.resumed);
    head.extend(ticket::answer(core, &mut e, cx, view));
    let initial_contact = resumed || view.notify(notify::INITIAL_CONTACT).is_some();
    cx.act(Action::Established { ike: core.id, initial_contact });
    let child = if let Some(why) = admitted.refused {
        Err(why)
    } else if view.has_sa() {
        respond_child(core, &mut e, cx, view, (&init.ni, &init.nr)).map(Some)
    } else {
        Ok(None)
    };
    match child {
        Ok(Some((pair, payloads))) => {
            let mut ok = head.clone();
            ok.extend(payloads);
            let mut failed = head;
            failed.push(error_payload(&Error::Local(Failure::Full)));
            e.held = Some(Held { asked, pair, ok, failed });
        }
        Ok(None) => core.answer(cx, &mut e.keys, asked, &head),
        Err(error) => {
            count_error(cx, &error);
            cx.rejected(Some(core.connection.id), asked.via.remote, error.to_string());
            let mut payloads = head;
            payloads.push(error_payload(&error));
            core.answer(cx, &mut e.keys, asked, &payloads);
        }
    }
    State::Established(e)
}

/// `HDR, SK {IDr, AUTH, N(REDIRECT)}`: both are who they say, and the peer ends this IKE SA (RFC 5685 §6). It gets no
/// address, no child, and is no reason to end another IKE SA.
fn send_away(
    init: Init,
    core: &mut Core,
    cx: &mut Cx<'_>,
    (asked, to): (Asked, IpAddr),
    peer: Id,
    mut head: Vec<Payload>,
) -> State {
    cx.count(Counter::RedirectsSent);
    core.trace(cx, || format!("the peer is sent to {to}"));
    head.push(Payload::Notify(redirect::send(to, &[])));
    let mut e = Box::new(Established::new(cx, core, init.keys, init.proposal, peer));
    e.phase = Phase::Redundant { until: cx.now + cx.config.timers.linger };
    core.answer(cx, &mut e.keys, asked, &head);
    State::Established(e)
}

fn respond_child(
    core: &Core,
    e: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    nonces: (&[u8], &[u8]),
) -> Result<(ChildSaId, Vec<Payload>), Error> {
    let connection = core.connection.clone();
    let (child, fit) = offer::choose(connection.children.iter(), view, false)?;
    let inbound = cx.inbound_spi(child.id, None);
    let place = Place { resource: 0, grouped: fit.grouped };
    let mut payloads: Vec<Payload> = offer::notifies(child).collect();
    payloads.extend(group::info(child, 0).filter(|_| fit.grouped));
    payloads.extend(offer::answer(&fit, inbound, false));
    let agreed = Agreed {
        role: Role::Responder,
        ni: nonces.0,
        nr: nonces.1,
        fresh: Fresh::default(),
        fit,
        inbound,
        place,
        replaces: None,
        then: Then::Answer,
    };
    let pair = child_sa::make(cx, (core.id, &e.keys, &core.path), connection.id, child, agreed);
    let id = pair.id;
    e.children.push(pair);
    Ok((id, payloads))
}
