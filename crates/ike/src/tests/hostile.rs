//! Peers and strangers that do not keep to the protocol: nothing stops, nothing grows, everything is counted.

use super::pair::*;
use crate::command::Command;
use crate::config::*;
use crate::counters::Counter;
use crate::crypto::cipher::Protection;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::header::{Exchange, Header, VERSION};
use crate::message;
use crate::payload::sa::PROTOCOL_ESP;
use crate::payload::{self, Delete, Notify, Payload, notify};
use core::net::SocketAddr;
use core::time::Duration;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

fn addr(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

pub(super) fn first_request(spi: u64, payloads: &[Payload]) -> Vec<u8> {
    let header = Header {
        initiator_spi: spi,
        responder_spi: 0,
        next_payload: 0,
        version: VERSION,
        exchange: Exchange::IkeSaInit,
        from_initiator: true,
        response: false,
        message_id: 0,
    };
    message::plain(header, payloads)
}

/// A public value that is lawful, for the first key exchange.
pub(super) fn lawful_ke() -> Payload {
    honest()[1].clone()
}

/// A good first request of A.
fn honest() -> Vec<Payload> {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let ke = crate::crypto::group::KeyExchange::new(Group::Curve25519, &mut rng).unwrap();
    vec![
        Payload::Sa(crate::negotiate::proposal::offer_ike(&[GCM], None)),
        Payload::KeyExchange { group: 31, data: ke.public },
        Payload::Nonce(vec![4; 32]),
    ]
}

fn lone_b() -> Pair {
    let mut pair = Pair::empty(80);
    pair.command(Side::B, Command::Configure(Box::new(Pair::connection(Side::B))));
    pair
}

fn send_b(pair: &mut Pair, from: &str, bytes: &[u8]) -> Option<Vec<Payload>> {
    let before = pair.sent.len();
    pair.inject(Side::B, addr("198.18.0.2:500"), addr(from), bytes);
    let reply = pair.sent.get(before)?.2.bytes.clone();
    let (h, body) = Header::parse(&reply).unwrap();
    Some(payload::parse_chain(h.next_payload, body).unwrap())
}

fn notified(reply: Option<Vec<Payload>>) -> Option<u16> {
    match reply?.first()? {
        Payload::Notify(n) => Some(n.kind),
        _ => None,
    }
}

#[test]
fn strangers_get_sane_answers_and_leave_nothing() {
    let mut pair = lone_b();
    // Nobody that the configuration knows.
    let reply = send_b(&mut pair, "203.0.113.5:500", &first_request(1, &honest()));
    assert_eq!(notified(reply), Some(notify::NO_PROPOSAL_CHOSEN));
    assert_eq!(pair.b.count(Counter::NoConnection), 1);
    // Another version: ours is told; IKEv1 is ignored.
    let mut v3 = first_request(2, &honest());
    v3[17] = 0x30;
    assert_eq!(notified(send_b(&mut pair, "198.18.0.1:500", &v3)), Some(notify::INVALID_MAJOR_VERSION));
    v3[17] = 0x10;
    assert_eq!(send_b(&mut pair, "198.18.0.1:500", &v3), None);
    assert_eq!(pair.b.count(Counter::WrongVersion), 2);
    // Half a message.
    let good = first_request(3, &honest());
    assert_eq!(send_b(&mut pair, "198.18.0.1:500", &good[..good.len() - 1]), None);
    // A payload missing: no INVALID_SYNTAX to one who has not authenticated.
    assert_eq!(send_b(&mut pair, "198.18.0.1:500", &first_request(4, &honest()[..2])), None);
    assert_eq!(pair.b.count(Counter::Malformed), 2);
    // A low-order public value.
    let mut low = honest();
    low[1] = Payload::KeyExchange { group: 31, data: vec![0; 32] };
    assert_eq!(send_b(&mut pair, "198.18.0.1:500", &first_request(5, &low)), None);
    assert_eq!(pair.b.count(Counter::BadPublicValue), 1);
    // An unknown critical payload.
    let mut critical = first_request(6, &[]);
    critical[16] = 200;
    critical.extend_from_slice(&[0, 0x80, 0, 4]);
    crate::header::patch_length(&mut critical);
    let reply = send_b(&mut pair, "198.18.0.1:500", &critical);
    assert_eq!(notified(reply), Some(notify::UNSUPPORTED_CRITICAL_PAYLOAD));
    // Messages for SAs that do not exist.
    let mut other = first_request(7, &honest());
    other[18] = 37;
    assert_eq!(send_b(&mut pair, "198.18.0.1:500", &other), None);
    assert_eq!(pair.b.count(Counter::UnknownSpi), 1);
    assert_eq!(pair.b.ep.snapshot(pair.now).ike_sas.len(), 0);
}

#[test]
fn half_open_sas_are_bounded_and_expire() {
    let mut pair = lone_b();
    pair.command(Side::B, Command::Remove(CONNECTION));
    let mut any = Pair::connection(Side::B);
    any.remote = None;
    pair.command(Side::B, Command::Configure(Box::new(any)));
    // From one address.
    for spi in 1..200 {
        let _ = send_b(&mut pair, "203.0.113.5:500", &first_request(spi, &honest()));
    }
    let cookies = pair.b.count(Counter::CookiesSent);
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 32, "no state for a stranger without cookie");
    assert_eq!(cookies, 199 - 32);
    // From many addresses: the same, a little later.
    for i in 0..200u64 {
        let from = format!("198.51.100.{}:{}", i, 1000 + i);
        let reply = send_b(&mut pair, &from, &first_request(1000 + i, &honest()));
        assert_eq!(notified(reply), (i >= 32).then_some(notify::COOKIE));
    }
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 64);
    pair.run_secs(31);
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 0);
    assert_eq!(pair.b.count(Counter::HalfOpenExpired), 64);
    assert!(pair.b.ep.snapshot(pair.now).ike_sas.is_empty());
}

#[test]
fn a_stranger_with_a_cookie_still_meets_the_limit_of_its_address() {
    let mut pair = lone_b();
    for spi in 1..=64 {
        assert!(persistent(&mut pair, spi).is_some());
    }
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 64);
    assert_eq!(persistent(&mut pair, 99), None);
    assert_eq!(pair.b.count(Counter::CookiesAccepted), 32 + 1);
    assert_eq!(pair.b.count(Counter::HalfOpenFull), 1);
}

// RFC 7296 §2.6: what a flood from many addresses leaves for those that the configuration names
#[test]
fn strangers_of_many_addresses_leave_room_for_known_peers() {
    let mut pair = lone_b();
    let mut any = Pair::connection(Side::B);
    (any.id, any.remote) = (ConnectionId(77), None);
    any.children[0].id = ChildId(78);
    pair.command(Side::B, Command::Configure(Box::new(any)));
    (pair.b.ep.limits().half_open, pair.b.ep.limits().cookie_threshold) = (100, 1000);
    for n in 0..200u64 {
        let _ = send_b(&mut pair, &format!("203.0.113.{n}:500"), &first_request(5000 + n, &honest()));
    }
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 50);
    assert_eq!(pair.b.count(Counter::HalfOpenFull), 150);
    let reply = send_b(&mut pair, "198.18.0.1:500", &first_request(7, &honest()));
    assert_eq!(notified(reply), None, "the known peer is answered");
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 51);
    // A host has the whole of its /64.
    pair.run_secs(31);
    for n in 0..200u64 {
        let _ = send_b(&mut pair, &format!("[2001:db8::{n:x}]:500"), &first_request(9000 + n, &honest()));
    }
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 32, "no more without cookies than one address");
}

/// A's address asks, and comes again with the cookie if it is given one.
fn persistent(pair: &mut Pair, spi: u64) -> Option<Vec<Payload>> {
    let reply = send_b(pair, "198.18.0.1:500", &first_request(spi, &honest()))?;
    let Payload::Notify(n) = &reply[0] else { return Some(reply) };
    let mut again = vec![Payload::Notify(Notify::with_data(notify::COOKIE, n.data.clone()))];
    again.extend(honest());
    send_b(pair, "198.18.0.1:500", &first_request(spi, &again))
}

// Forged requests in the peer's name cannot shut it out.
#[test]
fn a_peer_in_whose_name_others_knock_still_gets_in() {
    let mut pair = lone_b();
    for spi in 1..=500 {
        let _ = send_b(&mut pair, "198.18.0.1:500", &first_request(spi, &honest()));
    }
    pair.command(Side::A, Command::Configure(Box::new(Pair::connection(Side::A))));
    pair.run_secs(1);
    assert_eq!(pair.b.pairs().len(), 1);
    pair.assert_works();
}

// Whoever fails to prove who it is holds its place among the half-open ones until nothing is left of it.
#[test]
fn a_refused_stranger_still_counts_as_half_open() {
    let mut pair = Pair::with(82, |side, c| {
        if side == Side::A {
            psk(c, b"wrong");
            c.start = Start::Respond;
        }
    });
    pair.initiate(Side::A);
    pair.run_secs(1);
    assert_eq!(pair.b.count(Counter::AuthFailed), 1);
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 1);
    pair.run_secs(31);
    assert_eq!(pair.b.ep.snapshot(pair.now).half_open, 0);
    assert!(pair.b.ep.snapshot(pair.now).ike_sas.is_empty());
}

// An answer that comes twice asks for nothing new.
#[test]
fn another_group_asked_for_twice_costs_no_attempt() {
    let second = IkeProposal { group: Group::Ecp256, ..GCM };
    let mut pair = Pair::with(83, |side, c| {
        (c.proposals, c.start) = match side {
            Side::A => (vec![GCM, second], Start::Respond),
            Side::B => (vec![second], Start::Respond),
        }
    });
    pair.faults.repeat = 100;
    pair.initiate(Side::A);
    pair.run_secs(2);
    assert!(!pair.a.events.iter().any(|e| matches!(e, Event::Failed { .. })), "{:#?}", pair.a.log);
    pair.assert_one_pair();
}

#[test]
fn rejections_are_bounded() {
    let mut pair = lone_b();
    let now = pair.now;
    for i in 0..1000 {
        pair.b.ep.handle_datagram(
            now,
            addr("198.18.0.2:500"),
            addr("203.0.113.5:500"),
            &first_request(i + 1, &honest()),
        );
    }
    let events = std::iter::from_fn(|| pair.b.ep.poll_event()).count();
    assert_eq!(events, 256);
    assert_eq!(pair.b.count(Counter::QueueFull), 1000 - 256);
    // And room again once they are read.
    pair.inject(Side::B, addr("198.18.0.2:500"), addr("203.0.113.5:500"), &first_request(5000, &honest()));
    assert!(matches!(pair.b.events.last(), Some(Event::Rejected { .. })));
}

/// What the true peer could send: sealed with A's keys, in A's window.
pub(super) fn seal_as_a(
    pair: &mut Pair,
    exchange: Exchange,
    response: bool,
    id: Option<u32>,
    inner: &[Payload],
) -> Vec<u8> {
    seal_raw(pair, exchange, response, id, |header, keys| {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        message::sealed(header, inner, keys, &mut rng).unwrap()
    })
}

fn seal_raw(
    pair: &mut Pair,
    exchange: Exchange,
    response: bool,
    id: Option<u32>,
    seal: impl FnOnce(Header, &mut Protection) -> Vec<u8>,
) -> Vec<u8> {
    let (core, e) = established(&mut pair.a.ep);
    let message_id = id.unwrap_or_else(|| core.window.next_request_id());
    let header = core.header(exchange, response, message_id);
    seal(header, e.keys.sealing(core.role))
}

fn established(ep: &mut Endpoint) -> (&mut crate::ike_sa::Core, &mut crate::ike_sa::Established) {
    ep.first_established().expect("an established SA")
}

pub(super) fn inject_as_a(pair: &mut Pair, bytes: &[u8]) {
    pair.inject(Side::B, addr("198.18.0.2:500"), addr("198.18.0.1:500"), bytes);
}

fn b_state(pair: &mut Pair) -> Vec<&'static str> {
    pair.b.ep.snapshot(pair.now).ike_sas.iter().map(|s| s.state).collect()
}

// RFC 7296 §2.21.3: what breaks the format ends the SA, with INVALID_SYNTAX
#[test]
fn an_authentic_peer_that_breaks_the_format() {
    let nonsense: [(Exchange, Vec<Payload>); 5] = [
        (Exchange::CreateChildSa, vec![]),
        (Exchange::CreateChildSa, vec![Payload::Nonce(vec![1; 32])]),
        (Exchange::CreateChildSa, vec![Payload::Sa(vec![]), Payload::Nonce(vec![1; 32])]),
        (Exchange::IkeAuth, vec![]),
        (Exchange::Other(99), vec![]),
    ];
    for (exchange, inner) in nonsense {
        let mut pair = Pair::established();
        pair.watch = false;
        let bytes = seal_as_a(&mut pair, exchange, false, None, &inner);
        inject_as_a(&mut pair, &bytes);
        assert_eq!(b_state(&mut pair), ["closed"], "{exchange:?} {inner:?}");
        assert!(pair.b.pairs().is_empty());
        assert!(pair.b.count(Counter::MalformedAuthentic) >= 1);
    }
}

#[test]
fn an_authentic_peer_with_an_unknown_critical_payload_is_answered() {
    let mut pair = Pair::established();
    let bytes = seal_raw(&mut pair, Exchange::Informational, false, None, |header, keys| {
        // An unknown payload, critical, in the Encrypted payload.
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut message = message::sealed(header, &[Payload::Ignored(200)], keys, &mut rng).unwrap();
        // The flag stands in the encrypted part: seal it by hand.
        let mut plain = zeroize::Zeroizing::new(vec![0, 0x80, 0, 4]);
        message.truncate(32);
        keys.seal(&mut message, core::mem::take(&mut plain), &mut rng).unwrap();
        message
    });
    inject_as_a(&mut pair, &bytes);
    assert_eq!(pair.b.count(Counter::CriticalUnknown), 1);
    assert_eq!(b_state(&mut pair), ["established"]);
    pair.assert_works();
}

#[test]
fn unknown_notifies_and_foreign_deletes_change_nothing() {
    let mut pair = Pair::established();
    let foreign = [
        Payload::Notify(Notify::new(40_000)),
        Payload::Notify(Notify::new(8192)),
        Payload::Delete(Delete::Esp(vec![0xdead_beef; 100])),
        Payload::Ignored(43),
    ];
    let bytes = seal_as_a(&mut pair, Exchange::Informational, false, None, &foreign);
    inject_as_a(&mut pair, &bytes);
    assert_eq!(b_state(&mut pair), ["established"]);
    assert_eq!(pair.b.pairs().len(), 1);
}

#[test]
fn a_rekey_of_a_pair_that_is_not_there() {
    let mut pair = Pair::established();
    let rekey =
        Notify { protocol: PROTOCOL_ESP, spi: vec![1, 2, 3, 4], kind: notify::REKEY_SA, data: vec![] };
    let spi = ravelin_wire::Spi::try_from(0x4444_4444).unwrap();
    let (sa, i, r) = crate::child_sa::offer::request(&child("10.1.0.0/24", "10.2.0.0/24"), spi, true, None);
    let inner = [Payload::Notify(rekey), sa, Payload::Nonce(vec![9; 32]), i, r];
    let bytes = seal_as_a(&mut pair, Exchange::CreateChildSa, false, None, &inner);
    inject_as_a(&mut pair, &bytes);
    assert_eq!(b_state(&mut pair), ["established"]);
    assert_eq!(pair.b.pairs().len(), 1);
    assert_eq!(pair.b.count(Counter::OutOfPlace), 1);
}

#[test]
fn replayed_reflected_and_misplaced_messages() {
    let mut pair = Pair::established();
    pair.rekey_child(Side::A);
    pair.run_secs(2);
    let old: Vec<_> = pair.sent.clone();
    let (a, b) = (pair.a.pairs()[0].id, pair.b.pairs()[0].id);
    for (_, from, t) in &old {
        let (sa, sb) = (addr("198.18.0.1:500"), addr("198.18.0.2:500"));
        // Once more to where it went, and back to where it came from.
        match from {
            Side::A => {
                pair.inject(Side::B, sb, sa, &t.bytes);
                pair.inject(Side::A, sa, sb, &t.bytes);
            }
            Side::B => {
                pair.inject(Side::A, sa, sb, &t.bytes);
                pair.inject(Side::B, sb, sa, &t.bytes);
            }
        }
    }
    pair.run_secs(60);
    pair.assert_one_pair();
    assert_eq!((pair.a.pairs()[0].id, pair.b.pairs()[0].id), (a, b));
    // Message ids far ahead, and answers to nothing.
    for (response, id) in [(false, 1000), (true, 1000), (true, 0)] {
        let bytes = seal_as_a(&mut pair, Exchange::Informational, response, Some(id), &[]);
        inject_as_a(&mut pair, &bytes);
    }
    assert!(pair.b.count(Counter::OutOfWindow) >= 3);
    pair.assert_one_pair();
}

// An answer that takes more than was asked for
#[test]
fn wider_selectors_than_asked_for_are_not_taken() {
    let mut pair = Pair::with(81, |side, c| {
        // A wants a part of what B would give; B answers with its own, wider one (a filter plays the liar).
        if side == Side::A {
            c.children[0].selectors = vec![selector("10.1.0.0/25", "10.2.0.0/25")];
        }
    });
    pair.run_secs(1);
    let got = &pair.b.pairs()[0].selectors;
    assert_eq!(*got, [selector("10.2.0.0/25", "10.1.0.0/25")], "an honest peer narrows");
    let answer = [payload::TrafficSelector {
        protocol: None,
        addrs: prefix("0.0.0.0/0").into(),
        ports: Some(ravelin_wire::PortRange::ANY),
    }];
    let (asked, _) = crate::negotiate::ts::sides(&[selector("10.1.0.0/25", "10.2.0.0/25")]);
    assert!(!crate::negotiate::ts::within(&answer, &asked));
}

/// Payloads of all kinds, lawful and not, as a peer with good keys might send them.
fn arbitrary_payload() -> impl Strategy<Value = Payload> {
    let spi = ravelin_wire::Spi::try_from(0x0505_0505).unwrap();
    let c = child("10.1.0.0/24", "10.2.0.0/24");
    let (sa, ts_i, ts_r) = crate::child_sa::offer::request(&c, spi, true, None);
    let ike = Payload::Sa(crate::negotiate::proposal::offer_ike(&[GCM], Some(77)));
    let hybrid = Payload::Sa(crate::negotiate::proposal::offer_ike(&[super::hybrid::HYBRID], Some(78)));
    let pfs = Child { proposals: vec![super::followup::PFS], ..c.clone() };
    let pfs = crate::child_sa::offer::request(&pfs, spi, true, None).0;
    let link = |data| Payload::Notify(Notify::with_data(notify::ADDITIONAL_KEY_EXCHANGE, data));
    prop_oneof![
        Just(sa),
        Just(ike),
        Just(hybrid),
        Just(pfs),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(link),
        Just(Payload::KeyExchange { group: 36, data: vec![0; 1184] }),
        Just(ts_i),
        Just(ts_r),
        Just(Payload::Nonce(vec![6; 32])),
        (any::<u16>(), proptest::collection::vec(any::<u8>(), 1..80))
            .prop_map(|(group, data)| Payload::KeyExchange { group, data }),
        Just(honest()[1].clone()),
        (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..8), 0u16..20_000, any::<bool>()).prop_map(
            |(protocol, spi, kind, rekey)| Payload::Notify(Notify {
                protocol,
                spi,
                kind: if rekey { notify::REKEY_SA } else { kind },
                data: vec![1; 2]
            })
        ),
        proptest::collection::vec(any::<u32>(), 0..5).prop_map(|s| Payload::Delete(Delete::Esp(s))),
        Just(Payload::Delete(Delete::Ike)),
        any::<u8>().prop_map(|k| Payload::Ignored(49 + k % 200)),
        Just(Payload::Auth { method: 2, data: zeroize::Zeroizing::new(vec![0; 32]) }),
        Just(Payload::IdI(payload::Id { kind: 2, data: b"a.lab".to_vec() })),
    ]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    prop_oneof![
        4 => Just(Exchange::CreateChildSa),
        4 => Just(Exchange::Informational),
        2 => Just(Exchange::IkeFollowupKe),
        1 => Just(Exchange::IkeAuth),
        1 => any::<u8>().prop_map(|raw| Exchange::Other(raw.max(38))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // Valid crypto, wrong protocol: B answers each request once, holds no more than its limits, and comes to rest.
    #[test]
    fn a_peer_with_good_keys_and_no_manners(
        messages in proptest::collection::vec(
            (exchange(), any::<bool>(), proptest::collection::vec(arbitrary_payload(), 0..7), 0u32..3),
            1..25,
        ),
        rekeying in 0u8..3,
    ) {
        let mut pair = Pair::with(1, |_, c| {
            c.proposals = vec![GCM, super::hybrid::HYBRID];
            c.children[0].proposals = vec![ESP, super::followup::PFS];
        });
        pair.run_secs(1);
        // A itself is out of the game from here on.
        pair.filter = Some(Box::new(|_, _| true));
        match rekeying {
            1 => pair.rekey_child(Side::B),
            2 => pair.rekey_ike(Side::B),
            _ => {}
        }
        let mut next = established(&mut pair.a.ep).0.window.next_request_id();
        for (exchange, response, inner, id) in messages {
            let id = if response { id } else { next };
            if !response { next += 1; }
            let bytes = seal_as_a(&mut pair, exchange, response, Some(id), &inner);
            inject_as_a(&mut pair, &bytes);
            pair.run(Duration::from_millis(5));
        }
        let snapshot = pair.b.ep.snapshot(pair.now);
        prop_assert!(snapshot.ike_sas.len() <= 30);
        prop_assert!(snapshot.ike_sas.iter().all(|s| s.children.len() <= 256));
        // All that the peer made ends, at the latest when it does not answer any more.
        pair.command(Side::B, Command::Terminate { connection: CONNECTION });
        pair.run_secs(300);
        prop_assert!(pair.b.pairs().is_empty());
        prop_assert!(pair.live(Side::B).is_empty());
    }

    #[test]
    fn mutated_datagrams_at_every_state(seed in any::<u64>(), flips in 1usize..6) {
        let mut pair = Pair::with(seed % 1000, |_, c| c.start = Start::Immediately);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        pair.run(Duration::from_millis(seed % 60));
        let seen: Vec<_> = pair.sent.clone();
        for (_, from, t) in seen {
            let mut bytes = t.bytes.clone();
            for _ in 0..flips {
                let at = (rng.next_u32() as usize) % bytes.len();
                bytes[at] ^= rng.next_u32() as u8;
            }
            if rng.next_u32() % 2 == 0 {
                bytes.truncate((rng.next_u32() as usize) % (bytes.len() + 1));
                crate::header::patch_length(&mut bytes);
            }
            let to = from.other();
            let (local, remote) = match to {
                Side::A => (addr("198.18.0.1:500"), addr("198.18.0.2:500")),
                Side::B => (addr("198.18.0.2:500"), addr("198.18.0.1:500")),
            };
            pair.inject(to, local, remote, &bytes);
        }
        // Forged answers may cost an attempt, never the tunnel.
        pair.run_secs(120);
        pair.assert_one_pair();
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut pair = Pair::established();
    let secret = Secret::new(b"correct horse".to_vec());
    let text = format!("{:?} {:?} {:?}", pair.a.ep, pair.a.log, Pair::connection(Side::A));
    let keys: Vec<u8> = pair.a.pairs()[0].inbound_keys.0.clone();
    assert!(!text.contains("correct horse") && !text.contains(&format!("{:?}", &keys[..8])));
    assert!(!text.contains(&format!("{:?}", secret.expose())));
    let (core, e) = established(&mut pair.a.ep);
    let text = format!("{core:?} {e:?}");
    assert!(!text.contains(&format!("{:?}", &e.keys.d[..4])));
}
