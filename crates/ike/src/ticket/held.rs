//! Tickets that gateways gave us, one for each connection.
//!
//! Decides: when one is presented. Reads: the configuration of now. Writes: its list. Never: presents a ticket twice,
//! unless nobody answered (then it is the same request that is sent again, RFC 5723 §4.3.1), or to another gateway.

use super::Session;
use crate::config::{Connection, ConnectionId, EapTls, LocalAuth, RemoteAuth};
use crate::event::IkeSaId;
use crate::record::fingerprint;
use core::net::IpAddr;
use std::collections::BTreeMap;
use std::time::Instant;

/// After so many attempts without an answer one is a whole exchange: perhaps the gateway does not know resumption any more.
const UNANSWERED: u8 = 2;

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) ticket: Vec<u8>,
    pub(crate) session: Session,
    pub(crate) until: Instant,
    /// Whose it is: with its end, but by silence, the ticket ends too.
    pub(crate) ike: IkeSaId,
    pub(crate) gateway: IpAddr,
    /// SPI and nonce with which it was presented to a gateway that did not answer.
    pub(crate) presented: Option<(u64, Vec<u8>)>,
    /// How often in a row.
    pub(crate) unanswered: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Kept(BTreeMap<ConnectionId, Held>);

impl Kept {
    pub(crate) fn keep(&mut self, connection: ConnectionId, held: Held) {
        self.0.insert(connection, held);
    }

    /// The ticket for this gateway, if it may be presented now.
    pub(crate) fn take(&mut self, now: Instant, connection: &Connection) -> Option<Held> {
        let held = self.0.get_mut(&connection.id)?;
        if Some(held.gateway) != connection.remote {
            return None;
        }
        if held.unanswered >= UNANSWERED {
            held.unanswered = 0;
            return None;
        }
        let held = self.0.remove(&connection.id)?;
        let good =
            held.until > now && is_on(connection) && held.session.fingerprint == fingerprint(connection);
        good.then_some(held)
    }

    /// The IKE SA that it was given to ended by somebody's word.
    pub(crate) fn ended(&mut self, connection: ConnectionId, ike: IkeSaId) {
        if self.is_of(connection, ike) {
            self.0.remove(&connection);
        }
    }

    pub(crate) fn is_of(&self, connection: ConnectionId, ike: IkeSaId) -> bool {
        self.0.get(&connection).is_some_and(|held| held.ike == ike)
    }

    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }

    pub(crate) fn until(&self, connection: ConnectionId) -> Option<Instant> {
        self.0.get(&connection).map(|held| held.until)
    }
}

/// Tickets are given, asked for and taken. Not where a peer's certificates are asked about: a ticket would go round that
/// question.
pub(crate) fn is_on(connection: &Connection) -> bool {
    let by_tls = |tls: &Option<EapTls>| tls.as_ref().is_some_and(|tls| !tls.trust.revocation.is_off());
    let asked = match &connection.remote_auth {
        RemoteAuth::Certificate(trust) => !trust.revocation.is_off(),
        RemoteAuth::Eap(eap) => by_tls(&eap.tls),
        RemoteAuth::Psk(_) | RemoteAuth::RawKey(_) => false,
    };
    // EAP alone proves the gateway too (RFC 5998).
    let asked_by_us = matches!(&connection.local_auth, LocalAuth::Eap(eap) if by_tls(&eap.tls));
    connection.exchanges.resumption && !asked && !asked_by_us
}
