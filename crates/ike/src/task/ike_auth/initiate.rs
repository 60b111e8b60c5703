//! IKE_AUTH as initiator.
//!
//! Decides: what is shown and proven to the peer, and whether its answer proves enough.
//! Never: stands with a peer that has not.

use super::eap_client::LogIn;
use super::judge::Known;
use super::{Init, judge, our_id};
use crate::auth::ppk::{self, Mixed};
use crate::auth::{self, Proven, Prover, Signed, bad};
use crate::child_sa::{self, Agreed, Place, Then, group, offer};
use crate::config::{Child, ChildId, Connection, LocalAuth, RemoteAuth};
use crate::counters::Counter;
use crate::crypto::keys::Fresh;
use crate::endpoint::{Action, Cx};
use crate::error::{Error, Failure, Malformed, Misbehaved};
use crate::header::Exchange;
use crate::ike_sa::{Asked, Core, Established, IkeSa, State, count_error};
use crate::message::View;
use crate::payload::{Id, Notify, Payload, notify};
use crate::snapshot::Role;
use crate::task::{Task, address, delete, mobike, mobike::Mobility, redirect, resume, ticket};
use ravelin_wire::Spi;
use std::sync::Arc;

/// Initiator: has keys, no identity yet.
#[derive(Debug)]
pub(crate) struct AuthSent {
    pub(super) init: Init,
    pub(super) child: Option<(Child, Spi)>,
    /// Once the responder has proven itself, and we log in by EAP.
    pub(super) log_in: Option<LogIn>,
    /// The keys if the responder uses the post-quantum pre-shared key too.
    pub(super) mixed: Option<Mixed>,
}

impl AuthSent {
    pub(crate) const fn keys(&self) -> &crate::crypto::keys::IkeKeys {
        &self.init.keys
    }

    /// `HDR, SK {IDi, [CERT, ...] [N(INITIAL_CONTACT),] [CERTREQ,] [IDr,] AUTH, SAi2, TSi, TSr}`
    pub(crate) fn send(core: &mut Core, cx: &mut Cx<'_>, mut init: Init, child: Option<ChildId>) -> State {
        let connection = core.connection.clone();
        let Some(id) = our_id(&connection, core) else {
            return IkeSa::fail(core, cx, "our identity is not known".to_owned());
        };
        let mut payloads = vec![Payload::IdI(id.clone())];
        // RFC 5723 §4.3.3: no certificates, and the identities are those of before.
        if init.resumed.is_none() {
            payloads.extend(auth::certificates(&connection.local_auth, &init.wanted));
        }
        let now = cx.now;
        if cx.may_claim(now, &connection) {
            payloads.push(Payload::Notify(Notify::new(notify::INITIAL_CONTACT)));
        }
        payloads.extend(Mobility::offer(core));
        match &init.resumed {
            Some(resumed) => payloads.push(Payload::IdR(resumed.session.peer.clone())),
            None => {
                payloads.extend(auth::requests(core::iter::once(&*connection)));
                payloads.extend(Id::of(&connection.remote_id).map(Payload::IdR));
            }
        }
        payloads.extend(ticket::request(core));
        let signed = init.signed(Role::Initiator, &id);
        // RFC 7296 §2.16: without AUTH the responder knows that we want EAP.
        let logs_in = matches!(connection.local_auth, LocalAuth::Eap(_)) && init.resumed.is_none();
        if eap_only(&connection) && logs_in {
            payloads.push(Payload::Notify(Notify::new(notify::EAP_ONLY_AUTHENTICATION)));
        }
        let ppk = connection.ppk.as_ref().filter(|_| init.ppk && !logs_in);
        let mixed = ppk.map(|ppk| ppk::mix(&init.keys, ppk));
        if init.resumed.is_some() {
            payloads.push(resume::proof(&init, Role::Initiator, &id));
        } else if !logs_in {
            let Some(proof) = prove_ourselves(&init, &connection, cx, signed, mixed.as_ref()) else {
                return IkeSa::fail(core, cx, auth::NO_SCHEME.to_owned());
            };
            payloads.extend(proof);
        }
        let child = child.filter(|_| !init.childless);
        let wanted = connection.children.iter().find(|c| Some(c.id) == child);
        let child = wanted.map(|c| (c.clone(), cx.inbound_spi(c.id, None)));
        let had = cx.given.get(&connection.id).map(|(had, _)| had);
        let asks = address::request(&connection, had);
        if let Some((child, spi)) = &child {
            // Whoever asks for an address does not know yet which packets are its own.
            let trigger = cx.trigger(child.id).filter(|_| asks.is_none());
            let (sa, ts_i, ts_r) = offer::request(child, *spi, false, trigger.as_ref());
            payloads.extend(offer::notifies(child));
            payloads.extend(group::info(child, 0));
            payloads.extend([sa, ts_i, ts_r]);
        }
        payloads.extend(asks);
        if !core.request_sealed(cx, &mut init.keys, Exchange::IkeAuth, &payloads) {
            return IkeSa::fail(core, cx, Failure::Key.to_string());
        }
        State::AuthSent(Box::new(Self { init, child, log_in: None, mixed }))
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
        let Self { mut init, child, log_in, mixed } = *self;
        if let Some(log_in) = log_in {
            return log_in.on_response(init, core, cx, (asked, child), view);
        }
        if let Some(resumed) = init.resumed.take() {
            let refused = if matches!(view.auth(), Ok(None)) { view.refuse_errors() } else { Ok(()) };
            let checked = refused.and_then(|()| resume::check(&init, &resumed, core, cx, view));
            init.resumed = Some(resumed);
            return match checked {
                Ok(peer) => stand(init, core, cx, peer, child, view),
                Err(error) => refuse(init, core, cx, &error),
            };
        }
        if eap_only(&core.connection) && matches!(view.auth(), Ok(None)) {
            return match claimed(core, view) {
                Ok(peer) => proceed(init, core, cx, (asked, peer), child, view),
                Err(error) => refuse(init, core, cx, &error),
            };
        }
        match mixed.filter(|_| ppk::is_agreed(view)) {
            Some(mixed) => {
                mixed.install(&mut init.keys);
                core.trace(cx, || ppk::USED.to_owned());
            }
            // Who logs in by EAP asks for it later.
            None if core.connection.ppk.as_ref().is_some_and(|p| p.required)
                && !matches!(core.connection.local_auth, LocalAuth::Eap(_))
                && !matches!(view.auth(), Ok(None)) =>
            {
                let why = bad("the peer does not use the post-quantum pre-shared key, which is required");
                return refuse(init, core, cx, &why);
            }
            None => {}
        }
        match prove(&init, core, cx, view) {
            Ok((peer, proven)) => {
                let known = Known { init, peer, child, after_eap: None };
                match judge::begin(core, cx, proven, known, (asked, view)) {
                    Ok(waiting) => waiting,
                    Err(Known { init, peer, child, .. }) => {
                        proceed(init, core, cx, (asked, peer), child, view)
                    }
                }
            }
            Err(error) => refuse(init, core, cx, &error),
        }
    }
}

/// RFC 5998: the responder proves itself by EAP too, and by nothing else.
pub(super) const fn eap_only(connection: &Connection) -> bool {
    matches!((&connection.local_auth, &connection.remote_auth), (LocalAuth::Eap(_), RemoteAuth::Eap(_)))
}

/// As whom the responder lets us log in, which EAP is to prove (RFC 5998 §4).
fn claimed(core: &Core, view: View<'_>) -> Result<Id, Error> {
    view.refuse_errors()?;
    let id = view.id_r()?.ok_or(Malformed::Missing("IDr payload"))?;
    if !id.matches(&core.connection.remote_id) {
        return Err(bad("the peer has another identity than configured"));
    }
    Ok(id.clone())
}

/// AUTH and, with a post-quantum pre-shared key, what says so.
fn prove_ourselves(
    init: &Init,
    connection: &Connection,
    cx: &mut Cx<'_>,
    signed: Signed<'_>,
    mixed: Option<&Mixed>,
) -> Option<Vec<Payload>> {
    let plain = init.keys.proof(Role::Initiator);
    let mut by = |key| auth::payload(key, &connection.local_auth, signed, init.hashes, &mut *cx.rng);
    let (Some(mixed), Some(ppk)) = (mixed, &connection.ppk) else { return Some(vec![by(plain)?]) };
    let without = if ppk.required { None } else { by(plain) };
    let mut payloads = vec![by(mixed.proof(Role::Initiator))?];
    payloads.extend(ppk::ask(ppk, without.as_ref()));
    Some(payloads)
}

/// The identity that the peer proved.
fn prove(init: &Init, core: &Core, cx: &Cx<'_>, view: View<'_>) -> Result<(Id, Proven), Error> {
    let Some(got) = view.auth()? else {
        view.refuse_errors()?;
        return Err(Malformed::Missing("AUTH payload").into());
    };
    let id = view.id_r()?.ok_or(Malformed::Missing("IDr payload"))?;
    if !id.matches(&core.connection.remote_id) {
        return Err(bad("the peer has another identity than configured"));
    }
    let signed = init.signed(Role::Responder, id);
    let now = cx.config.clock.unix();
    let proven = Prover::new(
        init.keys.proof(Role::Responder),
        signed,
        (got.0, got.1.to_vec()),
        view,
        init.hashes,
        now,
    )
    .prove(&core.connection.remote_auth)?;
    Ok((id.clone(), proven))
}

/// The peer is authentic: the SA stands, or it is our turn to log in.
pub(super) fn proceed(
    init: Init,
    core: &mut Core,
    cx: &mut Cx<'_>,
    (asked, peer): (Asked, Id),
    child: Option<(Child, Spi)>,
    view: View<'_>,
) -> State {
    match &core.connection.local_auth {
        LocalAuth::Eap(config) => {
            let log_in = LogIn::new(config.clone(), peer, cx.config.clock.unix());
            log_in.on_response(init, core, cx, (asked, child), view)
        }
        LocalAuth::Psk(_) | LocalAuth::Key(_) => stand(init, core, cx, peer, child, view),
    }
}

/// Both sides are authentic: the SA stands.
pub(super) fn stand(
    init: Init,
    core: &mut Core,
    cx: &mut Cx<'_>,
    peer: Id,
    child: Option<(Child, Spi)>,
    view: View<'_>,
) -> State {
    core.mobility = Mobility::agreed(core, view, true);
    core.told = mobike::elsewhere(core);
    core.others = mobike::others(core, view).unwrap_or_default();
    let configured = Arc::clone(&core.connection);
    // Whoever is sent elsewhere gets nothing here.
    let away = if core.doomed { None } else { redirect::wanted(core, cx, view, None) };
    let given = if away.is_some() { Ok(()) } else { address::take(core, view) };
    let mut e = Box::new(Established::new(cx, core, init.keys, init.proposal, peer));
    resume::carry_over(&mut e, cx, init.resumed);
    if away.is_none() && !core.doomed && ticket::keep(core, &e, cx, view) {
        e.push(cx, Task::Ticket(ticket::Ask));
    }
    if let (Some((child, inbound)), Ok(()), None) = (child, &given, away) {
        let nonces = (init.ni.as_slice(), init.nr.as_slice());
        first_child(core, &mut e, cx, (&child, inbound), nonces, view, &configured);
    }
    if let (Err(error), false) = (given, core.doomed) {
        count_error(cx, &error);
        let _ = IkeSa::fail(core, cx, error.to_string());
        e.begin_delete(core, cx, &error.to_string());
    } else if core.doomed {
        e.begin_delete(core, cx, "taken down");
    } else if let Some(to) = away {
        redirect::follow(core, cx, to);
        e.begin_delete(core, cx, "redirected");
    } else {
        cx.act(Action::Established { ike: core.id, initial_contact: false });
    }
    e.run(core, cx);
    State::Established(e)
}

pub(super) fn refuse(init: Init, core: &mut Core, cx: &mut Cx<'_>, error: &Error) -> State {
    if let (true, Error::Refused(_), false) = (init.resumed.is_some(), error, core.doomed) {
        return resume::fall_back(core, cx, &error.to_string());
    }
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
    let mut e = Box::new(Established::new(cx, core, init.keys, init.proposal, nobody));
    e.phase = crate::ike_sa::Phase::Deleting;
    e.push(cx, Task::Delete(delete::Delete::AuthFailed));
    e.run(core, cx);
    State::Established(e)
}

/// Initiator: the child that IKE_AUTH brought, or what the peer had against it. The IKE SA stands either way.
fn first_child(
    core: &Core,
    e: &mut Established,
    cx: &mut Cx<'_>,
    asked: (&Child, Spi),
    nonces: (&[u8], &[u8]),
    view: View<'_>,
    configured: &Connection,
) {
    let (child, inbound) = asked;
    // What of it is ours by the address that the peer gave.
    let own = core.connection.children.iter().find(|c| c.id == child.id).unwrap_or(child);
    let judged = view
        .refuse_errors()
        .and_then(|()| offer::still_wanted(child, configured))
        .and_then(|()| offer::judge_answer(child, own, view, false));
    match judged {
        Ok(fit) => {
            let place = Place { resource: 0, grouped: fit.grouped };
            let agreed = Agreed {
                role: Role::Initiator,
                ni: nonces.0,
                nr: nonces.1,
                fresh: Fresh::default(),
                fit,
                inbound,
                place,
                replaces: None,
                then: Then::Use,
            };
            let pair = child_sa::make(cx, (core.id, &e.keys, &core.path), core.connection.id, child, agreed);
            e.children.push(pair);
        }
        Err(error) => {
            let undo = delete::Inbound { spi: inbound, ah: child.is_ah() };
            crate::task::child_create::failed(core, e, cx, &error, Some(undo));
            let (connection, child) = (core.connection.id, child.id);
            cx.act(Action::ChildMissing { connection, child, why: Some(error.to_string()) });
        }
    }
}
