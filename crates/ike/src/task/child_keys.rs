//! The key exchange of CREATE_CHILD_SA (RFC 7296 §1.3), for children and for the IKE SA.
//!
//! Decides: whether a public value is of the group that was agreed on. Never: keeps a secret.

use crate::config::Group;
use crate::crypto::Wiped;
use crate::crypto::group::KeyExchange;
use crate::endpoint::Cx;
use crate::error::{Error, Failure, Incompatible, Malformed, Misbehaved};
use crate::message::View;
use crate::negotiate::algorithm;
use crate::payload::Payload;

pub(crate) fn ke_payload(ke: &KeyExchange) -> Payload {
    Payload::KeyExchange { group: algorithm::group_number(ke.group()), data: ke.public.clone() }
}

/// As initiator: the peer's public value must be of the group that we offered.
pub(super) fn shared_as_initiator(
    ours: Option<&KeyExchange>,
    chosen: Option<Group>,
    view: View<'_>,
) -> Result<Option<Wiped>, Error> {
    let Some(chosen) = chosen else { return Ok(None) };
    let ke = ours.filter(|ke| ke.group() == chosen);
    let ke = ke.ok_or(Error::Peer(Misbehaved::BadAnswer("key exchange of another group")))?;
    let (number, public) = view.ke()?.ok_or(Malformed::Missing("KE payload"))?;
    if number != algorithm::group_number(chosen) {
        return Err(Error::Peer(Misbehaved::BadAnswer("key exchange of another group")));
    }
    let secret = ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    Ok(Some(secret))
}

/// As responder: our public value and the secret, when the chosen proposal asks for one.
pub(super) fn shared_as_responder(
    chosen: Option<Group>,
    view: View<'_>,
    cx: &mut Cx<'_>,
) -> Result<Option<(KeyExchange, Wiped)>, Error> {
    let Some(chosen) = chosen else { return Ok(None) };
    let wanted = algorithm::group_number(chosen);
    let (number, public) = view.ke()?.ok_or(Error::Mismatch(Incompatible::Group(wanted)))?;
    if number != wanted {
        return Err(Error::Mismatch(Incompatible::Group(wanted)));
    }
    let ke = KeyExchange::new(chosen, &mut *cx.rng).ok_or(Error::Local(Failure::Key))?;
    let secret = ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    Ok(Some((ke, secret)))
}
