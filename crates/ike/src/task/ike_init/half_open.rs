//! What a responder keeps of a peer that has not authenticated yet.
//!
//! Decides: nothing. Reads: the way its request came. Writes: a new record. Never: trusts the address for more than an answer.

use crate::config::Connection;
use crate::endpoint::Cx;
use crate::event::IkeSaId;
use crate::ike_sa::{Core, Path, Via};
use crate::snapshot::Role;
use std::sync::Arc;

pub(super) fn half_open(cx: &mut Cx<'_>, connection: Arc<Connection>, peer_spi: u64, via: Via) -> Core {
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
