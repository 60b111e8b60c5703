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
//!
//! Constant time: no branch and no index depends on a key, on plaintext or on how far a wrong ICV agrees with the right
//! one. AES is the CPU's instructions (RustCrypto's bit slices where there are none), GHASH and Poly1305 are
//! multiplications, SHA and ChaCha20 additions and rotations; key schedules take their S-box from the AES instructions.
//! ICVs are compared whole, in vectors or by `subtle`. What does show in time is public: suite, lengths, and which
//! packets of a burst were authentic. Secrets are wiped: keys and their tables on drop, round keys, one-time keys and
//! inner digests of the kernels at the end of each burst. Not wiped: what kernels hold in registers, and what the compiler
//! spills of it to the stack until the next burst writes there.

mod suite;
mod job;
mod burst;
mod key;
mod group;
mod engine;
mod frame;
mod mac;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use burst::{Found, OpenBurst, SealBurst};
pub use engine::{BURST, Engine, Kernel, Tier};
pub use job::{OpenError, OpenJob, Opened, SealJob};
pub use key::{Key, KeyLength};
pub use suite::Suite;

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "test data: small numbers and rubbish")]
mod tests;
