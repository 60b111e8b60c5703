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
pub mod setup;
