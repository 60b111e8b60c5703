//! The algorithm suites and the lengths that follow from them.
//!
//! Decides: how long a sealed packet is, and where its payload lies. Reads and writes nothing. Never chooses a suite:
//! IKE negotiates it.

/// One negotiated pair of ESP transforms. The combined-mode ones have no separate integrity algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Suite {
    /// RFC 4106 with a 16-byte ICV.
    Aes128Gcm16,
    Aes192Gcm16,
    Aes256Gcm16,
    /// RFC 4543 (ENCR_NULL_AUTH_AES_GMAC): authentic, not confidential.
    Aes128Gmac,
    Aes192Gmac,
    Aes256Gmac,
    /// RFC 7634.
    ChaCha20Poly1305,
    /// RFC 3602 with RFC 2404.
    Aes128CbcSha1,
    Aes192CbcSha1,
    Aes256CbcSha1,
    /// RFC 3602 with RFC 4868.
    Aes128CbcSha256,
    Aes192CbcSha256,
    Aes256CbcSha256,
    Aes128CbcSha384,
    Aes256CbcSha384,
    Aes128CbcSha512,
    Aes256CbcSha512,
    /// RFC 3686 with RFC 2404 or RFC 4868.
    Aes128CtrSha1,
    Aes192CtrSha1,
    Aes256CtrSha1,
    Aes128CtrSha256,
    Aes192CtrSha256,
    Aes256CtrSha256,
    Aes256CtrSha384,
    Aes256CtrSha512,
    /// RFC 2410 with RFC 2404 or RFC 4868: authentic, not confidential.
    NullSha1,
    NullSha256,
    NullSha384,
    NullSha512,
    /// No protection whatever. [`Key::new`](crate::Key::new) refuses it; only
    /// [`Key::no_protection_for_benches`](crate::Key::no_protection_for_benches) makes such a key.
    #[doc(hidden)]
    NoProtectionForBenches,
}

/// What the payload goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Cipher {
    Gcm,
    Gmac,
    ChaCha,
    Cbc,
    Ctr,
    Null,
}

/// What makes the ICV, where the cipher does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Integrity {
    /// Combined mode: the cipher makes it (or, in benches, nothing does).
    None,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Integrity {
    /// Key length (RFC 2404 §3, RFC 4868 §2.1.1): the hash's output length.
    pub(crate) const fn key_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Of 64-bit words in blocks of 128 bytes.
    pub(crate) const fn wide(self) -> bool {
        matches!(self, Self::Sha384 | Self::Sha512)
    }

    /// Truncated as RFC 2404 §2 and RFC 4868 §2.3 say.
    pub(crate) const fn icv_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Sha1 => 12,
            Self::Sha256 => 16,
            Self::Sha384 => 24,
            Self::Sha512 => 32,
        }
    }
}

/// SPI and sequence number.
pub(crate) const HEADER: usize = 8;
/// Pad length and next header (RFC 4303 §2).
pub(crate) const TRAILER: usize = 2;
/// Implicit part of a nonce (RFC 4106 §4, RFC 4543 §3.2, RFC 7634 §2, RFC 3686 §4).
pub(crate) const SALT: usize = 4;
/// The explicit part of a nonce of AES-GMAC where AH carries it (RFC 4543 §4).
pub(crate) const AH_IV: usize = 8;

impl Suite {
    /// Every suite that a peer can negotiate.
    pub const ALL: [Self; 29] = [
        Self::Aes128Gcm16,
        Self::Aes192Gcm16,
        Self::Aes256Gcm16,
        Self::Aes128Gmac,
        Self::Aes192Gmac,
        Self::Aes256Gmac,
        Self::ChaCha20Poly1305,
        Self::Aes128CbcSha1,
        Self::Aes192CbcSha1,
        Self::Aes256CbcSha1,
        Self::Aes128CbcSha256,
        Self::Aes192CbcSha256,
        Self::Aes256CbcSha256,
        Self::Aes128CbcSha384,
        Self::Aes256CbcSha384,
        Self::Aes128CbcSha512,
        Self::Aes256CbcSha512,
        Self::Aes128CtrSha1,
        Self::Aes192CtrSha1,
        Self::Aes256CtrSha1,
        Self::Aes128CtrSha256,
        Self::Aes192CtrSha256,
        Self::Aes256CtrSha256,
        Self::Aes256CtrSha384,
        Self::Aes256CtrSha512,
        Self::NullSha1,
        Self::NullSha256,
        Self::NullSha384,
        Self::NullSha512,
    ];

    /// The name used by benches and by `show`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes-128-gcm",
            Self::Aes192Gcm16 => "aes-192-gcm",
            Self::Aes256Gcm16 => "aes-256-gcm",
            Self::Aes128Gmac => "aes-128-gmac",
            Self::Aes192Gmac => "aes-192-gmac",
            Self::Aes256Gmac => "aes-256-gmac",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes128CbcSha1 => "aes-128-cbc-hmac-sha1-96",
            Self::Aes192CbcSha1 => "aes-192-cbc-hmac-sha1-96",
            Self::Aes256CbcSha1 => "aes-256-cbc-hmac-sha1-96",
            Self::Aes128CbcSha256 => "aes-128-cbc-hmac-sha2-256",
            Self::Aes192CbcSha256 => "aes-192-cbc-hmac-sha2-256",
            Self::Aes256CbcSha256 => "aes-256-cbc-hmac-sha2-256",
            Self::Aes128CbcSha384 => "aes-128-cbc-hmac-sha2-384",
            Self::Aes256CbcSha384 => "aes-256-cbc-hmac-sha2-384",
            Self::Aes128CbcSha512 => "aes-128-cbc-hmac-sha2-512",
            Self::Aes256CbcSha512 => "aes-256-cbc-hmac-sha2-512",
            Self::Aes128CtrSha1 => "aes-128-ctr-hmac-sha1-96",
            Self::Aes192CtrSha1 => "aes-192-ctr-hmac-sha1-96",
            Self::Aes256CtrSha1 => "aes-256-ctr-hmac-sha1-96",
            Self::Aes128CtrSha256 => "aes-128-ctr-hmac-sha2-256",
            Self::Aes192CtrSha256 => "aes-192-ctr-hmac-sha2-256",
            Self::Aes256CtrSha256 => "aes-256-ctr-hmac-sha2-256",
            Self::Aes256CtrSha384 => "aes-256-ctr-hmac-sha2-384",
            Self::Aes256CtrSha512 => "aes-256-ctr-hmac-sha2-512",
            Self::NullSha1 => "null-hmac-sha1-96",
            Self::NullSha256 => "null-hmac-sha2-256",
            Self::NullSha384 => "null-hmac-sha2-384",
            Self::NullSha512 => "null-hmac-sha2-512",
            Self::NoProtectionForBenches => "no-protection",
        }
    }

    /// Bytes of KEYMAT for one direction: cipher key, salt, integrity key, as far as the suite has them.
    pub const fn keymat_len(self) -> usize {
        self.cipher_key_len() + self.salt_len() + self.integrity().key_len()
    }

    /// Length of a whole ESP packet, SPI to ICV, around `payload_len` bytes. Saturates instead of overflowing.
    pub const fn sealed_len(self, payload_len: usize) -> usize {
        let block = self.alignment();
        let body = payload_len.saturating_add(TRAILER + block - 1) & !(block - 1);
        body.saturating_add(self.payload_offset() + self.icv_len())
    }

    /// Length of the authentication data of AH (RFC 4302 §2.6): the ICV, and of AES-GMAC the IV before it (RFC 4543 §4). 0: a
    /// suite of ESP alone.
    pub const fn ah_icv_len(self) -> usize {
        match self.cipher() {
            Cipher::Null => self.integrity().icv_len(),
            Cipher::Gmac => AH_IV + 16,
            Cipher::Gcm | Cipher::ChaCha | Cipher::Cbc | Cipher::Ctr => 0,
        }
    }

    /// Where the payload begins: behind SPI, sequence number and IV.
    pub const fn payload_offset(self) -> usize {
        HEADER + self.iv_len()
    }

    /// No payload grows by more than this.
    pub const fn max_overhead(self) -> usize {
        self.payload_offset() + self.alignment() - 1 + TRAILER + self.icv_len()
    }

    /// The largest payload whose [`sealed_len`](Self::sealed_len) is at most `total`; 0 when none fits.
    pub const fn max_payload(self, total: usize) -> usize {
        let block = self.alignment();
        let body = total.saturating_sub(self.payload_offset() + self.icv_len()) & !(block - 1);
        body.saturating_sub(TRAILER)
    }

    #[inline]
    pub const fn iv_len(self) -> usize {
        self.shape().iv as usize
    }

    #[inline]
    pub const fn icv_len(self) -> usize {
        self.shape().icv as usize
    }

    /// Payload, padding and trailer together are a multiple of this power of two (RFC 4303 §2.4).
    #[inline]
    pub const fn alignment(self) -> usize {
        self.shape().alignment as usize
    }

    /// The lengths are asked for with every packet: looked up, not worked out.
    #[inline]
    const fn shape(self) -> &'static Shape {
        const SHAPES: [Shape; Suite::NoProtectionForBenches as usize + 1] = shapes();
        &SHAPES[self as usize]
    }

    pub(crate) const fn salt_len(self) -> usize {
        match self.cipher() {
            Cipher::Gcm | Cipher::Gmac | Cipher::ChaCha | Cipher::Ctr => SALT,
            Cipher::Cbc | Cipher::Null => 0,
        }
    }

    #[inline]
    pub(crate) const fn cipher(self) -> Cipher {
        self.parts().0
    }

    #[inline]
    pub(crate) const fn cipher_key_len(self) -> usize {
        self.parts().1
    }

    #[inline]
    pub(crate) const fn integrity(self) -> Integrity {
        self.parts().2
    }

    /// Cipher, bytes of its key, integrity.
    const fn parts(self) -> (Cipher, usize, Integrity) {
        match self {
            Self::Aes128Gcm16 => (Cipher::Gcm, 16, Integrity::None),
            Self::Aes192Gcm16 => (Cipher::Gcm, 24, Integrity::None),
            Self::Aes256Gcm16 => (Cipher::Gcm, 32, Integrity::None),
            Self::Aes128Gmac => (Cipher::Gmac, 16, Integrity::None),
            Self::Aes192Gmac => (Cipher::Gmac, 24, Integrity::None),
            Self::Aes256Gmac => (Cipher::Gmac, 32, Integrity::None),
            Self::ChaCha20Poly1305 => (Cipher::ChaCha, 32, Integrity::None),
            Self::Aes128CbcSha1 => (Cipher::Cbc, 16, Integrity::Sha1),
            Self::Aes192CbcSha1 => (Cipher::Cbc, 24, Integrity::Sha1),
            Self::Aes256CbcSha1 => (Cipher::Cbc, 32, Integrity::Sha1),
            Self::Aes128CbcSha256 => (Cipher::Cbc, 16, Integrity::Sha256),
            Self::Aes192CbcSha256 => (Cipher::Cbc, 24, Integrity::Sha256),
            Self::Aes256CbcSha256 => (Cipher::Cbc, 32, Integrity::Sha256),
            Self::Aes128CbcSha384 => (Cipher::Cbc, 16, Integrity::Sha384),
            Self::Aes256CbcSha384 => (Cipher::Cbc, 32, Integrity::Sha384),
            Self::Aes128CbcSha512 => (Cipher::Cbc, 16, Integrity::Sha512),
            Self::Aes256CbcSha512 => (Cipher::Cbc, 32, Integrity::Sha512),
            Self::Aes128CtrSha1 => (Cipher::Ctr, 16, Integrity::Sha1),
            Self::Aes192CtrSha1 => (Cipher::Ctr, 24, Integrity::Sha1),
            Self::Aes256CtrSha1 => (Cipher::Ctr, 32, Integrity::Sha1),
            Self::Aes128CtrSha256 => (Cipher::Ctr, 16, Integrity::Sha256),
            Self::Aes192CtrSha256 => (Cipher::Ctr, 24, Integrity::Sha256),
            Self::Aes256CtrSha256 => (Cipher::Ctr, 32, Integrity::Sha256),
            Self::Aes256CtrSha384 => (Cipher::Ctr, 32, Integrity::Sha384),
            Self::Aes256CtrSha512 => (Cipher::Ctr, 32, Integrity::Sha512),
            Self::NullSha1 => (Cipher::Null, 0, Integrity::Sha1),
            Self::NullSha256 => (Cipher::Null, 0, Integrity::Sha256),
            Self::NullSha384 => (Cipher::Null, 0, Integrity::Sha384),
            Self::NullSha512 => (Cipher::Null, 0, Integrity::Sha512),
            Self::NoProtectionForBenches => (Cipher::Null, 0, Integrity::None),
        }
    }
}

/// Lengths of a suite's packets.
#[derive(Clone, Copy)]
struct Shape {
    iv: u8,
    icv: u8,
    alignment: u8,
}

impl Shape {
    #[allow(clippy::cast_possible_truncation, reason = "32 at most")]
    const fn of(suite: Suite) -> Self {
        let iv = match suite.cipher() {
            Cipher::Gcm | Cipher::Gmac | Cipher::ChaCha | Cipher::Ctr => 8,
            Cipher::Cbc => 16,
            Cipher::Null => 0,
        };
        let icv = match suite.cipher() {
            Cipher::Gcm | Cipher::Gmac | Cipher::ChaCha => 16,
            Cipher::Cbc | Cipher::Ctr | Cipher::Null => suite.integrity().icv_len() as u8,
        };
        let alignment = match suite.cipher() {
            Cipher::Cbc => 16,
            Cipher::Gcm | Cipher::Gmac | Cipher::ChaCha | Cipher::Ctr | Cipher::Null => 4,
        };
        Self { iv, icv, alignment }
    }
}

/// By the suites' own numbers.
const fn shapes() -> [Shape; Suite::NoProtectionForBenches as usize + 1] {
    let mut shapes = [Shape::of(Suite::NoProtectionForBenches); Suite::NoProtectionForBenches as usize + 1];
    let mut n = 0;
    while n < Suite::ALL.len() {
        shapes[Suite::ALL[n] as usize] = Shape::of(Suite::ALL[n]);
        n += 1;
    }
    shapes
}
