//! MODP groups (RFC 2409 §6.2, RFC 3526), exponents in constant time.
//!
//! Decides: whether a public value is lawful (RFC 6989 §2.1). Never: runs in a time that depends on the exponent.

use super::Wiped;
use crate::config::Group;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Limb, Odd};
use rand_core::Rng;
use std::sync::OnceLock;
use zeroize::{Zeroize, Zeroizing};

/// A private exponent: twice the strength of its group by the higher estimate of RFC 3526 §8, so that no attack on short
/// exponents is easier than one on the group.
pub(crate) struct Exponent(BoxedUint);

impl Drop for Exponent {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A safe prime with generator 2.
pub(crate) struct Prime {
    bits: u32,
    hex: &'static str,
    params: OnceLock<Option<BoxedMontyParams>>,
}

pub(crate) fn prime(group: Group) -> Option<&'static Prime> {
    Some(match group {
        Group::Modp1024 => &MODP1024,
        Group::Modp1536 => &MODP1536,
        Group::Modp2048 => &MODP2048,
        Group::Modp3072 => &MODP3072,
        Group::Modp4096 => &MODP4096,
        Group::Modp6144 => &MODP6144,
        Group::Modp8192 => &MODP8192,
        Group::Ecp256 | Group::Ecp384 | Group::Ecp521 | Group::Curve25519 => return None,
    })
}

impl Prime {
    const fn new(bits: u32, hex: &'static str) -> Self {
        Self { bits, hex, params: OnceLock::new() }
    }

    const fn len(&self) -> usize {
        (self.bits / 8) as usize
    }

    fn value(&self) -> Option<BoxedUint> {
        BoxedUint::from_be_hex(self.hex, self.bits).into()
    }

    /// Made once: it costs as much as a few multiplications.
    fn params(&self) -> Option<&BoxedMontyParams> {
        let make = || {
            let odd: Option<Odd<BoxedUint>> = Odd::new(self.value()?).into();
            Some(BoxedMontyParams::new_vartime(odd?))
        };
        self.params.get_or_init(make).as_ref()
    }

    pub(crate) fn exponent(&self, rng: &mut dyn Rng) -> Option<Exponent> {
        let bits = if self.bits > 4096 { 640 } else { 512 };
        let mut bytes = Zeroizing::new(vec![0; bits / 8]);
        rng.fill_bytes(&mut bytes);
        BoxedUint::from_be_slice(&bytes, u32::try_from(bits).ok()?).ok().map(Exponent)
    }

    /// Empty only if the prime could not be read, which a test rules out.
    pub(crate) fn public(&self, secret: &Exponent) -> Vec<u8> {
        let two = [vec![0; self.len() - 1], vec![2]].concat();
        self.power(&two, secret).map(|v| v.to_vec()).unwrap_or_default()
    }

    /// `None` when the peer's value is not between 2 and p - 2.
    pub(crate) fn shared(&self, secret: &Exponent, public: &[u8]) -> Option<Wiped> {
        if public.len() != self.len() {
            return None;
        }
        let small = public.split_last().is_none_or(|(last, rest)| *last < 2 && rest.iter().all(|b| *b == 0));
        let top = self.value()?.wrapping_sub(Limb::ONE);
        if small || BoxedUint::from_be_slice(public, self.bits).ok()? >= top {
            return None;
        }
        self.power(public, secret)
    }

    fn power(&self, base: &[u8], secret: &Exponent) -> Option<Wiped> {
        let base = BoxedUint::from_be_slice(base, self.bits).ok()?;
        let mut power = BoxedMontyForm::new(base, self.params()?).pow(&secret.0);
        let value = Zeroizing::new(power.retrieve());
        power.zeroize();
        Some(Zeroizing::new(value.to_be_bytes().into_vec()))
    }
}

static MODP1024: Prime = Prime::new(
    1024,
    "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
);
static MODP1536: Prime = Prime::new(
    1536,
    "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA237327FFFFFFFFFFFFFFFF",
);
static MODP2048: Prime = Prime::new(
    2048,
    "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AACAA68FFFFFFFFFFFFFFFF",
);
static MODP3072: Prime = Prime::new(
    3072,
    "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
);
static MODP4096: Prime = Prime::new(
    4096,
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
     93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
);
static MODP6144: Prime = Prime::new(
    6144,
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
     93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C93402849236C3FAB4D27C7026C1D4DCB2602646DEC9751E763DBA37BD\
     F8FF9406AD9E530EE5DB382F413001AEB06A53ED9027D831179727B0865A8918DA3EDBEBCF9B14ED44CE6CBACED4BB1B\
     DB7F1447E6CC254B332051512BD7AF426FB8F401378CD2BF5983CA01C64B92ECF032EA15D1721D03F482D7CE6E74FEF6\
     D55E702F46980C82B5A84031900B1C9E59E7C97FBEC7E8F323A97A7E36CC88BE0F1D45B7FF585AC54BD407B22B4154AA\
     CC8F6D7EBF48E1D814CC5ED20F8037E0A79715EEF29BE32806A1D58BB7C5DA76F550AA3D8A1FBFF0EB19CCB1A313D55C\
     DA56C9EC2EF29632387FE8D76E3C0468043E8F663F4860EE12BF2D5B0B7474D6E694F91E6DCC4024FFFFFFFFFFFFFFFF",
);
static MODP8192: Prime = Prime::new(
    8192,
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
     93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C93402849236C3FAB4D27C7026C1D4DCB2602646DEC9751E763DBA37BD\
     F8FF9406AD9E530EE5DB382F413001AEB06A53ED9027D831179727B0865A8918DA3EDBEBCF9B14ED44CE6CBACED4BB1B\
     DB7F1447E6CC254B332051512BD7AF426FB8F401378CD2BF5983CA01C64B92ECF032EA15D1721D03F482D7CE6E74FEF6\
     D55E702F46980C82B5A84031900B1C9E59E7C97FBEC7E8F323A97A7E36CC88BE0F1D45B7FF585AC54BD407B22B4154AA\
     CC8F6D7EBF48E1D814CC5ED20F8037E0A79715EEF29BE32806A1D58BB7C5DA76F550AA3D8A1FBFF0EB19CCB1A313D55C\
     DA56C9EC2EF29632387FE8D76E3C0468043E8F663F4860EE12BF2D5B0B7474D6E694F91E6DBE115974A3926F12FEE5E4\
     38777CB6A932DF8CD8BEC4D073B931BA3BC832B68D9DD300741FA7BF8AFC47ED2576F6936BA424663AAB639C5AE4F568\
     3423B4742BF1C978238F16CBE39D652DE3FDB8BEFC848AD922222E04A4037C0713EB57A81A23F0C73473FC646CEA306B\
     4BCBC8862F8385DDFA9D4B7FA2C087E879683303ED5BDD3A062B3CF5B3A278A66D2A13F83F44F82DDF310EE074AB6A36\
     4597E899A0255DC164F31CC50846851DF9AB48195DED7EA1B1D510BD7EE74D73FAF36BC31ECFA268359046F4EB879F92\
     4009438B481C6CD7889A002ED5EE382BC9190DA6FC026E479558E4475677E9AA9E3050E2765694DFC81F56E880B96E71\
     60C980DD98EDD3DFFFFFFFFFFFFFFFFF",
);

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // digits are cut on purpose
mod tests {
    use super::*;
    use hex_literal::hex;
    use sha2::{Digest, Sha256};

    /// Numbers as 32-bit digits, the lowest first: as much arithmetic as the formula needs.
    type Digits = Vec<u32>;

    fn divide(n: &[u32], by: u32) -> Digits {
        let mut rest = 0u64;
        let mut out = vec![0; n.len()];
        for i in (0..n.len()).rev() {
            rest = rest << 32 | u64::from(n[i]);
            out[i] = (rest / u64::from(by)) as u32;
            rest %= u64::from(by);
        }
        out
    }

    fn add(a: &mut Digits, b: &[u32], minus: bool) {
        let mut carry = 0;
        for (i, digit) in a.iter_mut().enumerate() {
            let b = i64::from(*b.get(i).unwrap_or(&0));
            let sum = i64::from(*digit) + if minus { -b } else { b } + carry;
            *digit = sum as u32;
            carry = sum >> 32;
        }
    }

    /// m * arctan(1/x), with the point after digit 0.
    fn arctan(x: u32, m: u32, len: usize) -> Digits {
        let mut one = vec![0; len];
        one[len - 1] = m;
        let mut term = divide(&one, x);
        let mut sum = term.clone();
        for n in 1.. {
            term = divide(&term, x * x);
            if term.iter().all(|d| *d == 0) {
                break;
            }
            add(&mut sum, &divide(&term, 2 * n + 1), n % 2 == 1);
        }
        sum
    }

    /// p = 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) * pi) + k)
    fn formula(bits: usize, k: u32) -> Digits {
        // Machin: pi = 16 arctan(1/5) - 4 arctan(1/239), with 64 bits to spare.
        let len = bits / 32 + 4;
        let mut pi = arctan(5, 16, len);
        add(&mut pi, &arctan(239, 4, len), true);
        // The point stands before the highest digit: 2^(32 (len - 1)) * pi; wanted are bits - 130 of its binary places.
        let shift = 32 * (len - 1) - (bits - 130);
        let (digits, rest) = (shift / 32, shift % 32);
        let mut middle: Digits = (digits..len)
            .map(|i| {
                let high = u64::from(*pi.get(i + 1).unwrap_or(&0)) << 32;
                ((high | u64::from(pi[i])) >> rest) as u32
            })
            .collect();
        add(&mut middle, &[k], false);
        let mut p = vec![0; bits / 32];
        p[2..2 + middle.len()].copy_from_slice(&middle);
        // 2^n - 2^(n-64) is 64 ones at the top; - 1 makes 64 ones at the bottom, and takes one from above them.
        let mut ones = vec![0; bits / 32];
        ones[bits / 32 - 1] = u32::MAX;
        ones[bits / 32 - 2] = u32::MAX;
        add(&mut p, &ones, false);
        add(&mut p, &[1], true);
        p
    }

    // RFC 2409 §6.2, RFC 3526 §2 to §7: each prime is what its formula says
    #[test]
    fn primes_are_those_of_the_rfcs() {
        let all = [
            (&MODP1024, 129_093),
            (&MODP1536, 741_804),
            (&MODP2048, 124_476),
            (&MODP3072, 1_690_314),
            (&MODP4096, 240_904),
            (&MODP6144, 929_484),
            (&MODP8192, 4_743_158),
        ];
        for (prime, k) in all {
            let bytes: Vec<u8> =
                formula(prime.bits as usize, k).iter().rev().flat_map(|d| d.to_be_bytes()).collect();
            assert_eq!(prime.value().unwrap().to_be_bytes().to_vec(), bytes, "{}", prime.bits);
        }
    }

    // Fermat: 2^(p-1) = 1, and 2^q = 1 for q = (p-1)/2, so that 2 makes the subgroup of order q
    #[test]
    fn two_generates_the_large_subgroup() {
        for prime in [&MODP1024, &MODP1536, &MODP2048, &MODP3072] {
            let p = prime.value().unwrap();
            let q = Exponent(p.shr(1));
            let mut one = vec![0; prime.len()];
            one[prime.len() - 1] = 1;
            assert_eq!(prime.public(&q), one, "{}", prime.bits);
        }
    }

    // Powers by another implementation (Python's pow): SHA-256 of 2^e, and of 2^(e f)
    #[test]
    fn powers_agree_with_another_implementation() {
        let exponent = |bytes: Vec<u8>| Exponent(BoxedUint::from_be_slice(&bytes, 512).unwrap());
        let (e, f) = (exponent((1..=64).collect()), exponent((1..=64).rev().collect()));
        let all = [
            (
                &MODP1024,
                hex!("27db84123663a2cbf34c7606477c23ea00a792ebb565df0d944d90ce6907d9dc"),
                hex!("30fe421a11d07f2e44e5ed7e959182c16b9b7e8b73a0a251f4dea17ed0fcaa76"),
            ),
            (
                &MODP1536,
                hex!("750965c4f6ff416538ae09f001ebdf1dc4d531a40416f7e07cbda8c38abe27aa"),
                hex!("9a8bc2ce648a4e416c497642e1507dd7f8013a5e5bcc172da2db210ec58a3958"),
            ),
            (
                &MODP2048,
                hex!("5141ed60d422816c251a9a61f4dc090fc6161ec870357a0af29fb84a0bb34e5e"),
                hex!("bc12a5843aac327fc05e3595a8e2d36714da02407b2c7262f6b08655a5072ef4"),
            ),
            (
                &MODP3072,
                hex!("077dffd743a6dda7e2400cb20075f1619d72d9eb8c6fb5d0c2af92940f79bddc"),
                hex!("b31a0e5e2c4b8b4c0f397b805b83aad5afaa01c691e9c6bea74ea7a1cbde0a45"),
            ),
            (
                &MODP4096,
                hex!("0439872574dafc9b300359ea0dd742c3976ccf9fa56883bdb8268462adedf8cf"),
                hex!("889bf24b21518d2968fd3edb1fc3fcde69867d129caf7250c1d150806100e594"),
            ),
            (
                &MODP6144,
                hex!("248f61a86f1c080d552a6a3fb479e26dd41759548ee48a0f4f526d49ce951992"),
                hex!("c51ae0af2d5fb487e65972a24febd4956ff437db4ac251a33ac52f0be09e47b5"),
            ),
            (
                &MODP8192,
                hex!("86b83427a715cae1ac4f0f7ce33a65bdce79ab5608db0fb2aad514b29f74e68a"),
                hex!("bbe577036610d5d40843da50436381d32d6db67e85c6cca2aa0425ec1d3133de"),
            ),
        ];
        for (prime, public, shared) in all {
            assert_eq!(Sha256::digest(prime.public(&e))[..], public, "{}", prime.bits);
            for (mine, theirs) in [(&e, &f), (&f, &e)] {
                let got = prime.shared(mine, &prime.public(theirs)).unwrap();
                assert_eq!(Sha256::digest(&*got)[..], shared, "{}", prime.bits);
            }
        }
    }

    // RFC 6989 §2.1: 1 < r < p - 1
    #[test]
    fn the_ends_of_the_range_are_refused() {
        for prime in [&MODP1024, &MODP1536, &MODP2048, &MODP3072, &MODP4096, &MODP6144, &MODP8192] {
            let e = Exponent(BoxedUint::from_be_slice(&[3; 64], 512).unwrap());
            let p = prime.value().unwrap();
            let minus = |n: u32| p.wrapping_sub(Limb::from(n)).to_be_bytes().to_vec();
            for (n, lawful) in [(0, false), (1, false), (2, true)] {
                assert_eq!(prime.shared(&e, &minus(n)).is_some(), lawful, "p - {n} of {}", prime.bits);
            }
            let small = |n: u8| [vec![0; prime.len() - 1], vec![n]].concat();
            for (n, lawful) in [(0, false), (1, false), (2, true)] {
                assert_eq!(prime.shared(&e, &small(n)).is_some(), lawful, "{n} of {}", prime.bits);
            }
        }
    }
}
