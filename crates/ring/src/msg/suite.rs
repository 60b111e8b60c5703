//! What protects the packets of an SA.

/// Algorithm suites of ESP and AH; the numbers are the contract's own. The suite says which protocol the SA speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Suite {
    Aes128Gcm16 = 1,
    Aes256Gcm16 = 2,
    ChaCha20Poly1305 = 3,
    Aes128CbcSha1 = 4,
    Aes256CbcSha1 = 5,
    Aes128CbcSha256 = 6,
    Aes256CbcSha256 = 7,
    /// RFC 4543: authentic, not encrypted; key material as of GCM.
    Aes128Gmac = 9,
    Aes192Gmac = 10,
    Aes256Gmac = 11,
    /// RFC 4868.
    Aes128CbcSha384 = 12,
    Aes256CbcSha384 = 13,
    Aes128CbcSha512 = 14,
    Aes256CbcSha512 = 15,
    /// RFC 3686; the nonce stands between the two keys.
    Aes128CtrSha1 = 16,
    Aes192CtrSha1 = 17,
    Aes256CtrSha1 = 18,
    Aes128CtrSha256 = 19,
    Aes192CtrSha256 = 20,
    Aes256CtrSha256 = 21,
    Aes256CtrSha384 = 22,
    Aes256CtrSha512 = 23,
    /// AH (RFC 4302) with RFC 2404 or RFC 4868; the key material is the integrity key alone.
    AhSha1 = 32,
    AhSha256 = 33,
    AhSha384 = 34,
    AhSha512 = 35,
    /// AH with RFC 4543; key material as of GCM.
    AhGmac128 = 36,
    AhGmac192 = 37,
    AhGmac256 = 38,
}

/// Which of the two an SA speaks (RFC 4301 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    Esp,
    Ah,
}

impl Suite {
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::AhSha1
            | Self::AhSha256
            | Self::AhSha384
            | Self::AhSha512
            | Self::AhGmac128
            | Self::AhGmac192
            | Self::AhGmac256 => Protocol::Ah,
            Self::Aes128Gcm16
            | Self::Aes256Gcm16
            | Self::ChaCha20Poly1305
            | Self::Aes128CbcSha1
            | Self::Aes256CbcSha1
            | Self::Aes128CbcSha256
            | Self::Aes256CbcSha256
            | Self::Aes128Gmac
            | Self::Aes192Gmac
            | Self::Aes256Gmac
            | Self::Aes128CbcSha384
            | Self::Aes256CbcSha384
            | Self::Aes128CbcSha512
            | Self::Aes256CbcSha512
            | Self::Aes128CtrSha1
            | Self::Aes192CtrSha1
            | Self::Aes256CtrSha1
            | Self::Aes128CtrSha256
            | Self::Aes192CtrSha256
            | Self::Aes256CtrSha256
            | Self::Aes256CtrSha384
            | Self::Aes256CtrSha512 => Protocol::Esp,
        }
    }
}
