//! A worker that fails amid a batch (R74): what was in its hands is lost and counted, and nothing else.

use crate::rig::*;
use ravelin_dataplane::{Helpers, Origin, Point, Probe, Verdict, View};
use ravelin_ring::counters::{Counter, Drop};
use ravelin_ring::msg::*;
use ravelin_wire::ipv4::Ipv4;
use std::collections::BTreeSet;

/// Panics at one point of the way.
struct Fatal(Point);

impl Probe for Fatal {
    fn look(&mut self, point: Point, _: View<'_>) {
        assert_ne!(point, self.0, "as this test wants it");
    }
}

const POINTS: [Point; 6] =
    [Point::Received, Point::Sorted, Point::Clear, Point::Decided, Point::Seal, Point::Done];

/// SPI and number of an ESP packet as it is on the wire.
fn numbered(packet: &[u8]) -> (u32, u32) {
    let esp = Ipv4::parse(packet).unwrap();
    let word = |at| u32::from_be_bytes(*esp.payload()[at..].first_chunk().unwrap());
    (word(0), word(4))
}

fn clear(count: usize) -> Vec<(Origin, Vec<u8>)> {
    // Some that are cut, some in clear, some that are dropped.
    let mut all = vec![(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 100))); count];
    all.push((Origin::Port(INSIDE), ether(&edit(ip(HOST_A, HOST_B, 1480), |ip| ip.set_df(false)))));
    all.push((Origin::Port(INSIDE), ether(&ip(HOST_A, INTERNET, 80))));
    all.push((Origin::Port(INSIDE), ether(&ip(HOST_A, "192.0.3.1".parse().unwrap(), 80))));
    all
}

// R74, R303: at whichever point it fails, both ways, frames and counts are whole, windows and numbers go on.
#[test]
fn a_failure_costs_one_batch() {
    let (mut a, mut b) = gates(&Pair::default());
    let mut seen = BTreeSet::new();
    for (round, point) in POINTS.into_iter().chain(POINTS).enumerate() {
        a.fail(&clear(5), &mut Fatal(point));
        let out = a.run(&clear(5));
        let wire: Vec<Vec<u8>> = out
            .iter()
            .filter(|o| matches!(o.verdict, Verdict::Forward { port: WAN }))
            .map(|o| o.forwarded(WAN).to_vec())
            .filter(|bytes| Ipv4::parse(bytes).unwrap().protocol() == 50)
            .collect();
        assert!(wire.len() > 5, "round {round}: {out:?}");
        assert!(wire.iter().all(|bytes| seen.insert(numbered(bytes))), "no number twice, round {round}");
        let came: Vec<_> = wire.iter().map(|bytes| (Origin::Port(WAN), ether(bytes))).collect();
        // The same packets again, after a failure amid them: those that it had committed are known, and none goes in twice.
        b.fail(&came, &mut Fatal(point));
        let fresh = a.receive(INSIDE, &ip(HOST_A, HOST_B, 100)).forwarded(WAN).to_vec();
        b.receive(WAN, &fresh).forwarded(INSIDE);
        for out in b.run(&came) {
            match out.verdict {
                Verdict::Forward { port: INSIDE } | Verdict::Drop(Drop::ReplayDup) => {}
                other => panic!("{other:?}, round {round}"),
            }
        }
    }
    for gate in [&a, &b] {
        assert_eq!(gate.worker.stats().get(Counter::Failures), 12);
        assert!(gate.dropped(Drop::WorkerFailed) > 12);
    }
}

// R74, R301: bursts that are with others come back all the same, in their order.
#[test]
fn what_is_with_others_survives() {
    let pair = Pair { extras: Extras { shared: true, ..Extras::default() }, ..Pair::default() };
    let helpers = Helpers::new(2);
    let mut owner = Gate::with_workers(true, 0, 2);
    let mut helper = Gate::with_workers(true, 1, 2);
    for gate in [&mut owner, &mut helper] {
        gate.worker.join(helpers.clone());
        gate.worker.share_from(1);
    }
    owner.install(&pair);
    owner.use_pair(&pair);
    let sent = vec![(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 100))); 10];
    assert!(owner.run(&sent).iter().all(|o| o.verdict == Verdict::Held));
    owner.fail(&sent, &mut Fatal(Point::Done));
    assert!(owner.run(&sent).iter().all(|o| o.verdict == Verdict::Held));
    while helper.worker.help().is_some() {}
    let numbers: Vec<u32> = owner.resume().iter().map(|o| numbered(o.forwarded(WAN)).1).collect();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
}
