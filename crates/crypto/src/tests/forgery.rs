//! R153: whatever an attacker changes, the ICV notices, in every suite, tier and place of the burst.

use super::*;

/// One bit of the ICV, every byte of it, every burst size, every place in the burst.
#[test]
fn forged_tag_is_refused_at_every_position_of_every_burst() {
    for suite in Suite::ALL {
        let plans: Vec<Plan> = (0..64).map(|n| Plan::new(suite, n, n as usize * 5)).collect();
        let sealed = seal_all(&Engine::with_tier(Tier::Portable), &plans);
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            for burst in 1..=64usize {
                // Every position in small bursts and in the full one; in others the ends, the middle, and one that wanders.
                let positions: Vec<usize> = if burst <= 8 || burst == 64 {
                    (0..burst).collect()
                } else {
                    vec![0, burst / 2, burst * 7 % burst.max(9) % burst, burst - 1]
                };
                for position in positions {
                    refuse_one(&engine, &plans[..burst], &sealed[..burst], position, |packet| {
                        let icv = packet.len() - suite.icv_len() + (burst + position) % suite.icv_len();
                        packet[icv] ^= 1 << (burst % 8);
                    });
                }
            }
        }
    }
}

/// Every byte of one packet: SPI, sequence number, IV, ciphertext, ICV.
#[test]
fn every_changed_byte_is_refused() {
    for suite in Suite::ALL {
        for len in [0, 1, 50, 150, 300] {
            let plans = [Plan::new(suite, 1, 40), Plan::new(suite, 2, len), Plan::new(suite, 3, 90)];
            let sealed = seal_all(&Engine::with_tier(Tier::Portable), &plans);
            for tier in TIERS {
                let engine = Engine::with_tier(tier);
                for byte in 0..sealed[1].len() {
                    refuse_one(&engine, &plans, &sealed, 1, |packet| packet[byte] ^= 1 << (byte % 8));
                }
            }
        }
    }
}

/// Long packets too, of which a kernel may have worked on more than it knew to be authentic.
#[test]
fn a_long_forged_packet_is_refused_and_left_as_it_was() {
    for suite in Suite::ALL {
        for len in [513, 1400, 4300, 9000] {
            let plans = [Plan::new(suite, 1, 40), Plan::new(suite, 2, len), Plan::new(suite, 3, 90)];
            let sealed = seal_all(&Engine::with_tier(Tier::Portable), &plans);
            let end = sealed[1].len();
            for tier in TIERS {
                let engine = Engine::with_tier(tier);
                for byte in [0, 6, 15, 16, 200, 300, len / 2, end - 40, end - 1] {
                    refuse_one(&engine, &plans, &sealed, 1, |packet| packet[byte] ^= 0x10);
                }
            }
        }
    }
}

/// RFC 4303 §2.2.1: the upper half of the number is not sent, but authentic.
#[test]
fn the_upper_half_of_an_extended_number_is_authentic() {
    for suite in Suite::ALL {
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            let plan = Plan { esn: true, seq: (7 << 32) | 5, ..Plan::new(suite, 1, 60) };
            let sealed = seal_all(&engine, std::slice::from_ref(&plan));
            for (seq, esn, good) in
                [((7 << 32) | 5, true, true), ((8 << 32) | 5, true, false), (5, true, false)]
            {
                let mut packets = sealed.clone();
                let outcome = open_all(&engine, &[Plan { seq, esn, ..plan.clone() }], &mut packets)[0];
                assert_eq!(outcome.is_ok(), good, "{suite:?}, {tier:?}, {seq:#x}");
            }
            let mut packets = sealed.clone();
            let without = open_all(&engine, &[Plan { esn: false, ..plan.clone() }], &mut packets)[0];
            assert_eq!(without, Err(OpenError::BadIcv), "{suite:?}, {tier:?}");
        }
    }
}

#[test]
fn another_key_is_refused() {
    for suite in Suite::ALL {
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            let plan = Plan::new(suite, 1, 60);
            let mut packets = seal_all(&engine, std::slice::from_ref(&plan));
            let outcome = open_all(&engine, &[Plan { key_seed: 99, ..plan }], &mut packets)[0];
            assert_eq!(outcome, Err(OpenError::BadIcv), "{suite:?}, {tier:?}");
        }
    }
}

/// Changes one packet of the burst: it alone is refused, untouched otherwise, and all others open.
fn refuse_one(engine: &Engine, plans: &[Plan], sealed: &[Vec<u8>], at: usize, change: impl Fn(&mut [u8])) {
    let mut packets = sealed.to_vec();
    change(&mut packets[at]);
    let forged = packets[at].clone();
    let outcomes = open_all(engine, plans, &mut packets);
    for (n, outcome) in outcomes.iter().enumerate() {
        let what = (plans[n].suite, plans.len(), at, n, engine.describe());
        if n == at {
            assert_eq!(*outcome, Err(OpenError::BadIcv), "{what:?}");
            assert!(packets[n] == forged, "refused, yet written to: {what:?}");
        } else {
            assert_eq!(payload(&packets[n], outcome.unwrap()), plans[n].payload, "{what:?}");
        }
    }
}
