//! What the engine is configured with: connections, their children, proposals, identities, secrets.

mod auth;
mod exchanges;

pub use auth::{
    EapClient, EapMethod, EapServer, EapTls, LocalAuth, OwnKey, Ppk, RemoteAuth, Revocation, Trust, When,
};
pub use exchanges::{Exchanges, Realm, RedirectAt, RedirectTo};

use crate::cert::DnPattern;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use ravelin_wire::{AddrRange, Selector};
use zeroize::{Zeroize, ZeroizeOnDrop};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u32);

/// A child of the configuration (not an SA: SAs of it come and go by rekeys).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChildId(pub u32);

/// A peer and what we want to have with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    pub id: ConnectionId,
    pub name: String,
    /// Our address; `None`: whichever the peer reached us by, or the socket chooses.
    pub local: Option<IpAddr>,
    /// The peer's address; `None`: any (responder only).
    pub remote: Option<IpAddr>,
    pub local_id: Identity,
    pub remote_id: Identity,
    /// How we prove who we are.
    pub local_auth: LocalAuth,
    /// How the peer must.
    pub remote_auth: RemoteAuth,
    pub ppk: Option<Ppk>,
    /// In order of preference.
    pub proposals: Vec<IkeProposal>,
    pub children: Vec<Child>,
    /// Addresses for the peers of a connection for any address (RFC 7296 §2.19).
    pub pool: Option<Pool>,
    /// Until rekey begins, with `jitter` taken off at random.
    pub lifetime: Duration,
    pub jitter: Duration,
    /// Silence after which the peer is asked whether it lives; zero: never.
    pub dpd_delay: Duration,
    pub start: Start,
    /// Encapsulate ESP in UDP though no NAT was found.
    pub force_udp: bool,
    /// Messages to the peer that would make a larger IP packet go in fragments (RFC 7383); `None`: fragmentation is
    /// not offered.
    pub fragment_size: Option<u16>,
    pub exchanges: Exchanges,
}

/// What peers that ask for an address get.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub addresses: Vec<AddrRange>,
    pub dns: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub id: ChildId,
    pub name: String,
    /// Wanted selector pairs; the union of their local sides is offered as our TS, and so for the remote sides.
    pub selectors: Vec<Selector>,
    pub mode: Mode,
    /// In order of preference, all of ESP or all of AH.
    pub proposals: Vec<EspProposal>,
    /// Until rekey begins (soft); the SA ends at `hard_lifetime`.
    pub lifetime: Duration,
    pub hard_lifetime: Duration,
    pub jitter: Duration,
    /// Our resources that carry it, each by an SA of its own where the peer can (RFC 9611); up to 1: one SA for all.
    pub resources: u16,
}

/// How a child SA carries packets (RFC 4301 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    Tunnel,
    /// Between the two gateways themselves (RFC 7296 §1.3.1).
    Transport,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Bring it up, and back up after any failure, with back-off.
    Immediately,
    /// When traffic asks ([`crate::command::Command::Initiate`]).
    OnTraffic,
    Respond,
}

/// RFC 7296 §3.5.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    Address(IpAddr),
    Fqdn(String),
    UserFqdn(String),
    KeyId(Vec<u8>),
    /// A distinguished name; for the peer also a pattern of them.
    Dn(DnPattern),
    /// Remote only: any identity that is proven.
    Any,
}

/// A pre-shared key. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One transform of each kind; a connection offers several such proposals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IkeProposal {
    pub encryption: Encryption,
    /// `None` with AEAD ciphers.
    pub integrity: Option<Integrity>,
    pub prf: Prf,
    pub group: Group,
    /// A second key exchange, after the first (RFC 9370): who breaks one of them has not broken the SA.
    pub kem: Option<Kem>,
}

/// For child SAs: of ESP, or of AH where nothing is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EspProposal {
    /// `None`: AH (RFC 4302).
    pub encryption: Option<Encryption>,
    pub integrity: Option<Integrity>,
    /// Perfect forward secrecy: a new key exchange with each CREATE_CHILD_SA.
    pub group: Option<Group>,
    /// And a second one after it (RFC 9370 §2.2.4); only with a group.
    pub kem: Option<Kem>,
    pub esn: bool,
}

impl EspProposal {
    pub const fn is_ah(&self) -> bool {
        self.encryption.is_none()
    }
}

impl Child {
    /// Its SAs are of AH.
    pub fn is_ah(&self) -> bool {
        self.proposals.first().is_some_and(EspProposal::is_ah)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encryption {
    AesGcm16_128,
    AesGcm16_256,
    AesCbc128,
    AesCbc256,
    ChaCha20Poly1305,
    /// RFC 3686, of ESP only: with an integrity algorithm beside it.
    AesCtr128,
    AesCtr192,
    AesCtr256,
    /// RFC 4543, of ESP only: authentic, and not encrypted at all.
    AesGmac128,
    AesGmac192,
    AesGmac256,
}

impl Encryption {
    /// Child SAs alone may have it: IKE's messages are encrypted.
    pub const fn is_of_esp_only(self) -> bool {
        match self {
            Self::AesCtr128
            | Self::AesCtr192
            | Self::AesCtr256
            | Self::AesGmac128
            | Self::AesGmac192
            | Self::AesGmac256 => true,
            Self::AesGcm16_128
            | Self::AesGcm16_256
            | Self::AesCbc128
            | Self::AesCbc256
            | Self::ChaCha20Poly1305 => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Integrity {
    HmacSha1_96,
    HmacSha256_128,
    HmacSha384_192,
    HmacSha512_256,
    /// RFC 4543, of AH only.
    AesGmac128,
    AesGmac192,
    AesGmac256,
}

impl Integrity {
    /// AH alone may have it: it needs an IV, for which IKE and ESP have another form.
    pub const fn is_of_ah_only(self) -> bool {
        match self {
            Self::AesGmac128 | Self::AesGmac192 | Self::AesGmac256 => true,
            Self::HmacSha1_96 | Self::HmacSha256_128 | Self::HmacSha384_192 | Self::HmacSha512_256 => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prf {
    HmacSha1,
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Group {
    /// Broken by a state (RFC 8247 §2.4); for old peers, when it is named.
    Modp1024,
    Modp1536,
    Modp2048,
    Modp3072,
    Modp4096,
    Modp6144,
    Modp8192,
    Ecp256,
    Ecp384,
    Ecp521,
    Curve25519,
}

/// FIPS 203, with the numbers of draft-ietf-ipsecme-ikev2-mlkem.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kem {
    MlKem512,
    MlKem768,
    MlKem1024,
}
