//! Rules of address translation, as the control process compiles them. IPv4 alone.

use super::PortId;
use ravelin_wire::{AddrRange, PortRange};

/// The first rule that matches decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum NatKind {
    /// What matches is not translated.
    Exempt = 1,
    /// Sources `from` become an address and a port of `target`.
    Source = 2,
    /// What comes to `to` and `ports` goes to `target` and `target_ports` instead.
    Destination = 3,
    /// Each address of `from` is the one at its place in `target`, in both directions.
    Static = 4,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatRule {
    pub kind: NatKind,
    pub from: AddrRange,
    pub to: AddrRange,
    pub target: AddrRange,
    /// Of [`Self::TCP`] and the others.
    pub protocols: u8,
    /// Destination ports; of protocols without ports any.
    pub ports: PortRange,
    /// Of a pool: those for translation, cut into one part per worker. Of a destination: as many as `ports`.
    pub target_ports: PortRange,
    /// Only what leaves by this port; of a destination, what answers it.
    pub port: Option<PortId>,
    /// For what goes into a tunnel: matches although a policy protects the packet as it is.
    pub tunnel: bool,
    /// In place of `target` (source) or `to` (destination): the address that `port` has.
    pub own: bool,
    /// Line of the configuration file it came from.
    pub line: u32,
}

impl NatRule {
    pub const TCP: u8 = 1;
    pub const UDP: u8 = 2;
    pub const ICMP: u8 = 4;
    /// All protocols without ports, or with others than TCP's and UDP's.
    pub const OTHERS: u8 = 8;
    pub const ALL: u8 = 15;

    /// As a bound of MSS: as much as the tunnel takes in one packet.
    pub const MSS_OF_PATH: u16 = u16::MAX;
}

/// Bounds and times of address translation, for every worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatSettings {
    /// Room for sessions; as it is when the first rules come.
    pub flows: u32,
    /// Sessions of one inside host.
    pub per_host: u32,
    /// Seconds that a session may be silent.
    pub udp_s: u32,
    pub tcp_s: u32,
    pub tcp_transitory_s: u32,
    pub icmp_s: u32,
    pub other_s: u32,
    /// Whoever speaks to an outside end reaches the inside one (RFC 4787 §5); otherwise only whom a packet went to.
    pub endpoint_independent_filter: bool,
}

impl NatSettings {
    /// About 100 bytes each, for every worker.
    pub const MAX_FLOWS: u32 = 1 << 20;
}

impl Default for NatSettings {
    fn default() -> Self {
        Self {
            flows: 65_536,
            per_host: 4096,
            udp_s: 300,  // RFC 4787 REQ-5
            tcp_s: 7440, // RFC 5382 REQ-5: two hours and four minutes
            tcp_transitory_s: 240,
            icmp_s: 60, // RFC 5508 REQ-1
            other_s: 600,
            endpoint_independent_filter: false,
        }
    }
}
