//! Single rules that a review found broken once.

use super::pair::*;
use crate::command::Command;
use crate::config::{ChildId, ConnectionId, Start};
use crate::counters::Counter;
use crate::event::Event;
use crate::header::Header;
use crate::payload::{Notify, notify};
use crate::task::ike_init::{Answer, stateless};
use core::net::SocketAddr;
use core::time::Duration;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

// RFC 7296 §2.21.1: an error notify in IKE_SA_INIT is not authentic, and must not end the attempt.
#[test]
fn a_forged_refusal_does_not_end_the_attempt() {
    let mut pair = Pair::with(1, |_, _| {});
    // A's first request is on its way; somebody who saw it answers before B does.
    let (_, first) = pair.sent_by(Side::A, pair.now).pop_front().expect("IKE_SA_INIT");
    let (header, _) = Header::parse(&first.bytes).unwrap();
    for kind in [notify::NO_PROPOSAL_CHOSEN, notify::INVALID_SYNTAX, notify::AUTHENTICATION_FAILED] {
        let Answer::Stateless(forged) = stateless(&header, Notify::new(kind)) else { panic!("one answer") };
        pair.inject(Side::A, addr("198.18.0.1:500"), addr("198.18.0.2:500"), &forged);
    }
    pair.run_secs(1);
    pair.assert_one_pair();
    assert_eq!(pair.a.count(Counter::NoProposal), 1);
}

// RFC 7296 §2.11: the answer goes to where the request came from, also the second time.
#[test]
fn a_repeated_request_is_answered_to_where_it_came_from() {
    let mut pair = Pair::established();
    pair.watch = false;
    let since = pair.now;
    pair.rekey_child(Side::A);
    pair.run_secs(1);
    let (_, request) = pair.sent_by(Side::A, since).pop_back().expect("a request");
    let before = pair.now;
    // A NAT gave it another port meanwhile.
    pair.inject(Side::B, addr("198.18.0.2:500"), addr("198.18.0.1:1024"), &request.bytes);
    let sent = pair.sent_by(Side::B, before);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1.remote, addr("198.18.0.1:1024"));
    assert_eq!(pair.b.count(Counter::RepliesRepeated), 1);
}

// A second IKE SA with a peer takes over from the first one: nothing goes before the new children are in force.
#[test]
fn a_newer_ike_sa_takes_over_without_a_gap() {
    let mut pair = Pair::established();
    pair.watch = false;
    pair.run_secs(60);
    let mut second = Pair::connection(Side::B);
    second.id = ConnectionId(2);
    second.children[0].id = ChildId(8);
    second.start = Start::Immediately;
    let count = pair.a.events.len();
    pair.command(Side::B, Command::Configure(Box::new(second)));
    pair.run_secs(30);
    let events = &pair.a.events[count..];
    assert!(!events.iter().any(|e| matches!(e, Event::ChildDown { .. })), "{:#?}", pair.a.log);
    let at = |is: fn(&Event) -> bool| events.iter().position(is).expect("it happened");
    let (used, removed) =
        (at(|e| matches!(e, Event::UseOutbound { .. })), at(|e| matches!(e, Event::Remove { .. })));
    assert!(used < removed, "{:#?}", pair.a.log);
    assert_eq!(pair.live(Side::A).len(), 1, "the older one is gone");
}

// RFC 7296 §2.4: of several connections between the same identities only one may say that it is the only one.
#[test]
fn of_connections_that_begin_at_once_one_claims_initial_contact() {
    let mut pair = Pair::empty(3);
    for n in 0..4u32 {
        let mut peer = Pair::connection(Side::B);
        let mut ours = Pair::connection(Side::A);
        for c in [&mut peer, &mut ours] {
            c.id = ConnectionId(n + 1);
            c.children[0].id = ChildId(n + 1);
        }
        ours.children[0].selectors = vec![selector("10.1.0.0/24", &format!("10.2.{n}.0/24"))];
        peer.children[0].selectors = vec![selector(&format!("10.2.{n}.0/24"), "10.1.0.0/24")];
        pair.command(Side::B, Command::Configure(Box::new(peer)));
        pair.command(Side::A, Command::Configure(Box::new(ours)));
    }
    pair.run_secs(10);
    assert_eq!(pair.a.pairs().len(), 4);
    assert_eq!(pair.a.count(Counter::InitialContactSent), 1);
}

// What is to be up immediately is never given up, whatever stood in its way.
#[test]
fn at_the_limit_of_ike_sas_an_attempt_is_planned_again() {
    let mut pair = Pair::empty(4);
    pair.a.ep.limits().ike_sas = 0;
    pair.command(Side::B, Command::Configure(Box::new(Pair::connection(Side::B))));
    pair.command(Side::A, Command::Configure(Box::new(Pair::connection(Side::A))));
    pair.run(Duration::from_millis(100));
    let planned = |e: &Event| matches!(e, Event::Failed { why, retry: Some(_), .. } if why.contains("limit"));
    assert!(pair.a.events.iter().any(planned), "{:#?}", pair.a.log);
    pair.a.ep.limits().ike_sas = 10;
    pair.run_secs(10);
    pair.assert_one_pair();
}
