//! Sent to another gateway (RFC 5685): by an answer to IKE_SA_INIT or IKE_AUTH, or later.

use super::pair::*;
use crate::command::Command;
use crate::config::{ChildId, Connection, ConnectionId, Pool, RedirectAt, RedirectTo, Start};
use crate::counters::Counter;
use crate::event::Event;
use crate::header::{Exchange, Header};
use crate::message::{self, View};
use crate::payload::{self, Notify, Payload, notify};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use rand_core::SeedableRng;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, last])
}

/// A knows the gateway .2 alone; B answers as .2 and as .3, both with the same identity.
fn net(follow: bool) -> Pair {
    let mut pair = Pair::empty(600);
    pair.aliases = vec![ip(3)];
    for n in [2, 3] {
        let mut c = Pair::connection(Side::B);
        (c.id, c.local) = (ConnectionId(n.into()), Some(ip(n)));
        c.children[0].id = ChildId(n.into());
        pair.command(Side::B, Command::Configure(Box::new(c)));
    }
    let mut c = Pair::connection(Side::A);
    c.dpd_delay = Duration::from_secs(20);
    c.exchanges.redirect = follow;
    c.start = Start::OnTraffic;
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair
}

fn redirect(to: u8, nonce: &[u8]) -> Payload {
    let data = [&[1, 4, 198, 18, 0, to], nonce].concat();
    Payload::Notify(Notify::with_data(notify::REDIRECT, data))
}

fn up_with(pair: &Pair) -> Vec<IpAddr> {
    pair.live(Side::A).iter().filter(|i| i.state == "established").map(|i| i.remote.ip()).collect()
}

fn at(last: u8) -> SocketAddr {
    (ip(last), 500).into()
}

/// The last IKE_SA_INIT of A: its header and its nonce.
fn asked(pair: &Pair) -> (Header, Vec<u8>) {
    let first = |(_, s, t): &&(_, Side, crate::endpoint::Transmit)| *s == Side::A && t.bytes[18] == 34;
    let bytes = &pair.sent.iter().rfind(first).unwrap().2.bytes;
    let (header, body) = Header::parse(bytes).unwrap();
    let payloads = payload::parse_chain(header.next_payload, body).unwrap();
    (header, View(&payloads).nonce().unwrap().to_vec())
}

/// The gateway `from` answers IKE_SA_INIT with a redirect.
fn answer(pair: &mut Pair, from: u8, to: u8, honest: bool) {
    let (header, mut nonce) = asked(pair);
    nonce[0] ^= u8::from(!honest);
    let reply = Header { responder_spi: 0, from_initiator: false, response: true, ..header };
    let bytes = message::plain(reply, &[redirect(to, &nonce)]);
    pair.inject(Side::A, at(1), at(from), &bytes);
}

fn begin(pair: &mut Pair) {
    pair.initiate(Side::A);
    pair.run(Duration::from_millis(1));
}

#[test]
fn an_answer_to_ike_sa_init_names_another_gateway() {
    let mut pair = net(true);
    pair.dead.insert(ip(2));
    begin(&mut pair);
    answer(&mut pair, 2, 3, false);
    assert_eq!(pair.a.count(Counter::RedirectsIgnored), 1, "whoever sent it has not seen our request");
    answer(&mut pair, 2, 3, true);
    pair.run_secs(2);
    assert_eq!((up_with(&pair), pair.a.count(Counter::Redirected)), (vec![ip(3)], 1));
    let (_, s, t) = pair.sent.iter().find(|(_, _, t)| t.remote == at(3)).unwrap();
    let (header, body) = Header::parse(&t.bytes).unwrap();
    let payloads = payload::parse_chain(header.next_payload, body).unwrap();
    let from = View(&payloads).notify(notify::REDIRECTED_FROM).map(|n| n.data.clone());
    assert_eq!((*s, from), (Side::A, Some(vec![1, 4, 198, 18, 0, 2])));
}

#[test]
fn where_it_is_not_allowed_nobody_is_sent_anywhere() {
    let mut pair = net(false);
    pair.dead.insert(ip(2));
    begin(&mut pair);
    answer(&mut pair, 2, 3, true);
    pair.run_secs(60);
    assert!(up_with(&pair).is_empty());
    assert!(pair.sent.iter().all(|(_, s, t)| *s == Side::B || t.remote.ip() == ip(2)));
}

#[test]
fn circles_come_to_an_end() {
    let mut pair = net(true);
    pair.dead = [ip(2), ip(3)].into();
    begin(&mut pair);
    for round in 0..20u8 {
        let here = 2 + round % 2;
        let before = pair.a.count(Counter::Redirected);
        if up_or_trying(&pair) {
            answer(&mut pair, here, 5 - here, true);
        }
        assert!(pair.a.count(Counter::Redirected) <= before + 1);
    }
    assert_eq!(pair.a.count(Counter::Redirected), 6, "five followed, the sixth ends it");
    let often = |e: &Event| matches!(e, Event::Failed { why, .. } if why.contains("too often"));
    assert_eq!(pair.a.events.iter().filter(|e| often(e)).count(), 1);
}

fn up_or_trying(pair: &Pair) -> bool {
    !pair.live(Side::A).is_empty()
}

/// Up with the gateway .2, and a request of it that names .3.
fn told_later() -> (Pair, Vec<u8>) {
    let mut pair = net(true);
    begin(&mut pair);
    pair.run_secs(2);
    assert_eq!(up_with(&pair), [ip(2)]);
    let (core, e) = pair.b.ep.first_established().unwrap();
    let header = core.header(Exchange::Informational, false, core.window.next_request_id());
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(5);
    let bytes = message::sealed(header, &[redirect(3, &[])], e.keys.sealing(core.role), &mut rng).unwrap();
    (pair, bytes)
}

#[test]
fn whoever_is_taken_down_or_ends_goes_nowhere() {
    for end in [Command::Terminate { connection: CONNECTION }, Command::Shutdown] {
        let (mut pair, bytes) = told_later();
        pair.filter = Some(Box::new(|_, _| true));
        pair.command(Side::A, end);
        pair.inject(Side::A, at(1), at(2), &bytes);
        pair.filter = None;
        pair.run_secs(60);
        assert!(pair.live(Side::A).is_empty());
        assert!(pair.sent.iter().all(|(_, _, t)| t.remote.ip() != ip(3)));
    }
}

// HDR, SK { N(REDIRECT) } on an established IKE SA: what is up stays up until the other gateway is
#[test]
fn later_too_and_without_a_gap() {
    let (mut pair, bytes) = told_later();
    pair.inject(Side::A, at(1), at(2), &bytes);
    pair.run_secs(1);
    assert!(up_with(&pair).contains(&ip(3)), "{:#?}", pair.a.log);
    pair.run_secs(20);
    assert_eq!(up_with(&pair), [ip(3)]);
    assert!(!pair.a.events.iter().any(|e| matches!(e, Event::ChildDown { .. })));
    assert_eq!(pair.a.pairs().len(), 1);
}

// The other gateway is nobody that the configuration knows: back to the first.
#[test]
fn a_gateway_that_is_not_the_peer_is_left_again() {
    let mut pair = net(true);
    pair.command(Side::B, Command::Remove(ConnectionId(3)));
    let mut other = Pair::connection(Side::B);
    (other.id, other.local) = (ConnectionId(3), Some(ip(3)));
    psk(&mut other, b"not the secret");
    pair.command(Side::B, Command::Configure(Box::new(other)));
    let mut c = Pair::connection(Side::A);
    c.exchanges.redirect = true;
    pair.dead.insert(ip(2));
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run(Duration::from_millis(1));
    answer(&mut pair, 2, 3, true);
    pair.run(Duration::from_millis(500));
    assert!(up_with(&pair).is_empty());
    pair.dead.clear();
    pair.run_secs(10);
    assert_eq!(up_with(&pair), [ip(2)]);
}

/// B answers as .2, which sends peers to .3, and as .3, which sends them back.
fn sent(seed: u64, at: RedirectAt, follow: bool, change: impl Fn(Side, u8, &mut Connection)) -> Pair {
    let mut pair = Pair::empty(seed);
    pair.aliases = vec![ip(3)];
    for n in [2, 3] {
        let mut c = Pair::connection(Side::B);
        (c.id, c.local) = (ConnectionId(n.into()), Some(ip(n)));
        c.children[0].id = ChildId(n.into());
        c.exchanges.redirect_to = Some(RedirectTo { gateway: ip(5 - n), at });
        change(Side::B, n, &mut c);
        pair.command(Side::B, Command::Configure(Box::new(c)));
    }
    let mut c = Pair::connection(Side::A);
    c.exchanges.redirect = follow;
    change(Side::A, 1, &mut c);
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(3);
    pair
}

// RFC 5685 §4 and §6, as the gateway: by both kinds of answer, and served in the end though both gateways send away
#[test]
fn a_peer_that_knows_redirects_is_sent_away_once() {
    for (seed, at) in [(610, RedirectAt::Init), (611, RedirectAt::Auth)] {
        let mut pair = sent(seed, at, true, |_, _, _| {});
        assert_eq!(up_with(&pair), [ip(3)], "{at:?} {:#?}", pair.a.log);
        assert_eq!(pair.b.count(Counter::RedirectsSent), 1);
        pair.run_secs(60);
        assert_eq!(
            (up_with(&pair), pair.live(Side::B).len()),
            (vec![ip(3)], 1),
            "nothing of the first is left"
        );
        pair.assert_same_tables();
        // One that does not know them is served where it comes.
        let pair = sent(seed + 10, at, false, |_, _, _| {});
        assert_eq!((up_with(&pair), pair.b.count(Counter::RedirectsSent)), (vec![ip(2)], 0));
    }
}

// Nobody learns of the other gateway before it has proven who it is.
#[test]
fn who_proves_nothing_is_told_nothing_by_ike_auth() {
    let pair = sent(630, RedirectAt::Auth, true, |side, _, c| {
        if side == Side::A {
            psk(c, b"not the secret");
        }
    });
    assert!(up_with(&pair).is_empty());
    assert_eq!((pair.b.count(Counter::RedirectsSent), pair.a.count(Counter::Redirected)), (0, 0));
}

// An IKE SA that goes on is not ended by a peer's redirect of another, and a pool gives nothing to who is sent away.
#[test]
fn who_is_sent_away_takes_no_address() {
    let pair = sent(631, RedirectAt::Auth, true, |side, n, c| match side {
        Side::A => {
            c.exchanges.addresses = vec!["0.0.0.0".parse().unwrap()];
            let any = ravelin_wire::AddrRange::ANY_V4;
            c.children[0].selectors =
                vec![ravelin_wire::Selector { local: any, ..c.children[0].selectors[0] }];
        }
        Side::B => {
            c.remote = None;
            c.pool = Some(Pool { addresses: vec![prefix("10.1.0.0/24").into()], dns: vec![] });
            c.children[0].selectors = vec![selector("10.2.0.0/24", "10.1.0.0/24")];
            c.exchanges.redirect_to = c.exchanges.redirect_to.filter(|_| n == 2);
        }
    });
    assert_eq!(up_with(&pair), [ip(3)]);
    let leased = pair.b.events.iter().filter(|e| matches!(e, Event::Leased { .. })).count();
    assert_eq!(leased, 1, "by the second gateway alone");
}
