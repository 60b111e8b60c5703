//! The kernel's side of the gateway: what it knows is mirrored, what it must not do is prevented.
//!
//! Decides: how a kernel route becomes a next hop of the data plane, which routes keep protected traffic from leaving
//! in clear. Reads: rtnetlink (links, addresses, routes of the main and local tables, neighbours).
//! Writes: table 4500, its rule and those about sources, the TUN devices and the routes that the configuration has for
//! them, addresses that peers gave, requests to resolve neighbours.
//! Never: changes a route, rule or neighbour that is not its own; sees a packet.

mod mirror;
mod model;
mod vrf;
mod parse;
mod failclosed;
mod sources;
pub(crate) mod address;
mod prefixes;
mod release;
mod devices;

pub use devices::{TunnelDevice, apply as set_devices, delete as delete_device};
pub use failclosed::{FailClosed, ProtectedRoute, ProtectedRoutes};
pub use mirror::{KernelError, Mirror};
pub use model::{Change, KernelRoute, Link, Model, Table, Target, Uplink};
pub use prefixes::prefixes_of;
pub use release::{Released, release};

/// The routing table that holds the routes into the TUN device.
pub const TABLE: u32 = 4500;

/// Where the rule that leads into [`TABLE`] stands: behind `local` (0), before `main` (32766).
pub const RULE_PREFERENCE: u32 = 220;

/// The protocol field of the rules about sources, by which they are known as ours (`ip rule` prints `proto 82`).
const RULE_MARK: u8 = 0x52;

/// IKE's own packets carry this mark and are exempt from the rule, else IKE for a peer that lies inside its own
/// tunnel's selectors (0.0.0.0/0) would wait for the tunnel that it is to bring up.
pub const IKE_MARK: u32 = 0x52;
