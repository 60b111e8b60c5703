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

/// What a key exchange gave, while an exchange goes on: wiped on drop, and never printed.
#[derive(Clone, Default)]
pub(crate) struct Hidden(Wiped);

impl From<Wiped> for Hidden {
    fn from(secret: Wiped) -> Self {
        Self(secret)
    }
}

impl core::ops::Deref for Hidden {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl core::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("…")
    }
}
