//! ESP algorithms in bursts of packets (RFC 4303 and the algorithm RFCs it names).
//!
//! Decides: which kernel treats a packet (once per [`Engine`], from what the CPU has). Reads: keys and packets of one
//! burst. Writes: ESP header, IV, padding, trailer and ICV when sealing; the plaintext and one outcome per packet when
//! opening. Never: allocates per packet, knows an SA, a replay window or a socket, prints or keeps a secret, releases a
//! packet whose ICV did not verify.
//!
//! The way of a burst: [`Engine`] groups jobs by algorithm → `frame` checks lengths and writes what is not encrypted →
//! a kernel (`portable`, or one of `x86`) encrypts and authenticates, or verifies and decrypts → `frame` checks the
//! trailers of what was opened.

mod suite;
mod job;
mod key;
mod engine;
mod frame;
mod mac;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use engine::{BURST, Engine, Kernel, Tier};
pub use job::{OpenError, OpenJob, Opened, SealJob};
pub use key::{Key, KeyLength};
pub use suite::Suite;

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test data: small numbers and rubbish")]
mod tests;
