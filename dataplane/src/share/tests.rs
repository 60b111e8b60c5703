#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

use super::*;
use proptest::prelude::*;
use ravelin_crypto::Suite;
use ravelin_xsk::{Umem, UmemConfig};
use std::sync::Weak;
use std::thread;

const NOW: Now = Now { ms: 1000 };
const JOB: Job = Job { spi: 0x1000, esn: false, checksum: false };
const PAYLOAD: usize = 62;

/// A worker's end with what it needs around it.
struct Rig {
    share: Share,
    pool: FramePool,
    stats: Stats,
    engine: Engine,
    key: Arc<Key>,
    next: u64,
}

fn key() -> Arc<Key> {
    Arc::new(Key::new(Suite::Aes128Gcm16, &[7; 20], [0; 16]).unwrap())
}

fn rigs(count: u16) -> Vec<Rig> {
    let helpers = Helpers::new(count);
    let umem = Umem::new(UmemConfig { frames: 1024 * u32::from(count), ..UmemConfig::default() }).unwrap();
    let pools = umem.pools(count.into());
    let rig = |(id, pool): (u16, FramePool)| {
        let mut share = Share::new(WorkerId(id));
        share.join(helpers.clone());
        share.follow(0, 1);
        Rig { share, pool, stats: Stats::default(), engine: Engine::new(), key: key(), next: 1 }
    };
    (0..count).zip(pools).map(rig).collect()
}

impl Rig {
    /// A burst of packets, numbered on.
    fn lend(&mut self, packets: usize, now: Now) -> Result<(), Drop> {
        for _ in 0..packets {
            self.share.room(now)?;
            let mut frame = self.pool.alloc().ok_or(Drop::NoFrame)?;
            assert!(frame.extend(16 + 64 + 16));
            frame.data_mut().fill(0);
            let mut packet = Packet::new(frame, crate::Origin::Tun);
            packet.meta.seq = self.next;
            packet.meta.ip.total_len = PAYLOAD as u16;
            self.next += 1;
            self.share.take(Kind::Seal, &mut packet, &self.key, SaId(1), JOB, now);
            assert_eq!(packet.verdict, Verdict::Held);
        }
        self.share.give(now);
        Ok(())
    }

    /// The numbers of the next burst in turn, all of them sealed.
    fn next(&mut self, now: Now) -> Option<Vec<u64>> {
        let mut burst = self.share.next(&mut self.pool, &mut self.stats, now)?;
        let mut numbers = vec![];
        for (packet, sa, outcome) in burst.drain() {
            assert_eq!((sa, outcome.is_some()), (SaId(1), true));
            let esp = packet.frame.data();
            assert_eq!(esp[..8], [0x1000u32.to_be_bytes(), (packet.meta.seq as u32).to_be_bytes()].concat());
            numbers.push(packet.meta.seq);
            self.pool.free(packet.frame);
        }
        self.share.recycle(burst);
        Some(numbers)
    }

    fn rest(&mut self, now: Now) -> Vec<u64> {
        std::iter::from_fn(|| self.next(now)).flatten().collect()
    }

    fn work(&mut self, idle: bool, now: Now) -> bool {
        self.share.work(&self.engine, &mut self.stats, idle, now)
    }

    fn help(&mut self) -> Option<WorkerId> {
        self.share.help(&self.engine, &mut self.stats)
    }

    fn lost(&self) -> u64 {
        self.stats.dropped(Drop::HelperLost)
    }
}

/// Takes a burst of worker 0 as a helper does that is put aside amid its work.
fn snatch(rig: &Rig) -> Box<Burst> {
    rig.share.helpers.as_ref().unwrap().desks[0].work.pop().unwrap()
}

#[test]
fn what_comes_back_first_waits_for_what_went_first() {
    let [mut owner, mut helper] = <[Rig; 2]>::try_from(rigs(2)).ok().unwrap();
    owner.lend(3, NOW).unwrap();
    owner.lend(2, NOW).unwrap();
    let mut first = snatch(&owner);
    assert_eq!(helper.help(), Some(WorkerId(0)));
    assert_eq!((owner.next(NOW), owner.share.out()), (None, 2), "the second is done, and has to wait");
    first.run(&owner.engine);
    owner.share.helpers.as_ref().unwrap().give_back(first);
    assert_eq!(owner.rest(NOW), [1, 2, 3, 4, 5]);
    assert_eq!((owner.share.out(), helper.stats.get(Counter::Helped)), (0, 2));
}

// R74: a helper that stalls costs what it holds, once, and nothing after it; what it brings later is not sent again.
#[test]
fn a_stalled_helper_costs_what_it_holds() {
    let [mut owner, mut helper] = <[Rig; 2]>::try_from(rigs(2)).ok().unwrap();
    let frames = owner.pool.available();
    owner.lend(3, NOW).unwrap();
    owner.lend(2, NOW).unwrap();
    let mut stuck = snatch(&owner);
    helper.help();
    let later = Now { ms: NOW.ms + LOST_MS - 1 };
    assert_eq!(owner.next(later), None);
    let later = Now { ms: NOW.ms + LOST_MS };
    assert_eq!(owner.rest(later), [4, 5]);
    assert_eq!((owner.lost(), owner.stats.get(Counter::Released)), (3, 3));
    owner.lend(1, later).unwrap();
    stuck.run(&helper.engine);
    helper.share.helpers.as_ref().unwrap().give_back(stuck);
    helper.help();
    assert_eq!(owner.rest(later), [6], "what was given up is not sent any more");
    assert_eq!((owner.lost(), owner.pool.available()), (3, frames), "all frames are home");
}

// R74: one that dies amid a burst gives it back; nothing of it is sent.
#[test]
fn a_helper_that_dies_gives_back_what_it_holds() {
    let [mut owner, mut helper] = <[Rig; 2]>::try_from(rigs(2)).ok().unwrap();
    owner.lend(3, NOW).unwrap();
    let mut burst = snatch(&owner);
    burst.run(&helper.engine);
    helper.share.in_hand = Some(burst);
    assert_eq!(helper.share.abandon(), Some(WorkerId(0)));
    assert_eq!(helper.share.abandon(), None);
    let mut burst = owner.share.next(&mut owner.pool, &mut owner.stats, NOW).unwrap();
    assert!(burst.drain().all(|(packet, _, outcome)| {
        owner.pool.free(packet.frame);
        outcome.is_none()
    }));
}

#[test]
fn nobody_helps_and_nothing_is_lost() {
    let mut owner = rigs(2).remove(0);
    for _ in 0..4 {
        owner.lend(1, NOW).unwrap();
    }
    assert!(owner.work(false, NOW), "more wait than one helper is given");
    assert_eq!(owner.rest(NOW), [1, 2]);
    assert!(!owner.work(false, NOW));
    assert!(owner.work(false, Now { ms: NOW.ms + NOBODY_MS }), "nobody came to it");
    assert_eq!(owner.rest(NOW), [3, 4]);
    owner.lend(1, NOW).unwrap();
    assert!(owner.work(true, NOW), "nothing else to do");
    assert_eq!(owner.rest(NOW), [5]);
}

// The bound has a name, and is asked about before a packet has a number.
#[test]
fn bursts_are_bounded() {
    let mut owner = rigs(2).remove(0);
    for _ in 0..MAX_OUT {
        owner.lend(1, NOW).unwrap();
    }
    assert_eq!(owner.lend(1, NOW), Err(Drop::HelpersBusy));
    while owner.work(true, NOW) {}
    assert_eq!(owner.rest(NOW).len(), MAX_OUT);
    owner.lend(1, NOW).unwrap();
}

// The key lives as long as somebody works with it, and no longer.
#[test]
fn a_key_outlives_its_sa_only_in_a_burst() {
    let mut owner = rigs(2).remove(0);
    let seen: Weak<Key> = Arc::downgrade(&owner.key);
    owner.lend(2, NOW).unwrap();
    owner.key = key(); // as if the SA was removed
    assert_eq!(seen.strong_count(), 1);
    owner.work(true, NOW);
    assert_eq!(owner.rest(NOW), [1, 2]);
    assert!(seen.upgrade().is_none(), "wiped and gone");
}

// R301, R303: real threads, each owner and helper at once: every burst comes back once, in its order.
#[test]
fn threads_share_in_order() {
    const ROUNDS: usize = 400;
    let run = |mut rig: Rig, packets: usize| {
        let (mut numbers, mut lent) = (vec![], 0);
        while lent < ROUNDS || rig.share.out() > 0 {
            if lent < ROUNDS && rig.lend(packets, NOW).is_ok() {
                lent += 1;
            }
            rig.help();
            rig.work(false, NOW);
            numbers.extend(rig.rest(NOW));
            if lent == ROUNDS {
                rig.work(true, NOW);
                thread::yield_now();
            }
        }
        (numbers, rig.stats.get(Counter::Helped), rig.lost())
    };
    let threads: Vec<_> = rigs(3).into_iter().map(|rig| thread::spawn(move || run(rig, 5))).collect();
    for thread in threads {
        let (numbers, _, lost) = thread.join().unwrap();
        assert_eq!(lost, 0);
        assert!(numbers.iter().copied().eq(1..=5 * ROUNDS as u64), "in order, each once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    // R301: whoever does what when, bursts go on in their order, and each frame is somewhere.
    #[test]
    fn any_interleaving_keeps_the_order(steps in proptest::collection::vec((0u8..8, 1usize..9), 1..120)) {
        let mut rigs = rigs(3);
        let frames = rigs[0].pool.available();
        let (mut numbers, mut sent, mut now) = (vec![], 0u64, NOW);
        let mut held: Vec<Box<Burst>> = vec![];
        for (what, n) in steps {
            match what {
                0 | 1 => if rigs[0].lend(n, now).is_ok() { sent += n as u64 },
                2 => _ = rigs[1 + n % 2].help(),
                3 => _ = rigs[0].work(n % 2 == 0, now),
                4 => held.extend(rigs[0].share.helpers.as_ref().unwrap().desks[0].work.pop()),
                5 if !held.is_empty() => {
                    let mut burst = held.swap_remove(n % held.len());
                    burst.run(&rigs[0].engine);
                    rigs[0].share.helpers.as_ref().unwrap().give_back(burst);
                }
                6 => now.ms += n as u64 * 40,
                _ => numbers.extend(rigs[0].rest(now)),
            }
        }
        // Those who hold something never come back.
        let stuck: u64 = held.iter().map(|burst| burst.len() as u64).sum();
        while rigs[0].work(true, now) {}
        now.ms += LOST_MS;
        numbers.extend(rigs[0].rest(now));
        prop_assert!(numbers.is_sorted_by(|a, b| a < b), "in order, none twice");
        prop_assert_eq!(numbers.len() as u64 + rigs[0].lost(), sent);
        prop_assert_eq!(rigs[0].pool.available() as u64 + stuck, frames as u64);
    }
}
