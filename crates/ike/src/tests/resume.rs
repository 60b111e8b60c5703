//! Session resumption (RFC 5723), in both roles: what is lost comes back by a ticket, what was ended does not, and no
//! ticket is good for what has changed.

use super::certificates::{lab, own, trust};
use super::pair::*;
use crate::cert::Family;
use crate::command::Command;
use crate::config::*;
use crate::counters::Counter;
use crate::header::{Exchange, Header};
use crate::message;
use crate::payload::{self, Notify, Payload, notify};
use core::time::Duration;
use rand_core::Rng;
use std::sync::Arc;

const B: &str = "198.18.0.2";

fn on(c: &mut Connection) {
    c.exchanges.resumption = true;
    c.dpd_delay = Duration::from_secs(20);
}

fn resuming(seed: u64, change: impl Fn(Side, &mut Connection)) -> Pair {
    let mut pair = Pair::with(seed, |side, c| {
        on(c);
        change(side, c);
    });
    pair.run_secs(2);
    pair.assert_one_pair();
    pair
}

/// Nothing passes for a time; both sides have given up after 75 seconds.
fn outage(pair: &mut Pair, secs: u64) {
    pair.dead.insert(B.parse().unwrap());
    pair.run_secs(secs);
    pair.dead.clear();
}

fn first_requests(pair: &Pair, exchange: Exchange) -> Vec<Vec<u8>> {
    let is = |b: &[u8]| Header::parse(b).is_ok_and(|(h, _)| h.exchange == exchange && !h.response);
    pair.sent
        .iter()
        .filter(|(_, side, t)| *side == Side::A && is(&t.bytes))
        .map(|s| s.2.bytes.clone())
        .collect()
}

fn resumed(pair: &Pair) -> [u64; 2] {
    [pair.a.count(Counter::Resumed), pair.b.count(Counter::Resumed)]
}

fn refused(pair: &Pair) -> [u64; 4] {
    use Counter::{TicketExpired, TicketOutdated, TicketSpent, TicketUnreadable};
    [TicketUnreadable, TicketExpired, TicketSpent, TicketOutdated].map(|c| pair.b.count(c))
}

// RFC 5723 §4.1, §4.3, §5.1
#[test]
fn what_was_lost_is_resumed_without_key_exchange_and_proof() {
    let mut pair = resuming(1, |_, _| {});
    let before = pair.live(Side::A)[0].initiator_spi;
    assert!(pair.live(Side::A)[0].ticket_for.is_some() && pair.live(Side::B)[0].ticket_for.is_some());
    for round in 1..=3 {
        outage(&mut pair, 75);
        pair.run_secs(50);
        pair.assert_one_pair();
        assert_eq!(resumed(&pair), [round; 2]);
        assert_eq!(pair.b.count(Counter::TicketsGiven), round + 1, "each IKE SA has a ticket of its own");
    }
    assert_ne!(pair.live(Side::A)[0].initiator_spi, before);
    assert!(pair.live(Side::A)[0].resumed && pair.live(Side::B)[0].resumed);
    assert_eq!(first_requests(&pair, Exchange::IkeSaInit).len(), 1);
    // It can do what others can, and a rekey brings fresh keys.
    pair.watch = true;
    pair.rekey_child(Side::B);
    pair.run_secs(10);
    for side in [Side::A, Side::B] {
        pair.rekey_ike(side);
        pair.run_secs(10);
        pair.assert_one_pair();
        assert!(!pair.live(Side::A)[0].resumed);
        assert!(pair.live(Side::A)[0].ticket_for.is_some(), "asked for anew");
    }
    pair.watch = false;
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([4; 2], [0; 4]));
}

#[test]
fn a_long_outage_leaves_the_ticket_as_it_is() {
    let mut pair = resuming(2, |_, _| {});
    outage(&mut pair, 300);
    pair.run_secs(60);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([1; 2], [0; 4]));
    let asked = first_requests(&pair, Exchange::IkeSessionResume);
    let same = |other: &Vec<u8>| *other == asked[0];
    assert!(asked.len() > 6 && asked.iter().all(same), "one request, however often it is sent");
    assert!(first_requests(&pair, Exchange::IkeSaInit).len() > 1, "a whole exchange in between");
}

#[test]
fn who_knows_no_tickets_is_asked_for_none_and_gets_none() {
    for (a, b) in [(true, false), (false, true), (false, false)] {
        let mut pair = resuming(3, |side, c| c.exchanges.resumption = if side == Side::A { a } else { b });
        outage(&mut pair, 75);
        pair.run_secs(50);
        pair.assert_one_pair();
        assert_eq!((resumed(&pair), pair.b.count(Counter::TicketsGiven)), ([0; 2], 0));
        assert!(first_requests(&pair, Exchange::IkeSessionResume).is_empty());
    }
}

// RFC 5723 §4.3.2: a refused ticket leads to a whole exchange, at once
#[test]
fn a_gateway_that_is_new_or_takes_none_any_more_is_met_by_a_whole_exchange() {
    let mut pair = resuming(4, |_, _| {});
    pair.restart(Side::B, 9);
    let mut c = Pair::connection(Side::B);
    on(&mut c);
    pair.command(Side::B, Command::Configure(Box::new(c)));
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([0; 2], [1, 0, 0, 0]));
    assert_eq!(pair.a.count(Counter::ResumptionRefused), 1);

    let mut pair = resuming(5, |_, _| {});
    let mut c = Pair::connection(Side::B);
    on(&mut c);
    c.exchanges.resumption = false;
    pair.command(Side::B, Command::Configure(Box::new(c)));
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([0; 2], [0, 0, 0, 1]));
}

// What somebody ended is not resumed, though its word got lost.
#[test]
fn what_was_ended_is_not_resumed() {
    let mut pair = resuming(6, |_, _| {});
    pair.dead.insert(B.parse().unwrap());
    pair.command(Side::B, Command::Terminate { connection: CONNECTION });
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([0; 2], [0, 0, 1, 0]));
    // And with its word the peer does not even try.
    for side in [Side::A, Side::B] {
        let asked = first_requests(&pair, Exchange::IkeSessionResume).len();
        pair.command(side, Command::Terminate { connection: CONNECTION });
        pair.run_secs(40);
        pair.initiate(Side::A);
        pair.run_secs(10);
        pair.assert_one_pair();
        assert_eq!(first_requests(&pair, Exchange::IkeSessionResume).len(), asked);
    }
}

// Nor where silence had ended it already when somebody took the connection down, at either end.
#[test]
fn what_is_taken_down_after_it_was_lost_is_not_resumed() {
    let mut pair = resuming(17, |_, _| {});
    pair.dead.insert(B.parse().unwrap());
    pair.run_secs(72);
    assert!(pair.live(Side::B).is_empty(), "lost");
    pair.command(Side::B, Command::Terminate { connection: CONNECTION });
    outage(&mut pair, 1);
    pair.run_secs(60);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([0; 2], [0, 0, 1, 0]));

    let mut pair = resuming(18, |_, _| {});
    outage(&mut pair, 68);
    pair.dead.insert(B.parse().unwrap());
    assert!(pair.live(Side::A).iter().all(|i| i.state != "established"), "lost");
    let asked = first_requests(&pair, Exchange::IkeSessionResume).len();
    pair.command(Side::A, Command::Terminate { connection: CONNECTION });
    pair.dead.clear();
    pair.initiate(Side::A);
    pair.run_secs(10);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), first_requests(&pair, Exchange::IkeSessionResume).len()), ([0; 2], asked));
}

// One peer cannot fill the list of spent tickets by asking, rekeying and resuming in turns.
#[test]
fn a_peer_has_a_budget_of_tickets_across_rekeys_and_resumed_ike_sas() {
    let mut pair = resuming(19, |_, _| {});
    for _ in 0..5 {
        pair.rekey_ike(Side::A);
        pair.run_secs(10);
    }
    outage(&mut pair, 75);
    pair.run_secs(50);
    assert_eq!((resumed(&pair), pair.b.count(Counter::TicketsGiven)), ([1; 2], 7));
    for _ in 0..5 {
        pair.rekey_ike(Side::B);
        pair.run_secs(10);
    }
    assert_eq!(pair.b.count(Counter::TicketsGiven), 8, "its share of this hour");
    pair.assert_one_pair();
    // Without one a lost IKE SA is made anew, and the next hour has tickets again.
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), pair.b.count(Counter::TicketsGiven)), ([1; 2], 9), "it proved itself anew");
}

#[test]
fn changed_credentials_are_not_gone_round() {
    let mut pair = resuming(7, |_, _| {});
    pair.dead.insert(B.parse().unwrap());
    pair.run_secs(70);
    let mut c = Pair::connection(Side::B);
    on(&mut c);
    psk(&mut c, b"another secret");
    pair.command(Side::B, Command::Configure(Box::new(c)));
    outage(&mut pair, 5);
    pair.run_secs(20);
    assert!(pair.a.pairs().is_empty() && pair.b.pairs().is_empty());
    // What is changed is taken down for it.
    assert_eq!((resumed(&pair), refused(&pair)), ([0; 2], [0, 0, 1, 0]));
    assert!(pair.b.count(Counter::AuthFailed) > 0, "the whole exchange asks for the secret of now");
}

// RFC 5723 §5: when both sides have to prove themselves is not put off
#[test]
fn the_time_of_the_next_proof_is_carried_over() {
    let mut pair = resuming(8, |_, c| c.exchanges.reauthentication = Duration::from_secs(600));
    assert!(pair.live(Side::A)[0].ticket_for.unwrap() <= Duration::from_secs(600));
    outage(&mut pair, 75);
    pair.run_secs(100);
    assert_eq!(resumed(&pair), [1; 2]);
    assert_eq!(first_requests(&pair, Exchange::IkeSaInit).len(), 1);
    pair.run_secs(430);
    pair.assert_one_pair();
    assert_eq!(first_requests(&pair, Exchange::IkeSaInit).len(), 2, "both prove themselves anew");
}

#[test]
fn cookies_are_asked_for_here_too() {
    let mut pair = resuming(9, |_, _| {});
    pair.b.ep.limits().cookie_threshold = 0;
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!(resumed(&pair), [1; 2]);
    assert_eq!((pair.b.count(Counter::CookiesSent), pair.b.count(Counter::CookiesAccepted)), (1, 1));
}

fn with_ticket(spi: u64, ticket: Option<&[u8]>) -> Vec<u8> {
    let header = Header {
        initiator_spi: spi,
        responder_spi: 0,
        next_payload: 0,
        version: crate::header::VERSION,
        exchange: Exchange::IkeSessionResume,
        from_initiator: true,
        response: false,
        message_id: 0,
    };
    let ticket = ticket.map(|t| Payload::Notify(Notify::with_data(notify::TICKET_OPAQUE, t.to_vec())));
    let payloads: Vec<Payload> =
        core::iter::once(Payload::Nonce(vec![spi as u8; 32])).chain(ticket).collect();
    message::plain(header, &payloads)
}

fn ticket_of(request: &[u8]) -> Vec<u8> {
    let (header, body) = Header::parse(request).unwrap();
    let payloads = payload::parse_chain(header.next_payload, body).unwrap();
    message::View(&payloads).notify(notify::TICKET_OPAQUE).unwrap().data.clone()
}

/// What B answers to a stranger.
fn answer(pair: &mut Pair, request: &[u8]) -> Option<u16> {
    let before = pair.sent.len();
    let (local, from) = ("198.18.0.2:500".parse().unwrap(), "198.18.0.1:500".parse().unwrap());
    pair.inject(Side::B, local, from, request);
    let reply = pair.sent.get(before)?.2.bytes.clone();
    let (header, body) = Header::parse(&reply).unwrap();
    match payload::parse_chain(header.next_payload, body).unwrap().first()? {
        Payload::Notify(n) => Some(n.kind),
        _ => None,
    }
}

// A hostile peer: altered, foreign, expired, used tickets
#[test]
fn tickets_that_are_no_good_get_no_state() {
    let mut pair = resuming(10, |_, _| {});
    outage(&mut pair, 75);
    pair.run_secs(50);
    assert_eq!(resumed(&pair), [1; 2]);
    let used = ticket_of(&first_requests(&pair, Exchange::IkeSessionResume)[0]);
    pair.filter = Some(Box::new(|side, _| side == Side::B));
    assert_eq!(answer(&mut pair, &with_ticket(77, Some(&used))), Some(notify::TICKET_NACK));
    for at in 0..used.len() {
        let mut altered = used.clone();
        altered[at] ^= 0x40;
        let reply = answer(&mut pair, &with_ticket(100 + at as u64, Some(&altered)));
        assert_eq!(reply, Some(notify::TICKET_NACK));
    }
    let count = used.len() as u64;
    assert_eq!(refused(&pair), [count, 0, 1, 0]);
    assert_eq!(answer(&mut pair, &with_ticket(78, None)), None, "no ticket, no answer");
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 0);
    assert_eq!(pair.live(Side::B).len(), 1);
    pair.filter = None;
    pair.run_secs(3600);
    pair.filter = Some(Box::new(|side, _| side == Side::B));
    assert_eq!(answer(&mut pair, &with_ticket(79, Some(&used))), Some(notify::TICKET_NACK));
    assert_eq!(refused(&pair)[1], 1, "expired by now");
}

/// Whoever copied a ticket from the wire cannot use it, nor keep its owner from it.
#[test]
fn a_copied_ticket_is_of_no_use() {
    let mut pair = resuming(11, |_, _| {});
    pair.dead.insert(B.parse().unwrap());
    pair.run_secs(73);
    let copied = ticket_of(&first_requests(&pair, Exchange::IkeSessionResume)[0]);
    assert_eq!(answer(&mut pair, &with_ticket(77, Some(&copied))), None, "an answer with a nonce");
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 1);
    pair.dead.clear();
    pair.run_secs(60);
    pair.assert_one_pair();
    assert_eq!(resumed(&pair), [1; 2]);
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 0, "it never went on");
}

// The keys outlive the process, and so do the tickets of IKE SAs that do.
#[test]
fn a_gateway_that_was_killed_takes_the_tickets_of_what_went_on() {
    for lost in [false, true] {
        let mut pair = resuming(12, |_, _| {});
        if lost {
            pair.b.records.retain(|name, _| *name == 0);
        }
        let mut c = Pair::connection(Side::B);
        on(&mut c);
        let taken = pair.crash_into(Side::B, 3, vec![c]);
        assert_eq!((taken.ike_sas, taken.refused.len()), (usize::from(!lost), 0));
        assert!(pair.b.records.contains_key(&0), "the keys are stored again");
        outage(&mut pair, 75);
        pair.run_secs(50);
        pair.assert_one_pair();
        let (want, no) = if lost { (0, 1) } else { (1, 0) };
        assert_eq!((resumed(&pair), refused(&pair)), ([want; 2], [0, 0, no, 0]));
    }
}

#[test]
fn an_initiator_that_was_killed_asks_for_another_ticket() {
    let mut pair = resuming(13, |_, _| {});
    let mut c = Pair::connection(Side::A);
    on(&mut c);
    assert_eq!(pair.crash_into(Side::A, 3, vec![c]).ike_sas, 1);
    pair.run_secs(10);
    assert_eq!(pair.b.count(Counter::TicketsGiven), 2);
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!(resumed(&pair), [1; 2]);
}

// Certificates, and users that logged in by EAP: who they are goes on. Where revocation is asked about, nothing is resumed.
#[test]
fn identities_of_every_kind_go_on() {
    let lab = lab(Family::P256);
    let certificates = |side: Side, c: &mut Connection, crl: When| {
        let made = if side == Side::A { &lab.a } else { &lab.b };
        c.local_auth = LocalAuth::Key(Arc::new(own(made, &[])));
        c.remote_auth = trust(&[&lab.root]);
        if let RemoteAuth::Certificate(trust) = &mut c.remote_auth {
            Arc::make_mut(trust).revocation.crl = crl;
        }
    };
    for (crl, want) in [(When::Never, 1), (When::IfAvailable, 0)] {
        let mut pair = Pair::with(14, |side, c| {
            on(c);
            certificates(side, c, crl);
        });
        pair.run_secs(40);
        pair.assert_one_pair();
        outage(&mut pair, 75);
        pair.run_secs(60);
        pair.assert_one_pair();
        assert_eq!(resumed(&pair), [want; 2]);
    }
    let mut pair = resuming(15, super::logins::carol);
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!(resumed(&pair), [1; 2]);
    assert_eq!(pair.live(Side::B)[0].remote_id, "carol");
    // And by the ticket of a rekeyed IKE SA.
    pair.rekey_ike(Side::B);
    pair.run_secs(10);
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([2; 2], [0; 4]));
}

// R131: one connection for peers anywhere; each one's address is its own again
#[test]
fn a_peer_of_any_address_is_resumed_as_itself() {
    let mut pair = Pair::empty(16);
    let mut any = super::any_connection();
    on(&mut any);
    let addresses = vec!["10.3.0.0/24".parse::<ravelin_wire::Prefix>().unwrap().into()];
    any.pool = Some(Pool { addresses, dns: Vec::new() });
    any.children[0].selectors = vec![selector("10.2.0.0/24", "10.3.0.0/24")];
    pair.command(Side::B, Command::Configure(Box::new(any)));
    let mut c = Pair::connection(Side::A);
    on(&mut c);
    c.exchanges.addresses = vec!["0.0.0.0".parse().unwrap()];
    c.children[0].selectors = vec![selector("10.3.0.0/24", "10.2.0.0/24")];
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(2);
    pair.assert_one_pair();
    let before = pair.b.pairs()[0].selectors.clone();
    outage(&mut pair, 75);
    pair.run_secs(50);
    pair.assert_one_pair();
    assert_eq!((resumed(&pair), refused(&pair)), ([1; 2], [0; 4]));
    assert_eq!(pair.b.pairs()[0].selectors, before);
}

// Loss, repetition, reordering, and outages in between: one working pair is left, whoever begins.
#[test]
fn seeds_with_outages() {
    let mut all = 0;
    for seed in 5000..5050 {
        let both = seed % 2 == 0;
        let mut pair = Pair::with(seed, |side, c| {
            on(c);
            if both || side == Side::A {
                c.start = Start::Immediately;
            }
        });
        pair.faults = Faults { loss: 5 + seed % 20, repeat: seed % 15, reorder: seed % 25 };
        pair.run_secs(30);
        for _ in 0..3 {
            let (secs, side) = (70 + pair.rng.next_u64() % 60, pair.rng.next_u64() % 3);
            outage(&mut pair, secs);
            let pause = Duration::from_millis(20_000 + pair.rng.next_u64() % 40_000);
            pair.run(pause);
            match side {
                0 => pair.rekey_ike(Side::A),
                1 => pair.rekey_ike(Side::B),
                _ => {}
            }
        }
        pair.faults = Faults::default();
        pair.run_secs(300);
        pair.assert_one_pair();
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.count(Counter::BadIntegrity), 0, "seed {seed}");
            assert_eq!(node.count(Counter::MalformedAuthentic), 0, "seed {seed}");
        }
        all += resumed(&pair).iter().sum::<u64>();
    }
    assert!(all > 100, "resumed {all} times");
}
