//! For the tests: what of a key the portable kernels hold, and that its type promises to wipe it.

use zeroize::ZeroizeOnDrop;

use super::{PortableCipher, PortableKey};

impl PortableKey {
    /// The cipher. HMAC's types wipe themselves too, but do not say so; what they leave is read by a test of its own.
    pub(crate) fn wiped_cipher(&self) -> Option<&dyn ZeroizeOnDrop> {
        Some(match &self.cipher {
            PortableCipher::Gcm128(c) => &**c,
            PortableCipher::Gcm192(c) => &**c,
            PortableCipher::Gcm256(c) => &**c,
            PortableCipher::ChaCha(c) => c,
            PortableCipher::Aes128(c) => &**c,
            PortableCipher::Aes192(c) => &**c,
            PortableCipher::Aes256(c) => &**c,
            PortableCipher::Null => return None,
        })
    }
}
