//! The XDP steering program: loading, attaching, its maps.
//!
//! Decides: how the program gets onto a port and stays there when this process dies. Reads: pinned state of an earlier
//! process. Writes: the maps, bpffs. Never: sees a packet; which frames go where is `ravelin_wire::classify`'s say.
//!
//! Failing closed: link and maps are pinned in bpffs. When the process dies, its sockets close, the kernel clears
//! their map entries, and the program goes on dropping what a worker should get. The next process opens the same maps,
//! with what they protect, and replaces the program behind the same link atomically: there is no moment without
//! a program and none with empty tables. Only [`Steering::detach`] and [`release`] let go.
//!
//! VLAN tags that the NIC strips before XDP are not seen here; what they wrapped is steered as if untagged.

pub mod abi;
mod steering;
mod program;
mod maps;
mod tables;
mod pin;
mod netlink;
mod sys;
mod error;
pub mod bench_abi;
pub mod bench;

pub use error::Error;
pub use netlink::attached_program;
pub use pin::release;
pub use steering::{Admission, AttachMode, Attached, PortConfig, Steering, XdpCounts};

/// The program's object, as built by `build.rs`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ravelin-xdp"));
