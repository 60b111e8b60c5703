//! The suites by the names that all benches use.

use ravelin_ring::msg::Suite;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum SuiteName {
    #[value(name = "aes-128-gcm")]
    Aes128Gcm,
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    #[value(name = "aes-256-cbc-hmac-sha2-256")]
    Aes256CbcSha256,
    #[value(name = "aes-128-cbc-hmac-sha1-96")]
    Aes128CbcSha1,
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
    #[value(name = "aes-128-gmac")]
    Aes128Gmac,
    #[value(name = "aes-256-gmac")]
    Aes256Gmac,
    #[value(name = "aes-128-ctr-hmac-sha2-256")]
    Aes128CtrSha256,
    #[value(name = "aes-256-ctr-hmac-sha2-256")]
    Aes256CtrSha256,
}

impl SuiteName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Aes256CbcSha256 => "aes-256-cbc-hmac-sha2-256",
            Self::Aes128CbcSha1 => "aes-128-cbc-hmac-sha1-96",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes128Gmac => "aes-128-gmac",
            Self::Aes256Gmac => "aes-256-gmac",
            Self::Aes128CtrSha256 => "aes-128-ctr-hmac-sha2-256",
            Self::Aes256CtrSha256 => "aes-256-ctr-hmac-sha2-256",
        }
    }

    /// The contract's number, and bytes of key material: cipher key, then salt or integrity key.
    pub(crate) fn contract(self) -> (Suite, usize) {
        match self {
            Self::Aes128Gcm => (Suite::Aes128Gcm16, 16 + 4),
            Self::Aes256Gcm => (Suite::Aes256Gcm16, 32 + 4),
            Self::Aes256CbcSha256 => (Suite::Aes256CbcSha256, 32 + 32),
            Self::Aes128CbcSha1 => (Suite::Aes128CbcSha1, 16 + 20),
            Self::ChaCha20Poly1305 => (Suite::ChaCha20Poly1305, 32 + 4),
            Self::Aes128Gmac => (Suite::Aes128Gmac, 16 + 4),
            Self::Aes256Gmac => (Suite::Aes256Gmac, 32 + 4),
            Self::Aes128CtrSha256 => (Suite::Aes128CtrSha256, 16 + 4 + 32),
            Self::Aes256CtrSha256 => (Suite::Aes256CtrSha256, 32 + 4 + 32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    /// The command line and the output call a suite by the same name.
    #[test]
    fn one_name_in_and_out() {
        for suite in SuiteName::value_variants() {
            assert_eq!(suite.to_possible_value().unwrap().get_name(), suite.name());
        }
    }
}
