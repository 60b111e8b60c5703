//! Packet formats and classification: one parser for kernel and user space.
//!
//! Decides: what a frame is (`classify`), whether bytes form a header, whether a value is lawful (`Spi`, `Selector`).
//! Reads: bytes through the [`Bytes`] trait, bounds-checked. Writes: header fields into a caller's buffer.
//! Never: allocates, panics on input, uses `unsafe`, or knows of tables, sockets or clocks.
#![no_std]
#![forbid(unsafe_code)]

mod selector;
mod spi;

pub use selector::{AddrRange, EmptyRange, PortRange, Prefix, PrefixError, Protocol, Selector};
pub use spi::{ReservedSpi, Spi};
