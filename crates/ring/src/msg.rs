//! The messages, as the two sides speak of them. Their bytes in the ring are in `layout`.

mod extras;
mod nat;
mod suite;

pub use crate::interface::{Behind, Gre, Interface, InterfaceId, InterfaceName};
use core::net::{IpAddr, SocketAddr};
pub use extras::{Extras, Rules};
pub use nat::{NatKind, NatRule, NatSettings};
use ravelin_wire::{AddrRange, Prefix, Selector, Spi};
pub use suite::{Protocol, Suite};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Chosen by the control process; never used twice in the life of a data plane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SaId(pub u64);

/// A child of the configuration; an SA pair belongs to one, across all its rekeys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TunnelId(pub u32);

/// Index of a port in [`crate::setup::Setup::ports`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub u16);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(pub u16);

/// Names a VRF: routes and policies of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct VrfId(pub u16);

impl VrfId {
    /// Of everything that belongs to no other.
    pub const MAIN: Self = Self(0);
}

/// Rises with every published change of the tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u64);

/// Echoed in [`WorkerEvent::Done`] once the command is in force on that worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Key material as IKE derives it: encryption key, then salt (AEAD) or integrity key. Wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyMaterial {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl KeyMaterial {
    /// Room for AES-256-CBC with HMAC-SHA2-512 (32 + 64), and then some.
    pub const MAX: usize = 128;

    /// `None` when `bytes` is longer than [`Self::MAX`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut me = Self { bytes: [0; Self::MAX], len: u8::try_from(bytes.len()).ok()? };
        me.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(me)
    }

    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl core::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyMaterial(…)")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// Mode of an SA (RFC 4301 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    Tunnel,
    /// The SA's own `local` and `remote` are the ends of the packets; its selectors speak of them.
    Transport,
}

/// How the outer IPv4 DF bit is set in tunnel mode (RFC 4301 §8.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OuterDf {
    Clear,
    Copy,
    Set,
}

/// All that a worker needs for one direction of a child SA.
#[derive(Clone, Debug)]
pub struct SaSpec {
    pub id: SaId,
    pub tunnel: TunnelId,
    pub direction: Direction,
    pub spi: Spi,
    pub suite: Suite,
    pub keys: KeyMaterial,
    pub esn: bool,
    /// Outer addresses; with UDP ports both are non-zero (RFC 3948), with plain ESP both ports are 0.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub mode: Mode,
    /// Window in packets; 0: no replay check. Inbound only.
    pub replay_window: u32,
    /// Largest outer packet in bytes that this SA may send. Outbound only.
    pub tunnel_mtu: u16,
    pub outer_df: OuterDf,
    /// Inner packets shorter than this are padded to it (RFC 4303 §2.7); 0: none. Outbound, ESP in tunnel mode only.
    pub tfc: u16,
    pub extras: Extras,
    /// Limits in bytes and packets; 0: none. Soft raises an event, and again each time that half of what is left until
    /// the hard one is used up; hard stops the SA, and says so once a second while packets come.
    pub soft_bytes: u64,
    pub hard_bytes: u64,
    pub soft_packets: u64,
    pub hard_packets: u64,
    /// How many [`WorkerCommand::SaSelector`] preceded; the install is refused if it is another number or 0.
    pub selectors: u16,
}

/// To one worker, in order. SAs belong to the worker whose ring they were installed through; an inbound SPI's low
/// bits (`spi % workers`) name the same worker.
#[derive(Clone, Debug)]
pub enum WorkerCommand {
    /// One selector of the SA that the next `InstallSa` with this id brings.
    SaSelector { sa: SaId, selector: Selector },
    /// `token` is answered by [`WorkerEvent::Done`]. An installed outbound SA carries traffic only once `UseOutbound`
    /// names it.
    InstallSa { token: Token, spec: Box<SaSpec> },
    /// From the next batch on, the tunnel's packets leave by this SA (all workers get it: others hand off to `owner`).
    UseOutbound { token: Token, tunnel: TunnelId, sa: SaId, owner: WorkerId },
    /// The tunnel has no outbound SA any more: its packets are dropped as `no_outbound_sa`.
    StopOutbound { token: Token, tunnel: TunnelId },
    /// Keys are wiped before the answer. Unknown ids are answered as done: removal is idempotent.
    RemoveSa { token: Token, sa: SaId },
    /// The peer moved (an authenticated packet came from there): new outer addresses of this SA.
    MoveSa { token: Token, sa: SaId, local: SocketAddr, remote: SocketAddr },
    /// The way of this outbound SA carries packets up to `mtu` only (RFC 4301 §8.2); 0: as large as its spec says.
    PathMtu { token: Token, sa: SaId, mtu: u16 },
    /// Report every SA of this worker by `SaReport`, then `Done`.
    ReportSas { token: Token },
}

/// Whether the command took effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Outcome {
    Ok = 0,
    /// Malformed, or contradicts what is installed; nothing was changed.
    Refused = 1,
    /// No room for another SA.
    Full = 2,
}

/// Counters and identity of one SA; no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaReport {
    pub id: SaId,
    pub tunnel: TunnelId,
    pub direction: Direction,
    pub spi: Spi,
    pub suite: Suite,
    pub mode: Mode,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Last number sent, or the highest received.
    pub sequence: u64,
    pub packets: u64,
    pub bytes: u64,
    pub replay_drops: u64,
    pub icv_drops: u64,
    pub selector_drops: u64,
    /// Milliseconds since the SA last carried a packet; `u64::MAX`: never.
    pub idle_ms: u64,
    /// The outbound SA that its tunnel uses now. Always false for inbound ones.
    pub in_use: bool,
    /// As it was installed, see [`Extras`].
    pub outside: VrfId,
    pub inside: VrfId,
    pub filtered: bool,
}

/// Which limit an SA reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Limit {
    Bytes = 0,
    Packets = 1,
    Sequence = 2,
}

/// From one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    Done {
        token: Token,
        outcome: Outcome,
    },
    SaReport(Box<SaReport>),
    SoftLimit {
        sa: SaId,
        limit: Limit,
    },
    HardLimit {
        sa: SaId,
        limit: Limit,
    },
    /// The first authentic packet came by this inbound SA: the peer has it installed.
    FirstPacket {
        sa: SaId,
    },
    /// An authentic, in-window packet of this inbound SA came from another outer address or port.
    PeerMoved {
        sa: SaId,
        from: SocketAddr,
    },
    /// A packet matched PROTECT but there was no outbound SA (rate-limited per tunnel: one per second).
    Acquire {
        tunnel: TunnelId,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        ports: (u16, u16),
    },
    /// The link address of this next hop is needed (rate-limited: one per second and address).
    NeighbourNeeded {
        port: PortId,
        addr: IpAddr,
    },
    /// An ESP packet named an SPI nobody has (rate-limited: one per second).
    UnknownSpi {
        spi: u32,
        from: IpAddr,
    },
}

/// What a policy asks for (RFC 4301 §4.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    Protect(TunnelId),
    Bypass,
    Discard,
}

/// One entry of the SPD; the lowest `order` that matches wins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    pub order: u32,
    pub selector: Selector,
    pub action: Action,
    /// PROTECT: packets that find no outbound SA wait a while for one (R172), instead of being dropped at once.
    pub hold: bool,
    /// Line of the configuration file it came from, for `explain`; 0: none.
    pub line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NextHop {
    /// Out of a port of ours, to a gateway or (None) to the destination itself.
    Port {
        port: PortId,
        gateway: Option<IpAddr>,
    },
    /// An address of this host: punt.
    Local,
    /// Into our own TUN device: only a PROTECT policy may let it go on.
    Tunnel,
    /// Into the device of a route-based tunnel or of GRE: by what is behind it.
    Interface(InterfaceId),
    /// A device that is not a port of ours: the kernel forwards it.
    Kernel,
    Blackhole,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub prefix: Prefix,
    pub next_hop: NextHop,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    pub port: PortId,
    pub addr: IpAddr,
    pub mac: [u8; 6],
}

/// Link state of a port, mirrored from the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    pub port: PortId,
    pub mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub mtu: u16,
    pub up: bool,
}

/// What a VRF has, as the main one has it by commands of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VrfPart {
    AddRoute(Route),
    RemoveRoute(Route),
    Policy(Policy),
    /// Steered on the ports of the VRF alone.
    Protected(AddrRange),
    Port(PortId),
    Interface(InterfaceId),
    /// Forgotten by [`TableCommand::ClearNat`]. Its port and its tunnel are of the VRF.
    Nat(NatRule),
}

/// To the data plane's main thread. Changes gather until `Commit`, which compiles and publishes them to every worker
/// under `generation` and is answered by [`TableEvent::Committed`] after all have taken it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableCommand {
    /// Forgets all policies gathered; a commit without new ones then publishes an empty SPD.
    ClearPolicies,
    AddPolicy(Policy),
    ClearRoutes,
    AddRoute(Route),
    RemoveRoute(Route),
    SetNeighbour(Neighbour),
    RemoveNeighbour {
        port: PortId,
        addr: IpAddr,
    },
    SetPort(Port),
    /// Addresses by which ESP reaches this gateway (steered by XDP, accepted by workers).
    AddGatewayAddress(IpAddr),
    ClearGatewayAddresses,
    /// What the XDP program steers beside ESP: packets whose source or destination lies in such a range.
    AddProtectedRange(AddrRange),
    ClearProtectedRanges,
    /// Forgets all NAT rules gathered; their order is that in which they come.
    ClearNat,
    AddNat(NatRule),
    SetNat(NatSettings),
    /// TCP through this tunnel announces no larger segments, both ways; gathered and forgotten with the NAT rules.
    AddMss {
        tunnel: TunnelId,
        /// Or [`NatRule::MSS_OF_PATH`].
        mss: u16,
    },
    /// What comes out of this tunnel has to match one such selector too, beside those of its SA; gathered and forgotten with
    /// the policies.
    AddFilter {
        tunnel: TunnelId,
        selector: Selector,
    },
    /// Of a VRF beside the main one. `ClearPolicies`, `ClearRoutes`, `ClearProtectedRanges` are about all VRFs, and
    /// `ClearInterfaces` about what belongs to which.
    InVrf {
        vrf: VrfId,
        part: VrfPart,
    },
    /// Devices of route-based tunnels and of GRE. What routes lead into them is steered as protected ranges are.
    ClearInterfaces,
    AddInterface(Interface),
    /// All ports let in everything.
    ClearAdmissions,
    /// This port lets in the VPN alone: IPsec, IKE (at these ports too), and what they need to live (R222).
    AdmitVpn {
        port: PortId,
        ike_ports: [u16; 2],
    },
    /// And everything that comes from there.
    AdmitFrom {
        port: PortId,
        range: AddrRange,
    },
    Commit {
        generation: Generation,
    },
}

/// From the data plane's main thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableEvent {
    Committed {
        generation: Generation,
    },
    /// The tables gathered cannot be published; the generation before stays in force.
    Refused {
        generation: Generation,
    },
    /// A port's device went away or came back.
    PortState {
        port: PortId,
        attached: bool,
    },
}
