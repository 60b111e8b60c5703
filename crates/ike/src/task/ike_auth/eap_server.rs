//! A peer that logs in by EAP, as responder (RFC 7296 §2.16).
//!
//! Decides: which connection a peer may log in to. Reads: requests of IKE_AUTH from a peer that has proven nothing.
//! Writes: our own proof, which comes first; packets of EAP. Never: makes an SA before the peer's AUTH, which binds
//! what EAP proved to this IKE SA.

use super::judge::{self, Known};
use super::{Init, our_id, respond};
use crate::auth::ppk::{self, Choice};
use crate::auth::{self, bad};
use crate::child_sa::offer;
use crate::config::{Connection, EapServer, LocalAuth, RemoteAuth};
use crate::crypto::Wiped;
use crate::crypto::keys::IkeKeys;
use crate::eap::{Proof, Proven, Server, Step};
use crate::endpoint::Cx;
use crate::error::{Error, Malformed, Misbehaved};
use crate::header::Exchange;
use crate::ike_sa::{Asked, Core, State, count_error};
use crate::message::View;
use crate::payload::{Id, Payload, notify};
use crate::snapshot::Role;
use std::sync::Arc;

/// Has proven ourselves and asks the peer.
#[derive(Debug)]
pub(crate) struct LoggingIn {
    init: Init,
    /// As whom the peer began. What is proven is the name of the user.
    claimed: Id,
    server: Server,
    /// The peer's first request: the child that it wants stands there.
    first: Vec<Payload>,
    /// EAP succeeded.
    proven: Option<Proven>,
}

/// `HDR, SK {IDi, [CERTREQ,] [IDr,] SAi2, TSi, TSr}`: a request without AUTH.
pub(super) fn begin(mut init: Init, core: &mut Core, cx: &mut Cx<'_>, asked: Asked, view: View<'_>) -> State {
    let begun = found(&init, core, cx, view).and_then(|(connection, config, claimed)| {
        core.connection = connection;
        respond::follow(core, cx, asked);
        let mut payloads = match core.connection.local_auth {
            // RFC 5998: EAP will prove us too.
            LocalAuth::Eap(_) => {
                let id = our_id(&core.connection, core).ok_or_else(|| bad("our identity is not known"))?;
                vec![Payload::IdR(id)]
            }
            LocalAuth::Psk(_) | LocalAuth::Key(_) => respond::own_proof(&init, core, cx, view)?,
        };
        let (server, first) =
            Server::begin(config, claimed.to_string(), cx.config.clock.unix(), &mut *cx.rng);
        match first {
            Step::Send(packet) => payloads.push(Payload::Eap(packet)),
            Step::Done(_) | Step::Failed { .. } => return Err(bad("no method of EAP is configured")),
        }
        Ok((server, claimed, payloads))
    });
    match begun {
        Ok((server, claimed, payloads)) => {
            core.answer(cx, &mut init.keys, asked, &payloads);
            let first = view.0.to_vec();
            State::LoggingIn(Box::new(LoggingIn { init, claimed, server, first, proven: None }))
        }
        Err(error) => {
            let who = view.id_i().map(ToString::to_string).unwrap_or_default();
            respond::refuse(init, core, cx, asked, &error, &who)
        }
    }
}

/// The connection that such a peer may log in to; among several the one that has the traffic it asks for.
fn found(
    init: &Init,
    core: &Core,
    cx: &Cx<'_>,
    view: View<'_>,
) -> Result<(Arc<Connection>, Arc<EapServer>, Id), Error> {
    let (id, id_r) = (view.id_i()?, view.id_r()?);
    let candidates = cx.candidates(core.realm(), core.path.local, core.path.remote.ip());
    let logs_in = |c: Arc<Connection>| {
        let RemoteAuth::Eap(config) = &c.remote_auth else { return None };
        let config = Arc::clone(config);
        respond::fits(&c, init, id, id_r).then_some((c, config))
    };
    let mut all: Vec<_> = candidates.into_iter().filter_map(logs_in).collect();
    let any = !all.is_empty();
    let only = view.notify(notify::EAP_ONLY_AUTHENTICATION).is_some();
    all.retain(|(c, _)| only || !matches!(c.local_auth, LocalAuth::Eap(_)));
    if any && all.is_empty() {
        return Err(bad("the peer does not know EAP-only authentication (RFC 5998)"));
    }
    if all.is_empty() {
        return Err(bad("no connection with these identities lets a peer log in by EAP"));
    }
    let serves = all.iter().position(|(c, _)| offer::choose(c.children.iter(), view, false).is_ok());
    let (connection, config) = all.swap_remove(serves.unwrap_or(0));
    Ok((connection, config, id.clone()))
}

impl LoggingIn {
    pub(crate) const fn keys(&self) -> &IkeKeys {
        &self.init.keys
    }

    pub(crate) const fn keys_mut(&mut self) -> &mut IkeKeys {
        &mut self.init.keys
    }

    /// HDR, SK {EAP} and, after EAP succeeded, HDR, SK {AUTH}
    pub(crate) fn on_request(
        mut self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        asked: Asked,
        view: View<'_>,
    ) -> State {
        let judged = if asked.exchange != Exchange::IkeAuth {
            Err(Malformed::Value("exchange type").into())
        } else if let Some(proven) = self.proven.take() {
            self.finish(core, cx, view, proven)
        } else {
            self.step(core, cx, view)
        };
        match judged {
            Ok(Next::Ask(packet)) => {
                core.answer(cx, &mut self.init.keys, asked, &[Payload::Eap(packet)]);
                State::LoggingIn(self)
            }
            Ok(Next::Refuse(packet, why)) => self.fail(core, cx, asked, packet, why),
            Ok(Next::Stand(by, known)) => {
                let (init, first) = (self.init, self.first);
                let known = Known { init, peer: known.0, child: None, after_eap: Some(known.1) };
                respond::follow(core, cx, asked);
                match judge::begin(core, cx, by, known, (asked, View(&first))) {
                    Ok(waiting) => waiting,
                    Err(Known { init, peer, after_eap, .. }) => {
                        let head = after_eap.unwrap_or_default();
                        respond::stand(init, core, cx, asked, View(&first), peer, head)
                    }
                }
            }
            Err(error) => {
                let Self { init, claimed, .. } = *self;
                respond::refuse(init, core, cx, asked, &error, &claimed.to_string())
            }
        }
    }

    fn step(&mut self, core: &Core, cx: &mut Cx<'_>, view: View<'_>) -> Result<Next, Error> {
        let packet = view.eap()?.ok_or(Malformed::Missing("EAP payload"))?;
        Ok(match self.server.on(packet, &mut *cx.rng) {
            Step::Send(packet) => Next::Ask(packet),
            Step::Done(mut proven) => {
                let key = if proven.msk.is_some() { "a key" } else { "no key" };
                core.trace(cx, || format!("EAP: {} has proven itself, with {key}", proven.user));
                let one_sided = matches!(proven.by, Proof::Itself);
                if matches!(core.connection.local_auth, LocalAuth::Eap(_)) && one_sided {
                    return Err(bad("EAP alone, by a method that does not prove both sides"));
                }
                let say = proven.say.take().unwrap_or_default();
                self.proven = Some(proven);
                Next::Ask(say)
            }
            Step::Failed { say, why } => Next::Refuse(say, why),
        })
    }

    /// The peer's AUTH, and ours in return.
    fn finish(
        &mut self,
        core: &Core,
        cx: &mut Cx<'_>,
        view: View<'_>,
        proven: Proven,
    ) -> Result<Next, Error> {
        let Proven { msk, user, by, .. } = proven;
        let (method, got) = view.auth()?.ok_or(Malformed::Missing("AUTH payload"))?;
        let choice = ppk::choose(core.connection.ppk.as_ref(), self.init.ppk, view, got)?;
        let data = match choice {
            Choice::Plain(data) => data,
            Choice::Mixed(ppk) => {
                ppk::mix(&self.init.keys, ppk).install(&mut self.init.keys);
                self.init.ppk_used = true;
                got
            }
        };
        let theirs = self.init.signed(Role::Initiator, &self.claimed);
        let key = self.init.keys.proof(Role::Initiator);
        if !auth::verify_after_eap(key, theirs, msk.as_ref(), (method, data)) {
            return Err(bad("the peer's AUTH is not made of what EAP proved"));
        }
        let id = our_id(&core.connection, core).ok_or_else(|| bad("our identity is not known"))?;
        let ours = self.init.signed(Role::Responder, &id);
        let mut head = vec![auth::after_eap(self.init.keys.proof(Role::Responder), ours, msk.as_ref())];
        if self.init.ppk_used {
            core.trace(cx, || ppk::USED.to_owned());
            head.push(ppk::agree());
        }
        Ok(Next::Stand(by, (Id::user(&user), head)))
    }

    fn fail(
        self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        asked: Asked,
        packet: Option<Wiped>,
        why: String,
    ) -> State {
        let Self { mut init, claimed, .. } = *self;
        let error = Error::Peer(Misbehaved::BadAuth(why.into()));
        count_error(cx, &error);
        cx.rejected(Some(core.connection.id), asked.via.remote, format!("{claimed}: {error}"));
        let payloads: Vec<Payload> = packet.into_iter().map(Payload::Eap).collect();
        core.answer(cx, &mut init.keys, asked, &payloads);
        State::Closed { until: cx.now + cx.config.timers.linger, stranger: true }
    }
}

/// What a request leads to.
enum Next {
    Ask(Wiped),
    Refuse(Option<Wiped>, String),
    /// What the proof rests on; the user, and what our answer begins with.
    Stand(Proof, (Id, Vec<Payload>)),
}
