//! What the engine tells the control process.

use crate::cert::Certificate;
use crate::config::{ChildId, ConnectionId, EspProposal, Mode, Trust};
use crate::keylog::KeyLine;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use ravelin_wire::{Selector, Spi};
use std::sync::Arc;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// One pair of child SAs; a rekey makes a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChildSaId(pub u64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IkeSaId(pub u64);

/// Answered by [`crate::command::Command::Installed`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InstallToken(pub u64);

/// Answered by [`crate::command::Command::Revocation`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RevocationToken {
    /// Number of the IKE SA.
    pub ike: u64,
    /// Of its questions: a late answer to one is none to the next.
    pub question: u32,
}

/// The identity that a peer has proven, as on the wire: type (RFC 7296 §3.5) and data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerKey {
    pub kind: u8,
    pub data: Vec<u8>,
}

/// Encryption key, then salt or integrity key (RFC 7296 §2.17). Wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ChildKeys(pub Vec<u8>);

impl core::fmt::Debug for ChildKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ChildKeys(…)")
    }
}

/// A child SA pair as negotiated.
#[derive(Clone, Debug)]
pub struct ChildSa {
    pub id: ChildSaId,
    pub connection: ConnectionId,
    pub child: ChildId,
    /// The pair it replaces, when it came by a rekey.
    pub replaces: Option<ChildSaId>,
    pub inbound_spi: Spi,
    pub outbound_spi: Spi,
    pub inbound_keys: ChildKeys,
    pub outbound_keys: ChildKeys,
    pub mode: Mode,
    pub proposal: EspProposal,
    /// Narrowed by both sides.
    pub selectors: Vec<Selector>,
    /// The peer takes padding for traffic flow confidentiality (RFC 7296 §1.3.1).
    pub pads: bool,
    /// Outer addresses; ports are non-zero when ESP goes in UDP.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub udp: bool,
    /// When the rekey begins and when the SA ends, from now.
    pub soft: Duration,
    pub hard: Duration,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// Step 1: put the inbound SA on its worker and answer with `Installed`. The engine holds back the message that
    /// lets the peer use it. The outbound SA is to be installed too, but not used.
    Install {
        token: InstallToken,
        sa: Box<ChildSa>,
    },
    /// Step 2: from now on send by this pair's outbound SA: all that have none of their own where `resource` is 0,
    /// else the one that owns its inbound SA alone (RFC 9611).
    UseOutbound {
        child: ChildId,
        sa: ChildSaId,
        resource: u16,
    },
    /// The resource that sends by this pair has no SA of its own any more: it goes by the one for all.
    StopOutbound {
        child: ChildId,
        sa: ChildSaId,
    },
    /// Step 3 of a rekey, or the end of the pair: take both directions out; inbound only after `grace`.
    Remove {
        child: ChildId,
        sa: ChildSaId,
        grace: Duration,
    },
    /// The outer addresses of this pair changed (NAT rebinding).
    Moved {
        sa: ChildSaId,
        local: SocketAddr,
        remote: SocketAddr,
    },
    IkeUp {
        connection: ConnectionId,
        ike: IkeSaId,
        remote: SocketAddr,
        peer_id: String,
    },
    /// A peer of a connection for any address has proven who it is: from now on its SAs are those of a connection of
    /// its own, with children of its own for those of the configuration.
    PeerKnown {
        template: ConnectionId,
        connection: ConnectionId,
        children: Vec<(ChildId, ChildId)>,
        peer: String,
    },
    /// All that it had is gone; its numbers are not used again soon.
    PeerGone {
        connection: ConnectionId,
    },
    /// A peer has these addresses of the connection's pool; they are to be kept for it
    /// ([`crate::command::Command::Lease`]).
    Leased {
        connection: ConnectionId,
        peer: PeerKey,
        addresses: Vec<IpAddr>,
    },
    /// All that the peer gives to a connection which asks for addresses, the newest first; none: nothing any more.
    Given {
        connection: ConnectionId,
        addresses: Vec<IpAddr>,
        dns: Vec<IpAddr>,
    },
    /// `why` is a sentence for the operator.
    IkeDown {
        connection: ConnectionId,
        ike: IkeSaId,
        why: String,
    },
    /// An attempt failed; the next one starts after `retry` (None: it will not be tried by itself).
    Failed {
        connection: ConnectionId,
        why: String,
        retry: Option<Duration>,
    },
    /// A peer's attempt was refused; `why` says attribute by attribute what was wanted and what was offered.
    Rejected {
        connection: Option<ConnectionId>,
        remote: SocketAddr,
        why: String,
    },
    ChildUp {
        child: ChildId,
        sa: ChildSaId,
    },
    ChildDown {
        child: ChildId,
        sa: ChildSaId,
        why: String,
    },
    /// What a traced connection does: a message, a state, a decision. No secrets.
    Trace {
        connection: ConnectionId,
        ike: IkeSaId,
        text: String,
    },
    /// Only with [`crate::endpoint::EndpointConfig::key_log`].
    KeyLog(KeyLine),
    /// Has one of these certificates been revoked? The peer's stands first; each was issued by the next one, and the
    /// last is trusted.
    CheckRevocation {
        token: RevocationToken,
        connection: ConnectionId,
        trust: Arc<Trust>,
        path: Vec<Certificate>,
    },
    /// After `Shutdown`: nothing is left.
    Idle,
}
