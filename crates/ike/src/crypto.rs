//! The engine's own cryptography: PRF, key exchange, protection of messages, key derivation.
//!
//! Decides: what the RFCs compute. Reads: keys and nonces. Writes: keys. Never: leaves a secret unwiped, compares a
//! tag in variable time, or draws randomness except from the generator it is given.

pub(crate) mod cipher;
pub(crate) mod group;
pub(crate) mod kem;
mod modp;
pub(crate) mod keys;
pub(crate) mod prf;

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm)]
mod vectors;

use zeroize::Zeroizing;

/// Bytes that are wiped.
pub(crate) type Wiped = Zeroizing<Vec<u8>>;
