//! Packet formats and classification: one parser for kernel and user space.
//!
//! Decides: what a frame is (`classify`), whether bytes form a header, whether a value is lawful (`Spi`, `Selector`).
//! Reads: bytes through the [`Bytes`] trait or slices, bounds-checked. Writes: header fields into a caller's buffer.
//! Never: allocates, panics on input, uses `unsafe`, or knows of tables, sockets or clocks.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod extension;
pub mod udp;
pub mod tcp;
pub mod icmp;
pub mod icmpv6;
pub mod esp;
pub mod ah;
pub mod gre;
pub mod classify;
mod selector;
mod spi;

pub use bytes::{Bytes, Malformed};
pub use classify::{
    Class, Features, First, FragmentKey, MAX_PORT_RANGES, NO_PORTS, PortRanges, Steer, SteerTables, Tables,
    classify,
};
pub use ethernet::MacAddr;
pub use selector::{AddrRange, EmptyRange, PortRange, Prefix, PrefixError, Prefixes, Protocol, Selector};
pub use spi::{ReservedSpi, Spi};

/// Protocol numbers (IANA) that the code speaks of by name.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    /// "No next header"; inside ESP it marks a dummy packet (RFC 4303 §2.6).
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}
