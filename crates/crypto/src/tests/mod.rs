//! Tests of the crate as a whole, each over every tier this CPU offers. Proves R153 (a flipped ESP byte is an ICV drop)
//! and R161 at the level of one packet.

mod choice;
mod counter_modes;
mod forgery;
mod ivs;
mod lengths;
mod properties;
mod secrets;
mod rfc;
mod wycheproof_aead;
mod wycheproof_hmac;

use proptest::prelude::*;

use crate::{BURST, Engine, Key, OpenBurst, OpenError, OpenJob, Opened, SealBurst, SealJob, Suite, Tier};

pub(super) const TIERS: [Tier; 4] = [Tier::Portable, Tier::Sse, Tier::Avx2, Tier::Avx512];

/// Bytes that look random and are the same in every run.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

pub(super) fn key(suite: Suite, seed: u64) -> Key {
    let iv_seed = noise(seed + 77, 16).try_into().unwrap();
    Key::new(suite, &noise(seed, suite.keymat_len()), iv_seed).unwrap()
}

/// One packet's worth of input to a sealing burst.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) suite: Suite,
    pub(super) key_seed: u64,
    pub(super) spi: u32,
    pub(super) seq: u64,
    pub(super) esn: bool,
    pub(super) next_header: u8,
    pub(super) payload: Vec<u8>,
}

impl Plan {
    pub(super) fn new(suite: Suite, n: u64, len: usize) -> Self {
        Self {
            suite,
            key_seed: n % 5,
            spi: 0x1000 + n as u32,
            seq: n + 1,
            esn: false,
            next_header: 4,
            payload: noise(n + 1000, len),
        }
    }

    pub(super) fn key(&self) -> Key {
        key(self.suite, self.key_seed)
    }

    /// The packet before sealing: payload in place, everything else rubbish that must not matter.
    pub(super) fn room(&self) -> Vec<u8> {
        let mut packet = vec![0xee; self.suite.sealed_len(self.payload.len())];
        packet[self.suite.payload_offset()..][..self.payload.len()].copy_from_slice(&self.payload);
        packet
    }
}

pub(super) fn seal_all(engine: &Engine, plans: &[Plan]) -> Vec<Vec<u8>> {
    let keys: Vec<Key> = plans.iter().map(Plan::key).collect();
    let mut packets: Vec<Vec<u8>> = plans.iter().map(Plan::room).collect();
    let mut jobs: Vec<SealJob> = plans
        .iter()
        .zip(&keys)
        .zip(&mut packets)
        .map(|((plan, key), packet)| SealJob {
            key,
            spi: plan.spi,
            seq: plan.seq,
            esn: plan.esn,
            next_header: plan.next_header,
            payload_len: plan.payload.len(),
            packet,
        })
        .collect();
    assert_eq!(engine.seal(&mut jobs), 0);
    assert!(seal_in_bursts(engine, plans, &keys) == packets, "a list and bursts become the same");
    packets
}

fn seal_in_bursts(engine: &Engine, plans: &[Plan], keys: &[Key]) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = plans.iter().map(Plan::room).collect();
    let mut burst = SealBurst::default();
    for ((plan, key), packet) in plans.iter().zip(keys).zip(&mut packets) {
        if burst.is_full() {
            assert_eq!(engine.seal_burst(&mut burst), 0);
        }
        burst.push(SealJob {
            key,
            spi: plan.spi,
            seq: plan.seq,
            esn: plan.esn,
            next_header: plan.next_header,
            payload_len: plan.payload.len(),
            packet,
        });
    }
    assert_eq!(engine.seal_burst(&mut burst), 0);
    drop(burst);
    packets
}

pub(super) fn open_all(
    engine: &Engine,
    plans: &[Plan],
    packets: &mut [Vec<u8>],
) -> Vec<Result<Opened, OpenError>> {
    let keys: Vec<Key> = plans.iter().map(Plan::key).collect();
    let (in_bursts, opened) = open_in_bursts(engine, plans, &keys, packets);
    let mut jobs: Vec<OpenJob> = plans
        .iter()
        .zip(&keys)
        .zip(&mut *packets)
        .map(|((plan, key), packet)| OpenJob::new(key, plan.seq, plan.esn, packet))
        .collect();
    engine.open(&mut jobs);
    let outcomes: Vec<_> = jobs.iter().map(|job| job.outcome).collect();
    assert!((in_bursts, opened) == (outcomes.clone(), packets.to_vec()), "a list and bursts become the same");
    outcomes
}

type Outcomes = Vec<Result<Opened, OpenError>>;

fn open_in_bursts(
    engine: &Engine,
    plans: &[Plan],
    keys: &[Key],
    packets: &[Vec<u8>],
) -> (Outcomes, Vec<Vec<u8>>) {
    let mut packets = packets.to_vec();
    let mut outcomes = vec![];
    for ((plans, keys), packets) in plans.chunks(BURST).zip(keys.chunks(BURST)).zip(packets.chunks_mut(BURST))
    {
        let mut burst = OpenBurst::default();
        for ((plan, key), packet) in plans.iter().zip(keys).zip(packets.iter_mut()) {
            burst.push(OpenJob::new(key, plan.seq, plan.esn, packet));
        }
        let found = engine.open_burst(&mut burst);
        drop(burst);
        outcomes.extend(plans.iter().zip(packets).enumerate().map(|(n, (plan, packet))| {
            let (offset, icv) = (plan.suite.payload_offset() as u8, plan.suite.icv_len() as u8);
            let outcome = found.outcome(n, packet, offset, icv);
            assert_eq!(found.opened(n, packet, offset, icv), outcome.ok());
            outcome
        }));
    }
    (outcomes, packets)
}

/// A burst takes no more than it holds, and nothing whose lengths contradict each other; neither is sent in clear.
#[test]
fn what_a_burst_does_not_take_is_refused() {
    let plans: Vec<Plan> = (0..BURST as u64 + 2).map(|n| Plan::new(Suite::Aes128Gcm16, n, 64)).collect();
    let keys: Vec<Key> = plans.iter().map(Plan::key).collect();
    let mut packets: Vec<Vec<u8>> = plans.iter().map(Plan::room).collect();
    packets[3].push(7);
    let engine = Engine::new();
    let mut burst = SealBurst::default();
    for ((plan, key), packet) in plans.iter().zip(&keys).zip(&mut packets) {
        let Plan { spi, seq, esn, next_header, .. } = *plan;
        burst.push(SealJob { key, spi, seq, esn, next_header, payload_len: 64, packet });
    }
    assert_eq!(engine.seal_burst(&mut burst), 2);
    drop(burst);
    let zero: Vec<usize> = (0..packets.len()).filter(|&n| packets[n].iter().all(|b| *b == 0)).collect();
    assert_eq!(zero, [3, BURST + 1]);
    let mut burst = OpenBurst::default();
    for ((plan, key), packet) in plans.iter().zip(&keys).zip(&mut packets) {
        burst.push(OpenJob::new(key, plan.seq, plan.esn, packet));
    }
    let found = engine.open_burst(&mut burst);
    drop(burst);
    for (n, packet) in packets.iter().enumerate() {
        let outcome = found.outcome(n, packet, 16, 16);
        match n {
            3 => assert_eq!(outcome, Err(OpenError::BadEsp)),
            n if n < BURST => assert!(outcome.is_ok(), "{n}"),
            _ => assert_eq!(outcome, Err(OpenError::BadEsp), "{n}"),
        }
    }
}

pub(super) fn payload(packet: &[u8], opened: Opened) -> &[u8] {
    &packet[opened.offset.into()..][..opened.len.into()]
}

pub(super) fn any_suite() -> impl Strategy<Value = Suite> {
    prop::sample::select(Suite::ALL.to_vec())
}

pub(super) fn any_plan() -> impl Strategy<Value = Plan> {
    let len = prop_oneof![4 => 0usize..400, 2 => 400usize..1600, 1 => 1600usize..9000];
    (any_suite(), 0u64..6, any::<u32>(), any::<u64>(), any::<bool>(), any::<u8>(), len, any::<u64>())
        .prop_map(|(suite, key_seed, spi, seq, esn, next_header, len, seed)| Plan {
            suite,
            key_seed,
            spi,
            seq: if esn { seq } else { seq & 0xffff_ffff },
            esn,
            next_header,
            payload: noise(seed, len),
        })
}

impl Engine {
    /// The bare AEAD primitive, for vectors: `packet` is 16 bytes ending in the nonce's last 8, body, room for the tag.
    /// `None`: this kernel takes no associated data of that length.
    pub(crate) fn bare_aead(&self, key: &Key, aad: &[u8], packet: &mut [u8], seal: bool) -> Option<bool> {
        let (kernel, _) = self.kernels(key.suite());
        match (kernel, key.cipher) {
            (crate::Kernel::Portable, _) if seal => Some(crate::portable::encrypt_aead(key, aad, packet)),
            (crate::Kernel::Portable, _) => Some(crate::portable::decrypt_aead(key, aad, packet)),
            #[cfg(target_arch = "x86_64")]
            (_, crate::suite::Cipher::Gcm) if aad.len() <= 16 => {
                Some(crate::x86::bare_gcm(kernel, key, aad, packet, seal))
            }
            #[cfg(target_arch = "x86_64")]
            (_, crate::suite::Cipher::ChaCha) if aad.len() <= 16 => {
                Some(crate::x86::bare_chacha(kernel, key, aad, packet, seal))
            }
            _ => None,
        }
    }
}
