//! ML-KEM (FIPS 203) as an additional key exchange (RFC 9370): the initiator's public value is an encapsulation key, the
//! responder's a ciphertext.
//!
//! Decides: whether the peer's value is lawful (FIPS 203 §7.2, §7.3). Never: uses a key pair or a ciphertext twice.

use super::Wiped;
use super::group::BadPublicValue;
use crate::config::Kem;
use core::fmt;
use ml_kem::{Decapsulate, Encapsulate, KeyExport};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Evaluates the block with `$set` as the module of the parameter set.
macro_rules! with_set {
    ($kem:expr, $set:ident => $body:block) => {
        match $kem {
            Kem::MlKem512 => {
                use ml_kem::ml_kem_512 as $set;
                $body
            }
            Kem::MlKem768 => {
                use ml_kem::ml_kem_768 as $set;
                $body
            }
            Kem::MlKem1024 => {
                use ml_kem::ml_kem_1024 as $set;
                $body
            }
        }
    };
}

/// The initiator's half. The key pair is kept as its seed, which is wiped on drop.
pub(crate) struct KeyPair {
    kem: Kem,
    seed: Zeroizing<[u8; 64]>,
    pub(crate) public: Vec<u8>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?}, …)", self.kem)
    }
}

impl KeyPair {
    pub(crate) fn new(kem: Kem, rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(kem, seed)
    }

    pub(super) fn from_seed(kem: Kem, seed: Zeroizing<[u8; 64]>) -> Self {
        let public = with_set!(kem, set => {
            let key = set::DecapsulationKey::from_seed((*seed).into());
            key.encapsulation_key().to_bytes().to_vec()
        });
        Self { kem, seed, public }
    }

    pub(crate) const fn kem(&self) -> Kem {
        self.kem
    }

    /// The secret that the responder put into its ciphertext. A forged one gives another secret, and AUTH then fails.
    pub(crate) fn shared(&self, ciphertext: &[u8]) -> Result<Wiped, BadPublicValue> {
        with_set!(self.kem, set => {
            let ciphertext: &set::Ciphertext = ciphertext.try_into().map_err(|_| BadPublicValue)?;
            let key = set::DecapsulationKey::from_seed((*self.seed).into());
            Ok(Zeroizing::new(Zeroizing::new(key.decapsulate(ciphertext)).to_vec()))
        })
    }
}

/// The responder's half: ciphertext and secret.
pub(crate) fn encapsulate(
    kem: Kem,
    public: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<(Vec<u8>, Wiped), BadPublicValue> {
    with_set!(kem, set => {
        let key = public.try_into().map_err(|_| BadPublicValue)?;
        let key = set::EncapsulationKey::new(key).map_err(|_| BadPublicValue)?;
        let (ciphertext, secret) = key.encapsulate_with_rng(rng);
        Ok((ciphertext.to_vec(), Zeroizing::new(Zeroizing::new(secret).to_vec())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const ALL: [Kem; 3] = [Kem::MlKem512, Kem::MlKem768, Kem::MlKem1024];

    #[test]
    fn both_sides_find_the_same_secret() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        // FIPS 203 table 3
        for (kem, key_len, ciphertext_len) in [(ALL[0], 800, 768), (ALL[1], 1184, 1088), (ALL[2], 1568, 1568)]
        {
            let pair = KeyPair::new(kem, &mut rng);
            let (ciphertext, secret) = encapsulate(kem, &pair.public, &mut rng).unwrap();
            assert_eq!((pair.public.len(), ciphertext.len()), (key_len, ciphertext_len));
            assert_eq!(pair.shared(&ciphertext).unwrap(), secret);
            let mut other = ciphertext.clone();
            other[7] ^= 1;
            assert_ne!(pair.shared(&other).unwrap(), secret, "implicit rejection");
        }
    }

    #[test]
    fn values_of_another_length_or_out_of_range_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for kem in ALL {
            let pair = KeyPair::new(kem, &mut rng);
            assert!(pair.shared(&[0; 3]).is_err());
            assert!(encapsulate(kem, &pair.public[1..], &mut rng).is_err());
            // FIPS 203 §7.2: a coefficient that is not below q.
            let mut big = pair.public;
            big[..2].fill(0xff);
            assert!(encapsulate(kem, &big, &mut rng).is_err());
        }
    }
}
