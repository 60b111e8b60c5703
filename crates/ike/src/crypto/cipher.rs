//! Protection of the Encrypted payload (RFC 7296 §3.14, RFC 5282): one direction of one IKE SA.
//!
//! Decides: whether a ciphertext is authentic. Reads, writes: message bytes in place. Never: decrypts before the tag
//! is checked, uses an IV twice.

use super::{Wiped, prf};
use crate::config::{Encryption, IkeProposal, Integrity};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit, block_padding::NoPadding};
use core::fmt;
use rand_core::Rng;

/// Key length in bytes, salt included (as KEYMAT and SK_e have it).
pub(crate) const fn key_len(encryption: Encryption) -> usize {
    match encryption {
        // With four bytes of salt, or of nonce (RFC 4106 §8.1, RFC 3686 §5.1, RFC 4543 §5.1).
        Encryption::AesGcm16_128 | Encryption::AesCtr128 | Encryption::AesGmac128 => 20,
        Encryption::AesCtr192 | Encryption::AesGmac192 => 28,
        Encryption::AesGcm16_256
        | Encryption::ChaCha20Poly1305
        | Encryption::AesCtr256
        | Encryption::AesGmac256 => 36,
        Encryption::AesCbc128 => 16,
        Encryption::AesCbc256 => 32,
    }
}

pub(crate) const fn is_aead(encryption: Encryption) -> bool {
    match encryption {
        Encryption::AesGcm16_128
        | Encryption::AesGcm16_256
        | Encryption::ChaCha20Poly1305
        | Encryption::AesGmac128
        | Encryption::AesGmac192
        | Encryption::AesGmac256 => true,
        Encryption::AesCbc128
        | Encryption::AesCbc256
        | Encryption::AesCtr128
        | Encryption::AesCtr192
        | Encryption::AesCtr256 => false,
    }
}

const SALT: usize = 4;
const TAG: usize = 16;
const BLOCK: usize = 16;

/// Keys of one direction.
pub(crate) struct Protection {
    encryption: Encryption,
    integrity: Option<Integrity>,
    key: Wiped,
    integrity_key: Wiped,
    /// The next AEAD IV. Only a sealing direction counts.
    counter: u64,
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protection({:?}, …)", self.encryption)
    }
}

/// The tag or the length of a ciphertext was wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadIntegrity;

impl Protection {
    pub(crate) fn new(proposal: &IkeProposal, key: Wiped, integrity_key: Wiped) -> Self {
        Self {
            encryption: proposal.encryption,
            integrity: proposal.integrity.filter(|_| !is_aead(proposal.encryption)),
            key,
            integrity_key,
            counter: 1,
        }
    }

    /// For the key log: SK_e with its salt, SK_a.
    pub(crate) fn expose(&self) -> (&[u8], &[u8]) {
        (&self.key, &self.integrity_key)
    }

    /// Key, integrity key and next IV, for the process that comes after this one.
    pub(crate) const fn state(&self) -> (&Wiped, &Wiped, u64) {
        (&self.key, &self.integrity_key, self.counter)
    }

    /// `None`: the keys are not as long as the algorithms want.
    pub(crate) fn restored(
        proposal: &IkeProposal,
        key: Wiped,
        integrity_key: Wiped,
        counter: u64,
    ) -> Option<Self> {
        let mut new = Self::new(proposal, key, integrity_key);
        new.counter = counter;
        let integrity = new.integrity.map_or(0, prf::integrity_key_len);
        let fits = new.key.len() == key_len(new.encryption) && new.integrity_key.len() == integrity;
        (fits && counter > 0).then_some(new)
    }

    /// Goes on at a random IV far ahead: should the state ever be restored from an old copy, no IV is met again.
    pub(crate) fn leap(&mut self, rng: &mut dyn Rng) {
        let far = (rng.next_u64() & 0xffff_ffff_ffff) | 0x1_0000_0000;
        self.counter = self.counter.saturating_add(far);
    }

    pub(crate) const fn iv_len(&self) -> usize {
        if is_aead(self.encryption) { 8 } else { BLOCK }
    }

    pub(crate) const fn tag_len(&self) -> usize {
        match self.integrity {
            None => TAG,
            Some(kind) => prf::integrity_len(kind),
        }
    }

    /// Appends IV, ciphertext of `plain` (with its padding) and tag to `message`, which holds header and generic
    /// header of the Encrypted payload with their final lengths.
    pub(crate) fn seal(
        &mut self,
        message: &mut Vec<u8>,
        mut plain: Wiped,
        rng: &mut dyn Rng,
    ) -> Result<(), BadIntegrity> {
        let pad = self.pad_len(plain.len());
        let padded = plain.len() + pad;
        plain.resize(padded, 0);
        plain.push(u8::try_from(pad).map_err(|_| BadIntegrity)?);
        if is_aead(self.encryption) {
            self.seal_aead(message, &mut plain)
        } else {
            self.seal_cbc(message, &plain, rng)
        }
    }

    /// Zero for AEAD; else up to the cipher's block, the pad length byte included.
    pub(crate) const fn pad_len(&self, plain: usize) -> usize {
        if is_aead(self.encryption) { 0 } else { (BLOCK - (plain + 1) % BLOCK) % BLOCK }
    }

    fn seal_aead(&mut self, message: &mut Vec<u8>, plain: &mut [u8]) -> Result<(), BadIntegrity> {
        let iv = self.counter.to_be_bytes();
        self.counter = self.counter.checked_add(1).ok_or(BadIntegrity)?;
        let nonce = self.nonce(&iv)?;
        let (key, _) = self.key.split_at_checked(self.key.len() - SALT).ok_or(BadIntegrity)?;
        let tag = match self.encryption {
            Encryption::AesGcm16_128 => seal_with::<Aes128Gcm>(key, &nonce, message, plain)?,
            Encryption::AesGcm16_256 => seal_with::<Aes256Gcm>(key, &nonce, message, plain)?,
            Encryption::ChaCha20Poly1305 => seal_with::<ChaCha20Poly1305>(key, &nonce, message, plain)?,
            // Without a tag of its own, or of ESP only.
            Encryption::AesCbc128
            | Encryption::AesCbc256
            | Encryption::AesCtr128
            | Encryption::AesCtr192
            | Encryption::AesCtr256
            | Encryption::AesGmac128
            | Encryption::AesGmac192
            | Encryption::AesGmac256 => return Err(BadIntegrity),
        };
        message.extend_from_slice(&iv);
        message.extend_from_slice(plain);
        message.extend_from_slice(&tag);
        Ok(())
    }

    /// Salt, then IV (RFC 5282 §4).
    fn nonce(&self, iv: &[u8]) -> Result<[u8; 12], BadIntegrity> {
        let salt = self.key.last_chunk::<SALT>().ok_or(BadIntegrity)?;
        let mut nonce = [0; 12];
        nonce[..SALT].copy_from_slice(salt);
        nonce[SALT..].copy_from_slice(iv.get(..8).ok_or(BadIntegrity)?);
        Ok(nonce)
    }

    fn seal_cbc(&self, message: &mut Vec<u8>, plain: &[u8], rng: &mut dyn Rng) -> Result<(), BadIntegrity> {
        let mut iv = [0; BLOCK];
        rng.fill_bytes(&mut iv);
        message.extend_from_slice(&iv);
        let start = message.len();
        message.extend_from_slice(plain);
        let text = message.get_mut(start..).ok_or(BadIntegrity)?;
        let len = text.len();
        let done = if self.encryption == Encryption::AesCbc128 {
            let mode = cbc::Encryptor::<aes::Aes128>::new_from_slices(&self.key, &iv);
            mode.map_err(|_| BadIntegrity)?.encrypt_padded::<NoPadding>(text, len)
        } else {
            let mode = cbc::Encryptor::<aes::Aes256>::new_from_slices(&self.key, &iv);
            mode.map_err(|_| BadIntegrity)?.encrypt_padded::<NoPadding>(text, len)
        };
        done.map_err(|_| BadIntegrity)?;
        let kind = self.integrity.ok_or(BadIntegrity)?;
        let tag = prf::integrity(kind, &self.integrity_key, message);
        message.extend_from_slice(&tag);
        Ok(())
    }

    /// The plaintext of a message whose first `aad` bytes are headers and whose rest is IV, ciphertext and tag.
    pub(crate) fn open(&self, message: &[u8], aad: usize) -> Result<Wiped, BadIntegrity> {
        let (covered, tag) = message
            .len()
            .checked_sub(self.tag_len())
            .and_then(|at| message.split_at_checked(at))
            .ok_or(BadIntegrity)?;
        let (head, body) = covered.split_at_checked(aad).ok_or(BadIntegrity)?;
        let (iv, text) = body.split_at_checked(self.iv_len()).ok_or(BadIntegrity)?;
        let mut plain = if is_aead(self.encryption) {
            self.open_aead(head, iv, text, tag)?
        } else {
            self.open_cbc(covered, iv, text, tag)?
        };
        // RFC 7296 §3.14: the pad length says how many bytes of padding stand before it, of any value.
        let pad = usize::from(plain.pop().ok_or(BadIntegrity)?);
        let keep = plain.len().checked_sub(pad).ok_or(BadIntegrity)?;
        plain.truncate(keep);
        Ok(plain)
    }

    fn open_aead(&self, head: &[u8], iv: &[u8], text: &[u8], tag: &[u8]) -> Result<Wiped, BadIntegrity> {
        let nonce = self.nonce(iv)?;
        let (key, _) = self.key.split_at_checked(self.key.len() - SALT).ok_or(BadIntegrity)?;
        let mut plain = Wiped::new(text.to_vec());
        match self.encryption {
            Encryption::AesGcm16_128 => open_with::<Aes128Gcm>(key, &nonce, head, &mut plain, tag)?,
            Encryption::AesGcm16_256 => open_with::<Aes256Gcm>(key, &nonce, head, &mut plain, tag)?,
            Encryption::ChaCha20Poly1305 => {
                open_with::<ChaCha20Poly1305>(key, &nonce, head, &mut plain, tag)?;
            }
            // Without a tag of its own, or of ESP only.
            Encryption::AesCbc128
            | Encryption::AesCbc256
            | Encryption::AesCtr128
            | Encryption::AesCtr192
            | Encryption::AesCtr256
            | Encryption::AesGmac128
            | Encryption::AesGmac192
            | Encryption::AesGmac256 => return Err(BadIntegrity),
        }
        Ok(plain)
    }

    fn open_cbc(&self, covered: &[u8], iv: &[u8], text: &[u8], tag: &[u8]) -> Result<Wiped, BadIntegrity> {
        let kind = self.integrity.ok_or(BadIntegrity)?;
        if !prf::equal(&prf::integrity(kind, &self.integrity_key, covered), tag) || text.is_empty() {
            return Err(BadIntegrity);
        }
        let mut plain = Wiped::new(text.to_vec());
        let done = if self.encryption == Encryption::AesCbc128 {
            let mode = cbc::Decryptor::<aes::Aes128>::new_from_slices(&self.key, iv);
            mode.map_err(|_| BadIntegrity)?.decrypt_padded::<NoPadding>(&mut plain).map(<[u8]>::len)
        } else {
            let mode = cbc::Decryptor::<aes::Aes256>::new_from_slices(&self.key, iv);
            mode.map_err(|_| BadIntegrity)?.decrypt_padded::<NoPadding>(&mut plain).map(<[u8]>::len)
        };
        done.map_err(|_| BadIntegrity)?;
        Ok(plain)
    }
}

fn seal_with<C>(key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Result<Vec<u8>, BadIntegrity>
where
    C: AeadInOut + KeyInit,
{
    let cipher = C::new_from_slice(key).map_err(|_| BadIntegrity)?;
    let nonce = nonce.as_slice().try_into().map_err(|_| BadIntegrity)?;
    let tag = cipher.encrypt_inout_detached(nonce, aad, text.into()).map_err(|_| BadIntegrity)?;
    Ok(tag.to_vec())
}

fn open_with<C>(
    key: &[u8],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8],
) -> Result<(), BadIntegrity>
where
    C: AeadInOut + KeyInit,
{
    let cipher = C::new_from_slice(key).map_err(|_| BadIntegrity)?;
    let nonce = nonce.as_slice().try_into().map_err(|_| BadIntegrity)?;
    let tag = tag.try_into().map_err(|_| BadIntegrity)?;
    cipher.decrypt_inout_detached(nonce, aad, text.into(), tag).map_err(|_| BadIntegrity)
}
