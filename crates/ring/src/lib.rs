//! The contract between the two processes: what they tell each other, its layout version, and how it travels.
//!
//! Decides: the messages ([`msg`]), the counters and drop reasons both sides name ([`counters`]).
//! Reads and writes: shared memory and the Unix socket over which it is passed.
//! Never: keeps state of either process, trusts what the other side wrote (copy first, then check), blocks.
//!
//! There are `workers + 1` pairs of rings in the memory: one command and one event ring per worker, for what that
//! worker owns (SAs), and one pair for the data plane's main thread, which compiles the tables (policies, routes,
//! neighbours) into a snapshot and publishes it to all workers under one generation.

pub mod counters;
pub mod msg;
pub mod paths;
mod interface;
pub mod setup;
#[cfg_attr(loom, allow(dead_code))] // the memory that uses the plan is not part of the model
pub mod layout;
mod codec;
mod sync;
mod spsc;
#[cfg(not(loom))]
mod bell;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod handshake;
#[cfg(not(loom))]
pub mod client;
#[cfg(not(loom))]
pub mod server;
#[cfg(not(loom))]
pub mod inspect;

#[cfg(not(loom))]
pub use bell::{Bell, Sender};
pub use codec::Malformed;
#[cfg(not(loom))]
pub use handshake::{BindMode, Error, PortReport, Welcome};
#[cfg(not(loom))]
pub use memory::{CounterView, CounterWriter, PortCounters, WorkerCounters};
pub use spsc::{Consumer, Full, Message, Producer, in_process};
