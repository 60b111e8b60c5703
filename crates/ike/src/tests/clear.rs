//! Chosen SAs cleared by the operator, and all of a gateway whose address went.

use super::any_connection;
use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::counters::Counter;
use crate::event::{ChildSaId, Event, IkeSaId};
use ravelin_wire::Spi;
use std::collections::BTreeMap;

const OTHER: ConnectionId = ConnectionId(2);
const OTHER_CHILD: ChildId = ChildId(8);

/// Another tunnel between the same two, and a further child in the first one.
fn two_tunnels(start: Start) -> Pair {
    let further = |side: Side, id: u32, nets: [&str; 2]| {
        let (local, remote) = if side == Side::A { (nets[0], nets[1]) } else { (nets[1], nets[0]) };
        Child { id: ChildId(id), ..child(local, remote) }
    };
    let mut pair = Pair::with(1700, |side, c| {
        c.children.push(further(side, 9, ["10.21.0.0/24", "10.22.0.0/24"]));
        c.start = if side == Side::A { start } else { Start::Respond };
    });
    for side in [Side::B, Side::A] {
        let mut c = Pair::connection(side);
        c.id = OTHER;
        c.children = vec![further(side, OTHER_CHILD.0, ["10.11.0.0/24", "10.12.0.0/24"])];
        pair.command(side, Command::Configure(Box::new(c)));
    }
    if start != Start::Immediately {
        pair.initiate(Side::A);
    }
    pair.run_secs(5);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (3, 3), "{:#?}", pair.b.log);
    pair
}

fn ike_of(pair: &Pair, side: Side, id: ConnectionId) -> Option<IkeSaId> {
    pair.live(side).iter().find(|sa| sa.connection == Some(id)).map(|sa| sa.id)
}

/// The outbound SPI of each child.
fn spis(pair: &Pair, side: Side) -> BTreeMap<ChildId, Spi> {
    pair.see(side).pairs().iter().map(|p| (p.child, p.outbound_spi)).collect()
}

// R232, R233, R234; RFC 7296 §1.4.1: the chosen IKE SA goes with its children, the peer is told, nothing else is
// touched; what is wanted up comes back at once.
#[test]
fn the_chosen_ike_sa_is_cleared_and_no_other() {
    for side in [Side::A, Side::B] {
        let mut pair = two_tunnels(Start::Immediately);
        let (chosen, other) = (ike_of(&pair, side, CONNECTION), ike_of(&pair, side, OTHER));
        let before = spis(&pair, Side::A);
        pair.command(side, Command::ClearIke(chosen.unwrap()));
        pair.run(LATENCY * 3);
        let gone = |s: Side| pair.see(s).pairs().iter().filter(|p| p.child != OTHER_CHILD).count();
        assert_eq!(gone(side.other()), 0, "the peer was told");
        pair.run_secs(8);
        let after = spis(&pair, Side::A);
        assert_eq!((after.len(), pair.b.pairs().len()), (3, 3), "{:#?}", pair.a.log);
        assert_eq!(ike_of(&pair, side, OTHER), other);
        assert!(ike_of(&pair, side, CONNECTION).is_some_and(|ike| Some(ike) != chosen));
        for (child, spi) in &before {
            assert_eq!(after[child] == *spi, *child == OTHER_CHILD, "{child:?}");
        }
        assert_eq!(pair.a.count(Counter::Retransmits) + pair.b.count(Counter::Retransmits), 0);
        pair.assert_same_tables();
    }
}

// R233: one pair by its SPI; its IKE SA and the other children stay.
#[test]
fn the_chosen_child_is_cleared_and_no_other() {
    for side in [Side::A, Side::B] {
        let mut pair = two_tunnels(Start::Immediately);
        let before = spis(&pair, Side::A);
        let ikes: Vec<IkeSaId> = pair.live(Side::A).iter().map(|sa| sa.id).collect();
        let id: ChildSaId = pair.see(side).pairs().iter().find(|p| p.child == CHILD).unwrap().id;
        pair.command(side, Command::ClearChild(id));
        pair.run_secs(8);
        let after = spis(&pair, Side::A);
        assert_eq!((after.len(), pair.b.pairs().len()), (3, 3), "{:#?}", pair.a.log);
        for (child, spi) in &before {
            assert_eq!(after[child] == *spi, *child != CHILD, "{child:?}");
        }
        assert_eq!(ikes, pair.live(Side::A).iter().map(|sa| sa.id).collect::<Vec<_>>());
        pair.assert_same_tables();
    }
}

// R231, R234: what traffic had brought up stays down until traffic comes; unlike `down`, it may.
#[test]
fn what_traffic_brought_up_waits_for_traffic() {
    let mut pair = two_tunnels(Start::OnTraffic);
    pair.command(Side::A, Command::ClearIke(ike_of(&pair, Side::A, CONNECTION).unwrap()));
    pair.run_secs(60);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (1, 1));
    let packet = selector("10.1.0.5/32", "10.2.0.7/32");
    pair.command(Side::A, Command::Acquire { connection: CONNECTION, child: CHILD, packet });
    pair.run_secs(2);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (2, 2), "{:#?}", pair.a.log);
    // What is not there any more is no reason for anything.
    pair.command(Side::A, Command::ClearIke(IkeSaId(9999)));
    pair.command(Side::A, Command::ClearChild(ChildSaId(9999)));
}

fn away(pair: &mut Pair, side: Side, away: bool) {
    pair.command(side, Command::Away { connection: CONNECTION, away });
}

// R69, R71, R72: no word leaves while the address is gone, what was up is gone with an event; once it is back there is
// a new pair, and INITIAL_CONTACT ends what the peer still has (RFC 7296 §2.4).
#[test]
fn a_gateway_without_its_address_is_silent_until_it_is_back() {
    let mut pair = Pair::established();
    pair.watch = false;
    let (before, t0) = (pair.a.pairs()[0].inbound_spi, pair.now);
    away(&mut pair, Side::A, true);
    assert!(pair.a.pairs().is_empty() && pair.live(Side::A).is_empty());
    let said = |e: &Event| matches!(e, Event::IkeDown { why, .. } if why.contains("address"));
    assert_eq!(pair.a.events.iter().filter(|e| said(e)).count(), 1, "{:#?}", pair.a.log);
    // Neither the operator, nor traffic, nor a reload makes it speak.
    pair.initiate(Side::A);
    let packet = selector("10.1.0.5/32", "10.2.0.7/32");
    pair.command(Side::A, Command::Acquire { connection: CONNECTION, child: CHILD, packet });
    let mut c = Pair::connection(Side::A);
    c.dpd_delay = core::time::Duration::from_secs(33);
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(300);
    assert_eq!(pair.sent_by(Side::A, t0), []);
    assert_eq!(pair.b.pairs().len(), 1, "without liveness checks the peer knows nothing");
    away(&mut pair, Side::A, false);
    pair.run_secs(8);
    pair.assert_one_pair();
    assert_ne!(pair.a.pairs()[0].inbound_spi, before);
    assert_eq!(pair.b.count(Counter::InitialContact), 1);
}

// R69: before it is configured, too; and what the operator took down stays down when the address comes.
#[test]
fn a_gateway_that_never_had_its_address_begins_when_it_has() {
    for down in [false, true] {
        let mut pair = Pair::empty(1701);
        for side in [Side::A, Side::B] {
            away(&mut pair, side, true);
            pair.command(side, Command::Configure(Box::new(Pair::connection(side))));
        }
        pair.run_secs(60);
        assert!(pair.sent.is_empty());
        if down {
            pair.command(Side::A, Command::Terminate { connection: CONNECTION });
        }
        away(&mut pair, Side::B, false);
        away(&mut pair, Side::A, false);
        pair.run_secs(2);
        if down { pair.assert_nothing() } else { pair.assert_one_pair() }
    }
}

// R69, R72: the responder's address went, of a tunnel for any peer: its peers are forgotten, and find out by asking.
#[test]
fn the_peers_of_a_gateway_without_its_address_come_back() {
    let mut pair = Pair::empty(1702);
    pair.command(Side::B, Command::Configure(Box::new(any_connection())));
    let mut c = Pair::connection(Side::A);
    c.dpd_delay = core::time::Duration::from_secs(20);
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(1);
    assert_eq!(pair.b.pairs().len(), 1);
    let t0 = pair.now;
    away(&mut pair, Side::B, true);
    pair.dead.insert(pair.b.addr);
    pair.run_secs(10);
    assert!(pair.b.pairs().is_empty() && pair.live(Side::B).is_empty());
    assert_eq!(pair.sent_by(Side::B, t0), []);
    pair.run_secs(300);
    assert!(pair.a.pairs().is_empty() && pair.a.count(Counter::PeerDead) == 1);
    pair.dead.clear();
    away(&mut pair, Side::B, false);
    pair.run_secs(120);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (1, 1), "{:#?}", pair.a.log);
    assert!(pair.works(Side::A) && pair.works(Side::B));
}
