//! IKE_AUTH as responder.
//!
//! Decides: which connection the peer's identity and proof belong to. Never: answers more than an error to others.

use super::{Init, judge, our_id};
use crate::auth::{self, Proven, Prover, bad};
use crate::child_sa::offer;
use crate::child_sa::{self, Agreed, Then};
use crate::config::Connection;
use crate::endpoint::{Action, Cx};
use crate::error::{Error, Failure, Malformed};
use crate::event::ChildSaId;
use crate::header::Exchange;
use crate::ike_sa::{Asked, Core, Established, Held, IkeSa, State, count_error, error_payload};
use crate::message::View;
use crate::payload::{Id, Payload, notify};
use crate::snapshot::Role;
use crate::task::ike_init::InitAnswered;
use crate::task::mobike::Mobility;
use std::sync::Arc;

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
        let init = Init {
            int_auth,
            keys: self.keys,
            proposal: self.proposal,
            request: self.request,
            response: self.response,
            ni: self.ni,
            nr: self.nr,
            hashes: self.hashes,
            childless: false,
            wanted: Vec::new(),
        };
        let checked = if in_place {
            check(&init, core, cx, view)
        } else {
            Err(Malformed::Value("exchange type").into())
        };
        match checked {
            Ok((connection, peer, proven)) => {
                core.connection = connection;
                match judge::begin(core, cx, proven, (init, peer, None), (asked, view)) {
                    Ok(waiting) => waiting,
                    Err((init, peer, _)) => accept(init, core, cx, asked, view, peer),
                }
            }
            Err(error) => {
                let who = view.id_i().map(ToString::to_string).unwrap_or_default();
                refuse(init, core, cx, asked, &error, &who)
            }
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
    let got = view.auth()?.ok_or_else(|| bad("the peer wants EAP"))?;
    let fits = |c: &&Arc<Connection>| {
        id.matches(&c.remote_id)
            && id_r.is_none_or(|id| id.matches(&c.local_id))
            && c.proposals.contains(&init.proposal)
    };
    let candidates = cx.candidates(core.path.local, core.path.remote.ip());
    let signed = init.signed(Role::Initiator, id);
    let mut prover = Prover::new(&init.keys, signed, got, view, init.hashes, cx.config.clock.unix());
    let mut proven: Vec<(&Arc<Connection>, Proven)> = Vec::new();
    let mut why = bad("no connection has these identities");
    // Several connections may serve one peer; their secrets may differ.
    for connection in candidates.iter().filter(fits) {
        match prover.prove(&connection.remote_auth) {
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

/// The peer is authentic: the SA stands. The answer waits for the child, if there is one.
pub(super) fn accept(
    init: Init,
    core: &mut Core,
    cx: &mut Cx<'_>,
    asked: Asked,
    view: View<'_>,
    peer: Id,
) -> State {
    // The peer may have moved to the NAT-T port meanwhile.
    core.path.remote = asked.via.remote;
    core.path.local = Some(asked.via.local.ip());
    core.path.natt = asked.via.local.port() == cx.config.natt_port;
    core.path.force_udp = core.connection.force_udp;
    let Some(id) = our_id(&core.connection, core) else {
        return IkeSa::fail(core, cx, "our identity is not known".to_owned());
    };
    let wanted: Vec<_> = view.cert_requests().cloned().collect();
    let local = &core.connection.local_auth;
    let signed = init.signed(Role::Responder, &id);
    let Some(auth) = auth::payload(&init.keys, local, signed, init.hashes, &mut *cx.rng) else {
        return refuse(init, core, cx, asked, &bad(auth::NO_SCHEME), &peer.to_string());
    };
    let mut head = vec![Payload::IdR(id)];
    head.extend(auth::certificates(local, &wanted));
    head.push(auth);
    core.mobility = Mobility::agreed(core, view, false);
    head.extend(Mobility::offer(core).filter(|_| core.mobility != Mobility::Off));
    let mut e = Box::new(Established::new(cx, core, init.keys, init.proposal, peer));
    let initial_contact = view.notify(notify::INITIAL_CONTACT).is_some();
    cx.act(Action::Established { ike: core.id, initial_contact });
    let child = if view.has_sa() {
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

fn respond_child(
    core: &Core,
    e: &mut Established,
    cx: &mut Cx<'_>,
    view: View<'_>,
    nonces: (&[u8], &[u8]),
) -> Result<(ChildSaId, Vec<Payload>), Error> {
    let connection = core.connection.clone();
    let (child, fit) = offer::choose(connection.children.iter(), view, false)?;
    let inbound = cx.inbound_spi(child.id);
    let payloads = offer::answer(&fit, inbound, false).to_vec();
    let agreed = Agreed {
        role: Role::Responder,
        ni: nonces.0,
        nr: nonces.1,
        shared: None,
        proposal: fit.chosen.ours,
        selectors: fit.selectors,
        inbound,
        outbound: fit.outbound,
        replaces: None,
        then: Then::Answer,
    };
    let pair = child_sa::make(cx, (core.id, &e.keys, &core.path), connection.id, child, agreed);
    let id = pair.id;
    e.children.push(pair);
    Ok((id, payloads))
}
