//! What a connection does beyond plain IKEv2: other gateways of its peer, reauthentication, optional extensions.
//!
//! Decides: which choices there are; the default is none of them. Reads and writes: nothing.

use super::Connection;
use core::net::IpAddr;
use core::time::Duration;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchanges {
    /// Other gateways of the peer, tried in this order when the one before is lost or cannot be had. Of each its
    /// address, identities and authentication count; number and children are those of the first.
    pub backups: Vec<Connection>,
    /// While it is up with a backup, the first gateway is tried again after this time; zero: never.
    pub return_to_first: Duration,
    /// Both sides prove themselves anew after this time, by a new IKE SA that replaces the old one once its children
    /// carry traffic (RFC 7296 §2.8.3); zero: never.
    pub reauthentication: Duration,
    /// Addresses of either side may change while the IKE SA lives (RFC 4555).
    pub mobike: bool,
    /// The peer's gateway may send us to another one (RFC 5685), which must prove to be the same peer.
    pub redirect: bool,
    /// IKE_AUTH without a child, where the peer knows that (RFC 6023): each child then has a key exchange of its own.
    pub childless: bool,
    /// Tickets are given and asked for, so that an IKE SA that was lost is resumed without proofs and key exchange
    /// (RFC 5723). The resumed one has the secrecy of the old one, no more.
    pub resumption: bool,
    /// How often a request is sent again before its peer is given up; `None`: as often as the timers say.
    pub retransmissions: Option<u32>,
    /// UDP port of IKE at the peer's gateways, if it is not ours (R174).
    pub remote_port: Option<u16>,
    /// A peer that begins is sent there, if it knows redirects (RFC 5685).
    pub redirect_to: Option<RedirectTo>,
    /// With [`Self::mobike`]: all addresses of ours that the peer may reach us at (RFC 4555 §3.4).
    pub own_addresses: Vec<IpAddr>,
    /// Addresses to ask the peer for, at most one of each family; unspecified: whichever it gives (RFC 7296 §2.19).
    /// What it gives is then the local side of all selectors that hold it.
    pub addresses: Vec<IpAddr>,
    /// Where the gateways' addresses belong: in another realm the same ones are others'.
    pub realm: Realm,
}

/// Whose addresses are meant, by the caller's numbers; 0 is one like the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Realm(pub u16);

/// Another gateway, which serves in our place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectTo {
    pub gateway: IpAddr,
    pub at: RedirectAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectAt {
    /// In the answer to IKE_SA_INIT: cheap, and told to whoever asks.
    Init,
    /// In the answer to IKE_AUTH: told to those only who have proven who they are.
    Auth,
}
