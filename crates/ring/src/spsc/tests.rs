//! Oracle, two threads, the model checker, and a hostile other side.

use super::*;

/// Two words that must agree: a torn message shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pair(u64);

impl Message for Pair {
    const WORDS: usize = 2;
    fn encode(&self, to: &mut Writer<'_>) {
        to.u64(self.0);
        to.u64(!self.0);
    }
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (a, b) = (from.u64()?, from.u64()?);
        if a == !b { Ok(Self(a)) } else { Err(Malformed("torn")) }
    }
}

#[cfg(loom)]
mod loom_model {
    use super::*;

    /// One word, so that the model checker can look at everything.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Small(u64);

    impl Message for Small {
        const WORDS: usize = 1;
        fn encode(&self, to: &mut Writer<'_>) {
            to.u64(self.0);
        }
        fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
            from.u64().map(Self)
        }
    }

    /// Every interleaving of a producer that finds the ring full and a consumer that finds it empty: messages arrive
    /// whole, in order, once.
    #[test]
    fn loom_two_threads_agree() {
        loom::model(|| {
            let (mut tx, mut rx) = in_process::<Pair>(2);
            let producer = loom::thread::spawn(move || {
                let mut sent = 0;
                for n in 1..=3u64 {
                    if tx.push(&Pair(n)).is_ok() {
                        sent += 1;
                    } else {
                        break;
                    }
                }
                sent
            });
            let mut got = Vec::new();
            for _ in 0..2 {
                if let Some(message) = rx.pop() {
                    got.push(message.expect("never torn").0);
                }
            }
            let sent = producer.join().unwrap();
            while let Some(message) = rx.pop() {
                got.push(message.expect("never torn").0);
            }
            assert_eq!(got, (1..=sent).collect::<Vec<u64>>());
            assert_eq!(rx.anomalies(), 0);
        });
    }

    /// A slot that is used again is never seen with its old message, nor wiped under the new one.
    #[test]
    fn loom_slots_are_used_again() {
        loom::model(|| {
            let (mut tx, mut rx) = in_process::<Small>(1);
            tx.push(&Small(1)).unwrap();
            let consumer = loom::thread::spawn(move || {
                let first = rx.pop().map(Result::unwrap);
                (first, rx)
            });
            let second = tx.push(&Small(2)).is_ok();
            let (first, mut rx) = consumer.join().unwrap();
            assert_eq!(first, Some(Small(1)));
            assert_eq!(rx.pop(), second.then_some(Ok(Small(2))));
        });
    }
}

#[cfg(not(loom))]
mod threads {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Clone, Debug)]
    enum Op {
        Push(u64),
        Pop,
    }

    proptest! {
        #[test]
        fn agrees_with_a_queue(
            ops in proptest::collection::vec(prop_oneof![any::<u64>().prop_map(Op::Push), Just(Op::Pop)], 0..200),
            shift in 0u32..4,
            start in prop_oneof![Just(0u64), Just(u64::MAX - 3)],
        ) {
            let capacity = 1usize << shift;
            let words = Words::on_heap(ring_words::<Pair>(capacity));
            words.word(PRODUCER).store(start, Ordering::Relaxed);
            words.word(CONSUMER).store(start, Ordering::Relaxed);
            let mut tx = Producer::<Pair>::new(words.clone(), capacity);
            let mut rx = Consumer::<Pair>::new(words, capacity);
            let mut oracle = VecDeque::new();
            for op in ops {
                match op {
                    Op::Push(v) => {
                        let fits = oracle.len() < capacity;
                        prop_assert_eq!(tx.push(&Pair(v)).is_ok(), fits);
                        if fits { oracle.push_back(v); }
                        prop_assert_eq!(tx.room(capacity), capacity - oracle.len());
                    }
                    Op::Pop => prop_assert_eq!(rx.pop(), oracle.pop_front().map(|v| Ok(Pair(v)))),
                }
            }
        }

        /// The other side writes anything anywhere: no panic, no endless work, and each anomaly is counted.
        #[test]
        fn a_hostile_side_does_no_harm(
            writes in proptest::collection::vec((0usize..SLOTS + 16, any::<u64>()), 0..40),
        ) {
            let words = Words::on_heap(ring_words::<Pair>(8));
            let mut tx = Producer::<Pair>::new(words.clone(), 8);
            let mut rx = Consumer::<Pair>::new(words.clone(), 8);
            for (at, value) in writes {
                words.word(at).store(value, Ordering::Relaxed);
                let mut popped = 0;
                while rx.pop().is_some() { popped += 1; }
                prop_assert!(popped <= 8, "no more than the ring can hold at once");
                let _ = tx.push(&Pair(value));
            }
        }
    }

    #[test]
    fn an_impossible_index_is_counted_and_the_slot_is_wiped() {
        let words = Words::on_heap(ring_words::<Pair>(4));
        let mut rx = Consumer::<Pair>::new(words.clone(), 4);
        words.word(PRODUCER).store(5, Ordering::Relaxed);
        assert_eq!(rx.pop(), None);
        assert_eq!(rx.anomalies(), 1);
        words.word(PRODUCER).store(0, Ordering::Relaxed);
        let mut tx = Producer::<Pair>::new(words.clone(), 4);
        tx.push(&Pair(0x5ec2e7)).unwrap();
        assert_eq!(words.word(SLOTS).load(Ordering::Relaxed), 0x5ec2e7);
        assert_eq!(rx.pop(), Some(Ok(Pair(0x5ec2e7))));
        let left: Vec<u64> = (SLOTS..SLOTS + 2).map(|i| words.word(i).load(Ordering::Relaxed)).collect();
        assert_eq!(left, [0, 0], "what was read is wiped");
        words.word(CONSUMER).store(77, Ordering::Relaxed);
        for _ in 0..4 {
            let _ = tx.push(&Pair(1));
        }
        assert!(tx.anomalies() > 0);
        assert_eq!(tx.push(&Pair(1)), Err(Full));
    }

    #[test]
    fn two_real_threads_lose_nothing() {
        const N: u64 = 50_000;
        let (mut tx, mut rx) = in_process::<Pair>(64);
        let producer = std::thread::spawn(move || {
            for n in 0..N {
                while tx.push(&Pair(n)).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < N {
            match rx.pop() {
                Some(message) => {
                    assert_eq!(message, Ok(Pair(expected)));
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        producer.join().unwrap();
        assert_eq!(rx.pop(), None);
    }
}
