//! What is told of a record beside the IKE SA itself: its pairs, and whose it is.
//!
//! Decides: nothing. Never: tells a key.

use super::Restored;
use crate::child_sa::ChildPair;
use crate::config::{ChildId, Connection, ConnectionId};
use crate::event::ChildSaId;
use ravelin_wire::{Selector, Spi};

/// A peer of a connection for any address, which a record speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOf {
    pub template: ConnectionId,
    pub connection: ConnectionId,
    /// The connection's child, and the peer's.
    pub children: Vec<(ChildId, ChildId)>,
    /// What the peer's children carry.
    pub selectors: Vec<(ChildId, Vec<Selector>)>,
}

impl Restored {
    pub(crate) fn peer_of(&self, template: &Connection) -> Option<PeerOf> {
        self.peer.as_ref()?;
        let connection = &self.sa.core.connection;
        let own = connection.children.iter().map(|c| c.id);
        let pairs = self.sa.established().into_iter().flat_map(|e| &e.children);
        Some(PeerOf {
            template: template.id,
            connection: connection.id,
            children: template.children.iter().map(|c| c.id).zip(own).collect(),
            selectors: pairs.map(|p| (p.child, p.selectors.clone())).collect(),
        })
    }
}

/// What [`crate::endpoint::Endpoint::restore`] asks of a pair, and tells of those that it took on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairRef {
    pub id: ChildSaId,
    pub child: ChildId,
    pub inbound: Spi,
    pub outbound: Spi,
    pub esn: bool,
}

impl From<&ChildPair> for PairRef {
    fn from(p: &ChildPair) -> Self {
        Self { id: p.id, child: p.child, inbound: p.inbound, outbound: p.outbound, esn: p.proposal.esn }
    }
}
