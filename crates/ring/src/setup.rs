//! What the data plane is told once, before its first packet: ports, workers, memory. Sent by the control process over
//! the Unix socket as JSON; a running data plane refuses another one and says in what it differs.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// In the order of their [`crate::msg::PortId`].
    pub ports: Vec<PortSetup>,
    /// One pinned thread per entry: the number of the core.
    pub cores: Vec<u16>,
    /// Frames of the one UMEM, for all workers and ports together.
    pub frames: u32,
    /// Bytes of one frame: 2,048 or 4,096.
    pub frame_size: u32,
    /// Entries of each AF_XDP ring, a power of two (2,048 and more: smaller ones lose packets in bursts).
    pub ring_size: u32,
    pub huge_pages: bool,
    /// Microseconds for which the kernel polls a queue on the worker's core at a time; 0: the device interrupts.
    pub busy_poll_us: u16,
    /// Name of the TUN device for the host's own traffic.
    pub tun: String,
    /// Destination port of UDP-encapsulated ESP besides 4500, if any.
    pub udp_encap_port: Option<u16>,
    /// Room for SAs of one direction per worker.
    pub max_sas: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSetup {
    /// Name of the device.
    pub name: String,
    pub attach: Attach,
    #[serde(default)]
    pub reverse_path: ReversePath,
    /// From the first frame on, until table commands say what the port admits (R222).
    #[serde(default)]
    pub vpn_only: bool,
}

impl PortSetup {
    /// A running data plane takes the other one as its own: what differs comes by table commands.
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { name, attach, reverse_path, vpn_only: _ } = self;
        (name, attach, reverse_path) == (&other.name, &other.attach, &other.reverse_path)
    }
}

/// Where a clear packet's source has to be for it to go on (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReversePath {
    /// Behind the port that the packet came by.
    #[default]
    Strict,
    /// Anywhere that a route leads to.
    Loose,
    Off,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// Native, or generic where the driver cannot; a warning says so.
    Auto,
    Native,
    Generic,
}
