//! What the engine is made with: ports, limits, timers, the source of SPIs.
//!
//! Decides: defaults. Reads and writes: nothing. Never: changes after start.

use crate::config::{ChildId, Realm};
use crate::record::Clock;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use ravelin_wire::Spi;

/// Chooses inbound ESP SPIs: their low bits name the worker that will own the SA.
pub trait SpiSource: Send {
    /// An SPI that no live SA has. The engine asks again when it knows the answer to be in use. `near`: whose it is to
    /// be; without, the source chooses.
    fn inbound_spi(&mut self, child: ChildId, near: Option<Near>) -> Spi;
}

/// The worker so many places after the owner of this inbound SPI, counted round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Near {
    pub spi: Spi,
    pub apart: u16,
}

/// Tells the time of day: validity of certificates is about it, while [`std::time::Instant`] knows no dates.
pub trait WallClock: Send {
    /// Seconds since 1970.
    fn unix(&self) -> u64;
}

/// Until the caller gives another one, it is 1970 and no certificate is valid yet.
struct Unset;

impl WallClock for Unset {
    fn unix(&self) -> u64 {
        0
    }
}

pub struct EndpointConfig {
    /// UDP port of IKE, here and at the peer (500).
    pub ike_port: u16,
    /// UDP port of IKE and ESP behind NAT, here and at the peer (4500).
    pub natt_port: u16,
    pub limits: Limits,
    pub timers: Timers,
    /// For laboratories: every IKE SA's keys become an event. Whoever sees them can read all traffic.
    pub key_log: bool,
    pub spi_source: Box<dyn SpiSource>,
    pub clock: Box<dyn WallClock>,
    /// RFC 7427; off: signatures in the older forms only.
    pub signature_negotiation: bool,
    /// Keeps records of its IKE SAs ([`super::Endpoint::poll_record`]), with times by this clock.
    pub records: Option<Clock>,
}

impl EndpointConfig {
    pub fn new(spi_source: Box<dyn SpiSource>) -> Self {
        Self {
            ike_port: 500,
            natt_port: 4500,
            limits: Limits::default(),
            timers: Timers::default(),
            key_log: false,
            spi_source,
            clock: Box::new(Unset),
            signature_negotiation: true,
            records: None,
        }
    }
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("ike_port", &self.ike_port)
            .field("natt_port", &self.natt_port)
            .field("limits", &self.limits)
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}

/// Bounds on what peers can make us hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From so many half-open IKE SAs on, a request must bring a cookie (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// No more half-open IKE SAs than this.
    pub half_open: usize,
    /// No more half-open IKE SAs than this from one address.
    pub half_open_per_address: usize,
    /// Own attempts that wait for their first answers at one time; one that has to repeat itself counts no more, so
    /// that peers that are gone hold up nobody. All at once would fill the peer's socket, and lose most of them.
    pub starting: usize,
    /// IKE SAs in all, so that memory stays bounded whoever authenticates.
    pub ike_sas: usize,
    /// Child SA pairs of one IKE SA, rekeyed ones included.
    pub children: usize,
    /// Those of one child, each for another resource of a side (RFC 9611).
    pub resources: usize,
    /// Tasks that wait in one IKE SA.
    pub tasks: usize,
    /// Bytes of messages in pieces (RFC 7383) from peers that have not authenticated: in all, and for one message. An
    /// address cannot fill it: its half-open SAs are too few.
    pub strangers_fragments: usize,
    pub stranger_message: usize,
    /// The same for authenticated peers.
    pub peers_fragments: usize,
    pub peer_message: usize,
    /// Datagrams that wait for `poll_transmit`; more are dropped as if the network had lost them.
    pub transmits: usize,
    /// [`crate::event::Event::Rejected`] that wait for `poll_event`; other events are bounded by the SAs they speak of.
    pub rejections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cookie_threshold: 64,
            half_open: 4096,
            half_open_per_address: 64,
            starting: 256,
            ike_sas: 65_536,
            children: 256,
            resources: 64,
            tasks: 1024,
            strangers_fragments: 16 << 20,
            stranger_message: 32 << 10,
            peers_fragments: 64 << 20,
            peer_message: 64 << 10,
            transmits: 65_536,
            rejections: 256,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// A request is sent again after this time, then after twice as long, and so on (RFC 7296 §2.1).
    pub retransmit_first: Duration,
    /// No pause between two retransmissions is longer.
    pub retransmit_max: Duration,
    /// After so many retransmissions, and the pause after the last, the peer is given up.
    pub retransmit_tries: u32,
    /// A peer that began must authenticate within this time.
    pub half_open: Duration,
    /// A message in pieces is given up when no new piece came for this time.
    pub reassembly: Duration,
    /// Within this time the answer to [`crate::event::Event::CheckRevocation`] must come.
    pub revocation: Duration,
    /// Idle time after which a keepalive goes to a peer when we are behind a NAT (RFC 3948 §4).
    pub keepalive: Duration,
    /// A pair that the peer asked for beside another one is sent by after this time, though nothing came by it: long
    /// enough for a lost answer to have been sent again.
    pub proof: Duration,
    /// How long the inbound SA of a replaced pair still takes packets that are on their way.
    pub grace: Duration,
    /// First pause before a failed connection or child is tried again; doubles with each failure.
    pub retry_first: Duration,
    pub retry_max: Duration,
    /// Pause after TEMPORARY_FAILURE; up to as much again is added at random.
    pub temporary_failure: Duration,
    /// A peer that has agreed on a second key exchange must come with it within this time (RFC 9370 §2.2.4).
    pub followup: Duration,
    /// How long an IKE SA that its peer should delete (after a rekey or a collision) is kept, and how long a deleted
    /// one still answers repeated requests.
    pub linger: Duration,
    /// Within this time after `Shutdown` or `Remove` what has not been answered is forgotten.
    pub shutdown: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            retransmit_first: Duration::from_secs(1),
            retransmit_max: Duration::from_secs(16),
            retransmit_tries: 5,
            half_open: Duration::from_secs(30),
            reassembly: Duration::from_secs(20),
            revocation: Duration::from_secs(15),
            keepalive: Duration::from_secs(20),
            proof: Duration::from_secs(3),
            grace: Duration::from_secs(5),
            retry_first: Duration::from_secs(2),
            retry_max: Duration::from_secs(60),
            temporary_failure: Duration::from_secs(2),
            followup: Duration::from_secs(20),
            linger: Duration::from_secs(30),
            shutdown: Duration::from_secs(3),
        }
    }
}

/// A datagram to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Source address; `None`: the socket chooses.
    pub local: Option<IpAddr>,
    pub remote: SocketAddr,
    /// By the NAT-T socket (true) or by the IKE socket.
    pub natt: bool,
    /// A single 0xff that goes without non-ESP marker.
    pub keepalive: bool,
    /// Where both addresses belong.
    pub realm: Realm,
    /// Without the non-ESP marker; [`Self::datagram`] has it.
    pub bytes: Vec<u8>,
}

impl Transmit {
    /// The UDP payload: with the four zero bytes of the non-ESP marker where they belong (RFC 3948 §2.2).
    pub fn datagram(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 4);
        if self.natt && !self.keepalive {
            out.extend_from_slice(&[0; 4]);
        }
        out.extend_from_slice(&self.bytes);
        out
    }
}
