//! IKE_INTERMEDIATE with the additional key exchange, in both roles (RFC 9242, RFC 9370 §2.2.2).
//!
//! Decides: which keys IKE_AUTH is protected with, and what AUTH covers besides the first messages. Reads: messages under
//! the keys of IKE_SA_INIT, of a peer that has proven nothing yet. Never: goes on to IKE_AUTH without the exchange that
//! was agreed on.

use super::ike_auth::{AuthSent, Init};
use super::ike_init::InitAnswered;
use crate::config::{ChildId, IkeProposal, Kem};
use crate::counters::Counter;
use crate::crypto::kem::{self, KeyPair};
use crate::crypto::keys::{self, IkeKeys, Ingredients};
use crate::crypto::{Wiped, prf};
use crate::endpoint::Cx;
use crate::error::{Error, Failure, Malformed, Misbehaved};
use crate::header::{Exchange, Header};
use crate::ike_sa::{Asked, Authentic, Core, IkeSa, State, count_error, error_payload};
use crate::message::{self, View};
use crate::negotiate::algorithm::kem_number;
use crate::payload::{self, Payload};
use crate::snapshot::Role;

/// Initiator: has the keys of IKE_SA_INIT and waits for the responder's half of the second exchange.
#[derive(Debug)]
pub(crate) struct IntermediateSent {
    init: Init,
    kem: KeyPair,
    /// IntAuth_i1
    ours: Wiped,
    child: Option<ChildId>,
}

impl IntermediateSent {
    pub(crate) const fn keys(&self) -> &IkeKeys {
        &self.init.keys
    }

    #[cfg(test)]
    pub(crate) const fn keys_mut(&mut self) -> &mut IkeKeys {
        &mut self.init.keys
    }

    /// HDR, SK {KEi(1)}
    pub(super) fn send(
        core: &mut Core,
        cx: &mut Cx<'_>,
        mut init: Init,
        kem: Kem,
        child: Option<ChildId>,
    ) -> State {
        let kem = KeyPair::new(kem, &mut *cx.rng);
        let payloads = [ke_payload(kem.kem(), kem.public.clone())];
        let header = core.header(Exchange::IkeIntermediate, false, core.window.next_request_id());
        let ours = int_auth_of(&init.keys, Role::Initiator, header, &payloads);
        if !core.request_sealed(cx, &mut init.keys, Exchange::IkeIntermediate, &payloads) {
            return IkeSa::fail(core, cx, Failure::Key.to_string());
        }
        State::IntermediateSent(Box::new(Self { init, kem, ours, child }))
    }

    /// HDR, SK {KEr(1)}
    pub(crate) fn on_response(
        self: Box<Self>,
        core: &mut Core,
        cx: &mut Cx<'_>,
        message: &Authentic,
    ) -> State {
        let secret = match self.secret(message) {
            Ok(secret) => secret,
            Err(error) => {
                count_error(cx, &error);
                return IkeSa::fail(core, cx, error.to_string());
            }
        };
        let Self { mut init, ours, child, .. } = *self;
        let theirs = int_auth(&init.keys, Role::Responder, message);
        init.keys = mix(core, &init.proposal, &init.keys, (&init.ni, &init.nr), &secret);
        cx.log_keys(core.spis(), &init.proposal, &init.keys);
        init.int_auth = [&ours[..], &theirs, &core.window.next_request_id().to_be_bytes()].concat();
        AuthSent::send(core, cx, init, child)
    }

    fn secret(&self, message: &Authentic) -> Result<Wiped, Error> {
        if message.header.exchange != Exchange::IkeIntermediate {
            return Err(Error::Peer(Misbehaved::BadAnswer("another exchange")));
        }
        let view = View(&message.payloads);
        view.refuse_errors()?;
        let ciphertext = value(view, self.kem.kem())?;
        self.kem.shared(ciphertext).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))
    }
}

/// As responder. The answer goes under the old keys, all that follows under the new ones.
pub(crate) fn respond(
    mut state: Box<InitAnswered>,
    core: &mut Core,
    cx: &mut Cx<'_>,
    asked: Asked,
    message: &Authentic,
) -> State {
    match encapsulate(&state, cx, View(&message.payloads)) {
        Ok((payload, secret)) => {
            let header = core.header(Exchange::IkeIntermediate, true, asked.id);
            let payloads = [payload];
            let theirs = int_auth(&state.keys, Role::Initiator, message);
            let ours = int_auth_of(&state.keys, Role::Responder, header, &payloads);
            core.answer(cx, &mut state.keys, asked, &payloads);
            state.keys = mix(core, &state.proposal, &state.keys, (&state.ni, &state.nr), &secret);
            cx.log_keys(core.spis(), &state.proposal, &state.keys);
            state.int_auth = [&theirs[..], &ours].concat();
            state.pending = None;
            State::InitAnswered(state)
        }
        Err(error) => {
            count_error(cx, &error);
            tracing::debug!(ike = core.id.0, %error, "IKE_INTERMEDIATE refused");
            core.answer(cx, &mut state.keys, asked, &[error_payload(&error)]);
            State::Closed { until: cx.now + cx.config.timers.linger, stranger: true }
        }
    }
}

fn encapsulate(state: &InitAnswered, cx: &mut Cx<'_>, view: View<'_>) -> Result<(Payload, Wiped), Error> {
    let kem = state.pending.ok_or(Malformed::Value("exchange type"))?;
    let public = value(view, kem)?;
    let made = kem::encapsulate(kem, public, &mut *cx.rng);
    let (ciphertext, secret) = made.map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    cx.count(Counter::Hybrid);
    Ok((ke_payload(kem, ciphertext), secret))
}

pub(super) fn ke_payload(kem: Kem, data: Vec<u8>) -> Payload {
    Payload::KeyExchange { group: kem_number(kem), data }
}

pub(super) fn value(view: View<'_>, kem: Kem) -> Result<&[u8], Error> {
    let (number, data) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    if number == kem_number(kem) {
        Ok(data)
    } else {
        Err(Error::Peer(Misbehaved::BadAnswer("another additional key exchange")))
    }
}

/// SKEYSEED(1) = prf(SK_d(0), SK(1) | Ni | Nr), and all keys from it.
fn mix(
    core: &Core,
    proposal: &IkeProposal,
    old: &IkeKeys,
    (ni, nr): (&[u8], &[u8]),
    secret: &[u8],
) -> IkeKeys {
    let (initiator_spi, responder_spi) = core.spis();
    let seed = keys::rekey_seed(old, ni, nr, secret, &[]);
    keys::ike_keys(proposal, &seed, Ingredients { ni, nr, initiator_spi, responder_spi })
}

/// IntAuth of a message of the peer, by the keys that protected it (RFC 9242 §3.3.1).
fn int_auth(keys: &IkeKeys, sender: Role, message: &Authentic) -> Wiped {
    let octets = message::as_if_whole(message.header, message.opened.first, &message.opened.plain);
    prf::prf(keys.prf, keys.sk_p(sender), &[&octets])
}

/// The same of a message of ours.
fn int_auth_of(keys: &IkeKeys, sender: Role, header: Header, payloads: &[Payload]) -> Wiped {
    let mut plain = Wiped::default();
    payload::write_chain(payloads, &mut plain);
    let octets = message::as_if_whole(header, payload::first_kind(payloads), &plain);
    prf::prf(keys.prf, keys.sk_p(sender), &[&octets])
}
