//! What a responder keeps of a peer that has not authenticated yet.
//!
//! Decides: nothing. Reads: the way its request came. Writes: a new record. Never: trusts the address for more than an answer.

use crate::config::Connection;
use crate::endpoint::Cx;
use crate::event::IkeSaId;
use crate::fragment::Fragments;
use crate::ike_sa::{Core, Path, Via, Window};
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
    Core {
        id: IkeSaId(cx.fresh_id()),
        role: Role::Responder,
        our_spi: cx.ike_spi(),
        peer_spi,
        connection,
        path,
        window: Window::default(),
        created: cx.now,
        last_sent: cx.now,
        retransmits: 0,
        lowest_nonce: Vec::new(),
        doomed: false,
        fragmentation: false,
        fragments: Fragments::default(),
    }
}
