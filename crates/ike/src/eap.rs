//! The Extensible Authentication Protocol (RFC 3748) as IKE_AUTH carries it (RFC 7296 §2.16).
//!
//! Decides: which method is run, and whether the peer (as server), or the server (as client), has proven itself by it.
//! Reads: packets of the other side, which has proven nothing else when it is the client. Writes: packets, the key
//! that the method made. Never: runs more than [`MAX_ROUNDS`] rounds, takes a packet longer than [`MAX_PACKET`], says
//! to the other side why it was refused, prints a password.

mod client;
mod md5;
mod mschap;
mod mschapv2;
mod packet;
mod server;
mod tls;

pub(crate) use client::Client;
pub(crate) use packet::name;
pub(crate) use server::Server;

pub(crate) use crate::auth::Proven as Proof;
use crate::crypto::Wiped;

/// Packets of the other side in one run: an identity, a refusal of methods, and the longest method have far less.
pub(crate) const MAX_ROUNDS: u8 = 64;
/// Longer ones are not even looked at. IKE has no limit of its own but that of its messages.
pub(crate) const MAX_PACKET: usize = 4096;
/// A longer name of a user is refused.
pub(crate) const MAX_NAME: usize = 253;

/// What one packet of the other side leads to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Goes to the other side, and its answer is waited for.
    Send(Wiped),
    /// The method succeeded.
    Done(Proven),
    /// As server, `say` is EAP-Failure, which goes to the other side.
    Failed { say: Option<Wiped>, why: String },
}

/// What a method proved.
#[derive(Debug)]
pub(crate) struct Proven {
    /// As server: EAP-Success, which goes to the other side.
    pub(crate) say: Option<Wiped>,
    /// The master session key (RFC 3748 §7.10); `None`: the method makes none.
    pub(crate) msk: Option<Wiped>,
    /// As server: the user who proved itself.
    pub(crate) user: String,
    /// What the other side's proof rests on: certificates, by the one method that has them.
    pub(crate) by: Proof,
}

#[cfg(test)]
mod tests;
