//! What the XDP program and user space agree on: names, sizes and values of the maps. The program includes this file.

/// Rises when a map changes its meaning or layout. Pinned maps of another version are refused, not guessed at.
pub const VERSION: u32 = 6;

/// Function and section of the program.
pub const PROGRAM: &str = "ravelin";

/// Queue → AF_XDP socket. The kernel removes an entry when its socket closes.
pub const SOCKETS: &str = "SOCKETS";
/// Gateway addresses, a set.
pub const GATEWAYS_V4: &str = "GATEWAYS_V4";
pub const GATEWAYS_V6: &str = "GATEWAYS_V6";
/// Protected prefixes and those exempt from it, with longest-prefix match: one of the two values below.
pub const PROTECTED_V4: &str = "PROTECTED_V4";
pub const PROTECTED_V6: &str = "PROTECTED_V6";
/// Value of a protected prefix, and of one inside such a one that is not.
pub const PROTECTED: u32 = 1;
pub const EXEMPT: u32 = 0;
/// Sources that are translated, a set with longest-prefix match.
pub const INSIDE_V4: &str = "INSIDE_V4";
/// Addresses of the host that stand for others → ranges of ports, first and last in turns.
pub const TRANSLATED_V4: &str = "TRANSLATED_V4";
/// Sources that a port which admits the VPN alone admits all the same, sets with longest-prefix match.
pub const ADMITTED_V4: &str = "ADMITTED_V4";
pub const ADMITTED_V6: &str = "ADMITTED_V6";
/// Datagrams in UDP whose first fragment was ESP, or IKE where that counts: where the later ones go. The program's own memory,
/// which user space never reads; the one that was not asked for the longest time gives way.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// One [`Config`].
pub const CONFIG: &str = "CONFIG";
/// One counter per `Counted`, per processor.
pub const COUNTERS: &str = "COUNTERS";

/// More queues than any NIC has; a frame of a queue beyond finds no worker and is dropped where it matters.
pub const MAX_QUEUES: u32 = 1024;
/// Bound of each gateway address set.
pub const MAX_GATEWAYS: u32 = 4096;
/// Bound of each set of protected prefixes. Entries are allocated as they come, so the bound itself costs nothing.
pub const MAX_PROTECTED: u32 = 65536;

/// Bound of the prefixes that are translated.
pub const MAX_INSIDE: u32 = 4096;
/// Bound of each set of sources that are admitted.
pub const MAX_ADMITTED: u32 = 65536;
/// Bound of the host's addresses that stand for others.
pub const MAX_TRANSLATED: u32 = 64;

/// Bound of the datagrams whose first fragment is remembered.
pub const MAX_FRAGMENTS: u32 = 4096;

/// Scalars. Each field is read and written whole (aligned words).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// [`VERSION`] of whoever made the maps.
    pub version: u32,
    /// Destination port of UDP-encapsulated ESP besides 4500; 0: none.
    pub udp_port: u32,
    /// `ravelin_wire::Features`: translation, GRE, a port that admits the VPN alone.
    pub features: u32,
    /// Ports of IKE besides 500 and 4500: the high half and the low one; 0: none.
    pub ike_ports: u32,
}

/// Index into [`COUNTERS`]: the order of `ravelin_ring`'s `XdpCounter`, on which this crate may not depend; a test of
/// the data plane holds the two together.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    Passed = 0,
    Steered = 1,
    NoWorker = 2,
    Unparsable = 3,
    NotAdmitted = 4,
}

impl Counted {
    pub const COUNT: u32 = 5;
}
