//! Logging in by EAP as initiator, after the responder has proven itself (RFC 7296 §2.16).
//!
//! Decides: nothing of EAP itself (see [`crate::eap`]). Reads: answers of IKE_AUTH. Writes: its next requests.
//! Never: stands without the responder's second AUTH, which binds what EAP proved to this IKE SA.

use super::initiate::{self, AuthSent};
use super::{Init, our_id};
use crate::auth::{self, bad};
use crate::config::{Child, EapClient};
use crate::crypto::Wiped;
use crate::eap::{Client, Step};
use crate::endpoint::Cx;
use crate::error::{Error, Failure, Malformed};
use crate::header::Exchange;
use crate::ike_sa::{Core, IkeSa, State};
use crate::message::View;
use crate::payload::{Id, Payload};
use crate::snapshot::Role;
use ravelin_wire::Spi;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct LogIn {
    client: Client,
    /// The responder, which has proven itself.
    peer: Id,
    /// EAP succeeded, with this key if the method makes one.
    proven: Option<Option<Wiped>>,
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
        child: Option<(Child, Spi)>,
        view: View<'_>,
    ) -> State {
        if let Some(msk) = &self.proven {
            return match verify(&init, msk.as_ref(), &self.peer, view) {
                Ok(()) => initiate::stand(init, core, cx, self.peer, child, view),
                Err(error) => initiate::refuse(init, core, cx, &error),
            };
        }
        let payload = match self.answer(&init, core, cx, view) {
            Ok(payload) => payload,
            Err(error) => {
                crate::ike_sa::count_error(cx, &error);
                return IkeSa::fail(core, cx, error.to_string());
            }
        };
        if !core.request_sealed(cx, &mut init.keys, Exchange::IkeAuth, &[payload]) {
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
    ) -> Result<Payload, Error> {
        let Some(packet) = view.eap()? else {
            view.refuse_errors()?;
            return Err(Malformed::Missing("EAP payload").into());
        };
        match self.client.on(packet, &mut *cx.rng) {
            Step::Send(packet) => Ok(Payload::Eap(packet)),
            Step::Done(proven) => {
                let key = if proven.msk.is_some() { "a key" } else { "no key" };
                core.trace(cx, || format!("EAP succeeded as {}, with {key}", proven.user));
                let id = our_id(&core.connection, core).ok_or_else(|| bad("our identity is not known"))?;
                let signed = init.signed(Role::Initiator, &id);
                let auth = auth::after_eap(&init.keys, signed, proven.msk.as_ref());
                self.proven = Some(proven.msk);
                Ok(auth)
            }
            Step::Failed { why, .. } => Err(Error::Peer(crate::error::Misbehaved::BadAuth(why.into()))),
        }
    }
}

fn verify(init: &Init, msk: Option<&Wiped>, peer: &Id, view: View<'_>) -> Result<(), Error> {
    let Some(got) = view.auth()? else {
        view.refuse_errors()?;
        return Err(Malformed::Missing("AUTH payload").into());
    };
    if auth::verify_after_eap(&init.keys, init.signed(Role::Responder, peer), msk, got) {
        Ok(())
    } else {
        Err(bad("the peer's AUTH is not made of what EAP proved"))
    }
}
