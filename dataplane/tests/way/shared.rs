//! One SA's crypto done by several workers (R301): whole ways of packets, beside a twin that does all by itself.

use crate::rig::*;
use proptest::prelude::*;
use ravelin_dataplane::{Helpers, Origin, Verdict};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use std::sync::Arc;

fn shared() -> Extras {
    Extras { shared: true, ..Extras::default() }
}

/// A gateway of three workers, of which the first has the tunnel, and shares from the first packet on.
struct Team {
    owner: Gate,
    others: Vec<Gate>,
}

impl Team {
    fn new(is_a: bool, pair: &Pair) -> Self {
        let helpers = Helpers::new(3);
        let member = |id| {
            let mut gate = Gate::with_workers(is_a, id, 2);
            gate.worker.join(Arc::clone(&helpers));
            gate.worker.share_from(1);
            gate
        };
        let mut team = Self { owner: member(0), others: vec![member(1), member(2)] };
        team.owner.install(pair);
        team.owner.use_pair(pair);
        team
    }

    /// Somebody does something.
    fn step(&mut self, what: u8) -> Vec<Out> {
        match what % 5 {
            0 => _ = self.others[0].worker.help(),
            1 => _ = self.others[1].worker.help(),
            2 => _ = self.owner.worker.work_alone(what.is_multiple_of(2), self.owner.now),
            _ => return self.owner.resume(),
        }
        vec![]
    }

    /// Until nothing is away.
    fn settle(&mut self) -> Vec<Out> {
        let mut all = vec![];
        while self.owner.worker.away() > 0 {
            self.owner.worker.work_alone(true, self.owner.now);
            all.extend(self.owner.resume());
        }
        all
    }
}

fn twin(is_a: bool, pair: &Pair) -> Gate {
    let mut gate = Gate::with_workers(is_a, 0, 2);
    gate.install(pair);
    gate.use_pair(pair);
    gate
}

/// What went out, in its order.
fn sent(out: Vec<Out>) -> Vec<(Verdict, Vec<u8>)> {
    let gone = |o: &Out| matches!(o.verdict, Verdict::Forward { .. });
    out.into_iter().filter(gone).map(|o| (o.verdict, o.bytes)).collect()
}

/// Owned by worker 0 in both directions, as all even SPIs.
fn pair(suite: Suite) -> Pair {
    Pair { suite, extras: shared(), spi: 0x1000, ..Pair::default() }
}

fn clear(n: u16) -> (Origin, Vec<u8>) {
    (Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 60 + usize::from(n) * 7 % 1300)))
}

fn kinds() -> impl Strategy<Value = Pair> {
    let suites =
        prop_oneof![Just(Suite::Aes128Gcm16), Just(Suite::Aes256Gcm16), Just(Suite::ChaCha20Poly1305)];
    (suites, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(suite, udp, v6, esn)| Pair {
        udp,
        v6,
        esn,
        ..pair(suite)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // R301: outbound, byte for byte what one worker alone sends, in the same order; a rekey in the middle of it included.
    #[test]
    fn sends_what_one_worker_sends(pair in kinds(), steps in proptest::collection::vec((0u8..10, 1u16..20), 1..60)) {
        let (mut team, mut alone) = (Team::new(true, &pair), twin(true, &pair));
        let (mut ours, mut theirs, mut n) = (vec![], vec![], 0);
        let mut current = pair.clone();
        for (what, count) in steps {
            match what {
                0..=3 => {
                    let packets: Vec<_> = (n..n + count).map(clear).collect();
                    n += count;
                    if team.owner.held() > 300 {
                        ours.extend(team.settle());
                    }
                    ours.extend(team.owner.run(&packets));
                    theirs.extend(alone.run(&packets));
                }
                4 => {
                    let next = Pair { id: current.id + 1, spi: current.spi + 12, ..current.clone() };
                    for gate in [&mut team.owner, &mut alone] {
                        gate.install(&next);
                        gate.use_pair(&next);
                        for direction in [0, 1] {
                            let sa = SaId(current.id * 10 + direction);
                            prop_assert_eq!(gate.command(|token| WorkerCommand::RemoveSa { token, sa }), Outcome::Ok);
                        }
                    }
                    current = next;
                }
                _ => ours.extend(team.step(what)),
            }
        }
        ours.extend(team.settle());
        prop_assert_eq!(sent(ours), sent(theirs));
        let out = current.id * 10 + 1;
        let (a, b) = (team.owner.report(out), alone.report(out));
        prop_assert_eq!((a.sequence, a.packets, a.bytes), (b.sequence, b.packets, b.bytes));
    }

    // R301, R302: inbound, what one worker lets through, in the same order, and never a replay drop of its own making:
    // late, repeated and forged packets among them.
    #[test]
    fn lets_in_what_one_worker_lets_in(pair in kinds(), window in 64u32..200,
                                       steps in proptest::collection::vec((0u8..10, any::<u16>(), 1u16..20), 1..60)) {
        let pair = Pair { window, ..pair };
        let mut peer = twin(true, &pair);
        let frames: Vec<_> = sent(peer.run(&(0..400).map(clear).collect::<Vec<_>>()));
        let (mut team, mut alone) = (Team::new(false, &pair), twin(false, &pair));
        let (mut ours, mut theirs, mut at) = (vec![], vec![], 0);
        for (what, chance, count) in steps {
            if what < 5 {
                let packets: Vec<_> = (0..usize::from(count)).map(|i| {
                    let back = if what == 0 { (usize::from(chance) + i * 31) % 150 } else { 0 };
                    let mut bytes = frames[(at + i).saturating_sub(back) % frames.len()].1.clone();
                    if what == 1 && i == 0 {
                        *bytes.last_mut().unwrap() ^= 1;
                    }
                    (Origin::Port(WAN), bytes)
                }).collect();
                at = (at + usize::from(count)).min(frames.len() - 1);
                if team.owner.held() > 300 {
                    ours.extend(team.settle());
                }
                ours.extend(team.owner.run(&packets));
                theirs.extend(alone.run(&packets));
            } else {
                ours.extend(team.step(what));
            }
        }
        ours.extend(team.settle());
        prop_assert_eq!(sent(ours), sent(theirs));
        let refused = |gate: &Gate| [Drop::ReplayOld, Drop::ReplayDup, Drop::BadIcv].map(|why| gate.dropped(why)).iter().sum::<u64>();
        prop_assert_eq!(refused(&team.owner), refused(&alone));
        let inbound = pair.id * 10;
        let (a, b) = (team.owner.report(inbound), alone.report(inbound));
        prop_assert_eq!((a.sequence, a.packets, a.bytes), (b.sequence, b.packets, b.bytes));
    }
}

// CBC's IVs are of chance, and UDP over IPv6 has a checksum over them: the peer is the judge.
#[test]
fn every_suite_is_understood() {
    for (suite, _) in SUITES {
        let pair = Pair { udp: true, v6: true, ..pair(suite) };
        let (mut a, mut b) = (Team::new(true, &pair), Team::new(false, &pair));
        let clear: Vec<_> = (0..150).map(clear).collect();
        assert!(a.owner.run(&clear).iter().all(|o| o.verdict == Verdict::Held));
        while a.others[0].worker.help().is_some() {}
        let wire: Vec<_> =
            sent(a.owner.resume()).into_iter().map(|(_, bytes)| (Origin::Port(WAN), bytes)).collect();
        assert_eq!(wire.len(), 150);
        assert!(b.owner.run(&wire).iter().all(|o| o.verdict == Verdict::Held));
        while b.others[1].worker.help().is_some() {}
        let inside = b.owner.resume();
        for (n, out) in inside.iter().enumerate() {
            assert_eq!(out.forwarded(INSIDE).len(), 60 + n * 7 % 1300, "{suite:?}");
        }
        assert_eq!(inside.len(), 150);
        let stats = |gate: &Gate, what| gate.worker.stats().get(what);
        assert_eq!((stats(&a.owner, Counter::Lent), stats(&a.others[0], Counter::Helped)), (150, 150));
        assert_eq!((stats(&a.owner, Counter::Encrypted), stats(&b.owner, Counter::Decrypted)), (150, 150));
    }
}

// An inbound SA that goes while its packets are away takes them along, and one in its place does not get them.
#[test]
fn an_sa_that_goes_takes_its_packets_along() {
    let old = pair(Suite::Aes128Gcm16);
    let mut peer = twin(true, &old);
    let wire: Vec<_> = sent(peer.run(&(0..10).map(clear).collect::<Vec<_>>()))
        .into_iter()
        .map(|(_, b)| (Origin::Port(WAN), b))
        .collect();
    let mut b = Team::new(false, &old);
    b.owner.run(&wire);
    let sa = SaId(old.id * 10);
    assert_eq!(b.owner.command(|token| WorkerCommand::RemoveSa { token, sa }), Outcome::Ok);
    let new = Pair { id: 9, spi: old.spi + 12, ..old };
    b.owner.install(&new);
    b.settle().iter().for_each(|o| o.lost(Drop::NoSa));
    assert_eq!(b.owner.report(90).packets, 0);
}

// Not loaded, it does all by itself; while something is away, all that follows does.
#[test]
fn only_who_is_loaded_shares() {
    let pair = pair(Suite::Aes128Gcm16);
    let mut team = Team::new(true, &pair);
    team.owner.worker.share_from(32);
    team.owner.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN);
    let burst: Vec<_> = (0..40).map(clear).collect();
    assert!(team.owner.run(&burst).iter().all(|o| o.verdict == Verdict::Held));
    assert_eq!(team.owner.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).verdict, Verdict::Held);
    assert_eq!(team.settle().len(), 41);
    team.owner.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN);
    // Asked about, it is answered without being given away, and leaves no trace.
    team.owner.run(&burst);
    let (lent, away) = (team.owner.worker.stats().get(Counter::Lent), team.owner.worker.away());
    let (origin, bytes) = clear(1);
    let (step, _) = team.owner.explain(origin, bytes);
    assert_eq!(step.verdict, ravelin_ring::inspect::Verdict::Forward { port: WAN.0 });
    assert_eq!((team.owner.worker.stats().get(Counter::Lent), team.owner.worker.away()), (lent, away));
    team.owner.worker.pause_sharing(true);
    team.settle();
    assert!(team.owner.run(&burst).iter().all(|o| matches!(o.verdict, Verdict::Forward { .. })));
}

// Those have ways of their own through the stages.
#[test]
fn what_cannot_be_shared_is_refused() {
    let rules = Rules { keep_ttl: true, ..Rules::default() };
    for pair in [
        Pair { suite: Suite::AhSha256, ..pair(Suite::AhSha256) },
        Pair { mode: Mode::Transport, ..pair(Suite::Aes128Gcm16) },
        Pair { extras: Extras { rules, ..shared() }, ..pair(Suite::Aes128Gcm16) },
    ] {
        let mut gate = Gate::with_workers(true, 0, 2);
        assert_eq!(gate.install_one(&pair, Direction::Outbound), Outcome::Refused);
    }
}
