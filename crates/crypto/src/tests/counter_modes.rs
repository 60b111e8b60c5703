//! AES-CTR (RFC 3686) and AES-GMAC (RFC 4543): their vectors, in every tier.

use aes::cipher::KeyInit;
use aes::cipher::consts::U12;
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use hex_literal::hex;

use super::*;
use crate::portable;

/// RFC 3686 §6, test vectors 1 to 9 by key size: through an authentic packet, whose plaintext is no ESP trailer.
fn ctr(suite: Suite, key: &[u8], nonce: [u8; 4], iv: [u8; 8], plain: &[u8], cipher: &[u8]) {
    let keymat = [key, &nonce, &[7; 32]].concat();
    let key = Key::new(suite, &keymat, [0; 16]).unwrap();
    let mut sealed = [&[1; 8][..], &iv, cipher].concat();
    let icv = portable::hmac(&key, &sealed, None);
    sealed.extend(&icv[..16]);
    for tier in TIERS {
        let engine = Engine::with_tier(tier);
        let mut packet = sealed.clone();
        let mut job = [OpenJob::new(&key, 0, false, &mut packet)];
        engine.open(&mut job);
        assert!(!matches!(job[0].outcome, Err(OpenError::BadIcv | OpenError::BadEsp)));
        assert_eq!(&packet[16..16 + plain.len()], plain, "{suite:?} {tier:?}");
        // And back: the number is the IV; padding and trailer follow the vector's text.
        let mut packet = vec![0; suite.sealed_len(plain.len())];
        packet[16..][..plain.len()].copy_from_slice(plain);
        let seq = u64::from_be_bytes(iv);
        let payload_len = plain.len();
        let mut job =
            [SealJob { key: &key, spi: 1, seq, esn: true, next_header: 4, payload_len, packet: &mut packet }];
        assert_eq!(engine.seal(&mut job), 0);
        assert_eq!(&packet[16..16 + cipher.len()], cipher, "{suite:?} {tier:?}");
    }
}

#[test]
fn ctr_of_rfc_3686() {
    let text = b"Single block msg";
    let count: [u8; 36] = std::array::from_fn(|n| n as u8);
    ctr(
        Suite::Aes128CtrSha256,
        &hex!("ae6852f8121067cc4bf7a5765577f39e"),
        hex!("00000030"),
        hex!("0000000000000000"),
        text,
        &hex!("e4095d4fb7a7b3792d6175a3261311b8"),
    );
    ctr(
        Suite::Aes128CtrSha256,
        &hex!("7e24067817fae0d743d6ce1f32539163"),
        hex!("006cb6db"),
        hex!("c0543b59da48d90b"),
        &count[..32],
        &hex!("5104a106168a72d9790d41ee8edad388eb2e1efc46da57c8fce630df9141be28"),
    );
    ctr(
        Suite::Aes128CtrSha256,
        &hex!("7691be035e5020a8ac6e618529f9a0dc"),
        hex!("00e0017b"),
        hex!("27777f3f4a1786f0"),
        &count,
        &hex!("c1cf48a89f2ffdd9cf4652e9efdb72d74540a42bde6d7836d59a5ceaaef3105325b2072f"),
    );
    ctr(
        Suite::Aes192CtrSha256,
        &hex!("16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515"),
        hex!("00000048"),
        hex!("36733c147d6d93cb"),
        text,
        &hex!("4b55384fe259c9c84e7935a003cbe928"),
    );
    ctr(
        Suite::Aes192CtrSha256,
        &hex!("7c5cb2401b3dc33c19e7340819e0f69c678c3db8e6f6a91a"),
        hex!("0096b03b"),
        hex!("020c6eadc2cb500d"),
        &count[..32],
        &hex!("453243fc609b23327edfaafa7131cd9f8490701c5ad4a79cfc1fe0ff42f4fb00"),
    );
    ctr(
        Suite::Aes256CtrSha256,
        &hex!("776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104"),
        hex!("00000060"),
        hex!("db5672c97aa8f0b2"),
        text,
        &hex!("145ad01dbf824ec7560863dc71e3e0c0"),
    );
    ctr(
        Suite::Aes256CtrSha256,
        &hex!("f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a23884"),
        hex!("00faac24"),
        hex!("c1585ef15a43d875"),
        &count[..32],
        &hex!("f05e231b3894612c49ee000b804eb2a9b8306b508f839d6a5530831d9344af1c"),
    );
}

/// RFC 4543 §3.3: GCM over nothing, with the packet up to the ICV as associated data; with ESN the number's upper half
/// stands between SPI and lower half. RFC 4543 has no vectors, so GCM, which has its own, is the oracle here; others' are those
/// of `gmac_of_wycheproof` and of `gmac_esp_packet_of_mcgrew`.
#[test]
fn gmac_is_gcm_without_plaintext() {
    let keymat = noise(5, Suite::Aes256Gmac.keymat_len());
    let gcm = AesGcm::<aes::Aes256, U12>::new_from_slice(&keymat[..32]).unwrap();
    for len in (0..200).chain([240, 241, 255, 256, 257, 1000, 8999]) {
        for esn in [false, true] {
            let seq = if esn { 0x0102_0304_0506_0708 } else { 0x0506_0708 };
            for tier in TIERS {
                let plan = Plan { esn, seq, ..Plan::new(Suite::Aes256Gmac, 1, len) };
                let key = Key::new(plan.suite, &keymat, [0; 16]).unwrap();
                let mut packet = plan.room();
                let mut jobs = [SealJob {
                    key: &key,
                    spi: plan.spi,
                    seq,
                    esn,
                    next_header: 4,
                    payload_len: len,
                    packet: &mut packet,
                }];
                assert_eq!(Engine::with_tier(tier).seal(&mut jobs), 0);
                let (authentic, icv) = packet.split_at(packet.len() - 16);
                assert_eq!(authentic[16..16 + len], plan.payload, "in the clear");
                let upper = if esn { &[1, 2, 3, 4][..] } else { &[] };
                let aad = [&authentic[..4], upper, &authentic[4..]].concat();
                let nonce: [u8; 12] = [&keymat[32..], &authentic[8..16]].concat().try_into().unwrap();
                let tag = gcm.encrypt_inout_detached(&nonce.into(), &aad, (&mut [][..]).into()).unwrap();
                assert_eq!(icv, &tag[..], "{len} bytes, ESN {esn}, {tier:?}");
            }
        }
    }
}

/// Project Wycheproof's vectors of GMAC as AH has it (RFC 4543 §4), on every kernel: 96-bit nonces, 128-bit tags, messages
/// of at least a block.
#[test]
fn gmac_of_wycheproof() {
    use wycheproof::TestResult;
    use wycheproof::mac_with_nonce::{TestName, TestSet};
    let set = TestSet::load(TestName::Gmac).unwrap();
    for tier in TIERS {
        let mut ran = 0;
        for group in set.test_groups.iter().filter(|g| g.nonce_size == 96 && g.tag_size == 128) {
            let suite = match group.key_size {
                128 => Suite::Aes128Gmac,
                192 => Suite::Aes192Gmac,
                _ => Suite::Aes256Gmac,
            };
            let engine = Engine::with_tier(tier);
            let (kernel, _) = engine.kernels(suite);
            for test in group.tests.iter().filter(|test| test.msg.len() >= 16) {
                let (salt, iv) = test.nonce.split_at(4);
                let key = Key::new(suite, &[&test.key[..], salt].concat(), [0; 16]).unwrap();
                let seq = u64::from_be_bytes(iv.try_into().unwrap());
                let valid = test.result == TestResult::Valid;
                let mut icv = [0; 24];
                assert!(engine.authenticate(&key, &test.msg, (seq, false), &mut icv));
                assert_eq!(icv == [iv, &test.tag].concat()[..], valid, "{} {kernel}", test.tc_id);
                let theirs = [iv, &test.tag].concat();
                // The IV is the packet's own; it need not be its number.
                assert_eq!(engine.is_authentic(&key, &test.msg, (1, false), &theirs), valid);
                // RFC 4302 §2.5.1: with an extended number its upper half counts, as if it stood behind.
                let behind = [&test.msg[..], &[0, 0, 0, 7]].concat();
                assert!(engine.authenticate(&key, &behind, (5, false), &mut icv));
                assert!(engine.is_authentic(&key, &test.msg, (7 << 32 | 6, true), &icv));
                assert!(!engine.is_authentic(&key, &test.msg, (8 << 32 | 6, true), &icv));
                for forged in [0, 7, 8, 23] {
                    icv[forged] ^= 1;
                    assert!(!engine.is_authentic(&key, &behind, (5, false), &icv), "{forged} {kernel}");
                    icv[forged] ^= 1;
                }
                assert!(!engine.authenticate(&key, &behind, (5, false), &mut icv[8..]));
                assert!(!engine.is_authentic(&key, &behind[..15], (5, false), &icv));
                ran += 1;
            }
        }
        assert!(ran >= 30, "{tier:?} ran {ran}");
    }
}
