//! Process 2: what both programs of this crate are made of. `ravelin-control` is `main.rs`, the command `ravelin` is
//! `bin/ravelin/`.
//!
//! Decides: what the gateway is configured to be, which SAs and tables the data plane is given.
//! Reads: configuration, secrets, the kernel's routes and neighbours, the ring's events.
//! Writes: the ring, the kernel's fail-closed routes, the API socket. Never: sees a packet but IKE.
#![forbid(unsafe_code)]

pub mod config;
pub mod secrets;
pub mod api;
pub mod show;
pub mod explain;
pub mod capture;
pub mod net;
pub mod icmp;
mod fetch;
#[cfg(any(test, fuzzing))]
pub use fetch::read_anything;
pub mod driver;
pub mod install;
pub mod feedback;
pub mod kernel;
pub mod metrics;
pub mod hygiene;
