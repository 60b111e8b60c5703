//! Addresses and NAT of an IKE SA (RFC 7296 §2.23).
//!
//! Decides: whether a NAT stands on either side, and where messages go. Reads: detection hashes.
//! Writes: nothing but itself. Never: follows an address that no authenticated message came from.

use super::Core;
use crate::config::Realm;
use crate::endpoint::{EndpointConfig, Transmit};
use crate::message::View;
use crate::payload::{Notify, Payload, notify};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use sha1::{Digest, Sha1};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    /// `None`: not known before the peer's first answer.
    pub(crate) local: Option<IpAddr>,
    pub(crate) remote: SocketAddr,
    /// By the NAT-T port.
    pub(crate) natt: bool,
    pub(crate) nat_local: bool,
    pub(crate) nat_remote: bool,
    /// The operator wants ESP in UDP.
    pub(crate) force_udp: bool,
}

/// By which way a request came; its answer goes back there (RFC 7296 §2.11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Via {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) realm: Realm,
}

impl Via {
    /// The peer's address, in its realm.
    pub(crate) const fn from(&self) -> (Realm, IpAddr) {
        (self.realm, self.remote.ip())
    }

    pub(crate) fn transmit(&self, natt_port: u16, bytes: Vec<u8>) -> Transmit {
        Transmit {
            local: Some(self.local.ip()),
            remote: self.remote,
            natt: self.local.port() == natt_port,
            keepalive: false,
            realm: self.realm,
            bytes,
        }
    }
}

impl Path {
    /// ESP goes in UDP.
    pub(crate) const fn udp(&self) -> bool {
        self.nat_local || self.nat_remote || self.force_udp
    }

    pub(crate) const fn local_port(&self, config: &EndpointConfig) -> u16 {
        if self.natt { config.natt_port } else { config.ike_port }
    }

    /// The outer addresses of child SAs: with ports only when ESP goes in UDP.
    pub(crate) fn outer(&self, config: &EndpointConfig) -> (SocketAddr, SocketAddr) {
        let local = self.local.unwrap_or_else(|| unspecified(self.remote));
        if !self.udp() {
            return (SocketAddr::new(local, 0), SocketAddr::new(self.remote.ip(), 0));
        }
        let port = if self.natt { self.remote.port() } else { config.natt_port };
        (SocketAddr::new(local, config.natt_port), SocketAddr::new(self.remote.ip(), port))
    }

    /// What is left for an IKE message in an IP packet of `size` bytes: without IP and UDP header and the non-ESP
    /// marker.
    pub(crate) const fn room(&self, size: u16) -> usize {
        let ip = if self.remote.is_ipv4() { 20 } else { 40 };
        (size as usize).saturating_sub(ip + 8 + 4)
    }

    /// As initiator after IKE_SA_INIT: IKE moves to the NAT-T port (RFC 7296 §2.23).
    pub(crate) fn move_to_natt(&mut self, config: &EndpointConfig) {
        if !self.natt {
            self.natt = true;
            self.remote.set_port(config.natt_port);
        }
    }

    /// Detection notifies of a message that goes this way. A forced encapsulation claims a NAT that is not there.
    pub(crate) fn detection(&self, config: &EndpointConfig, spis: (u64, u64)) -> [Payload; 2] {
        let local = SocketAddr::new(
            self.local.unwrap_or_else(|| unspecified(self.remote)),
            if self.force_udp { 0 } else { self.local_port(config) },
        );
        [
            Payload::Notify(Notify::with_data(notify::NAT_DETECTION_SOURCE_IP, hash(spis, local))),
            Payload::Notify(Notify::with_data(notify::NAT_DETECTION_DESTINATION_IP, hash(spis, self.remote))),
        ]
    }

    /// Reads the peer's detection notifies, in a message that came from `remote` to `local`.
    /// `None`: the peer does not know NAT traversal.
    pub(crate) fn detect(
        &mut self,
        view: View<'_>,
        spis: (u64, u64),
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<()> {
        let of = |kind| view.notifies().filter(move |n| n.kind == kind);
        let (source, destination) = (hash(spis, remote), hash(spis, local));
        of(notify::NAT_DETECTION_SOURCE_IP).next()?;
        let ours = of(notify::NAT_DETECTION_DESTINATION_IP).next()?;
        // The peer may name several source addresses; one that fits is enough.
        self.nat_remote = !of(notify::NAT_DETECTION_SOURCE_IP).any(|n| n.data == source);
        // Before the first answer an unknown address of ours was hashed: the peer then saw a NAT, so must we.
        self.nat_local = self.local.is_none() || ours.data != destination;
        Some(())
    }
}

impl Core {
    /// Where its addresses belong.
    pub(crate) fn realm(&self) -> Realm {
        self.connection.exchanges.realm
    }
}

const fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// SHA-1(SPIi | SPIr | address | port).
fn hash(spis: (u64, u64), addr: SocketAddr) -> Vec<u8> {
    let mut sha = Sha1::new();
    sha.update(spis.0.to_be_bytes());
    sha.update(spis.1.to_be_bytes());
    match addr.ip() {
        IpAddr::V4(a) => sha.update(a.octets()),
        IpAddr::V6(a) => sha.update(a.octets()),
    }
    sha.update(addr.port().to_be_bytes());
    sha.finalize().to_vec()
}
