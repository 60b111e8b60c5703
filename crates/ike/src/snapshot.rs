//! What `ravelin show` prints of the engine: plain copies, no secrets.
//!
//! Decides: nothing. Reads: the state of the engine. Writes: these values. Never: holds a key or a secret.

use crate::config::{ChildId, ConnectionId, EspProposal, IkeProposal, Mode};
use crate::event::{ChildSaId, IkeSaId};
use core::net::SocketAddr;
use core::time::Duration;
use ravelin_wire::{Selector, Spi};

/// The whole engine at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub connections: Vec<ConnectionInfo>,
    pub ike_sas: Vec<IkeSaInfo>,
    /// IKE SAs as responder whose peer has not authenticated yet.
    pub half_open: usize,
}

#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    pub id: ConnectionId,
    pub name: String,
    /// The engine brings it (back) up by itself.
    pub wanted: bool,
    /// An IKE SA of it is established.
    pub up: bool,
    /// Why the last attempt failed or the last SA went down.
    pub last_error: Option<String>,
    /// When the next attempt starts.
    pub retry_in: Option<Duration>,
    /// Failed attempts since it was last up.
    pub failures: u32,
}

/// Who began the IKE SA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Initiator,
    Responder,
}

#[derive(Clone, Debug)]
pub struct IkeSaInfo {
    pub id: IkeSaId,
    /// `None` while a peer that began has not said who it is.
    pub connection: Option<ConnectionId>,
    /// The connection's name, or empty.
    pub name: String,
    /// `IKE_SA_INIT sent`, `IKE_SESSION_RESUME sent`, `IKE_SA_INIT answered`, `EAP asked`, `IKE_INTERMEDIATE sent`, `IKE_AUTH sent`, `established`, `rekeyed`, `deleting`, `closed`.
    pub state: &'static str,
    pub role: Role,
    pub local: Option<SocketAddr>,
    pub remote: SocketAddr,
    pub initiator_spi: u64,
    /// 0 until it is known.
    pub responder_spi: u64,
    pub local_id: String,
    /// Empty until the peer authenticated.
    pub remote_id: String,
    pub proposal: Option<IkeProposal>,
    /// A NAT changes our address or port.
    pub nat_local: bool,
    /// A NAT changes the peer's address or port.
    pub nat_remote: bool,
    /// IKE goes by the NAT-T port, ESP in UDP.
    pub udp: bool,
    /// By a ticket, not by key exchange and proofs (RFC 5723).
    pub resumed: bool,
    /// How long a ticket for it is good, which we gave or were given.
    pub ticket_for: Option<Duration>,
    pub age: Duration,
    pub rekey_in: Option<Duration>,
    /// Since an authentic message of the peer, or ESP as [`crate::command::Command::Alive`] tells.
    pub idle: Duration,
    pub retransmits: u64,
    /// Next message ids: of our requests, of the peer's.
    pub message_ids: (u32, u32),
    /// What the outstanding request of ours is for, if there is one.
    pub task: Option<&'static str>,
    pub queued_tasks: usize,
    pub children: Vec<ChildSaInfo>,
}

#[derive(Clone, Debug)]
pub struct ChildSaInfo {
    pub id: ChildSaId,
    pub child: ChildId,
    pub name: String,
    /// `installing`, `installed`, `rekeyed`, `deleting`.
    pub state: &'static str,
    pub inbound_spi: Spi,
    pub outbound_spi: Spi,
    pub mode: Mode,
    pub proposal: EspProposal,
    pub selectors: Vec<Selector>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub udp: bool,
    /// Our packets leave by this pair.
    pub outbound_in_use: bool,
    pub age: Duration,
    pub rekey_in: Option<Duration>,
    pub expires_in: Duration,
}
