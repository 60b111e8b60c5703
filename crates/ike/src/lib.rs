//! The IKE engine, sans-IO: datagrams, commands and the clock go in; datagrams, events and the next alarm come out.
//!
//! Decides: everything of the protocol (RFC 7296): states, retransmission, negotiation, keys, which child SAs exist.
//! Reads: what is handed to it. Writes: nothing but its own state.
//! Never: opens a socket, reads a clock, draws a random number of its own (TLS inside of EAP does), logs a secret, blocks.
//!
//! The one contract of the caller: after each `handle_*` drain `poll_transmit` and `poll_event`, then look at
//! `poll_alarm`.
#![forbid(unsafe_code)]

pub mod endpoint;
mod header;
mod cookie;
mod message;
mod fragment;
mod payload;
mod ike_sa;
mod task;
mod negotiate;
mod auth;
mod eap;
pub mod cert;
mod crypto;
mod child_sa;
mod ticket;
pub mod event;
pub mod keylog;
pub mod command;
pub mod config;
pub mod counters;
pub mod snapshot;
pub mod record;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, clippy::type_complexity, clippy::cast_possible_truncation)] // tests pick out what they look for
mod tests;
