//! Child SAs of each kind: transport mode, AH, selectors around the packet that asked, key exchange or none.

use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::counters::Counter;
use crate::event::Event;
use crate::payload::Payload;
use ravelin_testkit::selector;
use ravelin_wire::{PortRange, Selector};

const A: &str = "198.18.0.1/32";
const B: &str = "198.18.0.2/32";

fn transport(side: Side, c: &mut Connection) {
    c.children[0].mode = Mode::Transport;
    c.children[0].selectors = vec![if side == Side::A { selector(A, B) } else { selector(B, A) }];
}

fn is_transport(pair: &Pair) -> bool {
    [&pair.a, &pair.b].iter().all(|n| n.pairs().iter().all(|p| p.mode == Mode::Transport))
}

// RFC 7296 §1.3.1, R11
#[test]
fn transport_mode_is_asked_for_granted_and_kept_by_rekeys() {
    let mut pair = Pair::with(800, transport);
    pair.run_secs(1);
    pair.assert_one_pair();
    assert!(is_transport(&pair));
    for side in [Side::A, Side::B] {
        pair.rekey_child(side);
        pair.run_secs(20);
        pair.assert_one_pair();
        assert!(is_transport(&pair));
    }
    pair.rekey_ike(Side::B);
    pair.run_secs(5);
    pair.rekey_child(Side::A);
    pair.run_secs(20);
    pair.assert_one_pair();
    assert!(is_transport(&pair));
}

// Who wants tunnel mode answers by tunnel mode; who wants transport mode takes nothing else.
#[test]
fn transport_mode_takes_two() {
    for wants in [Side::A, Side::B] {
        let mut pair = Pair::with(801, |side, c| {
            transport(side, c);
            if side != wants {
                c.children[0].mode = Mode::Tunnel;
            }
        });
        pair.run(core::time::Duration::from_millis(1500));
        assert_eq!(pair.live(Side::A).len(), 1, "the IKE SA stands");
        assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty(), "{wants:?}: {:#?}", pair.b.log);
        let why = |e: &Event| matches!(e, Event::Failed { why, .. } if why.contains("mode") || why.contains("NO_PROPOSAL"));
        assert!(pair.a.events.iter().any(why), "{:#?}", pair.a.events);
    }
}

fn ah(integrity: Integrity, esn: bool) -> EspProposal {
    EspProposal { encryption: None, integrity: Some(integrity), group: None, kem: None, esn }
}

// RFC 4302, RFC 7296 §3.3.1: protocol id 2, also in REKEY_SA and Delete
#[test]
fn ah_is_negotiated_rekeyed_and_deleted() {
    let all = [
        Integrity::HmacSha1_96,
        Integrity::HmacSha256_128,
        Integrity::HmacSha384_192,
        Integrity::HmacSha512_256,
        // RFC 4543 §5.1: a key and four bytes of salt
        Integrity::AesGmac128,
        Integrity::AesGmac192,
        Integrity::AesGmac256,
    ];
    for (n, (integrity, len)) in all.into_iter().zip([20, 32, 48, 64, 20, 28, 36]).enumerate() {
        let mut pair =
            Pair::with(810 + n as u64, |_, c| c.children[0].proposals = vec![ah(integrity, n % 2 == 0)]);
        pair.run_secs(1);
        pair.assert_one_pair();
        let sa = pair.a.pairs()[0].clone();
        assert!(sa.proposal.is_ah());
        assert_eq!((sa.inbound_keys.0.len(), sa.proposal.esn), (len, n % 2 == 0));
        for side in [Side::A, Side::B] {
            pair.rekey_child(side);
            pair.run_secs(20);
            pair.assert_one_pair();
        }
        let id = pair.a.pairs()[0].id;
        pair.command(Side::A, Command::DeleteChild(id));
        pair.run_secs(30);
        pair.assert_one_pair();
        assert_ne!(pair.a.pairs()[0].inbound_spi, sa.inbound_spi);
        assert_eq!(pair.b.count(Counter::MalformedAuthentic), 0);
    }
    // ESP against AH is a difference of proposals.
    let mut pair = Pair::with(815, |side, c| {
        if side == Side::B {
            c.children[0].proposals = vec![ah(Integrity::HmacSha256_128, false)];
        }
    });
    pair.run(core::time::Duration::from_millis(1500));
    assert!(pair.a.pairs().is_empty());
    assert_eq!(pair.b.count(Counter::NoProposal), 1);
}

// With both in the offer, either will do; each side's order counts at the responder.
#[test]
fn extended_sequence_numbers_are_taken_as_both_can() {
    let with = |esn: &[bool]| esn.iter().map(|&esn| EspProposal { esn, ..ESP }).collect::<Vec<_>>();
    for (a, b, want) in [
        (vec![true, false], vec![true, false], Some(true)),
        (vec![true, false], vec![false], Some(false)),
        (vec![false], vec![true, false], Some(false)),
        (vec![true], vec![true, false], Some(true)),
        (vec![true], vec![false], None),
    ] {
        let mut pair = Pair::with(820, |side, c| {
            c.children[0].proposals = with(if side == Side::A { &a } else { &b });
        });
        pair.run(core::time::Duration::from_millis(1500));
        assert_eq!(pair.a.pairs().first().map(|p| p.proposal.esn), want, "{a:?} {b:?}");
    }
}

fn packet(local: &str, remote: &str, port: u16) -> Selector {
    let one = PortRange::new(port, port).unwrap();
    Selector {
        protocol: Some(6),
        local_ports: PortRange::new(40_000, 40_000).unwrap(),
        remote_ports: one,
        ..selector(local, remote)
    }
}

/// What A offered in the last request that it sent: TSi and TSr.
fn offered(pair: &Pair) -> (usize, usize) {
    let text = pair.a.events.iter().rev().find_map(|e| match e {
        Event::Trace { text, .. } if text.starts_with("out IKE_AUTH") => Some(text.clone()),
        _ => None,
    });
    let text = text.unwrap_or_default();
    (text.matches("TSi").count(), text.matches("TSr").count())
}

// RFC 7296 §2.9: the packet's selector stands first; a peer that takes only that is followed
// R171
#[test]
fn the_packet_that_asks_stands_first() {
    let start = |side, c: &mut Connection| {
        if side == Side::A {
            c.start = Start::OnTraffic;
        }
    };
    let mut pair = Pair::with(830, start);
    pair.command(Side::A, Command::Trace { connection: CONNECTION, on: true });
    pair.run_secs(1);
    pair.assert_nothing();
    let packet = packet("10.1.0.7/32", "10.2.0.9/32", 443);
    pair.command(Side::A, Command::Acquire { connection: CONNECTION, child: CHILD, packet });
    pair.run_secs(2);
    pair.assert_one_pair();
    assert_eq!(offered(&pair), (1, 1));
    // The wider selector is in it too, and covers it.
    assert_eq!(pair.a.pairs()[0].selectors, [selector("10.1.0.0/24", "10.2.0.0/24")]);
    // B has one of the two networks' hosts only: what is left of the union is both, the packet's first.
    let mut pair = Pair::with(831, |side, c| {
        start(side, c);
        if side == Side::B {
            c.children[0].selectors = vec![selector("10.2.0.9/32", "10.1.0.7/32")];
        }
    });
    pair.run_secs(1);
    pair.command(Side::A, Command::Acquire { connection: CONNECTION, child: CHILD, packet });
    pair.run_secs(2);
    pair.assert_one_pair();
    assert_eq!(pair.a.pairs()[0].selectors, [selector("10.1.0.7/32", "10.2.0.9/32")]);
    // One that the configuration does not cover is not offered.
    let (sa, ts_i, _) = crate::child_sa::offer::request(
        &Pair::connection(Side::A).children[0],
        pair.a.pairs()[0].inbound_spi,
        false,
        Some(&self::packet("10.9.0.7/32", "10.2.0.9/32", 443)),
    );
    assert!(matches!(sa, Payload::Sa(_)));
    assert!(matches!(ts_i, Payload::TsI(list) if list.len() == 1));
}

// R140, R15, R215: required, optional and no key exchange, as the lists of proposals make them
#[test]
fn key_exchange_is_taken_as_both_can() {
    let with = Some(Group::Curve25519);
    let (required, optional, off) = (vec![with], vec![with, None], vec![None]);
    for (a, b, made) in [
        (&required, &optional, true),
        (&optional, &off, true),
        (&off, &optional, true),
        (&required, &off, false),
        (&off, &required, false),
    ] {
        let mut pair = Pair::with(840, |side, c| {
            let groups = if side == Side::A { a } else { b };
            c.children[0].proposals = groups.iter().map(|&group| EspProposal { group, ..ESP }).collect();
        });
        pair.run_secs(1);
        pair.assert_one_pair();
        let before = pair.a.pairs()[0].inbound_spi;
        pair.rekey_child(Side::A);
        pair.run_secs(20);
        pair.assert_one_pair();
        assert_eq!(pair.a.pairs()[0].inbound_spi != before, made, "{a:?} {b:?}");
    }
}
