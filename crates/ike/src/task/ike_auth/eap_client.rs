//! Logging in by EAP as initiator, after the responder has proven itself (RFC 7296 §2.16) or while it does by the same
//! EAP (RFC 5998).
//!
//! Decides: nothing of EAP itself (see [`crate::eap`]). Reads: answers of IKE_AUTH. Writes: its next requests.
//! Never: stands without the responder's second AUTH, which binds what EAP proved to this IKE SA.

use super::initiate::{self, AuthSent};
use super::judge::{self, Known};
use super::{Init, our_id};
use crate::auth::ppk::{self, Mixed};
use crate::auth::{self, bad};
use crate::config::{Child, EapClient};
use crate::crypto::Wiped;
use crate::eap::{Client, Proof, Proven, Step};
use crate::endpoint::Cx;
use crate::error::{Error, Failure, Malformed, Misbehaved};
use crate::header::Exchange;
use crate::ike_sa::{Asked, Core, IkeSa, State};
use crate::message::View;
use crate::payload::{Id, Payload};
use crate::snapshot::Role;
use ravelin_wire::Spi;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct LogIn {
    client: Client,
    /// The responder, which has proven itself; or, with EAP alone, says that it is this one.
    peer: Id,
    proven: Option<ByEap>,
}

/// EAP succeeded.
#[derive(Debug)]
struct ByEap {
    /// If the method makes one.
    msk: Option<Wiped>,
    by: Proof,
    /// The keys if the responder uses the post-quantum pre-shared key too.
    mixed: Option<Mixed>,
}

impl LogIn {
    pub(super) const fn new(config: Arc<EapClient>, peer: Id, now: u64) -> Self {
        Self { client: Client::new(config, now), peer, proven: None }
    }

    /// HDR, SK {EAP} and, after EAP succeeded, HDR, SK {AUTH, SAr2, TSi, TSr}
    pub(super) fn on_response(
        mut self,
        mut init: Init,
        core: &mut Core,
        cx: &mut Cx<'_>,
        (asked, child): (Asked, Option<(Child, Spi)>),
        view: View<'_>,
    ) -> State {
        if let Some(proven) = self.proven {
            return match verify(&mut init, core, cx, proven, &self.peer, view) {
                Ok(by) => {
                    let known = Known { init, peer: self.peer, child, after_eap: Some(Vec::new()) };
                    match judge::begin(core, cx, by, known, (asked, view)) {
                        Ok(waiting) => waiting,
                        Err(Known { init, peer, child, .. }) => {
                            initiate::stand(init, core, cx, peer, child, view)
                        }
                    }
                }
                Err(error) => initiate::refuse(init, core, cx, &error),
            };
        }
        let payloads = match self.answer(&init, core, cx, view) {
            Ok(payloads) => payloads,
            Err(error) => {
                crate::ike_sa::count_error(cx, &error);
                return IkeSa::fail(core, cx, error.to_string());
            }
        };
        if !core.request_sealed(cx, &mut init.keys, Exchange::IkeAuth, &payloads) {
            return IkeSa::fail(core, cx, Failure::Key.to_string());
        }
        State::AuthSent(Box::new(AuthSent { init, child, log_in: Some(self), mixed: None }))
    }

    /// What the next request says.
    fn answer(
        &mut self,
        init: &Init,
        core: &Core,
        cx: &mut Cx<'_>,
        view: View<'_>,
    ) -> Result<Vec<Payload>, Error> {
        let Some(packet) = view.eap()? else {
            view.refuse_errors()?;
            return Err(Malformed::Missing("EAP payload").into());
        };
        match self.client.on(packet, &mut *cx.rng) {
            Step::Send(packet) => Ok(vec![Payload::Eap(packet)]),
            Step::Done(proven) => {
                let key = if proven.msk.is_some() { "a key" } else { "no key" };
                core.trace(cx, || format!("EAP succeeded as {}, with {key}", proven.user));
                if initiate::eap_only(&core.connection) {
                    is_peer(&proven.by, &self.peer)?;
                }
                self.prove(init, core, proven)
            }
            Step::Failed { why, .. } => Err(Error::Peer(Misbehaved::BadAuth(why.into()))),
        }
    }

    /// AUTH and, with a post-quantum pre-shared key, what says so (RFC 8784 §3: not before EAP is over).
    fn prove(&mut self, init: &Init, core: &Core, proven: Proven) -> Result<Vec<Payload>, Error> {
        let id = our_id(&core.connection, core).ok_or_else(|| bad("our identity is not known"))?;
        let signed = init.signed(Role::Initiator, &id);
        let by = |key| auth::after_eap(key, signed, proven.msk.as_ref());
        let plain = by(init.keys.proof(Role::Initiator));
        let ppk = core.connection.ppk.as_ref().filter(|_| init.ppk);
        let mixed = ppk.map(|ppk| ppk::mix(&init.keys, ppk));
        let payloads = match (ppk, &mixed) {
            (Some(ppk), Some(mixed)) => {
                let with = by(mixed.proof(Role::Initiator));
                core::iter::once(with).chain(ppk::ask(ppk, Some(&plain))).collect()
            }
            _ => vec![plain],
        };
        self.proven = Some(ByEap { msk: proven.msk, by: proven.by, mixed });
        Ok(payloads)
    }
}

/// RFC 5998 §4: with EAP alone the method has to prove who the responder is, and to make a key.
fn is_peer(by: &Proof, peer: &Id) -> Result<(), Error> {
    let Proof::Path { path, .. } = by else {
        return Err(bad("EAP alone, by a method that does not prove both sides"));
    };
    match path.first() {
        Some(own) if own.has_identity(peer) => Ok(()),
        _ => Err(bad("the peer's certificate in EAP does not have its identity")),
    }
}

fn verify(
    init: &mut Init,
    core: &Core,
    cx: &mut Cx<'_>,
    proven: ByEap,
    peer: &Id,
    view: View<'_>,
) -> Result<Proof, Error> {
    let Some(got) = view.auth()? else {
        view.refuse_errors()?;
        return Err(Malformed::Missing("AUTH payload").into());
    };
    match proven.mixed.filter(|_| ppk::is_agreed(view)) {
        Some(mixed) => {
            mixed.install(&mut init.keys);
            core.trace(cx, || ppk::USED.to_owned());
        }
        None if core.connection.ppk.as_ref().is_some_and(|p| p.required) => {
            return Err(bad("the peer does not use the post-quantum pre-shared key, which is required"));
        }
        None => {}
    }
    let key = init.keys.proof(Role::Responder);
    if auth::verify_after_eap(key, init.signed(Role::Responder, peer), proven.msk.as_ref(), got) {
        Ok(proven.by)
    } else {
        Err(bad("the peer's AUTH is not made of what EAP proved"))
    }
}
