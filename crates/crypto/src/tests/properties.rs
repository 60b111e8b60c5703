//! What holds for any burst: opening undoes sealing, every kernel agrees with the portable one, nothing panics.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Different keys, suites and lengths side by side: each tier makes the portable kernel's bytes.
    #[test]
    fn every_tier_seals_as_the_portable_one(plans in prop::collection::vec(any_plan(), 1..130)) {
        let expected = seal_all(&Engine::with_tier(Tier::Portable), &plans);
        for tier in TIERS {
            let sealed = seal_all(&Engine::with_tier(tier), &plans);
            for (n, plan) in plans.iter().enumerate() {
                prop_assert!(sealed[n] == expected[n], "{tier:?}, packet {n}: {:?} {}", plan.suite, plan.payload.len());
            }
        }
    }

    #[test]
    fn opening_undoes_sealing(plans in prop::collection::vec(any_plan(), 1..130)) {
        let sealed = seal_all(&Engine::with_tier(Tier::Portable), &plans);
        for tier in TIERS {
            let mut packets = sealed.clone();
            let outcomes = open_all(&Engine::with_tier(tier), &plans, &mut packets);
            for ((plan, packet), outcome) in plans.iter().zip(&packets).zip(outcomes) {
                let opened = outcome.map_err(|e| TestCaseError::fail(format!("{tier:?} {:?}: {e}", plan.suite)))?;
                prop_assert_eq!(payload(packet, opened), &plan.payload[..]);
                prop_assert_eq!(opened.next_header, plan.next_header);
            }
        }
    }

    /// Any bytes of any length: an outcome, no panic, and the packet is left as it came.
    #[test]
    fn arbitrary_bytes_are_refused(
        inputs in prop::collection::vec((any_suite(), any::<u64>(), any::<bool>(), 0usize..300), 1..80),
    ) {
        for tier in TIERS {
            let plans: Vec<Plan> = inputs
                .iter()
                .map(|&(suite, seq, esn, _)| Plan { seq, esn, ..Plan::new(suite, 1, 0) })
                .collect();
            let before: Vec<Vec<u8>> = inputs.iter().map(|&(_, seq, _, len)| noise(seq, len)).collect();
            let mut packets = before.clone();
            let outcomes = open_all(&Engine::with_tier(tier), &plans, &mut packets);
            prop_assert!(outcomes.iter().all(Result::is_err));
            prop_assert!(packets == before, "nothing is decrypted before the ICV is right");
        }
    }
}

/// Single suite, burst sizes 1 to 64 and a little beyond, one length step each: lanes with different lengths.
#[test]
fn every_burst_size_of_one_suite_agrees() {
    for suite in Suite::ALL {
        for burst in (1..=67).chain([128, 130]) {
            let plans: Vec<Plan> =
                (0..burst as u64).map(|n| Plan::new(suite, n, (n as usize * 37 + burst) % 700)).collect();
            let expected = seal_all(&Engine::with_tier(Tier::Portable), &plans);
            for tier in TIERS {
                let engine = Engine::with_tier(tier);
                let mut packets = seal_all(&engine, &plans);
                assert!(packets == expected, "{suite:?}, burst of {burst}, {tier:?}");
                let outcomes = open_all(&engine, &plans, &mut packets);
                for ((plan, packet), outcome) in plans.iter().zip(&packets).zip(outcomes) {
                    assert_eq!(
                        payload(packet, outcome.unwrap()),
                        plan.payload,
                        "{suite:?}, {burst}, {tier:?}"
                    );
                }
            }
        }
    }
}

/// Long packets enough for cipher and hash to run side by side, and short ones among them: with each key size, packets
/// that end anywhere in a step, the number's upper half or not, lanes that run out, and keys that change within a lane.
#[test]
fn cipher_and_hash_side_by_side_agree() {
    let cbc = Suite::ALL.into_iter().filter(|suite| suite.cipher() == crate::suite::Cipher::Cbc);
    for suite in cbc {
        for burst in [1, 4, 5, 7, 15, 16, 17, 31, 33, 48, 63, 64] {
            for shape in 0..4u64 {
                let plans: Vec<Plan> = (0..burst as u64)
                    .map(|n| {
                        let len = match (n * 7 + shape) % 5 {
                            0 => n as usize % 40,
                            1 => 1400,
                            2 => 380 + n as usize * 16 % 131,
                            3 => 9000 - 17 * n as usize,
                            _ => 512 + shape as usize * 16,
                        };
                        let len = if shape == 0 { 512 + burst } else { len };
                        let esn = (n + shape) % 3 == 0;
                        let seq = if esn { 0x0123_4567_89ab_cdef + n } else { n + 1 };
                        Plan { esn, seq, key_seed: n / 3 % 4, ..Plan::new(suite, n, len) }
                    })
                    .collect();
                let expected = seal_all(&Engine::with_tier(Tier::Portable), &plans);
                for tier in TIERS {
                    let sealed = seal_all(&Engine::with_tier(tier), &plans);
                    assert!(sealed == expected, "{suite:?}, {burst} packets, shape {shape}, {tier:?}");
                }
            }
        }
    }
}

/// Every length around the edges of blocks, vectors and groups.
#[test]
fn every_length_agrees() {
    for suite in Suite::ALL {
        let plans: Vec<Plan> = (0..=600u64)
            .chain(1000..1050)
            .chain([4094, 4095, 4096, 4097, 8191, 8192, 9000])
            .map(|n| Plan::new(suite, n, n as usize))
            .collect();
        let expected = seal_all(&Engine::with_tier(Tier::Portable), &plans);
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            let mut packets = seal_all(&engine, &plans);
            for ((plan, packet), expected) in plans.iter().zip(&packets).zip(&expected) {
                assert!(packet == expected, "{suite:?}, {} bytes, {tier:?}", plan.payload.len());
            }
            let outcomes = open_all(&engine, &plans, &mut packets);
            for ((plan, packet), outcome) in plans.iter().zip(&packets).zip(outcomes) {
                assert_eq!(payload(packet, outcome.unwrap()), plan.payload, "{suite:?}, {tier:?}");
            }
        }
    }
}

/// The bytes before and behind a packet are somebody else's.
#[test]
fn neighbours_in_memory_are_left_alone() {
    for suite in Suite::ALL {
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            for len in (0..300).step_by(7) {
                let plan = Plan::new(suite, 3, len);
                let key = plan.key();
                let total = suite.sealed_len(len);
                let mut memory = vec![0x5a; total + 256];
                memory[128..128 + total].copy_from_slice(&plan.room());
                let (_, rest) = memory.split_at_mut(128);
                let packet = &mut rest[..total];
                let payload_len = plan.payload.len();
                let mut job =
                    [SealJob { key: &key, spi: 9, seq: 9, esn: true, next_header: 4, payload_len, packet }];
                assert_eq!(engine.seal(&mut job), 0);
                let (_, rest) = memory.split_at_mut(128);
                let mut job = [OpenJob::new(&key, 9, true, &mut rest[..total])];
                engine.open(&mut job);
                assert!(job[0].outcome.is_ok());
                let around = memory[..128].iter().chain(&memory[128 + total..]);
                assert!(around.copied().all(|byte| byte == 0x5a), "{suite:?}, {len}, {tier:?}");
            }
        }
    }
}

/// The same of packets that go through the lanes of one burst together.
#[test]
fn neighbours_of_a_burst_are_left_alone() {
    const GAP: usize = 80;
    for suite in Suite::ALL {
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            let plans: Vec<Plan> = (0..40).map(|n| Plan::new(suite, n, 470 + n as usize * 7)).collect();
            let keys: Vec<Key> = plans.iter().map(Plan::key).collect();
            let mut memory: Vec<u8> =
                plans.iter().flat_map(|plan| [vec![0x5a; GAP], plan.room()]).flatten().collect();
            memory.extend([0x5a; GAP]);
            let mut rest = &mut memory[..];
            let mut burst = SealBurst::default();
            for (plan, key) in plans.iter().zip(&keys) {
                let (packet, behind) = rest[GAP..].split_at_mut(suite.sealed_len(plan.payload.len()));
                let Plan { spi, seq, esn, next_header, .. } = *plan;
                let payload_len = plan.payload.len();
                burst.push(SealJob { key, spi, seq, esn, next_header, payload_len, packet });
                rest = behind;
            }
            assert_eq!(engine.seal_burst(&mut burst), 0);
            drop(burst);
            let mut rest = &memory[..];
            for plan in &plans {
                assert!(rest[..GAP].iter().all(|&byte| byte == 0x5a), "{suite:?}, {tier:?}, {}", plan.seq);
                rest = &rest[GAP + suite.sealed_len(plan.payload.len())..];
            }
            assert!(rest.iter().all(|&byte| byte == 0x5a), "{suite:?}, {tier:?}");
        }
    }
}
