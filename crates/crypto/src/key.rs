//! The key of one direction of one SA, laid out for the kernels.
//!
//! Decides: which precomputed tables a suite needs. Reads: KEYMAT once. Writes: the tables, once, and zeroes over them
//! on drop. Never: gives key bytes back, prints them, or changes after it was made.

use core::fmt;
use std::sync::OnceLock;

use zeroize::{Zeroize, Zeroizing};

use crate::Suite;
use crate::portable::{self, PortableKey};
use crate::suite::{Cipher, Integrity};

/// Everything that a kernel touches lies inline, so that a look-up stage can prefetch it (see [`Key::prefetch`]).
/// An AEAD uses the first 512 bytes at most (AES-256-GCM: 8 cache lines), and all of it for long packets; CBC with HMAC
/// uses 640.
#[repr(C, align(64))]
pub struct Key {
    /// What only the portable kernels need; the others never follow this pointer.
    cold: Box<Cold>,
    /// Implicit part of a nonce.
    pub(crate) salt: [u8; 4],
    suite: Suite,
    /// 10, 12 or 14 for AES.
    pub(crate) rounds: u8,
    pub(crate) cipher: Cipher,
    pub(crate) integrity: Integrity,
    /// Round keys of the cipher's forward direction; for ChaCha20 the 32 bytes of its key; else zero. Those of AES-128 end
    /// with the third cache line.
    pub(crate) schedule: [[u8; 16]; 15],
    /// GCM, GMAC: H^16 … H^1, as the carry-less multiplier wants them.
    /// CBC: round keys of the inverse cipher in order of their use; the last entry is the secret of the IVs.
    pub(crate) table: [[u8; 16]; 16],
    /// HMAC: the hash states after one block of key ⊕ ipad, and of key ⊕ opad (RFC 2104 §4), see [`Key::pad`].
    /// GCM, GMAC: see [`Key::halves`].
    pads: Pads,
    /// GCM, GMAC: for packets of several hundred bytes.
    pub(crate) strides: Strides,
}

/// Every fourth power of H: with these each lane of a 512-bit vector is a hash of its own, so that many vectors need no
/// reduction and no sum across lanes.
#[repr(C)]
pub(crate) struct Strides {
    /// H^64, H^60 … H^4, as in [`Key::table`].
    pub(crate) powers: [[u8; 16]; 16],
    /// The halves of each added up, in the same order.
    pub(crate) halves: [[u8; 8]; 16],
}

/// Two hash states of eight words in native byte order: of 32 bits in the first 64 bytes, or of 64 bits.
pub(crate) type Pads = [u8; 128];

/// One of the two hashes of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pad {
    Inner,
    Outer,
}

const _: () = assert!(size_of::<Key>() == 1024);
const _: () = assert!(core::mem::offset_of!(Key, schedule) == 16);
const _: () = assert!(core::mem::offset_of!(Key, table) == 256 && core::mem::offset_of!(Key, pads) == 512);
const _: () = assert!(core::mem::offset_of!(Key, strides) == 640);

/// Index of the IV secret in [`Key::table`] of a CBC key.
pub(crate) const IV_SECRET: usize = 15;

struct Cold {
    keymat: Zeroizing<Vec<u8>>,
    portable: OnceLock<PortableKey>,
}

/// KEYMAT of the wrong length for its suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} takes {expected} bytes of keying material, not {got}", suite.name())]
pub struct KeyLength {
    pub suite: Suite,
    pub expected: usize,
    pub got: usize,
}

impl Key {
    /// `keymat` is IKE's KEYMAT of this direction: cipher key, salt, integrity key (RFC 7296 §2.17).
    /// `iv_seed` must be random and secret: CBC's IVs come from it.
    pub fn new(suite: Suite, keymat: &[u8], iv_seed: [u8; 16]) -> Result<Self, KeyLength> {
        let expected = suite.keymat_len();
        if keymat.len() != expected || suite == Suite::NoProtectionForBenches {
            return Err(KeyLength { suite, expected, got: keymat.len() });
        }
        Ok(Self::build(suite, keymat, iv_seed))
    }

    /// A key that protects nothing: NULL cipher and NULL integrity, to measure the way without crypto.
    /// No suite that can be configured or negotiated leads here.
    pub fn no_protection_for_benches() -> Self {
        Self::build(Suite::NoProtectionForBenches, &[], [0; 16])
    }

    /// AES-128-GCM, whose round keys are all in the first three cache lines.
    pub fn is_short(&self) -> bool {
        self.cipher == Cipher::Gcm && self.rounds == 10
    }

    /// All of it is read for a short packet too: round keys of both directions, or hash states of 64 bits.
    pub fn is_whole(&self) -> bool {
        self.cipher == Cipher::Cbc || self.integrity.wide()
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Asks the CPU to fetch what the kernels of this suite will touch.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        crate::x86::prefetch(self);
    }

    /// Eight words, from which that hash starts.
    #[inline]
    pub(crate) fn pad(&self, which: Pad) -> &[u8] {
        let (inner, outer) =
            if self.integrity.wide() { self.pads.split_at(64) } else { self.pads[..64].split_at(32) };
        if which == Pad::Inner { inner } else { outer }
    }

    /// Of a GCM key: the halves of each power of H added up, for Karatsuba's multiplication. In 64 bytes those of eight
    /// powers, the first four and the last four by turns.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn halves(&self) -> &Pads {
        &self.pads
    }

    /// Writes [`Self::halves`] and those of the strides, when the powers stand.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn fill_halves(&mut self) {
        let places = self.pads.as_chunks_mut::<8>().0;
        for (n, power) in self.table.iter().enumerate() {
            places[n / 8 * 8 + n % 4 * 2 + n / 4 % 2] = sum_of_halves(power);
        }
        for (place, power) in self.strides.halves.iter_mut().zip(&self.strides.powers) {
            *place = sum_of_halves(power);
        }
    }

    /// Made when a portable kernel first meets this key; never, where the CPU has better ones.
    pub(crate) fn portable(&self) -> &PortableKey {
        self.cold.portable.get_or_init(|| PortableKey::new(self.suite, &self.cold.keymat))
    }

    fn build(suite: Suite, keymat: &[u8], mut iv_seed: [u8; 16]) -> Self {
        let cold = Box::new(Cold { keymat: Zeroizing::new(keymat.to_vec()), portable: OnceLock::new() });
        let (cipher_key, rest) = keymat.split_at(suite.cipher_key_len());
        let mut key = Self {
            schedule: [[0; 16]; 15],
            salt: [0; 4],
            suite,
            rounds: 0,
            cipher: suite.cipher(),
            integrity: suite.integrity(),
            cold,
            table: [[0; 16]; 16],
            pads: [0; 128],
            strides: Strides { powers: [[0; 16]; 16], halves: [[0; 8]; 16] },
        };
        let (salt, integrity_key) = rest.split_at(suite.salt_len());
        key.salt[..salt.len()].copy_from_slice(salt);
        if key.cipher == Cipher::Cbc {
            key.table[IV_SECRET] = iv_seed;
        }
        if key.cipher == Cipher::ChaCha {
            key.schedule.as_flattened_mut()[..32].copy_from_slice(cipher_key);
        }
        key.pads = portable::hmac_pads(key.integrity, integrity_key);
        #[cfg(target_arch = "x86_64")]
        crate::x86::fill_tables(&mut key, cipher_key);
        iv_seed.zeroize();
        key
    }
}

#[cfg(test)]
impl Key {
    /// Offset and length of everything in here that is secret.
    pub(crate) fn secret_tables() -> [(usize, usize); 5] {
        use core::mem::offset_of;
        [
            (offset_of!(Self, schedule), 240),
            (offset_of!(Self, salt), 4),
            (offset_of!(Self, table), 256),
            (offset_of!(Self, pads), 128),
            (offset_of!(Self, strides), 384),
        ]
    }

    /// Everything else, on the heap.
    pub(crate) fn wiped_parts(&self) -> impl Iterator<Item = &dyn zeroize::ZeroizeOnDrop> {
        let Cold { keymat, portable: _ } = &*self.cold;
        self.portable().wiped_cipher().into_iter().chain([keymat as &dyn zeroize::ZeroizeOnDrop])
    }
}

#[cfg(target_arch = "x86_64")]
fn sum_of_halves(power: &[u8; 16]) -> [u8; 8] {
    let (halves, _) = power.as_chunks::<8>();
    (u64::from_le_bytes(halves[0]) ^ u64::from_le_bytes(halves[1])).to_le_bytes()
}

impl Drop for Key {
    fn drop(&mut self) {
        self.schedule.zeroize();
        self.salt.zeroize();
        self.table.zeroize();
        self.pads.zeroize();
        self.strides.powers.zeroize();
        self.strides.halves.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, …)", self.suite.name())
    }
}
