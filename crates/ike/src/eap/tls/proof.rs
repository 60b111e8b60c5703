//! Signing in TLS with the keys that IKE has.
//!
//! Decides: by which scheme. Reads: what the peer takes. Never: shows a key.

use super::session::{SCHEMES, scheme};
use crate::config::OwnKey;
use rand_core::{TryCryptoRng, TryRng};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha512};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Our certificate, whoever asks for it.
#[derive(Debug)]
pub(super) struct Own(Arc<CertifiedKey>);

impl Own {
    pub(super) fn new(own: &Arc<OwnKey>) -> Self {
        let chain = own.chain.iter().map(|c| CertificateDer::from(c.der().to_vec())).collect();
        Self(Arc::new(CertifiedKey::new(chain, Arc::new(Key(Arc::clone(own))))))
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Key(Arc<OwnKey>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let family = self.0.key.public().family();
        // RSA: PSS first, which both versions of TLS take; ECDSA: the hash of the curve, which TLS 1.3 wants.
        let fits = |s: &&SignatureScheme| offered.contains(s) && scheme(**s, family, true).is_some();
        let old = |s: &&SignatureScheme| offered.contains(s) && scheme(**s, family, false).is_some();
        let chosen = SCHEMES.iter().find(fits).or_else(|| SCHEMES.iter().find(old))?;
        Some(Box::new(Signs { own: Arc::clone(&self.0), chosen: *chosen }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.key.public().family() {
            crate::cert::Family::Rsa => SignatureAlgorithm::RSA,
            crate::cert::Family::Ed25519 => SignatureAlgorithm::ED25519,
            crate::cert::Family::P256 | crate::cert::Family::P384 | crate::cert::Family::P521 => {
                SignatureAlgorithm::ECDSA
            }
        }
    }
}

#[derive(Debug)]
struct Signs {
    own: Arc<OwnKey>,
    chosen: SignatureScheme,
}

impl Signer for Signs {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = || Error::General("the signature could not be made".to_owned());
        let mut seed = Zeroizing::new([0; 64]);
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut *seed).map_err(|_| failed())?;
        let scheme = scheme(self.chosen, self.own.key.public().family(), false).ok_or_else(failed)?;
        self.own
            .key
            .sign(scheme, message, &mut Stream { seed, block: 0, left: Vec::new().into() })
            .ok_or_else(failed)
    }

    fn scheme(&self) -> SignatureScheme {
        self.chosen
    }
}

/// Random bytes of one signature: SHA-512 of a seed and a counter.
struct Stream {
    seed: Zeroizing<[u8; 64]>,
    block: u64,
    left: Zeroizing<Vec<u8>>,
}

impl TryRng for Stream {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Self::Error> {
        for byte in to {
            if self.left.is_empty() {
                self.block += 1;
                let block = Sha512::new_with_prefix(*self.seed).chain_update(self.block.to_be_bytes());
                self.left = Zeroizing::new(block.finalize().to_vec());
            }
            *byte = self.left.pop().unwrap_or_default();
        }
        Ok(())
    }
}

impl TryCryptoRng for Stream {}
