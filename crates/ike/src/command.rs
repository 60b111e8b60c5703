//! What the control process asks of the engine.

use crate::config::{ChildId, Connection, ConnectionId};
use crate::event::{ChildSaId, IkeSaId, InstallToken, PeerKey, RevocationToken};
use core::net::{IpAddr, SocketAddr};
use ravelin_wire::Selector;

#[derive(Clone, Debug)]
pub enum Command {
    /// Adds a connection, or changes one: what did not change in it stays up as it is.
    Configure(Box<Connection>),
    /// Takes its SAs down with Delete messages and forgets it.
    Remove(ConnectionId),
    /// `ravelin up`, or traffic of a child that is down. Nothing happens when it is up or on its way.
    Initiate {
        connection: ConnectionId,
        child: Option<ChildId>,
    },
    /// Traffic wants a child that is down: `Initiate` that says which packet it is (its addresses, protocol and ports),
    /// so that the peer may narrow around it.
    Acquire {
        connection: ConnectionId,
        child: ChildId,
        packet: Selector,
    },
    /// A peer had this address of the connection's pool before this process began.
    Lease {
        connection: ConnectionId,
        peer: PeerKey,
        address: IpAddr,
    },
    /// `ravelin down`: Delete, and stay down until `Initiate` or the peer brings it up.
    Terminate {
        connection: ConnectionId,
    },
    /// None of our addresses for it is there: its IKE SAs are forgotten with what they carry, none is begun, and no word
    /// goes out, since it would go from another address or nowhere. `false`: one is there again.
    Away {
        connection: ConnectionId,
        away: bool,
    },
    /// `ravelin clear ike`: Delete. What is wanted up begins anew at once.
    ClearIke(IkeSaId),
    /// `ravelin clear sas`: Delete of one child SA pair. What is wanted up is made anew at once.
    ClearChild(ChildSaId),
    RekeyIke(ConnectionId),
    /// Another IKE SA with new children beside the one that is up, which then goes.
    Renew {
        connection: ConnectionId,
    },
    RekeyChild(ChildSaId),
    /// Delete the child SA pair: a hard limit was reached.
    DeleteChild(ChildSaId),
    /// The data plane has the inbound SA in force on every worker (or cannot take it: `ok` false).
    Installed {
        token: InstallToken,
        ok: bool,
    },
    /// An authentic packet came by the child's newest inbound SA.
    FirstPacket(ChildSaId),
    /// An authentic ESP packet came from another outer address or port (RFC 7296 §2.23).
    PeerMoved {
        child: ChildSaId,
        from: SocketAddr,
    },
    /// The child SA carried inbound traffic lately: no need to ask whether the peer lives.
    Alive(ChildSaId),
    /// Tell [`crate::event::Event::Trace`] of all that this connection does, or stop it.
    Trace {
        connection: ConnectionId,
        on: bool,
    },
    /// One status for each certificate of the path but the last.
    Revocation {
        token: RevocationToken,
        answers: Vec<Status>,
    },
    /// Delete everything; `poll_event` says `Event::Idle` when the peers answered or were given up (a few seconds).
    Shutdown,
}

/// What is known of one certificate, by each way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub crl: Answer,
    pub ocsp: Answer,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Good,
    Revoked,
    /// Why not.
    Unknown(String),
}
