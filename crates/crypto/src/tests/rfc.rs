//! Vectors of the RFCs: through whole ESP packets where the RFC has such, else through the primitive. Proves R161.

use aes::cipher::{BlockCipherDecrypt, KeyInit};
use hex_literal::hex;

use super::*;
use crate::mac::{self, Message};
use crate::portable;

struct EspVector {
    suite: Suite,
    keymat: Vec<u8>,
    seq: u64,
    esn: bool,
    /// SPI to ICV.
    packet: Vec<u8>,
    /// Payload, padding, pad length, next header.
    body: Vec<u8>,
}

/// Opens the vector in every tier. Sealing has an IV of its own making, not the vector's, and rests on the vectors of the bare
/// primitives and on what opening undoes.
fn check(vector: &EspVector) {
    let suite = vector.suite;
    let key = Key::new(suite, &vector.keymat, [0; 16]).unwrap();
    for tier in TIERS {
        let mut packet = vector.packet.clone();
        let mut job = [OpenJob::new(&key, vector.seq, vector.esn, &mut packet)];
        Engine::with_tier(tier).open(&mut job);
        let opened = job[0].outcome.unwrap();
        let pad = usize::from(vector.body[vector.body.len() - 2]);
        assert_eq!(usize::from(opened.len), vector.body.len() - 2 - pad);
        assert_eq!(opened.next_header, vector.body[vector.body.len() - 1]);
        assert_eq!(packet[opened.offset.into()..][..vector.body.len()], vector.body);
    }
}

/// draft-mcgrew-gcm-test-01 §4, the ESP packet with AES-GMAC: in the clear, with IV 0, which the first number of all has.
#[test]
fn gmac_esp_packet_of_mcgrew() {
    let keymat = hex!("4c80cdefbb5d10da906ac73c3613a63422433c64");
    let packet = hex!(
        "0000432100000007000000000000000045000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364"
        "65666768696a6b6c6d6e6f707172737401020201f2a9a836e155106aa8dcd618e4099aaa"
    );
    let (suite, body) = (Suite::Aes128Gmac, packet[16..packet.len() - 16].to_vec());
    check(&EspVector { suite, keymat: keymat.to_vec(), seq: 7, esn: false, packet: packet.to_vec(), body });
}

fn gcm(key: &[u8], salt: [u8; 4], spi: u32, seq: u64, iv: [u8; 8], sealed: &[u8], body: &[u8]) {
    let suite = if key.len() == 16 { Suite::Aes128Gcm16 } else { Suite::Aes256Gcm16 };
    #[allow(clippy::cast_possible_truncation)]
    let low = seq as u32;
    let packet = [&spi.to_be_bytes()[..], &low.to_be_bytes(), &iv, sealed].concat();
    check(&EspVector { suite, keymat: [key, &salt].concat(), seq, esn: true, packet, body: body.to_vec() });
}

/// draft-mcgrew-gcm-test-01 §4, the ESP packets with 64-bit sequence numbers.
#[test]
fn gcm_esp_packets_of_mcgrew() {
    gcm(
        &hex!("4c80cdefbb5d10da906ac73c3613a634"),
        hex!("2e443b68"),
        0x0000_4321,
        0x8765_4321_0000_0000,
        hex!("4956ed7e3b244cfe"),
        &hex!(
            "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d"
            "15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4"
        ),
        &hex!(
            "45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f7564700373"
            "69700963796265726369747902646b000021000101020201"
        ),
    );
    gcm(
        &hex!("3de09874b388e6491988d0c3607eae1f"),
        hex!("57690e43"),
        0x42f6_7e3f,
        0x1010_1010_1010_1010,
        hex!("4e280000a2fca1a3"),
        &hex!(
            "fba2caa4853cf9f0f22cb10d86dd83b0fec75691cf1a04b00d1138ec9c35791765acbd8701ad79845bf9fe3fba487bc9"
            "1755e6662b4c8d0d1f5e22739530320ae0d731cc978ecafaeae88f00e80d6e48"
        ),
        &hex!(
            "4500003c99c300008001cb7c40679318010101010800085c02004300616263646566676869 6a6b6c6d6e6f7071727374"
            "75767761626364656667686901020201"
        ),
    );
    gcm(
        &hex!("abbccddef00112233445566778899aababbccddef00112233445566778899aab"),
        hex!("73616c74"),
        0x1740_5e67,
        0x156f_3126_dd0d_b99b,
        hex!("616e640169766563"),
        &hex!(
            "f2d69ecdbd5a0d5b8d5ef38bad4da58d1f278fde98ef67549d524a3018d9a57ff4d3a31ce673119e451626c2415771e3"
            "b7eebca614c89b35"
        ),
        &hex!("45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb71260250101f646d540001"),
    );
    gcm(
        &hex!("6c6567616c697a656d6172696a75616e61616e64646f69746265666f72656961"),
        hex!("7475726e"),
        0x796b_6963,
        0xffff_ffff_ffff_ffff,
        hex!("333021696765746d"),
        &hex!(
            "f97ab2aa356d8edce17644ac8c78e25dd24dedbb29ebf1b64a274b39b49c3a864cd3d78ca4ae68a32b42458fb57dbe82"
            "1dcc63b9d0937ba2945f669368661a329fb4c053"
        ),
        &hex!(
            "45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f7071727374"
            "01020201"
        ),
    );
}

/// RFC 7634, appendix A.
#[test]
fn chacha_esp_packet_of_rfc_7634() {
    let keymat = hex!(
        "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
        "a0a1a2a3"
    );
    check(&EspVector {
        suite: Suite::ChaCha20Poly1305,
        keymat: keymat.to_vec(),
        seq: 5,
        esn: false,
        packet: hex!(
            "0102030400000005101112131415161724039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6"
            "14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da"
            "9165b82829f641e076aaa8266b7fb0f7b11b369907e1ad43"
        )
        .to_vec(),
        body: hex!(
            "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f10111213"
            "1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204"
        )
        .to_vec(),
    });
}

/// RFC 3602 §4, case 5: a transport-mode packet, sealed with the IV of the RFC, and opened.
#[test]
fn cbc_esp_packet_of_rfc_3602() {
    let cipher_key = hex!("90d382b410eeba7ad938c46cec1a82bf");
    let iv = hex!("e96e8c08ab465763fd098d45dd3ff893");
    let payload_bytes = hex!(
        "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617"
        "18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637"
    );
    let expected = hex!(
        "0000432100000001e96e8c08ab465763fd098d45dd3ff893"
        "f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db080b59ec3a8e4b7e52"
        "775b07d1db34ed9c538ab50c551b874aa269add047ad2d5913ac19b7cfbad4a6"
    );
    // The secret that makes number 1 have the RFC's IV.
    let mut secret = iv.into();
    aes::Aes128::new(&cipher_key.into()).decrypt_block(&mut secret);
    secret[15] ^= 1;
    for suite in
        [Suite::Aes128CbcSha1, Suite::Aes128CbcSha256, Suite::Aes128CbcSha384, Suite::Aes128CbcSha512]
    {
        let keymat = [&cipher_key[..], &noise(5, suite.integrity().key_len())].concat();
        let key = Key::new(suite, &keymat, secret.into()).unwrap();
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            let mut packet = vec![0; suite.sealed_len(payload_bytes.len())];
            packet[24..24 + payload_bytes.len()].copy_from_slice(&payload_bytes);
            let payload_len = payload_bytes.len();
            let mut job = [SealJob {
                key: &key,
                spi: 0x4321,
                seq: 1,
                esn: false,
                next_header: 1,
                payload_len,
                packet: &mut packet,
            }];
            assert_eq!(engine.seal(&mut job), 0);
            assert_eq!(packet[..expected.len()], expected, "{suite:?}, {tier:?}");
            let mut job = [OpenJob::new(&key, 1, false, &mut packet)];
            engine.open(&mut job);
            assert_eq!(job[0].outcome, Ok(Opened { offset: 24, len: 64, next_header: 1 }));
            assert_eq!(packet[24..88], payload_bytes);
        }
    }
}

/// R203, RFC 3602 §4, cases 1 and 2, and SP 800-38A F.2.5 for 256 bits. Their plaintexts have no ESP trailer, so that an
/// authentic packet around them is decrypted and then refused for its padding.
#[test]
fn cbc_blocks() {
    cbc(
        Suite::Aes128CbcSha256,
        &hex!("06a9214036b8a15b512e03d534120006"),
        hex!("3dafba429d9eb430b422da802c9fac41"),
        &hex!("e353779c1079aeb82708942dbe77181a"),
        b"Single block msg",
    );
    cbc(
        Suite::Aes128CbcSha1,
        &hex!("c286696d887c9aa0611bbb3e2025a45a"),
        hex!("562e17996d093d28ddb3ba695a2e6f58"),
        &hex!("d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"),
        &hex!("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    );
    cbc(
        Suite::Aes256CbcSha256,
        &hex!("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
        hex!("000102030405060708090a0b0c0d0e0f"),
        &hex!("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"),
        &hex!("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"),
    );
}

fn cbc(suite: Suite, cipher_key: &[u8], iv: [u8; 16], encrypted: &[u8], plain: &[u8]) {
    let keymat = [cipher_key, &noise(5, suite.integrity().key_len())].concat();
    let key = Key::new(suite, &keymat, [0; 16]).unwrap();
    for tier in TIERS {
        let mut packet = [&[1; 8][..], &iv, encrypted].concat();
        let end = packet.len();
        let icv = portable::hmac(&key, &packet, None);
        packet.extend(&icv[..suite.icv_len()]);
        let mut job = [OpenJob::new(&key, 0, false, &mut packet)];
        Engine::with_tier(tier).open(&mut job);
        assert_eq!(job[0].outcome, Err(OpenError::BadPadding));
        assert_eq!(&packet[24..end], plain, "{suite:?}, {tier:?}");
    }
}

/// R207, RFC 2202 §3. HMAC pads short keys with zeros, so the suite's fixed key length takes them too.
#[test]
fn hmac_sha1_of_rfc_2202() {
    hmac(Suite::NullSha1, &[0x0b; 20], b"Hi There", &hex!("b617318655057264e28bc0b6fb378c8ef146be00"));
    let nothing = b"what do ya want for nothing?";
    hmac(Suite::NullSha1, b"Jefe", nothing, &hex!("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
    hmac(Suite::NullSha1, &[0xaa; 20], &[0xdd; 50], &hex!("125d7342b9ac11cd91a39af48aa17b4f63f175d3"));
    hmac(
        Suite::NullSha1,
        &[0x0c; 20],
        b"Test With Truncation",
        &hex!("4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"),
    );
}

/// R207, RFC 4231 §4.2 and §4.3, RFC 4868 §2.7.2.1.
#[test]
fn hmac_sha2_of_rfc_4231() {
    let (key, data) = (&[0x0b; 20], b"Hi There");
    let sha256 = hex!("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    let sha384 = hex!(
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
        "faea9ea9076ede7f4af152e8b2fa9cb6"
    );
    let sha512 = hex!(
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
        "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
    );
    hmac(Suite::NullSha256, key, data, &sha256);
    hmac(Suite::NullSha384, key, data, &sha384);
    hmac(Suite::NullSha512, key, data, &sha512);
    let nothing = b"what do ya want for nothing?";
    let jefe = hex!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hmac(Suite::NullSha256, b"Jefe", nothing, &jefe);
    let whole = hex!("198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7");
    hmac(Suite::NullSha256, &[0x0b; 32], data, &whole);
}

pub(super) fn hmac(suite: Suite, short_key: &[u8], data: &[u8], expected: &[u8]) {
    let mut keymat = vec![0; suite.keymat_len()];
    keymat[..short_key.len()].copy_from_slice(short_key);
    let key = Key::new(suite, &keymat, [0; 16]).unwrap();
    for tier in TIERS {
        let (_, kernel) = Engine::with_tier(tier).kernels(suite);
        for lanes in [1, 2, 5, 16, 20] {
            let mut digests = [[0; 64]; BURST];
            let message = Message { key: &key, data, esn: None };
            mac::digest(kernel, suite.integrity(), &vec![message; lanes], &mut digests);
            for digest in &digests[..lanes] {
                let len = expected.len().min(suite.integrity().key_len());
                assert_eq!(digest[..len], expected[..len], "{suite:?}, {kernel}, {lanes} lanes");
            }
        }
    }
}
