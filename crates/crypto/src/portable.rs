//! Kernels for any CPU, on the RustCrypto crates; also the oracle that the other kernels are tested against.
//!
//! Decides: nothing but the ICV's verdict, in constant time and before decryption. Reads: one prepared packet at a
//! time. Writes: its ciphertext and ICV, or its plaintext. Never: framing, and nothing about other packets.

use aes::cipher::consts::U12;
use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256, Block};
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use chacha20poly1305::ChaCha20Poly1305;
use cipher::{BlockCipherDecrypt, BlockSizeUser, InOutBuf, consts::U16};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use crate::frame::{Aad, high_half};
use crate::key::IV_SECRET;
use crate::suite::{Cipher, Integrity};
use crate::{Key, OpenJob, SealJob, Suite};

/// The same key as RustCrypto holds it. Its parts wipe themselves on drop.
pub(crate) struct PortableKey {
    cipher: PortableCipher,
    mac: PortableMac,
}

enum PortableCipher {
    Gcm128(Box<AesGcm<Aes128, U12>>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<AesGcm<Aes256, U12>>),
    ChaCha(ChaCha20Poly1305),
    Cbc128(Box<Aes128>),
    Cbc192(Box<Aes192>),
    Cbc256(Box<Aes256>),
    Null,
}

enum PortableMac {
    None,
    Sha1(Box<Hmac<Sha1>>),
    Sha256(Box<Hmac<Sha256>>),
    Sha384(Box<Hmac<Sha384>>),
    Sha512(Box<Hmac<Sha512>>),
}

/// Longest HMAC output; shorter ones leave the rest zero.
pub(crate) type Digest = [u8; 64];

impl PortableKey {
    /// `keymat` has the suite's length: `Key::new` saw to it.
    pub(crate) fn new(suite: Suite, keymat: &[u8]) -> Self {
        let (cipher_key, rest) = keymat.split_at(suite.cipher_key_len());
        Self {
            cipher: PortableCipher::new(suite, cipher_key),
            mac: PortableMac::new(suite.integrity(), rest),
        }
    }
}

impl PortableCipher {
    fn new(suite: Suite, key: &[u8]) -> Self {
        match (suite.cipher(), key.len()) {
            (Cipher::Gcm, 16) => Self::Gcm128(Box::new(made(key))),
            (Cipher::Gcm, 24) => Self::Gcm192(Box::new(made(key))),
            (Cipher::Gcm, _) => Self::Gcm256(Box::new(made(key))),
            (Cipher::ChaCha, _) => Self::ChaCha(made(key)),
            (Cipher::Cbc, 16) => Self::Cbc128(Box::new(made(key))),
            (Cipher::Cbc, 24) => Self::Cbc192(Box::new(made(key))),
            (Cipher::Cbc, _) => Self::Cbc256(Box::new(made(key))),
            (Cipher::Null, _) => Self::Null,
        }
    }
}

impl PortableMac {
    fn new(integrity: Integrity, key: &[u8]) -> Self {
        match integrity {
            Integrity::None => Self::None,
            Integrity::Sha1 => Self::Sha1(Box::new(made(key))),
            Integrity::Sha256 => Self::Sha256(Box::new(made(key))),
            Integrity::Sha384 => Self::Sha384(Box::new(made(key))),
            Integrity::Sha512 => Self::Sha512(Box::new(made(key))),
        }
    }
}

/// The lengths come from the suite's own table, so a refusal is a bug of that table, which the tests walk through.
#[allow(clippy::expect_used, reason = "no input reaches it")]
fn made<T: KeyInit>(key: &[u8]) -> T {
    T::new_from_slice(key).expect("the suite says how long its key is")
}

/// Seals one prepared AEAD packet.
pub(crate) fn seal_aead(job: &mut SealJob) {
    let aad = Aad::new(header(job.packet), job.seq, job.esn);
    // Only lengths far beyond `MAX_PACKET` are refused; should that ever happen, nothing leaves in the clear.
    if !encrypt_aead(job.key, aad.as_slice(), job.packet) {
        job.packet.fill(0);
    }
}

/// Verifies, then decrypts one AEAD packet of possible length.
pub(crate) fn open_aead(job: &mut OpenJob) -> bool {
    let aad = Aad::new(header(job.packet), job.seq, job.esn);
    decrypt_aead(job.key, aad.as_slice(), job.packet)
}

/// `packet` is 16 bytes of header and IV, body, room for the ICV.
pub(crate) fn encrypt_aead(key: &Key, aad: &[u8], packet: &mut [u8]) -> bool {
    let Some((head, body, icv)) = parts(packet) else { return false };
    let nonce = &nonce(key, head).into();
    let tag = match &key.portable().cipher {
        PortableCipher::Gcm128(c) => c.encrypt_inout_detached(nonce, aad, body.into()),
        PortableCipher::Gcm192(c) => c.encrypt_inout_detached(nonce, aad, body.into()),
        PortableCipher::Gcm256(c) => c.encrypt_inout_detached(nonce, aad, body.into()),
        PortableCipher::ChaCha(c) => c.encrypt_inout_detached(nonce, aad, body.into()),
        PortableCipher::Cbc128(_)
        | PortableCipher::Cbc192(_)
        | PortableCipher::Cbc256(_)
        | PortableCipher::Null => {
            return false;
        }
    };
    tag.map(|tag| icv.copy_from_slice(&tag)).is_ok()
}

/// As [`encrypt_aead`], with the ICV in place. A wrong one leaves the packet as it is.
pub(crate) fn decrypt_aead(key: &Key, aad: &[u8], packet: &mut [u8]) -> bool {
    let Some((head, body, icv)) = parts(packet) else { return false };
    let tag = &aes_gcm::Tag::from(*icv);
    let nonce = &nonce(key, head).into();
    match &key.portable().cipher {
        PortableCipher::Gcm128(c) => c.decrypt_inout_detached(nonce, aad, body.into(), tag).is_ok(),
        PortableCipher::Gcm192(c) => c.decrypt_inout_detached(nonce, aad, body.into(), tag).is_ok(),
        PortableCipher::Gcm256(c) => c.decrypt_inout_detached(nonce, aad, body.into(), tag).is_ok(),
        PortableCipher::ChaCha(c) => c.decrypt_inout_detached(nonce, aad, body.into(), tag).is_ok(),
        PortableCipher::Cbc128(_)
        | PortableCipher::Cbc192(_)
        | PortableCipher::Cbc256(_)
        | PortableCipher::Null => false,
    }
}

/// `unit` is IV and body of one packet; the IV is made here: the enciphered sequence number under a secret mask
/// (NIST SP 800-38A, appendix C: unpredictable, and distinct as long as the number is).
pub(crate) fn encrypt_cbc(key: &Key, seq: u64, unit: &mut [u8]) {
    match &key.portable().cipher {
        PortableCipher::Cbc128(c) => encrypt_chain(&**c, key, seq, unit),
        PortableCipher::Cbc192(c) => encrypt_chain(&**c, key, seq, unit),
        PortableCipher::Cbc256(c) => encrypt_chain(&**c, key, seq, unit),
        PortableCipher::Gcm128(_)
        | PortableCipher::Gcm192(_)
        | PortableCipher::Gcm256(_)
        | PortableCipher::ChaCha(_)
        | PortableCipher::Null => {}
    }
}

pub(crate) fn decrypt_cbc(key: &Key, unit: &mut [u8]) {
    match &key.portable().cipher {
        PortableCipher::Cbc128(c) => decrypt_chain(&**c, unit),
        PortableCipher::Cbc192(c) => decrypt_chain(&**c, unit),
        PortableCipher::Cbc256(c) => decrypt_chain(&**c, unit),
        PortableCipher::Gcm128(_)
        | PortableCipher::Gcm192(_)
        | PortableCipher::Gcm256(_)
        | PortableCipher::ChaCha(_)
        | PortableCipher::Null => {}
    }
}

/// HMAC over `data` and, with ESN, the number's upper half.
pub(crate) fn hmac(key: &Key, data: &[u8], esn: Option<u64>) -> Digest {
    match &key.portable().mac {
        PortableMac::Sha1(m) => digest(&**m, data, esn),
        PortableMac::Sha256(m) => digest(&**m, data, esn),
        PortableMac::Sha384(m) => digest(&**m, data, esn),
        PortableMac::Sha512(m) => digest(&**m, data, esn),
        PortableMac::None => [0; 64],
    }
}

pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Block `seq` of the IV sequence before encipherment.
pub(crate) fn iv_input(key: &Key, seq: u64) -> [u8; 16] {
    let mut block = key.table[IV_SECRET];
    for (byte, n) in block[8..].iter_mut().zip(seq.to_be_bytes()) {
        *byte ^= n;
    }
    block
}

/// States after the inner and the outer pad block, where a kernel starts from them.
pub(crate) fn hmac_pads(integrity: Integrity, key: &[u8]) -> [[u32; 8]; 2] {
    const SHA1: [u32; 8] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0, 0, 0, 0];
    const SHA256: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    [0x36, 0x5c].map(|pad| {
        let mut block = zeroize::Zeroizing::new([pad; 64]);
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        match integrity {
            Integrity::Sha1 => {
                let [a, b, c, d, e, ..] = SHA1;
                let mut state = [a, b, c, d, e];
                sha1::block_api::compress(&mut state, core::slice::from_ref(&block));
                let [a, b, c, d, e] = state;
                [a, b, c, d, e, 0, 0, 0]
            }
            Integrity::Sha256 => {
                let mut state = SHA256;
                sha2::block_api::compress256(&mut state, core::slice::from_ref(&block));
                state
            }
            Integrity::None | Integrity::Sha384 | Integrity::Sha512 => [0; 8],
        }
    })
}

/// Header with IV, body, ICV.
fn parts(packet: &mut [u8]) -> Option<(&mut [u8; 16], &mut [u8], &mut [u8; 16])> {
    let (head, rest) = packet.split_first_chunk_mut()?;
    let (body, icv) = rest.split_last_chunk_mut()?;
    Some((head, body, icv))
}

/// SPI and sequence number of a packet whose length was checked.
pub(crate) fn header(packet: &[u8]) -> [u8; 8] {
    packet.first_chunk().copied().unwrap_or_default()
}

fn nonce(key: &Key, head: &[u8; 16]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&key.salt);
    nonce[4..].copy_from_slice(&head[8..]);
    nonce
}

fn encrypt_chain<C>(cipher: &C, key: &Key, seq: u64, unit: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let (blocks, _) = InOutBuf::from(unit).into_chunks::<U16>();
    let mut blocks = blocks;
    let Some((first, _)) = blocks.get_out().split_first_mut() else { return };
    *first = iv_input(key, seq).into();
    cbc::Encryptor::<&C>::inner_iv_init(cipher, &Block::default()).encrypt_blocks_inout(blocks);
}

fn decrypt_chain<C>(cipher: &C, unit: &mut [u8])
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let Some((iv, body)) = unit.split_first_chunk_mut::<16>() else { return };
    let (blocks, _) = InOutBuf::from(body).into_chunks::<U16>();
    cbc::Decryptor::<&C>::inner_iv_init(cipher, &Block::from(*iv)).decrypt_blocks_inout(blocks);
}

fn digest<M: Mac + Clone>(start: &M, data: &[u8], esn: Option<u64>) -> Digest {
    let mut mac = start.clone();
    mac.update(data);
    if let Some(seq) = esn {
        mac.update(&high_half(seq));
    }
    let made = mac.finalize().into_bytes();
    let mut out = [0; 64];
    out.iter_mut().zip(&made).for_each(|(o, m)| *o = *m);
    out
}
