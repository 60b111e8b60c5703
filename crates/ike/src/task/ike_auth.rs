//! IKE_AUTH in both roles, with the first child (RFC 7296 §1.2, §2.15, §2.21.2).
//!
//! Decides: whether the peer is who it must be. Never: makes an established SA of a peer that has not proven it.

use super::delete;
use crate::auth::{self, Signed};
use crate::child_sa::offer;
use crate::child_sa::{self, Agreed, Then};
use crate::config::{Child, ChildId, Connection, IkeProposal};
use crate::counters::Counter;
use crate::crypto::keys::IkeKeys;
use crate::endpoint::{Action, Cx};
use crate::error::{Error, Failure, Malformed, Misbehaved};
use crate::event::ChildSaId;
use crate::header::Exchange;
use crate::ike_sa::{Asked, Core, Established, Held, IkeSa, State, count_error, error_payload};
use crate::message::View;
use crate::payload::{Id, Notify, Payload, notify};
use crate::snapshot::Role;
use crate::task::Task;
use crate::task::ike_init::InitAnswered;
use ravelin_wire::Spi;
use std::sync::Arc;

/// What IKE_SA_INIT left.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) keys: IkeKeys,
    pub(crate) proposal: IkeProposal,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) ni: Vec<u8>,
    pub(crate) nr: Vec<u8>,
    /// IntAuth_i | IntAuth_r | message id of IKE_AUTH, when there was an IKE_INTERMEDIATE.
    pub(crate) int_auth: Vec<u8>,
}

impl Init {
    const fn signed<'a>(&'a self, signer: Role, id: &'a Id) -> Signed<'a> {
        let (message, nonce) = match signer {
            Role::Initiator => (&self.request, &self.nr),
            Role::Responder => (&self.response, &self.ni),
        };
        Signed {
            signer,
            message: message.as_slice(),
            nonce: nonce.as_slice(),
            id,
            int_auth: self.int_auth.as_slice(),
        }
    }
}

/// Initiator: has keys, no identity yet.
#[derive(Debug)]
pub(crate) struct AuthSent {
    init: Init,
    child: Option<(Child, Spi)>,
}

impl AuthSent {
    pub(crate) const fn keys(&self) -> &IkeKeys {
        &self.init.keys
    }

    /// `HDR, SK {IDi, [N(INITIAL_CONTACT),] [IDr,] AUTH, SAi2, TSi, TSr}`
    pub(super) fn send(core: &mut Core, cx: &mut Cx<'_>, mut init: Init, child: Option<ChildId>) -> State {
        let connection = core.connection.clone();
        let Some(id) = our_id(&connection, core) else {
            return IkeSa::fail(core, cx, "our identity is not known".to_owned());
        };
        let mut payloads = vec![Payload::IdI(id.clone())];
        if !cx.has_peer_of(&connection) {
            payloads.push(Payload::Notify(Notify::new(notify::INITIAL_CONTACT)));
        }
        payloads.extend(Id::of(&connection.remote_id).map(Payload::IdR));
        payloads.push(auth::payload(&init.keys, &connection.secret, init.signed(Role::Initiator, &id)));
        let wanted = connection.children.iter().find(|c| Some(c.id) == child);
        let child = wanted.map(|c| (c.clone(), cx.inbound_spi(c.id)));
        if let Some((child, spi)) = &child {
            let (sa, ts_i, ts_r) = offer::request(child, *spi, false);
            payloads.extend([sa, ts_i, ts_r]);
        }
        if !core.request_sealed(cx, &mut init.keys, Exchange::IkeAuth, &payloads) {
            return IkeSa::fail(core, cx, Failure::Key.to_string());
        }
        State::AuthSent(Box::new(Self { init, child }))
    }

    /// HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
    pub(crate) fn on_response(
        self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        asked: Asked,
        view: View<'_>,
    ) -> State {
        if asked.exchange != Exchange::IkeAuth {
            return IkeSa::fail(core, cx, "the peer answered with another exchange".to_owned());
        }
        let peer = match self.peer(core, view) {
            Ok(peer) => peer,
            Err(error) => return self.refuse(core, cx, &error),
        };
        let Self { init, child, .. } = *self;
        let mut e = Box::new(Established::new(cx, core, init.keys, init.proposal, peer));
        if let Some((child, inbound)) = child {
            let nonces = (init.ni.as_slice(), init.nr.as_slice());
            first_child(core, &mut e, cx, (&child, inbound), nonces, view);
        }
        if core.doomed {
            e.begin_delete(core, cx, "taken down");
        } else {
            cx.act(Action::Established { ike: core.id, initial_contact: false });
        }
        e.run(core, cx);
        State::Established(e)
    }

    /// The identity that the peer proved.
    fn peer(&self, core: &Core, view: View<'_>) -> Result<Id, Error> {
        let Some(got) = view.auth()? else {
            view.refuse_errors()?;
            return Err(Malformed::Missing("AUTH payload").into());
        };
        let id = view.id_r()?.ok_or(Malformed::Missing("IDr payload"))?;
        if !id.matches(&core.connection.remote_id) {
            return Err(Error::Peer(Misbehaved::BadAuth("the peer has another identity than configured")));
        }
        let signed = self.init.signed(Role::Responder, id);
        if auth::verify(&self.init.keys, &core.connection.secret, signed, got) {
            Ok(id.clone())
        } else {
            Err(Error::Peer(Misbehaved::BadAuth("the peer does not know the secret")))
        }
    }

    fn refuse(self: Box<Self>, core: &mut Core, cx: &mut Cx<'_>, error: &Error) -> State {
        count_error(cx, error);
        if *error == Error::Refused(notify::AUTHENTICATION_FAILED) {
            cx.count(Counter::PeerRejectedAuth);
        }
        let failed = IkeSa::fail(core, cx, error.to_string());
        // RFC 7296 §2.21.2: a responder whose AUTH is wrong believes that the SA stands; it is told.
        if !matches!(error, Error::Peer(Misbehaved::BadAuth(_))) {
            return failed;
        }
        let nobody = Id { kind: 0, data: Vec::new() };
        let mut e = Box::new(Established::new(cx, core, self.init.keys, self.init.proposal, nobody));
        e.phase = crate::ike_sa::Phase::Deleting;
        e.push(cx, Task::Delete(delete::Delete::AuthFailed));
        e.run(core, cx);
        State::Established(e)
    }
}

/// Initiator: the child that IKE_AUTH brought, or what the peer had against it. The IKE SA stands either way.
fn first_child(
    core: &Core,
    e: &mut Established,
    cx: &mut Cx<'_>,
    asked: (&Child, Spi),
    nonces: (&[u8], &[u8]),
    view: View<'_>,
) {
    let (child, inbound) = asked;
    let judged = view
        .refuse_errors()
        .and_then(|()| offer::still_wanted(child, &core.connection))
        .and_then(|()| offer::judge_answer(child, view, false));
    match judged {
        Ok(fit) => {
            let agreed = Agreed {
                role: Role::Initiator,
                ni: nonces.0,
                nr: nonces.1,
                shared: None,
                proposal: fit.chosen.ours,
                selectors: fit.selectors,
                inbound,
                outbound: fit.outbound,
                replaces: None,
                then: Then::Use,
            };
            let pair = child_sa::make(cx, (core.id, &e.keys, &core.path), core.connection.id, child, agreed);
            e.children.push(pair);
        }
        Err(error) => {
            super::child_create::failed(core, e, cx, &error, Some(inbound));
            let (connection, child) = (core.connection.id, child.id);
            cx.act(Action::ChildMissing { connection, child, why: Some(error.to_string()) });
        }
    }
}

fn our_id(connection: &Connection, core: &Core) -> Option<Id> {
    Id::of(&connection.local_id).or_else(|| Id::of(&crate::config::Identity::Address(core.path.local?)))
}

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
        };
        let checked = if in_place {
            check(&init, core, cx, view)
        } else {
            Err(Malformed::Value("exchange type").into())
        };
        match checked {
            Ok((connection, peer)) => {
                core.connection = connection;
                accept(init, core, cx, asked, view, peer)
            }
            Err(error) => {
                count_error(cx, &error);
                let who = view.id_i().map(ToString::to_string).unwrap_or_default();
                cx.rejected(Some(core.connection.id), asked.via.remote, format!("{who}: {error}"));
                let mut keys = init.keys;
                core.answer(cx, &mut keys, asked, &[error_payload(&error)]);
                State::Closed { until: cx.now + cx.config.timers.linger, stranger: true }
            }
        }
    }
}

/// The connection whose identities and secret fit.
fn check(init: &Init, core: &Core, cx: &Cx<'_>, view: View<'_>) -> Result<(Arc<Connection>, Id), Error> {
    let id = view.id_i()?;
    let id_r = view.id_r()?;
    let got = view.auth()?.ok_or(Error::Peer(Misbehaved::BadAuth("the peer wants EAP")))?;
    let fits = |c: &&Arc<Connection>| {
        id.matches(&c.remote_id)
            && id_r.is_none_or(|id| id.matches(&c.local_id))
            && c.proposals.contains(&init.proposal)
    };
    let candidates = cx.candidates(core.path.local, core.path.remote.ip());
    let mut fitting = candidates.iter().filter(fits).peekable();
    if fitting.peek().is_none() {
        return Err(Error::Peer(Misbehaved::BadAuth("no connection has these identities")));
    }
    let signed = init.signed(Role::Initiator, id);
    // Several connections may serve one peer; their secrets may differ.
    let proven: Vec<_> = fitting.filter(|c| auth::verify(&init.keys, &c.secret, signed, got)).collect();
    // Where the secret is the same too, only the traffic that is asked for tells them apart.
    let serves = |c: &&&Arc<Connection>| offer::choose(c.children.iter(), view, false).is_ok();
    let found = proven.iter().find(serves).or_else(|| proven.first());
    let found = found.ok_or(Error::Peer(Misbehaved::BadAuth("the peer does not know the secret")))?;
    Ok((Arc::clone(found), id.clone()))
}

/// The peer is authentic: the SA stands. The answer waits for the child, if there is one.
fn accept(init: Init, core: &mut Core, cx: &mut Cx<'_>, asked: Asked, view: View<'_>, peer: Id) -> State {
    // The peer may have moved to the NAT-T port meanwhile.
    core.path.remote = asked.via.remote;
    core.path.local = Some(asked.via.local.ip());
    core.path.natt = asked.via.local.port() == cx.config.natt_port;
    core.path.force_udp = core.connection.force_udp;
    let Some(id) = our_id(&core.connection, core) else {
        return IkeSa::fail(core, cx, "our identity is not known".to_owned());
    };
    let auth = auth::payload(&init.keys, &core.connection.secret, init.signed(Role::Responder, &id));
    let mut e = Box::new(Established::new(cx, core, init.keys, init.proposal, peer));
    let initial_contact = view.notify(notify::INITIAL_CONTACT).is_some();
    cx.act(Action::Established { ike: core.id, initial_contact });
    let head = vec![Payload::IdR(id), auth];
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
