//! Addresses that change under an IKE SA (RFC 4555): B follows A, and nobody who cannot prove to be A.

use super::hostile::seal_as_a;
use super::pair::*;
use crate::command::Command;
use crate::config::{Connection, Start};
use crate::counters::Counter;
use crate::event::Event;
use crate::header::{Exchange, Header};
use crate::payload::{Notify, Payload, notify};
use core::net::IpAddr;
use core::time::Duration;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, last])
}

fn mobile(side: Side) -> Connection {
    let mut c = Pair::connection(side);
    c.exchanges.mobike = true;
    c.dpd_delay = Duration::from_secs(20);
    c
}

fn net(seed: u64, sides: [bool; 2]) -> Pair {
    let mut pair = Pair::with(seed, |side, c| {
        c.dpd_delay = Duration::from_secs(20);
        c.exchanges.mobike = sides[usize::from(side == Side::B)];
    });
    pair.run_secs(2);
    pair.assert_one_pair();
    pair
}

/// The old address is gone, the new one is there.
fn move_a(pair: &mut Pair, last: u8) {
    pair.a.addr = ip(last);
    let mut c = mobile(Side::A);
    c.local = Some(ip(last));
    pair.command(Side::A, Command::Configure(Box::new(c)));
}

fn spis(pair: &Pair) -> (u64, u64, Vec<ravelin_wire::Spi>) {
    let sa = &pair.live(Side::A)[0];
    (sa.initiator_spi, sa.responder_spi, sa.children.iter().map(|c| c.inbound_spi).collect())
}

fn setups(pair: &Pair) -> usize {
    let first =
        |b: &[u8]| Header::parse(b).is_ok_and(|(h, _)| h.exchange == Exchange::IkeSaInit && !h.response);
    pair.sent.iter().filter(|(_, _, t)| first(&t.bytes)).count()
}

fn outer(pair: &Pair, side: Side) -> (IpAddr, IpAddr) {
    let sa = pair.see(side).pairs()[0];
    (sa.local.ip(), sa.remote.ip())
}

// A → B: HDR, SK { N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*) }   B → A: HDR, SK { N(NAT_DETECTION_*) }
// B → A: HDR, SK { N(COOKIE2) }                                    A → B: HDR, SK { N(COOKIE2) }
#[test]
fn an_ike_sa_and_its_children_move_and_nothing_is_made_anew() {
    let mut pair = net(700, [true, true]);
    let before = spis(&pair);
    assert!(
        pair.sent.iter().filter(|(_, s, _)| *s == Side::A).skip(1).all(|(_, _, t)| t.natt),
        "RFC 4555 §3.3"
    );
    assert!(!pair.a.pairs()[0].udp, "no NAT, no UDP");
    move_a(&mut pair, 9);
    pair.run_secs(1);
    assert_eq!(spis(&pair), before);
    assert_eq!((outer(&pair, Side::A), outer(&pair, Side::B)), ((ip(9), ip(2)), (ip(2), ip(9))));
    pair.assert_one_pair();
    assert_eq!((setups(&pair), pair.b.count(Counter::PeerMoved)), (1, 1));
    // All that follows goes by the new address, rekeys of both sides too; and once more, across a rekey.
    for side in [Side::A, Side::B, Side::A] {
        pair.rekey_ike(side);
        pair.run_secs(5);
        pair.rekey_child(side);
        pair.run_secs(5);
        move_a(&mut pair, if side == Side::A { 10 } else { 11 });
        pair.run_secs(5);
        pair.assert_one_pair();
        assert_eq!(outer(&pair, Side::B).1, pair.a.addr);
    }
    pair.run_secs(100);
    assert_eq!((setups(&pair), pair.a.count(Counter::PeerDead)), (1, 0));
}

#[test]
fn a_request_on_its_way_when_the_address_goes_is_sent_by_the_new_one() {
    for steps in 0..30 {
        let mut pair = net(701, [true, true]);
        pair.rekey_child(Side::A);
        pair.run(Duration::from_millis(steps));
        move_a(&mut pair, 9);
        pair.run_secs(60);
        pair.assert_one_pair();
        assert_eq!((setups(&pair), outer(&pair, Side::B).1), (1, ip(9)), "step {steps}");
    }
}

#[test]
fn a_nat_on_the_new_way_is_found() {
    let mut pair = net(702, [true, true]);
    pair.a.addr = "10.99.0.1".parse().unwrap();
    pair.nat = Some((ip(1), 20_000));
    let mut c = mobile(Side::A);
    c.local = Some(pair.a.addr);
    pair.command(Side::A, Command::Configure(Box::new(c)));
    pair.run_secs(3);
    pair.assert_one_pair();
    let ports =
        |side: Side| (pair.see(side).pairs()[0].local.port(), pair.see(side).pairs()[0].remote.port());
    assert_eq!((ports(Side::A), ports(Side::B)), ((4500, 4500), (4500, 24_500)), "ESP goes in UDP now");
    // And away again.
    pair.nat = None;
    move_a(&mut pair, 12);
    pair.run_secs(3);
    pair.assert_one_pair();
    assert_eq!((pair.a.pairs()[0].remote.port(), pair.b.pairs()[0].remote.port()), (0, 0));
    assert_eq!(setups(&pair), 1);
}

#[test]
fn without_it_on_both_sides_a_new_address_means_a_new_ike_sa() {
    for sides in [[true, false], [false, true]] {
        let mut pair = net(703, sides);
        pair.command(Side::B, Command::Remove(CONNECTION));
        pair.run_secs(1);
        let mut b = Pair::connection(Side::B);
        (b.remote, b.exchanges.mobike) = (None, sides[1]);
        pair.command(Side::B, Command::Configure(Box::new(b)));
        pair.run_secs(5);
        pair.assert_one_pair();
        let before = setups(&pair);
        pair.a.addr = ip(9);
        let mut c = Pair::connection(Side::A);
        (c.local, c.exchanges.mobike) = (Some(ip(9)), sides[0]);
        pair.command(Side::A, Command::Configure(Box::new(c)));
        pair.run_secs(60);
        assert!(setups(&pair) > before);
        assert_eq!(pair.a.pairs().len(), 1);
        assert!(pair.works(Side::A) && pair.works(Side::B));
    }
}

fn update() -> Vec<Payload> {
    vec![Payload::Notify(Notify::new(notify::UPDATE_SA_ADDRESSES))]
}

fn from_elsewhere(pair: &mut Pair, bytes: &[u8]) {
    let (local, remote) = ("198.18.0.2:4500".parse().unwrap(), "203.0.113.9:4500".parse().unwrap());
    pair.inject(Side::B, local, remote, bytes);
}

// §5.1: only whoever has the keys moves anything
#[test]
fn a_forged_a_repeated_or_an_unwanted_update_moves_nothing() {
    let mut pair = net(704, [true, true]);
    let mut forged = seal_as_a(&mut pair, Exchange::Informational, false, None, &update());
    let last = forged.len() - 1;
    forged[last] ^= 1;
    from_elsewhere(&mut pair, &forged);
    assert_eq!((pair.b.count(Counter::BadIntegrity), outer(&pair, Side::B).1), (1, ip(1)));
    // A true one that was seen on the wire and comes again from elsewhere: known, answered, and not acted on.
    move_a(&mut pair, 9);
    pair.run_secs(2);
    let last = |(_, s, t): &&(_, Side, crate::endpoint::Transmit)| {
        *s == Side::A && Header::parse(&t.bytes).is_ok_and(|(h, _)| !h.response)
    };
    let bytes = pair.sent.iter().rfind(last).unwrap().2.bytes.clone();
    from_elsewhere(&mut pair, &bytes);
    assert_eq!((pair.b.count(Counter::RepliesRepeated), outer(&pair, Side::B).1), (1, ip(9)));

    // One that did not agree to it does not follow, whatever the peer says under its keys.
    let mut pair = net(705, [true, false]);
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, None, &update());
    from_elsewhere(&mut pair, &bytes);
    assert_eq!(outer(&pair, Side::B).1, ip(1));

    // Nor does the side that leads: the initiator alone decides (§3.5).
    let mut pair = Pair::with(706, |side, c| {
        c.exchanges.mobike = true;
        c.start = if side == Side::B { Start::Immediately } else { Start::Respond };
    });
    pair.run_secs(2);
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, None, &update());
    from_elsewhere(&mut pair, &bytes);
    assert_eq!(outer(&pair, Side::B).1, ip(1));
}

// §3.7: whoever does not hear at the new address has not got it
#[test]
fn an_address_that_does_not_answer_is_given_up_and_a_wrong_cookie_ends_it_at_once() {
    let mut pair = net(707, [true, true]);
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, None, &update());
    from_elsewhere(&mut pair, &bytes);
    assert_eq!(outer(&pair, Side::B).1.to_string(), "203.0.113.9", "it was authentic");
    let probe = pair.sent.last().unwrap().clone();
    assert_eq!((probe.1, probe.2.remote.ip().to_string().as_str()), (Side::B, "203.0.113.9"));
    let answer = [Payload::Notify(Notify::with_data(notify::COOKIE2, vec![7; 16]))];
    let id = Header::parse(&probe.2.bytes).unwrap().0.message_id;
    let bytes = seal_as_a(&mut pair, Exchange::Informational, true, Some(id), &answer);
    from_elsewhere(&mut pair, &bytes);
    assert!(pair.b.pairs().is_empty());
    assert_eq!(pair.b.count(Counter::MalformedAuthentic), 1);

    let mut pair = net(708, [true, true]);
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, None, &update());
    pair.filter = Some(Box::new(|side, _| side == Side::A));
    from_elsewhere(&mut pair, &bytes);
    pair.run_secs(48);
    assert!(pair.b.pairs().is_empty());
    assert_eq!(pair.b.count(Counter::PeerDead), 1);
}

// §3.8: "The host not behind a NAT MUST NOT use these dynamic updates for IKEv2 packets, but MAY use them for ESP
// packets": whoever writes another address on a peer's message moves nothing, and the peer's own word is probed (§3.7).
#[test]
fn a_peer_behind_a_nat_is_not_followed_before_it_says_where_it_is() {
    let mut pair = Pair::empty(710);
    pair.a.addr = "10.99.0.1".parse().unwrap();
    pair.nat = Some((ip(1), 20_000));
    for side in [Side::A, Side::B] {
        let mut c = Pair::connection(side);
        c.exchanges.mobike = true;
        if side == Side::A {
            c.local = Some(pair.a.addr);
        }
        pair.command(side, Command::Configure(Box::new(c)));
    }
    pair.run_secs(2);
    pair.assert_one_pair();
    let ike = |pair: &mut Pair| pair.b.ep.first_established().unwrap().0.path.remote.to_string();
    let (there, elsewhere) = ("198.18.0.1:24500", "203.0.113.9:4500");
    let liveness = seal_as_a(&mut pair, Exchange::Informational, false, None, &[]);
    let id = Header::parse(&liveness).unwrap().0.message_id;
    from_elsewhere(&mut pair, &liveness);
    assert_eq!((ike(&mut pair), pair.b.pairs()[0].remote.to_string()), (there.into(), there.to_owned()));
    // ESP moves the children alone.
    let child = pair.b.pairs()[0].id;
    pair.command(Side::B, Command::PeerMoved { child, from: elsewhere.parse().unwrap() });
    assert_eq!((ike(&mut pair), pair.b.pairs()[0].remote.to_string()), (there.into(), elsewhere.to_owned()));
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, Some(id + 1), &update());
    pair.inject(Side::B, "198.18.0.2:4500".parse().unwrap(), there.parse().unwrap(), &bytes);
    assert_eq!(pair.b.pairs()[0].remote.to_string(), there, "where it says");
    // And its word is not believed without an answer to the cookie.
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, Some(id + 2), &update());
    from_elsewhere(&mut pair, &bytes);
    assert_eq!(ike(&mut pair), elsewhere);
    let probe = &pair.sent.last().unwrap().2;
    assert!(!Header::parse(&probe.bytes).unwrap().0.response && probe.remote.to_string() == elsewhere);
}

// §3.9
#[test]
fn a_peer_that_wants_no_nat_is_told_of_one() {
    let mut pair = net(709, [true, true]);
    let named = [vec![198, 18, 0, 1], vec![198, 18, 0, 2], vec![0x11, 0x94, 0x11, 0x94]].concat();
    let mut inner = update();
    inner.push(Payload::Notify(Notify::with_data(notify::NO_NATS_ALLOWED, named)));
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, None, &inner);
    from_elsewhere(&mut pair, &bytes);
    assert_eq!(outer(&pair, Side::B).1, ip(1));
}

#[test]
fn moves_with_loss_rekeys_and_a_crash_end_with_one_pair_at_the_last_address() {
    for seed in 0..40 {
        let mut pair = net(seed, [true, true]);
        pair.faults = Faults { loss: 5 + seed % 15, repeat: seed % 15, reorder: seed % 25 };
        for round in 0..5 {
            move_a(&mut pair, 20 + (seed % 7) as u8 + round);
            let side = if (seed + u64::from(round)).is_multiple_of(2) { Side::A } else { Side::B };
            match seed % 3 {
                0 => pair.rekey_ike(side),
                1 if pair.see(side).outbound.contains_key(&CHILD) => pair.rekey_child(side),
                _ => {}
            }
            pair.run(Duration::from_millis(seed * 137 % 4000));
        }
        let mut c = mobile(Side::A);
        c.local = Some(pair.a.addr);
        pair.crash_into(Side::A, seed, vec![c]);
        pair.faults = Faults::default();
        pair.run_secs(400);
        pair.assert_one_pair();
        assert_eq!(outer(&pair, Side::B).1, pair.a.addr, "seed {seed}");
    }
}

/// B is at .2, .3 and .4.
fn many_homed(seed: u64) -> Pair {
    let mut pair = Pair::empty(seed);
    pair.aliases = vec![ip(3), ip(4)];
    for side in [Side::B, Side::A] {
        let mut c = mobile(side);
        if side == Side::B {
            c.local = None;
            c.exchanges.own_addresses = vec![ip(2), ip(3), ip(4)];
        }
        pair.command(side, Command::Configure(Box::new(c)));
    }
    pair.run_secs(2);
    pair.assert_one_pair();
    pair
}

// RFC 4555 §3.4: the side that leads tries the other addresses that its peer named, when the one in use is silent
#[test]
fn a_peer_that_is_silent_is_looked_for_at_its_other_addresses() {
    let mut pair = many_homed(720);
    let before = spis(&pair);
    pair.dead.insert(ip(2));
    pair.run_secs(60);
    assert_eq!(spis(&pair), before, "{:#?}", pair.a.log);
    assert_eq!((outer(&pair, Side::A), outer(&pair, Side::B)), ((ip(1), ip(3)), (ip(3), ip(1))));
    pair.assert_one_pair();
    // Then that one, and across a rekey; the first is the next again.
    pair.rekey_ike(Side::A);
    pair.run_secs(5);
    pair.dead = [ip(3), ip(4)].into();
    pair.run_secs(90);
    assert_eq!(outer(&pair, Side::A), (ip(1), ip(2)));
    pair.assert_one_pair();
    assert_eq!((setups(&pair), pair.a.count(Counter::PeerDead)), (1, 0));
}

// RFC 4555 §3.6: whichever side has other addresses than before says so; nothing is made anew for it
#[test]
fn addresses_that_come_and_go_are_announced() {
    let mut pair = many_homed(724);
    let before = spis(&pair);
    let have = |pair: &mut Pair, side: Side, own: &[IpAddr]| {
        let mut c = mobile(side);
        if side == Side::B {
            c.local = None;
        }
        c.exchanges.own_addresses = own.to_vec();
        pair.command(side, Command::Configure(Box::new(c)));
        pair.run_secs(2);
    };
    let knows = |pair: &mut Pair, side: Side| {
        pair.node(side).ep.first_established().unwrap().0.others.iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(knows(&mut pair, Side::A), [ip(3), ip(4)]);
    have(&mut pair, Side::B, &[ip(2), ip(4)]);
    assert_eq!(knows(&mut pair, Side::A), [ip(4)]);
    let sent = pair.sent.len();
    have(&mut pair, Side::B, &[ip(2), ip(4)]);
    assert_eq!(pair.sent.len(), sent, "what did not change is not said again");
    have(&mut pair, Side::B, &[ip(2)]);
    assert!(knows(&mut pair, Side::A).is_empty(), "NO_ADDITIONAL_ADDRESSES");
    // The side that leads says so too, and a rekey forgets nothing of it.
    have(&mut pair, Side::A, &[ip(1), ip(9)]);
    assert_eq!(knows(&mut pair, Side::B), [ip(9)]);
    pair.rekey_ike(Side::B);
    pair.run_secs(5);
    have(&mut pair, Side::B, &[ip(2), ip(3)]);
    assert_eq!(knows(&mut pair, Side::A), [ip(3)]);
    assert_eq!(knows(&mut pair, Side::B), [ip(9)]);
    pair.assert_one_pair();
    assert_eq!((setups(&pair), spis(&pair).2), (1, before.2));
}

#[test]
fn a_peer_that_is_nowhere_is_given_up_in_bounded_time() {
    let mut pair = many_homed(721);
    let moves = |pair: &Pair| pair.a.count(Counter::OtherAddress);
    pair.dead = [ip(2), ip(3), ip(4)].into();
    pair.run_secs(120);
    assert_eq!((moves(&pair), pair.a.count(Counter::PeerDead)), (2, 1), "each once");
    // The next process knows them too.
    let mut pair = many_homed(722);
    pair.crash_into(Side::A, 1, vec![mobile(Side::A)]);
    pair.run_secs(5);
    pair.dead = [ip(2), ip(3)].into();
    pair.run_secs(90);
    assert_eq!((outer(&pair, Side::A), moves(&pair)), ((ip(1), ip(4)), 2));
    pair.assert_one_pair();
}

// Without MOBIKE, or where the peer names what is no host of the family, there is nowhere to look.
#[test]
fn only_lawful_addresses_are_taken() {
    let mut pair = net(723, [true, true]);
    let named = |kind, data: &[u8]| Payload::Notify(Notify::with_data(kind, data.to_vec()));
    let (core, _) = pair.a.ep.first_established().unwrap();
    let payloads = [
        named(notify::ADDITIONAL_IP4_ADDRESS, &[0, 0, 0, 0]),
        named(notify::ADDITIONAL_IP4_ADDRESS, &[127, 0, 0, 1]),
        named(notify::ADDITIONAL_IP4_ADDRESS, &[10, 0, 0]),
        named(notify::ADDITIONAL_IP4_ADDRESS, &[198, 18, 0, 2]),
        named(notify::ADDITIONAL_IP6_ADDRESS, &[1; 16]),
        named(notify::ADDITIONAL_IP4_ADDRESS, &[198, 18, 0, 7]),
    ];
    let read = crate::task::mobike::others(core, crate::message::View(&payloads)).unwrap();
    assert_eq!(read, [ip(7)]);
    let many: Vec<_> = (0..100).map(|n| named(notify::ADDITIONAL_IP4_ADDRESS, &[10, 9, 0, n])).collect();
    assert_eq!(crate::task::mobike::others(core, crate::message::View(&many)).unwrap().len(), 8);
    assert_eq!(crate::task::mobike::others(core, crate::message::View(&[])), None);
    let none = [named(notify::NO_ADDITIONAL_ADDRESSES, &[])];
    assert!(crate::task::mobike::others(core, crate::message::View(&none)).unwrap().is_empty());
}

// RFC 4555 §3.8: NATs before both. The side that answers does not follow by itself (RFC 7296 §2.23); it is told.
#[test]
fn a_new_mapping_of_the_nat_before_us_is_found_and_told() {
    let mut pair = Pair::empty(77);
    pair.nat = Some(("203.0.113.7".parse().unwrap(), 1000));
    for side in [Side::A, Side::B] {
        let mut c = Pair::connection(side);
        c.exchanges.mobike = true;
        c.dpd_delay = Duration::from_secs(5);
        if side == Side::B {
            c.remote = None;
        }
        pair.command(side, Command::Configure(Box::new(c)));
    }
    pair.run_secs(3);
    assert_eq!((pair.a.pairs().len(), pair.b.pairs().len()), (1, 1));
    pair.b.ep.first_established().unwrap().0.path.nat_local = true;
    let spis = (pair.live(Side::A)[0].initiator_spi, pair.live(Side::A)[0].responder_spi);
    assert_eq!(pair.a.count(Counter::NewMappings), 0);
    for shift in [2000, 3000] {
        pair.nat = Some(("203.0.113.7".parse().unwrap(), shift));
        pair.run_secs(8);
        let remote = pair.b.ep.first_established().unwrap().0.path.remote;
        assert_eq!(remote, format!("203.0.113.7:{}", 4500 + shift).parse().unwrap(), "{shift}");
        pair.b.ep.first_established().unwrap().0.path.nat_local = true;
    }
    assert_eq!(pair.a.count(Counter::NewMappings), 2);
    let moved = |e: &&Event| matches!(e, Event::Moved { remote, .. } if remote.port() == 7500);
    assert_eq!(pair.b.events.iter().filter(moved).count(), 1, "and its children go there");
    assert_eq!(spis, (pair.live(Side::A)[0].initiator_spi, pair.live(Side::A)[0].responder_spi));
    // The first look, and one for each change.
    assert!(pair.a.count(Counter::LivenessChecks) <= 6);
}
