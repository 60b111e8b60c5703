//! One packet's work, as the stages hand it in.
//!
//! Decides nothing; reads and writes nothing. A job borrows its key and its packet for the length of one call.

use core::fmt;

use crate::Key;

/// A payload to protect. The payload already lies at `suite.payload_offset()` of `packet`; the engine writes the rest.
pub struct SealJob<'a> {
    pub key: &'a Key,
    pub spi: u32,
    /// Whole 64-bit number; without ESN its upper half is 0. It makes the IV, so a key must never see a number twice.
    pub seq: u64,
    pub esn: bool,
    pub next_header: u8,
    pub payload_len: usize,
    /// Exactly `suite.sealed_len(payload_len)` bytes. If it is not, the engine refuses the job and zeroes the packet.
    pub packet: &'a mut [u8],
}

/// An ESP packet, SPI to ICV, to verify and decrypt in place.
pub struct OpenJob<'a> {
    pub key: &'a Key,
    /// With ESN the whole 64-bit number as the replay window inferred it (RFC 4303 §3.4.3).
    pub seq: u64,
    pub esn: bool,
    pub packet: &'a mut [u8],
    /// Written by the engine; what was here before does not matter.
    pub outcome: Result<Opened, OpenError>,
}

impl<'a> OpenJob<'a> {
    pub fn new(key: &'a Key, seq: u64, esn: bool, packet: &'a mut [u8]) -> Self {
        Self { key, seq, esn, packet, outcome: Err(OpenError::BadEsp) }
    }
}

/// Where the payload of an opened packet lies. No packet is longer than 16 bits say, and what is short stays in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    pub offset: u16,
    pub len: u16,
    pub next_header: u8,
}

/// Why a packet was not opened. Each is a drop reason of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    #[error("length impossible for the algorithm")]
    BadEsp,
    #[error("integrity check failed")]
    BadIcv,
    #[error("authentic, but the padding is not 1, 2, 3, …")]
    BadPadding,
}

impl fmt::Debug for SealJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SealJob({:?}, spi {:#x}, seq {}, {} bytes)",
            self.key, self.spi, self.seq, self.payload_len
        )
    }
}

impl fmt::Debug for OpenJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "OpenJob({:?}, seq {}, {} bytes, {:?})",
            self.key,
            self.seq,
            self.packet.len(),
            self.outcome
        )
    }
}
