//! R153: whatever an attacker changes, the ICV notices, in every suite, tier and place of the burst.

use super::*;

/// Forged ICVs at every position of every burst size, in every suite and tier. In turn r of a burst those packets are
/// forged whose place has bit r set, then those whose place has it clear: every packet is forged beside authentic ones,
/// and of any two packets each is once forged while the other is not, so that no verdict can be its neighbour's.
#[test]
fn forged_tag_is_refused_at_every_position_of_every_burst() {
    for suite in Suite::ALL {
        let plans: Vec<Plan> = (0..64).map(|n| Plan::new(suite, n, n as usize * 5)).collect();
        let bursts = Bursts::new(plans);
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            for size in 1..=64 {
                bursts.forge_by_bits_of_the_place(&engine, size);
            }
        }
    }
}

/// Every byte of the ICV at every position of a full burst, every second packet of which is authentic.
#[test]
fn every_byte_of_the_icv_counts_at_every_position() {
    for suite in Suite::ALL {
        let bursts = Bursts::new((0..64).map(|n| Plan::new(suite, n, n as usize * 3 % 100)).collect());
        for tier in TIERS {
            let engine = Engine::with_tier(tier);
            for byte in 0..suite.icv_len() {
                for odd in [0, 1] {
                    bursts.refuse(&engine, 64, |n| (n % 2 == odd).then_some(n + byte));
                }
            }
        }
    }
}

/// The same in bursts of all suites mixed, each with other neighbours in every burst size.
#[test]
fn forged_tag_is_refused_among_other_suites() {
    for size in 1..=64 {
        let suite = |n: usize| Suite::ALL[(n * 7 + size) % Suite::ALL.len()];
        let plans = (0..size).map(|n| Plan::new(suite(n), n as u64, (n * 37 + size) % 300)).collect();
        let bursts = Bursts::new(plans);
        for tier in TIERS {
            bursts.forge_by_bits_of_the_place(&Engine::with_tier(tier), size);
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

/// Sealed packets with their keys, to be opened again and again in bursts.
struct Bursts {
    plans: Vec<Plan>,
    keys: Vec<Key>,
    sealed: Vec<Vec<u8>>,
}

impl Bursts {
    fn new(plans: Vec<Plan>) -> Self {
        let sealed = seal_all(&Engine::with_tier(Tier::Portable), &plans);
        Self { keys: plans.iter().map(Plan::key).collect(), plans, sealed }
    }

    fn forge_by_bits_of_the_place(&self, engine: &Engine, size: usize) {
        let bits = usize::BITS - (size - 1).leading_zeros();
        for turn in 0..bits.max(1) as usize {
            for set in [0, 1] {
                // The byte wanders with the turn and the size.
                self.refuse(engine, size, |n| (n >> turn & 1 == set).then_some(n + turn * 5 + size));
            }
        }
    }

    /// Changes one bit of the ICV of the packets for which `forge` names a byte (modulo the ICV's length): they are refused
    /// and left as they came, all others open.
    fn refuse(&self, engine: &Engine, size: usize, forge: impl Fn(usize) -> Option<usize>) {
        let mut packets = self.sealed[..size].to_vec();
        for (n, packet) in packets.iter_mut().enumerate() {
            if let Some(byte) = forge(n) {
                let icv = self.plans[n].suite.icv_len();
                let at = packet.len() - icv + byte % icv;
                packet[at] ^= 1 << (byte / 3 % 8);
            }
        }
        let before = packets.clone();
        let mut burst = OpenBurst::default();
        for ((plan, key), packet) in self.plans.iter().zip(&self.keys).zip(&mut packets) {
            burst.push(OpenJob::new(key, plan.seq, plan.esn, packet));
        }
        let found = engine.open_burst(&mut burst);
        drop(burst);
        for (n, (packet, plan)) in packets.iter().zip(&self.plans).enumerate() {
            let outcome =
                found.outcome(n, packet, plan.suite.payload_offset() as u8, plan.suite.icv_len() as u8);
            let what = || (plan.suite, size, n, engine.describe());
            if forge(n).is_some() {
                assert_eq!(outcome, Err(OpenError::BadIcv), "{:?}", what());
                assert!(*packet == before[n], "refused, yet written to: {:?}", what());
            } else {
                assert_eq!(payload(packet, outcome.unwrap()), plan.payload, "{:?}", what());
            }
        }
    }
}
