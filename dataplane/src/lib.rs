//! What happens to packets. The modules stand in the order of the packet; `worker` holds the order of the stages.
//!
//! Decides: for every packet one final [`Verdict`]. Reads: frames, the worker's SAs, one snapshot of the [`Tables`].
//! Writes: frames, SA counters and windows, statistics, events. Never: does I/O, blocks, allocates per packet.
#![forbid(unsafe_code)]

pub mod worker;
pub mod clock;
mod probe;
pub mod batch;
pub mod packet;
pub mod verdict;
mod classify;
mod anomaly;
mod passive;
mod reassembly;
mod flow;
mod inbound;
mod outbound;
mod nat;
mod mss;
mod spd;
mod route;
mod vrf;
mod interface;
mod gre;
mod source;
mod escape;
mod neighbour;
mod icmp;
mod sa;
mod hold;
mod share;
pub mod tables;
pub mod stats;
mod tap;

pub use batch::{Batch, Finished, MAX_BATCH, MAX_RECEIVED, Packets};
pub use clock::Now;
pub use escape::Bounds;
pub use nat::{NatSteering, port_ranges};
pub use packet::{Door, Origin, Packet};
pub use probe::{Point, Probe, View};
pub use share::Helpers;
pub use stats::Stats;
pub use tables::admission::Admission;
pub use tables::{TableStore, Tables};
pub use tap::{Filter, Records, Tap};
pub use verdict::Verdict;
pub use worker::{Handed, Subject, Untrustworthy, Worker, WorkerConfig};
