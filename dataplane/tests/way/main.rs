//! Packets through whole ways: workers over a UMEM, frames as bytes in and out; one module for each thing that happens to
//! them. [`rig`] holds the gateways that all of them use.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected fails; its numbers are small"
)]

mod ecmp;
mod explain;
mod failure;
mod flows;
mod gre;
mod hostile;
mod modes;
mod mss;
mod nat;
mod numbers;
mod rig;
mod routes;
mod rules;
mod scapy;
mod shared;
mod six;
mod tap;
mod vrfs;
mod whole;
