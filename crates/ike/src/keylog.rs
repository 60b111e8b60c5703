//! Keys of IKE SAs for tshark, when a laboratory asks for them.
//!
//! Decides: the form of a line (Wireshark's `ikev2_decryption_table`). Reads: keys. Writes: a line.
//! Never: makes one unless [`crate::endpoint::EndpointConfig::key_log`] is set.

use crate::config::{Encryption, IkeProposal, Integrity};
use crate::crypto::keys::IkeKeys;
use core::fmt::{self, Write};
use zeroize::Zeroizing;

/// Whoever has this line can read everything that the IKE SA protects. Wiped on drop, never printed.
#[derive(Clone)]
pub struct KeyLine(Zeroizing<String>);

impl KeyLine {
    /// SPIs, SK_ei, SK_er, encryption, SK_ai, SK_ar, integrity.
    pub(crate) fn new(spis: (u64, u64), proposal: &IkeProposal, keys: &IkeKeys) -> Self {
        let ((ei, ai), (er, ar)) = (keys.from_initiator.expose(), keys.from_responder.expose());
        let mut line = Zeroizing::new(String::with_capacity(512));
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "{:016x},{:016x},{},{},\"{}\",{},{},\"{}\"",
            spis.0,
            spis.1,
            Hex(ei),
            Hex(er),
            encryption(proposal.encryption),
            Hex(ai),
            Hex(ar),
            integrity(proposal.integrity),
        );
        Self(line)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLine(…)")
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// As Wireshark names them.
const fn encryption(e: Encryption) -> &'static str {
    match e {
        Encryption::AesGcm16_128 => "AES-GCM-128 with 16 octet ICV [RFC5282]",
        Encryption::AesGcm16_256 => "AES-GCM-256 with 16 octet ICV [RFC5282]",
        Encryption::AesCbc128 => "AES-CBC-128 [RFC3602]",
        Encryption::AesCbc256 => "AES-CBC-256 [RFC3602]",
        // It has no decryption of it.
        Encryption::ChaCha20Poly1305 => "ChaCha20-Poly1305 [RFC7634]",
        // Never of an IKE SA.
        Encryption::AesCtr128 | Encryption::AesCtr192 | Encryption::AesCtr256 => "AES-CTR",
        Encryption::AesGmac128 | Encryption::AesGmac192 | Encryption::AesGmac256 => "AES-GMAC",
    }
}

const fn integrity(i: Option<Integrity>) -> &'static str {
    match i {
        None => "NONE [RFC4306]",
        Some(Integrity::HmacSha1_96) => "HMAC_SHA1_96 [RFC2404]",
        Some(Integrity::HmacSha256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(Integrity::HmacSha384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(Integrity::HmacSha512_256) => "HMAC_SHA2_512_256 [RFC4868]",
        // Never of an IKE SA.
        Some(Integrity::AesGmac128 | Integrity::AesGmac192 | Integrity::AesGmac256) => "AES-GMAC",
    }
}
