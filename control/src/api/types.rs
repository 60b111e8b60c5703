//! What `ravelin` asks and `ravelin-control` answers, one JSON value per line each way.
//!
//! Decides: the names in JSON, which are stable once released. Reads and writes: nothing.
//! Never: carries a key or a secret.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::statuses::{CertificateStatus, Clear, Cleared, GreStatus, NatStatus, ProposalStatus};
use crate::config::Errors;

/// The version of these types; a client of another one is refused.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything of one kind; with a name, only the tunnel, port or worker of that name.
    Show {
        what: What,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Bring the tunnel up and answer when it is up or the attempt failed, or after `timeout_ms`.
    Up {
        tunnel: String,
        timeout_ms: u64,
    },
    /// Delete its SAs; it stays down until `Up` or the peer brings it up.
    Down {
        tunnel: String,
        timeout_ms: u64,
    },
    /// Log every IKE message, state and decision of the tunnel, or stop it.
    Trace {
        tunnel: String,
        on: bool,
    },
    /// Read the configuration again and apply what changed.
    Reload,
    Version,
    /// Delete SAs, or begin to count anew. Of what is named all has to fit; nothing named: everything.
    Clear {
        what: Clear,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tunnel: Option<String>,
        /// The address of a peer's gateway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<IpAddr>,
        /// Of either direction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spi: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Tunnels,
    Sas,
    Ports,
    Workers,
    Drops,
    Nat,
    Gre,
    Proposals,
    Certificates,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "content", rename_all = "kebab-case")]
pub enum Answer {
    Tunnels(Vec<TunnelStatus>),
    Sas(Vec<SaStatus>),
    Ports(Vec<PortStatus>),
    Workers(Vec<WorkerStatus>),
    Drops(DropStatus),
    Nat(NatStatus),
    Gre(Vec<GreStatus>),
    Proposals(Vec<ProposalStatus>),
    Certificates(Vec<CertificateStatus>),
    /// What came of `Up` or `Down`.
    Outcome(Outcome),
    Traced {
        tunnel: String,
        on: bool,
    },
    /// What `Clear` took down, or whose counts begin anew.
    Cleared(Vec<Cleared>),
    /// What came of `Reload`.
    Reloaded(Reloaded),
    Version(VersionStatus),
    /// The request was understood and refused, or was not understood.
    Error(Refusal),
}

/// A sentence for the operator: what is wrong and how to cure it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub message: String,
}

impl Answer {
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Error(Refusal { message: message.into() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub tunnel: String,
    /// Whether what was asked for is so now.
    pub done: bool,
    /// State of the tunnel when the answer was given.
    pub state: TunnelState,
    /// Why not, or what else is to be said; may be empty.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Reloaded {
    /// In force; one line per change, none when nothing changed.
    Applied { difference: Vec<String>, warnings: Vec<String> },
    /// Nothing was changed.
    Refused { errors: Errors },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionStatus {
    pub api: u32,
    pub control: String,
    /// `None` while no data plane is connected.
    pub dataplane: Option<String>,
    pub uptime_s: u64,
    pub config_file: String,
    pub pid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelState {
    /// No IKE SA, and none wanted now.
    Down,
    /// Waits for traffic (`start = "on-traffic"`) or the peer (`start = "respond"`).
    Waiting,
    /// An IKE SA is being made.
    Connecting,
    /// IKE SA is there, no child SA carries traffic.
    IkeOnly,
    /// A child SA pair carries traffic.
    Up,
    /// The last attempt failed; the next one is scheduled.
    Retrying,
    /// The machine has none of its addresses: no IKE and no SAs until it has.
    NoAddress,
}

impl TunnelState {
    /// The word in tables, the same as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::IkeOnly => "ike-only",
            Self::Up => "up",
            Self::Retrying => "retrying",
            Self::NoAddress => "no-address",
        }
    }
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub packets: u64,
    /// Of inner packets.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelStatus {
    pub name: String,
    pub id: u32,
    pub state: TunnelState,
    /// Outer addresses, with the port when IKE or ESP goes in UDP 4500; the remote one as configured ("any") when down.
    pub local: String,
    pub remote: String,
    pub local_id: String,
    pub remote_id: String,
    /// "esp", "esp-in-udp", "ah"; `None` when down.
    pub encapsulation: Option<String>,
    /// "tunnel", "transport"; `None` when down.
    pub mode: Option<String>,
    /// Of the IKE SA, as hexadecimal of 16 digits; `None` without one.
    pub ike_spi_local: Option<String>,
    pub ike_spi_remote: Option<String>,
    pub ike_suite: Option<String>,
    pub ike_age_s: Option<u64>,
    pub ike_rekey_in_s: Option<u64>,
    /// Whose key the IKE SA rests on: the entry of the secrets file, the certificate, the user; never the secret.
    pub credential: String,
    /// What our request that waits for its answer is for; `None`: there is none.
    pub ike_exchange: Option<String>,
    /// Next message ids of the IKE SA: of our requests, of the peer's.
    pub ike_message_ids: Option<(u32, u32)>,
    /// The IKE SA was made by a ticket, and for so long there is a ticket to resume it by (RFC 5723).
    pub ike_resumed: bool,
    pub ike_ticket_for_s: Option<u64>,
    /// Of the current child SA pair; `None` without one. SPIs are hexadecimal of 8 digits.
    pub spi_in: Option<String>,
    pub spi_out: Option<String>,
    pub suite: Option<String>,
    pub age_s: Option<u64>,
    pub rekey_in_s: Option<u64>,
    /// Since the tunnel was configured or `clear counters`, across rekeys.
    pub traffic_in: Traffic,
    pub traffic_out: Traffic,
    /// Since the last packet; `None`: never.
    pub idle_in_s: Option<u64>,
    pub idle_out_s: Option<u64>,
    /// For so long it sends and receives nothing; `None`: it is not one-way.
    pub one_way_s: Option<u64>,
    /// The device of a route-based tunnel; `None`: its selectors are policies.
    pub interface: Option<String>,
    /// Of what goes through it; `None`: the main one.
    pub vrf: Option<String>,
    /// Of the gateways' addresses; `None`: the main one.
    pub outside_vrf: Option<String>,
    /// As negotiated, or as configured while down: `10.1.0.0/24 = 10.2.0.0/24`.
    pub selectors: Vec<String>,
    /// Addresses and name servers that the peer gave us, where the tunnel asks for them.
    pub addresses: Vec<String>,
    pub dns: Vec<String>,
    pub rekeys: u64,
    /// The last failure, with its age; `None`: there was none.
    pub last_error: Option<String>,
    pub last_error_age_s: Option<u64>,
    pub retry_in_s: Option<u64>,
    /// Of a tunnel for any address: those that are up.
    pub peers: Vec<PeerStatus>,
}

/// One peer of a tunnel for any address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The identity that it has proven.
    pub id: String,
    /// Its address and port of IKE.
    pub remote: String,
    /// Of its IKE SA.
    pub age_s: u64,
    /// Of its child SA pair; `None` without one.
    pub spi_in: Option<String>,
    pub spi_out: Option<String>,
    pub selectors: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaDirection {
    In,
    Out,
}

impl SaDirection {
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// One direction of a child SA, as the data plane has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaStatus {
    pub tunnel: String,
    pub direction: SaDirection,
    /// Hexadecimal of 8 digits with `0x`.
    pub spi: String,
    pub id: u64,
    pub worker: u16,
    pub suite: String,
    pub esn: bool,
    pub local: String,
    pub remote: String,
    /// "installed", "in-use" (outbound), "expiring" (superseded, within its grace time).
    pub state: String,
    pub sequence: u64,
    pub replay_window: u32,
    pub packets: u64,
    pub bytes: u64,
    pub age_s: u64,
    pub idle_s: Option<u64>,
    pub rekey_in_s: Option<u64>,
    pub expires_in_s: Option<u64>,
    pub replay_drops: u64,
    pub icv_drops: u64,
    pub selector_drops: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    pub name: String,
    pub id: u16,
    pub ifindex: u32,
    pub mac: String,
    pub up: bool,
    pub mtu: u32,
    /// "native" or "generic"; `None` while the device is gone.
    pub attach: Option<String>,
    /// "zero-copy" or "copy".
    pub bind: Option<String>,
    pub queues: u32,
    /// By the names of `ravelin_ring::counters`' `XdpCounter` (the XDP program counts) and `SocketCounter` (the kernel).
    pub counters: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub id: u16,
    /// The worker whose thread serves it: itself, or another one after its own thread had failed repeatedly.
    pub thread: u16,
    /// Of that thread.
    pub core: u16,
    /// Kernels of `ravelin_crypto` in use, as the data plane describes them; `None`: unknown.
    pub crypto: Option<String>,
    /// In which pages the packet buffers of all workers lie.
    pub buffers: Option<String>,
    pub sas_in: u64,
    pub sas_out: u64,
    /// By the names of `ravelin_ring::counters::Counter`.
    pub counters: BTreeMap<String, u64>,
    /// Σ of its drop counters.
    pub drops: u64,
    pub conservation: Conservation,
}

/// Every packet ends in one verdict. `difference` is packets on their way at the moment of reading, and 0 at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conservation {
    /// received + injected + generated + handed in + released
    pub entered: u64,
    /// forwarded + punted + handed out + consumed + held + drops
    pub left: u64,
    /// entered - left
    pub difference: i64,
}

impl Conservation {
    pub fn of(entered: u64, left: u64) -> Self {
        let difference = i64::try_from(i128::from(entered) - i128::from(left)).unwrap_or(i64::MAX);
        Self { entered, left, difference }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropStatus {
    /// By the names of `ravelin_ring::counters::Drop`; every reason, also those at 0.
    pub workers: Vec<WorkerDrops>,
    /// Frames that the XDP program itself dropped.
    pub ports: Vec<PortDrops>,
    pub total: BTreeMap<String, u64>,
    pub conservation: Conservation,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDrops {
    pub worker: u16,
    pub drops: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDrops {
    pub port: String,
    pub drops: BTreeMap<String, u64>,
}
