//! Up, down, away, back: desired state, liveness, configuration changes, shutdown.

use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::counters::Counter;
use crate::event::Event;
use core::time::Duration;

fn with_dpd(delay: u64) -> Pair {
    let mut pair = Pair::with(71, |_, c| c.dpd_delay = Duration::from_secs(delay));
    pair.run_secs(1);
    pair.assert_one_pair();
    pair
}

// R26, R49, R4: probes when idle; a quiet tunnel does not flap
#[test]
fn an_idle_peer_is_asked_and_stays() {
    let mut pair = with_dpd(20);
    pair.run_secs(300);
    pair.assert_one_pair();
    let probes = pair.a.count(Counter::LivenessChecks) + pair.b.count(Counter::LivenessChecks);
    assert!((14..=30).contains(&probes), "{probes}");
    assert_eq!(pair.a.events.iter().filter(|e| matches!(e, Event::IkeDown { .. })).count(), 0);
}

// R4, R230: each side asks by itself, whatever the other one does
#[test]
fn each_side_asks_by_itself() {
    for asks in [Side::A, Side::B] {
        let mut pair = Pair::with(70, |side, c| {
            c.dpd_delay = Duration::from_secs(if side == asks { 20 } else { 0 });
        });
        pair.run_secs(301);
        pair.assert_one_pair();
        let probes = |side| pair.see(side).count(Counter::LivenessChecks);
        assert!((14..=15).contains(&probes(asks)), "{}", probes(asks));
        assert_eq!(probes(asks.other()), 0);
    }
}

// R26, R4: none while traffic flows
#[test]
fn traffic_makes_probes_needless() {
    let mut pair = with_dpd(20);
    for _ in 0..30 {
        for side in [Side::A, Side::B] {
            let id = pair.see(side).pairs()[0].id;
            pair.command(side, Command::Alive(id));
        }
        pair.run_secs(10);
    }
    assert_eq!(pair.a.count(Counter::LivenessChecks) + pair.b.count(Counter::LivenessChecks), 0);
}

// R3, R72: a dead peer is found out, its SAs go, and it is brought back when it answers again
#[test]
fn a_dead_peer_goes_and_comes_back() {
    let mut pair = with_dpd(20);
    let t0 = pair.now;
    pair.filter = Some(Box::new(|_, _| true));
    pair.run_secs(90);
    pair.filter = None;
    assert_eq!((pair.a.count(Counter::PeerDead), pair.b.count(Counter::PeerDead)), (1, 1));
    assert!(pair.a.pairs().is_empty());
    let probe: Vec<u64> = pair.sent_by(Side::B, t0).iter().map(|(at, _)| (*at - t0).as_secs()).collect();
    assert_eq!(probe.len(), 6, "one probe, five times again: {probe:?}");
    pair.run_secs(120);
    pair.assert_one_pair();
}

#[test]
fn down_stays_down_until_up() {
    let mut pair = Pair::established();
    pair.watch = false;
    pair.command(Side::A, Command::Terminate { connection: CONNECTION });
    pair.run_secs(300);
    pair.assert_nothing();
    pair.initiate(Side::A);
    pair.run_secs(2);
    pair.assert_one_pair();
}

#[test]
fn what_the_peer_took_down_is_brought_back() {
    let mut pair = Pair::established();
    pair.watch = false;
    pair.command(Side::B, Command::Terminate { connection: CONNECTION });
    pair.run_secs(1);
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
    pair.run_secs(10);
    pair.assert_one_pair();
}

// R232: a child deleted by the peer comes back, in the same IKE SA
#[test]
fn a_deleted_child_comes_back() {
    for side in [Side::A, Side::B] {
        let mut pair = Pair::established();
        pair.watch = false;
        let ike = pair.live(Side::A)[0].id;
        let id = pair.see(side).pairs()[0].id;
        pair.command(side, Command::DeleteChild(id));
        pair.run_secs(20);
        pair.assert_one_pair();
        assert_eq!(pair.live(Side::A)[0].id, ike);
    }
}

#[test]
fn shutdown_tells_the_peer_and_ends() {
    let mut pair = Pair::established();
    pair.watch = false;
    pair.command(Side::B, Command::Shutdown);
    pair.run(Duration::from_millis(100));
    assert!(pair.b.idle, "{:#?}", pair.b.log);
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
    // A peer that is gone does not hold it up, and nobody is let in any more.
    let mut pair = Pair::established();
    pair.watch = false;
    pair.filter = Some(Box::new(|_, _| true));
    pair.command(Side::A, Command::Shutdown);
    pair.run_secs(4);
    assert!(pair.a.idle && pair.a.pairs().is_empty());
    pair.filter = None;
    pair.initiate(Side::B);
    pair.run_secs(30);
    assert!(pair.live(Side::A).is_empty());
}

// Nothing to do at all
#[test]
fn shutdown_of_nothing_is_idle_at_once() {
    let mut pair = Pair::empty(72);
    pair.command(Side::A, Command::Shutdown);
    assert!(pair.a.idle);
}

#[test]
fn an_unchanged_configuration_changes_nothing() {
    let mut pair = Pair::established();
    let sent = pair.sent.len();
    pair.command(Side::A, Command::Configure(Box::new(Pair::connection(Side::A))));
    // Lifetimes count from the next rekey on.
    let mut c = Pair::connection(Side::A);
    c.children[0].lifetime = Duration::from_secs(77);
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(10);
    assert_eq!(pair.sent.len(), sent);
    pair.assert_one_pair();
}

#[test]
fn a_changed_secret_begins_anew_and_a_changed_child_only_changes_the_child() {
    let mut pair = Pair::established();
    pair.watch = false;
    let ike = pair.live(Side::A)[0].id;
    for side in [Side::B, Side::A] {
        let mut c = Pair::connection(side);
        c.children[0].proposals = vec![EspProposal { encryption: Some(Encryption::AesGcm16_256), ..ESP }];
        pair.command(side, Command::Configure(Box::new(c)));
    }
    pair.run_secs(30);
    pair.assert_one_pair();
    assert_eq!(pair.live(Side::A)[0].id, ike);
    assert_eq!(pair.a.pairs()[0].proposal.encryption, Some(Encryption::AesGcm16_256));
    for side in [Side::B, Side::A] {
        let mut c = Pair::connection(side);
        psk(&mut c, b"new secret");
        pair.command(side, Command::Configure(Box::new(c)));
    }
    pair.run_secs(30);
    pair.assert_one_pair();
    assert_ne!(pair.live(Side::A)[0].id, ike);
}

fn reloaded(side: Side) -> Box<Connection> {
    let mut c = Pair::connection(side);
    c.children[0].selectors = vec![match side {
        Side::A => selector("10.1.0.0/25", "10.2.0.0/24"),
        Side::B => selector("10.2.0.0/25", "10.1.0.0/24"),
    }];
    Box::new(c)
}

// A reload between the peer's request and the data plane's word: the peer gets its answer, then the Delete.
#[test]
fn a_reload_while_a_pair_is_being_installed_leaves_no_question_open() {
    let mut pair = Pair::new();
    pair.run(LATENCY * 3 + INSTALL / 2);
    assert_eq!(pair.b.events.iter().filter(|e| matches!(e, Event::Install { .. })).count(), 1);
    assert!(pair.b.pairs().is_empty(), "not in force yet");
    pair.command(Side::B, Command::Configure(reloaded(Side::B)));
    pair.run_secs(20);
    assert_eq!(pair.a.count(Counter::Retransmits), 0);
    assert_eq!(pair.b.pairs()[0].selectors, reloaded(Side::B).children[0].selectors);
    pair.assert_one_pair();
}

// A reload while our own request is out: what comes of it is not taken by the old configuration.
#[test]
fn a_reload_while_a_child_is_negotiated_counts() {
    let mut pair = Pair::new();
    pair.run(LATENCY * 5 / 2);
    assert_eq!(pair.live(Side::A)[0].state, "IKE_AUTH sent");
    pair.command(Side::A, Command::Configure(reloaded(Side::A)));
    pair.run_secs(20);
    assert_eq!(pair.a.pairs()[0].selectors, reloaded(Side::A).children[0].selectors);
    pair.assert_one_pair();
}

// Two connections between the same identities: told apart by their traffic, and neither ends the other.
#[test]
fn two_connections_with_the_same_identities() {
    let second = |side: Side| {
        let mut c = Pair::connection(side);
        let nets = ["10.11.0.0/24", "10.12.0.0/24"];
        let (local, remote) = if side == Side::A { (nets[0], nets[1]) } else { (nets[1], nets[0]) };
        c.id = ConnectionId(2);
        c.children = vec![Child { id: ChildId(8), ..child(local, remote) }];
        Command::Configure(Box::new(c))
    };
    let mut pair = Pair::new();
    pair.run_secs(1);
    pair.command(Side::B, second(Side::B));
    pair.command(Side::A, second(Side::A));
    pair.run_secs(60);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (2, 2), "{:#?}", pair.b.log);
    assert_eq!((pair.live(Side::A).len(), pair.live(Side::B).len()), (2, 2));
    assert_eq!(pair.b.count(Counter::InitialContact), 0);
    pair.assert_same_tables();
}

#[test]
fn a_removed_connection_is_gone_at_both_ends() {
    let mut pair = Pair::established();
    pair.watch = false;
    pair.command(Side::A, Command::Remove(CONNECTION));
    pair.run_secs(1);
    pair.assert_nothing();
    assert!(pair.a.ep.snapshot(pair.now).connections.is_empty());
    pair.initiate(Side::B);
    // A refusal that is not authentic is believed after two more tries.
    pair.run_secs(8);
    pair.assert_nothing();
    assert!(pair.a.count(Counter::NoConnection) >= 1);
}

// As when the data plane restarts: the engine is told of everything anew.
#[test]
fn what_was_taken_down_stays_down_though_it_is_configured_again() {
    let mut pair = Pair::with(75, |_, _| {});
    pair.run_secs(1);
    pair.command(Side::A, Command::Remove(CONNECTION));
    pair.run_secs(5);
    pair.command(Side::A, Command::Terminate { connection: CONNECTION });
    pair.command(Side::A, Command::Configure(Box::new(Pair::connection(Side::A))));
    let before = pair.now;
    pair.run_secs(120);
    assert!(pair.sent_by(Side::A, before).is_empty(), "it asked for a tunnel");
    pair.initiate(Side::A);
    pair.run_secs(1);
    pair.assert_works();
}

// R131: a peer from any address, known by its identity
#[test]
fn a_responder_takes_a_peer_from_any_address() {
    let mut pair = Pair::with(73, |side, c| {
        if side == Side::B {
            (c.local, c.remote) = (None, None);
        }
    });
    pair.run_secs(1);
    pair.assert_one_pair();
    // It cannot begin by itself, and says so.
    pair.command(Side::A, Command::Terminate { connection: CONNECTION });
    pair.run_secs(1);
    pair.initiate(Side::B);
    assert!(pair.b.events.iter().any(|e| matches!(e, Event::Failed { .. })));
}

#[test]
fn the_hard_lifetime_ends_a_pair_that_cannot_be_rekeyed() {
    let mut pair = Pair::with(74, |_, c| {
        c.children[0].lifetime = Duration::from_secs(50);
        c.children[0].hard_lifetime = Duration::from_secs(80);
    });
    pair.run_secs(1);
    // From now on no CREATE_CHILD_SA gets through.
    pair.filter = Some(Box::new(|_, bytes| bytes[18] == 36));
    pair.run_secs(90);
    let expired = pair.a.events.iter().any(|e| matches!(e, Event::Remove { .. }));
    assert!(expired && pair.a.pairs().is_empty());
    pair.filter = None;
    pair.run_secs(300);
    pair.assert_one_pair();
}
