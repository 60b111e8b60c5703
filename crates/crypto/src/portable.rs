//! Kernels for any CPU, on the RustCrypto crates; also the oracle that the other kernels are tested against.
//!
//! Decides: nothing but the ICV's verdict, in constant time and before decryption. Reads: one prepared packet at a
//! time. Writes: its ciphertext and ICV, or its plaintext. Never: framing, and nothing about other packets.

#[cfg(test)]
mod wiped;

use aes::cipher::consts::U12;
use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256, Block};
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use chacha20poly1305::ChaCha20Poly1305;
use cipher::{
    BlockCipherDecrypt, BlockSizeUser, InOutBuf, StreamCipher, StreamCipherCoreWrapper, consts::U16,
};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use crate::frame::{Aad, high_half};
use crate::key::{IV_SECRET, Pads};
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
    /// For CBC, CTR and GMAC.
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
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
            mac: PortableMac::new(suite.integrity(), &rest[suite.salt_len()..]),
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
            (Cipher::Cbc | Cipher::Ctr | Cipher::Gmac, 16) => Self::Aes128(Box::new(made(key))),
            (Cipher::Cbc | Cipher::Ctr | Cipher::Gmac, 24) => Self::Aes192(Box::new(made(key))),
            (Cipher::Cbc | Cipher::Ctr | Cipher::Gmac, _) => Self::Aes256(Box::new(made(key))),
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

/// Seals one prepared AES-GMAC packet.
pub(crate) fn seal_gmac(job: &mut SealJob) {
    if let Some((packet, icv)) = job.packet.split_last_chunk_mut() {
        *icv = gmac(job.key, packet, job.esn.then_some(job.seq));
    }
}

/// Verifies one AES-GMAC packet of possible length.
pub(crate) fn open_gmac(job: &mut OpenJob) -> bool {
    let parts = job.packet.split_last_chunk::<16>();
    parts.is_some_and(|(packet, icv)| same(&gmac(job.key, packet, job.esn.then_some(job.seq)), icv))
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
        PortableCipher::Aes128(_)
        | PortableCipher::Aes192(_)
        | PortableCipher::Aes256(_)
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
        PortableCipher::Aes128(_)
        | PortableCipher::Aes192(_)
        | PortableCipher::Aes256(_)
        | PortableCipher::Null => false,
    }
}

/// `unit` is IV and body of one packet; the IV is made here: the enciphered sequence number under a secret mask
/// (NIST SP 800-38A, appendix C: unpredictable, and distinct as long as the number is).
pub(crate) fn encrypt_cbc(key: &Key, seq: u64, unit: &mut [u8]) {
    match &key.portable().cipher {
        PortableCipher::Aes128(c) => encrypt_chain(&**c, key, seq, unit),
        PortableCipher::Aes192(c) => encrypt_chain(&**c, key, seq, unit),
        PortableCipher::Aes256(c) => encrypt_chain(&**c, key, seq, unit),
        PortableCipher::Gcm128(_)
        | PortableCipher::Gcm192(_)
        | PortableCipher::Gcm256(_)
        | PortableCipher::ChaCha(_)
        | PortableCipher::Null => {}
    }
}

pub(crate) fn decrypt_cbc(key: &Key, unit: &mut [u8]) {
    match &key.portable().cipher {
        PortableCipher::Aes128(c) => decrypt_chain(&**c, unit),
        PortableCipher::Aes192(c) => decrypt_chain(&**c, unit),
        PortableCipher::Aes256(c) => decrypt_chain(&**c, unit),
        PortableCipher::Gcm128(_)
        | PortableCipher::Gcm192(_)
        | PortableCipher::Gcm256(_)
        | PortableCipher::ChaCha(_)
        | PortableCipher::Null => {}
    }
}

/// En- or decrypts one packet's body with AES-CTR; header, IV and ICV stay as they are.
//= https://www.rfc-editor.org/rfc/rfc3686#section-4
//# The block counter field begins with the value of one
pub(crate) fn crypt_ctr(key: &Key, packet: &mut [u8]) {
    let end = packet.len().saturating_sub(key.suite().icv_len());
    let Some((head, body)) = packet[..end].split_first_chunk_mut::<16>() else { return };
    let mut start = [0; 16];
    start[..12].copy_from_slice(&nonce(key, head));
    start[15] = 1;
    match &key.portable().cipher {
        PortableCipher::Aes128(c) => crypt_stream(&**c, &start, body),
        PortableCipher::Aes192(c) => crypt_stream(&**c, &start, body),
        PortableCipher::Aes256(c) => crypt_stream(&**c, &start, body),
        PortableCipher::Gcm128(_)
        | PortableCipher::Gcm192(_)
        | PortableCipher::Gcm256(_)
        | PortableCipher::ChaCha(_)
        | PortableCipher::Null => {}
    }
}

/// The ICV of AES-GMAC. `packet` is header, IV and body. RFC 4543 §3.3: SPI, number (its upper half too with ESN), IV and
/// body are all associated data; there is no other.
pub(crate) fn gmac(key: &Key, packet: &[u8], esn: Option<u64>) -> [u8; 16] {
    let Some((head, _)) = packet.split_first_chunk::<16>() else { return [0; 16] };
    let (spi, rest) = packet.split_at(4);
    let upper = esn.map(high_half);
    gmac_of(key, head, [spi, upper.as_ref().map_or(&[], |half| half), rest])
}

/// The tag of AES-GMAC over the parts; the IV stands at the end of `head`.
pub(crate) fn gmac_of(key: &Key, head: &[u8; 16], parts: [&[u8]; 3]) -> [u8; 16] {
    match &key.portable().cipher {
        PortableCipher::Aes128(c) => gmac_tag(&**c, nonce(key, head), parts),
        PortableCipher::Aes192(c) => gmac_tag(&**c, nonce(key, head), parts),
        PortableCipher::Aes256(c) => gmac_tag(&**c, nonce(key, head), parts),
        PortableCipher::Gcm128(_)
        | PortableCipher::Gcm192(_)
        | PortableCipher::Gcm256(_)
        | PortableCipher::ChaCha(_)
        | PortableCipher::Null => [0; 16],
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
pub(crate) fn hmac_pads(integrity: Integrity, key: &[u8]) -> Pads {
    let mut pads = [0; 128];
    for (n, pad) in [0x36, 0x5c].into_iter().enumerate() {
        let mut block = zeroize::Zeroizing::new([pad; 128]);
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        let narrow = block.first_chunk::<64>().map_or(&[][..], core::slice::from_ref);
        match integrity {
            Integrity::Sha1 => {
                let mut state = SHA1;
                sha1::block_api::compress(&mut state, narrow);
                put(&mut pads[n * 32..], state.map(u32::to_ne_bytes));
            }
            Integrity::Sha256 => {
                let mut state = SHA512.map(high_word);
                sha2::block_api::compress256(&mut state, narrow);
                put(&mut pads[n * 32..], state.map(u32::to_ne_bytes));
            }
            Integrity::Sha384 | Integrity::Sha512 => {
                let mut state = if integrity == Integrity::Sha384 { SHA384 } else { SHA512 };
                sha2::block_api::compress512(&mut state, core::slice::from_ref(&block));
                put(&mut pads[n * 64..], state.map(u64::to_ne_bytes));
            }
            Integrity::None => {}
        }
    }
    pads
}

/// Initial values (FIPS 180-4 §5.3). Those of SHA-256 are the upper halves of SHA-512's.
const SHA1: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
#[rustfmt::skip]
const SHA384: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8, 0x629a_292a_367c_d507, 0x9159_015a_3070_dd17, 0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31, 0x8eb4_4a87_6858_1511, 0xdb0c_2e0d_64f9_8fa7, 0x47b5_481d_befa_4fa4,
];
#[rustfmt::skip]
const SHA512: [u64; 8] = [
    0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f, 0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179,
];

#[allow(clippy::cast_possible_truncation, reason = "32 bits are left")]
fn high_word(word: u64) -> u32 {
    (word >> 32) as u32
}

fn put<const W: usize, const N: usize>(room: &mut [u8], words: [[u8; W]; N]) {
    room.iter_mut().zip(words.as_flattened()).for_each(|(to, from)| *to = *from);
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

fn crypt_stream<C>(cipher: &C, start: &[u8; 16], body: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    // Only lengths far beyond `MAX_PACKET` exhaust the counter.
    let core = ctr::CtrCore::<&C, ctr::flavors::Ctr32BE>::inner_iv_init(cipher, &Block::from(*start));
    let _ = StreamCipherCoreWrapper::from_core(core).try_apply_keystream(body);
}

fn gmac_tag<C>(cipher: &C, nonce: [u8; 12], parts: [&[u8]; 3]) -> [u8; 16]
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let (mut h, mut mask) = (Block::default(), Block::default());
    mask[..12].copy_from_slice(&nonce);
    mask[15] = 1;
    cipher.encrypt_block(&mut h);
    cipher.encrypt_block(&mut mask);
    let mut hash = GHash::new(&h);
    let mut bytes = parts.into_iter().flatten().copied();
    let length = parts.iter().map(|part| part.len() as u128).sum::<u128>();
    for _ in 0..length.div_ceil(16) {
        let mut block = Block::default();
        block.iter_mut().zip(&mut bytes).for_each(|(to, from)| *to = from);
        hash.update(core::slice::from_ref(&block));
    }
    hash.update(&[Block::from(((length * 8) << 64).to_be_bytes())]);
    let mut tag: [u8; 16] = hash.finalize().into();
    tag.iter_mut().zip(&mask).for_each(|(t, m)| *t ^= m);
    tag
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
