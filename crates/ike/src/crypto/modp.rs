//! MODP groups (RFC 3526) in constant time.
//!
//! Decides: whether a public value is lawful (RFC 6989 §2.1). Never: runs in a time that depends on the exponent.

use super::Wiped;
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U384, U2048, U3072, U4096, Uint};
use rand_core::Rng;
use zeroize::{Zeroize, Zeroizing};

pub(crate) use {group14 as modp2048, group15 as modp3072, group16 as modp4096};

/// A private exponent of 384 bits: twice the strength of the strongest group here (RFC 3526 §8), so that no attack on
/// short exponents is easier than one on the group.
pub(crate) struct Exponent(U384);

impl Exponent {
    pub(crate) fn random(rng: &mut dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; 48]);
        rng.fill_bytes(&mut *bytes);
        Self(U384::from_be_slice(&*bytes))
    }

    #[cfg(test)]
    pub(super) fn of(bytes: &[u8; 48]) -> Self {
        Self(U384::from_be_slice(bytes))
    }
}

impl Drop for Exponent {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

macro_rules! group {
    ($name:ident, $uint:ty, $hex:literal) => {
        pub(crate) mod $name {
            use super::*;

            pub(crate) const LEN: usize = <$uint>::BYTES;
            const PRIME: Odd<$uint> = Odd::<$uint>::from_be_hex($hex);

            pub(crate) fn public(secret: &Exponent) -> Vec<u8> {
                power(&<$uint>::from_u8(2), &PRIME, secret).to_be_bytes().as_ref().to_vec()
            }

            /// `None` when the peer's value is not between 2 and p - 2.
            pub(crate) fn shared(secret: &Exponent, public: &[u8]) -> Option<Wiped> {
                if public.len() != LEN {
                    return None;
                }
                let value = <$uint>::from_be_slice(public);
                let top = PRIME.as_ref().wrapping_sub(&<$uint>::ONE);
                if value <= <$uint>::ONE || value >= top {
                    return None;
                }
                let mut result = power(&value, &PRIME, secret);
                let bytes = Zeroizing::new(result.to_be_bytes().as_ref().to_vec());
                result.zeroize();
                Some(bytes)
            }
        }
    };
}

fn power<const LIMBS: usize>(base: &Uint<LIMBS>, prime: &Odd<Uint<LIMBS>>, secret: &Exponent) -> Uint<LIMBS> {
    let params = FixedMontyParams::new_vartime(*prime);
    let mut result = FixedMontyForm::new(base, &params).pow(&secret.0);
    let value = result.retrieve();
    result.zeroize();
    value
}

group!(
    group14,
    U2048,
    "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AACAA68FFFFFFFFFFFFFFFF"
);
group!(
    group15,
    U3072,
    "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF"
);
group!(
    group16,
    U4096,
    "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
     88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6\
     287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9\
     93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF"
);
