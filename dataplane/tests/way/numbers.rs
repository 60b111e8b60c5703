//! Sequence numbers near their end (R124, R302): whole ways of packets through two gateways.

use crate::rig::*;
use ravelin_dataplane::{Origin, Verdict};
use ravelin_ring::counters::Drop;
use ravelin_ring::msg::*;
use ravelin_wire::ipv4::Ipv4;
use std::collections::BTreeSet;

fn used(sequence: u64) -> Extras {
    Extras { sequence, ..Extras::default() }
}

fn soft(events: &[WorkerEvent]) -> usize {
    let told = WorkerEvent::SoftLimit { sa: SaId(11), limit: Limit::Sequence };
    events.iter().filter(|e| **e == told).count()
}

/// SPI and number of an ESP packet as it is on the wire.
fn numbered(packet: &[u8]) -> (u32, u32) {
    let esp = Ipv4::parse(packet).unwrap();
    let word = |at| u32::from_be_bytes(*esp.payload()[at..].first_chunk().unwrap());
    (word(0), word(4))
}

// RFC 4303 §3.3.3: without ESN the last number is 2^32 - 1; what comes after is dropped, and no number is used twice.
#[test]
fn numbers_of_32_bits_end_hard() {
    let last = u64::from(u32::MAX);
    for suite in [Suite::Aes128Gcm16, Suite::ChaCha20Poly1305, Suite::Aes256CbcSha256] {
        let (mut a, mut b) = gates(&Pair { suite, extras: used(last - 20), ..Pair::default() });
        let sent = vec![(Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 80))); 50];
        let out = a.run(&sent);
        let (gone, kept): (Vec<_>, Vec<_>) =
            out.into_iter().partition(|o| matches!(o.verdict, Verdict::Forward { .. }));
        let numbers: Vec<u32> = gone.iter().map(|o| numbered(o.forwarded(WAN)).1).collect();
        assert_eq!(numbers, (u32::MAX - 19..=u32::MAX).collect::<Vec<_>>());
        assert_eq!(kept.len(), 30);
        kept.iter().for_each(|o| o.lost(Drop::SequenceExhausted));
        for o in &gone {
            b.receive(WAN, o.forwarded(WAN)).forwarded(INSIDE);
        }
        let events = a.events();
        let hard = WorkerEvent::HardLimit { sa: SaId(11), limit: Limit::Sequence };
        assert_eq!(events.last(), Some(&hard));
        assert_eq!(soft(&events), 5, "asked at each half of the last twenty: {events:?}");
        let report = a.report(11);
        assert_eq!((report.sequence, report.packets), (last, 20));
        assert_eq!(b.report(10).sequence, last);
    }
}

// RFC 4303 §2.2.1, R302: with ESN the low half wraps and nothing is lost; the end is at 2^64 - 1.
#[test]
fn extended_numbers_cross_and_end() {
    let crossing = u64::from(u32::MAX) - 20;
    for suite in [Suite::Aes128Gcm16, Suite::Aes256CbcSha256] {
        let pair = Pair { suite, esn: true, extras: used(crossing), ..Pair::default() };
        let (mut a, mut b) = gates(&pair);
        let frame = (Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 80)));
        for (n, out) in a.run(&vec![frame.clone(); 50]).iter().enumerate() {
            let wire = out.forwarded(WAN);
            assert_eq!(numbered(wire).1, (crossing + 1 + n as u64) as u32);
            b.receive(WAN, wire).forwarded(INSIDE);
        }
        assert_eq!(soft(&a.events()), 0);
        assert_eq!((a.report(11).sequence, b.report(10).sequence), (crossing + 50, crossing + 50));
        let (mut a, _) = gates(&Pair { extras: used(u64::MAX - 3), ..pair });
        let out = a.run(&vec![frame; 5]);
        let lost = out.iter().filter(|o| o.verdict == Verdict::Drop(Drop::SequenceExhausted)).count();
        assert_eq!((lost, a.report(11).sequence), (2, u64::MAX));
    }
}

// R124: told with a quarter of the numbers left; while the successor is made, traffic goes on.
#[test]
fn a_rekey_is_asked_for_well_before_the_end() {
    let first = u64::from(u32::MAX) - u64::from(u32::MAX) / 4 - 3;
    let (mut a, mut b) = gates(&Pair { extras: used(first), ..Pair::default() });
    let mut send = |a: &mut Gate| {
        let wire = a.receive(INSIDE, &ip(HOST_A, HOST_B, 80)).forwarded(WAN).to_vec();
        b.receive(WAN, &wire).forwarded(INSIDE);
        numbered(&wire)
    };
    (0..3).for_each(|_| _ = send(&mut a));
    assert_eq!(soft(&a.events()), 0);
    (0..100).for_each(|_| _ = send(&mut a));
    assert_eq!(soft(&a.events()), 1);
}

// A number is one SA's business alone: whichever worker a packet comes to, its owner counts; what is refused (a repeated
// installation, a foreign owner) sets nothing back.
#[test]
fn no_number_twice_through_hand_off() {
    let (mut zero, mut one) = (Gate::with_workers(true, 0, 2), Gate::with_workers(true, 1, 2));
    let pair = Pair::default();
    zero.install(&pair);
    zero.use_pair(&pair);
    one.use_pair(&pair);
    let mut seen = BTreeSet::new();
    for round in 0..40u16 {
        let packet = (Origin::Port(INSIDE), ether(&ip(HOST_A, HOST_B, 60 + usize::from(round))));
        let mut out = zero.run(&vec![packet.clone(); 3]);
        for handed in one.run(&vec![packet; 2]) {
            assert_eq!(handed.verdict, Verdict::HandOff { worker: WorkerId(0) });
            out.extend(zero.run(&[(handed.origin, handed.bytes)]));
        }
        assert_eq!(out.len(), 5);
        for o in &out {
            assert!(seen.insert(numbered(o.forwarded(WAN))), "round {round}");
        }
        let again = zero.install_one(&pair, Direction::Outbound);
        assert_eq!(again, Outcome::Refused);
        zero.use_pair(&pair);
    }
    assert_eq!((seen.len(), zero.report(11).sequence), (200, 200));
}

// 32-bit numbers cannot begin behind their end.
#[test]
fn a_beginning_behind_the_end_is_refused() {
    let mut a = Gate::new(true);
    let pair = Pair { extras: used(1 << 32), ..Pair::default() };
    assert_eq!(a.install_one(&pair, Direction::Outbound), Outcome::Refused);
    assert_eq!(a.install_one(&Pair { esn: true, ..pair }, Direction::Outbound), Outcome::Ok);
}
