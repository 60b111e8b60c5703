//! Lengths: what the suite promises, and what happens when a caller or a peer lies about them.

use super::*;

#[test]
fn sealed_lengths_and_payloads_are_inverse() {
    for suite in Suite::ALL {
        for len in 0..2000 {
            let total = suite.sealed_len(len);
            assert!(total <= len + suite.max_overhead(), "{suite:?} {len}");
            assert!(suite.max_payload(total) >= len, "{suite:?} {len}");
            assert!(suite.sealed_len(suite.max_payload(total)) <= total, "{suite:?} {len}");
            assert!(suite.sealed_len(suite.max_payload(total) + 1) > total, "{suite:?} {len}");
            assert_eq!(total % 4, 0, "{suite:?}: RFC 4303 §2.4 aligns the trailer to 4 bytes");
        }
        assert_eq!(suite.max_payload(0), 0);
        assert!(suite.sealed_len(usize::MAX) > usize::MAX / 2, "saturates");
    }
}

/// 1500-byte MTU, 20 bytes of IPv4 around it.
#[test]
fn known_overheads() {
    assert_eq!(Suite::Aes128Gcm16.sealed_len(1400), 8 + 8 + 1404 + 16);
    assert_eq!(Suite::Aes256CbcSha256.sealed_len(1400), 8 + 16 + 1408 + 16);
    assert_eq!(Suite::Aes128CbcSha1.sealed_len(14), 8 + 16 + 16 + 12);
    assert_eq!(Suite::Aes128CbcSha1.max_payload(1480), 1438);
}

#[test]
fn keymat_of_another_length_is_refused() {
    for suite in Suite::ALL {
        let right = suite.keymat_len();
        for got in (0..=right + 4).filter(|&len| len != right) {
            assert_eq!(Key::new(suite, &vec![1; got], [0; 16]).unwrap_err().expected, right);
        }
    }
    assert!(Key::new(Suite::NoProtectionForBenches, &[], [0; 16]).is_err());
    assert!(!Suite::ALL.contains(&Suite::NoProtectionForBenches));
}

/// Fail closed: what cannot be sealed does not stay readable.
#[test]
fn a_job_that_contradicts_itself_is_refused_and_zeroed() {
    for suite in Suite::ALL {
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            let key = key(suite, 1);
            let right = suite.sealed_len(40);
            for len in [0, 1, 7, 8, 15, 16, right - 1, right + 1, right + 16, 70_000] {
                let mut packet = vec![0xaa; len];
                let mut other = vec![0xbb; right];
                let mut jobs = [
                    SealJob {
                        key: &key,
                        spi: 1,
                        seq: 1,
                        esn: false,
                        next_header: 4,
                        payload_len: 40,
                        packet: &mut packet,
                    },
                    SealJob {
                        key: &key,
                        spi: 1,
                        seq: 2,
                        esn: false,
                        next_header: 4,
                        payload_len: 40,
                        packet: &mut other,
                    },
                ];
                assert_eq!(engine.seal(&mut jobs), 1, "{suite:?} {len}");
                assert!(packet.iter().all(|&byte| byte == 0));
                let mut job = [OpenJob::new(&key, 2, false, &mut other)];
                engine.open(&mut job);
                assert!(job[0].outcome.is_ok(), "its neighbour is sealed all the same");
            }
            let mut jobs = [SealJob {
                key: &key,
                spi: 1,
                seq: 1,
                esn: false,
                next_header: 4,
                payload_len: usize::MAX,
                packet: &mut [1; 64],
            }];
            assert_eq!(engine.seal(&mut jobs), 1);
        }
    }
}

/// An empty burst and every received length from 0 up: `BadEsp` exactly where the length is impossible.
#[test]
fn impossible_lengths_are_bad_esp() {
    for suite in Suite::ALL {
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            engine.open(&mut []);
            assert_eq!(engine.seal(&mut []), 0);
            let key = key(suite, 1);
            for len in 0..200 {
                let mut packet = noise(len, len as usize);
                let mut job = [OpenJob::new(&key, 1, false, &mut packet)];
                job[0].outcome = Ok(Opened { offset: 0, len: 0, next_header: 0 });
                engine.open(&mut job);
                let possible = (0..200).any(|payload| suite.sealed_len(payload) == len as usize);
                let expected = if possible { OpenError::BadIcv } else { OpenError::BadEsp };
                assert_eq!(job[0].outcome, Err(expected), "{suite:?}, {tier:?}, {len}");
            }
            let mut packet = vec![0; 66_000];
            let mut job = [OpenJob::new(&key, 1, false, &mut packet)];
            engine.open(&mut job);
            assert_eq!(job[0].outcome, Err(OpenError::BadEsp));
        }
    }
}

/// RFC 4303 §2.4: padding is 1, 2, 3, …; an authentic packet with another one is dropped for a reason of its own.
#[test]
fn padding_is_checked_once_the_packet_is_authentic() {
    // The NULL cipher shows the trailer, and HMAC can be made anew by sealing.
    let suite = Suite::NullSha256;
    let key = key(suite, 1);
    let engine = Engine::new();
    type Answer = Result<(usize, u8), OpenError>;
    let cases: [(&[u8], Answer); 6] = [
        (&[9, 9, 0, 4], Ok((2, 4))),
        (&[9, 1, 1, 4], Ok((1, 4))),
        (&[1, 2, 2, 41], Ok((0, 41))),
        (&[1, 3, 2, 4], Err(OpenError::BadPadding)),
        (&[0, 0, 3, 4], Err(OpenError::BadPadding)),
        (&[0, 0, 255, 4], Err(OpenError::BadPadding)),
    ];
    for (body, expected) in cases {
        let mut packet = vec![0; 8 + 4 + 16];
        packet[8..12].copy_from_slice(body);
        let icv = crate::portable::hmac(&key, &packet[..12], None);
        packet[12..].copy_from_slice(&icv[..16]);
        let mut job = [OpenJob::new(&key, 0, false, &mut packet)];
        engine.open(&mut job);
        assert_eq!(job[0].outcome.map(|o| (usize::from(o.len), o.next_header)), expected, "{body:?}");
    }
    // 255 bytes of padding are legal.
    let mut packet = vec![0; 8 + 260 + 16];
    (1..=255).for_each(|n: u8| packet[8 + 2 + usize::from(n)] = n);
    packet[8 + 258] = 255;
    packet[8 + 259] = 4;
    let icv = crate::portable::hmac(&key, &packet[..268], None);
    packet[268..].copy_from_slice(&icv[..16]);
    let mut job = [OpenJob::new(&key, 0, false, &mut packet)];
    engine.open(&mut job);
    assert_eq!(job[0].outcome, Ok(Opened { offset: 8, len: 3, next_header: 4 }));
}

#[test]
fn the_bench_key_moves_packets_and_protects_nothing() {
    let key = Key::no_protection_for_benches();
    let suite = key.suite();
    let engine = Engine::new();
    let mut packet = vec![7; suite.sealed_len(5)];
    let mut job = [SealJob {
        key: &key,
        spi: 3,
        seq: 4,
        esn: false,
        next_header: 4,
        payload_len: 5,
        packet: &mut packet,
    }];
    assert_eq!(engine.seal(&mut job), 0);
    assert_eq!(packet, [0, 0, 0, 3, 0, 0, 0, 4, 7, 7, 7, 7, 7, 1, 1, 4]);
    let mut job = [OpenJob::new(&key, 4, false, &mut packet)];
    engine.open(&mut job);
    assert_eq!(job[0].outcome, Ok(Opened { offset: 8, len: 5, next_header: 4 }));
}

#[test]
fn nothing_secret_is_printed() {
    let suite = Suite::Aes256CbcSha256;
    let key = Key::new(suite, &[0xab; 64], [0xcd; 16]).unwrap();
    let mut packet = [0xef; 100];
    let job = SealJob {
        key: &key,
        spi: 1,
        seq: 1,
        esn: false,
        next_header: 4,
        payload_len: 3,
        packet: &mut packet,
    };
    let text = format!("{key:?} {job:?}");
    assert!(text.contains("Key(aes-256-cbc-hmac-sha2-256, …)"));
    for secret in ["171", "205", "ab", "cd,", "239"] {
        assert!(!text.contains(secret), "{text}");
    }
}
