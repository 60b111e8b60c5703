//! More of what `ravelin` asks and is told: [`super::types`] has the requests.
//!
//! Decides: the names in JSON, which are stable once released. Reads and writes: nothing.
//! Never: carries a key or a secret.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `ravelin clear` clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Clear {
    /// IKE SAs and, as RFC 7296 has it, all child SAs under them.
    #[value(alias = "session", alias = "sessions")]
    Ike,
    /// Child SA pairs; their IKE SAs stay.
    Sas,
    /// What `show tunnels` counts; what the data plane counts of each SA stays.
    Counters,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    pub tunnel: String,
    /// The peer's address; `None` with counters.
    pub peer: Option<String>,
    /// Of the IKE SA (ours, 16 digits), or of the pair (inbound, 8 digits); `None` with counters.
    pub spi: Option<String>,
}

/// What a tunnel offers and accepts, and by which proofs: its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalStatus {
    pub tunnel: String,
    /// In order of preference; empty for a further child, which has the IKE SA of its tunnel, and with keys by hand.
    pub ike: Vec<String>,
    /// The IKE SA that is up has this one.
    pub ike_in_use: Option<String>,
    /// "esp" or "ah".
    pub protocol: String,
    pub child: Vec<String>,
    pub child_in_use: Option<String>,
    /// "tunnel" or "transport".
    pub mode: String,
    /// "psk", "certificate", "raw-key", "eap", "manual".
    pub auth: String,
    pub remote_auth: String,
    pub ike_lifetime_s: u64,
    pub lifetime_s: u64,
    /// Soft limits; 0: none.
    pub lifebytes: u64,
    pub lifepackets: u64,
}

/// A certificate that tunnels use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// "own", "chain" (sent with our own) or "ca" (believed).
    pub role: String,
    pub tunnels: Vec<String>,
    pub subject: String,
    pub issuer: String,
    /// Hexadecimal.
    pub serial: String,
    pub names: Vec<String>,
    pub key: String,
    /// As in the extension; `None`: it has none, and the key may do everything.
    pub key_usage: Option<Vec<String>>,
    pub is_ca: bool,
    /// Seconds since 1970.
    pub not_before: u64,
    pub not_after: u64,
    /// "valid", "expired" or "not-yet-valid".
    pub state: String,
    /// Until it ends; 0 afterwards.
    pub expires_in_s: u64,
    pub sha256: String,
}

/// One tunnel of GRE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GreStatus {
    /// Of its device.
    pub name: String,
    /// There is a route to the far end, and the tunnel that protects it is up.
    pub up: bool,
    /// Why not; else empty.
    pub detail: String,
    pub local: String,
    pub remote: String,
    pub key: Option<u32>,
    pub checksum: bool,
    pub sequence: bool,
    pub mtu: u16,
    pub protected_by: Option<String>,
}

/// Address translation: the rules in their order, and what each worker makes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatStatus {
    pub rules: Vec<NatRuleStatus>,
    pub workers: Vec<NatWorker>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatRuleStatus {
    pub line: u32,
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatWorker {
    pub worker: u16,
    /// Sessions there are now, and the room for them.
    pub open: u64,
    pub room: u64,
    pub opened: u64,
    /// Gave way to others.
    pub evicted: u64,
    /// Packets; one with both ends translated counts twice.
    pub translated: u64,
    /// By the names of the drop counters that begin with `nat_`.
    pub drops: BTreeMap<String, u64>,
}
