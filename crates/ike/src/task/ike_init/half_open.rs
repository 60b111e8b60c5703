//! What a responder keeps of a peer that has not authenticated yet.
//!
//! Decides: nothing. Reads: the way its request came, its public value. Writes: a new record. Never: trusts the address for more than an answer.

use crate::config::{Connection, Group};
use crate::crypto::Wiped;
use crate::crypto::group::KeyExchange;
use crate::endpoint::Cx;
use crate::error::{Error, Failure, Misbehaved};
use crate::event::IkeSaId;
use crate::header::Exchange;
use crate::ike_sa::{Core, Path, Via};
use crate::message;
use crate::payload::Payload;
use crate::snapshot::Role;
use std::sync::Arc;

pub(crate) fn half_open(cx: &mut Cx<'_>, connection: Arc<Connection>, peer_spi: u64, via: Via) -> Core {
    let path = Path {
        local: Some(via.local.ip()),
        remote: via.remote,
        natt: via.local.port() == cx.config.natt_port,
        nat_local: false,
        nat_remote: false,
        force_udp: connection.force_udp,
    };
    let (id, spi) = (IkeSaId(cx.fresh_id()), cx.ike_spi());
    Core::new(id, Role::Responder, (spi, peer_spi), connection, path, cx.now)
}

/// Answers the first request, and keeps the answer for repeats.
pub(crate) fn answer(
    core: &mut Core,
    cx: &mut Cx<'_>,
    exchange: Exchange,
    request: &[u8],
    via: Via,
    payloads: &[Payload],
) -> Vec<u8> {
    let header = core.header(exchange, true, 0);
    core.trace_message(cx, "out", &header, payloads);
    let response = message::plain(header, payloads);
    core.window.received(0, request);
    let reply = via.transmit(cx.config.natt_port, response.clone());
    core.window.reply(vec![reply.clone()]);
    cx.transmit(reply);
    response
}

/// Our half of the key exchange, and what both halves make.
pub(super) fn exchange(cx: &mut Cx<'_>, group: Group, public: &[u8]) -> Result<(KeyExchange, Wiped), Error> {
    let ke = KeyExchange::new(group, &mut *cx.rng).ok_or(Error::Local(Failure::Key))?;
    let shared = ke.shared(public).map_err(|_| Error::Peer(Misbehaved::BadPublicValue))?;
    Ok((ke, shared))
}
